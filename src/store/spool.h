/* Raw bytes accepted from writers and not yet in a blob, and what is needed to find them again: all
 * of it lies in one file in memory (tmpfs), mapped, so that it survives the daemon.
 *
 *   blocks  the bytes                                                   this file
 *   runs    which plain bytes of which stack lie in which blocks        spool_run.h
 *   logs    for each stack that has something here: which file it is,   spool_log.h
 *           its size and time, and what of it has gone into its blob
 *           since the blob's last checkpoint
 *
 * A kill may come between any two stores to this memory, and nothing after it: there is no disk below
 * that could lose some of them or order them otherwise. So every change becomes true by one store of
 * at most 8 bytes, made last; what a kill leaves half done is as if it had not begun. A power cut takes
 * the whole file.
 *
 * Blocks are handed out and given back in any order and reused warm. The file grows as it is used, up
 * to its limit: room is reserved before it is touched, so that a full tmpfs is an error here and no
 * signal. A thread of the spool's does that ahead of writers. Thread safe. */
#ifndef SQYFS_STORE_SPOOL_H
#define SQYFS_STORE_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#define SPOOL_BLOCK 65536u /* bytes */

struct spool;

/* `bytes` is rounded down to whole blocks. A new file at `path`; NULL: memory that dies with the
 * process. 0, -EINVAL (less than one block), -EEXIST, or another errno. */
int spool_create(uint64_t bytes, const char *path, struct spool **out);

/* The file that another process left at `path`. Whoever takes it over looks at the logs (spool_log.h)
 * and at the runs, takes what he wants, then calls spool_adopted(). -ENOENT; -ENODATA: it
 * was never finished and holds nothing; -EBUSY: somebody has it open; -EACCES: it is another user's;
 * -ENOTSUP: another version's; -EBADMSG: it is no spool; -ESTALE: it lies on a disk, and the machine was
 * started anew since, which has left no more of it than happened to be written. */
int spool_open(const char *path, struct spool **out);
/* What nobody has taken becomes free. */
void spool_adopted(struct spool *spool);

/* `keep`: the file stays, for the next to open. */
void spool_destroy(struct spool **spool, bool keep);

/* Whether the file still lies where it was made: else nobody can take it over. */
bool spool_is_there(const struct spool *spool);

/* Takes up to `most` (> 0) blocks that lie side by side: returns the first and fills in how many, or -EAGAIN
 * where none is free now. They begin at `wanted` (or -1) if it is free: bytes that follow one another are
 * best kept so. */
int64_t spool_take(struct spool *spool, int64_t wanted, uint32_t most, uint32_t *n);
void spool_give(struct spool *spool, uint32_t first, uint32_t n);
/* For who has found none free: has more room reserved, or waits for whoever does that. false: there is none to be had
 * now. [waits] */
bool spool_grow(struct spool *spool);
uint8_t *spool_data(struct spool *spool, uint32_t block);

/* Blocks in all (fewer than asked for while the filesystem is full), and taken at this moment. Cheap. */
uint32_t spool_total(struct spool *spool);
uint32_t spool_used(struct spool *spool);

/* Waits until a block, a run or a log may be free or spool_wake() was called since `*seen` (which is updated). */
void spool_wait(struct spool *spool, uint64_t *seen);
uint64_t spool_seen(struct spool *spool);
void spool_wake(struct spool *spool);

#endif
