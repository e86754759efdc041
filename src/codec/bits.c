#include "codec/bits.h"

#include <string.h>

#define TILE_BYTES 8192 /* with as many bytes on the way in and out still within 32 KiB */

void bits_deal(const struct kernels *k, size_t size, const uint8_t *in, size_t n, uint8_t *rows,
               size_t stride)
{
    if (size == 2)
        k->deal2(in, n, rows, stride);
    else if (size == 4)
        k->deal4(in, n, rows, stride);
    else if (size == 8)
        k->deal8(in, n, rows, stride);
    else
        memcpy(rows, in, n);
}

void bits_gather(const struct kernels *k, size_t size, const uint8_t *rows, size_t stride, size_t n,
                 uint8_t *out)
{
    if (size == 2)
        k->gather2(rows, stride, n, out);
    else if (size == 4)
        k->gather4(rows, stride, n, out);
    else if (size == 8)
        k->gather8(rows, stride, n, out);
    else
        memcpy(out, rows, n);
}

void bits_split(const struct kernels *k, size_t size, const uint8_t *in, size_t n, uint8_t *rows,
                ptrdiff_t stride, enum flip flip)
{
    uint8_t bytes[TILE_BYTES];
    const size_t tile = TILE_BYTES / size;
    for (size_t at = 0; at < n; at += tile) {
        size_t m = n - at < tile ? n - at : tile;
        const uint8_t *plane = in + at * size;
        if (size > 1) {
            bits_deal(k, size, in + at * size, m, bytes, m);
            plane = bytes;
        }
        for (size_t c = 0; c < size; c++)
            k->split(plane + c * m, m, rows + 8 * (ptrdiff_t)c * stride + at / 8, stride, flip);
    }
}

void bits_join(const struct kernels *k, size_t size, const uint8_t *rows, ptrdiff_t stride,
               size_t n, uint8_t *out, enum flip flip)
{
    uint8_t bytes[TILE_BYTES];
    const size_t tile = TILE_BYTES / size;
    for (size_t at = 0; at < n; at += tile) {
        size_t m = n - at < tile ? n - at : tile;
        uint8_t *plane = size > 1 ? bytes : out + at;
        for (size_t c = 0; c < size; c++)
            k->join(rows + 8 * (ptrdiff_t)c * stride + at / 8, stride, m, plane + c * m, flip);
        if (size > 1)
            bits_gather(k, size, bytes, m, m, out + at * size);
    }
}
