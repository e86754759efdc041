/* Boxes of samples as their bytes, shuffled, through zstd: what is mostly empty, a mask, labels. There a
 * search for repetitions finds more than a predictor. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_LITERAL_H
#define SQYFS_CODEC_LITERAL_H

#include "codec/stage.h"

/* `out` holds what a coder made of the box, `len` bytes. Where literal bytes may be fewer they are made, and
 * where they are, `mode` and they take the place of those. Returns the length of what `out` holds then.
 * -ENOMEM. Takes the scratch memory numbered 2, as the decoder does. */
ssize_t literal_instead(struct sqy_ctx *ctx, const struct shape *shape, const uint8_t *in,
                        uint8_t *out, size_t len, uint8_t mode);
/* -EBADMSG, -ENOMEM. */
int literal_decode(struct sqy_ctx *ctx, const struct shape *shape, const uint8_t *in, size_t len,
                   uint8_t *out);

#endif
