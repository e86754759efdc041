/* An entry's states, with the function of each arrow:
 *
 *   (none) --cache_get(): miss--> FILLING --settle(): fill succeeded--> READY
 *                                    |                                    |
 *                        settle(): fill failed              evict(), cache_drop*()
 *                                    v                                    v
 *                                  FAILED                               READY, not hashed
 *                                    `-- last reference put: freed, or kept as a spare --'
 *
 * A miss fills a spare's memory, or that of the entry that has to go for it, where that is as long; for a
 * sequential reader an entry has to go long before the limit is reached. Fresh memory, and memory that is
 * in no processor's cache, cost as much as decoding a good part of what goes into them.
 *
 * Invariants, asserted by cache_check() with the lock held:
 *   - a hashed entry is FILLING or READY; what is not hashed is found by nobody any more
 *   - an entry is in the list of its use exactly when it is hashed, READY and unreferenced
 *   - a FILLING entry is referenced (by its filler at least)
 *   - `bytes` is the cost of all entries that are not freed, hashed or not, spares included
 *   - bytes > limit only while no entry is idle and there is no spare
 *   - idle entries read ahead take no more than half of the limit
 *
 * One lock guards everything but the bytes of entries: those belong to the filler until settle(),
 * and are read-only from then on. It is a leaf, and is not held over fill() or where memory is asked for or
 * given back. */
#include "cache/cache.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cache/slab.h"

#define CACHE_MIN_BUCKETS 256u
#define CACHE_SPARES      64u /* looked through on a miss; one, or a quarter of the limit */

/* Bytes: chunks enough for requests of one reader that overtake each other. */
#define CACHE_SPENT (4u << 20)

enum entry_state { FILLING, READY, FAILED };

/* What an entry is to its readers; the order in which they go. */
enum entry_use {
    SPENT, /* a sequential reader has passed it; the last one goes first: its memory is still warm */
    USED,  /* the least recently used one goes first */
    AHEAD, /* decoded for a reader who has not come yet */
    N_USES,
};

struct cache_entry {
    struct cache_key key;
    size_t len;
    void *data;
    struct slab *slab; /* that the data lies in */
    enum entry_state state;
    enum entry_use use;
    int result;    /* of fill() */
    unsigned refs; /* holders, the filler and waiters */
    bool hashed;
    struct cache_entry *next;          /* in its bucket; of the list to be freed once unhashed */
    struct cache_entry *older, *newer; /* in the list of idle ones of its use */
    pthread_cond_t settled;
};

struct idle_list {
    struct cache_entry *oldest, *newest; /* by the time they were put */
    size_t bytes;
};

struct cache {
    pthread_mutex_t lock;
    struct slabs *slabs; /* constant */
    size_t limit, bytes;
    struct cache_entry **buckets;
    size_t n_buckets; /* a power of two */
    size_t n_hashed;
    struct idle_list idle[N_USES];
    struct cache_entry *spares[CACHE_SPARES]; /* the last one given up at the end */
    unsigned n_spares;
    size_t spare_bytes;
    uint64_t hits, misses, waits, evictions;
};

int cache_create(size_t limit, struct cache **out)
{
    struct cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return -ENOMEM;
    cache->limit = limit;
    cache->n_buckets = CACHE_MIN_BUCKETS;
    cache->buckets = calloc(cache->n_buckets, sizeof(*cache->buckets));
    if (!cache->buckets || slabs_create(&cache->slabs) < 0) {
        free(cache->buckets);
        free(cache);
        return -ENOMEM;
    }
    pthread_mutex_init(&cache->lock, NULL);
    *out = cache;
    return 0;
}

/* Small entries must not make the limit meaningless. */
static size_t entry_cost(const struct cache_entry *entry)
{
    return entry->len + sizeof(*entry);
}

static struct cache_entry *entry_create(struct cache *cache, struct cache_key key, size_t len)
{
    struct cache_entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    entry->data = slab_alloc(cache->slabs, len, &entry->slab);
    if (!entry->data) {
        free(entry);
        return NULL;
    }
    entry->key = key;
    entry->len = len;
    entry->use = USED;
    entry->refs = 1;
    pthread_cond_init(&entry->settled, NULL);
    return entry;
}

static void free_list(struct cache_entry *list)
{
    while (list) {
        struct cache_entry *entry = list;
        list = entry->next;
        pthread_cond_destroy(&entry->settled);
        slab_free(&entry->slab, entry->data, entry->len);
        free(entry);
    }
}

