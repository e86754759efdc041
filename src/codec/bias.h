/* What predictions were off by on average, where the samples around lay alike: above the prediction
 * or below. Predictions are corrected by it. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_BIAS_H
#define SQYFS_CODEC_BIAS_H

#include "codec/causal.h"

#define BIAS_AROUND   5u /* samples looked at: left, above, its two neighbours, two above */
#define BIAS_LEVELS   8u /* of two octaves of the expected energy */
#define BIAS_CONTEXTS (BIAS_LEVELS << BIAS_AROUND)
#define BIAS_RATE     7 /* a correction moves 2^-7 of the way */

struct bias {
    int32_t mean[BIAS_CONTEXTS]; /* in units of 2^-3 * 2^-8 of a count */
};

/* `e`: from a column to the next. */
static inline unsigned bias_context(unsigned class, int32_t prediction, const int16_t *at,
                                    const int16_t *n, const int16_t *nn, ptrdiff_t e)
{
    const int32_t p = prediction >> CAUSAL_FRACTION;
    const unsigned around = (unsigned)(n[0] > p) | (unsigned)(at[-e] > p) << 1 |
                            (unsigned)(n[-e] > p) << 2 | (unsigned)(n[e] > p) << 3 |
                            (unsigned)(nn[0] > p) << 4;
    return (class >> 3 & (BIAS_LEVELS - 1)) << BIAS_AROUND | around;
}

static inline int32_t bias_correct(const struct bias *bias, unsigned context, int32_t prediction)
{
    return prediction + (bias->mean[context] >> 8);
}

/* `off`: sample less prediction, uncorrected; beyond `most` either way it counts as that. */
static inline void bias_learn(struct bias *bias, unsigned context, int32_t off, int32_t most)
{
    off = off > most ? most : off < -most ? -most : off;
    bias->mean[context] += (off * 256 - bias->mean[context]) >> BIAS_RATE;
}

#endif
