#include "store/spool_run.h"

#include <errno.h>

#include "store/spool_impl.h"

#define KEPT_FOR_SPLITS 256u

_Static_assert(SPOOL_RUN_MAX % SPOOL_BLOCK == 0, "what a writer may make of it is to be sound");

struct spool_run *spool_run(struct spool *spool, uint32_t id)
{
    return &spool->runs[id];
}

static uint64_t make_span(uint32_t from, uint32_t to)
{
    return (uint64_t)to << 32 | from;
}

static int64_t hold(struct spool *spool, uint32_t first, uint32_t end)
{
    int64_t n = 0;
    for (uint32_t block = first; block < end; block++)
        n += spool->refs[block]++ == 0;
    return n;
}

static int64_t let_go(struct spool *spool, uint32_t first, uint32_t end)
{
    int64_t n = 0;
    while (first < end) {
        uint32_t at = first;
        while (at < end && --spool->refs[at] == 0)
            at++;
        if (at > first)
            spool_give(spool, first, at - first);
        n += at - first;
        first = at + 1; /* which somebody else touches, too */
    }
    return n;
}

/* The blocks of base + [from, to). */
static uint32_t first_block(const struct spool_run *run, uint32_t from)
{
    return run->block + from / SPOOL_BLOCK;
}

static uint32_t end_block(const struct spool_run *run, uint32_t to)
{
    return run->block + (to - 1) / SPOOL_BLOCK + 1;
}

int64_t spool_run_put(struct spool *spool, uint32_t owner, uint64_t base, uint32_t block,
                      uint32_t from, uint32_t to, bool splitting, int64_t *n_blocks)
{
    int64_t id = spool_item_take(spool, SPOOL_RUNS, splitting ? 0 : KEPT_FOR_SPLITS);
    if (id < 0)
        return id;
    struct spool_run *run = &spool->runs[id];
    run->block = block;
    run->base = base;
    *n_blocks += hold(spool, first_block(run, from), end_block(run, to));
    atomic_store_explicit(&run->span, make_span(from, to), memory_order_relaxed);
    atomic_store_explicit(&run->owner, owner + 1, memory_order_release);
    return id;
}

static uint32_t min_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t max_of(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Of a long run only the ends are looked at. */
void spool_run_set(struct spool *spool, uint32_t id, uint32_t from, uint32_t to, int64_t *n_blocks)
{
    struct spool_run *run = &spool->runs[id];
    uint32_t first = first_block(run, spool_run_from(run)), new_first = first_block(run, from);
    uint32_t end = end_block(run, spool_run_to(run)), new_end = end_block(run, to);
    *n_blocks += hold(spool, new_first, min_of(new_end, first));
    *n_blocks += hold(spool, max_of(new_first, end), new_end);
    atomic_store_explicit(&run->span, make_span(from, to), memory_order_release);
    *n_blocks -= let_go(spool, first, min_of(end, new_first));
    *n_blocks -= let_go(spool, max_of(first, new_end), end);
}

void spool_run_give(struct spool *spool, uint32_t id, int64_t *n_blocks)
{
    struct spool_run *run = &spool->runs[id];
    uint32_t first = first_block(run, spool_run_from(run));
    uint32_t end = end_block(run, spool_run_to(run));
    atomic_store_explicit(&run->owner, 0, memory_order_release);
    *n_blocks -= let_go(spool, first, end);
    spool_item_give(spool, SPOOL_RUNS, id);
}

void spool_blocks_hold(struct spool *spool, uint32_t first, uint32_t end, int64_t *n_blocks)
{
    *n_blocks += hold(spool, first, end);
}

void spool_blocks_let_go(struct spool *spool, uint32_t first, uint32_t end, int64_t *n_blocks)
{
    *n_blocks -= let_go(spool, first, end);
}

/* ---- taking over ---- */

static bool is_sound(const struct spool *spool, const struct spool_run *run)
{
    uint32_t n_blocks = atomic_load(&spool->head->n_grown[SPOOL_BLOCKS]);
    uint32_t from = spool_run_from(run), to = spool_run_to(run);
    return from < to && to <= SPOOL_RUN_MAX && run->base <= UINT64_MAX - to &&
           run->block < n_blocks && (to - 1) / SPOOL_BLOCK < n_blocks - run->block;
}

bool spool_run_left(struct spool *spool, uint32_t *id, uint32_t *owner)
{
    for (; *id < spool->pools[SPOOL_RUNS].fresh; ++*id) {
        struct spool_run *run = &spool->runs[*id];
        uint32_t theirs = atomic_load(&run->owner);
        if (theirs == 0 || theirs > spool->head->n_items[SPOOL_LOGS] || !is_sound(spool, run))
            continue;
        *owner = theirs - 1;
        return true;
    }
    return false;
}

void spool_run_adopt(struct spool *spool, uint32_t id, int64_t *n_blocks)
{
    struct spool_run *run = &spool->runs[id];
    *n_blocks +=
        hold(spool, first_block(run, spool_run_from(run)), end_block(run, spool_run_to(run)));
}

/* Those of no log that was adopted are nobody's; some may have been given back already. */
void spool_runs_adopted(struct spool *spool)
{
    struct spool_pool *pool = &spool->pools[SPOOL_RUNS];
    pool->n_free = 0;
    for (uint32_t id = pool->fresh; id-- > 0;) {
        struct spool_run *run = &spool->runs[id];
        uint32_t owner = atomic_load(&run->owner);
        bool held = owner > 0 && owner <= spool->head->n_items[SPOOL_LOGS] &&
                    is_sound(spool, run) && spool->logs[owner - 1].record != NULL;
        if (held)
            continue;
        atomic_store(&run->owner, 0);
        pool->free[pool->n_free++] = id;
    }
}