/* ---- table and list; the lock is held ---- */

static size_t bucket_of(const struct cache *cache, struct cache_key key)
{
    /* MurmurHash3's finaliser (Appleby): both numbers count up from small values */
    uint64_t h = key.chunk * 0x9E3779B97F4A7C15u ^ key.owner;
    h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCDu;
    h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53u;
    return (size_t)(h ^ (h >> 33)) & (cache->n_buckets - 1);
}

static bool same_key(struct cache_key a, struct cache_key b)
{
    return a.owner == b.owner && a.chunk == b.chunk;
}

static void grow(struct cache *cache)
{
    struct cache_entry **old = cache->buckets;
    size_t n_old = cache->n_buckets;
    struct cache_entry **buckets = calloc(2 * n_old, sizeof(*buckets));
    if (!buckets)
        return; /* longer chains, nothing worse */
    cache->buckets = buckets;
    cache->n_buckets = 2 * n_old;
    for (size_t i = 0; i < n_old; i++) {
        while (old[i]) {
            struct cache_entry *entry = old[i];
            old[i] = entry->next;
            struct cache_entry **to = &buckets[bucket_of(cache, entry->key)];
            entry->next = *to;
            *to = entry;
        }
    }
    free(old);
}

static void hash_in(struct cache *cache, struct cache_entry *entry)
{
    if (cache->n_hashed >= cache->n_buckets)
        grow(cache);
    struct cache_entry **to = &cache->buckets[bucket_of(cache, entry->key)];
    entry->next = *to;
    *to = entry;
    entry->hashed = true;
    cache->n_hashed++;
}

static void list_add(struct cache *cache, struct cache_entry *entry)
{
    struct idle_list *list = &cache->idle[entry->use];
    entry->newer = NULL;
    entry->older = list->newest;
    *(list->newest ? &list->newest->newer : &list->oldest) = entry;
    list->newest = entry;
    list->bytes += entry_cost(entry);
}

static void idle_remove(struct cache *cache, struct cache_entry *entry)
{
    struct idle_list *list = &cache->idle[entry->use];
    *(entry->older ? &entry->older->newer : &list->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &list->newest) = entry->older;
    entry->older = entry->newer = NULL;
    list->bytes -= entry_cost(entry);
}

/* Readers who went elsewhere leave what was decoded for them: it becomes like any other. */
static void idle_add(struct cache *cache, struct cache_entry *entry)
{
    list_add(cache, entry);
    while (cache->idle[AHEAD].bytes > cache->limit / 2) {
        struct cache_entry *old = cache->idle[AHEAD].oldest;
        idle_remove(cache, old);
        old->use = USED;
        list_add(cache, old);
    }
}

/* ---- spares; the lock is held ---- */

static void spare_release(struct cache *cache, unsigned i, struct cache_entry **garbage)
{
    struct cache_entry *entry = cache->spares[i];
    memmove(&cache->spares[i], &cache->spares[i + 1],
            (--cache->n_spares - i) * sizeof(struct cache_entry *));
    cache->spare_bytes -= entry_cost(entry);
    cache->bytes -= entry_cost(entry);
    entry->next = *garbage;
    *garbage = entry;
}

/* Nobody knows the entry any more. What goes onto `garbage` is freed without the lock. */
static void discard(struct cache *cache, struct cache_entry *entry, struct cache_entry **garbage)
{
    assert(!entry->hashed && entry->refs == 0);
    if (cache->n_spares == CACHE_SPARES)
        spare_release(cache, 0, garbage);
    cache->spares[cache->n_spares++] = entry;
    cache->spare_bytes += entry_cost(entry);
    while (cache->n_spares > 1 && cache->spare_bytes > cache->limit / 4)
        spare_release(cache, 0, garbage);
}

/* A spare whose memory is `len` bytes, as new and not counted; or NULL. */
static struct cache_entry *spare_take(struct cache *cache, struct cache_key key, size_t len)
{
    unsigned i = cache->n_spares;
    while (i > 0 && cache->spares[i - 1]->len != len)
        i--;
    if (i == 0)
        return NULL;
    struct cache_entry *entry = NULL;
    spare_release(cache, i - 1, &entry);
    entry->key = key;
    entry->state = FILLING;
    entry->use = USED;
    entry->result = 0;
    entry->refs = 1;
    entry->next = NULL;
    return entry;
}

