/* Errors counted a second time, in the plainest way: what receipts are checked against. */
#ifndef SQYFS_BENCH_LOSSY_ERROR_H
#define SQYFS_BENCH_LOSSY_ERROR_H

#include <stdbool.h>

#include "codec/sqy.h"

#define LOSSY_CAP 3.

struct lossy_error {
    size_t voxels, within_sigma;
    long max, peak; /* counts */
    double max_sigma;
    long double sum_squares, sum_sigma_squares;
    long double
        sum_capped_squares; /* in sigma, none more than LOSSY_CAP: what most voxels are like */
};

/* Adds those of `n` voxels. `noise` NULL: sigma is 1. */
void lossy_error_add(struct lossy_error *error, const uint16_t *original, const uint16_t *decoded,
                     size_t n, const struct sqy_noise *noise);
double lossy_error_capped_rms(const struct lossy_error *error);
/* Whether a receipt says the same, but for rounding. */
bool lossy_error_agrees(const struct lossy_error *error, const struct sqy_receipt *receipt);

#endif
