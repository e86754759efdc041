/* The bytes of a checkpoint record and of a mark, from and to memory. No I/O.
 *
 * Both end in the same trailer, by which they are found from behind. A checkpoint says what has
 * changed since the one before ("chain" counts those back to the last one that says everything); a
 * mark says where the last checkpoint is. Layout: FORMAT.md, "Checkpoints". */
#ifndef SQYFS_STORE_CHECKPOINT_H
#define SQYFS_STORE_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "store/page.h"

#define CHECKPOINT_ID_BYTES        16u
#define CHECKPOINT_MAX_BYTES       (64u << 20) /* of a record: a directory of a million pages, 150 TB */
#define CHECKPOINT_MAX_CHAIN       64u         /* records to be read on top of a full one */
#define CHECKPOINT_MAX_CHAIN_BYTES (2 * CHECKPOINT_MAX_BYTES)
#define CHECKPOINT_MAX_TEXT        (64u << 10) /* of one pipeline */
#define CHECKPOINT_MAX_TEXTS       (1u << 20)  /* of all pipelines, as CHECKPOINT_TEXT_BYTES() */
#define CHECKPOINT_MAX_NSEC        999999999   /* of mtime */

/* A pipeline's text in a record: its length and its bytes. */
#define CHECKPOINT_TEXT_BYTES(len) (4 + (uint64_t)(len))

#define CHECKPOINT_TRAILER_BYTES 48u
#define CHECKPOINT_MARK_BYTES    80u
#define CHECKPOINT_EMPTY_BYTES   216u /* a record with nothing in it */

#define CHECKPOINT_TRAILER_MAGIC                                                                   \
    "sqyfs<<|" /* 8 bytes, at CHECKPOINT_TRAILER_MAGIC_AT of the trailer */
#define CHECKPOINT_TRAILER_MAGIC_AT 8u

struct checkpoint_trailer {
    uint64_t sum; /* sum64 of the frame before this field */
    uint8_t id[CHECKPOINT_ID_BYTES];
    uint64_t off; /* of the frame */
    uint32_t len; /* of the frame, this trailer included */
};

/* 0 or -EBADMSG: no trailer. */
int checkpoint_trailer_parse(const uint8_t data[CHECKPOINT_TRAILER_BYTES],
                             struct checkpoint_trailer *out);
/* Whether a frame of trailer->len bytes is what the trailer says it is. */
bool checkpoint_frame_is_whole(const uint8_t *frame, const struct checkpoint_trailer *trailer);

struct checkpoint {
    uint8_t id[CHECKPOINT_ID_BYTES];
    uint64_t off;      /* own */
    uint64_t prev;     /* 0: none */
    uint64_t prev_sum; /* trailer.sum of the previous one */
    uint64_t seq;
    uint32_t chain; /* 0: the directory is complete */
    uint64_t size;
    struct timespec mtime;
    struct page_totals totals;
    uint64_t digest;
    uint64_t n_pages; /* in the directory after this record */
    bool unsynced;    /* its pages were not on the disk when it was written */

    uint32_t n_pipelines, first_pipeline; /* texts of [first_pipeline, n_pipelines) are here */
    const char *const *pipelines;         /* for writing: all n_pipelines */
    const char *meta;                     /* NULL: as before; not NUL-terminated when parsed */
    uint32_t meta_len;
    const struct page_ref *refs; /* for writing */
    const uint64_t *removed;     /* for writing */
    uint32_t n_refs, n_removed;

    /* for reading: where these lie in the record */
    const uint8_t *texts_at, *refs_at, *removed_at;
    uint32_t texts_len;
};

/* Bytes of the record; 0 where it is larger than CHECKPOINT_MAX_BYTES. */
size_t checkpoint_bytes(const struct checkpoint *checkpoint);
/* Writes it and returns the trailer's sum. */
uint64_t checkpoint_write(const struct checkpoint *checkpoint, uint8_t *frame, size_t len);
/* Parses a whole frame (checkpoint_frame_is_whole()); pointers point into it. -EBADMSG where it is
 * no checkpoint, or a wrong one; -ENOTSUP where it is a newer one. */
int checkpoint_parse(const uint8_t *frame, const struct checkpoint_trailer *trailer,
                     struct checkpoint *out);

/* The i-th entry and key of a parsed record. */
struct page_ref checkpoint_ref(const struct checkpoint *checkpoint, uint32_t i);
uint64_t checkpoint_removed(const struct checkpoint *checkpoint, uint32_t i);
/* Steps through the texts: *at starts at 0. The text has no NUL. */
const char *checkpoint_text(const struct checkpoint *checkpoint, uint32_t *at, uint32_t *len);

/* Where the writer's last checkpoint lies, and where it was just writing another; 0: none. */
struct checkpoint_mark {
    uint64_t last, pending;
};
void checkpoint_mark_write(const struct checkpoint_mark *mark,
                           const uint8_t id[CHECKPOINT_ID_BYTES], uint64_t off,
                           uint8_t frame[CHECKPOINT_MARK_BYTES]);
/* 0 or -EBADMSG: the frame is no mark. */
int checkpoint_mark_parse(const uint8_t *frame, const struct checkpoint_trailer *trailer,
                          struct checkpoint_mark *out);

#endif
