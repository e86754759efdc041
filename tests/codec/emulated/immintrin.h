/* Stands in for the compiler's header: the same names, in portable C, by SIMDe. For the kernel check
 * alone. What SIMDe lacks is made of its halves. */
#ifndef SQYFS_TESTS_CODEC_EMULATED_IMMINTRIN_H
#define SQYFS_TESTS_CODEC_EMULATED_IMMINTRIN_H

#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES

#include <simde/x86/avx512.h>

#undef __mmask64
#define __mmask64 simde__mmask64

#undef _mm512_madd_epi16 /* its alias takes the wrong number of arguments in 0.7.4 */
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)

static inline simde__m512i emulated_join(simde__m256i low, simde__m256i high)
{
    return simde_mm512_inserti64x4(simde_mm512_castsi256_si512(low), high, 1);
}

#define EMULATED_HALVES(f, v, ...)                                                                 \
    emulated_join(f(simde_mm512_extracti64x4_epi64(v, 0), __VA_ARGS__),                            \
                  f(simde_mm512_extracti64x4_epi64(v, 1), __VA_ARGS__))

#undef _mm512_srai_epi32
#define _mm512_srai_epi32(v, by) EMULATED_HALVES(simde_mm256_srai_epi32, v, by)
#undef _mm512_shuffle_epi32
#define _mm512_shuffle_epi32(v, order) EMULATED_HALVES(simde_mm256_shuffle_epi32, v, order)

#endif
