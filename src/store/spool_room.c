/* What of a spool is free, and where its room comes from.
 *
 * Room is reserved a step at a time. Blocks come from a thread of the spool's own before writers need
 * them: as much as is used, GROW_AHEAD at most, is kept ready. Who comes faster than that does it
 * himself, or waits for whoever is at it. The other parts are small and grow where they are
 * needed.
 *
 * Where the filesystem has no more, the spool makes do with what it has and tries again later. */
#include "store/spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "store/spool_impl.h"

#define GROW_BLOCKS (4u << 20)   /* bytes of blocks at a time, a group: touched in 1 to 4 ms */
#define GROW_OTHERS (256u << 10) /* the same of another part */
#define GROW_AHEAD  (32u << 20)  /* bytes of blocks: what comes in 20 ms */
#define RETRY_MS    3000         /* from finding the filesystem full to trying again */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

const uint32_t spool_item_bytes[SPOOL_N_PARTS] = {
    [SPOOL_LOGS] = sizeof(struct spool_record),
    [SPOOL_RUNS] = sizeof(struct spool_run),
    [SPOOL_PAGES] = sizeof(struct spool_page),
    [SPOOL_BLOCKS] = SPOOL_BLOCK,
};

/* ---- room ---- */

static uint32_t n_grown(const struct spool *spool, enum spool_part part)
{
    return atomic_load(&spool->head->n_grown[part]);
}

/* Whole huge pages of what nobody has yet, as far as they are to be had. An empty one cannot be made
 * of nothing: a byte goes first, and not through the mapping, where it would be a SIGBUS on a full filesystem. */
static bool make_huge(const struct spool *spool, uint64_t from, uint64_t len)
{
    for (uint64_t at = from; at < from + len; at += SPOOL_HUGE_PAGE)
        if (pwrite(spool->fd, "", 1, (off_t)at) != 1)
            return false;
    return len == 0 || madvise(spool->map + from, len, MADV_COLLAPSE) == 0;
}

static int reserve_file(const struct spool *spool, uint64_t from, uint64_t len)
{
    int r;
    while ((r = posix_fallocate(spool->fd, (off_t)from, (off_t)len)) == EINTR)
        ;
    return -r;
}

/* In huge pages it takes a quarter of the time, where there are some; but only fallocate(2) says that all
 * is there. Where it is not, nothing is kept. */
static int reserve_blocks(struct spool *spool, uint64_t from, uint64_t len)
{
    bool try = now_ms() >= spool->huge_ms;
    bool huge = try && make_huge(spool, from, len / SPOOL_HUGE_PAGE * SPOOL_HUGE_PAGE);
    int r = reserve_file(spool, from, len);
    if (r < 0 && try)
        fallocate(spool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)len);
    else if (try && !huge)
        spool->huge_ms = now_ms() + RETRY_MS;
    return r;
}

/* One at a time for each part. */
int spool_room_reserve(struct spool *spool, enum spool_part part)
{
    uint32_t have = n_grown(spool, part), all = spool->head->n_items[part];
    uint32_t step = (part == SPOOL_BLOCKS ? GROW_BLOCKS : GROW_OTHERS) / spool_item_bytes[part];
    if (have == all)
        return -EAGAIN;
    if (step > all - have)
        step = all - have;
    uint64_t from = spool->offset[part] + (uint64_t)have * spool_item_bytes[part];
    uint64_t len = (uint64_t)step * spool_item_bytes[part];
    if (spool->fd >= 0) {
        int r = part == SPOOL_BLOCKS ? reserve_blocks(spool, from, len)
                                     : reserve_file(spool, from, len);
        if (r < 0)
            return r;
    }
#ifdef MADV_POPULATE_WRITE
    if (part == SPOOL_BLOCKS) /* at once, and not page by page as writers come to it */
        madvise(spool->map + from, len, MADV_POPULATE_WRITE);
#endif
    atomic_store(&spool->head->n_grown[part], have + step);
    return 0;
}

/* There is more to be had, and the filesystem was not full just now. */
static bool may_grow(const struct spool *spool, enum spool_part part)
{
    return n_grown(spool, part) < spool->head->n_items[part] &&
           (spool->retry_ms[part] == 0 || now_ms() >= spool->retry_ms[part]);
}

static void grown(struct spool *spool, enum spool_part part, int r)
{
    spool->retry_ms[part] = r < 0 ? now_ms() + RETRY_MS : 0;
}

/* ---- items ---- */

/* Whether more than `spare` items that were never taken have room, or get it; lock held. */
static bool may_take_fresh(struct spool *spool, enum spool_part part, uint32_t spare)
{
    struct spool_pool *pool = &spool->pools[part];
    while (n_grown(spool, part) - pool->fresh <= spare) {
        if (spool->head->n_items[part] - pool->fresh <= spare || !may_grow(spool, part))
            return false;
        grown(spool, part, spool_room_reserve(spool, part));
    }
    return true;
}

