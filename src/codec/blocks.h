/* Blocks of 64 residuals, coded. A block has a class, the half octave of its sum, which says how many
 * low bits are noise. These are stored as they are; what is above them is coded with others of like
 * shape. Or, without an entropy coder, the class is the number of bits in use, and only these are
 * stored. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_BLOCKS_H
#define SQYFS_CODEC_BLOCKS_H

#include "codec/kernels.h"
#include "codec/stage.h"

#define BLOCKS_PARTS                                                                               \
    2u /* fields of residuals that are coded together: of even and of odd columns */

/* A field: rows of residuals, dealt out to lanes. Row r goes to lane r % 8, after those that are there;
 * a field of fewer rows than that lies in one lane, from end to end. */
struct field {
    size_t rows, width;
    size_t n_blocks;
    size_t n_lanes, length; /* of a lane, in columns */
    struct lanes lanes;
};

/* Where blocks_encode() and blocks_decode() work, in borrowed memory. */
struct blocks {
    struct field field[BLOCKS_PARTS];
    size_t n;
    uint8_t *class;   /* of each block, field by field */
    uint8_t *nibbles; /* 32 bytes of each block at most */
    uint8_t *escapes; /* 64 bytes of each block at most */
};

/* Sizes of fields of so many rows, of such widths; false where they do not fit size_t. */
bool blocks_measure(struct blocks *blocks, size_t rows, const size_t width[BLOCKS_PARTS]);
/* Memory for these, in bytes. */
size_t blocks_bytes(const struct blocks *blocks);
void blocks_place(struct blocks *blocks, void *memory);
/* Where row `row` of a field begins; may be written 31 numbers beyond its end, in rising order. */
uint16_t *blocks_row(const struct field *field, size_t row);

/* Room that blocks_encode() may need. */
size_t blocks_bound(const struct blocks *blocks);
/* Codes the fields; returns the length. `huffman`: with the entropy coder. -ENOMEM, -ENOSPC. */
ssize_t blocks_encode(struct sqy_ctx *ctx, struct blocks *blocks, bool huffman, uint8_t *out,
                      size_t cap);
/* Fills the fields from exactly `len` bytes. -EBADMSG, -ENOMEM. */
int blocks_decode(struct sqy_ctx *ctx, struct blocks *blocks, bool huffman, const uint8_t *in,
                  size_t len);

#endif
