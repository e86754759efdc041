/* The inner loops that filters are made of, in several versions for several machines. Every version
 * writes the same bytes as the scalar one; tests/codec/test_kernels.c holds them to that, and times
 * them (--bench). */
#ifndef SQYFS_CODEC_KERNELS_H
#define SQYFS_CODEC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Which bytes of a bit row's group come first: sqeazy's bitswap1 counts backwards. */
enum flip {
    FLIP_NONE = 0,
    FLIP_8 = 8,   /* groups of 8 bytes are reversed; n is a multiple of 8 */
    FLIP_16 = 16, /* groups of 16 bytes are reversed; n is a multiple of 16 */
};

#define TAPS_MAX   14 /* of a predictor */
#define TAPS_SHIFT 11 /* weights are in units of 2^-TAPS_SHIFT */

/* A prediction for a row of samples: for sample i the sum of weight[t] * at[t][i] and the bias, as a
 * 32-bit number that wraps, shifted right by TAPS_SHIFT and saturated to 16 bits. */
struct taps {
    const int16_t *at[TAPS_MAX];
    int16_t weight[TAPS_MAX];
    unsigned n; /* even */
    unsigned
        near; /* the first 2 * near taps are pairs of neighbours: at[2 * p + 1] is at[2 * p] + 1 */
    int32_t bias;
};

/* Residuals share a class in blocks of 8 lanes by 8 columns. Number i of a block stands in column
 * i % 8; in lane 0, 2, 4, 6, 1, 3, 5, 7 by i / 8. */
#define BLOCK       64
#define LANES       8
#define PLANES_ROOM 128 /* bytes of 16 planes */
#define CLIP        8   /* times the mean of its block is the most a number counts for */

/* Blocks without an entropy coder. Class: bits in use, and THIN more where the highest plane is thin. */
#define THIN         17u
#define THIN_CLASSES (2 * THIN)
#define THIN_BYTES   6u  /* that are not 0 in a thin plane, at most */
#define THIN_ROOM    144 /* bytes of a block, and a little */

/* Blocks in memory: column c of lane l of block b is z[b * step + l * stride + c]. */
struct lanes {
    uint16_t *z;
    size_t stride, step;
};

/* The variance of what reads v, gain * max(v - (whole + rest), 0) + dark, but at least `least`. */
struct loss_model {
    int32_t whole;
    float rest, gain, dark, least;
};

#define LOSS_MOST  256u /* samples at once, a multiple of LOSS_STEP */
#define LOSS_STEP  16u
#define LOSS_LANES 8u

/* What samples have lost. */
struct loss {
    uint32_t peak, max_error;
    uint64_t squares;                    /* of errors */
    float ratios[LOSS_LANES], max_ratio; /* error^2 over variance: sums of every eighth, in order */
};

struct kernels {
    const char *name;
    /* n samples of 2, 4, 8 bytes to as many rows of n bytes: byte j of sample i becomes
     * rows[j * stride + i]; and back. */
    void (*deal2)(const uint8_t *in, size_t n, uint8_t *rows, size_t stride);
    void (*deal4)(const uint8_t *in, size_t n, uint8_t *rows, size_t stride);
    void (*deal8)(const uint8_t *in, size_t n, uint8_t *rows, size_t stride);
    void (*gather2)(const uint8_t *rows, size_t stride, size_t n, uint8_t *out);
    void (*gather4)(const uint8_t *rows, size_t stride, size_t n, uint8_t *out);
    void (*gather8)(const uint8_t *rows, size_t stride, size_t n, uint8_t *out);
    /* n bytes, a multiple of 8, to 8 rows of n / 8 bytes: bit b of byte i becomes bit i % 8 of
     * rows[b * stride + i / 8]; and back. */
    void (*split)(const uint8_t *in, size_t n, uint8_t *rows, ptrdiff_t stride, enum flip flip);
    void (*join)(const uint8_t *rows, ptrdiff_t stride, size_t n, uint8_t *out, enum flip flip);

