/* For machines with AVX-512 F, BW and VL: all of the table, in vectors of 64 bytes. The kernel check
 * also builds this file against an emulation of these instructions (tests/codec/emulated). */
#include "codec/kernels.h"
#include "codec/turns.h"

#if (defined(__x86_64__) && defined(__GNUC__)) || defined(KERNELS_EMULATED)

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "base/le.h"

#ifdef KERNELS_EMULATED
#define AVX512
#define NAME          "avx512, emulated"
#define SUPPORTED()   true
#define TURNS         turns_scalar
#define BLOCKS(which) scalar_##which
#else
#define AVX512        __attribute__((target("avx512f,avx512bw,avx512vl")))
#define NAME          "avx512"
#define TURNS         turns_avx2
#define BLOCKS(which) avx2_##which
#define SUPPORTED()                                                                                \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&                    \
     __builtin_cpu_supports("avx512vl"))
#endif
#define INLINE static inline __attribute__((always_inline)) AVX512

INLINE __m512i load(const void *p)
{
    return _mm512_loadu_si512(p);
}

INLINE void store(void *p, __m512i v)
{
    _mm512_storeu_si512(p, v);
}

/* The same 16 bytes four times over. */
INLINE __m512i four_times(__m128i v)
{
    return _mm512_broadcast_i32x4(v);
}

/* ---- bytes of samples ---- */

/* Even 8 bytes, then odd ones: what packing of two vectors is put in order by. */
INLINE __m512i in_order(__m512i v)
{
    return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), v);
}

static AVX512 void avx512_deal2(const uint8_t *in, size_t n, uint8_t *rows, size_t stride)
{
    const __m512i low = _mm512_set1_epi16(0xff);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        const __m512i a = load(in + 2 * i), b = load(in + 2 * i + 64);
        store(rows + i,
              in_order(_mm512_packus_epi16(_mm512_and_si512(a, low), _mm512_and_si512(b, low))));
        store(rows + stride + i,
              in_order(_mm512_packus_epi16(_mm512_srli_epi16(a, 8), _mm512_srli_epi16(b, 8))));
    }
    kernels_scalar.deal2(in + 2 * i, n - i, rows + i, stride);
}

/* The inverse order, for unpacking. */
INLINE __m512i spread_out(__m512i v)
{
    return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0), v);
}

static AVX512 void avx512_gather2(const uint8_t *rows, size_t stride, size_t n, uint8_t *out)
{
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        const __m512i a = spread_out(load(rows + i)), b = spread_out(load(rows + stride + i));
        store(out + 2 * i, _mm512_unpacklo_epi8(a, b));
        store(out + 2 * i + 64, _mm512_unpackhi_epi8(a, b));
    }
    kernels_scalar.gather2(rows + i, stride, n - i, out + 2 * i);
}

/* Byte j of each 4 samples of 4 bytes to dword j of their 16 bytes; its own inverse. */
INLINE __m512i group4(__m512i v)
{
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_shuffle_epi8(v, four_times(order));
}

/* 4 x 4 of 16 bytes: v[i] part j goes to v[j] part i. */
INLINE void transpose4x128(__m512i v[4])
{
    const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(v[0], v[1], 0xDD);
    const __m512i c = _mm512_shuffle_i32x4(v[2], v[3], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(v[2], v[3], 0xDD);
    v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    v[1] = _mm512_shuffle_i32x4(b, d, 0x88);
    v[2] = _mm512_shuffle_i32x4(a, c, 0xDD);
    v[3] = _mm512_shuffle_i32x4(b, d, 0xDD);
}

static AVX512 void avx512_deal4(const uint8_t *in, size_t n, uint8_t *rows, size_t stride)
{
    /* dwords of one byte each to 16 bytes of it */
    const __m512i across = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i v[4];
        for (size_t j = 0; j < 4; j++)
            v[j] = _mm512_permutexvar_epi32(across, group4(load(in + 4 * i + 64 * j)));
        transpose4x128(v);
        for (size_t j = 0; j < 4; j++)
            store(rows + j * stride + i, v[j]);
    }
    kernels_scalar.deal4(in + 4 * i, n - i, rows + i, stride);
}

