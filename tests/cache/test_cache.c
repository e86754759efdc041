#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"

#define LEN 4096u

struct fill {
    uint8_t value;
    int result;
    atomic_int calls;
    sem_t *entered, *go; /* where not NULL: says that it is inside, and waits to be let on */
};

static int fill_value(void *ctx, void *data, size_t len)
{
    struct fill *fill = ctx;
    fill->calls++;
    if (fill->entered)
        sem_post(fill->entered);
    if (fill->go)
        sem_wait(fill->go);
    memset(data, fill->value, len);
    return fill->result;
}

static bool holds(const struct cache_entry *entry, uint8_t value, size_t len)
{
    const uint8_t *p = cache_data(entry);
    if (cache_len(entry) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (p[i] != value)
            return false;
    return true;
}

static struct cache_key key(uint64_t owner, uint64_t chunk)
{
    return (struct cache_key){owner, chunk};
}

/* Gets, verifies and puts; returns whether fill() had to run. */
static bool touch(struct cache *cache, struct cache_key k, uint8_t value)
{
    struct fill fill = {.value = value};
    struct cache_entry *entry = NULL;
    assert_int_equal(cache_get(cache, k, LEN, fill_value, &fill, &entry), 0);
    assert_true(holds(entry, value, LEN));
    cache_put(cache, &entry);
    assert_null(entry);
    cache_check(cache);
    return fill.calls > 0;
}

/* Room for three entries of LEN, whatever an entry costs beyond its bytes (less than LEN / 4). */
static struct cache *cache_of_three(void)
{
    struct cache *cache;
    assert_int_equal(cache_create(3 * LEN + 3 * (LEN / 4), &cache), 0);
    return cache;
}

static void a_chunk_is_filled_once(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    assert_true(touch(cache, key(1, 1), 7));
    assert_false(touch(cache, key(1, 1), 7));
    assert_true(touch(cache, key(2, 1), 8));
    assert_true(touch(cache, key(1, 2), 9));
    assert_false(touch(cache, key(2, 1), 8));
    struct cache_stats stats;
    cache_stats(cache, &stats);
    assert_int_equal(stats.entries, 3);
    assert_int_equal(stats.hits, 2);
    assert_int_equal(stats.misses, 3);
    assert_true(stats.bytes >= 3 * LEN);
    cache_destroy(&cache);
    assert_null(cache);
    cache_destroy(&cache);
}

static void least_recently_used_goes_first(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    for (uint8_t i = 0; i < 3; i++)
        touch(cache, key(1, i), i);
    assert_false(touch(cache, key(1, 0), 0));
    touch(cache, key(1, 3), 3);
    assert_false(touch(cache, key(1, 0), 0));
    assert_false(touch(cache, key(1, 2), 2));
    assert_true(touch(cache, key(1, 1), 1));
    struct cache_stats stats;
    cache_stats(cache, &stats);
    assert_int_equal(stats.evictions, 2);
    cache_destroy(&cache);
}

static void referenced_entries_stay_beyond_the_limit(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    struct cache_entry *held[6];
    for (uint8_t i = 0; i < 6; i++) {
        struct fill fill = {.value = i};
        assert_int_equal(cache_get(cache, key(1, i), LEN, fill_value, &fill, &held[i]), 0);
    }
    for (uint8_t i = 0; i < 6; i++)
        assert_true(holds(held[i], i, LEN));
    for (uint8_t i = 0; i < 6; i++)
        cache_put(cache, &held[i]);
    cache_check(cache);
    struct cache_stats stats;
    cache_stats(cache, &stats);
    assert_int_equal(stats.entries, 3);
    cache_destroy(&cache);
}

static void entry_larger_than_the_cache_is_given_all_the_same(void **state)
{
    (void)state;
    struct cache *cache;
    assert_int_equal(cache_create(100, &cache), 0);
    assert_true(touch(cache, key(1, 1), 1));
    struct cache_stats stats;
    cache_stats(cache, &stats);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.bytes, 0);
    assert_true(touch(cache, key(1, 1), 1));
    cache_destroy(&cache);
}

static void ahead(struct cache *cache, uint64_t chunk, uint8_t value)
{
    struct fill fill = {.value = value};
    assert_int_equal(cache_ahead(cache, key(1, chunk), LEN, fill_value, &fill), 0);
    assert_int_equal(fill.calls, 1);
    assert_int_equal(cache_ahead(cache, key(1, chunk), LEN, fill_value, &fill), 0);
    assert_int_equal(fill.calls, 1);
    cache_check(cache);
}

static void spend(struct cache *cache, uint64_t chunk)
{
    struct cache_entry *entry;
    assert_int_equal(cache_peek(cache, key(1, chunk), &entry), 0);
    cache_spend(cache, entry);
    cache_put(cache, &entry);
    cache_check(cache);
}

