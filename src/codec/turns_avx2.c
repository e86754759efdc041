#include "codec/turns_body.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <string.h>

/* Wherever there is AVX2 there are the other two; kernels_avx2() asks. */
#define AVX2 __attribute__((target("avx2,bmi2,popcnt")))

#define LANES 4u
_Static_assert(LANES == GRID_BANDS && LANES == ARITH_LANES, "a turn fills a vector");

static inline AVX2 __m256i load256(const void *at)
{
    return _mm256_loadu_si256(at);
}

static inline AVX2 __m128i load128(const void *at)
{
    return _mm_loadu_si128(at);
}

/* Four samples, as 32 bits each. */
static inline AVX2 __m128i load_samples(const int16_t *at)
{
    return _mm_cvtepi16_epi32(_mm_loadl_epi64((const __m128i *)(const void *)at));
}

/* Where a packed token has its lane. */
static inline AVX2 __m128i lane_numbers(void)
{
    return _mm_slli_epi32(_mm_setr_epi32(0, 1, 2, 3), 2 * ARITH_SCALE);
}

/* ---- sums ---- */

/* Of two taps, for 16 columns, in the order that unpacking leaves. */
static inline AVX2 void add_pair(__m256i sum[2], __m256i a, __m256i b, __m256i weights)
{
    sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), weights));
    sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), weights));
}

static AVX2 void avx2_sum(int32_t *sum, const int16_t *const tap[], const int16_t weight[],
                          unsigned n_taps, int32_t bias, size_t n)
{
    __m256i weights[CAUSAL_TAPS / 2 + 1];
    const int16_t *rest[CAUSAL_TAPS];
    size_t x = 0;
    for (unsigned t = 0; t < n_taps; t += 2) {
        const uint16_t second = t + 1 < n_taps ? (uint16_t)weight[t + 1] : 0;
        weights[t / 2] = _mm256_set1_epi32((int32_t)((uint16_t)weight[t] | (uint32_t)second << 16));
    }
    for (; x + 16 <= n; x += 16) {
        __m256i of[2] = {_mm256_set1_epi32(bias), _mm256_set1_epi32(bias)};
        for (unsigned t = 0; t < n_taps; t += 2)
            add_pair(of, load256(tap[t] + x), load256(tap[t + 1 < n_taps ? t + 1 : t] + x),
                     weights[t / 2]);
        __m256i *to = (__m256i *)(void *)(sum + x);
        _mm256_storeu_si256(to, _mm256_permute2x128_si256(of[0], of[1], 0x20));
        _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(of[0], of[1], 0x31));
    }
    for (unsigned t = 0; t < n_taps; t++)
        rest[t] = tap[t] + x;
    turns_scalar.sum(sum + x, rest, weight, n_taps, bias, n - x);
}

static inline AVX2 __m256i load_wide(const int16_t *at)
{
    return _mm256_cvtepi16_epi32(load128(at));
}

static inline AVX2 __m256i load_energies(const uint16_t *at)
{
    return _mm256_cvtepu16_epi32(load128(at));
}

/* As root_at() of energy.c: numbers below 2^24 and their roots are exact enough as floats. */
static inline AVX2 __m256i roots(const int16_t *above, ptrdiff_t e, __m256i dark)
{
    const __m256i sides = _mm256_add_epi32(load_wide(above - e), load_wide(above + e));
    __m256i z = _mm256_add_epi32(_mm256_slli_epi32(load_wide(above), 1), sides);
    z = _mm256_max_epi32(_mm256_sub_epi32(z, dark), _mm256_setzero_si256());
    /* half of the bits of z beyond 7, rounded down; at least 0 */
    const __m256i as_float = _mm256_castps_si256(_mm256_cvtepi32_ps(z));
    const __m256i beyond =
        _mm256_sub_epi32(_mm256_srli_epi32(as_float, 23), _mm256_set1_epi32(126 + 7));
    const __m256i half = _mm256_srli_epi32(_mm256_max_epi32(beyond, _mm256_setzero_si256()), 1);
    const __m256i top = _mm256_srlv_epi32(z, _mm256_slli_epi32(half, 1));
    const __m256 root = _mm256_sqrt_ps(_mm256_cvtepi32_ps(_mm256_slli_epi32(top, 8)));
    return _mm256_srli_epi32(_mm256_sllv_epi32(_mm256_cvttps_epi32(root), half), 2);
}

