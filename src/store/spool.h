/* Raw bytes accepted from writers and not yet in a blob: a bounded number of blocks of memory.
 *
 * Blocks live in one piece of memory, are handed out and given back in any order, and are reused
 * warm. Who holds which block, and for what, is the overlay's business (volume/overlay.h).
 * Thread safe. */
#ifndef SQYFS_STORE_SPOOL_H
#define SQYFS_STORE_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#define SPOOL_BLOCK 65536u /* bytes */

struct spool;

/* `bytes` is rounded down to whole blocks. 0, -EINVAL (less than one block) or another errno. */
int spool_create(uint64_t bytes, struct spool **out);
void spool_destroy(struct spool **spool);

/* A block's number, or -EAGAIN where all are taken. */
int64_t spool_take(struct spool *spool);
void spool_give(struct spool *spool, uint32_t block);
uint8_t *spool_data(struct spool *spool, uint32_t block);

/* Blocks in all, and taken at this moment. */
uint32_t spool_total(const struct spool *spool);
uint32_t spool_used(struct spool *spool);

/* Waits until a block may be free or spool_wake() was called since `*seen` (which is updated). */
void spool_wait(struct spool *spool, uint64_t *seen);
uint64_t spool_seen(struct spool *spool);
void spool_wake(struct spool *spool);

#endif
