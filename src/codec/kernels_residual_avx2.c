#include "codec/kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <string.h>

#define AVX2   __attribute__((target("avx2")))
#define INLINE static inline __attribute__((always_inline)) AVX2

INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE void store(void *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}

/* ---- columns ---- */

AVX2 void avx2_part(const uint8_t *in, size_t n, uint16_t flip, int16_t *even, int16_t *odd)
{
    /* even columns to the low 8 bytes of each half, odd ones to the high */
    const __m256i apart = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0,
                                           1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    const __m256i flips = _mm256_set1_epi16((short)flip);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i a = _mm256_shuffle_epi8(load(in + 2 * i), apart);
        __m256i b = _mm256_shuffle_epi8(load(in + 2 * i + 32), apart);
        a = _mm256_permute4x64_epi64(_mm256_xor_si256(a, flips), 0xD8);
        b = _mm256_permute4x64_epi64(_mm256_xor_si256(b, flips), 0xD8);
        store(even + i / 2, _mm256_permute2x128_si256(a, b, 0x20));
        store(odd + i / 2, _mm256_permute2x128_si256(a, b, 0x31));
    }
    scalar_part(in + 2 * i, n - i, flip, even + i / 2, odd + i / 2);
}

AVX2 void avx2_merge(const int16_t *even, const int16_t *odd, size_t n, uint16_t flip, uint8_t *out)
{
    const __m256i flips = _mm256_set1_epi16((short)flip);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i e = _mm256_xor_si256(load(even + i / 2), flips);
        __m256i o = _mm256_xor_si256(load(odd + i / 2), flips);
        __m256i a = _mm256_unpacklo_epi16(e, o), b = _mm256_unpackhi_epi16(e, o);
        store(out + 2 * i, _mm256_permute2x128_si256(a, b, 0x20));
        store(out + 2 * i + 32, _mm256_permute2x128_si256(a, b, 0x31));
    }
    scalar_merge(even + i / 2, odd + i / 2, n - i, flip, out + 2 * i);
}

/* ---- prediction ---- */

/* Taps that a compiler can keep in registers: their number is a constant where these are inlined. */
struct held {
    const int16_t *at[TAPS_MAX];
    __m256i weights[TAPS_MAX / 2], bias;
};

INLINE void hold(struct held *held, const struct taps *taps, unsigned pairs)
{
#pragma GCC unroll 7
    for (unsigned p = 0; p < pairs; p++) {
        held->at[2 * p] = taps->at[2 * p];
        held->at[2 * p + 1] = taps->at[2 * p + 1];
        held->weights[p] =
            _mm256_set1_epi32((int)((uint32_t)(uint16_t)taps->weight[2 * p] |
                                    (uint32_t)(uint16_t)taps->weight[2 * p + 1] << 16));
    }
    held->bias = _mm256_set1_epi32(taps->bias);
}

/* Of 16 samples from `i` on. Even ones and odd ones are summed apart: to these, neighbours in memory
 * are pairs as they lie. Of others, one is read a sample early or late to stand beside its twin. */
INLINE __m256i predict(const struct held *held, unsigned near, unsigned pairs, size_t i)
{
    const __m256i zip = _mm256_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15, 0, 1,
                                         8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
    __m256i even = held->bias, odd = held->bias;
#pragma GCC unroll 7
    for (unsigned p = 0; p < pairs; p++) {
        const int16_t *a = held->at[2 * p] + i, *b = held->at[2 * p + 1] + i;
        __m256i e = load(a), o = load(b);
        if (p >= near) {
            e = _mm256_blend_epi16(e, load(b - 1), 0xAA);
            o = _mm256_blend_epi16(load(a + 1), o, 0xAA);
        }
        even = _mm256_add_epi32(even, _mm256_madd_epi16(e, held->weights[p]));
        odd = _mm256_add_epi32(odd, _mm256_madd_epi16(o, held->weights[p]));
    }
    return _mm256_shuffle_epi8(
        _mm256_packs_epi32(_mm256_srai_epi32(even, TAPS_SHIFT), _mm256_srai_epi32(odd, TAPS_SHIFT)),
        zip);
}

INLINE void residual_of(const struct taps *taps, unsigned near, unsigned pairs, const int16_t *x,
                        size_t n, uint16_t *z)
{
    struct held held = {0};
    hold(&held, taps, pairs);
    for (size_t i = 0; i < n; i += 16) {
        __m256i r = _mm256_sub_epi16(load(x + i), predict(&held, near, pairs, i));
        store(z + i, _mm256_xor_si256(_mm256_add_epi16(r, r), _mm256_srai_epi16(r, 15)));
    }
}

