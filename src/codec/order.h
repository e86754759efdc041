/* Pieces of a volume put in the order of their brightness. The map, one little-endian uint64 a
 * piece, says which piece stands at each place; it travels in the stage's argument. */
#ifndef SQYFS_CODEC_ORDER_H
#define SQYFS_CODEC_ORDER_H

#include "codec/stage.h"

/* Sum of n samples of 1 or 2 bytes. */
uint64_t order_sum(const uint8_t *samples, size_t n, size_t size);
/* Makes `n` pieces' ascending order, those of the same key in their own, the stage's map. 0,
 * -ENOMEM, or -ENOTSUP where a map of so many does not fit a header. */
int order_learn(struct stage *stage, const uint64_t *keys, size_t n);
/* Whether the stage's map is one of `n` pieces: -EBADMSG where it is none. A map that sqeazy wrote
 * may name a piece twice and another never: that one is lost. */
int order_check(const struct stage *stage, size_t n);
/* Which piece stands at place `i`. */
size_t order_at(const struct stage *stage, size_t i);

#endif
