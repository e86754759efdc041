/* One mount's worth of sqyfs without FUSE: a store, its pools of threads, spool, cache and index,
 * and the regular files in it ("stacks", whatever they turn out to hold). Testable without a mount.
 *
 * Everything here is thread safe; the order of locks stands in volume/core.h. */
#ifndef SQYFS_VOLUME_VOLUME_H
#define SQYFS_VOLUME_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include "codec/sqy.h"
#include "image/layout.h"
#include "store/tree.h"

struct cache_entry;
struct volume;
struct stack;

#define VOLUME_DEFAULT_PIPELINE SQY_PIPELINE_DEFAULT
#define VOLUME_DEFAULT_CHUNK    (1u << 20)
#define VOLUME_DEFAULT_CACHE    (256ull << 20)
#define VOLUME_DEFAULT_SPOOL    (1ull << 30)

struct volume_config {
    const char *store;    /* directory */
    const char *statedir; /* where the index lies; NULL: STORE/.sqyfs */
    const char *spooldir; /* where the spool lies, in memory; NULL: /dev/shm */
    const char *pipeline; /* what stacks get where no directory says otherwise; NULL: the default */
    uint32_t chunk;       /* target bytes of a chunk, 64 KiB .. 64 MiB; 0: default */
    unsigned threads;     /* encoders; 0: one a core */
    uint64_t cache, spool; /* bytes; 0: default. Spool at least 16 MiB */
    bool read_only;
    const struct raw_policy *raw; /* borrowed; the first match counts */
    unsigned n_raw;
};

/* On failure `why` says in one line what to do about it. A new store is made when the directory is
 * empty; a directory with files and no .sqyfs in it is refused unless it is a store's copy (has a
 * blob of ours, or nothing but what a store may hold is asked for read-only). -EBUSY where another
 * process has the store's lock. */
int volume_open(const struct volume_config *config, char *why, size_t why_len, struct volume **out);

/* Whether a daemon that was killed has left something in its spool that is not in the store yet; the
 * next mount takes it over. */
bool volume_is_left(int store_fd);

/* The process that has the store open for writing, 0 where that is not known. */
pid_t volume_holder(const char *store);

/* Drains, then ends all threads. Every stack must have been put. Returns the first error met in
 * draining: what could not be stored is then named in the log. */
int volume_close(struct volume **volume);

struct tree *volume_tree(struct volume *volume);
bool volume_is_read_only(const struct volume *volume);

/* Returns when everything accepted before the call is encoded and durable. [waits] */
int volume_drain(struct volume *volume);

/* The backing filesystem's, less what is spooled and still has to go there. */
int volume_statfs(struct volume *volume, struct statvfs *out);

/* Counters and gauges as JSON text; caller frees. NULL: out of memory. */
char *volume_stats_json(struct volume *volume);

/* A directory's policies: "pipeline" (what new stacks are stored with), "archive" (what closed ones are
 * encoded to when nobody writes: policy_archive.h), "lossless" ("always": nothing lossy below it). `dir` is a
 * visible path ("" the root). Get: what is set on this very directory, -ENODATA where nothing is; caller
 * frees *text. Set: -EINVAL for what is wrong, -EPERM for a lossy archive where a directory forbids it; NULL
 * removes. [waits] */
bool volume_policy_is(const char *name);
int volume_policy_get(struct volume *volume, const char *name, const char *dir, char **text);
int volume_policy_set(struct volume *volume, const char *name, const char *dir, const char *text);

/* Tell the index and the policies that names have changed (visible paths). [waits] */
void volume_note_rename(struct volume *volume, const char *from, const char *to);
void volume_note_exchange(struct volume *volume, const char *a, const char *b);
void volume_note_unlink(struct volume *volume, const char *path);

/* ---- regular files ---- */

/* The stack of the regular file behind `fd` (O_PATH); `blob` as tree_lookup() found it. One stack
 * an inode: a second get returns the same with another reference. Takes ownership of `fd` on
 * success. Cheap: opens nothing. The backing inode behind a stack may change (compaction): tell
 * regular files apart by this pointer, not by inode number; stack_fd() keeps its number and always
 * names the present inode. */
int stack_get(struct volume *volume, int fd, bool blob, struct stack **out);
/* The reference goes, the stack stays until what it holds is stored. */
void stack_put(struct stack **stack);
/* The file behind `fd` has lost a name in the mount. Where that was its last one, what is not stored of it
 * is not kept after a kill. */
void stack_lost_name(struct volume *volume, int fd);

int stack_fd(const struct stack *stack); /* O_PATH of the backing file */
bool stack_is_blob(struct stack *stack);

/* A handle is opened and closed. For writing the backing file is opened read-write; or `rw_fd` (>=
 * 0), as from tree_create_file(), is the stack's on success. When the last writer has gone the stack is
 * settled in the background: remaining bytes encoded, provisional chunks cut again, checkpointed. -EROFS
 * for writing to a file of sqeazy's own, unless stack_truncate() has emptied it. [waits] */
int stack_open(struct stack *stack, bool write, int rw_fd);
void stack_release(struct stack *stack, bool write);