INLINE void restore_of(const struct taps *taps, unsigned near, unsigned pairs, const uint16_t *z,
                       size_t n, int16_t *x)
{
    const __m256i one = _mm256_set1_epi16(1);
    struct held held = {0};
    hold(&held, taps, pairs);
    for (size_t i = 0; i < n; i += 16) {
        const __m256i v = load(z + i);
        const __m256i sign = _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_and_si256(v, one));
        const __m256i r = _mm256_xor_si256(_mm256_srli_epi16(v, 1), sign);
        store(x + i, _mm256_add_epi16(r, predict(&held, near, pairs, i)));
    }
}

/* What predict.c makes has loops of its own, unrolled. */
AVX2 void avx2_residual(const struct taps *taps, const int16_t *x, size_t n, uint16_t *z)
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

AVX2 void avx2_restore(const struct taps *taps, const uint16_t *z, size_t n, int16_t *x)
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

/* Lanes a and b of a block. */
INLINE __m256i load_lanes(const struct lanes *lanes, size_t block, unsigned a, unsigned b)
{
    const uint16_t *z = lanes->z + block * lanes->step;
    const __m128i low = _mm_loadu_si128((const void *)(z + a * lanes->stride));
    const __m128i high = _mm_loadu_si128((const void *)(z + b * lanes->stride));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

INLINE void load_block(const struct lanes *lanes, size_t block, __m256i v[4])
{
    v[0] = load_lanes(lanes, block, 0, 2);
    v[1] = load_lanes(lanes, block, 4, 6);
    v[2] = load_lanes(lanes, block, 1, 3);
    v[3] = load_lanes(lanes, block, 5, 7);
}

INLINE void store_lanes(const struct lanes *lanes, size_t block, unsigned a, unsigned b, __m256i v)
{
    uint16_t *z = lanes->z + block * lanes->step;
    _mm_storeu_si128((void *)(z + a * lanes->stride), _mm256_castsi256_si128(v));
    _mm_storeu_si128((void *)(z + b * lanes->stride), _mm256_extracti128_si256(v, 1));
}

INLINE void store_block(const struct lanes *lanes, size_t block, const __m256i v[4])
{
    store_lanes(lanes, block, 0, 2, v[0]);
    store_lanes(lanes, block, 4, 6, v[1]);
    store_lanes(lanes, block, 1, 3, v[2]);
    store_lanes(lanes, block, 5, 7, v[3]);
}

/* Sum of 64 numbers of 16 bits. */
INLINE uint32_t sum_of(const __m256i v[4])
{
    const __m256i sign = _mm256_set1_epi16((short)0x8000), one = _mm256_set1_epi16(1);
    __m256i total = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++)
        total = _mm256_add_epi32(total, _mm256_madd_epi16(_mm256_xor_si256(v[i], sign), one));
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4E));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(t) + BLOCK * 32768u;
}

INLINE uint16_t union_of(const __m256i v[4])
{
    const __m256i any = _mm256_or_si256(_mm256_or_si256(v[0], v[1]), _mm256_or_si256(v[2], v[3]));
    __m128i o = _mm_or_si128(_mm256_castsi256_si128(any), _mm256_extracti128_si256(any, 1));
    o = _mm_or_si128(o, _mm_shuffle_epi32(o, 0x4E));
    o = _mm_or_si128(o, _mm_shuffle_epi32(o, 0xB1));
    const uint32_t both = (uint32_t)_mm_cvtsi128_si32(o);
    return (uint16_t)(both | both >> 16);
}

AVX2 void avx2_sums(const struct lanes *lanes, size_t first, size_t n, uint32_t *sum,
                    uint16_t *bits)
{
    for (size_t b = 0; b < n; b++) {
        __m256i v[4];
        load_block(lanes, first + b, v);
        bits[b] = union_of(v);
        const uint32_t most = sum_of(v) / (BLOCK / CLIP) + 1;
        const __m256i limit = _mm256_set1_epi16((short)(most < 65535 ? most : 65535));
        for (int i = 0; i < 4; i++)
            v[i] = _mm256_min_epu16(v[i], limit);
        sum[b] = sum_of(v);
    }
}

/* 32 numbers of 16 bits, none above 255, to bytes. */
INLINE __m256i narrow(__m256i a, __m256i b)
{
    return _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xD8);
}

/* Bit planes 0 .. k-1 of 64 bytes, from plane `planes` on. */
INLINE void split_bytes(__m256i a, __m256i b, unsigned k, uint8_t *planes)
{
    a = _mm256_sll_epi16(a, _mm_cvtsi32_si128((int)(8 - k)));
    b = _mm256_sll_epi16(b, _mm_cvtsi32_si128((int)(8 - k)));
    for (unsigned p = k; p-- > 0;) {
        const uint32_t low = (uint32_t)_mm256_movemask_epi8(a);
        const uint32_t high = (uint32_t)_mm256_movemask_epi8(b);
        memcpy(planes + 8 * p, &low, 4);
        memcpy(planes + 8 * p + 4, &high, 4);
        a = _mm256_add_epi8(a, a);
        b = _mm256_add_epi8(b, b);
    }
}