static AVX512 void avx512_gather4(const uint8_t *rows, size_t stride, size_t n, uint8_t *out)
{
    const __m512i across = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i v[4];
        for (size_t j = 0; j < 4; j++)
            v[j] = load(rows + j * stride + i);
        transpose4x128(v);
        for (size_t j = 0; j < 4; j++)
            store(out + 4 * i + 64 * j, group4(_mm512_permutexvar_epi32(across, v[j])));
    }
    kernels_scalar.gather4(rows + i, stride, n - i, out + 4 * i);
}

static void avx512_deal8(const uint8_t *in, size_t n, uint8_t *rows, size_t stride)
{
    kernels_scalar.deal8(in, n, rows, stride);
}

static void avx512_gather8(const uint8_t *rows, size_t stride, size_t n, uint8_t *out)
{
    kernels_scalar.gather8(rows, stride, n, out);
}

/* ---- bits of bytes ---- */

INLINE __m512i flip_order(enum flip flip)
{
    if (flip == FLIP_8)
        return four_times(_mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8));
    if (flip == FLIP_16)
        return four_times(_mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    return four_times(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

static AVX512 void avx512_split(const uint8_t *in, size_t n, uint8_t *rows, ptrdiff_t stride,
                                enum flip flip)
{
    const __m512i order = flip_order(flip);
    const size_t whole = n - n % 64;
    for (size_t i = 0; i < whole; i += 64) {
        __m512i v = _mm512_shuffle_epi8(load(in + i), order);
        for (int b = 7; b >= 0; b--) {
            le_store64(rows + b * stride + (ptrdiff_t)(i / 8), _mm512_movepi8_mask(v));
            v = _mm512_add_epi8(v, v);
        }
    }
    if (whole < n)
        kernels_scalar.split(in + whole, n - whole, rows + whole / 8, stride, flip);
}

/* Twice what there is, and one more where the bit is set. */
INLINE __m512i append(__m512i v, uint64_t plane)
{
    const __m512i twice = _mm512_add_epi8(v, v);
    return _mm512_mask_add_epi8(twice, (__mmask64)plane, twice, _mm512_set1_epi8(1));
}

static AVX512 void avx512_join(const uint8_t *rows, ptrdiff_t stride, size_t n, uint8_t *out,
                               enum flip flip)
{
    const __m512i order = flip_order(flip);
    const size_t whole = n - n % 64;
    for (size_t i = 0; i < whole; i += 64) {
        __m512i v = _mm512_setzero_si512();
        for (int b = 7; b >= 0; b--)
            v = append(v, le_load64(rows + b * stride + (ptrdiff_t)(i / 8)));
        store(out + i, _mm512_shuffle_epi8(v, order));
    }
    if (whole < n)
        kernels_scalar.join(rows + whole / 8, stride, n - whole, out + whole, flip);
}

/* ---- columns ---- */

static AVX512 void avx512_part(const uint8_t *in, size_t n, uint16_t flip, int16_t *even,
                               int16_t *odd)
{
    const __m512i flips = _mm512_set1_epi16((short)flip);
    /* even columns to the low 8 bytes of each 16, odd ones to the high */
    const __m512i apart =
        four_times(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    const __m512i evens = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odds = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        const __m512i a = _mm512_shuffle_epi8(_mm512_xor_si512(load(in + 2 * i), flips), apart);
        const __m512i b =
            _mm512_shuffle_epi8(_mm512_xor_si512(load(in + 2 * i + 64), flips), apart);
        store(even + i / 2, _mm512_permutex2var_epi64(a, evens, b));
        store(odd + i / 2, _mm512_permutex2var_epi64(a, odds, b));
    }
    scalar_part(in + 2 * i, n - i, flip, even + i / 2, odd + i / 2);
}

static AVX512 void avx512_merge(const int16_t *even, const int16_t *odd, size_t n, uint16_t flip,
                                uint8_t *out)
{
    const __m512i flips = _mm512_set1_epi16((short)flip);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        const __m512i e = spread_out(_mm512_xor_si512(load(even + i / 2), flips));
        const __m512i o = spread_out(_mm512_xor_si512(load(odd + i / 2), flips));
        store(out + 2 * i, _mm512_unpacklo_epi16(e, o));
        store(out + 2 * i + 64, _mm512_unpackhi_epi16(e, o));
    }
    scalar_merge(even + i / 2, odd + i / 2, n - i, flip, out + 2 * i);
}

/* ---- prediction: as in kernels_residual_avx2.c ---- */

struct held {
    const int16_t *at[TAPS_MAX];
    __m512i weights[TAPS_MAX / 2], bias;
};

INLINE void hold(struct held *held, const struct taps *taps, unsigned pairs)
{
#pragma GCC unroll 7
    for (unsigned p = 0; p < pairs; p++) {
        held->at[2 * p] = taps->at[2 * p];
        held->at[2 * p + 1] = taps->at[2 * p + 1];
        held->weights[p] =
            _mm512_set1_epi32((int)((uint32_t)(uint16_t)taps->weight[2 * p] |
                                    (uint32_t)(uint16_t)taps->weight[2 * p + 1] << 16));
    }
    held->bias = _mm512_set1_epi32(taps->bias);
}

/* Of 32 samples from `i` on. */
INLINE __m512i predict(const struct held *held, unsigned near, unsigned pairs, size_t i)
{
    const __m512i zip =
        four_times(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    __m512i even = held->bias, odd = held->bias;
#pragma GCC unroll 7
    for (unsigned p = 0; p < pairs; p++) {
        const int16_t *a = held->at[2 * p] + i, *b = held->at[2 * p + 1] + i;
        __m512i e = load(a), o = load(b);
        if (p >= near) {
            e = _mm512_mask_blend_epi16(0xAAAAAAAA, e, load(b - 1));
            o = _mm512_mask_blend_epi16(0xAAAAAAAA, load(a + 1), o);
        }
        even = _mm512_add_epi32(even, _mm512_madd_epi16(e, held->weights[p]));
        odd = _mm512_add_epi32(odd, _mm512_madd_epi16(o, held->weights[p]));
    }
    return _mm512_shuffle_epi8(
        _mm512_packs_epi32(_mm512_srai_epi32(even, TAPS_SHIFT), _mm512_srai_epi32(odd, TAPS_SHIFT)),
        zip);
}

INLINE void residual_of(const struct taps *taps, unsigned near, unsigned pairs, const int16_t *x,
                        size_t n, uint16_t *z)
{
    struct held held = {0};
    hold(&held, taps, pairs);
    for (size_t i = 0; i < n; i += 32) {
        const __m512i r = _mm512_sub_epi16(load(x + i), predict(&held, near, pairs, i));
        store(z + i, _mm512_xor_si512(_mm512_add_epi16(r, r), _mm512_srai_epi16(r, 15)));
    }
}

INLINE void restore_of(const struct taps *taps, unsigned near, unsigned pairs, const uint16_t *z,
                       size_t n, int16_t *x)
{
    const __m512i one = _mm512_set1_epi16(1);
    struct held held = {0};
    hold(&held, taps, pairs);
    for (size_t i = 0; i < n; i += 32) {
        const __m512i v = load(z + i);
        const __m512i sign = _mm512_sub_epi16(_mm512_setzero_si512(), _mm512_and_si512(v, one));
        const __m512i r = _mm512_xor_si512(_mm512_srli_epi16(v, 1), sign);
        store(x + i, _mm512_add_epi16(r, predict(&held, near, pairs, i)));
    }
}

static AVX512 void avx512_residual(const struct taps *taps, const int16_t *x, size_t n, uint16_t *z)
{
    const unsigned near = taps->near, pairs = taps->n / 2;
    if (pairs == 3 && near == 2)
        residual_of(taps, 2, 3, x, n, z);
    else if (pairs == 4 && near == 3)
        residual_of(taps, 3, 4, x, n, z);
    else if (pairs == 6 && near == 3)
        residual_of(taps, 3, 6, x, n, z);
    else if (pairs == 7 && near == 4)
        residual_of(taps, 4, 7, x, n, z);
    else
        residual_of(taps, near, pairs, x, n, z);
}

static AVX512 void avx512_restore(const struct taps *taps, const uint16_t *z, size_t n, int16_t *x)
{
    const unsigned near = taps->near, pairs = taps->n / 2;
    if (pairs == 3 && near == 2)
        restore_of(taps, 2, 3, z, n, x);
    else if (pairs == 4 && near == 3)
        restore_of(taps, 3, 4, z, n, x);
    else if (pairs == 6 && near == 3)
        restore_of(taps, 3, 6, z, n, x);
    else if (pairs == 7 && near == 4)
        restore_of(taps, 4, 7, z, n, x);
    else
        restore_of(taps, near, pairs, z, n, x);
}

/* ---- blocks ---- */

/* Lanes a, b, c, d of a block. */
INLINE __m512i load_lanes(const uint16_t *z, size_t stride, unsigned a, unsigned b, unsigned c,
                          unsigned d)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)(z + a * stride)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(z + b * stride)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(z + c * stride)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(z + d * stride)), 3);
}

