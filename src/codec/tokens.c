#include "codec/tokens.h"

/* Tokens leave this much of the scale to be shared: each has 1 at least. */
#define SHARED ((int32_t)((1u << TOKENS_SCALE) - TOKENS))

/* SHARED / (1 + exp(-i / 8)), rounded. */
#define N_LOGISTIC 66u
static const uint16_t logistic[N_LOGISTIC] = {
    16368, 17390, 18403, 19402, 20377, 21323, 22234, 23105, 23932, 24713, 25446,
    26129, 26764, 27350, 27890, 28383, 28834, 29243, 29615, 29950, 30253, 30525,
    30769, 30988, 31183, 31358, 31514, 31653, 31776, 31886, 31984, 32070, 32147,
    32215, 32276, 32329, 32376, 32418, 32455, 32488, 32517, 32542, 32565, 32585,
    32603, 32618, 32632, 32644, 32655, 32665, 32673, 32680, 32687, 32693, 32698,
    32702, 32706, 32710, 32713, 32715, 32718, 32720, 32722, 32724, 32725, 32726,
};

/* A move goes 1/8 of the way at first; after so many tokens 1/16, 1/32, ... */
static const uint16_t slower_from[] = {4, 12, 32, 100, 300};
#define FIRST_STEP 3u

/* The share below x / 64. */
static int32_t logistic_at(int32_t x)
{
    const int32_t most = 8 * ((int32_t)N_LOGISTIC - 2) + 7, size = x < 0 ? -x : x;
    const int32_t at = size < most ? size : most;
    const int32_t from = logistic[at / 8], to = logistic[at / 8 + 1];
    const int32_t share = from + (to - from) * (at % 8) / 8;
    return x < 0 ? SHARED - share : share;
}

/* A class expects a mean size of (9 + 2 quarter) / 8 * 2^(octave - 7) counts. The width of a logistic
 * distribution is 11/16 of that. */
static void begin(int16_t bound[TOKENS], unsigned class, unsigned fraction)
{
    const unsigned low_bits = tokens_low_bits(class);
    const int32_t quarter = (int32_t) class % 4;
    int32_t octave = (int32_t) class / 4 - 4 - (int32_t)low_bits;
    octave = octave < -3 ? -3 : octave;
    for (unsigned t = 1; t < TOKENS; t++) {
        /* from the prediction to the lower edge of the token's counts, in 1/8 of a token */
        const int32_t edge =
            8 * ((int32_t)t - (int32_t)TOKENS / 2) - (4 >> low_bits) - (2 * (int32_t)fraction + 1);
        int32_t x = edge * 8192 / (11 * (9 + 2 * quarter)); /* in 1/512 of 2^octave widths */
        x /= 1 << (octave + 3);
        bound[t] = (int16_t)((int32_t)t + logistic_at(x));
    }
    bound[0] = 0;
}

void tokens_init(struct tokens *tokens)
{
    for (unsigned c = 0; c < TOKENS_CONTEXTS; c++) {
        begin(tokens->bound + c * TOKENS, c / TOKENS_FRACTIONS, c % TOKENS_FRACTIONS);
        tokens->count[c] = 0;
    }
    tokens->bound[TOKENS_CONTEXTS * TOKENS] = 0;
    for (unsigned met = 0; met < TOKENS; met++) {
        for (unsigned t = 0; t < TOKENS; t++)
            tokens->goal[met][t] = (int16_t)(t <= met ? (int32_t)t : SHARED + (int32_t)t);
    }
    for (unsigned i = 0, slower = 0; i <= TOKENS_COUNT_MOST; i++) {
        while (slower < sizeof(slower_from) / sizeof(slower_from[0]) && i >= slower_from[slower])
            slower++;
        tokens->rate[i] = (int16_t)(1 << (16 - FIRST_STEP - slower));
    }
}
