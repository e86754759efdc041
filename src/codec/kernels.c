#include "codec/kernels.h"
#include <stdbool.h>

#include "base/le.h"
#include "codec/turns.h"

/* `size` is a constant wherever this is inlined, and the loops unroll. */
static inline __attribute__((always_inline)) void deal(const uint8_t *in, size_t n, uint8_t *rows,
                                                       size_t stride, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < size; j++)
            rows[j * stride + i] = in[i * size + j];
    }
}

static inline __attribute__((always_inline)) void gather(const uint8_t *rows, size_t stride,
                                                         size_t n, uint8_t *out, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < size; j++)
            out[i * size + j] = rows[j * stride + i];
    }
}

static void scalar_deal2(const uint8_t *in, size_t n, uint8_t *rows, size_t stride)
{
    deal(in, n, rows, stride, 2);
}

static void scalar_deal4(const uint8_t *in, size_t n, uint8_t *rows, size_t stride)
{
    deal(in, n, rows, stride, 4);
}

static void scalar_deal8(const uint8_t *in, size_t n, uint8_t *rows, size_t stride)
{
    deal(in, n, rows, stride, 8);
}

static void scalar_gather2(const uint8_t *rows, size_t stride, size_t n, uint8_t *out)
{
    gather(rows, stride, n, out, 2);
}

static void scalar_gather4(const uint8_t *rows, size_t stride, size_t n, uint8_t *out)
{
    gather(rows, stride, n, out, 4);
}

static void scalar_gather8(const uint8_t *rows, size_t stride, size_t n, uint8_t *out)
{
    gather(rows, stride, n, out, 8);
}

/* Bit j of byte i goes to bit i of byte j. Hacker's Delight (Warren), section 7-3. */
static inline uint64_t transpose8(uint64_t x)
{
    uint64_t t;
    t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAu;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCu;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0u;
    return x ^ t ^ (t << 28);
}

/* Where the 8 bytes that belong at `i` stand, and whether they stand backwards. */
static inline uint64_t load8(const uint8_t *in, size_t i, enum flip flip)
{
    if (flip == FLIP_NONE)
        return le_load64(in + i);
    return be_load64(in + (flip == FLIP_16 ? i ^ 8 : i));
}

static inline void store8(uint8_t *out, size_t i, uint64_t v, enum flip flip)
{
    if (flip == FLIP_NONE)
        le_store64(out + i, v);
    else
        le_store64(out + (flip == FLIP_16 ? i ^ 8 : i), __builtin_bswap64(v));
}

static void scalar_split(const uint8_t *in, size_t n, uint8_t *rows, ptrdiff_t stride,
                         enum flip flip)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = transpose8(load8(in, i, flip));
        uint8_t *at = rows + i / 8;
        for (int b = 0; b < 8; b++)
            at[b * stride] = (uint8_t)(v >> (8 * b));
    }
}

static void scalar_join(const uint8_t *rows, ptrdiff_t stride, size_t n, uint8_t *out,
                        enum flip flip)
{
    for (size_t i = 0; i < n; i += 8) {
        const uint8_t *at = rows + i / 8;
        uint64_t v = 0;
        for (int b = 0; b < 8; b++)
            v |= (uint64_t)at[b * stride] << (8 * b);
        store8(out, i, transpose8(v), flip);
    }
}

const struct kernels kernels_scalar = {
    .name = "scalar",
    .deal2 = scalar_deal2,
    .deal4 = scalar_deal4,
    .deal8 = scalar_deal8,
    .gather2 = scalar_gather2,
    .gather4 = scalar_gather4,
    .gather8 = scalar_gather8,
    .split = scalar_split,
    .join = scalar_join,
    .part = scalar_part,
    .merge = scalar_merge,
    .residual = scalar_residual,
    .restore = scalar_restore,
    .sums = scalar_sums,
    .pack = scalar_pack,
    .unpack = scalar_unpack,
    .join_low = scalar_join_low,
    .thin = scalar_thin,
    .thicken = scalar_thicken,
    .look_up = scalar_look_up,
    .loss = scalar_loss,
    .turns = &turns_scalar,
};

static const struct kernels *kernels_portable(void)
{
    return &kernels_scalar;
}

/* From the slowest to the fastest. */
static const struct {
    const struct kernels *(*get)(void);
    bool proven; /* its check has passed on such a machine, not in emulation alone: may be chosen */
} versions[] = {{kernels_portable, true}, {kernels_avx2, true}, {kernels_avx512, false}};
#define N_VERSIONS (sizeof(versions) / sizeof(versions[0]))

unsigned kernels_count(void)
{
    return N_VERSIONS;
}

const struct kernels *kernels_version(unsigned i)
{
    return versions[i].get();
}

const struct kernels *kernels_best(void)
{
    const struct kernels *best = &kernels_scalar;
    for (unsigned i = 0; i < N_VERSIONS; i++) {
        const struct kernels *version = versions[i].proven ? versions[i].get() : NULL;
        best = version ? version : best;
    }
    return best;
}
