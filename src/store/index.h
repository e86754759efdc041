/* The sqlite index: what `sqyctl ls` shows and what a mount knows of blobs that it has not opened.
 * Derived from the store, disposable: deleting it costs a refill, never data.
 *
 * A row counts only while the backing file's (inode, size, mtime, ctime) are those it was made
 * from, and only while it has its own checksum: a damaged row is no row. Paths are bytes, of any
 * encoding, and order as bytes.
 *
 * Thread safe: one connection, one lock, never call it with another lock held. Callbacks run
 * without the lock and may call in here. A database found damaged later is replaced by an empty
 * one, with a line in the log. */
#ifndef SQYFS_STORE_INDEX_H
#define SQYFS_STORE_INDEX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

struct index;

struct index_row {
    const char *path; /* visible, relative to the root, no leading slash */
    /* the backing file as it was when the row was made */
    uint64_t ino;
    uint64_t stored_bytes;
    struct timespec stored_mtime, stored_ctime;
    /* the stack */
    uint64_t plain_bytes;
    struct timespec mtime;
    const char *pipeline; /* short spelling */
    const char *type;     /* "uint16"; "" where the stack is no volume */
    uint64_t depth, height, width;
    uint32_t spp, channels, planes, timepoints; /* as their metadata say; 0 unknown */
    double voxel_x, voxel_y, voxel_z;           /* micrometres; 0 unknown */
    uint64_t digest;                            /* blob_stats.digest, shown in hex */
    const char *state;                          /* "stored" or "damaged" */
    const char *quality; /* "lossless", or in one line what was lost; "" (or NULL): not known */
    const char *
        archive; /* the archive policy that it was encoded, or left as it is, for; "" (or NULL): none */
    /* what is to be done to the blob when nobody writes */
    uint64_t again_bytes; /* plain bytes to be encoded anew, or to be looked at for it */
    uint64_t dead_bytes;  /* of a blob that is worth compacting */
};

/* Opens or makes the database file (directories exist). A file that is no database, or of another
 * schema, is replaced. `path` NULL: in memory; "": in a temporary file of its own, gone with it. 0
 * or a negative errno (-ENAMETOOLONG above INDEX_DB_NAME_MAX). */
int index_open(const char *path, struct index **out);
/* Opens for reading what is there, and never replaces or makes anything. -ENOENT, or -EBADMSG where
 * it cannot be used. */
int index_open_reader(const char *path, struct index **out);
void index_close(struct index **index);

int index_put(struct index *index, const struct index_row *row);
/* One of many: cheaper, known here at once, and to other processes soon after. They are together at the
 * latest when anything else is asked of the index, or index_share_end() is called. */
int index_put_shared(struct index *index, const struct index_row *row);
/* `wait`: else -EAGAIN where somebody else is at the database. */
int index_share_end(struct index *index, bool wait);
/* Makes the rows of `index` those of `from`, at once for every reader. */
int index_replace_all(struct index *index, struct index *from);
/* Forgets a path, and everything below it ("" is the root). */
int index_remove(struct index *index, const char *path);
/* Renames a path and everything below it; rows at the new name go. */
int index_rename(struct index *index, const char *from, const char *to);
/* Two paths, and what is below each, change places. */
int index_exchange(struct index *index, const char *a, const char *b);

typedef int index_row_fn(void *ctx,
                         const struct index_row *row); /* row valid during the call; != 0 stops */
/* The row of a path: calls fn once, or returns -ENOENT. */
int index_get(struct index *index, const char *path, index_row_fn *fn, void *ctx);
/* The row made from this very state of the backing file, by inode. -ENOENT where there is none. */
int index_get_by_stat(struct index *index, const struct stat *backing, index_row_fn *fn, void *ctx);
/* 1 where there is one of that path, 0 where there is none, or an error. */
int index_has(struct index *index, const struct stat *backing, const char *path);

/* What such a row says of a stack that is stored and whole, by itself. 0, or -ENOENT. */
struct index_attr {
    uint64_t plain_bytes;
    struct timespec mtime;
    bool ours; /* a blob of ours; false: or it is not known whose */
};
int index_attr(struct index *index, const struct stat *backing, struct index_attr *out);
/* The same from memory, or -EAGAIN: it is not known whether there is one. May be called with locks held. */
int index_attr_near(struct index *index, const struct stat *backing, struct index_attr *out);
/* All rows by path. Returns what fn returned, or an error. Rows put or removed meanwhile may or may
 * not be met. */
int index_each(struct index *index, index_row_fn *fn, void *ctx);

/* The first row after `path` ("": of all) with again_bytes or dead_bytes; -ENOENT where there is none. */
int index_next_due(struct index *index, const char *path, index_row_fn *fn, void *ctx);
struct index_due {
    uint64_t n_stacks, again_bytes, dead_bytes;
};
/* The sum of those rows. */
int index_due(struct index *index, struct index_due *out);

/* How many rows there are. */
int index_count(struct index *index, uint64_t *n_rows);
/* Moves by one with each index_put(), and by some amount with all else that changes rows. */
uint64_t index_changes(struct index *index);

bool index_row_is_current(const struct index_row *row, const struct stat *backing);

#endif
