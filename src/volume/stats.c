#include "volume/core.h"

#include <string.h>
#include <yajl/yajl_gen.h>

static void put_number(yajl_gen gen, const char *key, unsigned long long value)
{
    yajl_gen_string(gen, (const unsigned char *)key, strlen(key));
    yajl_gen_integer(gen, (long long)value);
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
    };
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
        put_number(gen, counters[i].key, atomic_load(counters[i].value));
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
    unsigned long long coded = atomic_load(&volume->counters.bytes_coded);
    yajl_gen_string(gen, (const unsigned char *)"ratio", 5);
    yajl_gen_double(gen, coded > 0
                             ? (double)atomic_load(&volume->counters.bytes_encoded) / (double)coded
                             : 1.0);
    yajl_gen_map_close(gen);
    const unsigned char *text;
    size_t len;
    char *copy = NULL;
    if (yajl_gen_get_buf(gen, &text, &len) == yajl_gen_status_ok)
        copy = strndup((const char *)text, len);
    yajl_gen_free(gen);
    return copy;
}