    /* n little-endian samples of 16 bits, `flip` added bit by bit, to those in even columns and
     * those in odd ones; and back. */
    void (*part)(const uint8_t *in, size_t n, uint16_t flip, int16_t *even, int16_t *odd);
    void (*merge)(const int16_t *even, const int16_t *odd, size_t n, uint16_t flip, uint8_t *out);
    /* z = what the prediction leaves of x, as 16-bit differences that wrap, zigzag: 0, -1, 1, -2,
     * ... are 0, 1, 2, 3, ...; and back. Up to 31 elements after the n of the output may be written,
     * up to 32 after those of x, z and the taps read, and one before the taps. */
    void (*residual)(const struct taps *taps, const int16_t *x, size_t n, uint16_t *z);
    void (*restore)(const struct taps *taps, const uint16_t *z, size_t n, int16_t *x);
    /* Of n blocks from `first` on the sum of its numbers, none counted for more than CLIP times the
     * mean. */
    void (*sums)(const struct lanes *lanes, size_t first, size_t n, uint32_t *sum);
    /* A block's numbers without their low k bits (k < 16), 15 where they are more, as nibbles:
     * number i in the low half of byte i, number 32 + i in the high half. The low bits as k planes
     * of 8 bytes, number i at bit i: up to PLANES_ROOM bytes may be written, however few they are.
     * Returns which numbers are 15. And back, returning the same; k planes are read. */
    uint64_t (*pack)(const struct lanes *lanes, size_t block, unsigned k, uint8_t nibbles[32],
                     uint8_t *planes);
    uint64_t (*unpack)(const uint8_t nibbles[32], const uint8_t *planes, unsigned k,
                       const struct lanes *lanes, size_t block);
    /* The low k bits (k <= 16) alone. */
    void (*join_low)(const uint8_t *planes, unsigned k, const struct lanes *lanes, size_t block);
    /* n blocks from `first` on without an entropy coder, as codec/FORMAT.md has them: the class of
     * each, and the rest to `out`, of which it returns the length. Up to THIN_ROOM bytes of `out` may
     * be written for each block, however few they are. And a block back, of a class below
     * THIN_CLASSES: returns how many of the THIN_ROOM bytes at `in`, all of which may be read, were
     * its own; more than that where they are none of a block. */
    size_t (*thin)(const struct lanes *lanes, size_t first, size_t n, uint8_t *class, uint8_t *out);
    size_t (*thicken)(const uint8_t *in, unsigned class, const struct lanes *lanes, size_t block);

    /* table[in[i]], n little-endian samples of 16 bits. */
    void (*look_up)(const uint16_t *table, const uint8_t *in, size_t n, uint8_t *out);
    /* n samples of 16 bits, LOSS_MOST at most and a multiple of LOSS_STEP, `flip` added bit by bit. */
    void (*loss)(const uint8_t *original, const uint8_t *decoded, size_t n, uint16_t flip,
                 const struct loss_model *model, struct loss *out);

    const struct turns *turns; /* the loops of the contextual coder; codec/turns.h */
};

extern const struct kernels kernels_scalar;
/* NULL where this machine or this build lacks it. */
const struct kernels *kernels_avx2(void);
const struct kernels *kernels_avx512(void);
/* Version 0 .. kernels_count() - 1; the first is the scalar one. */
unsigned kernels_count(void);
const struct kernels *kernels_version(unsigned i);
const struct kernels *kernels_best(void);

/* Where number i of a block stands. */
static inline uint16_t *lanes_at(const struct lanes *lanes, size_t block, unsigned i)
{
    const unsigned lane = i / 8 < 4 ? i / 8 * 2 : (i / 8 - 4) * 2 + 1;
    return lanes->z + block * lanes->step + lane * lanes->stride + i % 8;
}

/* kernels_residual.c, the scalar ones; kernels_residual_avx2.c, where there is AVX2. */
#define KERNELS_RESIDUAL(prefix)                                                                   \
    void prefix##_part(const uint8_t *in, size_t n, uint16_t flip, int16_t *even, int16_t *odd);   \
    void prefix##_merge(const int16_t *even, const int16_t *odd, size_t n, uint16_t flip,          \
                        uint8_t *out);                                                             \
    void prefix##_residual(const struct taps *taps, const int16_t *x, size_t n, uint16_t *z);      \
    void prefix##_restore(const struct taps *taps, const uint16_t *z, size_t n, int16_t *x);       \
    void prefix##_sums(const struct lanes *lanes, size_t first, size_t n, uint32_t *sum);          \
    uint64_t prefix##_pack(const struct lanes *lanes, size_t block, unsigned k,                    \
                           uint8_t nibbles[32], uint8_t *planes);                                  \
    uint64_t prefix##_unpack(const uint8_t nibbles[32], const uint8_t *planes, unsigned k,         \
                             const struct lanes *lanes, size_t block);                             \
    void prefix##_join_low(const uint8_t *planes, unsigned k, const struct lanes *lanes,           \
                           size_t block);                                                          \
    size_t prefix##_thin(const struct lanes *lanes, size_t first, size_t n, uint8_t *class,        \
                         uint8_t *out);                                                            \
    size_t prefix##_thicken(const uint8_t *in, unsigned class, const struct lanes *lanes,          \
                            size_t block)

KERNELS_RESIDUAL(scalar);
KERNELS_RESIDUAL(avx2);

/* kernels_noise.c, kernels_noise_avx2.c */
#define KERNELS_NOISE(prefix)                                                                      \
    void prefix##_look_up(const uint16_t *table, const uint8_t *in, size_t n, uint8_t *out);       \
    void prefix##_loss(const uint8_t *original, const uint8_t *decoded, size_t n, uint16_t flip,   \
                       const struct loss_model *model, struct loss *out)

KERNELS_NOISE(scalar);
KERNELS_NOISE(avx2);

#endif