static inline AVX2 __m256i times(int16_t weight, __m256i v)
{
    return _mm256_mullo_epi32(_mm256_set1_epi32(weight), v);
}

static AVX2 void avx2_energy_sum(const struct energy *energy, const struct energy_above *above,
                                 size_t from, size_t n, int32_t *sum)
{
    const struct energy_model *m = &energy->model;
    const __m256i dark = _mm256_set1_epi32(4 * m->dark);
    const ptrdiff_t e = above->step;
    size_t x = from;
    for (; x + 8 <= n; x += 8) {
        const uint16_t *at = above->n + x, *nn = above->nn + x;
        const __m256i slant = _mm256_add_epi32(load_energies(at + e), load_energies(at - e));
        const __m256i wide =
            _mm256_add_epi32(_mm256_add_epi32(load_energies(at + 2 * e), load_energies(at - 2 * e)),
                             _mm256_add_epi32(load_energies(nn + e), load_energies(nn - e)));
        __m256i v = _mm256_set1_epi32(m->constant);
        v = _mm256_add_epi32(v, times(m->weight[ENERGY_ROOT], roots(above->sample + x, e, dark)));
        v = _mm256_add_epi32(v, times(m->weight[ENERGY_UP], load_energies(at)));
        v = _mm256_add_epi32(v, times(m->weight[ENERGY_SLANT], slant));
        v = _mm256_add_epi32(v, times(m->weight[ENERGY_FAR], load_energies(nn)));
        v = _mm256_add_epi32(v, times(m->weight[ENERGY_WIDE], wide));
        _mm256_storeu_si256((__m256i *)(void *)(sum + x), v);
    }
    energy_sum(energy, above, x, n, sum);
}

/* ---- a turn of four samples at once ---- */

/* What does not change within a line. */
struct fixed {
    __m128i weights;    /* of the two samples to the left, 16 bits each */
    __m128i e_weights;  /* of their energies */
    __m128i e_constant; /* what these leave out, energies being taken less 2^15 */
};

/* The two samples to the left, the nearer in the low half; likewise their energies, less 2^15. */
struct left {
    __m128i samples, energies;
};

struct four {
    __m128i class, around, context, low_bits; /* as in struct guess */
    __m128i plain, corrected;
};

static inline AVX2 __m128i pair(int32_t low, int32_t high)
{
    return _mm_set1_epi32((int32_t)((uint32_t)(uint16_t)low | (uint32_t)high << 16));
}

static inline AVX2 __m128i join_left(const void *near, const void *far)
{
    return _mm_unpacklo_epi16(_mm_loadl_epi64(near), _mm_loadl_epi64(far));
}

static inline AVX2 __m128i clamp(__m128i v, int32_t least, int32_t most)
{
    return _mm_min_epi32(_mm_max_epi32(v, _mm_set1_epi32(least)), _mm_set1_epi32(most));
}

/* `bit` where a sample lies above the prediction. */
static inline AVX2 __m128i above(__m128i sample, __m128i p, int32_t bit)
{
    return _mm_and_si128(_mm_cmpgt_epi32(sample, p), _mm_set1_epi32(bit));
}

