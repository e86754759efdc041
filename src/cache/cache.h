/* Decoded chunks in memory: bounded, each filled once however many ask. What a sequential reader has
 * passed goes out first, then what is least recently used, last what was decoded for a reader to come.
 *
 * States of an entry: FILLING (one thread runs fill(), others wait on it) -> READY (shared,
 * read-only)
 * -> gone (evicted when unreferenced, or dropped). A failed fill leaves no entry; every waiter gets
 * the error. Bytes of READY entries never exceed `limit` except by what is referenced at that
 * moment. Thread safe. */
#ifndef SQYFS_CACHE_CACHE_H
#define SQYFS_CACHE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache;
struct cache_entry;

struct cache_key {
    uint64_t owner; /* unique for the life of the process: one incarnation of one blob */
    uint64_t chunk;
};

int cache_create(size_t limit, struct cache **out);
void cache_destroy(struct cache **cache); /* no entry may be referenced */

/* Fills data[0 .. len). 0 or a negative errno. Runs without any lock of the cache; must not ask the
 * cache for the chunk that it fills. */
typedef int cache_fill_fn(void *ctx, void *data, size_t len);

/* A READY entry's bytes are cache_data(entry)[0 .. len); the caller gives it back with cache_put().
 * `fill` runs in the calling thread on a miss. 0, -ENOMEM or what fill() returned. */
int cache_get(struct cache *cache, struct cache_key key, size_t len, cache_fill_fn *fill, void *ctx,
              struct cache_entry **out);

/* Only if READY now: 0, or -EAGAIN. Never waits. */
int cache_peek(struct cache *cache, struct cache_key key, struct cache_entry **out);

/* Fills it for a reader to come, in the calling thread; does nothing where the chunk is there or being
 * filled. Of what nobody has come for, more than half of the limit is kept like anything else. 0,
 * -ENOMEM or what fill() returned. */
int cache_ahead(struct cache *cache, struct cache_key key, size_t len, cache_fill_fn *fill,
                void *ctx);

/* Whether it is there or being filled. */
bool cache_has(struct cache *cache, struct cache_key key);

/* One more reference to an entry that the caller holds. */
void cache_hold(struct cache *cache, struct cache_entry *entry);
/* The caller, who holds it, does not expect to want it again: unless somebody else does it is the first
 * to go. */
void cache_spend(struct cache *cache, struct cache_entry *entry);

const void *cache_data(const struct cache_entry *entry);
size_t cache_len(const struct cache_entry *entry);
void cache_put(struct cache *cache, struct cache_entry **entry);

/* Forgets one chunk, or all of an owner. Referenced entries vanish when they are put. */
void cache_drop(struct cache *cache, struct cache_key key);
void cache_drop_owner(struct cache *cache, uint64_t owner);

struct cache_stats {
    /* of entries, dropped ones that are still referenced included; spare memory, which counts against
     * the limit too, is not */
    uint64_t bytes;
    uint64_t entries, hits, misses, waits, evictions;
};
void cache_stats(struct cache *cache, struct cache_stats *out);

/* Asserts that the invariants drawn in cache.c hold. For tests; walks every entry. */
void cache_check(struct cache *cache);

#endif
