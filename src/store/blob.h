/* One .sqy file: sqeazy header, coded chunks, table pages, checkpoints. Append-only; see FORMAT.md.
 *
 * The table maps every plain byte to at most one extent: a run of plain bytes, and where in which
 * coded chunk they are found. Several extents may share a chunk (strips, tiles); an edit carves the
 * runs it replaces out of older extents. Bytes of no extent are a hole and read as zeros.
 *
 * The table is kept in pages of consecutive extents, loaded when touched, written by a checkpoint
 * when changed: a checkpoint costs what changed, opening a blob costs its directory of pages.
 *
 * Thread safe, one lock inside that is not held over I/O, but to cut off what a failed append left. Calls marked [waits] read or write the
 * file; the others never do and return -EAGAIN where a page would have to be read first (call
 * blob_prepare() and try again).
 *
 * Codec-agnostic: this file carries coded bytes, it neither encodes nor decodes voxels. */
#ifndef SQYFS_STORE_BLOB_H
#define SQYFS_STORE_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/io.h"
#include "codec/sqy.h"

struct blob;

#define BLOB_HEADER_BYTES  4096u        /* our header, blanks included: it is rewritten in place */
#define BLOB_MAX_CHUNK     (256u << 20) /* decoded bytes of one chunk; a reader refuses more */
#define BLOB_MAX_META      (64u << 10)
#define BLOB_MAX_PIPELINES 255u
#define BLOB_KEPT_BYTES    (64u << 20) /* coded bytes kept until a sync has succeeded */

enum blob_flags {                       /* stored: never renumber */
                  BLOB_PROVISIONAL = 1, /* cut before the layout was known, or in part: to be cut
                                           again when idle */
                  BLOB_LOSSY = 2,
                  BLOB_LOWER_RUNG = 4, /* stored by a faster pipeline than asked for: to be encoded
                                          again when idle */
                  BLOB_BIG_ENDIAN = 8, /* samples are swapped after decoding */
                  BLOB_SPLIT =
                      16, /* coded bytes lie in several runs; coded_off is the parts record */
};

/* A chunk as coded and as decoded. `box.type` SQY_BYTES: width = its bytes, planes = rows = 1. */
struct blob_chunk {
    struct sqy_box box;
    uint32_t flags;
    uint32_t pipeline;  /* from blob_pipeline_id() */
    uint64_t coded_off; /* in the blob; also the chunk's identity within this blob */
    uint32_t coded_len;
    uint64_t coded_sum;  /* sum64 of the coded bytes (parts concatenated) */
    uint64_t served_sum; /* sum64 of the decoded bytes as the plain file has them (swapped back) */
};

/* Plain [off, off+len) = decoded chunk [src, src+len). */
struct blob_claim {
    uint64_t off, len;
    uint32_t src;
};

struct blob_extent {
    struct blob_claim claim;
    bool hole; /* no chunk: claim.off/len is the hole (up to UINT64_MAX at the end), rest is zero */
    struct blob_chunk chunk;
};

/* What a checkpoint says of the whole stack. */
struct blob_state {
    uint64_t size;         /* plain bytes; extents beyond it do not count */
    struct timespec mtime; /* visible mtime */
    const char
        *meta; /* JSON text for the index (volume's own), "" for none; < BLOB_MAX_META bytes */
};

struct blob_stats {
    uint64_t file_bytes; /* end of what is written */
    uint64_t live_bytes; /* coded bytes that extents still refer to (shares of a chunk pro rata) */
    uint64_t provisional_bytes; /* plain bytes in extents flagged PROVISIONAL or LOWER_RUNG */
    uint64_t mapped_bytes;      /* plain bytes that are no hole */
    uint64_t n_extents;
    uint64_t n_checkpoints; /* sequence number of the last one */
    uint64_t digest; /* tree over the checksums of all table pages; as of the last checkpoint */
    bool upstream;   /* header says "compact": true: sqeazy reads this file */
    uint64_t valid_bytes; /* when opened: where the last valid checkpoint ended; 0: just made */
    bool torn;            /* opened with bytes after the last valid checkpoint */
    bool trimmed;         /* opened with extents beyond the size, which were dropped */
};

/* What the header tells a reader that knows only sqeazy. */
struct blob_header {
    const char *
        pipename; /* canonical text; live blobs get "sqyfs->" put before it, which sqeazy refuses */
    enum sqy_type type; /* SQY_BYTES where the stack is not one volume: written as uint8, rank 1 */
    unsigned rank;
    uint64_t shape[SQY_MAX_RANK];
    bool upstream; /* the caller vouches that the payload is in sqeazy's order */
};

/* Makes a blob in an empty file: header only, no checkpoint yet. Takes ownership of `fd`
 * (read-write) on success. `io` is borrowed. [waits] */
int blob_create(const struct io *io, int fd, const struct blob_header *header, struct blob **out);

/* Opens at the last valid checkpoint. `writable` drops the torn tail (truncates) and extents beyond
 * the size. Takes ownership of `fd` on success. -EMEDIUMTYPE: a sqeazy blob without our key.
 * -EBADMSG: no blob, or ours with bytes but no valid checkpoint. -ENOTSUP: a newer format. A blob
 * with our header and nothing behind it opens as empty (size 0). A lost header is replaced from the
 * last checkpoint, shape and type being unknown then. A tail that is more than torn is kept, and
 * appended to. [waits] */