static void what_a_reader_has_passed_goes_first(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    for (unsigned i = 1; i <= 3; i++)
        assert_true(touch(cache, key(1, i), 7));
    spend(cache, 2);
    spend(cache, 3);
    assert_true(touch(cache, key(1, 4), 8));
    assert_true(cache_has(cache, key(1, 1)) && cache_has(cache, key(1, 2)));
    assert_false(cache_has(cache, key(1, 3)));
    assert_false(touch(cache, key(1, 2), 7)); /* somebody wants it all the same */
    assert_true(touch(cache, key(1, 5), 8));
    assert_true(cache_has(cache, key(1, 2)));
    assert_false(cache_has(cache, key(1, 1)));
    cache_destroy(&cache);
}

static void what_is_read_ahead_waits_for_its_reader(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    ahead(cache, 1, 7);
    for (unsigned i = 2; i <= 9; i++)
        assert_true(touch(cache, key(1, i), 8));
    assert_true(cache_has(cache, key(1, 1)));
    assert_false(touch(cache, key(1, 1), 7));
    for (unsigned i = 10; i <= 12; i++)
        assert_true(touch(cache, key(1, i), 8));
    assert_false(cache_has(cache, key(1, 1)));
    cache_destroy(&cache);
}

static void what_no_reader_comes_for_does_not_fill_the_cache(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    for (unsigned i = 1; i <= 3; i++)
        ahead(cache, i, 7);
    assert_true(touch(cache, key(1, 4), 8));
    assert_true(touch(cache, key(1, 5), 8));
    assert_false(touch(cache, key(1, 4), 8));
    assert_true(cache_has(cache, key(1, 3)));
    assert_false(cache_has(cache, key(1, 1)));
    assert_false(cache_has(cache, key(1, 2)));
    cache_destroy(&cache);
}

/* One after the other; how many places their bytes had. */
static unsigned places_of_twenty(struct cache *cache, size_t len, bool spent)
{
    const void *seen[20] = {NULL};
    unsigned n_seen = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct fill fill = {.value = (uint8_t)i};
        struct cache_entry *entry;
        assert_int_equal(cache_get(cache, key(1, i), len, fill_value, &fill, &entry), 0);
        assert_true(holds(entry, (uint8_t)i, len));
        unsigned at = 0;
        while (at < n_seen && seen[at] != cache_data(entry))
            at++;
        if (at == n_seen)
            seen[n_seen++] = cache_data(entry);
        if (spent)
            cache_spend(cache, entry);
        cache_put(cache, &entry);
        cache_check(cache);
    }
    return n_seen;
}

static void a_full_cache_touches_no_fresh_memory(void **state)
{
    (void)state;
    enum { BIG = 300000 };
    struct cache *cache;
    assert_int_equal(cache_create(3 * BIG + 3 * LEN, &cache), 0);
    assert_int_equal(places_of_twenty(cache, BIG, false), 3);
    cache_destroy(&cache);
}

static void a_sequential_reader_touches_an_eighth_of_the_cache(void **state)
{
    (void)state;
    enum { BIG = 300000 };
    struct cache *cache;
    assert_int_equal(cache_create(40 * BIG, &cache), 0);
    assert_int_equal(places_of_twenty(cache, BIG, true), 5);
    cache_destroy(&cache);
}

static void a_sequential_reader_touches_little_of_a_large_cache(void **state)
{
    (void)state;
    struct cache *cache;
    assert_int_equal(cache_create(256u << 20, &cache), 0);
    assert_in_range(places_of_twenty(cache, 1u << 20, true), 1, 5);
    cache_destroy(&cache);
}

static void failed_fill_leaves_nothing(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    struct fill fill = {.value = 1, .result = -EBADMSG};
    struct cache_entry *entry = NULL;
    assert_int_equal(cache_get(cache, key(1, 1), LEN, fill_value, &fill, &entry), -EBADMSG);
    assert_null(entry);
    struct cache_stats stats;
    cache_stats(cache, &stats);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.bytes, 0);
    assert_int_equal(cache_peek(cache, key(1, 1), &entry), -EAGAIN);
    assert_true(touch(cache, key(1, 1), 2));
    cache_destroy(&cache);
}

static void one_chunk_with_two_lengths_is_two_entries(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    struct fill fill = {.value = 1};
    struct cache_entry *a, *b, *c;
    assert_int_equal(cache_get(cache, key(1, 1), 10, fill_value, &fill, &a), 0);
    assert_int_equal(cache_get(cache, key(1, 1), 20, fill_value, &fill, &b), 0);
    assert_int_equal(cache_get(cache, key(1, 1), 0, fill_value, &fill, &c), 0);
    assert_true(holds(a, 1, 10) && holds(b, 1, 20) && holds(c, 1, 0));
    cache_put(cache, &a);
    cache_put(cache, &b);
    cache_put(cache, &c);
    cache_drop(cache, key(1, 1));
    assert_int_equal(cache_peek(cache, key(1, 1), &a), -EAGAIN);
    cache_destroy(&cache);
}

