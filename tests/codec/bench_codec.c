/* Speed and ratio of every pipeline on chunks of a stack as an sCMOS camera makes it: MB of voxels
 * per second of one thread's CPU time, the median of several rounds.
 *
 *   bench_codec [RAW_FILE_OF_UINT16] [PIPELINE]... */
#include "test.h"

#include "codec/kernels.h"
#include "util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK_BYTES (1u << 20)
#define N_CHUNKS    16
#define N_ROUNDS    9

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double normal(uint64_t *seed)
{
    double u = ((double)(util_random(seed) >> 11) + 1) * 0x1p-53;
    double v = (double)(util_random(seed) >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(2 * 3.14159265358979 * v);
}

/* Offset 100, gain 0.46 e-/count, read noise 1.4 e-, shot noise, blurred blobs over a background.
 */
static void camera(uint16_t *out, size_t n, size_t width)
{
    uint64_t seed = 42;
    for (size_t i = 0; i < n; i++) {
        double x = (double)(i % width), y = (double)(i / width);
        double blob = fmax(0, sin(x / 61) * sin(y / 47) * sin((x + y) / 211));
        double electrons = 4 + 300 * blob * blob * blob;
        double e = electrons + normal(&seed) * sqrt(electrons + 1.4 * 1.4);
        out[i] = (uint16_t)fmin(65535, fmax(0, 100 + e / 0.46 + 0.5));
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof(*v), by_value);
    return v[n / 2];
}

struct run {
    struct sqy_ctx *ctx;
    struct sqy_pipeline *pipeline;
    struct sqy_box box;
    const uint8_t *voxels;
    uint8_t *coded, *decoded;
    size_t bound, coded_len[N_CHUNKS];
};

static double encode_all(struct run *r)
{
    double start = cpu_seconds();
    for (size_t i = 0; i < N_CHUNKS; i++) {
        ssize_t got = sqy_encode(r->ctx, r->pipeline, &r->box, r->voxels + i * CHUNK_BYTES,
                                 r->coded + i * r->bound, r->bound);
        r->coded_len[i] = got > 0 ? (size_t)got : 0;
    }
    return cpu_seconds() - start;
}

static double decode_all(struct run *r)
{
    double start = cpu_seconds();
    for (size_t i = 0; i < N_CHUNKS; i++) {
        if (sqy_decode(r->ctx, r->pipeline, &r->box, r->coded + i * r->bound, r->coded_len[i],
                       r->decoded + i * CHUNK_BYTES) < 0)
            abort();
    }
    return cpu_seconds() - start;
}

static void bench(const char *text, const uint16_t *voxels)
{
    double enc[N_ROUNDS], dec[N_ROUNDS];
    const double megabytes = (double)CHUNK_BYTES * N_CHUNKS / 1e6;
    struct run r = {
        .ctx = util_ctx(), .pipeline = util_pipeline(text), .voxels = (const void *)voxels};
    r.box = (struct sqy_box){SQY_UINT16, 1, 1, CHUNK_BYTES / 2, 1};
    r.bound = sqy_encode_bound(r.pipeline, &r.box);
    r.coded = calloc(N_CHUNKS, r.bound);
    r.decoded = calloc(N_CHUNKS, CHUNK_BYTES);
    encode_all(&r);
    decode_all(&r);
    for (size_t i = 0; i < N_ROUNDS; i++) {
        enc[i] = encode_all(&r);
        dec[i] = decode_all(&r);
    }
    size_t total = 0;
    for (size_t i = 0; i < N_CHUNKS; i++)
        total += r.coded_len[i];
    printf("%-34s ratio %5.2f   encode %6.0f MB/s   decode %6.0f MB/s%s\n", text,
           (double)CHUNK_BYTES * N_CHUNKS / (double)total, megabytes / median(enc, N_ROUNDS),
           megabytes / median(dec, N_ROUNDS),
           memcmp(r.decoded, voxels, CHUNK_BYTES * N_CHUNKS) ? "   WRONG" : "");
    free(r.coded);
    free(r.decoded);
    sqy_pipeline_free(&r.pipeline);
    sqy_ctx_free(&r.ctx);
}

int main(int argc, char **argv)
{
    static const char *const all[] = {
        "pass_through",
        "shuffle",
        "bitshuffle",
        "bitswap1",
        "lz4",
        "bitshuffle->lz4",
        "bitswap1->lz4",
        "zstd",
        "shuffle->zstd",
        "bitshuffle->zstd",
        "bitshuffle->zstd(level=3)",
    };
    uint16_t *voxels = calloc(N_CHUNKS, CHUNK_BYTES);
    int first = 1;
    if (argc > 1 && util_exists(argv[1])) {
        struct bytes file = util_read(argv[1]);
        for (size_t i = 0; i < (size_t)N_CHUNKS * CHUNK_BYTES; i += file.len)
            memcpy((uint8_t *)voxels + i, file.data,
                   file.len < N_CHUNKS * CHUNK_BYTES - i ? file.len : N_CHUNKS * CHUNK_BYTES - i);
        free(file.data);
        first = 2;
    } else {
        camera(voxels, (size_t)N_CHUNKS * CHUNK_BYTES / 2, 2048);
    }
    printf("kernels: %s\n", kernels_best()->name);
    for (int i = first; i < argc; i++)
        bench(argv[i], voxels);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && first == argc; i++)
        bench(all[i], voxels);
    free(voxels);
    return 0;
}