static inline AVX2 __m128i class_of(__m128i sum, const struct fixed *f, const struct left *left)
{
    const __m128i own = _mm_madd_epi16(left->energies, f->e_weights);
    const __m128i v = _mm_add_epi32(_mm_add_epi32(sum, f->e_constant), own);
    const __m128i in_range = clamp(_mm_srai_epi32(v, 6), 8, (1 << 21) - 1);
    const __m128i bits = _mm_castps_si128(_mm_cvtepi32_ps(in_range));
    return _mm_sub_epi32(_mm_srli_epi32(bits, ENERGY_CLASS_BITS),
                         _mm_set1_epi32((int32_t)ENERGY_CLASS_0));
}

static inline AVX2 __m128i plain_of(__m128i sum, const struct fixed *f, const struct left *left)
{
    const __m128i v = _mm_add_epi32(sum, _mm_madd_epi16(left->samples, f->weights));
    return clamp(_mm_srai_epi32(v, CAUSAL_ONE - CAUSAL_FRACTION),
                 INT16_MIN * (1 << CAUSAL_FRACTION), INT16_MAX * (1 << CAUSAL_FRACTION));
}

static inline AVX2 __m128i around_of(const struct four *g, const struct line *line, size_t i,
                                     const struct left *left)
{
    const __m128i p = _mm_srai_epi32(g->plain, CAUSAL_FRACTION);
    const __m128i w = _mm_srai_epi32(_mm_slli_epi32(left->samples, 16), 16);
    const int16_t *n = line->n + i;
    const __m128i a = _mm_or_si128(above(load_samples(n), p, 1), above(w, p, 2));
    const __m128i b =
        _mm_or_si128(above(load_samples(n - LANES), p, 4), above(load_samples(n + LANES), p, 8));
    const __m128i c = above(load_samples(line->nn + i), p, 16);
    const __m128i level =
        _mm_and_si128(_mm_srli_epi32(g->class, 3), _mm_set1_epi32((int32_t)BIAS_LEVELS - 1));
    return _mm_or_si128(_mm_or_si128(_mm_or_si128(a, b), c),
                        _mm_slli_epi32(level, (int)BIAS_AROUND));
}

static inline AVX2 unsigned lane(__m128i v, unsigned l)
{
    return (unsigned)(l == 0   ? _mm_extract_epi32(v, 0)
                      : l == 1 ? _mm_extract_epi32(v, 1)
                      : l == 2 ? _mm_extract_epi32(v, 2)
                               : _mm_extract_epi32(v, 3));
}

static inline AVX2 struct four guess_four(const struct context *context, const struct line *line,
                                          size_t i, const struct fixed *f, const struct left *left)
{
    struct four g;
    g.class = class_of(load128(context->e_sum + i), f, left);
    g.plain = plain_of(load128(context->sum + i), f, left);
    g.around = around_of(&g, line, i, left);
    const int32_t *mean = context->bias.mean;
    const __m128i means = _mm_setr_epi32(mean[lane(g.around, 0)], mean[lane(g.around, 1)],
                                         mean[lane(g.around, 2)], mean[lane(g.around, 3)]);
    g.corrected = _mm_add_epi32(g.plain, _mm_srai_epi32(means, 8));
    const __m128i octave = _mm_srli_epi32(_mm_add_epi32(g.class, _mm_set1_epi32(2)), 2);
    g.low_bits = _mm_max_epi32(_mm_sub_epi32(octave, _mm_set1_epi32(5)), _mm_setzero_si128());
    const __m128i fraction =
        _mm_and_si128(_mm_srav_epi32(g.corrected, _mm_add_epi32(g.low_bits, _mm_set1_epi32(1))),
                      _mm_set1_epi32((int32_t)TOKENS_FRACTIONS - 1));
    g.context = _mm_add_epi32(_mm_slli_epi32(g.class, 2), fraction);
    return g;
}

static inline AVX2 __m128i middle_four(const struct four *g)
{
    const __m128i by = _mm_add_epi32(g->low_bits, _mm_set1_epi32(CAUSAL_FRACTION));
    return _mm_sllv_epi32(_mm_srav_epi32(g->corrected, by), g->low_bits);
}

/* ---- tokens ---- */

struct ranges {
    __m128i start, frequency;
};

