/* The loops of turns.h, for each of its versions to compile for its machine. */
#ifndef SQYFS_CODEC_TURNS_BODY_H
#define SQYFS_CODEC_TURNS_BODY_H

#include "codec/turns.h"

#define TURNS_INLINE static inline __attribute__((always_inline))

/* What is expected of a sample. */
struct guess {
    unsigned class, around, context, low_bits;
    int32_t plain, corrected; /* predictions, in units of 2^-3 */
};

TURNS_INLINE struct guess turns_guess(const struct context *context, const struct line *line,
                                      size_t i)
{
    const ptrdiff_t e = line->step;
    struct guess g;
    g.class = energy_class(context->e_sum[i], line->e_left, line->e_far, line->energy + i, e);
    g.plain = causal_predict(line->weight, context->sum[i], line->at + i, e);
    g.around = bias_context(g.class, g.plain, line->at + i, line->n + i, line->nn + i, e);
    g.corrected = bias_correct(&context->bias, g.around, g.plain);
    g.low_bits = tokens_low_bits(g.class);
    g.context = g.class * TOKENS_FRACTIONS +
                ((unsigned)(g.corrected >> (g.low_bits + 1)) & (TOKENS_FRACTIONS - 1));
    return g;
}

/* The count that the middle token begins with. */
TURNS_INLINE int32_t turns_middle(const struct guess *g)
{
    return (g->corrected >> (CAUSAL_FRACTION + g->low_bits)) * (1 << g->low_bits);
}

TURNS_INLINE bool turns_escapes(unsigned token)
{
    return token == 0 || token == TOKENS - 1;
}

TURNS_INLINE void turns_learn(struct context *context, const struct guess *g, int16_t sample,
                              unsigned token)
{
    const int32_t off = sample * (1 << CAUSAL_FRACTION) - g->plain;
    bias_learn(&context->bias, g->around, off, (energy_size(g->class) * 5 >> 5) + 4);
    tokens_meet(context->tokens, g->context, token);
}

/* ---- encoding ---- */

/* Absent bands' samples are measured, too. */
TURNS_INLINE void turns_measure(const struct line *line, const int32_t *restrict sum)
{
    const struct line l = *line; /* a copy that a compiler can keep in registers */
    uint16_t *restrict energy = l.energy;
    for (size_t i = 0; i < l.width * (size_t)l.step; i++)
        energy[i] = energy_of(l.at[i], causal_predict(l.weight, sum[i], l.at + i, l.step));
}

/* What an outermost token leaves open: how far beyond it the distance lies. */
static inline void turns_put_escape(struct bit_writer *bits, int32_t distance)
{
    const uint32_t beyond = (uint32_t)(distance < CONTEXT_LOWEST ? CONTEXT_LOWEST - distance
                                                                 : distance - CONTEXT_HIGHEST);
    const unsigned n = 31u - (unsigned)__builtin_clz(beyond);
    bit_put(bits, n, CONTEXT_ESCAPE_BITS);
    bit_put(bits, beyond - (1u << n), n);
}

TURNS_INLINE unsigned turns_token(int32_t distance)
{
    return distance < CONTEXT_LOWEST    ? 0
           : distance > CONTEXT_HIGHEST ? TOKENS - 1
                                        : (unsigned)distance;
}

/* Numbers `i` to i + n - 1 of the line, in lanes from `lane` on. */
TURNS_INLINE void turns_encode_one(struct context *context, const struct line *line, size_t i,
                                   unsigned lane, unsigned n, struct bit_writer *bits)
{
    struct guess g[GRID_BANDS];
    int32_t distance[GRID_BANDS];
    uint64_t low = 0;
    unsigned n_low = 0;
    bool escapes = false;
    for (unsigned l = 0; l < n; l++) {
        g[l] = turns_guess(context, line, i + l);
        const int32_t off = line->at[i + l] - turns_middle(&g[l]);
        distance[l] = (off >> g[l].low_bits) + CONTEXT_MIDDLE;
        const unsigned token = turns_token(distance[l]);
        const struct token_range range = tokens_range(context->tokens, g[l].context, token);
        le_store32(context->list + 4 * (context->n_list + l),
                   arith_pack(range.start, range.frequency, lane + l));
        low |= (uint64_t)((uint32_t)off & ((1u << g[l].low_bits) - 1)) << n_low;
        n_low += g[l].low_bits;
        escapes |= turns_escapes(token);
    }
    context->n_list += n;
    bit_put(bits, low, n_low);
    for (unsigned l = 0; escapes && l < n; l++) {
        if (turns_escapes(turns_token(distance[l])))
            turns_put_escape(bits, distance[l]);
    }
    for (unsigned l = 0; l < n; l++)
        turns_learn(context, &g[l], line->at[i + l], turns_token(distance[l]));
}