/* Sanitizers end the program otherwise where malloc() has nothing to give. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void impossible_length_is_enomem(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    struct fill fill = {0};
    struct cache_entry *entry = NULL;
    assert_int_equal(cache_get(cache, key(1, 1), PTRDIFF_MAX / 2, fill_value, &fill, &entry),
                     -ENOMEM);
    assert_int_equal(fill.calls, 0);
    cache_check(cache);
    cache_destroy(&cache);
}

static void dropped_while_referenced_vanishes_when_put(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    struct fill old = {.value = 1};
    struct cache_entry *entry, *again;
    assert_int_equal(cache_get(cache, key(1, 1), LEN, fill_value, &old, &entry), 0);
    cache_drop(cache, key(1, 1));
    assert_true(holds(entry, 1, LEN));
    assert_int_equal(cache_peek(cache, key(1, 1), &again), -EAGAIN);
    assert_true(touch(cache, key(1, 1), 2));
    assert_true(holds(entry, 1, LEN));
    cache_put(cache, &entry);
    assert_false(touch(cache, key(1, 1), 2));
    struct cache_stats stats;
    cache_stats(cache, &stats);
    assert_true(stats.bytes < 2 * LEN);
    cache_destroy(&cache);
}

static void an_owner_goes_alone(void **state)
{
    (void)state;
    struct cache *cache;
    assert_int_equal(cache_create(64 << 20, &cache), 0);
    for (unsigned i = 0; i < 3000; i++) /* the table grows on the way */
        touch(cache, key(1 + i % 2, i), (uint8_t)i);
    cache_drop_owner(cache, 1);
    cache_check(cache);
    struct cache_stats stats;
    cache_stats(cache, &stats);
    assert_int_equal(stats.entries, 1500);
    assert_false(touch(cache, key(2, 1), 1));
    assert_true(touch(cache, key(1, 0), 0));
    cache_destroy(&cache);
}

/* ---- threads ---- */

struct getter {
    struct cache *cache;
    struct cache_key key;
    struct fill *fill;
    struct cache_entry *entry;
    int result;
};

static void *get_thread(void *ctx)
{
    struct getter *g = ctx;
    g->result = cache_get(g->cache, g->key, LEN, fill_value, g->fill, &g->entry);
    return NULL;
}

static void await_waiters(struct cache *cache, uint64_t n)
{
    struct cache_stats stats;
    do {
        cache_stats(cache, &stats);
        sched_yield();
    } while (stats.waits < n);
}

/* One thread inside fill(), seven behind it; then `result` for all. */
static void one_flight(int result)
{
    struct cache *cache = cache_of_three();
    sem_t entered, go;
    sem_init(&entered, 0, 0);
    sem_init(&go, 0, 0);
    struct fill fill = {.value = 5, .result = result, .entered = &entered, .go = &go};
    struct getter getters[8];
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        getters[i] = (struct getter){.cache = cache, .key = key(1, 1), .fill = &fill};
        pthread_create(&threads[i], NULL, get_thread, &getters[i]);
    }
    sem_wait(&entered);
    await_waiters(cache, 7);
    struct cache_entry *none;
    assert_int_equal(cache_peek(cache, key(1, 1), &none), -EAGAIN);
    cache_check(cache);
    sem_post(&go);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(fill.calls, 1);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(getters[i].result, result);
        assert_true(result < 0 ? !getters[i].entry : holds(getters[i].entry, 5, LEN));
        cache_put(cache, &getters[i].entry);
    }
    cache_check(cache);
    cache_destroy(&cache);
    sem_destroy(&entered);
    sem_destroy(&go);
}

static void many_ask_one_fills(void **state)
{
    (void)state;
    one_flight(0);
}

static void every_waiter_gets_the_error(void **state)
{
    (void)state;
    one_flight(-EIO);
}

/* What is asked for after a drop never comes from a fill that began before it. */
static void drop_while_filling_hides_the_old_fill(void **state)
{
    (void)state;
    struct cache *cache = cache_of_three();
    sem_t entered, go;
    sem_init(&entered, 0, 0);
    sem_init(&go, 0, 0);
    struct fill old = {.value = 1, .entered = &entered, .go = &go};
    struct getter getter = {.cache = cache, .key = key(1, 1), .fill = &old};
    pthread_t thread;
    pthread_create(&thread, NULL, get_thread, &getter);
    sem_wait(&entered);
    cache_drop(cache, key(1, 1));
    assert_true(touch(cache, key(1, 1), 2));
    sem_post(&go);
    pthread_join(thread, NULL);
    assert_int_equal(getter.result, 0);
    assert_true(holds(getter.entry, 1, LEN));
    cache_put(cache, &getter.entry);
    assert_false(touch(cache, key(1, 1), 2));
    cache_destroy(&cache);
    sem_destroy(&entered);
    sem_destroy(&go);
}

