/* One encode job: some plain bytes of a stack on their way into its blob.
 *
 *   job_start() -> QUEUED -> ENCODING -> APPENDED -- commit() --> the bytes leave the overlay
 *                    |          |           |
 *                    +----------+-----------+-- job_mark_stale(): a write came into its bytes; the
 *                               |           |   result is thrown away, the bytes stay
 *                               +-----------+-- out of memory, disk full: the bytes stay, and
 *                                               stack.job_error says why
 *
 * While a job is on its way the bytes stay in the overlay, so they are readable, and a job that comes
 * to nothing has cost nothing but time. Where two jobs share a byte, they hold the same value of it
 * or one of them is stale, so the order in which they commit does not matter. */
#include "volume/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct job {
    struct work work;
    struct stack *stack;
    struct job *next; /* stack.jobs, guarded by stack.lock as is all below */
    uint64_t seq;
    bool stale;
    struct blobref *ref;
    struct sqy_box box;
    bool big_endian;
    uint32_t flags;
    uint64_t lo, hi; /* all claims lie within */
    unsigned n_claims;
    struct blob_claim claims[]; /* ascending offsets */
};

static void unlink_job(struct job *job)
{
    struct stack *stack = job->stack;
    struct job **at = &stack->jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    stack->n_jobs--;
    atomic_fetch_sub(&stack->volume->jobs_in_flight, 1);
    pthread_cond_broadcast(&stack->changed);
}

static int gather(struct job *job, uint8_t *plain)
{
    for (unsigned i = 0; i < job->n_claims; i++) {
        const struct blob_claim *claim = &job->claims[i];
        int r = read_exact(job->stack, plain + claim->src, claim->len, claim->off);
        if (r < 0)
            return r;
    }
    return 0;
}

static bool is_stale(struct job *job)
{
    pthread_mutex_lock(&job->stack->lock);
    bool stale = job->stale;
    pthread_mutex_unlock(&job->stack->lock);
    return stale;
}

struct keep {
    const void *plain;
};

static int keep_fill(void *ctx, void *data, size_t len)
{
    memcpy(data, ((struct keep *)ctx)->plain, len);
    return 0;
}

/* Small byte chunks are metadata more often than not: the layout will want to read them again. */
static void keep_decoded(struct job *job, const struct blob_chunk *chunk, const void *plain)
{
    enum { KEEP_MAX = 256 << 10 };
    size_t len = sqy_box_bytes(&chunk->box);
    if (chunk->box.type != SQY_BYTES || len > KEEP_MAX)
        return;
    struct cache *cache = job->stack->volume->cache;
    struct cache_key key = {job->ref->incarnation, chunk->coded_off};
    struct keep keep = {plain};
    struct cache_entry *entry = NULL;
    if (cache_get(cache, key, len, keep_fill, &keep, &entry) >= 0)
        cache_put(cache, &entry);
}

/* The chunk is in the file: enters it into the table, unless it is stale by now. Lock held, dropped
 * while a table page is loaded. */
static int commit(struct job *job, const struct blob_chunk *chunk)
{
    struct stack *stack = job->stack;
    int r = -ESTALE;
    while (!job->stale) {
        r = blob_commit(job->ref->blob, chunk, job->claims, job->n_claims);
        if (r != -EAGAIN)
            break;
        pthread_mutex_unlock(&stack->lock);
        r = blob_prepare(job->ref->blob, job->lo, job->hi - job->lo);
        pthread_mutex_lock(&stack->lock);
        if (r < 0)
            return r;
        r = -ESTALE;
    }
    if (r < 0)
        return r;
    if (!journal_commit(stack, job->ref->blob, chunk, job->claims, job->n_claims)) {
        stack->log_full = true; /* after a checkpoint they are stored once more */
        return 0;
    }
    for (unsigned i = 0; i < job->n_claims; i++) {
        /* Out of memory for splitting a run: the same. */
        overlay_clear(&stack->overlay, job->claims[i].off, job->claims[i].len);
    }
    return 0;
}

static void count(struct job *job, const struct coded *coded)
{
    struct volume_counters *counters = &job->stack->volume->counters;
    atomic_fetch_add(&counters->chunks_encoded, 1);
    atomic_fetch_add(&counters->bytes_encoded, sqy_box_bytes(&job->box));
    atomic_fetch_add(&counters->bytes_coded, coded->chunk.coded_len);
    if (strcmp(coded->pipeline, "pass_through") == 0)
        atomic_fetch_add(&counters->chunks_raw, 1);
    if (job->flags & BLOB_PROVISIONAL && job->box.type == SQY_BYTES)
        atomic_fetch_add(&counters->chunks_provisional, 1);
}

static int encode_and_append(struct job *job, struct coder *coder, struct coded *coded,
                             struct blob_chunk *chunk, uint8_t **plain)
{
    *plain = coder_plain(coder, sqy_box_bytes(&job->box));
    if (*plain == NULL)
        return -ENOMEM;
    int r = gather(job, *plain);
    if (r < 0)
        return r;
    if (is_stale(job))
        return -ESTALE;
    r = coder_encode(coder, job->stack->pipeline, &job->box, job->big_endian, false, *plain, coded);
    if (r < 0)
        return r;
    *chunk = coded->chunk;
    chunk->flags |= job->flags;
    r = blob_pipeline_id(job->ref->blob, coded->pipeline, &chunk->pipeline);
    if (r < 0)
        return r;
    return blob_append(job->ref->blob, coded->wrap, coded->bytes, chunk->coded_len,
                       &chunk->coded_off);
}

