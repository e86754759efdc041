#include "codec/kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define AVX2   __attribute__((target("avx2")))
#define INLINE static inline __attribute__((always_inline)) AVX2

INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE unsigned index_at(const uint8_t *in, unsigned i)
{
    return (unsigned)in[2 * i] | (unsigned)in[2 * i + 1] << 8;
}

/* One load for each index and one for what stands there beat the processor's own gathering. */
AVX2 void avx2_look_up(const uint16_t *table, const uint8_t *in, size_t n, uint8_t *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const uint8_t *at = in + 2 * i;
        __m128i v = _mm_cvtsi32_si128(table[index_at(at, 0)]);
        v = _mm_insert_epi16(v, table[index_at(at, 1)], 1);
        v = _mm_insert_epi16(v, table[index_at(at, 2)], 2);
        v = _mm_insert_epi16(v, table[index_at(at, 3)], 3);
        v = _mm_insert_epi16(v, table[index_at(at, 4)], 4);
        v = _mm_insert_epi16(v, table[index_at(at, 5)], 5);
        v = _mm_insert_epi16(v, table[index_at(at, 6)], 6);
        v = _mm_insert_epi16(v, table[index_at(at, 7)], 7);
        _mm_storeu_si128((__m128i *)(void *)(out + 2 * i), v);
    }
    scalar_look_up(table, in + 2 * i, n - i, out + 2 * i);
}

struct vectors {
    __m256i whole;
    __m256 rest, gain, dark, least;
};

/* error^2 / variance of 8 samples. */
INLINE __m256 ratios(const struct vectors *m, __m128i value, __m128i error)
{
    const __m256 zero = _mm256_setzero_ps();
    const __m256 over =
        _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu16_epi32(value), m->whole));
    const __m256 light = _mm256_max_ps(_mm256_sub_ps(over, m->rest), zero);
    const __m256 variance = _mm256_add_ps(_mm256_mul_ps(m->gain, light), m->dark);
    const __m256 e = _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(error));
    return _mm256_div_ps(_mm256_mul_ps(e, e), _mm256_max_ps(variance, m->least));
}

#define SMALL_ERROR 2047u /* squares of LOSS_MOST of these are added in 32 bits */

AVX2 static uint64_t sum_squares(const uint16_t *errors, size_t n, uint32_t most)
{
    uint64_t sum = 0;
    if (most > SMALL_ERROR) {
        for (size_t i = 0; i < n; i++)
            sum += (uint32_t)errors[i] * errors[i];
        return sum;
    }
    uint32_t lanes[8];
    __m256i squares = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 16) {
        const __m256i e = load(errors + i);
        squares = _mm256_add_epi32(squares, _mm256_madd_epi16(e, e));
    }
    _mm256_storeu_si256((__m256i *)(void *)lanes, squares);
    for (unsigned i = 0; i < 8; i++)
        sum += lanes[i];
    return sum;
}

INLINE uint32_t highest(__m256i v)
{
    uint16_t lanes[16], most = 0;
    _mm256_storeu_si256((__m256i *)(void *)lanes, v);
    for (unsigned i = 0; i < 16; i++)
        most = lanes[i] > most ? lanes[i] : most;
    return most;
}

AVX2 void avx2_loss(const uint8_t *original, const uint8_t *decoded, size_t n, uint16_t flip,
                    const struct loss_model *model, struct loss *out)
{
    uint16_t errors[LOSS_MOST];
    const __m256i flips = _mm256_set1_epi16((short)flip);
    const struct vectors m = {_mm256_set1_epi32(model->whole), _mm256_set1_ps(model->rest),
                              _mm256_set1_ps(model->gain), _mm256_set1_ps(model->dark),
                              _mm256_set1_ps(model->least)};
    __m256i peak = _mm256_setzero_si256(), most = peak;
    __m256 sum = _mm256_setzero_ps(), top = sum;
    float tops[LOSS_LANES];
    for (size_t i = 0; i < n; i += 16) {
        const __m256i a = _mm256_xor_si256(load(original + 2 * i), flips);
        const __m256i b = _mm256_xor_si256(load(decoded + 2 * i), flips);
        const __m256i e = _mm256_or_si256(_mm256_subs_epu16(a, b), _mm256_subs_epu16(b, a));
        _mm256_storeu_si256((__m256i *)(void *)(errors + i), e);
        peak = _mm256_max_epu16(peak, a);
        most = _mm256_max_epu16(most, e);
    }
    *out = (struct loss){.peak = highest(peak), .max_error = highest(most)};
    if (!out->max_error)
        return;
    for (size_t i = 0; i < n; i += 8) {
        const __m128i v = _mm_loadu_si128((const void *)(original + 2 * i));
        const __m128i e = _mm_loadu_si128((const void *)(errors + i));
        const __m256 r = ratios(&m, _mm_xor_si128(v, _mm256_castsi256_si128(flips)), e);
        sum = _mm256_add_ps(sum, r);
        top = _mm256_max_ps(top, r);
    }
    _mm256_storeu_ps(out->ratios, sum);
    _mm256_storeu_ps(tops, top);
    for (unsigned i = 0; i < LOSS_LANES; i++)
        out->max_ratio = tops[i] > out->max_ratio ? tops[i] : out->max_ratio;
    out->squares = sum_squares(errors, n, out->max_error);
}

#endif
