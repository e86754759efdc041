/* One chunk between its plain bytes and its coded bytes: byte order, checksums, pipelines by name,
 * and the fall back to stored bytes where a pipeline gains nothing.
 *
 * A coder owns the scratch memory and is used by one thread at a time. */
#ifndef SQYFS_VOLUME_CODER_H
#define SQYFS_VOLUME_CODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/sqy.h"
#include "store/blob.h"
#include "volume/ladder.h"
#include "volume/policy_archive.h"

struct coder;

int coder_create(struct coder **out);
void coder_destroy(struct coder **coder);
/* Gives back what boxes far larger than others have taken. */
void coder_trim(struct coder *coder);
/* Slow encoders ask from now on, and end with -ECANCELED where it says so. */
void coder_stop_when(struct coder *coder, bool (*stop)(void *arg), void *arg);
/* As sqy_ctx_on_notice(). */
void coder_on_notice(struct coder *coder, void (*notice)(void *arg, const char *line), void *arg);

/* A buffer of the coder's own for `len` plain bytes; valid until the next call. NULL: out of
 * memory. */
void *coder_plain(struct coder *coder, size_t len);

struct coded {
    struct blob_chunk chunk; /* all but pipeline and coded_off */
    const char *pipeline;    /* canonical text; valid as long as the coder and the pipeline */
    const void *bytes;       /* chunk.coded_len bytes; valid until the coder's next use */
    size_t part_len[SQY_MAX_PARTS];
    unsigned n_parts;
    bool wrap;                  /* as blob_append() wants it */
    struct sqy_receipt receipt; /* of one that is BLOB_LOSSY */
};

/* What such a box goes through on a rung, for a stack whose pipeline is `target`: that itself where it is
 * no slower than the rung's. Valid as long as coder and `target`. */
const struct sqy_pipeline *coder_rung(const struct coder *coder, enum ladder_rung rung,
                                      const struct sqy_pipeline *target, const struct sqy_box *box);

/* Encodes plain[0 .. sqy_box_bytes(box)). SQY_BYTES boxes go through zstd whatever `pipeline` says, but
 * for a lower rung's.
 * Where nothing is gained, or the encoder fails, the bytes are stored as they are (that never fails
 * but for -ENOMEM); `strict` forbids that for voxels: sqeazy's form knows no second pipeline. */
int coder_encode(struct coder *coder, const struct sqy_pipeline *pipeline,
                 const struct sqy_box *box, bool big_endian, bool strict, const void *plain,
                 struct coded *out);

/* What somebody has said that a stack may lose. */
struct coder_loss {
    enum sqy_type
        type; /* of the voxels that may lose something: the model of the noise is theirs */
    const struct sqy_pipeline *pipeline; /* with its model of the noise */
    const struct sqy_pipeline *lossless; /* for what that cannot code, and where it gains nothing */
    const struct sqy_noise *noise;       /* what sigma is; NULL: 1 count */
    struct archive_bound bound; /* else a finer pipeline is taken, in the end the lossless one */
};

/* As coder_encode(), with loss: what was coded is decoded again, and measured. BLOB_LOSSY where that is not
 * exactly what it was. Other errors than coder_encode()'s: -ECANCELED. */
int coder_encode_lossy(struct coder *coder, const struct coder_loss *loss,
                       const struct sqy_box *box, bool big_endian, const void *plain,
                       struct coded *out);

/* The receipt behind the coded bytes of a BLOB_LOSSY chunk. -EBADMSG for damage. [waits] */
int coder_receipt(struct coder *coder, struct blob *blob, const struct blob_chunk *chunk,
                  struct sqy_receipt *out);

/* Decodes one chunk of a blob into out[0 .. sqy_box_bytes(&chunk->box)), as the plain file has its
 * bytes, and verifies both checksums. -EBADMSG for damage. [waits] */
int coder_decode(struct coder *coder, struct blob *blob, const struct blob_chunk *chunk, void *out);

#endif