int blob_open(const struct io *io, int fd, bool writable, struct blob **out);

/* Without a checkpoint: what was not checkpointed is gone. */
void blob_close(struct blob **blob);

/* As for writing, but nothing behind the last checkpoint, or beyond its size, is dropped: the caller
 * knows which chunks lie there and enters them again. [waits] */
int blob_resume(const struct io *io, int fd, struct blob **out);

int blob_fd(const struct blob *blob);
/* What tells this blob from every other: 16 bytes, valid as long as the blob. */
const uint8_t *blob_id(const struct blob *blob);
/* State as of the last checkpoint; `meta` is valid until the next checkpoint. */
void blob_state(struct blob *blob, struct blob_state *out);
void blob_stats(struct blob *blob, struct blob_stats *out);
/* As written in the file; pipename without the "sqyfs->". Valid as long as the blob. */
void blob_header(struct blob *blob, struct blob_header *out);

/* Pipelines are named once per blob. -ENOSPC beyond BLOB_MAX_PIPELINES. Text: canonical spelling.
 */
int blob_pipeline_id(struct blob *blob, const char *text, uint32_t *id);
/* NULL for an id that is not there. Valid as long as the blob. */
const char *blob_pipeline_text(struct blob *blob, uint32_t id);

/* The extent that holds byte `off`, or the hole around it: as far as one table page knows, more
 * hole may follow. 0 or -EAGAIN. */
int blob_find(struct blob *blob, uint64_t off, struct blob_extent *out);

/* How many unchanged table pages stay in memory (default: TABLE_RESIDENT_PAGES). */
void blob_limit_pages(struct blob *blob, size_t n_pages);

/* How many coded bytes stay in memory until a sync has succeeded (default: BLOB_KEPT_BYTES); what is
 * being appended comes on top. 0: none, for a file that is thrown away where a sync fails. Before
 * anything is appended. */
void blob_limit_kept(struct blob *blob, uint64_t bytes);

/* Loads the table pages around [off, off+len), and their neighbours as far as commit and punch need
 * them. [waits] */
int blob_prepare(struct blob *blob, uint64_t off, uint64_t len);

/* Appends one coded chunk; several threads may. `wrap` puts it into a skippable frame: for coded
 * bytes that are not LZ4 or zstd frames themselves. On error the room is dead, nothing else has
 * changed. The first append to a blob in upstream form rewrites its header to the live form. Syncs
 * where half of what may be kept is; its error, or -EIO where nothing more can be kept, since a disk
 * that fails has confirmed none of it. [waits] */
int blob_append(struct blob *blob, bool wrap, const void *coded, uint32_t len, uint64_t *off);

/* Appends the parts record of a BLOB_SPLIT chunk: where its n_parts coded runs lie, in order.
 * [waits] */
struct blob_part {
    uint64_t off;
    uint32_t len;
};
int blob_append_parts(struct blob *blob, const struct blob_part *parts, unsigned n_parts,
                      uint64_t *off);

/* Enters an appended chunk into the table: its claims replace what the table said of those bytes.
 * Claims are disjoint and lie inside the decoded chunk, else -EINVAL. 0, -EAGAIN, -ENOMEM (nothing
 * changed). After -EAGAIN, blob_prepare() each claim. */
int blob_commit(struct blob *blob, const struct blob_chunk *chunk, const struct blob_claim *claims,
                unsigned n_claims);

/* Makes [off, off+len) a hole; up to UINT64_MAX where it would go beyond. Whoever lowers the size
 * punches what is behind it, or a size raised later brings it back. 0, -EAGAIN, -ENOMEM (nothing
 * changed). */
int blob_punch(struct blob *blob, uint64_t off, uint64_t len);

/* Reads the coded bytes of a chunk into buf[0 .. chunk->coded_len) and verifies coded_sum. -EBADMSG
 * on mismatch. [waits] */
int blob_read(struct blob *blob, const struct blob_chunk *chunk, void *buf);

/* Makes everything committed so far readable after a crash: fdatasync, changed pages and a
 * checkpoint, fdatasync. BLOB_NO_SYNC leaves both to the caller (who syncs the whole filesystem
 * before and after). BLOB_FULL writes a whole directory (close, compaction). Nothing is written
 * where nothing has changed since the last one (BLOB_FULL: and that one was full, and ends the file).
 * One at a time (the call serialises). The file's mtime moves: restore it. On error the table goes on as it is,
 * and the next checkpoint is complete again; after a failed sync it first writes the chunks that may
 * be lost again: elsewhere those that were kept, in place what it can read back and verify of the
 * others. One that is lost stays in the table, so that reading it fails: that is logged, and told
 * once by -EIO from a checkpoint that is good otherwise. [waits] */
enum blob_checkpoint_flags { BLOB_NO_SYNC = 1, BLOB_FULL = 2 };
int blob_checkpoint(struct blob *blob, const struct blob_state *state, unsigned flags);

/* Tells that a sync which the caller did for BLOB_NO_SYNC has failed. */
void blob_sync_failed(struct blob *blob);

/* Rewrites the header in place (same length); durable with the next checkpoint, or the caller's
 * sync. A writer of the upstream form calls it last, after its checkpoint. -ENOSPC where it does
 * not fit. [waits] */
int blob_write_header(struct blob *blob, const struct blob_header *header);

#endif
