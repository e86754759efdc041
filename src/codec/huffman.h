/* zstd as a Huffman coder: no search for matches, just the code of the literals. In zstd.c.
 *
 * Bytes that do not shrink are kept as they are, which the length tells. Nobody outside codec/
 * includes this. */
#ifndef SQYFS_CODEC_HUFFMAN_H
#define SQYFS_CODEC_HUFFMAN_H

#include "codec/sqy.h"

/* Returns at most `len`, which `cap` must not be below (-ENOSPC). -ENOMEM. */
ssize_t huffman_encode(struct sqy_ctx *ctx, const uint8_t *in, size_t len, uint8_t *out,
                       size_t cap);
/* Fills out[0 .. len) exactly, or fails: -EBADMSG, -ENOMEM. */
int huffman_decode(struct sqy_ctx *ctx, const uint8_t *in, size_t in_len, uint8_t *out, size_t len);

#endif
