/* How large a residual is to be expected: a weighted sum of the residuals around it and of what a
 * camera's noise grows with, the root of the intensity. Weights are fitted to each box
 * (energy_fit.c). The sum, in logarithmic steps, is the class of a sample.
 *
 * A residual's energy is its size in units of 2^-3, 65535 at most. Energies lie as the samples of
 * the grid do, rows above and columns at both ends included. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_ENERGY_H
#define SQYFS_CODEC_ENERGY_H

#include "codec/causal.h"

#define ENERGY_ONE      10 /* weights are in units of 2^-10 */
#define ENERGY_FEATURES 6u
#define ENERGY_CLASSES  72u /* a quarter of an octave each, the first up to 5/64 of a count */
#define ENERGY_ROOTS    256u

#define ENERGY_CLASS_BITS 21               /* of a float, below what makes a class */
#define ENERGY_CLASS_0    (4u * (127 + 3)) /* 8.0f, without those */

enum energy_feature {
    ENERGY_LEFT,  /* the sample to the left */
    ENERGY_UP,    /* the one above */
    ENERGY_SLANT, /* the two beside that */
    ENERGY_FAR,   /* the second to the left, the second above */
    ENERGY_WIDE,  /* two up and one aside, one up and two aside: four */
    ENERGY_ROOT,  /* 8 times the root of the intensity above */
};

struct energy_model {
    int16_t weight[ENERGY_FEATURES];
    int32_t constant; /* in units of 2^-13 of a count */
    int16_t dark;     /* the sample that counts as intensity 0 */
    uint16_t start;   /* energy above the first row */
};

struct energy {
    uint16_t *energies; /* borrowed; grid_bytes() */
    const struct grid *grid;
    struct energy_model model;
    uint8_t root[ENERGY_ROOTS]; /* 16 times the root of the index, rounded down */
};

void energy_init(struct energy *energy, const struct grid *grid, void *memory);

static inline uint16_t *energy_row(const struct energy *energy, size_t layer, ptrdiff_t row)
{
    return energy->energies + (grid_row(energy->grid, layer, row) - energy->grid->samples);
}

static inline uint16_t energy_of(int32_t sample, int32_t prediction)
{
    const int32_t r = sample * (1 << CAUSAL_FRACTION) - prediction, size = r < 0 ? -r : r;
    return (uint16_t)(size < UINT16_MAX ? size : UINT16_MAX);
}

/* As those of the grid; the first layer's rows above hold model.start. */
void energy_open_layer(const struct energy *energy, size_t layer);
void energy_open_row(const struct energy *energy, size_t layer, size_t row);
void energy_close_row(const struct energy *energy, size_t layer, size_t row);

/* What stands above a line of the grid. */
struct energy_above {
    const uint16_t *n, *nn; /* energies of the two rows */
    const int16_t *sample;  /* of the row above */
    ptrdiff_t step;         /* to the next column */
};

static inline struct energy_above energy_above(const struct energy *energy, size_t layer,
                                               size_t row)
{
    return (struct energy_above){energy_row(energy, layer, (ptrdiff_t)row - 1),
                                 energy_row(energy, layer, (ptrdiff_t)row - 2),
                                 grid_row(energy->grid, layer, (ptrdiff_t)row - 1),
                                 (ptrdiff_t)energy->grid->bands};
}

/* All features but those of the row itself, weighted, and the constant, of column `from` to `n`. */
typedef void energy_sum_fn(const struct energy *energy, const struct energy_above *above,
                           size_t from, size_t n, int32_t *sum);
energy_sum_fn energy_sum;
/* Features of `n` samples of one band from number `from` of a line on, those of the row itself included. */
void energy_features(const struct energy *energy, size_t layer, size_t row, size_t from, size_t n,
                     float *feature[ENERGY_FEATURES]);

/* The class of *at, from what the rows above say and the weights of ENERGY_LEFT and ENERGY_FAR; what
 * stands to the left is `step` apart. A float's exponent and the top of its fraction are just that. */
static inline unsigned energy_class(int32_t sum, int32_t left, int32_t far, const uint16_t *at,
                                    ptrdiff_t step)
{
    const uint32_t own = (uint32_t)left * at[-step] + (uint32_t)far * at[-2 * step];
    int32_t v = (int32_t)((uint32_t)sum + own) >> 6; /* in units of 2^-7 */
    v = v < 8 ? 8 : v > (1 << 21) - 1 ? (1 << 21) - 1 : v;
    const union {
        float f;
        uint32_t bits;
    } as = {.f = (float)v};
    return (as.bits >> ENERGY_CLASS_BITS) - ENERGY_CLASS_0;
}

/* The least mean size of a class, in units of 2^-7 of a count. */
static inline int32_t energy_size(unsigned class)
{
    return (int32_t)((4 + class % 4) << (class / 4 + 1));
}

/* energy_fit.c: from energies that are all there. */
void energy_fit(struct energy *energy, normal_add_fn *add);

#endif
