/* A box on its way through the contextual coder. context.c is the stage and its head, turns.h goes along
 * the lines: of each sample of grid.h's, causal.h predicts the value, energy.h how far off that may be, which
 * chooses a distribution of tokens.h's, and bias.h corrects; arith.h codes. The encoder fits what stands
 * in the head (causal_fit.c, energy_fit.c, by normal.h). Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_CONTEXT_H
#define SQYFS_CODEC_CONTEXT_H

#include "codec/arith.h"
#include "codec/bias.h"
#include "codec/tokens.h"

#define CONTEXT_ESCAPE_BITS 5u /* of the length of an escaped distance */
#define CONTEXT_ESCAPE_MOST 16u
#define CONTEXT_LOWEST      1 /* tokens below the middle and above are coded, the outermost escape */
#define CONTEXT_HIGHEST     ((int32_t)TOKENS - 2)
#define CONTEXT_MIDDLE      ((int32_t)TOKENS / 2)

/* What learns while a box is coded: bias, tokens, energies. */
struct context {
    struct tokens *tokens;
    struct grid grid;
    struct energy energy;
    struct causal_model model;
    struct bias bias;
    const struct turns *turns;
    int16_t base;         /* what stands above the first layer */
    bool one_by_one;      /* a turn is one sample; else, one of each band */
    int32_t *sum, *e_sum; /* of a line, in its order: of prediction and expected energy */
    uint8_t *list;        /* the encoder's tokens */
    size_t n_list;
};

/* A line of the grid: where it lies and what is known before it is there. */
struct line {
    int16_t weight[CAUSAL_OWN];
    int32_t e_left, e_far;
    int16_t *at;
    const int16_t *n, *nn;
    uint16_t *energy;
    size_t width;
    ptrdiff_t step;   /* bands of the grid: from one column to the next */
    unsigned n_bands; /* that have this row */
    unsigned turn;    /* bands that are coded before any of them is learnt from */
};

#endif
