#include "ctl/bench_run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/progress.h"

struct run {
    const struct bench_running *running;
    struct sqy_ctx *ctx;
    uint8_t *coded, *decoded;
    size_t coded_cap;
    struct progress progress;
};

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- rounds ---- */

static int code_chunk(struct run *run, struct bench_lane *lane, const struct bench_chunk *chunk)
{
    double start = cpu_seconds();
    ssize_t len = sqy_encode(run->ctx, lane->pipeline, &chunk->box, chunk->voxels, run->coded,
                             run->coded_cap);
    double encoded = cpu_seconds();
    if (len < 0)
        return (int)len;
    int r =
        sqy_decode(run->ctx, lane->pipeline, &chunk->box, run->coded, (size_t)len, run->decoded);
    double decoded = cpu_seconds();
    if (r < 0 || memcmp(run->decoded, chunk->voxels, chunk->len) != 0)
        lane->exact = false;
    lane->encode_seconds[lane->n_rounds] += encoded - start;
    lane->decode_seconds[lane->n_rounds] += decoded - encoded;
    lane->coded_bytes += (size_t)len < chunk->len ? (size_t)len : chunk->len;
    return 0;
}

static int run_round(struct run *run, struct bench_lane *lane)
{
    const struct bench_sample *sample = run->running->sample;
    lane->coded_bytes = 0;
    lane->encode_seconds[lane->n_rounds] = lane->decode_seconds[lane->n_rounds] = 0;
    for (size_t i = 0; i < sample->n; i++) {
        if (run->running->stop(run->running->stop_ctx))
            return -ECANCELED;
        lane->error = code_chunk(run, lane, &sample->chunks[i]);
        if (lane->error < 0)
            return 0;
    }
    lane->n_rounds++;
    return 0;
}

/* How much of its measuring a lane has behind it, 0 to 1. */
static double lane_done(const struct bench_lane *lane, double seconds)
{
    if (lane->error < 0 || lane->n_rounds == BENCH_MAX_ROUNDS)
        return 1;
    double spent = 0;
    for (unsigned i = 0; i < lane->n_rounds; i++)
        spent += lane->encode_seconds[i] + lane->decode_seconds[i];
    double of_rounds = (double)lane->n_rounds / BENCH_MIN_ROUNDS;
    double of_time = seconds > 0 ? spent / seconds : 1;
    double done = of_rounds < of_time ? of_rounds : of_time;
    return done < 1 ? done : 1;
}

static void show_progress(struct run *run)
{
    const struct bench_running *running = run->running;
    double done = 0, bytes = (double)running->sample->bytes;
    for (unsigned i = 0; i < running->n_lanes; i++)
        done += lane_done(&running->lanes[i], running->seconds);
    progress_update(&run->progress, (uint64_t)(done * bytes),
                    (uint64_t)((double)running->n_lanes * bytes));
}

/* In turns, so that whatever else the machine does meets all lanes alike. */
static int run_rounds(struct run *run)
{
    const struct bench_running *running = run->running;
    for (bool more = true; more;) {
        more = false;
        for (unsigned i = 0; i < running->n_lanes; i++) {
            struct bench_lane *lane = &running->lanes[i];
            if (lane_done(lane, running->seconds) >= 1)
                continue;
            more = true;
            show_progress(run);
            int r = run_round(run, lane);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* ---- results ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(const double *sorted, unsigned n)
{
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static struct bench_speed speed_of(double *seconds, unsigned n, uint64_t bytes)
{
    double mb = (double)bytes / 1e6;
    qsort(seconds, n, sizeof(*seconds), by_value);
    for (unsigned i = 0; i < n; i++)
        seconds[i] = seconds[i] > 1e-9 ? seconds[i] : 1e-9;
    return (struct bench_speed){mb / middle(seconds, n), mb / seconds[n - 1], mb / seconds[0]};
}

static void judge(struct bench_lane *lane, uint64_t bytes)
{
    if (lane->error < 0)
        return;
    lane->ratio = (double)bytes / (double)lane->coded_bytes;
    lane->encode = speed_of(lane->encode_seconds, lane->n_rounds, bytes);
    lane->decode = speed_of(lane->decode_seconds, lane->n_rounds, bytes);
}

static int prepare(struct run *run)
{
    const struct bench_running *running = run->running;
    size_t longest = 0;
    for (size_t i = 0; i < running->sample->n; i++) {
        const struct bench_chunk *chunk = &running->sample->chunks[i];
        longest = chunk->len > longest ? chunk->len : longest;
        for (unsigned k = 0; k < running->n_lanes; k++) {
            size_t bound = sqy_encode_bound(running->lanes[k].pipeline, &chunk->box);
            run->coded_cap = bound > run->coded_cap ? bound : run->coded_cap;
        }
    }
    run->coded = malloc(run->coded_cap);
    run->decoded = malloc(longest);
    if (run->coded == NULL || run->decoded == NULL)
        return -ENOMEM;
    memset(run->coded, 0, run->coded_cap); /* not in the first lane's time */
    memset(run->decoded, 0, longest);
    return sqy_ctx_create(&run->ctx);
}

int bench_run(const struct bench_running *running)
{
    struct run run = {.running = running};
    for (unsigned i = 0; i < running->n_lanes; i++) {
        running->lanes[i].exact = true;
        running->lanes[i].error = 0;
        running->lanes[i].n_rounds = 0;
    }
    int r = prepare(&run);
    progress_start(&run.progress, "measuring");
    if (r == 0)
        r = run_rounds(&run);
    progress_end(&run.progress);
    for (unsigned i = 0; i < running->n_lanes && r == 0; i++)
        judge(&running->lanes[i], running->sample->bytes);
    sqy_ctx_free(&run.ctx);
    free(run.coded);
    free(run.decoded);
    return r;
}

const struct bench_lane *bench_run_best(const struct bench_lane *lanes, unsigned n, double mb_s)
{
    const struct bench_lane *best = NULL;
    for (unsigned i = 0; i < n; i++) {
        const struct bench_lane *lane = &lanes[i];
        if (lane->error < 0 || !lane->exact)
            continue;
        bool fast = lane->encode.median >= mb_s, best_fast = best && best->encode.median >= mb_s;
        if (best == NULL || (fast && !best_fast) ||
            (fast && best_fast && lane->ratio > best->ratio) ||
            (!fast && !best_fast && lane->encode.median > best->encode.median))
            best = lane;
    }
    return best;
}
