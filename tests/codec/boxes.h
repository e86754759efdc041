/* Boxes of voxels of several kinds, and what every coder of ours owes each of them. */
#ifndef SQYFS_TEST_BOXES_H
#define SQYFS_TEST_BOXES_H

#include "test.h"

#include "codec/sqy.h"
#include "util.h"

enum boxes_fill {
    BLOBS, /* signal, and 5 bits of noise */
    NOISE,
    FLAT,
    RAMP,
    HOT,              /* dark, with pixels at the end of the range */
    SPACED,           /* 12 bits in the upper part of 16 */
    SAME_PLANES,      /* noise of the whole range, the same in every plane */
    SAME_PLANES_DARK, /* of 12 bits */
    MASK,             /* black and white, of 4 x 4 pixels */
    BOXES_FILLS
};

/* Caller frees. */
uint8_t *boxes_filled(const struct sqy_box *box, enum boxes_fill fill);
/* Its coded bytes, in memory that ends with them; caller frees. */
struct bytes boxes_encode(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                          const struct sqy_box *box, const uint8_t *in);
size_t boxes_coded_bytes(const char *pipeline, const struct sqy_box *box, enum boxes_fill fill);
/* All comes back, of every type of 8 and 16 bits and every fill, by the best kernels and by the scalar
 * ones the same bytes. box->type is ignored. */
void boxes_check(const char *pipeline, const struct sqy_box *box);
/* Every byte changed in turn, and every length cut off: an error, or other voxels; never more. */
void boxes_check_damage(const char *pipeline, const struct sqy_box *box, enum boxes_fill fill);

#endif
