/* Byte and bit planes of samples of any size: what kernels do in runs that fit the first cache. */
#ifndef SQYFS_CODEC_BITS_H
#define SQYFS_CODEC_BITS_H

#include "codec/kernels.h"

/* n samples of 1, 2, 4 or 8 bytes to `size` rows of n bytes, `stride` apart; and back. */
void bits_deal(const struct kernels *k, size_t size, const uint8_t *in, size_t n, uint8_t *rows,
               size_t stride);
void bits_gather(const struct kernels *k, size_t size, const uint8_t *rows, size_t stride, size_t n,
                 uint8_t *out);

/* n samples, a multiple of 8 (of `flip` where that is more), to 8 * size rows of n / 8 bytes, least
 * significant bit first, `stride` apart (may be negative); and back. */
void bits_split(const struct kernels *k, size_t size, const uint8_t *in, size_t n, uint8_t *rows,
                ptrdiff_t stride, enum flip flip);
void bits_join(const struct kernels *k, size_t size, const uint8_t *rows, ptrdiff_t stride,
               size_t n, uint8_t *out, enum flip flip);

#endif
