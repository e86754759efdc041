/* What the spool knows of a stack that has changed since its blob's last checkpoint, so that whoever
 * takes the spool over can bring the stack to where it was: which file it is, its size and time, and
 * in order what was entered into its blob's table meanwhile. The bytes themselves lie in the blob
 * already, in the page cache at least, or in the spool's runs.
 *
 * Replaying an entry twice, or one that a checkpoint has, does no harm as long as all later ones
 * follow. Entries cost about 150 bytes a chunk and go with the next checkpoint.
 *
 * Whoever has the stack's lock may use its log. */
#ifndef SQYFS_STORE_SPOOL_LOG_H
#define SQYFS_STORE_SPOOL_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "store/blob.h"
#include "store/spool.h"

struct spool_log;

#define SPOOL_LOG_NO_SIZE  UINT64_MAX
#define SPOOL_LOG_ID_BYTES 16u
#define SPOOL_LOG_PATH     444u /* bytes of a path that are kept; longer ones are not */

/* Which file it is: its inode and when that was made, so that one which was made later under the same
 * number is not taken for it; `path` (or NULL), relative to the store, helps to find it. */
struct spool_file {
    uint64_t ino;
    int64_t btime; /* ns; 0: not known */
    const char *path;
};

/* NULL where all are taken. */
struct spool_log *spool_log_open(struct spool *spool, const struct spool_file *file);
/* All is behind a checkpoint, or shall be forgotten. The stack has no runs any more. */
void spool_log_close(struct spool *spool, struct spool_log **log);
uint32_t spool_log_number(const struct spool *spool, const struct spool_log *log);

/* The file has lost its last name: nobody misses what is left of it. */
void spool_log_gone(struct spool_log *log);
/* Until it is set, both are as the file says. To cut a stack set the size first, then take away the
 * bytes: what lies behind the size does not count. */
void spool_log_size(struct spool_log *log, uint64_t size);
void spool_log_mtime(struct spool_log *log, const struct timespec *mtime);

/* As blob_commit() and blob_punch(), which were successful just now. 0, or -EAGAIN where there is no
 * room: then the bytes that the chunk holds must stay in the spool until a checkpoint is made. */
int spool_log_commit(struct spool *spool, struct spool_log *log,
                     const uint8_t blob_id[SPOOL_LOG_ID_BYTES], const struct blob_chunk *chunk,
                     const char *pipeline, const struct blob_claim *claims, unsigned n_claims);
/* Whether the next entry may be a punch. */
bool spool_log_reserve(struct spool *spool, struct spool_log *log,
                       const uint8_t blob_id[SPOOL_LOG_ID_BYTES]);
int spool_log_punch(struct spool *spool, struct spool_log *log,
                    const uint8_t blob_id[SPOOL_LOG_ID_BYTES], uint64_t off, uint64_t len);
/* A checkpoint that is going to be made has all entries up to here ... */
uint64_t spool_log_mark(const struct spool *spool, const struct spool_log *log);
/* ... and now it has been made. */
void spool_log_forget(struct spool *spool, struct spool_log *log, uint64_t mark);
/* The blob that they speak of is no more. */
void spool_log_forget_all(struct spool *spool, struct spool_log *log);

/* ---- taking over a spool that was opened ---- */

struct spool_left {
    uint32_t number;
    struct spool_file file;
    uint64_t size; /* or SPOOL_LOG_NO_SIZE */
    bool has_mtime;
    struct timespec mtime;
    char path[SPOOL_LOG_PATH + 1];
};
/* The first log with a number of at least *number that was left, of a file that is not gone; its path
 * lies in *out, which is not to be copied. false: there is none. */
bool spool_log_left(struct spool *spool, uint32_t *number, struct spool_left *out);
/* It is the caller's from now on, and is found where it was. */
struct spool_log *spool_log_adopt(struct spool *spool, uint32_t number);

struct spool_entry {
    bool punch;
    struct blob_chunk chunk; /* all but pipeline */
    const char *pipeline;
    struct blob_claim claim; /* of a punch: what */
};
/* Its entries of the blob `blob_id`, one claim at a time. Stops where fn returns less than 0, and
 * returns that; -ENOENT where there are entries of another blob, or what is none. */
int spool_log_replay(struct spool *spool, const struct spool_log *log,
                     const uint8_t blob_id[SPOOL_LOG_ID_BYTES],
                     int (*fn)(void *ctx, const struct spool_entry *entry), void *ctx);
void spool_logs_adopted(struct spool *spool); /* by spool_adopted() */

#endif