/* In an order from which packing makes bytes in theirs: lanes 0, 4, 1, 5 and 2, 6, 3, 7. */
INLINE void load_block(const struct lanes *lanes, size_t block, __m512i v[2])
{
    const uint16_t *z = lanes->z + block * lanes->step;
    v[0] = load_lanes(z, lanes->stride, 0, 4, 1, 5);
    v[1] = load_lanes(z, lanes->stride, 2, 6, 3, 7);
}

INLINE void store_lanes(uint16_t *z, size_t stride, unsigned a, unsigned b, unsigned c, unsigned d,
                        __m512i v)
{
    _mm_storeu_si128((void *)(z + a * stride), _mm512_castsi512_si128(v));
    _mm_storeu_si128((void *)(z + b * stride), _mm512_extracti32x4_epi32(v, 1));
    _mm_storeu_si128((void *)(z + c * stride), _mm512_extracti32x4_epi32(v, 2));
    _mm_storeu_si128((void *)(z + d * stride), _mm512_extracti32x4_epi32(v, 3));
}

/* Low bytes and high bytes of all numbers. */
INLINE void store_block(const struct lanes *lanes, size_t block, __m512i low, __m512i high)
{
    uint16_t *z = lanes->z + block * lanes->step;
    store_lanes(z, lanes->stride, 0, 4, 1, 5, _mm512_unpacklo_epi8(low, high));
    store_lanes(z, lanes->stride, 2, 6, 3, 7, _mm512_unpackhi_epi8(low, high));
}