/* Takes the entry at *link out of its bucket. */
static void unhash(struct cache *cache, struct cache_entry **link, struct cache_entry **garbage)
{
    struct cache_entry *entry = *link;
    *link = entry->next;
    entry->next = NULL;
    entry->hashed = false;
    cache->n_hashed--;
    if (entry->refs)
        return; /* the last one to put it frees it */
    idle_remove(cache, entry);
    discard(cache, entry, garbage);
}

static struct cache_entry **link_of(struct cache *cache, const struct cache_entry *entry)
{
    struct cache_entry **link = &cache->buckets[bucket_of(cache, entry->key)];
    while (*link != entry)
        link = &(*link)->next;
    return link;
}

static struct cache_entry *next_victim(const struct cache *cache)
{
    if (cache->idle[SPENT].newest)
        return cache->idle[SPENT].newest;
    return cache->idle[USED].oldest ? cache->idle[USED].oldest : cache->idle[AHEAD].oldest;
}

/* Gives up a spare, else an idle entry, which becomes a spare or garbage. False where there is none. */
static bool evict_one(struct cache *cache, struct cache_entry **garbage)
{
    if (cache->n_spares > 0) {
        spare_release(cache, 0, garbage);
        return true;
    }
    struct cache_entry *victim = next_victim(cache);
    if (!victim)
        return false;
    unhash(cache, link_of(cache, victim), garbage);
    cache->evictions++;
    return true;
}

static void evict(struct cache *cache, struct cache_entry **garbage)
{
    while (cache->bytes > cache->limit && evict_one(cache, garbage))
        ;
}

static size_t most_spent(const struct cache *cache)
{
    return cache->limit / 8 < CACHE_SPENT ? cache->limit / 8 : CACHE_SPENT;
}

/* An entry for a miss without fresh memory: a spare, or what has to go for it. NULL: there is none of
 * that length, or there is room for one more. An eighth of the cache, of CACHE_SPENT at most, is enough for
 * what is spent: the kernel has the same bytes in its own. */
static struct cache_entry *reclaim(struct cache *cache, struct cache_key key, size_t len,
                                   struct cache_entry **garbage)
{
    for (;;) {
        struct cache_entry *entry = spare_take(cache, key, len);
        bool room = cache->bytes + len + sizeof(*entry) <= cache->limit &&
                    cache->idle[SPENT].bytes <= most_spent(cache);
        if (entry || room || !evict_one(cache, garbage))
            return entry;
    }
}

/* Damaged tables can name one chunk with two lengths: those are two entries. */
static struct cache_entry *find(struct cache *cache, struct cache_key key, const size_t *len)
{
    struct cache_entry *entry = cache->buckets[bucket_of(cache, key)];
    while (entry && !(same_key(entry->key, key) && (!len || entry->len == *len)))
        entry = entry->next;
    return entry;
}

static void hold(struct cache *cache, struct cache_entry *entry)
{
    if (entry->refs++ == 0)
        idle_remove(cache, entry);
    entry->use = USED;
}

static void let_go(struct cache *cache, struct cache_entry *entry, struct cache_entry **garbage)
{
    assert(entry->refs > 0);
    if (--entry->refs)
        return;
    if (entry->hashed)
        idle_add(cache, entry);
    else
        discard(cache, entry, garbage);
    evict(cache, garbage);
}

/* ---- callers' side ---- */

/* Waits for another thread's fill; the entry is held already. */
static int wait_for(struct cache *cache, struct cache_entry *entry, struct cache_entry **garbage)
{
    cache->waits++;
    while (entry->state == FILLING)
        pthread_cond_wait(&entry->settled, &cache->lock);
    int r = entry->result;
    if (r < 0)
        let_go(cache, entry, garbage);
    return r;
}

/* The filler reports; its own reference goes to the caller, or away where it failed. */
static void settle(struct cache *cache, struct cache_entry *entry, int result,
                   struct cache_entry **garbage)
{
    entry->result = result < 0 ? result : 0;
    entry->state = result < 0 ? FAILED : READY;
    pthread_cond_broadcast(&entry->settled);
    if (result >= 0)
        return;
    if (entry->hashed)
        unhash(cache, link_of(cache, entry), garbage);
    let_go(cache, entry, garbage);
}

/* Takes a hashed entry, or hashes in `fresh` or what can be reclaimed. True where the caller has to fill
 * it. */
