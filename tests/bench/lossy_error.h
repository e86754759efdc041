/* Errors counted a second time, in the plainest way: what receipts are checked against. */
#ifndef SQYFS_BENCH_LOSSY_ERROR_H
#define SQYFS_BENCH_LOSSY_ERROR_H

#include <stdbool.h>

#include "codec/sqy.h"

struct lossy_error {
    size_t voxels, within_sigma;
    long max, peak; /* counts */
    double max_sigma;
    long double sum_squares, sum_sigma_squares;
};

/* Adds those of `n` voxels. `noise` NULL: sigma is 1. */
void lossy_error_add(struct lossy_error *error, const uint16_t *original, const uint16_t *decoded,
                     size_t n, const struct sqy_noise *noise);
/* Whether a receipt says the same, but for rounding. */
bool lossy_error_agrees(const struct lossy_error *error, const struct sqy_receipt *receipt);

#endif
