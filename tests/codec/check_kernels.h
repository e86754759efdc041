/* The kernel check: a row for each kernel and what it is to do, and a row for each to be timed. */
#ifndef SQYFS_TESTS_CODEC_CHECK_KERNELS_H
#define SQYFS_TESTS_CODEC_CHECK_KERNELS_H

#include "codec/kernels.h"

/* Fails the test that it runs in where the version `k` is not what the scalar one is, or where that
 * is not what the definition says. */
struct kernel_check {
    const char *name; /* NULL ends a table */
    void (*check)(const struct kernels *k);
};

#define TIMED_BYTES 16384u /* of samples: with what becomes of them they stay in the first cache */

struct timed_memory {
    uint8_t in[TIMED_BYTES + 512], out[2 * TIMED_BYTES + 1024];
    uint16_t numbers[TIMED_BYTES / 2 + 512]; /* as residuals are: mostly small */
    uint32_t sum[TIMED_BYTES / 2 / BLOCK];
};

/* What works once on TIMED_BYTES of samples. */
struct kernel_timed {
    const char *name; /* NULL ends a table */
    void (*run)(const struct kernels *k, struct timed_memory *m);
};

extern const struct kernel_check check_kernels_bytes[], check_kernels_residual[],
    check_kernels_turns[], check_kernels_noise[];
extern const struct kernel_timed time_kernels_bytes[], time_kernels_residual[],
    time_kernels_turns[], time_kernels_noise[];

#endif