INLINE void split_low(const __m256i v[4], unsigned k, uint8_t *planes)
{
    const __m256i low = _mm256_set1_epi16(0xff);
    if (k == 0)
        return;
    __m256i m[4];
    /* split_bytes() shifts 16 bits at once: nothing may come from the neighbour */
    const __m256i keep =
        _mm256_and_si256(_mm256_sub_epi16(_mm256_sll_epi16(_mm256_set1_epi16(1),
                                                           _mm_cvtsi32_si128(k < 8 ? (int)k : 8)),
                                          _mm256_set1_epi16(1)),
                         low);
    for (int i = 0; i < 4; i++)
        m[i] = _mm256_and_si256(v[i], keep);
    split_bytes(narrow(m[0], m[1]), narrow(m[2], m[3]), k < 8 ? k : 8, planes);
    if (k <= 8)
        return;
    const __m128i at = _mm_cvtsi32_si128((int)(16 - k));
    for (int i = 0; i < 4; i++)
        m[i] = _mm256_srl_epi16(_mm256_srli_epi16(_mm256_sll_epi16(v[i], at), 8), at);
    split_bytes(narrow(m[0], m[1]), narrow(m[2], m[3]), k - 8, planes + 64);
}

/* 32 bits to 32 bytes of all ones or none. */
INLINE __m256i spread(uint32_t bits)
{
    const __m256i byte = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                          2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte);
    return _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
}

/* k planes to 64 bytes. */
INLINE void join_bytes(const uint8_t *planes, unsigned k, __m256i *a, __m256i *b)
{
    __m256i low = _mm256_setzero_si256(), high = low;
    for (unsigned p = k; p-- > 0;) {
        uint32_t l, h;
        memcpy(&l, planes + 8 * p, 4);
        memcpy(&h, planes + 8 * p + 4, 4);
        /* twice what there is, and one more where the bit is set */
        low = _mm256_sub_epi8(_mm256_add_epi8(low, low), spread(l));
        high = _mm256_sub_epi8(_mm256_add_epi8(high, high), spread(h));
    }
    *a = low;
    *b = high;
}

INLINE void widen(__m256i bytes, __m256i v[2])
{
    v[0] = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(bytes));
    v[1] = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(bytes, 1));
}

INLINE void join_low(const uint8_t *planes, unsigned k, __m256i v[4])
{
    __m256i a, b, m[4];
    join_bytes(planes, k < 8 ? k : 8, &a, &b);
    widen(a, v);
    widen(b, v + 2);
    if (k <= 8)
        return;
    join_bytes(planes + 64, k - 8, &a, &b);
    widen(a, m);
    widen(b, m + 2);
    for (int i = 0; i < 4; i++)
        v[i] = _mm256_or_si256(v[i], _mm256_slli_epi16(m[i], 8));
}

AVX2 void avx2_split_low(const struct lanes *lanes, size_t block, unsigned k, uint8_t *planes)
{
    __m256i v[4];
    load_block(lanes, block, v);
    split_low(v, k, planes);
}

AVX2 void avx2_join_low(const uint8_t *planes, unsigned k, const struct lanes *lanes, size_t block)
{
    __m256i v[4];
    join_low(planes, k, v);
    store_block(lanes, block, v);
}

INLINE uint64_t are15(__m256i a, __m256i b)
{
    const __m256i fifteen = _mm256_set1_epi8(15);
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, fifteen)) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(b, fifteen)) << 32;
}

AVX2 uint64_t avx2_pack(const struct lanes *lanes, size_t block, unsigned k, uint8_t nibbles[32],
                        uint8_t *planes)
{
    __m256i v[4];
    load_block(lanes, block, v);
    const __m256i fifteen = _mm256_set1_epi16(15);
    const __m128i by = _mm_cvtsi32_si128((int)k);
    __m256i h[4];
    for (int i = 0; i < 4; i++)
        h[i] = _mm256_min_epu16(_mm256_srl_epi16(v[i], by), fifteen);
    const __m256i a = narrow(h[0], h[1]), b = narrow(h[2], h[3]);
    store(nibbles, _mm256_or_si256(a, _mm256_slli_epi16(b, 4)));
    split_low(v, k, planes);
    return are15(a, b);
}

AVX2 uint64_t avx2_unpack(const uint8_t nibbles[32], const uint8_t *planes, unsigned k,
                          const struct lanes *lanes, size_t block)
{
    const __m256i v = load(nibbles), low = _mm256_set1_epi8(15);
    const __m256i a = _mm256_and_si256(v, low);
    const __m256i b = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
    const __m128i by = _mm_cvtsi32_si128((int)k);
    __m256i h[4], l[4];
    widen(a, h);
    widen(b, h + 2);
    join_low(planes, k, l);
    for (int i = 0; i < 4; i++)
        h[i] = _mm256_or_si256(_mm256_sll_epi16(h[i], by), l[i]);
    store_block(lanes, block, h);
    return are15(a, b);
}

#endif
