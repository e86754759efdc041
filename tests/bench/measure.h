/* Peers measured on one volume, in turns, on the calling thread. */
#ifndef SQYFS_BENCH_MEASURE_H
#define SQYFS_BENCH_MEASURE_H

#include "volumes.h"

#define MEASURE_MAX_ROUNDS 25

struct measure_speed { /* MB (10^6) of voxels per CPU second */
    double median, low, high;
};

/* Of so many rounds over `mb` each; sorts them. */
struct measure_speed measure_speed_of(double *seconds, unsigned n, double mb);

struct measure {
    int error;  /* 0, or why it could not encode: nothing else counts then */
    bool exact; /* every round gave back every voxel */
    double ratio;
    unsigned n_rounds;
    struct measure_speed encode, decode;
};

struct measure_options {
    unsigned rounds; /* at most; 1 .. MEASURE_MAX_ROUNDS */
    double seconds;  /* CPU seconds after which a slow peer gets no third round */
};

/* out[0 .. n_peers). 0 or a negative errno. */
int measure_volume(const struct volume *volume, const struct peer *const *peers, unsigned n_peers,
                   const struct measure_options *options, struct measure *out);

#endif
