/* Adaptive distributions of 32 tokens, one for each context, in 1/32768.
 *
 * A distribution begins as a logistic one, as wide as its class says and as far off the middle as the
 * prediction lies off the whole count, and moves a step towards every token that is met: first long
 * steps, then shorter ones. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_TOKENS_H
#define SQYFS_CODEC_TOKENS_H

#include "codec/energy.h"

#define TOKENS            32u
#define TOKENS_SCALE      15
#define TOKENS_FRACTIONS  4u   /* contexts of a class: by the prediction's fraction */
#define TOKENS_COUNT_MOST 511u /* that are counted */
#define TOKENS_CONTEXTS   (ENERGY_CLASSES * TOKENS_FRACTIONS)

struct tokens {
    /* bound[c * TOKENS + t]: how often a token is below t; 0 for t = 0, of which there is one more */
    _Alignas(64) int16_t bound[(TOKENS_CONTEXTS + 1) * TOKENS];
    _Alignas(64) int16_t goal[TOKENS][TOKENS]; /* where the bounds move when a token is met */
    uint16_t count[TOKENS_CONTEXTS];           /* tokens met */
    int16_t rate[TOKENS_COUNT_MOST + 1];       /* by count: how far a move goes, in 1/65536 */
};

void tokens_init(struct tokens *tokens);

/* Low bits of a residual of this class that are stored as they are. */
static inline unsigned tokens_low_bits(unsigned class)
{
    const unsigned octave = (class + 2) / 4; /* from half an octave on */
    return octave > 5 ? octave - 5 : 0;
}

/* The range of a token. */
struct token_range {
    uint32_t start, frequency;
};

/* Behind the last bound stands the 0 of the next context, which is 2^15 modulo 2^15. */
static inline struct token_range tokens_range(const struct tokens *tokens, unsigned context,
                                              unsigned token)
{
    const int16_t *at = tokens->bound + context * TOKENS + token;
    const uint32_t start = (uint32_t)at[0], end = (uint32_t)at[1];
    return (struct token_range){start, (end - start) & ((1u << TOKENS_SCALE) - 1)};
}

/* The token in whose range `slot` lies. */
static inline unsigned tokens_find(const struct tokens *tokens, unsigned context, int16_t slot)
{
    const int16_t *bound = tokens->bound + context * TOKENS;
    int16_t n = 0;
    for (unsigned t = 0; t < TOKENS; t++)
        n = (int16_t)(n + (bound[t] <= slot));
    return (unsigned)n - 1;
}

static inline void tokens_meet(struct tokens *tokens, unsigned context, unsigned token)
{
    int16_t *bound = tokens->bound + context * TOKENS;
    const int16_t *goal = tokens->goal[token];
    const unsigned count = tokens->count[context];
    const int16_t rate = tokens->rate[count];
    for (unsigned t = 0; t < TOKENS; t++) {
        const int16_t way = (int16_t)(goal[t] - bound[t]);
        bound[t] = (int16_t)(bound[t] + (way * rate >> 16));
    }
    tokens->count[context] = (uint16_t)(count + (count < TOKENS_COUNT_MOST));
}

#endif
