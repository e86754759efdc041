/* The scalar kernels of the interlaced predictor: what they compute is their definition. */
#include "codec/kernels.h"

#include <stdbool.h>
#include <string.h>

#include "base/le.h"

void scalar_part(const uint8_t *in, size_t n, uint16_t flip, int16_t *even, int16_t *odd)
{
    size_t i = 0;
    for (; i + 1 < n; i += 2) {
        even[i / 2] = (int16_t)(le_load16(in + 2 * i) ^ flip);
        odd[i / 2] = (int16_t)(le_load16(in + 2 * i + 2) ^ flip);
    }
    if (i < n)
        even[i / 2] = (int16_t)(le_load16(in + 2 * i) ^ flip);
}

void scalar_merge(const int16_t *even, const int16_t *odd, size_t n, uint16_t flip, uint8_t *out)
{
    size_t i = 0;
    for (; i + 1 < n; i += 2) {
        le_store16(out + 2 * i, (uint16_t)even[i / 2] ^ flip);
        le_store16(out + 2 * i + 2, (uint16_t)odd[i / 2] ^ flip);
    }
    if (i < n)
        le_store16(out + 2 * i, (uint16_t)even[i / 2] ^ flip);
}

static inline uint16_t predict(const struct taps *taps, size_t i)
{
    uint32_t sum = (uint32_t)taps->bias;
    for (unsigned t = 0; t < taps->n; t++)
        sum += (uint32_t)(taps->weight[t] * taps->at[t][i]);
    int32_t p = (int32_t)sum >> TAPS_SHIFT;
    return (uint16_t)(p < INT16_MIN ? INT16_MIN : p > INT16_MAX ? INT16_MAX : p);
}

void scalar_residual(const struct taps *taps, const int16_t *x, size_t n, uint16_t *z)
{
    for (size_t i = 0; i < n; i++) {
        int16_t r = (int16_t)((uint16_t)x[i] - predict(taps, i));
        z[i] = (uint16_t)((uint16_t)r << 1 ^ (uint16_t)(r >> 15));
    }
}

void scalar_restore(const struct taps *taps, const uint16_t *z, size_t n, int16_t *x)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t r = (uint16_t)(z[i] >> 1 ^ -(z[i] & 1));
        x[i] = (int16_t)(uint16_t)(r + predict(taps, i));
    }
}

static void gather(const struct lanes *lanes, size_t block, uint16_t v[BLOCK])
{
    for (unsigned i = 0; i < BLOCK; i++)
        v[i] = *lanes_at(lanes, block, i);
}

void scalar_sums(const struct lanes *lanes, size_t first, size_t n, uint32_t *sum)
{
    for (size_t b = 0; b < n; b++) {
        uint16_t v[BLOCK];
        uint32_t s = 0;
        gather(lanes, first + b, v);
        for (unsigned i = 0; i < BLOCK; i++)
            s += v[i];
        const uint32_t most = s / (BLOCK / CLIP) + 1;
        sum[b] = 0;
        for (unsigned i = 0; i < BLOCK; i++)
            sum[b] += v[i] < most ? v[i] : most;
    }
}

static void split_low(const struct lanes *lanes, size_t block, unsigned k, uint8_t *planes)
{
    for (unsigned b = 0; b < k; b++) {
        uint64_t plane = 0;
        for (unsigned i = 0; i < BLOCK; i++)
            plane |= (uint64_t)(*lanes_at(lanes, block, i) >> b & 1) << i;
        le_store64(planes + 8 * b, plane);
    }
}

void scalar_join_low(const uint8_t *planes, unsigned k, const struct lanes *lanes, size_t block)
{
    for (unsigned i = 0; i < BLOCK; i++) {
        unsigned v = 0;
        for (unsigned b = 0; b < k; b++)
            v |= (planes[8 * b + i / 8] >> (i % 8) & 1u) << b;
        *lanes_at(lanes, block, i) = (uint16_t)v;
    }
}

uint64_t scalar_pack(const struct lanes *lanes, size_t block, unsigned k, uint8_t nibbles[32],
                     uint8_t *planes)
{
    uint64_t escapes = 0;
    for (unsigned i = 0; i < BLOCK; i++) {
        const unsigned v = *lanes_at(lanes, block, i) >> k, high = v > 15 ? 15 : v;
        escapes |= (uint64_t)(high == 15) << i;
        nibbles[i % 32] = (uint8_t)(i < 32 ? high : nibbles[i - 32] | high << 4);
    }
    split_low(lanes, block, k, planes);
    return escapes;
}

uint64_t scalar_unpack(const uint8_t nibbles[32], const uint8_t *planes, unsigned k,
                       const struct lanes *lanes, size_t block)
{
    uint64_t escapes = 0;
    scalar_join_low(planes, k, lanes, block);
    for (unsigned i = 0; i < BLOCK; i++) {
        const unsigned high = i < 32 ? nibbles[i] & 15u : nibbles[i - 32] >> 4;
        *lanes_at(lanes, block, i) |= (uint16_t)(high << k);
        escapes |= (uint64_t)(high == 15) << i;
    }
    return escapes;
}

