/* Inside a blob: shared by blob.c (life), blob_open.c, blob_header.c, blob_table.c, blob_append.c,
 * blob_read.c, blob_sync.c, draft.c and publish.c (checkpoints), nobody else.
 *
 * Two levels of exclusion. `lock` guards every field marked so and is never held over I/O; it is a
 * leaf. `busy` is the turn of the one thread that checkpoints or rewrites the header: taken by
 * blob_begin_turn(), held over I/O, waited for on `turn`. Appends, reads and commits go on
 * meanwhile. */
#ifndef SQYFS_STORE_BLOB_IMPL_H
#define SQYFS_STORE_BLOB_IMPL_H

#include <pthread.h>

#include "store/blob.h"
#include "store/checkpoint.h"
#include "store/kept.h"
#include "store/parts.h"
#include "store/table.h"

/* Threads that load pages at once share these; more make their own for the moment. */
#define BLOB_CODERS 4u
/* A mark this often: what a reader looks through at most, behind a chunk, to find a checkpoint. */
#define BLOB_MARK_BYTES (16u << 20)

/* A piece of file that is reserved and being written. On the writer's stack. */
struct blob_room {
    uint64_t off, len;
    struct blob_room *next, **link;
};

struct blob_text {
    struct blob_text *next;
    char text[];
};

/* The last checkpoint, published by this process or found in the file. */
struct blob_last {
    uint64_t off, end, sum; /* off 0: there is none */
    uint64_t seq, chain_bytes, digest, size;
    uint32_t chain, n_pipelines;
    struct timespec mtime;
    char *meta;
};

struct blob {
    const struct io *io;
    int fd;
    uint64_t valid_end; /* of the last checkpoint when it was opened */
    bool writable, torn, trimmed, resumed;
    uint8_t id[CHECKPOINT_ID_BYTES];

    pthread_mutex_t lock;
    pthread_cond_t turn;
    /* all below: guarded by lock */
    bool busy;
    struct table *table;
    size_t limit; /* clean pages in memory */

    uint64_t end; /* of what is reserved */
    struct blob_room *rooms;
    uint64_t next_mark;
    bool born; /* a checkpoint is in the file */

    /* What a failed sync leaves behind. Bytes before `synced` are on the disk as far as known;
     * those of [suspect_from, suspect_to) were lost, perhaps: chunks there are written again before
     * a checkpoint speaks of them, from `kept`, or else from what can be read back. */
    uint64_t synced, suspect_from, suspect_to;
    struct kept kept;
    uint64_t kept_limit; /* 0: nothing is kept */
    bool syncing;        /* one at a time: the kernel tells of a failure only once */
    pthread_cond_t sync_done;
    bool unsynced;   /* something was written since the last sync began */
    bool force_full; /* the last checkpoint may be lost: do not build on it */
    uint64_t n_distrusts;

    struct blob_last last;
    uint64_t pending; /* where a checkpoint is being written; 0: nowhere */

    char *pipelines[BLOB_MAX_PIPELINES];
    uint32_t n_pipelines;
    uint64_t pipelines_bytes;

    struct blob_header header;
    struct blob_text *pipenames; /* all there ever were: callers hold pointers */

    struct page_coder *coders[BLOB_CODERS];
    unsigned n_coders;
};

/* blob.c */
void blob_begin_turn(struct blob *blob);
void blob_end_turn(struct blob *blob);
/* An empty blob without a header; blob_free() leaves the descriptor open. */
int blob_make(const struct io *io, int fd, bool writable, struct blob **out);
void blob_free(struct blob **blob);

/* blob_append.c */
/* Reserves len bytes at the end and enters them in blob->rooms. lock held. 0 or -EFBIG. */
int blob_reserve(struct blob *blob, uint64_t len, struct blob_room *room);
/* Writes a piece of a room. */
int blob_fill(struct blob *blob, const struct blob_room *room, uint64_t at, const void *data,
              size_t len);
/* The room is written, or dead: given back where it is still the last. lock held. */
void blob_leave(struct blob *blob, struct blob_room *room, bool written);
/* Fills a room from its start and leaves it. Lock not held. */
int blob_finish(struct blob *blob, struct blob_room *room, const void *data, size_t len);

/* blob_header.c */
/* A copy of `pipename` that lives as long as the blob. lock held, or the blob is not shared yet. */
int blob_keep_pipename(struct blob *blob, const char *pipename, const char **kept);
/* The header as it shall be from now on. The caller has the turn. */
int blob_put_header(struct blob *blob, const struct blob_header *header, bool sync);
/* sqeazy must not read what is no longer in its order. The caller has the turn. */
int blob_leave_upstream_form(struct blob *blob);

/* blob_table.c */
/* Loads a page and attaches it. */
int blob_load_page(struct blob *blob, const struct page_ref *ref, uint64_t high);
/* Loads the first page with bytes of [off, end) that is not here; with `wanted` only one for which
 * a call has returned -EAGAIN. 1, or 0 where there is none. */
int blob_load_missing(struct blob *blob, uint64_t off, uint64_t end, bool wanted);
struct page_coder *blob_take_coder(struct blob *blob, int *error);
void blob_give_coder(struct blob *blob, struct page_coder **coder);

/* blob_read.c */
/* Reads a BLOB_SPLIT chunk's list of parts. Returns their number or a negative errno. */
int blob_read_parts(struct blob *blob, const struct blob_chunk *chunk,
                    struct blob_part parts[PARTS_MAX]);

/* blob_sync.c */
/* fdatasync with what its outcome means. Lock not held. */
int blob_sync(struct blob *blob);
/* Waits until there is room for more that is kept, by a sync if need be. lock held, dropped
 * meanwhile. The error of a sync that failed, while what it may have lost fills the room. */
int blob_bound_kept(struct blob *blob);
/* Writes again what is kept and was perhaps lost by a failed sync. The caller has the turn; all
 * pages that are dirty are here. */
int blob_rescue_kept(struct blob *blob);
/* The same for those of the snapshot's chunks that were not kept. Returns how many of them are
 * lost, which was logged. */
int blob_rewrite_suspects(struct blob *blob, const struct table_snapshot *snapshot);

/* publish.c */
/* Writes an empty first checkpoint, so that a blob cut off before its first real one opens. The
 * caller has the turn. */
int publish_birth(struct blob *blob);

#endif
