/* The causal predictor: a sample from those before it in its row, from the two rows above, and, in
 * layers that follow, from the two layers before. Weights are fitted to each box (causal_fit.c).
 *
 * All taps but the two of the row itself are known when a row begins: their sum is made for a whole
 * row at once. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_CAUSAL_H
#define SQYFS_CODEC_CAUSAL_H

#include "codec/grid.h"
#include "codec/normal.h"

#define CAUSAL_ONE      13 /* weights are in units of 2^-13 */
#define CAUSAL_FRACTION 3  /* predictions are in units of 2^-3 */

#define CAUSAL_OWN    2u  /* taps of the row itself: 1 and 2 to the left */
#define CAUSAL_WITHIN 10u /* taps within the layer, those included */
#define CAUSAL_TAPS   24u /* with the layers before */

struct causal_weights {
    int16_t weight[CAUSAL_TAPS]; /* in the order of causal_taps() */
    int32_t bias;                /* in units of 2^-13, rounding to 2^-3 included */
};

/* sum[x] = bias and weight[t] * tap[t][x] for all `n_taps`, modulo 2^32, for `n` columns. */
typedef void causal_sum_fn(int32_t *sum, const int16_t *const tap[], const int16_t weight[],
                           unsigned n_taps, int32_t bias, size_t n);

struct causal_model {
    bool follows; /* layers but the first are predicted from those before, too */
    struct causal_weights within, across;
    struct causal_weights first; /* of a row above which nothing is known; causal_first() */
};

static inline unsigned causal_n_taps(bool across)
{
    return across ? CAUSAL_TAPS : CAUSAL_WITHIN;
}

/* Points to what stands around a line of the grid; returns how many taps. */
unsigned causal_taps(const struct grid *grid, size_t layer, size_t row, bool across,
                     const int16_t *taps[CAUSAL_TAPS]);

/* Makes model->first of model->within: all weight goes to the sample to the left. */
void causal_first(struct causal_model *model);

/* Whether a layer's samples are predicted from layers before. */
static inline bool causal_is_across(const struct causal_model *model, size_t layer)
{
    return model->follows && layer;
}

/* Which weights count in a row. */
static inline const struct causal_weights *causal_of(const struct causal_model *model, size_t layer,
                                                     size_t row)
{
    if (causal_is_across(model, layer))
        return &model->across;
    return row || layer ? &model->within : &model->first;
}

/* Of a line of the grid: bias and weighted taps, but those of the row itself. `kernel`
 * adds them up. */
void causal_sum_row(const struct grid *grid, const struct causal_model *model,
                    causal_sum_fn *kernel, size_t layer, size_t row, int32_t *sum);

/* The prediction of *at, in units of 2^-3; w[0] and w[1] weigh the samples to the left, which stand
 * `step` apart. */
static inline int32_t causal_predict(const int16_t w[CAUSAL_OWN], int32_t sum, const int16_t *at,
                                     ptrdiff_t step)
{
    const int32_t least = INT16_MIN * (1 << CAUSAL_FRACTION);
    const int32_t most = INT16_MAX * (1 << CAUSAL_FRACTION);
    const uint32_t own = (uint32_t)(w[0] * at[-step]) + (uint32_t)(w[1] * at[-2 * step]);
    const int32_t p = (int32_t)((uint32_t)sum + own) >> (CAUSAL_ONE - CAUSAL_FRACTION);
    return p < least ? least : p > most ? most : p;
}

/* causal_fit.c: the weights that leave the least, in the measure of what it costs to code. The
 * columns and rows around the samples are there. */
void causal_fit(const struct grid *grid, struct causal_model *model, normal_add_fn *add);

#endif
