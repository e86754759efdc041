/* The bytes of one stack that writers sent and no blob holds yet: runs of plain bytes, laid over the
 * blob's table. Runs and bytes lie in the spool (store/spool_run.h); here is their order. Not thread
 * safe: the stack's lock guards it. */
#ifndef SQYFS_VOLUME_OVERLAY_H
#define SQYFS_VOLUME_OVERLAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/spool.h"

struct overlay {
    struct spool *spool;
    uint32_t owner; /* of the runs: the number of the stack's log */
    uint32_t *runs; /* ids; [first, first + n) ascend by plain offset */
    size_t first, n, cap;
    atomic_size_t n_held; /* blocks, for others to look at without the lock */
    uint64_t bytes;       /* all runs */
    bool torn;            /* the last write has stopped for want of runs, not of blocks */
};

void overlay_init(struct overlay *overlay, struct spool *spool);
void overlay_clear_all(struct overlay *overlay);

/* Accepts bytes from the front of buf; returns how many (less than len where the spool is full, of bytes
 * or of runs: flush and come again), or -ENOMEM with none accepted. */
int64_t overlay_write(struct overlay *overlay, const void *buf, size_t len, uint64_t off);

/* The first run that ends after `off`: [*start, *end), *start >= off. false where there is none.
 * Runs may touch. */
bool overlay_next(const struct overlay *overlay, uint64_t off, uint64_t *start, uint64_t *end);

/* Copies bytes that are all in the overlay. */
void overlay_copy(const struct overlay *overlay, void *buf, size_t len, uint64_t off);

/* Bytes that somebody reads where they lie. */
struct overlay_loan {
    const uint8_t *bytes;
    uint32_t first, end; /* the blocks that are held for it */
};

/* Lends bytes of the overlay, if they lie in one piece. Until they are returned they stay there, even if
 * they leave the overlay; it is the caller who sees to it that none of them is written to meanwhile. */
bool overlay_lend(struct overlay *overlay, uint64_t off, size_t len, struct overlay_loan *loan);
void overlay_return(struct overlay *overlay, const struct overlay_loan *loan);

/* Whether every byte of [off, off+len) is in the overlay. */
bool overlay_covers(const struct overlay *overlay, uint64_t off, uint64_t len);

/* Takes [off, off+len) out. len may be UINT64_MAX - off. Nothing changed where a run would have to be
 * split and could not: -EAGAIN, there are no more of them, or -ENOMEM. */
int overlay_clear(struct overlay *overlay, uint64_t off, uint64_t len);

/* A run that another process left (spool_run_left()), in any order; overlay_adopted() ends it.
 * -ENOMEM. */
int overlay_adopt(struct overlay *overlay, uint32_t run);
void overlay_adopted(struct overlay *overlay);
/* Forgets all runs and leaves them in the spool, for the next who takes it over. */
void overlay_leave(struct overlay *overlay);

#endif
