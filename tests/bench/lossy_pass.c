#include "lossy_pass.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_THREADS   256
#define FAIR_PER_CORE 8 /* boxes for each thread, from which on it does not matter who is last */

struct job {
    const struct peer_image *image;
    uint8_t *coded, *decoded;
    size_t cap, len;
    struct sqy_pipeline *used; /* decodes it, where it is not the pass's own */
};

struct run {
    struct lossy_pass *pass;
    struct job *jobs;
    size_t n_jobs;
    atomic_size_t next[2]; /* to be encoded, to be decoded */
    atomic_int error;      /* the first */
    atomic_flag noticed;
    pthread_barrier_t gate;
};

struct sqy_box lossy_box(const struct peer_image *image)
{
    return (struct sqy_box){SQY_UINT16, image->planes, image->rows, image->width, 1};
}

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- jobs ---- */

static int encode(struct run *run, struct sqy_ctx *ctx, struct job *job)
{
    const struct sqy_pipeline *pipeline = run->pass->pipeline;
    struct sqy_box box = lossy_box(job->image);
    bool whole = sqy_pipeline_needs_volume(pipeline);
    sqy_pipeline_free(&job->used);
    ssize_t len =
        whole ? sqy_encode_volume(ctx, pipeline, &box, job->image->voxels, job->coded, job->cap,
                                  &job->used)
              : sqy_encode_lossy(ctx, pipeline, &box, job->image->voxels, job->coded, job->cap);
    job->len = len > 0 ? (size_t)len : 0;
    return len < 0 ? (int)len : 0;
}

static int decode(struct run *run, struct sqy_ctx *ctx, struct job *job)
{
    struct sqy_box box = lossy_box(job->image);
    const struct sqy_pipeline *used = job->used != NULL ? job->used : run->pass->pipeline;
    return sqy_decode(ctx, used, &box, job->coded, job->len, job->decoded);
}

typedef int work_fn(struct run *run, struct sqy_ctx *ctx, struct job *job);

static void work(struct run *run, struct sqy_ctx *ctx, work_fn *fn, atomic_size_t *next)
{
    int none = 0;
    for (size_t i; run->error == 0 && (i = atomic_fetch_add(next, 1)) < run->n_jobs;) {
        int r = fn(run, ctx, &run->jobs[i]);
        if (r < 0)
            atomic_compare_exchange_strong(&run->error, &none, r);
    }
}

/* Uses the thread's own last jobs, which are coded again later. */
static void warm_up(struct run *run, struct sqy_ctx *ctx, size_t thread)
{
    struct job *job = &run->jobs[thread % run->n_jobs];
    int r = encode(run, ctx, job);
    if (r == 0)
        decode(run, ctx, job);
}

struct stamp { /* seconds */
    double wall, cpu;
};

struct worker {
    struct run *run;
    size_t index;
    pthread_t thread;
    struct stamp begin[2], end[2]; /* of encoding, of decoding */
};

static struct stamp stamp_now(void)
{
    return (struct stamp){now(CLOCK_MONOTONIC), now(CLOCK_PROCESS_CPUTIME_ID)};
}

static void take_notice(void *arg, const char *line)
{
    struct run *run = arg;
    if (!atomic_flag_test_and_set(&run->noticed))
        snprintf(run->pass->notice, sizeof(run->pass->notice), "%s", line);
}

static void *worker_thread(void *opaque)
{
    static work_fn *const phases[2] = {encode, decode};
    struct worker *worker = opaque;
    struct run *run = worker->run;
    struct sqy_ctx *ctx = NULL;
    int none = 0, r = sqy_ctx_create(&ctx);
    if (r < 0)
        atomic_compare_exchange_strong(&run->error, &none, r);
    else
        sqy_ctx_on_notice(ctx, take_notice, run);
    if (r == 0 && run->pass->warm && worker->index < run->n_jobs)
        warm_up(run, ctx, worker->index);
    for (int i = 0; i < 2; i++) {
        pthread_barrier_wait(&run->gate);
        worker->begin[i] = stamp_now();
        work(run, ctx, phases[i], &run->next[i]);
        worker->end[i] = stamp_now();
    }
    pthread_barrier_wait(&run->gate);
    sqy_ctx_free(&ctx);
    return NULL;
}