/* Of a plane the bytes that are not 0, behind a mask that says which they are. Returns the length; 0
 * where they are too many. */
static size_t thin_plane(const uint8_t plane[8], uint8_t *out)
{
    size_t n = 0;
    out[0] = 0;
    for (unsigned i = 0; i < 8; i++)
        n += plane[i] != 0;
    if (n > THIN_BYTES)
        return 0;
    n = 1;
    for (unsigned i = 0; i < 8; i++) {
        if (!plane[i])
            continue;
        out[0] |= (uint8_t)(1u << i);
        out[n++] = plane[i];
    }
    return n;
}

/* Where number i stands in a part of 1, 2 or 4 bits of all. */
static unsigned thin_byte(unsigned i, unsigned bits)
{
    return bits == 1 ? i / 8 : i % (8 * bits);
}

static unsigned thin_bit(unsigned i, unsigned bits)
{
    return bits == 1 ? i % 8 : bits == 2 ? i / 32 * 2 + i / 16 % 2 * 4 : i / 32 * 4;
}

static unsigned bits_in_use(const struct lanes *lanes, size_t block)
{
    unsigned any = 0;
    for (unsigned i = 0; i < BLOCK; i++)
        any |= *lanes_at(lanes, block, i);
    return any ? 32 - (unsigned)__builtin_clz(any) : 0;
}

/* `bits` bits of all numbers, from bit `low` on. Returns the length. */
static size_t put_part(const struct lanes *lanes, size_t block, unsigned low, unsigned bits,
                       uint8_t *out)
{
    const unsigned n = 8 * bits; /* bytes */
    memset(out, 0, n);
    for (unsigned i = 0; i < BLOCK; i++) {
        const unsigned v = *lanes_at(lanes, block, i) >> low & ((1u << bits) - 1);
        out[thin_byte(i, bits)] |= (uint8_t)(v << thin_bit(i, bits));
    }
    return n;
}

static size_t thin_block(const struct lanes *lanes, size_t block, uint8_t *class, uint8_t *out)
{
    const unsigned all = bits_in_use(lanes, block);
    uint8_t top[8];
    *class = (uint8_t)all;
    if (!all)
        return 0;
    const unsigned rest = all - 1;
    put_part(lanes, block, rest, 1, top);
    size_t n = thin_plane(top, out);
    if (n) {
        *class = (uint8_t)(all + THIN);
    } else {
        memcpy(out, top, 8);
        n = 8;
    }
    for (unsigned low = 0; low < rest / 4 * 4; low += 4)
        n += put_part(lanes, block, low, 4, out + n);
    if (rest & 2)
        n += put_part(lanes, block, rest / 4 * 4, 2, out + n);
    if (rest & 1)
        n += put_part(lanes, block, rest - 1, 1, out + n);
    return n;
}

size_t scalar_thin(const struct lanes *lanes, size_t first, size_t n, uint8_t *class, uint8_t *out)
{
    uint8_t *to = out;
    for (size_t b = 0; b < n; b++)
        to += thin_block(lanes, first + b, class + b, to);
    return (size_t)(to - out);
}

/* Returns the length. */
static size_t thick_plane(const uint8_t *in, uint8_t plane[8])
{
    size_t n = 1;
    for (unsigned i = 0; i < 8; i++)
        plane[i] = in[0] >> i & 1 ? in[n++] : 0;
    return n;
}

static size_t get_part(const uint8_t *in, unsigned low, unsigned bits, const struct lanes *lanes,
                       size_t block)
{
    for (unsigned i = 0; i < BLOCK; i++) {
        const unsigned v = in[thin_byte(i, bits)] >> thin_bit(i, bits) & ((1u << bits) - 1);
        *lanes_at(lanes, block, i) |= (uint16_t)(v << low);
    }
    return (size_t)8 * bits;
}

size_t scalar_thicken(const uint8_t *in, unsigned class, const struct lanes *lanes, size_t block)
{
    const unsigned thin = class >= THIN, all = class - (thin ? THIN : 0);
    uint8_t top[8];
    for (unsigned i = 0; i < BLOCK; i++)
        *lanes_at(lanes, block, i) = 0;
    if (!all)
        return 0;
    const unsigned rest = all - 1;
    size_t n = thin ? thick_plane(in, top) : 8;
    const bool bad = thin && n > 1 + THIN_BYTES;
    get_part(thin ? top : in, rest, 1, lanes, block);
    for (unsigned low = 0; low < rest / 4 * 4; low += 4)
        n += get_part(in + n, low, 4, lanes, block);
    if (rest & 2)
        n += get_part(in + n, rest / 4 * 4, 2, lanes, block);
    if (rest & 1)
        n += get_part(in + n, rest - 1, 1, lanes, block);
    return bad ? THIN_ROOM + 1 : n;
}