static bool take(struct cache *cache, struct cache_key key, size_t len, struct cache_entry *fresh,
                 struct cache_entry **out, struct cache_entry **garbage)
{
    *out = find(cache, key, &len);
    if (*out) {
        hold(cache, *out);
        return false;
    }
    if (!fresh)
        fresh = reclaim(cache, key, len, garbage);
    if (!fresh)
        return false;
    cache->misses++;
    cache->bytes += entry_cost(fresh);
    hash_in(cache, fresh);
    evict(cache, garbage); /* before the fill: memory is bounded meanwhile, too */
    *out = fresh;
    return true;
}

/* Fills an entry that take() has just hashed in. */
static int fill_entry(struct cache *cache, struct cache_entry *entry, cache_fill_fn *fill,
                      void *ctx)
{
    struct cache_entry *garbage = NULL;
    int r = fill(ctx, entry->data, entry->len);
    pthread_mutex_lock(&cache->lock);
    settle(cache, entry, r, &garbage);
    pthread_mutex_unlock(&cache->lock);
    free_list(garbage);
    return r < 0 ? r : 0;
}

/* A hit, or another thread's fill; the lock is held. */
static int share(struct cache *cache, struct cache_entry *entry, struct cache_entry **garbage)
{
    if (entry->state != READY)
        return wait_for(cache, entry, garbage);
    cache->hits++;
    return 0;
}

/* cache_get(), or (`ahead`) only where nobody has asked for the chunk: *out is NULL where somebody has. */
static int get(struct cache *cache, struct cache_key key, size_t len, cache_fill_fn *fill,
               void *ctx, bool ahead, struct cache_entry **out)
{
    struct cache_entry *entry = NULL, *garbage = NULL, *fresh = NULL;
    for (;;) {
        pthread_mutex_lock(&cache->lock);
        bool known = ahead && find(cache, key, &len) != NULL;
        bool mine = !known && take(cache, key, len, fresh, &entry, &garbage);
        if (mine && ahead)
            entry->use = AHEAD;
        int r = entry && !mine ? share(cache, entry, &garbage) : 0;
        pthread_mutex_unlock(&cache->lock);
        free_list(garbage);
        if (mine)
            r = fill_entry(cache, entry, fill, ctx);
        if (fresh && entry != fresh)
            free_list(fresh); /* somebody was quicker, or memory can be used again by now */
        if (entry || known) {
            *out = r == 0 ? entry : NULL;
            return r;
        }
        fresh = entry_create(cache, key, len);
        if (!fresh)
            return -ENOMEM;
        garbage = NULL;
    }
}

int cache_get(struct cache *cache, struct cache_key key, size_t len, cache_fill_fn *fill, void *ctx,
              struct cache_entry **out)
{
    struct cache_entry *entry;
    int r = get(cache, key, len, fill, ctx, false, &entry);
    if (r == 0)
        *out = entry;
    return r;
}

int cache_ahead(struct cache *cache, struct cache_key key, size_t len, cache_fill_fn *fill,
                void *ctx)
{
    struct cache_entry *entry;
    int r = get(cache, key, len, fill, ctx, true, &entry);
    cache_put(cache, &entry);
    return r;
}

bool cache_has(struct cache *cache, struct cache_key key)
{
    pthread_mutex_lock(&cache->lock);
    bool has = find(cache, key, NULL) != NULL;
    pthread_mutex_unlock(&cache->lock);
    return has;
}

void cache_hold(struct cache *cache, struct cache_entry *entry)
{
    pthread_mutex_lock(&cache->lock);
    assert(entry->refs > 0 && entry->state == READY);
    entry->refs++;
    pthread_mutex_unlock(&cache->lock);
}

void cache_spend(struct cache *cache, struct cache_entry *entry)
{
    pthread_mutex_lock(&cache->lock);
    assert(entry->refs > 0);
    entry->use = SPENT;
    pthread_mutex_unlock(&cache->lock);
}

int cache_peek(struct cache *cache, struct cache_key key, struct cache_entry **out)
{
    int r = -EAGAIN;
    pthread_mutex_lock(&cache->lock);
    struct cache_entry *entry = find(cache, key, NULL);
    if (entry && entry->state == READY) {
        hold(cache, entry);
        cache->hits++;
        *out = entry;
        r = 0;
    }
    pthread_mutex_unlock(&cache->lock);
    return r;
}

const void *cache_data(const struct cache_entry *entry)
{
    return entry->data;
}

