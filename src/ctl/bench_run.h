/* Pipelines measured on a sample, in turns, on the calling thread. */
#ifndef SQYFS_CTL_BENCH_RUN_H
#define SQYFS_CTL_BENCH_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/sqy.h"
#include "ctl/bench_sample.h"

#define BENCH_MIN_ROUNDS 3 /* with fewer there is no median */
#define BENCH_MAX_ROUNDS 99

struct bench_speed { /* megabytes (10^6) of voxels per CPU second, over the rounds */
    double median, low, high;
};

struct bench_lane {
    const struct sqy_pipeline *pipeline; /* given */
    /* results */
    int error;            /* 0, or why it could not encode: nothing else counts then */
    bool exact;           /* every chunk came back as it was, in every round */
    uint64_t coded_bytes; /* of one round; a chunk that does not shrink counts as stored */
    double ratio;
    unsigned n_rounds;
    struct bench_speed encode, decode;
    double encode_seconds[BENCH_MAX_ROUNDS], decode_seconds[BENCH_MAX_ROUNDS];
};

struct bench_running {
    const struct bench_sample *sample; /* not empty */
    struct bench_lane *lanes;
    unsigned n_lanes;
    double seconds;          /* CPU seconds for each lane, beyond the rounds that must be */
    bool (*stop)(void *ctx); /* whether to give up, with -ECANCELED */
    void *stop_ctx;
};

/* 0 or a negative errno: out of memory, or stopped. */
int bench_run(const struct bench_running *running);

/* The lane to recommend: of those that are exact and encode at `mb_s` or more the one with the best
 * ratio, else the fastest. NULL where none is exact. */
const struct bench_lane *bench_run_best(const struct bench_lane *lanes, unsigned n, double mb_s);

#endif