/* Four blocks beside each other, lane by lane; the last of the run again where it ends. */
INLINE void load_four(const struct lanes *lanes, size_t first, size_t n, __m512i v[LANES])
{
    const uint16_t *z[4];
    for (size_t b = 0; b < 4; b++)
        z[b] = lanes->z + (first + (b < n ? b : n - 1)) * lanes->step;
    for (unsigned l = 0; l < LANES; l++) {
        const size_t at = l * lanes->stride;
        if (z[3] == z[0] + 3 * (size_t)LANES)
            v[l] = load(z[0] + at);
        else
            v[l] = _mm512_inserti64x4(
                _mm512_castsi256_si512(_mm256_inserti128_si256(
                    _mm256_castsi128_si256(_mm_loadu_si128((const void *)(z[0] + at))),
                    _mm_loadu_si128((const void *)(z[1] + at)), 1)),
                _mm256_inserti128_si256(
                    _mm256_castsi128_si256(_mm_loadu_si128((const void *)(z[2] + at))),
                    _mm_loadu_si128((const void *)(z[3] + at)), 1),
                1);
    }
}

/* Of each fourth's 64 numbers the sum, in all of its elements of 32 bits. */
INLINE __m512i sum_of(const __m512i v[LANES])
{
    const __m512i sign = _mm512_set1_epi16((short)0x8000), one = _mm512_set1_epi16(1);
    __m512i total = _mm512_set1_epi32(BLOCK * 32768 / 4);
    for (unsigned l = 0; l < LANES; l++)
        total = _mm512_add_epi32(total, _mm512_madd_epi16(_mm512_xor_si512(v[l], sign), one));
    total = _mm512_add_epi32(total, _mm512_shuffle_epi32(total, 0x4E));
    return _mm512_add_epi32(total, _mm512_shuffle_epi32(total, 0xB1));
}