size_t cache_len(const struct cache_entry *entry)
{
    return entry->len;
}

void cache_put(struct cache *cache, struct cache_entry **entry)
{
    struct cache_entry *garbage = NULL;
    if (!*entry)
        return;
    pthread_mutex_lock(&cache->lock);
    let_go(cache, *entry, &garbage);
    pthread_mutex_unlock(&cache->lock);
    free_list(garbage);
    *entry = NULL;
}

static void drop_in_bucket(struct cache *cache, size_t bucket, uint64_t owner,
                           const uint64_t *chunk, struct cache_entry **garbage)
{
    struct cache_entry **link = &cache->buckets[bucket];
    while (*link) {
        const struct cache_entry *entry = *link;
        if (entry->key.owner == owner && (!chunk || entry->key.chunk == *chunk))
            unhash(cache, link, garbage);
        else
            link = &(*link)->next;
    }
}

void cache_drop(struct cache *cache, struct cache_key key)
{
    struct cache_entry *garbage = NULL;
    pthread_mutex_lock(&cache->lock);
    drop_in_bucket(cache, bucket_of(cache, key), key.owner, &key.chunk, &garbage);
    pthread_mutex_unlock(&cache->lock);
    free_list(garbage);
}

void cache_drop_owner(struct cache *cache, uint64_t owner)
{
    struct cache_entry *garbage = NULL;
    pthread_mutex_lock(&cache->lock);
    for (size_t i = 0; i < cache->n_buckets && cache->n_hashed; i++)
        drop_in_bucket(cache, i, owner, NULL, &garbage);
    pthread_mutex_unlock(&cache->lock);
    free_list(garbage);
}

void cache_stats(struct cache *cache, struct cache_stats *out)
{
    pthread_mutex_lock(&cache->lock);
    *out = (struct cache_stats){
        .bytes = cache->bytes - cache->spare_bytes,
        .entries = cache->n_hashed,
        .hits = cache->hits,
        .misses = cache->misses,
        .waits = cache->waits,
        .evictions = cache->evictions,
    };
    pthread_mutex_unlock(&cache->lock);
}

static void check_entry(const struct cache *cache, size_t bucket, const struct cache_entry *entry)
{
    assert(entry->hashed && entry->state != FAILED);
    assert(bucket_of(cache, entry->key) == bucket);
    assert(entry->state != FILLING || entry->refs > 0);
    bool idle = entry->newer || entry->older || cache->idle[entry->use].oldest == entry;
    assert(idle == (entry->refs == 0));
}

/* *n counts its entries. */
static void check_list(const struct idle_list *list, size_t *n)
{
    size_t bytes = 0;
    for (const struct cache_entry *e = list->oldest; e; e = e->newer) {
        assert(e->newer ? e->newer->older == e : list->newest == e);
        bytes += entry_cost(e);
        ++*n;
    }
    assert(bytes == list->bytes);
    (void)bytes;
}

void cache_check(struct cache *cache)
{
    size_t n = 0, n_idle = 0, n_listed = 0, bytes = 0;
    pthread_mutex_lock(&cache->lock);
    for (size_t i = 0; i < cache->n_buckets; i++) {
        for (const struct cache_entry *e = cache->buckets[i]; e; e = e->next) {
            check_entry(cache, i, e);
            n++;
            n_idle += e->refs == 0;
            bytes += entry_cost(e);
        }
    }
    for (unsigned use = 0; use < N_USES; use++)
        check_list(&cache->idle[use], &n_listed);
    assert(n == cache->n_hashed && n_listed == n_idle);
    assert(cache->idle[AHEAD].bytes <= cache->limit / 2);
    assert(bytes + cache->spare_bytes <= cache->bytes);
    assert(cache->bytes <= cache->limit || (!next_victim(cache) && cache->n_spares == 0));
    pthread_mutex_unlock(&cache->lock);
    (void)n_listed;
    (void)n_idle;
    (void)bytes;
}

void cache_destroy(struct cache **cache)
{
    struct cache *c = *cache;
    if (!c)
        return;
    cache_check(c);
    struct cache_entry *garbage = NULL;
    c->limit = 0;
    evict(c, &garbage);
    free_list(garbage);
    assert(c->n_hashed == 0 && c->bytes == 0);
    pthread_mutex_destroy(&c->lock);
    slabs_destroy(&c->slabs);
    free(c->buckets);
    free(c);
    *cache = NULL;
}