/* Whether pages that somebody keeps of it may be of bytes that it had before it was archived: until they are
 * dropped, which whoever drops them tells while it has the stack open. */
bool stack_pages_are_stale(const struct stack *stack);
void stack_pages_are_fresh(struct stack *stack);

/* Whether reading it may take seconds: a file of sqeazy's own, which is decoded as a whole. */
bool stack_is_slow(struct stack *stack);

/* Bytes read (short only at the end of the file), or a negative errno. -EAGAIN where !wait and it
 * would have to read the disk or decode. EIO for a damaged chunk, which is logged. */
ssize_t stack_read(struct stack *stack, void *buf, size_t len, uint64_t off, bool wait);

/* Where one open handle reads, for decoding ahead of it. Zero at first; the stack's lock guards it. */
struct stack_reader {
    uint64_t from, to;            /* the bytes it has asked for in one piece: its run */
    uint64_t last_request;        /* where that of those requests begins which goes furthest */
    unsigned way;                 /* in which that grows */
    uint64_t start;               /* of that run, ... */
    int64_t stride;               /* ... less that of the one before, ... */
    unsigned repeats;             /* ... which has been the same so often */
    uint64_t last_run;            /* length of the one before; 0: none */
    uint64_t issued, next_issued; /* how far chunks were started: of this run, of the next */
    bool counted;                 /* in volume.n_readers */
};

/* Bytes that were read, where they are: in `buf`, which is the caller's and as long as what is asked for,
 * or in chunks in the cache, which it holds. */
#define STACK_VIEW_HELD 16
struct cache;
struct stack_view {
    void *buf;
    struct cache *cache;
    struct iovec iov[2 * STACK_VIEW_HELD + 1];
    unsigned n, n_held;
    uint32_t spent; /* of those held, by bit: the reader has passed them */
    struct cache_entry *held[STACK_VIEW_HELD];
};

/* As stack_read(), without copying what is in the cache, and for a reader ahead of whom is decoded. Where
 * it returns >= 0 the caller ends the view: it may outlive the stack, which goes when its last user has got
 * his answer, but not the volume. */
ssize_t stack_view(struct stack *stack, struct stack_reader *reader, struct stack_view *view,
                   size_t len, uint64_t off, bool wait);
void stack_view_end(struct stack_view *view);
/* The handle is being closed; nothing reads with it. */
void stack_reader_end(struct stack *stack, struct stack_reader *reader);

/* How many bytes, from the front, are accepted: fewer than `len` only where !wait and the rest has to wait (for room
 * in the spool, for somebody who reads these bytes, ...). -ENOSPC where the backing filesystem could not
 * take it in the worst case, -EFBIG. */
ssize_t stack_write(struct stack *stack, const void *buf, size_t len, uint64_t off, bool wait);

/* [waits] all of these */
int stack_truncate(struct stack *stack, uint64_t size);
int stack_fallocate(struct stack *stack, int mode, uint64_t off,
                    uint64_t len);                                 /* as fallocate(2) */
int64_t stack_seek(struct stack *stack, uint64_t off, int whence); /* SEEK_DATA, SEEK_HOLE */
int stack_fsync(struct stack *stack);
/* The stack is about to take the name of another file, whose bytes are on the disk: so are its own
 * when this returns 0, as far as the backing filesystem does not see to that itself (it knows when a
 * plain file replaces a plain one). */
int stack_secure(struct stack *stack, bool over_blob);
/* Why the last attempt to store it in the background failed, 0 where it did not: to be told at
 * close(2). Nothing is lost by it yet; it is tried again. */
int stack_error(struct stack *stack);

/* Fixes size, blocks and mtime of a stat of the backing file to what the mount shows. Reads the
 * blob's last checkpoint where index and memory do not know it. */
int stack_getattr(struct stack *stack, struct stat *st);
/* The same from memory, or -EAGAIN, *st being what it was, or as it is by now. */
int stack_try_getattr(struct stack *stack, struct stat *st);
/* As utimensat(2): either may be UTIME_OMIT or UTIME_NOW. */
int stack_utimens(struct stack *stack, const struct timespec times[2]);

/* Owner, mode or attributes are changed through stack_fd() between these two: a rewrite does not
 * exchange the backing file meanwhile, which would lose the change. [waits] while one does. */
void stack_begin_attr(struct stack *stack);
void stack_end_attr(struct stack *stack);
/* Owner, mode, links or attributes of the backing file were changed for somebody. */
void stack_touch(struct stack *stack);

/* The file gets a second name, so its spelling can no longer change: decides now what it is. */
int stack_fix_kind(struct stack *stack);

/* Rewrites a closed blob in canonical form. -EBUSY while it is open for writing or has other links.
 */
int stack_compact(struct stack *stack);

struct stack_info {
    const char *state;  /* constant: "spooled" "encoding" "stored" "plain" "damaged" */
    char pipeline[256]; /* short spelling; "" for a plain file */
    uint64_t plain_bytes, stored_bytes;
    double ratio;       /* plain / stored; 1 for plain files and empty ones */
    char quality[2048]; /* "lossless", or in one line what was lost; "": not known */
};
int stack_info(struct stack *stack, struct stack_info *out);

#endif