static int store(struct job *job, struct coder *coder)
{
    struct coded coded;
    struct blob_chunk chunk;
    uint8_t *plain;
    if (coder == NULL)
        return -ENOMEM;
    if (is_stale(job))
        return -ESTALE;
    int r = encode_and_append(job, coder, &coded, &chunk, &plain);
    if (r < 0)
        return r;
    count(job, &coded);
    keep_decoded(job, &chunk, plain);
    pthread_mutex_lock(&job->stack->lock);
    r = commit(job, &chunk);
    pthread_mutex_unlock(&job->stack->lock);
    return r;
}

static void job_run(struct work *work)
{
    struct job *job = (struct job *)work;
    struct stack *stack = job->stack;
    struct volume *volume = stack->volume;
    struct coder *coder = volume_take_coder(volume);
    int r = store(job, coder);
    volume_give_coder(volume, coder);
    pthread_mutex_lock(&stack->lock);
    if (r < 0)
        stack->n_lost++;
    if (r < 0 && r != -ESTALE) {
        if (stack->job_error == 0 && stack->error == 0)
            log_warn("a chunk could not be stored (%s); its bytes are kept and tried again",
                     strerror(-r));
        stack->job_error = r;
        atomic_fetch_add(&volume->counters.store_errors, 1);
    }
    if (r == -ESTALE)
        atomic_fetch_add(&volume->counters.chunks_lost, 1);
    unlink_job(job);
    pthread_mutex_unlock(&stack->lock);
    spool_wake(volume->spool);
    blobref_put(volume, &job->ref);
    free(job);
    stack_unref(stack);
}

int job_start(struct stack *stack, const struct sqy_box *box, bool big_endian, uint32_t flags,
              const struct blob_claim *claims, unsigned n_claims)
{
    struct job *job = calloc(1, sizeof(*job) + n_claims * sizeof(claims[0]));
    if (job == NULL)
        return -ENOMEM;
    job->work.run = job_run;
    job->stack = stack;
    job->seq = ++stack->last_job;
    job->ref = blobref_get(stack->blob);
    job->box = *box;
    job->big_endian = big_endian;
    job->flags = flags;
    job->lo = claims[0].off;
    job->hi = claims[n_claims - 1].off + claims[n_claims - 1].len;
    job->n_claims = n_claims;
    memcpy(job->claims, claims, n_claims * sizeof(claims[0]));
    job->next = stack->jobs;
    stack->jobs = job;
    stack->n_jobs++;
    atomic_fetch_add(&stack->volume->jobs_in_flight, 1);
    stack_ref(stack);
    workq_push(stack->volume->encoders, &job->work);
    return 0;
}

int job_start_unit(struct stack *stack, const struct layout_unit *unit)
{
    struct blob_claim claims[LAYOUT_MAX_PIECES];
    uint32_t src = 0;
    for (uint32_t i = 0; i < unit->n_pieces; i++) {
        claims[i] = (struct blob_claim){unit->pieces[i].off, unit->pieces[i].len, src};
        src += (uint32_t)unit->pieces[i].len;
    }
    struct sqy_box box = {(enum sqy_type)unit->type, unit->planes, unit->rows, unit->width,
                          unit->spp};
    const uint32_t flags = unit->guessed ? BLOB_PROVISIONAL : 0;
    return job_start(stack, &box, unit->big_endian, flags, claims, unit->n_pieces);
}

bool job_covers(const struct stack *stack, uint64_t off, uint64_t *end)
{
    for (const struct job *job = stack->jobs; job != NULL; job = job->next) {
        if (job->stale || off < job->lo || off >= job->hi)
            continue;
        for (unsigned i = 0; i < job->n_claims; i++) {
            const struct blob_claim *claim = &job->claims[i];
            if (off >= claim->off && off - claim->off < claim->len) {
                *end = claim->off + claim->len;
                return true;
            }
        }
    }
    return false;
}

uint64_t job_next_covered(const struct stack *stack, uint64_t off)
{
    uint64_t next = UINT64_MAX;
    for (const struct job *job = stack->jobs; job != NULL; job = job->next) {
        if (job->stale || job->hi <= off || job->lo >= next)
            continue;
        for (unsigned i = 0; i < job->n_claims; i++) {
            if (job->claims[i].off > off) {
                next = job->claims[i].off < next ? job->claims[i].off : next;
                break;
            }
        }
    }
    return next;
}

static bool job_touches(const struct job *job, uint64_t off, uint64_t end)
{
    if (end <= job->lo || off >= job->hi)
        return false;
    for (unsigned i = 0; i < job->n_claims; i++) {
        const struct blob_claim *claim = &job->claims[i];
        if (off < claim->off + claim->len && end > claim->off)
            return true;
    }
    return false;
}

void job_mark_stale(struct stack *stack, uint64_t off, uint64_t end)
{
    for (struct job *job = stack->jobs; job != NULL; job = job->next)
        if (!job->stale && job_touches(job, off, end))
            job->stale = true;
}

/* The oldest job still in flight; jobs are pushed at the head of the list. */
static uint64_t oldest_job(const struct stack *stack)
{
    uint64_t oldest = UINT64_MAX;
    for (const struct job *job = stack->jobs; job != NULL; job = job->next)
        if (job->seq < oldest)
            oldest = job->seq;
    return oldest;
}

void job_wait(struct stack *stack, uint64_t seq)
{
    while (oldest_job(stack) <= seq)
        pthread_cond_wait(&stack->changed, &stack->lock);
}

void job_wait_room(struct stack *stack)
{
    while (stack->n_jobs >= STACK_MAX_JOBS)
        pthread_cond_wait(&stack->changed, &stack->lock);
}
