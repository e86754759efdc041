/* The interlaced predictor: even columns from the rows above, odd columns from these and from the
 * even columns at both sides. No sample depends on another of its half of the row, so a row is
 * predicted, and restored, as vectors. Weights are fitted to each box (predict_fit.c).
 *
 * Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_PREDICT_H
#define SQYFS_CODEC_PREDICT_H

#include "codec/kernels.h"
#include "codec/lattice.h"

enum { PREDICT_EVEN, PREDICT_ODD, PREDICT_PHASES };

/* Weights of the taps of one half, in 1/2048; in the order of predict_taps(). */
struct predict_weights {
    int16_t weight[TAPS_MAX];
    int32_t bias; /* in 1/2048 of a count, half a count for rounding included */
};

struct predict_model {
    bool follows; /* layers but the first are predicted from the layer before them, too */
    int16_t base; /* what stands above the first row of the first layer */
    /* within the layer; and with the layer before */
    struct predict_weights within[PREDICT_PHASES], across[PREDICT_PHASES];
};

/* Taps of each half, with and without the layer before it. Even. */
#define PREDICT_EVEN_TAPS   8u
#define PREDICT_ODD_TAPS    6u
#define PREDICT_ACROSS_TAPS 6u /* more where the layer before counts */

static inline unsigned predict_n_taps(unsigned phase, bool across)
{
    return (phase == PREDICT_EVEN ? PREDICT_EVEN_TAPS : PREDICT_ODD_TAPS) +
           (across ? PREDICT_ACROSS_TAPS : 0);
}

/* Points taps->at to what stands around row `row` of layer `layer`, in the order of the format; sets
 * taps->n and no more. */
void predict_taps(const struct lattice *lattice, size_t layer, size_t row, unsigned phase,
                  bool across, struct taps *taps);
/* All of it, with the model's weights, in the order that kernels want. */
void predict_row(const struct lattice *lattice, const struct predict_model *model, size_t layer,
                 size_t row, unsigned phase, struct taps *taps);

/* predict_fit.c: weights that leave the smallest residuals, in the measure of what they cost to code.
 * `fast`: from fewer samples. */
void predict_fit(const struct lattice *lattice, struct predict_model *model, bool fast);

#endif
