/* The scalar kernels of the interlaced predictor: what they compute is their definition. */
#include "codec/kernels.h"

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

void scalar_unions(const struct lanes *lanes, size_t first, size_t n, uint16_t *bits)
{
    for (size_t b = 0; b < n; b++) {
        uint16_t v[BLOCK];
        gather(lanes, first + b, v);
        bits[b] = 0;
        for (unsigned i = 0; i < BLOCK; i++)
            bits[b] |= v[i];
    }
}

void scalar_split_low(const struct lanes *lanes, size_t block, unsigned k, uint8_t *planes)
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
    scalar_split_low(lanes, block, k, planes);
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
