#include "codec/normal.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define AVX2  __attribute__((target("avx2")))
#define LANES 8u
#define ROW   (NORMAL_WINDOW / LANES) /* vectors of a window's row */

/* Products, summed in lanes. Multiplied and added apart: as the scalar one does. */
static inline AVX2 __m256 products(const __m256 a[ROW], const float *b)
{
    __m256 sum = _mm256_setzero_ps();
    for (unsigned i = 0; i < ROW; i++)
        sum = _mm256_add_ps(sum, _mm256_mul_ps(a[i], _mm256_loadu_ps(b + LANES * i)));
    return sum;
}

/* Sums of the lanes of four, in the scalar one's order. */
static inline AVX2 __m256d sums(__m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m256 four = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm256_cvtps_pd(
        _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1)));
}

static inline AVX2 double dot(const __m256 a[ROW], const float *b)
{
    const __m256 zero = _mm256_setzero_ps();
    return _mm256_cvtsd_f64(sums(products(a, b), zero, zero, zero));
}

AVX2 void normal_add_avx2(struct normal *normal, const struct normal_window *window)
{
    __m256 weighted[ROW];
    for (unsigned i = 0; i < normal->n; i++) {
        const float(*f)[NORMAL_WINDOW] = window->feature;
        double *a = normal->a[i];
        unsigned j = 0;
        for (unsigned s = 0; s < ROW; s++)
            weighted[s] = _mm256_mul_ps(_mm256_loadu_ps(window->weight + LANES * s),
                                        _mm256_loadu_ps(f[i] + LANES * s));
        for (; j + 4 <= i + 1; j += 4) {
            const __m256d four = sums(products(weighted, f[j]), products(weighted, f[j + 1]),
                                      products(weighted, f[j + 2]), products(weighted, f[j + 3]));
            _mm256_storeu_pd(a + j, _mm256_add_pd(_mm256_loadu_pd(a + j), four));
        }
        for (; j <= i; j++)
            a[j] += dot(weighted, f[j]);
        normal->b[i] += dot(weighted, window->wanted);
    }
}

#endif
