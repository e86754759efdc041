/* Runs of a spool: which plain bytes of which stack lie in which blocks. Part of the file, so a run
 * that is published is found by whoever takes the spool over.
 *
 * A run's bytes lie side by side in memory, in one block or several. Each of its fields is set before
 * it is published; from then on it is only cut or lengthened, by one store. Two runs of one stack
 * may lie over each other for a moment, and then say the same: they share the memory.
 *
 * Whoever has the stack's lock may change its runs; nobody else looks at them. */
#ifndef SQYFS_STORE_SPOOL_RUN_H
#define SQYFS_STORE_SPOOL_RUN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/spool.h"

struct spool_run {
    _Atomic uint32_t owner; /* its stack's log + 1; 0: nobody's */
    uint32_t block;         /* the first byte of this block ... */
    uint64_t base;          /* ... would be this plain byte */
    _Atomic uint64_t span;  /* from base on: start, and end in the upper half; start < end */
    uint64_t reserved;
};
_Static_assert(sizeof(struct spool_run) == 32, "two to a cache line");

/* Bytes from base to the end of a run, whole blocks: a run may grow to the end of its last one. */
#define SPOOL_RUN_MAX (UINT32_MAX / SPOOL_BLOCK * SPOOL_BLOCK)

static inline uint32_t spool_run_from(const struct spool_run *run)
{
    return (uint32_t)atomic_load_explicit(&run->span, memory_order_relaxed);
}

static inline uint32_t spool_run_to(const struct spool_run *run)
{
    return (uint32_t)(atomic_load_explicit(&run->span, memory_order_relaxed) >> 32);
}

static inline uint64_t spool_run_start(const struct spool_run *run)
{
    return run->base + spool_run_from(run);
}

static inline uint64_t spool_run_end(const struct spool_run *run)
{
    return run->base + spool_run_to(run);
}

struct spool_run *spool_run(struct spool *spool, uint32_t id);

/* A new run of `owner` (a log's number), published: base + [from, to) lies at the same place in
 * `block` and those that follow it. Holds its blocks. Returns its id, or -EAGAIN where there can be no
 * more. `splitting` may take one of the last, which are kept for that. In these calls *n_blocks is
 * changed by how many more blocks are held, or less. */
int64_t spool_run_put(struct spool *spool, uint32_t owner, uint64_t base, uint32_t block,
                      uint32_t from, uint32_t to, bool splitting, int64_t *n_blocks);
/* Lengthens or cuts it; blocks that no run touches any more are let go. */
void spool_run_set(struct spool *spool, uint32_t id, uint32_t from, uint32_t to, int64_t *n_blocks);
void spool_run_give(struct spool *spool, uint32_t id, int64_t *n_blocks);

/* Holds blocks [first, end), which runs hold now, or lets them go again: their bytes stay where they are
 * whatever happens to the runs meanwhile. *n_blocks as above. */
void spool_blocks_hold(struct spool *spool, uint32_t first, uint32_t end, int64_t *n_blocks);
void spool_blocks_let_go(struct spool *spool, uint32_t first, uint32_t end, int64_t *n_blocks);

/* ---- taking over a spool that was opened ---- */

/* The first run with an id of at least *id that was left. false: there is none. */
bool spool_run_left(struct spool *spool, uint32_t *id, uint32_t *owner);
/* It is the caller's from now on. */
void spool_run_adopt(struct spool *spool, uint32_t id, int64_t *n_blocks);
void spool_runs_adopted(struct spool *spool); /* by spool_adopted() */

#endif