/* `pairs`: of each lane, its token's bound in the low half, the next one in the high half. */
static inline AVX2 struct ranges ranges_of(__m128i pairs)
{
    const __m128i mask = _mm_set1_epi32((1 << ARITH_SCALE) - 1);
    const __m128i start = _mm_and_si128(pairs, mask);
    const __m128i end = _mm_srli_epi32(pairs, 16);
    return (struct ranges){start, _mm_and_si128(_mm_sub_epi32(end, start), mask)};
}

static inline AVX2 int32_t bounds_at(const struct tokens *tokens, unsigned context, unsigned token)
{
    int32_t pair;
    memcpy(&pair, tokens->bound + context * TOKENS + token, sizeof(pair));
    return pair;
}

/* `slot`: in all 16 items. */
static inline AVX2 unsigned find(const int16_t *bound, __m256i slot)
{
    const __m256i a = _mm256_cmpgt_epi16(load256(bound), slot);
    const __m256i b = _mm256_cmpgt_epi16(load256(bound + 16), slot);
    const int beyond = _mm256_movemask_epi8(_mm256_packs_epi16(a, b));
    return TOKENS - 1 - (unsigned)__builtin_popcount((unsigned)beyond);
}

static inline AVX2 void meet(struct tokens *tokens, unsigned context, unsigned token)
{
    int16_t *bound = tokens->bound + context * TOKENS;
    const int16_t *goal = tokens->goal[token];
    const unsigned count = tokens->count[context];
    const __m256i rate = _mm256_set1_epi16(tokens->rate[count]);
    for (unsigned t = 0; t < TOKENS; t += 16) {
        const __m256i from = load256(bound + t);
        const __m256i way = _mm256_sub_epi16(load256(goal + t), from);
        _mm256_storeu_si256((__m256i *)(void *)(bound + t),
                            _mm256_add_epi16(from, _mm256_mulhi_epi16(way, rate)));
    }
    tokens->count[context] = (uint16_t)(count + (count < TOKENS_COUNT_MOST));
}

/* The next four words, in the low halves; zeros beyond the end. */
static inline AVX2 __m128i next_words(const struct arith_reader *r)
{
    uint64_t words = 0;
    const size_t left = (size_t)(r->end - r->at);
    if (left >= sizeof(words))
        words = le_load64(r->at);
    else
        memcpy(&words, r->at, left & ~(size_t)1);
    return _mm_cvtepu16_epi32(_mm_cvtsi64_si128((int64_t)words));
}

/* By which lanes want a word (bit l: lane l): where each finds its own among the next. */
#define AT(w) 4 * (w), 4 * (w) + 1, 4 * (w) + 2, 4 * (w) + 3
#define NO    0, 0, 0, 0
static const uint8_t deal[16][16] = {{NO, NO, NO, NO},          {AT(0), NO, NO, NO},
                                     {NO, AT(0), NO, NO},       {AT(0), AT(1), NO, NO},
                                     {NO, NO, AT(0), NO},       {AT(0), NO, AT(1), NO},
                                     {NO, AT(0), AT(1), NO},    {AT(0), AT(1), AT(2), NO},
                                     {NO, NO, NO, AT(0)},       {AT(0), NO, NO, AT(1)},
                                     {NO, AT(0), NO, AT(1)},    {AT(0), AT(1), NO, AT(2)},
                                     {NO, NO, AT(0), AT(1)},    {AT(0), NO, AT(1), AT(2)},
                                     {NO, AT(0), AT(1), AT(2)}, {AT(0), AT(1), AT(2), AT(3)}};
#undef AT
#undef NO