/* The first element of each fourth. */
INLINE __m128i firsts(__m512i v)
{
    return _mm512_castsi512_si128(_mm512_permutexvar_epi32(
        _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0), v));
}

static AVX512 void avx512_sums(const struct lanes *lanes, size_t first, size_t n, uint32_t *sum)
{
    for (size_t b = 0; b < n; b += 4) {
        const size_t left = n - b;
        __m512i v[LANES];
        load_four(lanes, first + b, left, v);
        __m512i most = _mm512_srli_epi32(sum_of(v), 3); /* BLOCK / CLIP is 8 */
        most = _mm512_add_epi32(most, _mm512_set1_epi32(1));
        most = _mm512_packus_epi32(most, most); /* saturates */
        for (unsigned l = 0; l < LANES; l++)
            v[l] = _mm512_min_epu16(v[l], most);
        uint32_t four[4];
        _mm_storeu_si128((void *)four, firsts(sum_of(v)));
        memcpy(sum + b, four, (left < 4 ? left : 4) * sizeof(*sum));
    }
}

_Static_assert(BLOCK / CLIP == 8, "avx512_sums() shifts");

/* The n highest bits of 64 bytes, the highest to plane n - 1. */
INLINE void split_bytes(__m512i bytes, unsigned n, uint8_t *planes)
{
#pragma GCC unroll 8
    for (unsigned p = n; p-- > 0;) {
        le_store64(planes + (size_t)8 * p, _mm512_movepi8_mask(bytes));
        bytes = _mm512_add_epi8(bytes, bytes);
    }
}

INLINE void split_low(const __m512i v[2], unsigned k, uint8_t *planes)
{
    const __m512i low = _mm512_set1_epi16(0xff);
    if (k == 0)
        return;
    const __m512i bytes =
        _mm512_packus_epi16(_mm512_and_si512(v[0], low), _mm512_and_si512(v[1], low));
    if (k <= 4) {
        split_bytes(_mm512_slli_epi16(bytes, 4), 4, planes);
        return;
    }
    split_bytes(bytes, 8, planes);
    if (k > 8)
        split_bytes(_mm512_packus_epi16(_mm512_srli_epi16(v[0], 8), _mm512_srli_epi16(v[1], 8)), 8,
                    planes + 64);
}

INLINE uint64_t are15(__m512i bytes)
{
    return (uint64_t)_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(15));
}

static AVX512 uint64_t avx512_pack(const struct lanes *lanes, size_t block, unsigned k,
                                   uint8_t nibbles[32], uint8_t *planes)
{
    const __m512i fifteen = _mm512_set1_epi16(15);
    const __m128i by = _mm_cvtsi32_si128((int)k);
    __m512i v[2];
    load_block(lanes, block, v);
    const __m512i a = _mm512_min_epu16(_mm512_srl_epi16(v[0], by), fifteen);
    const __m512i b = _mm512_min_epu16(_mm512_srl_epi16(v[1], by), fifteen);
    const __m512i bytes = _mm512_packus_epi16(a, b);
    const __m256i high = _mm256_slli_epi16(_mm512_extracti64x4_epi64(bytes, 1), 4);
    _mm256_storeu_si256((void *)nibbles, _mm256_or_si256(_mm512_castsi512_si256(bytes), high));
    split_low(v, k, planes);
    return are15(bytes);
}

