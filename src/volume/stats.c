/* What a mount says of itself: counters, levels, rates, and what follows from them. */
#include "volume/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>

static void put_key(yajl_gen gen, const char *key)
{
    yajl_gen_string(gen, (const unsigned char *)key, strlen(key));
}

static void put_number(yajl_gen gen, const char *key, unsigned long long value)
{
    put_key(gen, key);
    yajl_gen_integer(gen, (long long)value);
}

/* null where `known` is false. */
static void put_real(yajl_gen gen, const char *key, bool known, double value)
{
    put_key(gen, key);
    if (known)
        yajl_gen_double(gen, value);
    else
        yajl_gen_null(gen);
}

static void put_gauges(yajl_gen gen, struct volume *volume)
{
    struct cache_stats cache;
    cache_stats(volume->cache, &cache);
    pthread_mutex_lock(&volume->lock);
    unsigned n_stacks = volume->n_stacks, n_dirty = volume->n_dirty;
    pthread_mutex_unlock(&volume->lock);
    put_number(gen, "uptime_seconds", (unsigned long long)(time(NULL) - volume->started));
    put_number(gen, "stacks_known", n_stacks);
    put_number(gen, "stacks_dirty", n_dirty);
    put_number(gen, "spool_bytes", (uint64_t)spool_used(volume->spool) * SPOOL_BLOCK);
    put_number(gen, "spool_limit", (uint64_t)spool_total(volume->spool) * SPOOL_BLOCK);
    put_number(gen, "queue_depth", workq_depth(volume->encoders));
    put_number(gen, "queue_bytes", ladder_waiting(&volume->ladder));
    put_number(gen, "jobs_in_flight", atomic_load(&volume->jobs_in_flight));
    put_number(gen, "cache_bytes", cache.bytes);
    put_number(gen, "cache_limit", volume->config.cache);
    put_number(gen, "cache_hits", cache.hits);
    put_number(gen, "cache_misses", cache.misses);
    put_number(gen, "cache_waits", cache.waits);
    put_number(gen, "cache_evictions", cache.evictions);
}

static void put_counters(yajl_gen gen, struct volume_counters *c)
{
    const struct {
        const char *key;
        atomic_ullong *value;
    } counters[] = {
        {"bytes_written", &c->bytes_in},
        {"bytes_read", &c->bytes_out},
        {"chunks_encoded", &c->chunks_encoded},
        {"bytes_encoded", &c->bytes_encoded},
        {"bytes_coded", &c->bytes_coded},
        {"chunks_stored_raw", &c->chunks_raw},
        {"chunks_provisional", &c->chunks_provisional},
        {"chunks_overtaken", &c->chunks_lost},
        {"chunks_decoded", &c->chunks_decoded},
        {"bytes_decoded", &c->bytes_decoded},
        {"checksum_errors", &c->checksum_errors},
        {"store_errors", &c->store_errors},
        {"checkpoints", &c->checkpoints},
        {"chunks_target", &c->rung_chunks[LADDER_TARGET]},
        {"chunks_fast", &c->rung_chunks[LADDER_FAST]},
        {"chunks_raw", &c->rung_chunks[LADDER_RAW]},
        {"bytes_target", &c->rung_bytes[LADDER_TARGET]},
        {"bytes_fast", &c->rung_bytes[LADDER_FAST]},
        {"bytes_raw", &c->rung_bytes[LADDER_RAW]},
        {"chunks_reencoded", &c->chunks_again},
        {"bytes_reencoded", &c->bytes_again},
        {"stacks_archived", &c->stacks_archived},
        {"bytes_archived", &c->bytes_archived},
        {"stacks_not_archived", &c->stacks_left},
    };
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
        put_number(gen, counters[i].key, atomic_load(counters[i].value));
}

/* ---- how far behind ---- */

struct lag {
    uint64_t bytes; /* of the overlays of all stacks */
    double planes;  /* of those whose planes are known */
    double chunks;  /* of the others */
};

static void add_lag(struct stack *stack, struct lag *lag)
{
    struct layout_info info = {0};
    pthread_mutex_lock(&stack->lock);
    uint64_t bytes = stack->overlay.bytes;
    if (stack->layout != NULL)
        layout_info(stack->layout, &info);
    pthread_mutex_unlock(&stack->lock);
    double plane = (double)sqy_type_size((enum sqy_type)info.type) * (double)info.height *
                   (double)info.width * info.spp;
    lag->bytes += bytes;
    if (info.type != LAYOUT_BYTES && plane > 0)
        lag->planes += (double)bytes / plane;
    else
        lag->chunks += (double)bytes / stack->volume->config.chunk;
}

