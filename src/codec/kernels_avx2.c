#include "codec/kernels.h"
#include "codec/turns.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))

static inline AVX2 __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static inline AVX2 void store(uint8_t *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

/* ---- bytes of samples ---- */

static AVX2 void avx2_deal2(const uint8_t *in, size_t n, uint8_t *rows, size_t stride)
{
    const __m256i low = _mm256_set1_epi16(0x00ff);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i a = load(in + 2 * i), b = load(in + 2 * i + 32);
        __m256i b0 = _mm256_packus_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
        __m256i b1 = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
        store(rows + i, _mm256_permute4x64_epi64(b0, 0xD8)); /* packing works within 16 bytes */
        store(rows + stride + i, _mm256_permute4x64_epi64(b1, 0xD8));
    }
    for (; i < n; i++) {
        rows[i] = in[2 * i];
        rows[stride + i] = in[2 * i + 1];
    }
}

static AVX2 void avx2_gather2(const uint8_t *rows, size_t stride, size_t n, uint8_t *out)
{
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i b0 = _mm256_permute4x64_epi64(load(rows + i), 0xD8);
        __m256i b1 = _mm256_permute4x64_epi64(load(rows + stride + i), 0xD8);
        store(out + 2 * i, _mm256_unpacklo_epi8(b0, b1));
        store(out + 2 * i + 32, _mm256_unpackhi_epi8(b0, b1));
    }
    for (; i < n; i++) {
        out[2 * i] = rows[i];
        out[2 * i + 1] = rows[stride + i];
    }
}

/* 8 samples: 8 times byte 0, 8 times byte 1, ...; its own inverse but for the order of the two
 * steps. */
static inline AVX2 __m256i group4(__m256i v)
{
    const __m256i within = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0,
                                            4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m256i across = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(v, within), across);
}

static inline AVX2 __m256i ungroup4(__m256i v)
{
    const __m256i within = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0,
                                            4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m256i across = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    return _mm256_shuffle_epi8(_mm256_permutevar8x32_epi32(v, across), within);
}

/* v[i] element j goes to v[j] element i: 4 x 4 of 8 bytes each. */
static inline AVX2 void transpose4x64(__m256i v[4])
{
    __m256i a = _mm256_unpacklo_epi64(v[0], v[1]), b = _mm256_unpackhi_epi64(v[0], v[1]);
    __m256i c = _mm256_unpacklo_epi64(v[2], v[3]), d = _mm256_unpackhi_epi64(v[2], v[3]);
    v[0] = _mm256_permute2x128_si256(a, c, 0x20);
    v[1] = _mm256_permute2x128_si256(b, d, 0x20);
    v[2] = _mm256_permute2x128_si256(a, c, 0x31);
    v[3] = _mm256_permute2x128_si256(b, d, 0x31);
}

static AVX2 void avx2_deal4(const uint8_t *in, size_t n, uint8_t *rows, size_t stride)
{
    __m256i v[4];
    size_t whole = n - n % 32;
    for (size_t i = 0; i < whole; i += 32) {
        for (size_t j = 0; j < 4; j++)
            v[j] = group4(load(in + 4 * i + 32 * j));
        transpose4x64(v);
        for (size_t j = 0; j < 4; j++)
            store(rows + j * stride + i, v[j]);
    }
    if (whole < n)
        kernels_scalar.deal4(in + 4 * whole, n - whole, rows + whole, stride);
}

static void avx2_deal8(const uint8_t *in, size_t n, uint8_t *rows, size_t stride)
{
    kernels_scalar.deal8(in, n, rows, stride);
}

static void avx2_gather8(const uint8_t *rows, size_t stride, size_t n, uint8_t *out)
{
    kernels_scalar.gather8(rows, stride, n, out);
}

static AVX2 void avx2_gather4(const uint8_t *rows, size_t stride, size_t n, uint8_t *out)
{
    __m256i v[4];
    size_t whole = n - n % 32;
    for (size_t i = 0; i < whole; i += 32) {
        for (size_t j = 0; j < 4; j++)
            v[j] = load(rows + j * stride + i);
        transpose4x64(v);
        for (size_t j = 0; j < 4; j++)
            store(out + 4 * i + 32 * j, ungroup4(v[j]));
    }
    if (whole < n)
        kernels_scalar.gather4(rows + whole, stride, n - whole, out + 4 * whole);
}

/* ---- bits of bytes ---- */