INLINE __m512i join_bytes(const uint8_t *planes, unsigned n)
{
    __m512i v = _mm512_setzero_si512();
    for (unsigned p = n; p-- > 0;)
        v = append(v, le_load64(planes + (size_t)8 * p));
    return v;
}

static AVX512 void avx512_join_low(const uint8_t *planes, unsigned k, const struct lanes *lanes,
                                   size_t block)
{
    const __m512i low = join_bytes(planes, k < 8 ? k : 8);
    const __m512i high = k > 8 ? join_bytes(planes + 64, k - 8) : _mm512_setzero_si512();
    store_block(lanes, block, low, high);
}

/* Numbers of more than a byte: nibbles above their low bits. */
INLINE void store_wide(const struct lanes *lanes, size_t block, __m512i h, __m128i by,
                       const uint8_t *planes, unsigned k)
{
    const __m512i byte = _mm512_set1_epi16(0xff);
    /* even bytes and odd bytes, as numbers of 16 bits */
    const __m512i even = _mm512_sll_epi16(_mm512_and_si512(h, byte), by);
    const __m512i odd = _mm512_sll_epi16(_mm512_srli_epi16(h, 8), by);
    const __m512i low = _mm512_or_si512(_mm512_and_si512(even, byte), _mm512_slli_epi16(odd, 8));
    const __m512i high =
        _mm512_or_si512(_mm512_srli_epi16(even, 8), _mm512_andnot_si512(byte, odd));
    const __m512i more = k > 8 ? join_bytes(planes + 64, k - 8) : _mm512_setzero_si512();
    store_block(lanes, block, _mm512_or_si512(low, join_bytes(planes, k < 8 ? k : 8)),
                _mm512_or_si512(high, more));
}

static AVX512 uint64_t avx512_unpack(const uint8_t nibbles[32], const uint8_t *planes, unsigned k,
                                     const struct lanes *lanes, size_t block)
{
    const __m256i v = _mm256_loadu_si256((const void *)nibbles), mask = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256(v, mask);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
    const __m512i h = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    const __m128i by = _mm_cvtsi32_si128((int)k);
    if (k <= 4) /* all fits a byte */
        store_block(lanes, block, _mm512_or_si512(_mm512_sll_epi16(h, by), join_bytes(planes, k)),
                    _mm512_setzero_si512());
    else
        store_wide(lanes, block, h, by, planes, k);
    return are15(h);
}

const struct kernels *kernels_avx512(void)
{
    static const struct kernels avx512 = {
        .name = NAME,
        .deal2 = avx512_deal2,
        .deal4 = avx512_deal4,
        .deal8 = avx512_deal8,
        .gather2 = avx512_gather2,
        .gather4 = avx512_gather4,
        .gather8 = avx512_gather8,
        .split = avx512_split,
        .join = avx512_join,
        .part = avx512_part,
        .merge = avx512_merge,
        .residual = avx512_residual,
        .restore = avx512_restore,
        .sums = avx512_sums,
        .pack = avx512_pack,
        .unpack = avx512_unpack,
        .join_low = avx512_join_low,
        .thin = BLOCKS(thin),
        .thicken = BLOCKS(thicken),
        .look_up = BLOCKS(look_up),
        .loss = BLOCKS(loss),
        .turns = &TURNS,
    };
    return SUPPORTED() ? &avx512 : NULL;
}

#else

const struct kernels *kernels_avx512(void)
{
    return NULL;
}

#endif
