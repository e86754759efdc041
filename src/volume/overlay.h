/* The bytes of one stack that writers sent and no blob holds yet: runs of plain bytes, kept in
 * blocks of the spool, laid over the blob's table. Memory only, not thread safe: the stack's lock
 * guards it. */
#ifndef SQYFS_VOLUME_OVERLAY_H
#define SQYFS_VOLUME_OVERLAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/spool.h"

struct overlay_block;

struct overlay {
    struct spool *spool;
    struct overlay_block **blocks; /* ascending by block number */
    size_t n_blocks, cap_blocks;
    atomic_size_t n_held; /* n_blocks, for others to look at without the lock */
    uint64_t bytes;       /* dirty bytes, all runs */
};

/* Runs that one block may be split into before its stack has to be flushed: bounds the memory that
 * a writer of every other byte can take. */
#define OVERLAY_MAX_RUNS 1024

void overlay_init(struct overlay *overlay, struct spool *spool);
void overlay_clear_all(struct overlay *overlay);

/* Accepts bytes from the front of buf; returns how many (less than len where the spool is full or a
 * block too torn: flush and come again), or -ENOMEM with none accepted. */
int64_t overlay_write(struct overlay *overlay, const void *buf, size_t len, uint64_t off);

/* The first run that ends after `off`: [*start, *end), *start >= off. false where there is none.
 * Runs that touch across blocks are given one block at a time. */
bool overlay_next(const struct overlay *overlay, uint64_t off, uint64_t *start, uint64_t *end);

/* Copies bytes that are all in the overlay. */
void overlay_copy(const struct overlay *overlay, void *buf, size_t len, uint64_t off);

/* Whether every byte of [off, off+len) is in the overlay. */
bool overlay_covers(const struct overlay *overlay, uint64_t off, uint64_t len);

/* Takes [off, off+len) out. len may be UINT64_MAX - off. 0, or -ENOMEM (nothing changed) where a
 * run would have to be split and could not. */
int overlay_clear(struct overlay *overlay, uint64_t off, uint64_t len);

#endif