static inline AVX2 __m256i flip_order(enum flip flip)
{
    if (flip == FLIP_8)
        return _mm256_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3,
                                2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
    if (flip == FLIP_16)
        return _mm256_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13,
                                12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5,
                            6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

static AVX2 void avx2_split(const uint8_t *in, size_t n, uint8_t *rows, ptrdiff_t stride,
                            enum flip flip)
{
    const __m256i order = flip_order(flip);
    size_t whole = n - n % 32;
    for (size_t i = 0; i < whole; i += 32) {
        __m256i v = _mm256_shuffle_epi8(load(in + i), order);
        for (int b = 7; b >= 0; b--) {
            int bits = _mm256_movemask_epi8(v); /* bit 7 of each byte */
            memcpy(rows + b * stride + i / 8, &bits, sizeof(bits));
            v = _mm256_add_epi8(v, v);
        }
    }
    if (whole < n)
        kernels_scalar.split(in + whole, n - whole, rows + whole / 8, stride, flip);
}

/* Bit j of byte i of each 8 bytes goes to bit i of byte j, as in kernels.c. */
static inline AVX2 __m256i transpose8(__m256i x)
{
    const __m256i m1 = _mm256_set1_epi64x(0x00AA00AA00AA00AA);
    const __m256i m2 = _mm256_set1_epi64x(0x0000CCCC0000CCCC);
    const __m256i m4 = _mm256_set1_epi64x(0x00000000F0F0F0F0);
    __m256i t;
    t = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, 7)), m1);
    x = _mm256_xor_si256(x, _mm256_xor_si256(t, _mm256_slli_epi64(t, 7)));
    t = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, 14)), m2);
    x = _mm256_xor_si256(x, _mm256_xor_si256(t, _mm256_slli_epi64(t, 14)));
    t = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, 28)), m4);
    return _mm256_xor_si256(x, _mm256_xor_si256(t, _mm256_slli_epi64(t, 28)));
}

/* 8 rows of 32 bytes to columns of 8: column c of the low 16 bytes ends in v[c / 2], of the high 16
 * in the upper half of the same. */
static inline AVX2 void columns8(__m256i v[8])
{
    __m256i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi8(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi8(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) { /* rows 0-3 and 4-7, columns 0-7 and 8-15 */
        for (int h = 0; h < 2; h++) {
            b[4 * i + 2 * h] = _mm256_unpacklo_epi16(a[4 * i + h], a[4 * i + 2 + h]);
            b[4 * i + 2 * h + 1] = _mm256_unpackhi_epi16(a[4 * i + h], a[4 * i + 2 + h]);
        }
    }
    for (int i = 0; i < 4; i++) {
        v[2 * i] = _mm256_unpacklo_epi32(b[i], b[4 + i]);
        v[2 * i + 1] = _mm256_unpackhi_epi32(b[i], b[4 + i]);
    }
}

static AVX2 void avx2_join(const uint8_t *rows, ptrdiff_t stride, size_t n, uint8_t *out,
                           enum flip flip)
{
    const __m256i order = flip_order(flip);
    size_t whole = n - n % 256;
    for (size_t i = 0; i < whole; i += 256) {
        __m256i v[8];
        for (int b = 0; b < 8; b++)
            v[b] = load(rows + b * stride + i / 8);
        columns8(v);
        for (int c = 0; c < 8; c++)
            v[c] = _mm256_shuffle_epi8(transpose8(v[c]), order);
        for (int c = 0; c < 4; c++) {
            store(out + i + 32 * c, _mm256_permute2x128_si256(v[2 * c], v[2 * c + 1], 0x20));
            store(out + i + 128 + 32 * c, _mm256_permute2x128_si256(v[2 * c], v[2 * c + 1], 0x31));
        }
    }
    if (whole < n)
        kernels_scalar.join(rows + whole / 8, stride, n - whole, out + whole, flip);
}

const struct kernels *kernels_avx2(void)
{
    static const struct kernels avx2 = {
        .name = "avx2",
        .deal2 = avx2_deal2,
        .deal4 = avx2_deal4,
        .deal8 = avx2_deal8,
        .gather2 = avx2_gather2,
        .gather4 = avx2_gather4,
        .gather8 = avx2_gather8,
        .split = avx2_split,
        .join = avx2_join,
        .part = avx2_part,
        .merge = avx2_merge,
        .residual = avx2_residual,
        .restore = avx2_restore,
        .sums = avx2_sums,
        .pack = avx2_pack,
        .unpack = avx2_unpack,
        .join_low = avx2_join_low,
        .thin = avx2_thin,
        .thicken = avx2_thicken,
        .look_up = avx2_look_up,
        .loss = avx2_loss,
        .turns = &turns_avx2,
    };
    const bool all = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
                     __builtin_cpu_supports("popcnt");
    return all ? &avx2 : NULL;
}

#else

const struct kernels *kernels_avx2(void)
{
    return NULL;
}

#endif