static struct lag get_lag(struct volume *volume)
{
    struct lag lag = {0};
    struct stack **list;
    unsigned n = volume_dirty_stacks(volume, &list);
    for (unsigned i = 0; i < n; i++) {
        add_lag(list[i], &lag);
        stack_unref(list[i]);
    }
    free(list);
    return lag;
}

static void put_lag(yajl_gen gen, struct volume *volume, double encoded_per_second)
{
    struct lag lag = get_lag(volume);
    put_number(gen, "lag_bytes", lag.bytes);
    put_real(gen, "lag_planes", true, lag.planes);
    put_real(gen, "lag_chunks", true, lag.chunks);
    bool known = lag.bytes == 0 || encoded_per_second > 0;
    put_real(gen, "lag_seconds", known,
             known && lag.bytes > 0 ? (double)lag.bytes / encoded_per_second : 0);
}

static void put_room(yajl_gen gen, struct volume *volume, double stored_per_second)
{
    struct statvfs st;
    bool known = volume_statfs(volume, &st) >= 0;
    double room = known ? (double)st.f_bavail * (double)st.f_frsize : 0;
    known = known && stored_per_second > 0;
    put_number(gen, "disk_free_bytes", (uint64_t)room);
    put_real(gen, "hours_left", known, known ? room / stored_per_second / 3600 : 0);
}

static void put_rates(yajl_gen gen, struct volume *volume)
{
    static const char *const keys[RATES_COUNTERS] = {
        [RATES_WRITTEN] = "written_bytes_per_second", [RATES_READ] = "read_bytes_per_second",
        [RATES_ENCODED] = "encoded_bytes_per_second", [RATES_STORED] = "stored_bytes_per_second",
        [RATES_DECODED] = "decoded_bytes_per_second",
    };
    double rates[RATES_COUNTERS];
    rates_get(&volume->rates, rates);
    for (unsigned i = 0; i < RATES_COUNTERS; i++)
        put_real(gen, keys[i], true, rates[i]);
    put_lag(gen, volume, rates[RATES_ENCODED]);
    put_room(gen, volume, rates[RATES_STORED]);
}

static void put_ladder(yajl_gen gen, struct volume *volume)
{
    struct index_due due;
    const char *rung = ladder_name((enum ladder_rung)atomic_load(&volume->rung));
    put_key(gen, "rung");
    put_key(gen, rung);
    put_key(gen, "reencoding");
    yajl_gen_bool(gen, atomic_load(&volume->reencode_runs));
    put_key(gen, "archiving");
    yajl_gen_bool(gen, atomic_load(&volume->archive_runs));
    put_key(gen, "archive_due");
    yajl_gen_bool(gen, atomic_load(&volume->archive_due) || atomic_load(&volume->archive_again));
    if (index_due(volume->index, &due) < 0)
        due = (struct index_due){0};
    put_number(gen, "due_stacks", due.n_stacks);
    put_number(gen, "due_reencode_bytes", due.again_bytes);
    put_number(gen, "due_dead_bytes", due.dead_bytes);
}

static void put_ratio(yajl_gen gen, struct volume_counters *c)
{
    unsigned long long coded = atomic_load(&c->bytes_coded);
    put_real(gen, "ratio", true,
             coded > 0 ? (double)atomic_load(&c->bytes_encoded) / (double)coded : 1.0);
}

char *volume_stats_json(struct volume *volume)
{
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL)
        return NULL;
    yajl_gen_config(gen, yajl_gen_beautify, 1);
    yajl_gen_map_open(gen);
    put_gauges(gen, volume);
    put_counters(gen, &volume->counters);
    put_ratio(gen, &volume->counters);
    put_rates(gen, volume);
    put_ladder(gen, volume);
    yajl_gen_map_close(gen);
    const unsigned char *text;
    size_t len;
    char *copy = NULL;
    if (yajl_gen_get_buf(gen, &text, &len) == yajl_gen_status_ok)
        copy = strndup((const char *)text, len);
    yajl_gen_free(gen);
    return copy;
}