TURNS_INLINE void turns_encode_line(struct context *context, const struct line *line, unsigned n,
                                    size_t step, struct bit_writer *bits)
{
    struct bit_writer b = *bits; /* a copy that a compiler can keep in registers */
    for (size_t x = 0; x < line->width; x++)
        turns_encode_one(context, line, x * step, 0, n, &b);
    *bits = b;
}

TURNS_INLINE void turns_encode(struct context *context, const struct line *line,
                               struct bit_writer *bits)
{
    if (line->n_bands == GRID_BANDS)
        turns_encode_line(context, line, GRID_BANDS, GRID_BANDS, bits);
    else
        turns_encode_line(context, line, line->n_bands, (size_t)line->step, bits);
}

/* ---- decoding ---- */

/* The distance that an outermost token stands for. */
static inline int32_t turns_get_escape(struct bit_reader *bits, unsigned token)
{
    uint32_t n = bit_get(bits, CONTEXT_ESCAPE_BITS);
    if (n > CONTEXT_ESCAPE_MOST) {
        bits->over = true;
        n = 0;
    }
    const int32_t beyond = (int32_t)(1u << n | bit_get(bits, n));
    return token ? CONTEXT_HIGHEST + beyond : CONTEXT_LOWEST - beyond;
}

TURNS_INLINE void turns_decode_one(struct context *context, const struct line *line, size_t i,
                                   unsigned lane, unsigned n, struct bit_reader *bits,
                                   struct arith_reader *arith)
{
    struct guess g[GRID_BANDS];
    unsigned token[GRID_BANDS];
    int32_t low[GRID_BANDS];
    for (unsigned l = 0; l < n; l++)
        g[l] = turns_guess(context, line, i + l);
    for (unsigned l = 0; l < n; l++) {
        const int16_t slot = (int16_t)arith_slot(arith, lane + l);
        token[l] = tokens_find(context->tokens, g[l].context, slot);
        const struct token_range range = tokens_range(context->tokens, g[l].context, token[l]);
        arith_take(arith, lane + l, range.start, range.frequency);
    }
    for (unsigned l = 0; l < n; l++)
        low[l] = (int32_t)bit_get(bits, g[l].low_bits);
    for (unsigned l = 0; l < n; l++) {
        const int32_t distance =
            turns_escapes(token[l]) ? turns_get_escape(bits, token[l]) : (int32_t)token[l];
        const int32_t off = (distance - CONTEXT_MIDDLE) * (1 << g[l].low_bits) + low[l];
        line->at[i + l] = (int16_t)(turns_middle(&g[l]) + off);
        line->energy[i + l] = energy_of(line->at[i + l], g[l].plain);
    }
    for (unsigned l = 0; l < n; l++)
        turns_learn(context, &g[l], line->at[i + l], token[l]);
}

TURNS_INLINE void turns_decode_line(struct context *context, const struct line *line, unsigned n,
                                    size_t step, struct bit_reader *bits,
                                    struct arith_reader *arith)
{
    struct bit_reader b = *bits; /* copies that a compiler can keep in registers */
    struct arith_reader a = *arith;
    for (size_t x = 0; x < line->width; x++) {
        for (unsigned lane = 0; lane < line->n_bands; lane += n)
            turns_decode_one(context, line, x * step + lane, lane, n, &b, &a);
    }
    *bits = b;
    *arith = a;
}

TURNS_INLINE void turns_decode(struct context *context, const struct line *line,
                               struct bit_reader *bits, struct arith_reader *arith)
{
    if (line->turn == GRID_BANDS)
        turns_decode_line(context, line, GRID_BANDS, GRID_BANDS, bits, arith);
    else if (line->turn == 1)
        turns_decode_line(context, line, 1, (size_t)line->step, bits, arith);
    else
        turns_decode_line(context, line, line->turn, (size_t)line->step, bits, arith);
}

#endif
