#include "codec/kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <stdbool.h>
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

/* ---- blocks: sums ---- */

/* Two blocks beside each other, lane by lane: the first in the low halves. */
INLINE void load_two(const struct lanes *lanes, size_t a, size_t b, __m256i v[LANES])
{
    const uint16_t *low = lanes->z + a * lanes->step, *high = lanes->z + b * lanes->step;
    if (high == low + LANES) {
#pragma GCC unroll 8
        for (unsigned l = 0; l < LANES; l++)
            v[l] = load(low + l * lanes->stride);
        return;
    }
#pragma GCC unroll 8
    for (unsigned l = 0; l < LANES; l++)
        v[l] = _mm256_loadu2_m128i((const void *)(high + l * lanes->stride),
                                   (const void *)(low + l * lanes->stride));
}

/* Of each half's 64 numbers the sum, in all of its elements of 32 bits. */
INLINE __m256i sum_of(const __m256i v[LANES])
{
    const __m256i sign = _mm256_set1_epi16((short)0x8000), one = _mm256_set1_epi16(1);
    __m256i total = _mm256_set1_epi32(BLOCK * 32768 / 4);
#pragma GCC unroll 8
    for (unsigned l = 0; l < LANES; l++)
        total = _mm256_add_epi32(total, _mm256_madd_epi16(_mm256_xor_si256(v[l], sign), one));
    total = _mm256_add_epi32(total, _mm256_shuffle_epi32(total, 0x4E));
    return _mm256_add_epi32(total, _mm256_shuffle_epi32(total, 0xB1));
}

INLINE __m256i clipped_sum_of(__m256i v[LANES])
{
    __m256i most = _mm256_srli_epi32(sum_of(v), 3); /* BLOCK / CLIP is 8 */
    most = _mm256_add_epi32(most, _mm256_set1_epi32(1));
    most = _mm256_packus_epi32(most, most); /* saturates */
#pragma GCC unroll 8
    for (unsigned l = 0; l < LANES; l++)
        v[l] = _mm256_min_epu16(v[l], most);
    return sum_of(v);
}

_Static_assert(BLOCK / CLIP == 8, "clipped_sum_of() shifts");

AVX2 void avx2_sums(const struct lanes *lanes, size_t first, size_t n, uint32_t *sum)
{
    __m256i v[LANES];
    size_t b = 0;
    for (; b + 2 <= n; b += 2) {
        load_two(lanes, first + b, first + b + 1, v);
        const __m256i s = clipped_sum_of(v);
        sum[b] = (uint32_t)_mm256_extract_epi32(s, 0);
        sum[b + 1] = (uint32_t)_mm256_extract_epi32(s, 4);
    }
    if (b < n) {
        load_two(lanes, first + b, first + b, v);
        sum[b] = (uint32_t)_mm256_extract_epi32(clipped_sum_of(v), 0);
    }
}

/* ---- blocks: to planes ---- */

INLINE __m256i load_lanes(const uint16_t *z, size_t stride, unsigned a, unsigned b)
{
    return _mm256_loadu2_m128i((const void *)(z + b * stride), (const void *)(z + a * stride));
}

/* In an order from which narrow() makes bytes in theirs. */
INLINE void load_block(const struct lanes *lanes, size_t block, __m256i v[4])
{
    const uint16_t *z = lanes->z + block * lanes->step;
    v[0] = load_lanes(z, lanes->stride, 0, 4);
    v[1] = load_lanes(z, lanes->stride, 2, 6);
    v[2] = load_lanes(z, lanes->stride, 1, 5);
    v[3] = load_lanes(z, lanes->stride, 3, 7);
}

/* Numbers, none above 255: 0 .. 31 to `bytes[0]`, 32 .. 63 to `bytes[1]`. */
INLINE void narrow(const __m256i v[4], __m256i bytes[2])
{
    bytes[0] = _mm256_packus_epi16(v[0], v[1]);
    bytes[1] = _mm256_packus_epi16(v[2], v[3]);
}

/* The n highest bits of 64 bytes, the highest to plane n - 1. */
INLINE void split_bytes(__m256i bytes[2], unsigned n, uint8_t *planes)
{
#pragma GCC unroll 8
    for (unsigned p = n; p-- > 0;) {
        const uint32_t low = (uint32_t)_mm256_movemask_epi8(bytes[0]);
        const uint32_t high = (uint32_t)_mm256_movemask_epi8(bytes[1]);
        memcpy(planes + 8 * p, &low, 4);
        memcpy(planes + 8 * p + 4, &high, 4);
        bytes[0] = _mm256_add_epi8(bytes[0], bytes[0]);
        bytes[1] = _mm256_add_epi8(bytes[1], bytes[1]);
    }
}

