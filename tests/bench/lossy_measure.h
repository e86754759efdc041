/* Pipelines that may lose something, measured on one volume: in turns, each on a single thread and on all
 * cores. */
#ifndef SQYFS_BENCH_LOSSY_MEASURE_H
#define SQYFS_BENCH_LOSSY_MEASURE_H

#include "codec/sqy.h"
#include "lossy_error.h"
#include "lossy_rows.h"
#include "measure.h"

struct lossy_measure {
    char skipped[SQY_NOTICE_MAX]; /* why it was not measured; "": it was */
    uint64_t coded;               /* bytes, with those of what the encoder learned */
    double ratio;
    unsigned n_rounds;
    struct measure_speed encode, decode;         /* MB of voxels per CPU second, one thread */
    struct measure_speed encode_all, decode_all; /* MB of voxels per second, all threads */
    struct sqy_receipt receipt;
    double capped; /* rms in sigma, of errors none of which counts for more than LOSSY_CAP sigma */
    bool agrees;   /* the receipt, with errors counted anew */
};

struct lossy_options {
    unsigned rounds; /* at most; 1 .. MEASURE_MAX_ROUNDS */
    double seconds;  /* CPU seconds after which a slow pipeline gets no second round */
    unsigned threads;
};

/* The model of a whole volume. 0, or as sqy_noise_fit_end(). */
int lossy_noise_of(const struct volume *volume, struct sqy_noise *out);

/* out[0 .. rows->n). `noise` NULL: sigma is a count, and what wants a model is skipped. 0 or a negative errno. */
int lossy_measure_volume(const struct volume *volume, const struct lossy_rows *rows,
                         const struct sqy_noise *noise, const struct lossy_options *options,
                         struct lossy_measure *out);

#endif
