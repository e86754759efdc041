/* One encode job: some plain bytes of a stack on their way into its blob.
 *
 *   job_start() -> QUEUED -> ENCODING -> APPENDED -- commit() --> the bytes leave the overlay
 *                    |          |           |
 *                    +----------+-----------+-- job_mark_stale(): a write came into its bytes; the
 *                               |           |   result is thrown away, the bytes stay
 *                               +-----------+-- out of memory, disk full: the bytes stay, and
 *                                               stack.job_error (again_error) says why
 *
 * While a job is on its way the bytes stay in the overlay, so they are readable, and a job that comes
 * to nothing has cost nothing but time. From ENCODING on it reads them where they lie, if that is one
 * piece: whoever would write there waits for its end, and they stay even if the overlay loses them.
 * Where two jobs share a byte, they hold the same value of it or one of them is stale, so the order in
 * which they commit does not matter. */
#include "volume/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct job {
    struct work work;
    struct stack *stack;
    struct job *next, **link; /* stack.jobs, guarded by stack.lock as is all below */
    uint64_t seq;
    enum job_why why;
    bool stale;
    bool reads; /* the loan */
    struct overlay_loan loan;
    struct blobref *ref;
    struct sqy_box box;
    bool big_endian;
    uint32_t flags;
    uint64_t lo, hi; /* all claims lie within */
    unsigned n_claims;
    struct blob_claim claims[]; /* ascending offsets */
};

/* The bytes it has of the spool, for which a writer may be waiting. */
static uint64_t spooled_bytes(const struct job *job)
{
    return job->why == JOB_WRITTEN ? sqy_box_bytes(&job->box) : 0;
}

static void unlink_job(struct job *job)
{
    struct stack *stack = job->stack;
    *job->link = job->next;
    if (job->next != NULL)
        job->next->link = job->link;
    if (--stack->n_jobs == 0)
        stack->jobs_end = 0;
    atomic_fetch_sub(&stack->volume->jobs_in_flight, 1);
    atomic_fetch_sub(&stack->volume->leaving, spooled_bytes(job));
    pthread_cond_broadcast(&stack->changed);
}

/* The bytes where they lie in the spool, if they do in one piece; writers keep off them until end_reading(). */
static const uint8_t *begin_reading(struct job *job)
{
    struct stack *stack = job->stack;
    if (job->n_claims > 1)
        return NULL;
    pthread_mutex_lock(&stack->lock);
    job->reads =
        !job->stale && overlay_lend(&stack->overlay, job->lo, job->hi - job->lo, &job->loan);
    stack->n_reading += job->reads;
    pthread_mutex_unlock(&stack->lock);
    return job->reads ? job->loan.bytes : NULL;
}