/* The states after words have come in where they are low. */
static inline AVX2 __m128i refill(struct arith_reader *r, __m128i x)
{
    const __m128i low = _mm_cmpeq_epi32(_mm_srli_epi32(x, 16), _mm_setzero_si128());
    const unsigned which = (unsigned)_mm_movemask_ps(_mm_castsi128_ps(low));
    const __m128i words = _mm_shuffle_epi8(next_words(r), load128(deal[which]));
    const size_t wanted = 2 * (size_t)__builtin_popcount(which);
    const size_t left = (size_t)(r->end - r->at) & ~(size_t)1;
    r->over |= wanted > left;
    r->at += wanted > left ? left : wanted;
    return _mm_blendv_epi8(x, _mm_or_si128(_mm_slli_epi32(x, 16), words), low);
}

/* Takes a token out of each state; leaves the tokens of lanes in `token`, too. */
static inline AVX2 __m128i take_four(const struct tokens *tokens, __m128i context, __m128i *x,
                                     struct arith_reader *r, unsigned token[LANES])
{
    const __m128i slot = _mm_and_si128(*x, _mm_set1_epi32((1 << ARITH_SCALE) - 1));
    const __m128i slots[LANES] = {slot, _mm_srli_si128(slot, 4), _mm_srli_si128(slot, 8),
                                  _mm_srli_si128(slot, 12)};
    int32_t pair[LANES];
    for (unsigned l = 0; l < LANES; l++) {
        const unsigned of = lane(context, l);
        token[l] = find(tokens->bound + of * TOKENS, _mm256_broadcastw_epi16(slots[l]));
        pair[l] = bounds_at(tokens, of, token[l]);
    }
    const struct ranges ranges = ranges_of(_mm_setr_epi32(pair[0], pair[1], pair[2], pair[3]));
    const __m128i high = _mm_mullo_epi32(_mm_srli_epi32(*x, ARITH_SCALE), ranges.frequency);
    *x = refill(r, _mm_add_epi32(high, _mm_sub_epi32(slot, ranges.start)));
    return _mm_setr_epi32((int)token[0], (int)token[1], (int)token[2], (int)token[3]);
}

/* The low bits of four samples. */
static inline AVX2 __m128i low_four(struct bit_reader *bits, __m128i n)
{
    __m128i ends = _mm_add_epi32(n, _mm_slli_si128(n, 4));
    ends = _mm_add_epi32(ends, _mm_slli_si128(ends, 8));
    const unsigned total = lane(ends, 3);
    if (bits->n < total)
        bit_refill(bits);
    if (bits->n < total) {
        bits->over = true;
        return _mm_setzero_si128();
    }
    const __m256i from = _mm256_cvtepu32_epi64(_mm_sub_epi32(ends, n));
    const __m256i shifted = _mm256_srlv_epi64(_mm256_set1_epi64x((int64_t)bits->bits), from);
    const __m256i even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    const __m128i v = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(shifted, even));
    const __m128i beyond = _mm_sllv_epi32(_mm_set1_epi32(-1), n);
    bits->bits >>= total;
    bits->n -= total;
    return _mm_andnot_si128(beyond, v);
}

static __attribute__((noinline)) AVX2 __m128i escape_four(struct bit_reader *bits,
                                                          const unsigned token[LANES])
{
    int32_t distance[LANES];
    for (unsigned l = 0; l < LANES; l++)
        distance[l] =
            turns_escapes(token[l]) ? turns_get_escape(bits, token[l]) : (int32_t)token[l];
    return load128(distance);
}

static inline AVX2 bool any_escapes(__m128i token)
{
    const __m128i low = _mm_cmpeq_epi32(token, _mm_setzero_si128());
    const __m128i high = _mm_cmpeq_epi32(token, _mm_set1_epi32((int)TOKENS - 1));
    return _mm_movemask_epi8(_mm_or_si128(low, high)) != 0;
}

/* ---- learning ---- */