/* In steps of 4 or 8 planes: numbers of planes change from block to block, and a branch that is
 * guessed wrong costs more than planes that nobody asked for. */
INLINE void split_low(const __m256i v[4], unsigned k, uint8_t *planes)
{
    const __m256i low = _mm256_set1_epi16(0xff);
    __m256i m[4], bytes[2];
    if (k == 0)
        return;
    for (int i = 0; i < 4; i++)
        m[i] = _mm256_and_si256(v[i], low);
    narrow(m, bytes);
    if (k <= 4) {
        /* the neighbour's bits that come in stay below those that are asked for */
        bytes[0] = _mm256_slli_epi16(bytes[0], 4);
        bytes[1] = _mm256_slli_epi16(bytes[1], 4);
        split_bytes(bytes, 4, planes);
        return;
    }
    split_bytes(bytes, 8, planes);
    if (k <= 8)
        return;
    for (int i = 0; i < 4; i++)
        m[i] = _mm256_srli_epi16(v[i], 8);
    narrow(m, bytes);
    split_bytes(bytes, 8, planes + 64);
}

AVX2 uint64_t avx2_pack(const struct lanes *lanes, size_t block, unsigned k, uint8_t nibbles[32],
                        uint8_t *planes)
{
    const __m256i fifteen = _mm256_set1_epi16(15), fifteens = _mm256_set1_epi8(15);
    const __m128i by = _mm_cvtsi32_si128((int)k);
    __m256i v[4], h[4], bytes[2];
    load_block(lanes, block, v);
    for (int i = 0; i < 4; i++)
        h[i] = _mm256_min_epu16(_mm256_srl_epi16(v[i], by), fifteen);
    narrow(h, bytes);
    store(nibbles, _mm256_or_si256(bytes[0], _mm256_slli_epi16(bytes[1], 4)));
    split_low(v, k, planes);
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes[0], fifteens)) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes[1], fifteens)) << 32;
}

/* ---- blocks: from planes ----
 *
 * Bytes are held as p[0] = 0 .. 15 and 32 .. 47, p[1] = 16 .. 31 and 48 .. 63. */

/* Of bytes twice what there is, and one more where the bit of a plane is set. */
INLINE __m256i append(__m256i bytes, __m256i plane, __m256i from)
{
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i set = _mm256_and_si256(_mm256_shuffle_epi8(plane, from), bit);
    return _mm256_sub_epi8(_mm256_add_epi8(bytes, bytes), _mm256_cmpeq_epi8(set, bit));
}

INLINE void join_bytes(const uint8_t *planes, unsigned n, __m256i p[2])
{
    const __m256i from0 =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0404040404040404, 0x0505050505050505);
    const __m256i from1 = _mm256_add_epi8(from0, _mm256_set1_epi8(2));
    __m256i v[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (unsigned i = n; i-- > 0;) {
        const __m256i plane =
            _mm256_broadcastq_epi64(_mm_loadl_epi64((const void *)(planes + 8 * i)));
        v[0] = append(v[0], plane, from0);
        v[1] = append(v[1], plane, from1);
    }
    p[0] = v[0];
    p[1] = v[1];
}

/* Bytes, above them `high`, into lanes. */
INLINE void store_block(const struct lanes *lanes, size_t block, const __m256i p[2],
                        const __m256i high[2])
{
    uint16_t *z = lanes->z + block * lanes->step;
    for (unsigned i = 0; i < 2; i++, z += 4 * lanes->stride) {
        const __m256i a = _mm256_unpacklo_epi8(p[i], high[i]);
        const __m256i b = _mm256_unpackhi_epi8(p[i], high[i]);
        _mm256_storeu2_m128i((void *)(z + lanes->stride), (void *)z, a);
        _mm256_storeu2_m128i((void *)(z + 3 * lanes->stride), (void *)(z + 2 * lanes->stride), b);
    }
}

/* Bytes 0 and 1 of the numbers that low bits make. */
INLINE void join_low(const uint8_t *planes, unsigned k, __m256i p[2], __m256i high[2])
{
    join_bytes(planes, k < 8 ? k : 8, p);
    high[0] = high[1] = _mm256_setzero_si256();
    if (k > 8)
        join_bytes(planes + 64, k - 8, high);
}

AVX2 void avx2_join_low(const uint8_t *planes, unsigned k, const struct lanes *lanes, size_t block)
{
    __m256i p[2], high[2];
    join_low(planes, k, p, high);
    store_block(lanes, block, p, high);
}