int64_t spool_item_take(struct spool *spool, enum spool_part part, uint32_t spare)
{
    pthread_mutex_lock(&spool->lock);
    struct spool_pool *pool = &spool->pools[part];
    int64_t item;
    if (pool->n_free <= spare && !may_take_fresh(spool, part, spare - pool->n_free))
        item = -EAGAIN;
    else if (pool->n_free > 0)
        item = pool->free[--pool->n_free];
    else
        item = pool->fresh++;
    pthread_mutex_unlock(&spool->lock);
    return item;
}

/* lock held */
static void tell(struct spool *spool)
{
    spool->events++;
    if (spool->n_waiting > 0)
        pthread_cond_broadcast(&spool->changed);
}

void spool_item_give(struct spool *spool, enum spool_part part, uint32_t item)
{
    pthread_mutex_lock(&spool->lock);
    struct spool_pool *pool = &spool->pools[part];
    pool->free[pool->n_free++] = item;
    tell(spool);
    pthread_mutex_unlock(&spool->lock);
}

/* ---- which blocks are free; lock held ---- */

static uint32_t *list_of(struct spool *spool, uint64_t free)
{
    return free == UINT64_MAX ? &spool->whole : &spool->parted;
}

static void list_group(struct spool *spool, uint32_t at)
{
    struct spool_group *group = &spool->groups[at];
    if (group->free == 0)
        return;
    uint32_t *first = list_of(spool, group->free);
    group->prev = SPOOL_NONE;
    group->next = *first;
    if (*first != SPOOL_NONE)
        spool->groups[*first].prev = at;
    *first = at;
}

static void unlist_group(struct spool *spool, uint32_t at)
{
    struct spool_group *group = &spool->groups[at];
    if (group->free == 0)
        return;
    if (group->prev != SPOOL_NONE)
        spool->groups[group->prev].next = group->next;
    else
        *list_of(spool, group->free) = group->next;
    if (group->next != SPOOL_NONE)
        spool->groups[group->next].prev = group->prev;
}

static void set_free(struct spool *spool, uint32_t at, uint64_t free)
{
    unlist_group(spool, at);
    spool->groups[at].free = free;
    list_group(spool, at);
}

/* Bits of one group; n > 0. */
static uint64_t mask(uint32_t first, uint32_t n)
{
    return UINT64_MAX >> (SPOOL_GROUP - n) << first;
}

/* How many of `n` blocks from one on lie in its group. */
static uint32_t in_group(uint32_t block, uint32_t n)
{
    uint32_t room = SPOOL_GROUP - block % SPOOL_GROUP;
    return n < room ? n : room;
}

static bool is_free(const struct spool *spool, uint32_t block)
{
    return spool->groups[block / SPOOL_GROUP].free >> block % SPOOL_GROUP & 1;
}

static bool is_any_free(const struct spool *spool)
{
    return spool->whole != SPOOL_NONE || spool->parted != SPOOL_NONE;
}

/* From the last to the first, so that the first are found first. */
static void free_blocks(struct spool *spool, uint32_t first, uint32_t n)
{
    while (n > 0) {
        uint32_t at = (first + n - 1) / SPOOL_GROUP;
        uint32_t from = at * SPOOL_GROUP > first ? at * SPOOL_GROUP : first;
        uint64_t bits = mask(from % SPOOL_GROUP, first + n - from);
        assert((spool->groups[at].free & bits) == 0);
        set_free(spool, at, spool->groups[at].free | bits);
        n = from - first;
    }
}

/* Takes `block` and what is free behind it, `most` in all. Returns how many. */
static uint32_t take_blocks(struct spool *spool, uint32_t block, uint32_t most)
{
    uint32_t end = n_grown(spool, SPOOL_BLOCKS), n = 0;
    while (n < most && block + n < end) {
        uint32_t at = (block + n) / SPOOL_GROUP, bit = (block + n) % SPOOL_GROUP;
        uint32_t room = in_group(block + n, most - n);
        uint64_t taken = ~(spool->groups[at].free >> bit);
        uint32_t free = taken ? (uint32_t)__builtin_ctzll(taken) : SPOOL_GROUP;
        uint32_t take = free < room ? free : room;
        if (take == 0)
            break;
        set_free(spool, at, spool->groups[at].free & ~mask(bit, take));
        n += take;
        if (bit + take < SPOOL_GROUP)
            break;
    }
    return n;
}

void spool_room_add(struct spool *spool, uint32_t from)
{
    free_blocks(spool, from, n_grown(spool, SPOOL_BLOCKS) - from);
}

void spool_room_adopt(struct spool *spool)
{
    for (uint32_t block = n_grown(spool, SPOOL_BLOCKS); block-- > 0;) {
        if (spool->refs[block] > 0 || is_free(spool, block))
            continue;
        free_blocks(spool, block, 1);
        atomic_fetch_sub(&spool->n_used, 1);
    }
}

/* ---- growing ---- */

