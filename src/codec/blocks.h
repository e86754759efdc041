/* Blocks of 64 residuals, coded. A block has a class, the half octave of its sum, which says how many
 * low bits are noise. These are stored as they are; what is above them is coded with others of like
 * shape. Or, without an entropy coder, the bits in use are stored, the highest ones without their
 * zeros. Nobody outside codec/ includes this.
 *
 * Two fields are coded together, group by group, so that residuals are coded while they are in the
 * nearest cache. */
#ifndef SQYFS_CODEC_BLOCKS_H
#define SQYFS_CODEC_BLOCKS_H

#include "codec/field.h"
#include "codec/stage.h"

#define BLOCKS_FIELDS 2u

enum blocks_form {
    BLOCKS_CODED,  /* with the entropy coder */
    BLOCKS_THIN,   /* without */
    BLOCKS_PLANES, /* without, each bit in use a plane: an older form that is only read */
};

/* All that is coded at a time, in borrowed memory. */
struct blocks {
    struct field field[BLOCKS_FIELDS];
    size_t n, n_groups;
    enum blocks_form form;
    uint8_t *class;   /* of each block, in the order in which they are coded */
    uint8_t *nibbles; /* 32 bytes of each block, in that order */
    uint8_t *streams; /* the same, stream by stream */
    uint8_t *escapes; /* 64 bytes of each block at most */
    uint8_t *wide;    /* 128 bytes of each block at most */
};

/* Two fields of so many rows, of such widths. False where it does not fit size_t. */
bool blocks_measure(struct blocks *blocks, size_t rows, const size_t width[BLOCKS_FIELDS],
                    enum blocks_form form);
size_t blocks_bytes(const struct blocks *blocks); /* of memory for these */
void blocks_place(struct blocks *blocks, void *memory);

/* Room for low bits as they come, and for all else that is worth coding. */
size_t blocks_bound(const struct blocks *blocks);

struct blocks_encoder {
    const struct blocks *blocks;
    uint8_t *out, *end;
    uint8_t *planes, *escape, *wide; /* where the next of each go */
    size_t at;                       /* block that is coded next */
    size_t in_field[BLOCKS_FIELDS];  /* and in its field */
};

/* `out` has `cap` bytes, at least blocks_bound(). */
void blocks_encode_begin(struct blocks_encoder *e, const struct blocks *blocks, uint8_t *out,
                         size_t cap);
/* Group 0, 1, ...; the rows of the next must be there, too, or the fields be filled up. */
void blocks_encode_group(struct blocks_encoder *e, const struct kernels *k, size_t group);
/* Returns the length of all. -ENOSPC where that is more than is worth it, -ENOMEM. */
ssize_t blocks_encode_end(struct blocks_encoder *e, struct sqy_ctx *ctx);

struct blocks_decoder {
    const struct blocks *blocks;
    const uint8_t *planes, *planes_end, *escape, *escape_end, *wide, *wide_end;
    const uint8_t *stream[64]; /* where the next nibbles of each stream are */
    uint8_t stream_of[64];     /* of each class */
    size_t at, in_field[BLOCKS_FIELDS];
};

/* `in` stays as long as the decoder. -EBADMSG, -ENOMEM. */
int blocks_decode_begin(struct blocks_decoder *d, const struct blocks *blocks, struct sqy_ctx *ctx,
                        const uint8_t *in, size_t len);
/* Afterwards the rows up to and with this group are there. -EBADMSG. */
int blocks_decode_group(struct blocks_decoder *d, const struct kernels *k, size_t group);
/* -EBADMSG where anything is left over. */
int blocks_decode_end(const struct blocks_decoder *d);

#endif