/* From the first thread's begin to the last one's end. */
static struct stamp span(const struct worker *workers, unsigned n, int phase)
{
    struct stamp begin = workers[0].begin[phase], end = workers[0].end[phase];
    for (unsigned i = 1; i < n; i++) {
        const struct stamp *b = &workers[i].begin[phase], *e = &workers[i].end[phase];
        begin = (struct stamp){fmin(begin.wall, b->wall), fmin(begin.cpu, b->cpu)};
        end = (struct stamp){fmax(end.wall, e->wall), fmax(end.cpu, e->cpu)};
    }
    return (struct stamp){end.wall - begin.wall, end.cpu - begin.cpu};
}

/* ---- a pass ---- */

static int grow(uint8_t **memory, size_t *cap, size_t len)
{
    if (len <= *cap)
        return 0;
    free(*memory);
    *cap = 0;
    *memory = malloc(len);
    if (*memory == NULL)
        return -ENOMEM;
    memset(*memory, 1, len); /* what is measured shall meet no new page */
    *cap = len;
    return 0;
}

static unsigned common(unsigned a, unsigned b)
{
    return b == 0 ? a : common(b, a % b);
}

static unsigned repeats_of(const struct images *boxes, unsigned threads)
{
    unsigned n = (unsigned)boxes->n;
    return n >= FAIR_PER_CORE * threads ? 1 : threads / common(n, threads);
}

static int lay_out(struct run *run, struct lossy_room *room)
{
    struct lossy_pass *pass = run->pass;
    size_t coded = 0, decoded = 0;
    for (size_t i = 0; i < run->n_jobs; i++) {
        struct job *job = &run->jobs[i];
        job->image = &pass->boxes->list[i % pass->boxes->n];
        struct sqy_box box = lossy_box(job->image);
        job->cap = sqy_encode_bound(pass->pipeline, &box);
        if (job->cap == 0)
            return -ENOTSUP;
        coded += job->cap;
        decoded += job->image->bytes;
    }
    int r = grow(&room->coded, &room->coded_cap, coded);
    if (r == 0)
        r = grow(&room->decoded, &room->decoded_cap, decoded);
    coded = decoded = 0;
    for (size_t i = 0; i < run->n_jobs && r == 0; i++) {
        run->jobs[i].coded = room->coded + coded;
        run->jobs[i].decoded = room->decoded + decoded;
        coded += run->jobs[i].cap;
        decoded += run->jobs[i].image->bytes;
    }
    return r;
}

/* Threads are all started or the process is of no use: the gate waits for all of them. */
static void run_threads(struct run *run, unsigned n)
{
    struct lossy_pass *pass = run->pass;
    struct worker workers[MAX_THREADS];
    pthread_barrier_init(&run->gate, NULL, n);
    for (unsigned i = 0; i < n; i++) {
        workers[i] = (struct worker){.run = run, .index = i};
        if (pthread_create(&workers[i].thread, NULL, worker_thread, &workers[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_barrier_destroy(&run->gate);
    struct stamp encoded = span(workers, n, 0), decoded = span(workers, n, 1);
    pass->encode_wall = encoded.wall;
    pass->encode_cpu = encoded.cpu;
    pass->decode_wall = decoded.wall;
    pass->decode_cpu = decoded.cpu;
}

/* What an encoder has learned is stored as text. */
static uint64_t coded_bytes(const struct run *run)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < run->pass->boxes->n; i++) {
        const struct job *job = &run->jobs[i];
        bytes += job->len + (job->used != NULL ? strlen(sqy_pipeline_text(job->used)) : 0);
    }
    return bytes;
}

int lossy_pass_run(struct lossy_pass *pass, struct lossy_room *room)
{
    unsigned threads = pass->threads < MAX_THREADS ? pass->threads : MAX_THREADS;
    struct run run = {.pass = pass, .noticed = ATOMIC_FLAG_INIT};
    pass->repeats = repeats_of(pass->boxes, threads);
    run.n_jobs = pass->boxes->n * pass->repeats;
    run.jobs = calloc(run.n_jobs, sizeof(*run.jobs));
    pass->error = run.jobs != NULL ? lay_out(&run, room) : -ENOMEM;
    if (pass->error == 0) {
        run_threads(&run, threads);
        pass->error = run.error;
    }
    if (pass->error == 0)
        pass->coded = coded_bytes(&run);
    for (size_t i = 0; i < run.n_jobs && run.jobs != NULL; i++)
        sqy_pipeline_free(&run.jobs[i].used);
    free(run.jobs);
    return pass->error;
}

void lossy_room_free(struct lossy_room *room)
{
    free(room->coded);
    free(room->decoded);
    *room = (struct lossy_room){.coded = NULL};
}
