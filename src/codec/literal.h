/* Boxes of samples as their bytes, shuffled, through zstd: what is mostly empty, a mask, labels. There a
 * search for repetitions finds more than a predictor. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_LITERAL_H
#define SQYFS_CODEC_LITERAL_H

#include "codec/stage.h"

/* About how many bytes it will take, from a sample. */
size_t literal_estimate(const struct shape *shape, const uint8_t *in);
/* Into `out` where that takes less than `cap` bytes. Returns the length; 0 where it would be more;
 * -ENOMEM. Takes the scratch memory numbered 2. */
ssize_t literal_encode(struct sqy_ctx *ctx, const struct shape *shape, const uint8_t *in,
                       uint8_t *out, size_t cap);
/* -EBADMSG, -ENOMEM. */
int literal_decode(struct sqy_ctx *ctx, const struct shape *shape, const uint8_t *in, size_t len,
                   uint8_t *out);

#endif