static inline AVX2 void learn_four(struct context *context, const struct four *g, __m128i off,
                                   const unsigned token[LANES])
{
    const __m128i part = _mm_and_si128(g->class, _mm_set1_epi32(3));
    const __m128i by = _mm_add_epi32(_mm_srli_epi32(g->class, 2), _mm_set1_epi32(1));
    const __m128i size = _mm_sllv_epi32(_mm_add_epi32(part, _mm_set1_epi32(4)), by);
    const __m128i five = _mm_add_epi32(size, _mm_slli_epi32(size, 2));
    const __m128i most = _mm_add_epi32(_mm_srai_epi32(five, 5), _mm_set1_epi32(4));
    const __m128i least = _mm_sub_epi32(_mm_setzero_si128(), most);
    const __m128i clamped = _mm_max_epi32(_mm_min_epi32(off, most), least);
    for (unsigned l = 0; l < LANES; l++) {
        int32_t *mean = &context->bias.mean[lane(g->around, l)];
        *mean += ((int32_t)lane(clamped, l) * 256 - *mean) >> BIAS_RATE;
    }
    for (unsigned l = 0; l < LANES; l++)
        meet(context->tokens, lane(g->context, l), token[l]);
}

/* ---- a line ---- */

static inline AVX2 struct left left_of(const struct line *line)
{
    const __m128i energies = join_left(line->energy - LANES, line->energy - 2 * LANES);
    return (struct left){.samples = join_left(line->at - LANES, line->at - 2 * LANES),
                         .energies = _mm_xor_si128(energies, _mm_set1_epi16(INT16_MIN))};
}

static inline AVX2 struct fixed fixed_of(const struct line *line)
{
    const uint32_t both = (uint32_t)line->e_left + (uint32_t)line->e_far;
    return (struct fixed){.weights = pair(line->weight[0], line->weight[1]),
                          .e_weights = pair(line->e_left, line->e_far),
                          .e_constant = _mm_set1_epi32((int32_t)(both << 15))};
}

/* Writes samples and their energies, and moves on. */
static inline AVX2 __m128i settle(const struct line *line, size_t i, __m128i sample, __m128i plain,
                                  struct left *left)
{
    const __m128i off = _mm_sub_epi32(_mm_slli_epi32(sample, CAUSAL_FRACTION), plain);
    const __m128i energy = _mm_min_epi32(_mm_abs_epi32(off), _mm_set1_epi32(UINT16_MAX));
    _mm_storel_epi64((__m128i *)(void *)(line->at + i), _mm_packs_epi32(sample, sample));
    _mm_storel_epi64((__m128i *)(void *)(line->energy + i), _mm_packus_epi32(energy, energy));
    const __m128i signed_energy = _mm_xor_si128(energy, _mm_set1_epi32(0x8000));
    left->samples = _mm_blend_epi16(_mm_slli_epi32(left->samples, 16), sample, 0x55);
    left->energies = _mm_blend_epi16(_mm_slli_epi32(left->energies, 16), signed_energy, 0x55);
    return off;
}

static AVX2 void decode_four(struct context *context, const struct line *line,
                             struct bit_reader *bits, struct arith_reader *arith)
{
    const struct fixed fixed = fixed_of(line);
    struct left left = left_of(line);
    struct bit_reader b = *bits;
    struct arith_reader a = *arith;
    __m128i x = load128(a.x);
    for (size_t i = 0; i < LANES * line->width; i += LANES) {
        const struct four g = guess_four(context, line, i, &fixed, &left);
        const __m128i low = low_four(&b, g.low_bits);
        unsigned token[LANES];
        __m128i distance = take_four(context->tokens, g.context, &x, &a, token);
        if (__builtin_expect(any_escapes(distance), 0))
            distance = escape_four(&b, token);
        const __m128i steps = _mm_sub_epi32(distance, _mm_set1_epi32(CONTEXT_MIDDLE));
        const __m128i off = _mm_add_epi32(_mm_sllv_epi32(steps, g.low_bits), low);
        const __m128i sum = _mm_add_epi32(middle_four(&g), off);
        const __m128i sample = _mm_srai_epi32(_mm_slli_epi32(sum, 16), 16);
        learn_four(context, &g, settle(line, i, sample, g.plain, &left), token);
    }
    _mm_storeu_si128((__m128i *)(void *)a.x, x);
    *bits = b;
    *arith = a;
}