/* What has become of it is told once, not each time; lock held. */
static void blocks_grown(struct spool *spool, uint32_t from, int r)
{
    uint32_t all = spool->head->n_items[SPOOL_BLOCKS];
    bool was_full = atomic_load(&spool->limit) < all;
    grown(spool, SPOOL_BLOCKS, r);
    atomic_store(&spool->limit, r < 0 ? from : all);
    if (r < 0 && !was_full)
        log_warn("the spool cannot grow beyond %llu MiB: %s",
                 (unsigned long long)from * SPOOL_BLOCK >> 20, strerror(-r));
    else if (r >= 0 && was_full)
        log_info("the spool can grow again");
}

/* Lock held, dropped meanwhile: others may have taken what there is by then. false: there is no room to
 * be had. */
static bool grow_blocks(struct spool *spool)
{
    if (spool->growing) {
        spool->n_waiting++;
        pthread_cond_wait(&spool->changed, &spool->lock);
        spool->n_waiting--;
        return true;
    }
    if (!may_grow(spool, SPOOL_BLOCKS))
        return false;
    uint32_t from = n_grown(spool, SPOOL_BLOCKS);
    spool->growing = true;
    pthread_mutex_unlock(&spool->lock);
    int r = spool_room_reserve(spool, SPOOL_BLOCKS);
    pthread_mutex_lock(&spool->lock);
    spool->growing = false;
    if (r >= 0)
        spool_room_add(spool, from);
    blocks_grown(spool, from, r);
    tell(spool);
    return r >= 0;
}

/* lock held */
static bool is_short(const struct spool *spool)
{
    uint32_t used = atomic_load(&spool->n_used), most = GROW_AHEAD / SPOOL_BLOCK;
    uint32_t ahead = used < most ? used : most;
    return n_grown(spool, SPOOL_BLOCKS) - used < ahead && may_grow(spool, SPOOL_BLOCKS);
}

static void grow_ahead(struct work *work)
{
    struct spool *spool = (struct spool *)work;
    pthread_mutex_lock(&spool->lock);
    while (is_short(spool) && grow_blocks(spool))
        ;
    spool->grower_asked = false;
    pthread_mutex_unlock(&spool->lock);
}

/* Without it writers come to spool_grow(). */
void spool_room_start(struct spool *spool)
{
    spool->grow_work.run = grow_ahead;
    int r = workq_create("sqyfs-spool", 1, &spool->grower);
    if (r < 0)
        log_debug("no thread for the spool: %s", strerror(-r));
}

/* ---- blocks ---- */

/* lock held */
static int64_t choose(struct spool *spool, int64_t wanted)
{
    if (wanted >= 0 && wanted < spool->head->n_items[SPOOL_BLOCKS] &&
        is_free(spool, (uint32_t)wanted))
        return wanted;
    if (!is_any_free(spool))
        return -EAGAIN;
    /* Whole groups first, and in order: what follows finds its place beside what was before. */
    uint32_t at = spool->whole != SPOOL_NONE ? spool->whole : spool->parted;
    return (int64_t)at * SPOOL_GROUP + __builtin_ctzll(spool->groups[at].free);
}

int64_t spool_take(struct spool *spool, int64_t wanted, uint32_t most, uint32_t *n)
{
    pthread_mutex_lock(&spool->lock);
    int64_t first = choose(spool, wanted);
    if (first >= 0) {
        *n = take_blocks(spool, (uint32_t)first, most);
        atomic_fetch_add(&spool->n_used, *n);
    }
    bool ask = spool->grower != NULL && !spool->grower_asked && is_short(spool);
    spool->grower_asked = spool->grower_asked || ask;
    pthread_mutex_unlock(&spool->lock);
    if (ask)
        workq_push(spool->grower, &spool->grow_work);
    return first;
}

bool spool_grow(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    bool may_be = is_any_free(spool) || grow_blocks(spool);
    pthread_mutex_unlock(&spool->lock);
    return may_be;
}

void spool_give(struct spool *spool, uint32_t first, uint32_t n)
{
    pthread_mutex_lock(&spool->lock);
    free_blocks(spool, first, n);
    atomic_fetch_sub(&spool->n_used, n);
    tell(spool);
    pthread_mutex_unlock(&spool->lock);
}

uint8_t *spool_data(struct spool *spool, uint32_t block)
{
    return spool->data + (size_t)block * SPOOL_BLOCK;
}

uint32_t spool_total(struct spool *spool)
{
    return atomic_load_explicit(&spool->limit, memory_order_relaxed);
}

uint32_t spool_used(struct spool *spool)
{
    return atomic_load_explicit(&spool->n_used, memory_order_relaxed);
}

/* ---- waiting ---- */

uint64_t spool_seen(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    uint64_t seen = spool->events;
    pthread_mutex_unlock(&spool->lock);
    return seen;
}

void spool_wait(struct spool *spool, uint64_t *seen)
{
    pthread_mutex_lock(&spool->lock);
    spool->n_waiting++;
    while (spool->events == *seen)
        pthread_cond_wait(&spool->changed, &spool->lock);
    spool->n_waiting--;
    *seen = spool->events;
    pthread_mutex_unlock(&spool->lock);
}

void spool_wake(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    tell(spool);
    pthread_mutex_unlock(&spool->lock);
}
