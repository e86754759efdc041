/* How the contextual coder goes along a line of the grid, in several versions that do the same to every
 * bit. Column by column the bands take turns: all samples of a turn are expected from what was
 * learnt before it, so that nothing in it waits for anything else, and then learnt from. Nobody
 * outside codec/ includes this. */
#ifndef SQYFS_CODEC_TURNS_H
#define SQYFS_CODEC_TURNS_H

#include "codec/context.h"

struct turns {
    normal_add_fn *add_window;
    causal_sum_fn *sum;
    energy_sum_fn *energy_sum;
    /* Writes the energies of a line whose samples are there. */
    void (*measure)(const struct line *line, const int32_t *sum);
    /* The line's samples are there, and the energies left of it; the sums are made. */
    void (*encode)(struct context *context, const struct line *line, struct bit_writer *bits);
    /* As many samples as the line has are written, whatever the readers give. */
    void (*decode)(struct context *context, const struct line *line, struct bit_reader *bits,
                   struct arith_reader *arith);
};

extern const struct turns turns_scalar;
extern const struct turns turns_avx2; /* where there is AVX2 */

#endif