#define STORM_KEYS   12u
#define STORM_ROUNDS 4000u

struct storm {
    struct cache *cache;
    atomic_uint generation[STORM_KEYS]; /* what a fill writes */
    atomic_uint dropped[STORM_KEYS];    /* what a get begun now must not be older than */
    atomic_bool wrong;
};

struct storm_fill {
    struct storm *storm;
    uint64_t chunk;
};

static int storm_fill(void *ctx, void *data, size_t len)
{
    struct storm_fill *f = ctx;
    unsigned generation = f->storm->generation[f->chunk];
    for (size_t i = 0; i + sizeof(generation) <= len; i += sizeof(generation))
        memcpy((char *)data + i, &generation, sizeof(generation));
    return generation % 7 == 3 ? -EIO : 0;
}

static void storm_get(struct storm *storm, uint64_t chunk)
{
    struct storm_fill f = {storm, chunk};
    unsigned oldest = storm->dropped[chunk];
    struct cache_entry *entry = NULL;
    if (cache_get(storm->cache, key(chunk % 3, chunk), LEN, storm_fill, &f, &entry) < 0)
        return;
    unsigned first, last;
    memcpy(&first, cache_data(entry), sizeof(first));
    memcpy(&last, (const char *)cache_data(entry) + LEN - sizeof(last), sizeof(last));
    if (first != last || first < oldest)
        storm->wrong = true;
    cache_put(storm->cache, &entry);
}

static void storm_drop(struct storm *storm, uint64_t chunk)
{
    unsigned generation = ++storm->generation[chunk];
    cache_drop(storm->cache, key(chunk % 3, chunk));
    unsigned seen = storm->dropped[chunk];
    while (seen < generation &&
           !atomic_compare_exchange_weak(&storm->dropped[chunk], &seen, generation))
        ;
}

static void *storm_thread(void *ctx)
{
    struct storm *storm = ctx;
    static atomic_uint n_threads;
    unsigned x = ++n_threads * 2654435761u;
    for (unsigned i = 0; i < STORM_ROUNDS; i++) {
        x = x * 1664525u + 1013904223u;
        uint64_t chunk = (x >> 16) % STORM_KEYS;
        struct cache_entry *entry = NULL;
        switch ((x >> 8) % 8) {
        case 0:
            storm_drop(storm, chunk);
            break;
        case 1:
            if (cache_peek(storm->cache, key(chunk % 3, chunk), &entry) == 0)
                cache_put(storm->cache, &entry);
            break;
        case 2:
            cache_check(storm->cache);
            break;
        default:
            storm_get(storm, chunk);
        }
    }
    return NULL;
}

static void storm_keeps_the_invariants(void **state)
{
    (void)state;
    struct storm storm = {.cache = cache_of_three()};
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, storm_thread, &storm);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    assert_false(storm.wrong);
    cache_check(storm.cache);
    cache_drop_owner(storm.cache, 0);
    cache_drop_owner(storm.cache, 1);
    cache_drop_owner(storm.cache, 2);
    struct cache_stats stats;
    cache_stats(storm.cache, &stats);
    assert_int_equal(stats.bytes, 0);
    assert_true(stats.hits > 0 && stats.evictions > 0);
    cache_destroy(&storm.cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_is_filled_once),
        cmocka_unit_test(least_recently_used_goes_first),
        cmocka_unit_test(referenced_entries_stay_beyond_the_limit),
        cmocka_unit_test(entry_larger_than_the_cache_is_given_all_the_same),
        cmocka_unit_test(what_a_reader_has_passed_goes_first),
        cmocka_unit_test(what_is_read_ahead_waits_for_its_reader),
        cmocka_unit_test(what_no_reader_comes_for_does_not_fill_the_cache),
        cmocka_unit_test(a_full_cache_touches_no_fresh_memory),
        cmocka_unit_test(a_sequential_reader_touches_an_eighth_of_the_cache),
        cmocka_unit_test(a_sequential_reader_touches_little_of_a_large_cache),
        cmocka_unit_test(failed_fill_leaves_nothing),
        cmocka_unit_test(one_chunk_with_two_lengths_is_two_entries),
        cmocka_unit_test(impossible_length_is_enomem),
        cmocka_unit_test(dropped_while_referenced_vanishes_when_put),
        cmocka_unit_test(an_owner_goes_alone),
        cmocka_unit_test(many_ask_one_fills),
        cmocka_unit_test(every_waiter_gets_the_error),
        cmocka_unit_test(drop_while_filling_hides_the_old_fill),
        cmocka_unit_test(storm_keeps_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