/* Number 32 + i stands in the high half of byte i. */
INLINE __m256i nibbles_of(const uint8_t nibbles[16])
{
    const __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)nibbles));
    return _mm256_and_si256(_mm256_srlv_epi64(v, _mm256_setr_epi64x(0, 0, 4, 4)),
                            _mm256_set1_epi8(15));
}

/* Numbers of more than a byte: nibbles above their low bits. */
INLINE void store_wide(const struct lanes *lanes, size_t block, const __m256i h[2], __m128i by,
                       const __m256i p[2], const __m256i high[2])
{
    const __m256i byte = _mm256_set1_epi16(0xff);
    __m256i low[2], up[2];
    for (int i = 0; i < 2; i++) {
        /* even bytes and odd bytes, as numbers of 16 bits */
        const __m256i even = _mm256_sll_epi16(_mm256_and_si256(h[i], byte), by);
        const __m256i odd = _mm256_sll_epi16(_mm256_srli_epi16(h[i], 8), by);
        low[i] = _mm256_or_si256(_mm256_and_si256(even, byte), _mm256_slli_epi16(odd, 8));
        up[i] = _mm256_or_si256(_mm256_srli_epi16(even, 8), _mm256_andnot_si256(byte, odd));
        low[i] = _mm256_or_si256(low[i], p[i]);
        up[i] = _mm256_or_si256(up[i], high[i]);
    }
    store_block(lanes, block, low, up);
}

/* Which of all bytes are 15, in the order of the numbers. */
INLINE uint64_t are15(const __m256i p[2])
{
    const __m256i fifteen = _mm256_set1_epi8(15);
    const uint32_t a = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(p[0], fifteen));
    const uint32_t b = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(p[1], fifteen));
    return (a & 0xffff) | b << 16 | (uint64_t)(a >> 16) << 32 | (uint64_t)(b >> 16) << 48;
}

AVX2 uint64_t avx2_unpack(const uint8_t nibbles[32], const uint8_t *planes, unsigned k,
                          const struct lanes *lanes, size_t block)
{
    const __m256i h[2] = {nibbles_of(nibbles), nibbles_of(nibbles + 16)};
    const __m128i by = _mm_cvtsi32_si128((int)k);
    __m256i p[2], high[2];
    join_low(planes, k, p, high);
    if (k <= 4) { /* all fits a byte */
        for (int i = 0; i < 2; i++)
            p[i] = _mm256_or_si256(p[i], _mm256_sll_epi16(h[i], by));
        store_block(lanes, block, p, high);
    } else {
        store_wide(lanes, block, h, by, p, high);
    }
    return are15(h);
}

/* ---- blocks without an entropy coder ---- */

/* For a mask of bytes: where each byte that is set comes from when they move together, and where it
 * was when they move apart. */
#define TERM(m, i)                                                                                 \
    ((m) >> (i)&1 ? (uint64_t)(i) << 8 * __builtin_popcount((m) & ((1u << (i)) - 1)) : 0)
#define TOGETHER(m)                                                                                \
    (TERM(m, 1) | TERM(m, 2) | TERM(m, 3) | TERM(m, 4) | TERM(m, 5) | TERM(m, 6) | TERM(m, 7))
#define FROM(m, i)                                                                                 \
    ((uint64_t)((m) >> (i)&1 ? __builtin_popcount((m) & ((1u << (i)) - 1)) : 0x80) << 8 * (i))
#define APART(m)                                                                                   \
    (FROM(m, 0) | FROM(m, 1) | FROM(m, 2) | FROM(m, 3) | FROM(m, 4) | FROM(m, 5) | FROM(m, 6) |    \
     FROM(m, 7))
#define OF4(each, m)  each(m), each((m) + 1u), each((m) + 2u), each((m) + 3u)
#define OF16(each, m) OF4(each, m), OF4(each, (m) + 4u), OF4(each, (m) + 8u), OF4(each, (m) + 12u)
#define OF64(each, m)                                                                              \
    OF16(each, m), OF16(each, (m) + 16u), OF16(each, (m) + 32u), OF16(each, (m) + 48u)
#define OF_ALL(each) OF64(each, 0u), OF64(each, 64u), OF64(each, 128u), OF64(each, 192u)

static const uint64_t together[256] = {OF_ALL(TOGETHER)}, apart[256] = {OF_ALL(APART)};

#define BITS   __attribute__((target("avx2,popcnt")))
#define COUNTS static inline __attribute__((always_inline)) BITS

COUNTS uint64_t shuffle8(__m128i v, uint64_t from)
{
    const __m128i by = _mm_cvtsi64_si128((long long)from);
    return (uint64_t)_mm_cvtsi128_si64(_mm_shuffle_epi8(v, by));
}

