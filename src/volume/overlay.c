#include "volume/overlay.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/copy.h"
#include "store/spool_run.h"

void overlay_init(struct overlay *overlay, struct spool *spool)
{
    memset(overlay, 0, sizeof(*overlay));
    overlay->spool = spool;
}

static struct spool_run *run_at(const struct overlay *overlay, size_t i)
{
    return spool_run(overlay->spool, overlay->runs[overlay->first + i]);
}

static uint64_t start_at(const struct overlay *overlay, size_t i)
{
    return spool_run_start(run_at(overlay, i));
}

static uint64_t end_at(const struct overlay *overlay, size_t i)
{
    return spool_run_end(run_at(overlay, i));
}

static uint8_t *memory_of(const struct overlay *overlay, const struct spool_run *run, uint64_t off)
{
    return spool_data(overlay->spool, run->block) + (off - run->base);
}

/* Index of the first run that ends after `off`. */
static size_t find_run(const struct overlay *overlay, uint64_t off)
{
    size_t lo = 0, hi = overlay->n;
    if (hi > 0 && end_at(overlay, hi - 1) <= off) /* most writers append */
        return hi;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (end_at(overlay, mid) <= off)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* ---- the order ---- */

static void count_blocks(struct overlay *overlay, int64_t n)
{
    if (n != 0)
        atomic_fetch_add(&overlay->n_held, (size_t)n);
}

/* Room for one more id. */
static int reserve(struct overlay *overlay)
{
    if (overlay->first + overlay->n < overlay->cap)
        return 0;
    if (overlay->first > overlay->cap / 2) { /* what was taken from the front is room, too */
        memmove(overlay->runs, overlay->runs + overlay->first, overlay->n * sizeof(uint32_t));
        overlay->first = 0;
        return 0;
    }
    size_t cap = overlay->cap * 2 + 16;
    uint32_t *grown = realloc(overlay->runs, cap * sizeof(*grown));
    if (grown == NULL)
        return -ENOMEM;
    overlay->runs = grown;
    overlay->cap = cap;
    return 0;
}

/* After reserve(). */
static void insert(struct overlay *overlay, size_t i, uint32_t id)
{
    uint32_t *at = overlay->runs + overlay->first + i;
    memmove(at + 1, at, (overlay->n - i) * sizeof(*at));
    *at = id;
    overlay->n++;
}

/* Takes [i, end) out of the order. */
static void drop(struct overlay *overlay, size_t i, size_t end)
{
    uint32_t *at = overlay->runs + overlay->first;
    if (i == 0)
        overlay->first += end;
    else
        memmove(at + i, at + end, (overlay->n - end) * sizeof(*at));
    overlay->n -= end - i;
    if (overlay->n == 0)
        overlay->first = 0;
}

static void set_run(struct overlay *overlay, size_t i, uint32_t from, uint32_t to)
{
    int64_t n = 0;
    spool_run_set(overlay->spool, overlay->runs[overlay->first + i], from, to, &n);
    count_blocks(overlay, n);
}

static void give_run(struct overlay *overlay, size_t i)
{
    int64_t n = 0;
    spool_run_give(overlay->spool, overlay->runs[overlay->first + i], &n);
    count_blocks(overlay, n);
}

/* Publishes a run; -EAGAIN where there are no more, -ENOMEM. */
static int put_run(struct overlay *overlay, size_t i, const struct spool_run *where, uint32_t from,
                   uint32_t to, bool splitting)
{
    int r = reserve(overlay);
    if (r < 0)
        return r;
    int64_t n = 0;
    int64_t id = spool_run_put(overlay->spool, overlay->owner, where->base, where->block, from, to,
                               splitting, &n);
    if (id < 0) {
        overlay->torn = true;
        return (int)id;
    }
    insert(overlay, i, (uint32_t)id);
    count_blocks(overlay, n);
    return 0;
}

void overlay_clear_all(struct overlay *overlay)
{
    for (size_t i = 0; i < overlay->n; i++)
        give_run(overlay, i);
    free(overlay->runs);
    overlay->runs = NULL;
    overlay->first = overlay->n = overlay->cap = 0;
    overlay->bytes = 0;
}

/* ---- writing ---- */

/* The second of two runs that lie side by side in the file and in memory becomes a part of the first. */
static void join(struct overlay *overlay, size_t i)
{
    if (i + 1 >= overlay->n)
        return;
    const struct spool_run *a = run_at(overlay, i), *b = run_at(overlay, i + 1);
    uint64_t at = spool_run_end(a), to = spool_run_end(b) - a->base;
    if (at != spool_run_start(b) || to > SPOOL_RUN_MAX ||
        memory_of(overlay, a, at) != memory_of(overlay, b, at))
        return;
    set_run(overlay, i, spool_run_from(a), (uint32_t)to);
    give_run(overlay, i + 1);
    drop(overlay, i + 1, i + 2);
}

/* Bytes that lie in the run's blocks behind `off` or at it, in front of or behind the run itself: no
 * other run can have them. 0 where `off` lies in none of its blocks. */
static uint64_t room_in(const struct spool_run *run, uint64_t off)
{
    uint64_t first = run->base + spool_run_from(run) / SPOOL_BLOCK * (uint64_t)SPOOL_BLOCK;
    uint64_t end = run->base + ((spool_run_to(run) - 1) / SPOOL_BLOCK + 1) * (uint64_t)SPOOL_BLOCK;
    return off >= first && off < end ? end - off : 0;
}

static size_t smaller(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

/* Where more waits than the caches hold, encoders find nothing of this in them. */
static void put_bytes(const struct overlay *overlay, uint8_t *to, const uint8_t *buf, size_t n)
{
    enum { CACHED = 16 << 20, FEW = 16 << 10 };
    if (n >= FEW && spool_used(overlay->spool) > CACHED / SPOOL_BLOCK)
        copy_past_caches(to, buf, n);
    else
        memcpy(to, buf, n);
}

/* Writes into a gap in front of run `i`, in blocks that the run before or that one has. Returns how much,
 * 0 where they have no room, -EAGAIN. */
static int64_t write_beside(struct overlay *overlay, size_t i, const uint8_t *buf, size_t len,
                            uint64_t off)
{
    const struct spool_run *run = i > 0 ? run_at(overlay, i - 1) : NULL;
    uint64_t room = run != NULL ? room_in(run, off) : 0;
    if (room == 0 && i < overlay->n) {
        run = run_at(overlay, i);
        room = room_in(run, off);
    }
    if (room == 0)
        return 0;
    size_t n = smaller(room, len);
    uint32_t from = (uint32_t)(off - run->base), to = from + (uint32_t)n;
    bool behind = i > 0 && run == run_at(overlay, i - 1) && from == spool_run_to(run);
    put_bytes(overlay, memory_of(overlay, run, off), buf, n);
    if (behind) {
        set_run(overlay, i - 1, spool_run_from(run), to);
        join(overlay, i - 1);
        return (int64_t)n;
    }
    int r = put_run(overlay, i, run, from, to, false);
    if (r < 0)
        return r;
    join(overlay, i);
    return (int64_t)n;
}

/* The same into blocks of its own, which lie behind those of the run before if they are free. */
static int64_t write_blocks(struct overlay *overlay, size_t i, const uint8_t *buf, size_t len,
                            uint64_t off)
{
    struct spool_run where = {.base = off / SPOOL_BLOCK * SPOOL_BLOCK};
    uint32_t from = (uint32_t)(off - where.base);
    int64_t wanted = -1;
    if (i > 0) {
        const struct spool_run *before = run_at(overlay, i - 1);
        wanted = (int64_t)before->block + (spool_run_to(before) - 1) / SPOOL_BLOCK + 1;
    }
    size_t n = smaller(SPOOL_RUN_MAX - from, len);
    uint32_t n_blocks = (from + (uint32_t)n - 1) / SPOOL_BLOCK + 1;
    int r = reserve(overlay);
    int64_t block = r == 0 ? spool_take(overlay->spool, wanted, n_blocks, &n_blocks) : r;
    if (block < 0)
        return block;
    n = smaller((uint64_t)n_blocks * SPOOL_BLOCK - from, n);
    where.block = (uint32_t)block;
    put_bytes(overlay, spool_data(overlay->spool, where.block) + from, buf, n);
    r = put_run(overlay, i, &where, from, from + (uint32_t)n, false);
    if (r < 0) {
        spool_give(overlay->spool, where.block, n_blocks);
        return r;
    }
    if (i > 0)
        join(overlay, i - 1);
    return (int64_t)n;
}

/* What fits before the next run begins, or into the run that is there. */
static int64_t write_some(struct overlay *overlay, const uint8_t *buf, size_t len, uint64_t off)
{
    size_t i = find_run(overlay, off), n = len;
    if (i < overlay->n && start_at(overlay, i) <= off) {
        n = smaller(end_at(overlay, i) - off, len);
        memcpy(memory_of(overlay, run_at(overlay, i), off), buf, n);
        return (int64_t)n;
    }
    if (i < overlay->n)
        n = smaller(start_at(overlay, i) - off, len);
    int64_t done = write_beside(overlay, i, buf, n, off);
    if (done == 0)
        done = write_blocks(overlay, i, buf, n, off);
    if (done > 0)
        overlay->bytes += (uint64_t)done;
    return done;
}

int64_t overlay_write(struct overlay *overlay, const void *buf, size_t len, uint64_t off)
{
    size_t done = 0;
    overlay->torn = false;
    while (done < len) {
        int64_t n = write_some(overlay, (const uint8_t *)buf + done, len - done, off + done);
        if (n == -EAGAIN || (n < 0 && done > 0))
            break;
        if (n < 0)
            return n;
        done += (size_t)n;
    }
    return (int64_t)done;
}

/* ---- reading ---- */

bool overlay_next(const struct overlay *overlay, uint64_t off, uint64_t *start, uint64_t *end)
{
    size_t i = find_run(overlay, off);
    if (i == overlay->n)
        return false;
    uint64_t at = start_at(overlay, i);
    *start = at > off ? at : off;
    *end = end_at(overlay, i);
    return true;
}

void overlay_copy(const struct overlay *overlay, void *buf, size_t len, uint64_t off)
{
    size_t i = find_run(overlay, off);
    for (size_t done = 0; done < len; i++) {
        uint64_t at = off + done;
        assert(i < overlay->n && start_at(overlay, i) <= at);
        size_t n = smaller(end_at(overlay, i) - at, len - done);
        memcpy((uint8_t *)buf + done, memory_of(overlay, run_at(overlay, i), at), n);
        done += n;
    }
}

bool overlay_lend(struct overlay *overlay, uint64_t off, size_t len, struct overlay_loan *loan)
{
    size_t i = find_run(overlay, off);
    if (i == overlay->n || start_at(overlay, i) > off || end_at(overlay, i) - off < len)
        return false;
    const struct spool_run *run = run_at(overlay, i);
    const uint64_t at = off - run->base;
    *loan = (struct overlay_loan){.bytes = memory_of(overlay, run, off),
                                  .first = run->block + (uint32_t)(at / SPOOL_BLOCK),
                                  .end = run->block + (uint32_t)((at + len - 1) / SPOOL_BLOCK) + 1};
    int64_t n = 0;
    spool_blocks_hold(overlay->spool, loan->first, loan->end, &n);
    count_blocks(overlay, n);
    return true;
}

void overlay_return(struct overlay *overlay, const struct overlay_loan *loan)
{
    int64_t n = 0;
    spool_blocks_let_go(overlay->spool, loan->first, loan->end, &n);
    count_blocks(overlay, n);
}

bool overlay_covers(const struct overlay *overlay, uint64_t off, uint64_t len)
{
    uint64_t at = off, end = off + len;
    for (size_t i = find_run(overlay, off); at < end; i++) {
        if (i == overlay->n || start_at(overlay, i) > at)
            return false;
        at = end_at(overlay, i);
    }
    return true;
}

/* ---- clearing ---- */

/* Takes [off, end) out of the middle of a run: the part behind it becomes a run of its own before it
 * leaves the first. */
static int split_run(struct overlay *overlay, size_t i, uint64_t off, uint64_t end)
{
    const struct spool_run where = {.block = run_at(overlay, i)->block,
                                    .base = run_at(overlay, i)->base};
    uint32_t from = spool_run_from(run_at(overlay, i)), to = spool_run_to(run_at(overlay, i));
    int r = put_run(overlay, i + 1, &where, (uint32_t)(end - where.base), to, true);
    if (r < 0)
        return r;
    set_run(overlay, i, from, (uint32_t)(off - where.base));
    overlay->bytes -= end - off;
    return 0;
}

int overlay_clear(struct overlay *overlay, uint64_t off, uint64_t len)
{
    uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
    if (len == 0)
        return 0;
    size_t i = find_run(overlay, off);
    if (i < overlay->n && start_at(overlay, i) < off && end_at(overlay, i) > end)
        return split_run(overlay, i, off, end);
    if (i < overlay->n && start_at(overlay, i) < off) { /* its end goes */
        const struct spool_run *run = run_at(overlay, i);
        overlay->bytes -= spool_run_end(run) - off;
        set_run(overlay, i, spool_run_from(run), (uint32_t)(off - run->base));
        i++;
    }
    size_t last = i;
    for (; last < overlay->n && end_at(overlay, last) <= end; last++) {
        overlay->bytes -= end_at(overlay, last) - start_at(overlay, last);
        give_run(overlay, last);
    }
    drop(overlay, i, last);
    if (i < overlay->n && start_at(overlay, i) < end) { /* its beginning goes */
        const struct spool_run *run = run_at(overlay, i);
        overlay->bytes -= end - spool_run_start(run);
        set_run(overlay, i, (uint32_t)(end - run->base), spool_run_to(run));
    }
    return 0;
}

/* ---- taking over ---- */

int overlay_adopt(struct overlay *overlay, uint32_t run)
{
    int r = reserve(overlay);
    if (r < 0)
        return r;
    int64_t n = 0;
    spool_run_adopt(overlay->spool, run, &n);
    insert(overlay, overlay->n, run);
    count_blocks(overlay, n);
    return 0;
}

/* A gap that shrinks from both ends sorts what is nearly sorted in little time, and anything in
 * n log n steps. */
static void sort_runs(struct overlay *overlay)
{
    uint32_t *ids = overlay->runs + overlay->first;
    for (size_t gap = overlay->n / 2; gap > 0; gap /= 2) {
        for (size_t i = gap; i < overlay->n; i++) {
            uint32_t id = ids[i];
            uint64_t start = spool_run_start(spool_run(overlay->spool, id));
            size_t at = i;
            for (; at >= gap && spool_run_start(spool_run(overlay->spool, ids[at - gap])) > start;
                 at -= gap)
                ids[at] = ids[at - gap];
            ids[at] = id;
        }
    }
}

/* Where a kill came while one run became two, or two one, both have some bytes: the first keeps them. */
void overlay_adopted(struct overlay *overlay)
{
    sort_runs(overlay);
    size_t n = 0;
    uint32_t *ids = overlay->runs + overlay->first;
    overlay->bytes = 0;
    for (size_t i = 0; i < overlay->n; i++) {
        struct spool_run *run = spool_run(overlay->spool, ids[i]);
        uint64_t end = n > 0 ? spool_run_end(spool_run(overlay->spool, ids[n - 1])) : 0;
        if (n > 0 && spool_run_end(run) <= end) {
            give_run(overlay, i);
            continue;
        }
        ids[n] = ids[i];
        if (n > 0 && spool_run_start(run) < end)
            set_run(overlay, n, (uint32_t)(end - run->base), spool_run_to(run));
        overlay->bytes += spool_run_end(run) - spool_run_start(run);
        n++;
    }
    overlay->n = n;
}

void overlay_leave(struct overlay *overlay)
{
    overlay->n = 0;
    overlay->first = 0;
    overlay_clear_all(overlay);
}
