/* The inner loops that filters are made of, in several versions for several machines. Every version
 * writes the same bytes as the scalar one; tests/codec/test_kernels.c holds them to that. */
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
};

extern const struct kernels kernels_scalar;
/* NULL where this machine or this build lacks it. */
const struct kernels *kernels_avx2(void);
const struct kernels *kernels_best(void);

#endif