/* Without the bytes that are 0, where that is worth it. Returns the length. Which of both it is cannot
 * be guessed: no branch, and nothing that looks as if one would do. */
COUNTS size_t put_top(uint64_t plane, uint8_t *class, uint8_t *to)
{
    const __m128i v = _mm_cvtsi64_si128((long long)plane);
    const int zeros = _mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128()));
    const unsigned mask = (uint8_t)~zeros, used = (unsigned)__builtin_popcount(mask);
    uint64_t thin = (uint64_t)0 - (used <= THIN_BYTES);
    __asm__("" : "+r"(thin));
    plane ^= (plane ^ (mask | shuffle8(v, together[mask]) << 8)) & thin;
    memcpy(to, &plane, 8);
    *class = (uint8_t)(*class + (THIN & thin));
    return 8 - ((7 - used) & thin);
}

/* The highest bits of 64 bytes. */
COUNTS uint64_t highest(__m256i a, __m256i b)
{
    const uint32_t low = (uint32_t)_mm256_movemask_epi8(a);
    const uint32_t high = (uint32_t)_mm256_movemask_epi8(b);
    return low | (uint64_t)high << 32;
}

/* The union of a block's bits has as many as its largest number. */
COUNTS unsigned bits_in_use(const __m256i v[4])
{
    const __m256i any = _mm256_or_si256(_mm256_or_si256(v[0], v[1]), _mm256_or_si256(v[2], v[3]));
    const __m128i half =
        _mm_or_si128(_mm256_castsi256_si128(any), _mm256_extracti128_si256(any, 1));
    const __m128i least = _mm_minpos_epu16(_mm_xor_si128(half, _mm_set1_epi8(-1)));
    const unsigned most = 0xffff ^ (unsigned)_mm_extract_epi16(least, 0);
    return 31 - (unsigned)__builtin_clz(2 * most + 1);
}

INLINE __m256i nibbles_in(__m256i a, __m256i b)
{
    const __m256i mask = _mm256_set1_epi8(15);
    return _mm256_or_si256(_mm256_and_si256(a, mask),
                           _mm256_slli_epi16(_mm256_and_si256(b, mask), 4));
}

/* The low n <= 8 bits of 64 bytes. All parts are written, and then those that are none over again. */
COUNTS size_t put_low(const __m256i bytes[2], unsigned n, uint8_t *out)
{
    const __m256i mask = _mm256_set1_epi8(3);
    const __m128i two = _mm_cvtsi32_si128((int)n & 4), one = _mm_cvtsi32_si128(8 - (int)n);
    uint8_t *to = out;
    store(to, nibbles_in(bytes[0], bytes[1]));
    to += n >= 4 ? 32 : 0;
    store(to, nibbles_in(_mm256_srli_epi16(bytes[0], 4), _mm256_srli_epi16(bytes[1], 4)));
    to += n & 8 ? 32 : 0;
    const __m256i a = _mm256_and_si256(_mm256_srl_epi16(bytes[0], two), mask);
    const __m256i b = _mm256_and_si256(_mm256_srl_epi16(bytes[1], two), mask);
    const __m256i twos = _mm256_or_si256(a, _mm256_slli_epi16(b, 2));
    const __m128i high = _mm_slli_epi16(_mm256_extracti128_si256(twos, 1), 4);
    _mm_storeu_si128((void *)to, _mm_or_si128(_mm256_castsi256_si128(twos), high));
    to += n & 2 ? 16 : 0;
    const uint64_t plane =
        highest(_mm256_sll_epi16(bytes[0], one), _mm256_sll_epi16(bytes[1], one));
    memcpy(to, &plane, 8);
    return (size_t)(to - out) + (n & 1 ? 8 : 0);
}

COUNTS size_t thin_block(const struct lanes *lanes, size_t block, uint8_t *class, uint8_t *out)
{
    const __m256i byte = _mm256_set1_epi16(0xff);
    __m256i v[4], m[4], bytes[2];
    load_block(lanes, block, v);
    const unsigned all = bits_in_use(v), rest = all - 1;
    *class = (uint8_t)all;
    if (!all)
        return 0;
    const __m128i up = _mm_cvtsi32_si128(16 - (int)all);
    for (int i = 0; i < 4; i++)
        m[i] = _mm256_sll_epi16(v[i], up); /* packing keeps the sign */
    size_t n = put_top(highest(_mm256_packs_epi16(m[0], m[1]), _mm256_packs_epi16(m[2], m[3])),
                       class, out);
    for (int i = 0; i < 4; i++)
        m[i] = _mm256_and_si256(v[i], byte);
    narrow(m, bytes);
    n += put_low(bytes, rest < 8 ? rest : 8, out + n);
    if (rest > 8) {
        for (int i = 0; i < 4; i++)
            m[i] = _mm256_srli_epi16(v[i], 8);
        narrow(m, bytes);
        n += put_low(bytes, rest - 8, out + n);
    }
    return n;
}