static AVX2 void avx2_decode(struct context *context, const struct line *line,
                             struct bit_reader *bits, struct arith_reader *arith)
{
    if (line->turn == LANES)
        decode_four(context, line, bits, arith);
    else
        turns_decode(context, line, bits, arith);
}

/* Appends four tokens to the encoder's list. */
static inline AVX2 void list_four(struct context *context, const struct four *g,
                                  const unsigned token[LANES])
{
    int32_t pair[LANES];
    for (unsigned l = 0; l < LANES; l++)
        pair[l] = bounds_at(context->tokens, lane(g->context, l), token[l]);
    const struct ranges ranges = ranges_of(_mm_setr_epi32(pair[0], pair[1], pair[2], pair[3]));
    const __m128i frequency = _mm_slli_epi32(ranges.frequency, ARITH_SCALE);
    const __m128i packed = _mm_or_si128(_mm_or_si128(ranges.start, frequency), lane_numbers());
    _mm_storeu_si128((__m128i *)(void *)(context->list + 4 * context->n_list), packed);
    context->n_list += LANES;
}

static inline AVX2 void put_low_four(struct bit_writer *bits, __m128i off, __m128i n)
{
    const __m128i low = _mm_andnot_si128(_mm_sllv_epi32(_mm_set1_epi32(-1), n), off);
    uint64_t all = 0;
    unsigned at = 0;
    for (unsigned l = 0; l < LANES; l++) {
        all |= (uint64_t)lane(low, l) << at;
        at += lane(n, l);
    }
    bit_put(bits, all, at);
}

static __attribute__((noinline)) AVX2 void put_escapes(struct bit_writer *bits, __m128i distances)
{
    int32_t distance[LANES];
    _mm_storeu_si128((__m128i *)(void *)distance, distances);
    for (unsigned l = 0; l < LANES; l++) {
        if (turns_escapes(turns_token(distance[l])))
            turns_put_escape(bits, distance[l]);
    }
}

static AVX2 void encode_four(struct context *context, const struct line *line,
                             struct bit_writer *bits)
{
    const struct fixed fixed = fixed_of(line);
    struct left left = left_of(line);
    struct bit_writer b = *bits;
    for (size_t i = 0; i < LANES * line->width; i += LANES) {
        const struct four g = guess_four(context, line, i, &fixed, &left);
        const __m128i sample = load_samples(line->at + i);
        const __m128i off = _mm_sub_epi32(sample, middle_four(&g));
        const __m128i distance =
            _mm_add_epi32(_mm_srav_epi32(off, g.low_bits), _mm_set1_epi32(CONTEXT_MIDDLE));
        const __m128i tokens = clamp(distance, 0, (int32_t)TOKENS - 1);
        const unsigned token[LANES] = {lane(tokens, 0), lane(tokens, 1), lane(tokens, 2),
                                       lane(tokens, 3)};
        list_four(context, &g, token);
        put_low_four(&b, off, g.low_bits);
        if (__builtin_expect(any_escapes(tokens), 0))
            put_escapes(&b, distance);
        learn_four(context, &g, settle(line, i, sample, g.plain, &left), token);
    }
    *bits = b;
}

static AVX2 void avx2_encode(struct context *context, const struct line *line,
                             struct bit_writer *bits)
{
    if (line->n_bands == LANES)
        encode_four(context, line, bits);
    else
        turns_encode(context, line, bits);
}

static AVX2 void avx2_measure(const struct line *line, const int32_t *sum)
{
    turns_measure(line, sum);
}

const struct turns turns_avx2 = {
    .add_window = normal_add_avx2,
    .sum = avx2_sum,
    .energy_sum = avx2_energy_sum,
    .measure = avx2_measure,
    .encode = avx2_encode,
    .decode = avx2_decode,
};

#endif