/* Lock held; unlink_job(), which follows, tells who waits. */
static void end_reading(struct job *job)
{
    struct stack *stack = job->stack;
    if (!job->reads)
        return;
    overlay_return(&stack->overlay, &job->loan);
    job->reads = false;
    stack->n_reading--;
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

/* What cuts anew what is stored already is not done to leave it as it was. */
static enum ladder_rung take_rung(struct job *job)
{
    struct volume *volume = job->stack->volume;
    if (job->why == JOB_AGAIN)
        return LADDER_TARGET;
    uint64_t total = spool_total(volume->spool), used = spool_used(volume->spool);
    uint64_t free = used < total ? total - used : 0; /* seen at two moments */
    enum ladder_rung rung =
        ladder_take(&volume->ladder, spooled_bytes(job), free * SPOOL_BLOCK, total * SPOOL_BLOCK);
    return job->why == JOB_RECUT && rung == LADDER_RAW ? LADDER_FAST : rung;
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
    if (chunk->flags & BLOB_LOWER_RUNG)
        stack->lower_rung = stack->lowered = true;
    if (!journal_commit(stack, job->ref->blob, chunk, job->claims, job->n_claims)) {
        stack->log_full = true; /* after a checkpoint they are stored once more */
        return 0;
    }
    for (unsigned i = 0; i < job->n_claims; i++) {
        /* Where a run cannot be split: the same. */
        overlay_clear(&stack->overlay, job->claims[i].off, job->claims[i].len);
    }
    return 0;
}

static void count(struct job *job, enum ladder_rung rung, const struct coded *coded)
{
    struct volume_counters *counters = &job->stack->volume->counters;
    uint64_t len = sqy_box_bytes(&job->box);
    bool again = job->why == JOB_AGAIN;
    atomic_fetch_add(&counters->chunks_encoded, 1);
    atomic_fetch_add(&counters->bytes_encoded, len);
    atomic_fetch_add(&counters->bytes_coded, coded->chunk.coded_len);
    atomic_fetch_add(again ? &counters->chunks_again : &counters->rung_chunks[rung], 1);
    atomic_fetch_add(again ? &counters->bytes_again : &counters->rung_bytes[rung], len);
    if (strcmp(coded->pipeline, "pass_through") == 0)
        atomic_fetch_add(&counters->chunks_raw, 1);
    if (job->flags & BLOB_PROVISIONAL && job->box.type == SQY_BYTES)
        atomic_fetch_add(&counters->chunks_provisional, 1);
}

/* A chunk from its plain bytes to the blob's file. */
struct passage {
    const uint8_t *plain; /* in the spool, or the coder's */
    enum ladder_rung rung;
    struct coded coded;
    struct blob_chunk chunk;
};

static int take_plain(struct job *job, struct coder *coder, const uint8_t **out)
{
    *out = begin_reading(job);
    if (*out != NULL)
        return 0;
    uint8_t *plain = coder_plain(coder, sqy_box_bytes(&job->box));
    if (plain == NULL)
        return -ENOMEM;
    *out = plain;
    int r = gather(job, plain);
    return r == 0 && is_stale(job) ? -ESTALE : r;
}

static int encode(struct job *job, struct coder *coder, struct passage *passage)
{
    int r = take_plain(job, coder, &passage->plain);
    if (r < 0)
        return r;
    const struct sqy_pipeline *target = job->stack->pipeline;
    const struct sqy_pipeline *used = coder_rung(coder, passage->rung, target, &job->box);
    if (used == target)
        passage->rung = LADDER_TARGET;
    else if (strcmp(sqy_pipeline_text(used), "pass_through") == 0)
        passage->rung = LADDER_RAW;
    r = coder_encode(coder, used, &job->box, job->big_endian, false, passage->plain,
                     &passage->coded);
    if (r < 0)
        return r;
    passage->chunk = passage->coded.chunk;
    passage->chunk.flags |= job->flags;
    if (passage->rung != LADDER_TARGET)
        passage->chunk.flags |= BLOB_LOWER_RUNG;
    return blob_pipeline_id(job->ref->blob, passage->coded.pipeline, &passage->chunk.pipeline);
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int encode_and_append(struct job *job, struct coder *coder, struct passage *passage)
{
    double begun = seconds(CLOCK_THREAD_CPUTIME_ID);
    int r = encode(job, coder, passage);
    if (r < 0)
        return r;
    double encoded = seconds(CLOCK_THREAD_CPUTIME_ID) - begun, appending = seconds(CLOCK_MONOTONIC);
    r = blob_append(job->ref->blob, passage->coded.wrap, passage->coded.bytes,
                    passage->chunk.coded_len, &passage->chunk.coded_off);
    if (r < 0)
        return r;
    const struct ladder_cost cost = {.encode_s = encoded,
                                     .append_s = seconds(CLOCK_MONOTONIC) - appending,
                                     .plain = (double)sqy_box_bytes(&job->box),
                                     .coded = (double)passage->chunk.coded_len};
    ladder_learn(&job->stack->volume->ladder, passage->rung, &cost);
    return 0;
}

static int store(struct job *job, struct coder *coder)
{
    struct passage passage = {.rung = take_rung(job)};
    if (coder == NULL)
        return -ENOMEM;
    if (is_stale(job))
        return -ESTALE;
    int r = encode_and_append(job, coder, &passage);
    if (r < 0)
        return r;
    count(job, passage.rung, &passage.coded);
    keep_decoded(job, &passage.chunk, passage.plain);
    pthread_mutex_lock(&job->stack->lock);
    r = commit(job, &passage.chunk);
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
    end_reading(job);
    if (r < 0)
        stack->n_lost++;
    int *error = job->why == JOB_AGAIN ? &stack->again_error : &stack->job_error;
    if (r < 0 && r != -ESTALE) {
        if (*error == 0 && stack->error == 0)
            log_warn("a chunk could not be stored (%s); its bytes are kept and tried again",
                     strerror(-r));
        *error = r;
        if (job->why != JOB_AGAIN)
            atomic_store(&stack->stuck, true);
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

int job_start(struct stack *stack, enum job_why why, const struct sqy_box *box, bool big_endian,
              uint32_t flags, const struct blob_claim *claims, unsigned n_claims)
{
    struct job *job = calloc(1, sizeof(*job) + n_claims * sizeof(claims[0]));
    if (job == NULL)
        return -ENOMEM;
    job->work.run = job_run;
    job->stack = stack;
    job->why = why;
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
    job->link = &stack->jobs;
    if (job->next != NULL)
        job->next->link = &job->next;
    stack->jobs = job;
    if (job->hi > stack->jobs_end)
        stack->jobs_end = job->hi;
    stack->n_jobs++;
    atomic_fetch_add(&stack->volume->jobs_in_flight, 1);
    atomic_fetch_add(&stack->volume->leaving, spooled_bytes(job));
    stack_ref(stack);
    ladder_wait(&stack->volume->ladder, spooled_bytes(job));
    workq_push(stack->volume->encoders, &job->work);
    return 0;
}

int job_start_unit(struct stack *stack, enum job_why why, const struct layout_unit *unit)
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
    return job_start(stack, why, &box, unit->big_endian, flags, claims, unit->n_pieces);
}

bool job_covers(const struct stack *stack, uint64_t off, uint64_t *end)
{
    if (off >= stack->jobs_end)
        return false;
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

bool job_reads(const struct stack *stack, uint64_t off, uint64_t end)
{
    if (stack->n_reading == 0 || off >= stack->jobs_end)
        return false;
    for (const struct job *job = stack->jobs; job != NULL; job = job->next)
        if (job->reads && job_touches(job, off, end))
            return true;
    return false;
}

void job_mark_stale(struct stack *stack, uint64_t off, uint64_t end)
{
    if (off >= stack->jobs_end)
        return;
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

void job_wait_room(struct stack *stack, unsigned most)
{
    while (stack->n_jobs >= most)
        pthread_cond_wait(&stack->changed, &stack->lock);
}