BITS size_t avx2_thin(const struct lanes *lanes, size_t first, size_t n, uint8_t *class,
                      uint8_t *out)
{
    const struct lanes own = *lanes; /* bytes that are written might be its own otherwise */
    uint8_t *to = out;
    for (size_t b = 0; b < n; b++)
        to += thin_block(&own, first + b, class + b, to);
    return (size_t)(to - out);
}

/* In the order of p: a byte of all ones where the bit of a plane is set. */
COUNTS void bits_of(uint64_t plane, __m256i p[2])
{
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i from =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0404040404040404, 0x0505050505050505);
    const __m256i v = _mm256_set1_epi64x((long long)plane);
    p[0] = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(v, from), bit), bit);
    p[1] = _mm256_shuffle_epi8(v, _mm256_add_epi8(from, _mm256_set1_epi8(2)));
    p[1] = _mm256_cmpeq_epi8(_mm256_and_si256(p[1], bit), bit);
}

/* The low n <= 8 bits of numbers; returns how many bytes these took. */
COUNTS size_t get_low(const uint8_t *in, unsigned n, __m256i p[2])
{
    const __m256i nibble = _mm256_set1_epi8(n >= 4 ? 15 : 0),
                  pair = _mm256_set1_epi8(n & 2 ? 3 : 0);
    const __m256i bit = _mm256_set1_epi8((char)(n & 1 ? 1 << (n - 1) : 0));
    const __m128i by = _mm_cvtsi32_si128((int)n & 4);
    const uint8_t *at = in + (n >= 4 ? 32 : 0);
    __m256i ones[2], twos;
    uint64_t plane;
    p[0] = _mm256_and_si256(nibbles_of(in), nibble);
    p[1] = _mm256_and_si256(nibbles_of(in + 16), nibble);
    if (n & 8) {
        p[0] = _mm256_or_si256(p[0], _mm256_slli_epi16(nibbles_of(at), 4));
        p[1] = _mm256_or_si256(p[1], _mm256_slli_epi16(nibbles_of(at + 16), 4));
        return 64;
    }
    twos = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)at));
    at += n & 2 ? 16 : 0;
    memcpy(&plane, at, 8);
    bits_of(plane, ones);
    for (int i = 0; i < 2; i++) {
        const __m256i v = _mm256_srlv_epi64(twos, i ? _mm256_setr_epi64x(4, 4, 6, 6)
                                                    : _mm256_setr_epi64x(0, 0, 2, 2));
        p[i] = _mm256_or_si256(p[i], _mm256_sll_epi16(_mm256_and_si256(v, pair), by));
        p[i] = _mm256_or_si256(p[i], _mm256_and_si256(ones[i], bit));
    }
    return (size_t)(at - in) + (n & 1 ? 8 : 0);
}

BITS size_t avx2_thicken(const uint8_t *in, unsigned class, const struct lanes *lanes, size_t block)
{
    const bool thin = class >= THIN;
    const unsigned all = class - (thin ? THIN : 0), rest = all ? all - 1 : 0;
    __m256i p[2], high[2], top[2];
    uint64_t v;
    memcpy(&v, in, 8);
    const unsigned mask = v & 255, used = (unsigned)__builtin_popcount(mask);
    const uint64_t wide = shuffle8(_mm_cvtsi64_si128((long long)(v >> 8)), apart[mask]);
    v = !all ? 0 : thin ? wide : v;
    size_t n = thin ? 1 + used : all ? 8 : 0;
    bits_of(v, top);
    n += get_low(in + n, rest < 8 ? rest : 8, p);
    high[0] = high[1] = _mm256_setzero_si256();
    if (rest > 8)
        n += get_low(in + n, rest - 8, high);
    const __m256i low_bit = _mm256_set1_epi8((char)(1u << rest));
    const __m256i high_bit = _mm256_set1_epi8((char)(1u << rest >> 8));
    for (int i = 0; i < 2; i++) {
        p[i] = _mm256_or_si256(p[i], _mm256_and_si256(top[i], low_bit));
        high[i] = _mm256_or_si256(high[i], _mm256_and_si256(top[i], high_bit));
    }
    store_block(lanes, block, p, high);
    return thin && used > THIN_BYTES ? THIN_ROOM + 1 : n;
}

#endif
