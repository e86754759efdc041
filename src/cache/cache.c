/* An entry's states, with the function of each arrow:
 *
 *   (none) --cache_get(): miss--> FILLING --settle(): fill succeeded--> READY
 *                                    |                                    |
 *                        settle(): fill failed              evict(), cache_drop*()
 *                                    v                                    v
 *                                  FAILED                               READY, not hashed
 *                                    `------- last reference put: freed ------'
 *
 * Invariants, asserted by cache_check() with the lock held:
 *   - a hashed entry is FILLING or READY; what is not hashed is found by nobody any more
 *   - an entry is in the list of idle ones exactly when it is hashed, READY and unreferenced
 *   - a FILLING entry is referenced (by its filler at least)
 *   - `bytes` is the cost of all entries that are not freed, hashed or not
 *   - bytes > limit only while no entry is idle
 *
 * One lock guards everything but the bytes of entries: those belong to the filler until settle(),
 * and are read-only from then on. It is a leaf, and is not held over fill(), malloc() or free(). */
#include "cache/cache.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define CACHE_MIN_BUCKETS 256u

enum entry_state { FILLING, READY, FAILED };

struct cache_entry {
    struct cache_key key;
    size_t len;
    void *data;
    enum entry_state state;
    int result;    /* of fill() */
    unsigned refs; /* holders, the filler and waiters */
    bool hashed;
    struct cache_entry *next;          /* in its bucket; of the list to be freed once unhashed */
    struct cache_entry *older, *newer; /* in the list of idle ones */
    pthread_cond_t settled;
};

struct cache {
    pthread_mutex_t lock;
    size_t limit, bytes;
    struct cache_entry **buckets;
    size_t n_buckets; /* a power of two */
    size_t n_hashed;
    struct cache_entry *oldest, *newest; /* idle entries, by the time they were put */
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
    if (!cache->buckets) {
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

static struct cache_entry *entry_create(struct cache_key key, size_t len)
{
    struct cache_entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    entry->data = malloc(len ? len : 1);
    if (!entry->data) {
        free(entry);
        return NULL;
    }
    entry->key = key;
    entry->len = len;
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
        free(entry->data);
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

static void idle_add(struct cache *cache, struct cache_entry *entry)
{
    entry->newer = NULL;
    entry->older = cache->newest;
    if (cache->newest)
        cache->newest->newer = entry;
    else
        cache->oldest = entry;
    cache->newest = entry;
}

static void idle_remove(struct cache *cache, struct cache_entry *entry)
{
    *(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
    entry->older = entry->newer = NULL;
}

/* Nobody knows the entry any more: it goes onto `garbage`, to be freed without the lock. */
static void discard(struct cache *cache, struct cache_entry *entry, struct cache_entry **garbage)
{
    assert(!entry->hashed && entry->refs == 0);
    cache->bytes -= entry_cost(entry);
    entry->next = *garbage;
    *garbage = entry;
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

static void evict(struct cache *cache, struct cache_entry **garbage)
{
    while (cache->bytes > cache->limit && cache->oldest) {
        unhash(cache, link_of(cache, cache->oldest), garbage);
        cache->evictions++;
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

/* Takes a hashed entry, or hashes `fresh` in. True where the caller has to fill it. */
static bool take(struct cache *cache, struct cache_key key, size_t len, struct cache_entry *fresh,
                 struct cache_entry **out, struct cache_entry **garbage)
{
    *out = find(cache, key, &len);
    if (*out) {
        hold(cache, *out);
        return false;
    }
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

int cache_get(struct cache *cache, struct cache_key key, size_t len, cache_fill_fn *fill, void *ctx,
              struct cache_entry **out)
{
    struct cache_entry *entry, *garbage = NULL, *fresh = NULL;
    for (;;) {
        pthread_mutex_lock(&cache->lock);
        bool mine = take(cache, key, len, fresh, &entry, &garbage);
        int r = entry && !mine ? share(cache, entry, &garbage) : 0;
        pthread_mutex_unlock(&cache->lock);
        free_list(garbage);
        if (mine)
            r = fill_entry(cache, entry, fill, ctx);
        else if (entry && fresh)
            free_list(fresh); /* somebody was quicker */
        if (entry) {
            if (r == 0)
                *out = entry;
            return r;
        }
        fresh = entry_create(key, len);
        if (!fresh)
            return -ENOMEM;
        garbage = NULL;
    }
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
        .bytes = cache->bytes,
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
    bool idle = entry->newer || entry->older || cache->oldest == entry;
    assert(idle == (entry->refs == 0));
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
    for (const struct cache_entry *e = cache->oldest; e; e = e->newer) {
        assert(e->newer ? e->newer->older == e : cache->newest == e);
        n_listed++;
    }
    assert(n == cache->n_hashed && n_listed == n_idle);
    assert(bytes <= cache->bytes);
    assert(cache->bytes <= cache->limit || !cache->oldest);
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
    free(c->buckets);
    free(c);
    *cache = NULL;
}
