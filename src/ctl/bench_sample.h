/* The chunks on which pipelines are measured: those that a mount would cut files into, or, where
 * these are too many for the memory, some of them, taken evenly. */
#ifndef SQYFS_CTL_BENCH_SAMPLE_H
#define SQYFS_CTL_BENCH_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/sqy.h"
#include "image/layout.h"

struct bench_chunk {
    struct sqy_box box;
    uint8_t *voxels; /* little-endian, owned by the sample */
    size_t len;
};

struct bench_sample {
    struct bench_chunk *chunks;
    size_t n, cap;
    uint64_t bytes;         /* of the chunks */
    uint64_t voxel_bytes;   /* of all voxels in all files */
    uint64_t plain_bytes;   /* of all files */
    uint64_t n_units;       /* chunks that a mount would cut */
    uint64_t longest_bytes; /* the longest of them */
    enum sqy_type type;     /* of the first chunk */
    bool mixed;             /* others have other types */
};

struct bench_sampling {
    char **paths;
    unsigned n_paths;
    const struct raw_policy *raw; /* or NULL; for all files */
    uint32_t chunk;               /* target bytes; 0: default */
    uint64_t limit;               /* bytes of voxels to take at most; one chunk is always taken */
    bool (*stop)(void *ctx);      /* whether to give up, with -ECANCELED */
    void *stop_ctx;
};

/* 0 or a negative errno, *path is then the file it is about. No file may have voxels: n is 0. */
int bench_sample_take(const struct bench_sampling *sampling, struct bench_sample *out,
                      const char **path);
void bench_sample_free(struct bench_sample *sample);

#endif
