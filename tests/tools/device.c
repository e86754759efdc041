/* What a machine's NVIDIA device makes of our streams, beside the CPU:
 *
 *     device make FOLDER     streams to decode, some by whatever encoder=nvenc finds (a stand-in, say)
 *     device check FOLDER    asks the device, encodes and decodes with it, compares, takes times
 *
 * Fails where the device's voxels are not the CPU's. */
#include "codec/nvenc.h"
#include "codec/sqy.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIDE        2048
#define PLANES      8
#define N_BOXES     2 /* decoded by each thread while time is taken */
#define MAX_THREADS 16

struct stream {
    const char *name, *pipeline;
    unsigned bits;
};

static const struct stream streams[] = {
    {"h264-420", "h264(qp=16,encoder=nvenc)", 8},
    {"hevc-420", "hevc(preset=ultrafast,qp=16,encoder=nvenc)", 8},
    {"hevc-420-10", "hevc(preset=ultrafast,qp=16,bits=10,encoder=nvenc)", 10},
    {"h264-gray", "h264(preset=ultrafast,qp=16,threads=8)", 8},
    {"h264-gray-medium", "h264(preset=medium,qp=16,threads=8)", 8},
    {"h264-gray-10", "h264(preset=ultrafast,qp=16,bits=10,threads=8)", 10},
    {"hevc-gray", "hevc(preset=ultrafast,qp=16,threads=8)", 8},
    {"hevc-gray-10", "hevc(preset=ultrafast,qp=16,bits=10,threads=8)", 10},
    {"h264-lossless", "h264", 8},
    {"hevc-lossless", "hevc(preset=ultrafast,lossless=1,threads=8)", 8},
    {"hevc-lossless-10", "hevc(preset=ultrafast,lossless=1,bits=10,threads=8)", 10},
    {"hevc-lossless-12", "hevc(preset=ultrafast,lossless=1,bits=12,threads=8)", 12},
};
#define N_STREAMS (sizeof(streams) / sizeof(streams[0]))

static struct sqy_box box_of(unsigned bits)
{
    return (struct sqy_box){bits > 8 ? SQY_UINT16 : SQY_UINT8, PLANES, SIDE, SIDE, 1};
}

static void fail(const char *what, const char *more)
{
    fprintf(stderr, "device: %s: %s\n", what, more);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void tell(void *arg, const char *line)
{
    printf("%s%s\n", (const char *)arg, line);
}

static struct sqy_ctx *new_ctx(void)
{
    static char indent[] = "    notice: ";
    struct sqy_ctx *ctx;
    if (sqy_ctx_create(&ctx) < 0)
        fail("context", "no memory");
    sqy_ctx_on_notice(ctx, tell, indent);
    return ctx;
}

static struct sqy_pipeline *parse(const char *text)
{
    struct sqy_pipeline *pipeline;
    struct sqy_error error = {.message = ""};
    if (sqy_pipeline_parse(text, &pipeline, &error) < 0)
        fail(text, error.message);
    return pipeline;
}

/* Cells that drift, under noise of a 24th of the range. */
static void *make_voxels(unsigned bits)
{
    const struct sqy_box box = box_of(bits);
    const size_t size = sqy_type_size(box.type), n = sqy_box_bytes(&box) / size;
    const uint32_t most = (1u << bits) - 1;
    uint8_t *out = malloc(n * size);
    uint64_t random = 88172645463325252u;
    for (size_t i = 0; i < n; i++) {
        const uint32_t x = (uint32_t)(i % SIDE), y = (uint32_t)(i / SIDE % SIDE),
                       z = (uint32_t)(i / SIDE / SIDE);
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        const uint32_t cell = ((x + 3 * z) / 16 % 8) * ((y + z) / 16 % 8);
        const uint32_t v =
            most / 8 + cell * (most / 128) + (uint32_t)(random >> 40) % (most / 24 + 2);
        memcpy(out + i * size, &v, size);
    }
    return out;
}

/* ---- files ---- */

struct coded {
    uint8_t *data;
    size_t len;
};

static FILE *open_file(const char *folder, const char *name, const char *mode)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, mode);
    if (!f)
        fail(path, strerror(errno));
    return f;
}

static void save(const char *folder, const char *name, const struct coded *coded)
{
    FILE *f = open_file(folder, name, "wb");
    if (fwrite(coded->data, 1, coded->len, f) != coded->len || fclose(f) != 0)
        fail(name, "not written");
}

static struct coded load(const char *folder, const char *name)
{
    struct coded coded;
    FILE *f = open_file(folder, name, "rb");
    fseek(f, 0, SEEK_END);
    coded.len = (size_t)ftell(f);
    rewind(f);
    coded.data = malloc(coded.len);
    if (!coded.data || fread(coded.data, 1, coded.len, f) != coded.len)
        fail(name, "not read");
    fclose(f);
    return coded;
}

static struct coded encode(struct sqy_ctx *ctx, const char *text, unsigned bits, const void *voxels)
{
    const struct sqy_box box = box_of(bits);
    struct sqy_pipeline *pipeline = parse(text);
    const size_t cap = sqy_encode_bound(pipeline, &box);
    struct coded coded = {.data = malloc(cap)};
    ssize_t len = sqy_encode_lossy(ctx, pipeline, &box, voxels, coded.data, cap);
    if (len < 0)
        fail(text, strerror((int)-len));
    coded.len = (size_t)len;
    sqy_pipeline_free(&pipeline);
    return coded;
}

static void make(const char *folder)
{
    struct sqy_ctx *ctx = new_ctx();
    for (size_t i = 0; i < N_STREAMS; i++) {
        void *voxels = make_voxels(streams[i].bits);
        struct coded coded = encode(ctx, streams[i].pipeline, streams[i].bits, voxels);
        const struct sqy_box box = box_of(streams[i].bits);
        save(folder, streams[i].name, &coded);
        printf("%-18s %9zu bytes, ratio %.2f\n", streams[i].name, coded.len,
               (double)sqy_box_bytes(&box) / (double)coded.len);
        free(coded.data);
        free(voxels);
    }
    sqy_ctx_free(&ctx);
}

/* ---- decoding ---- */

struct job {
    const struct stream *stream;
    const struct coded *coded;
    bool gpu;
    uint8_t *out;
    bool first;     /* of the threads: it alone tells what it is told */
    double seconds; /* a box, when all is open */
    int r;
};

static int decode(struct sqy_ctx *ctx, const struct job *job)
{
    const struct sqy_box box = box_of(job->stream->bits);
    struct sqy_pipeline *pipeline = parse(job->stream->pipeline);
    int r = sqy_decode(ctx, pipeline, &box, job->coded->data, job->coded->len, job->out);
    sqy_pipeline_free(&pipeline);
    return r;
}

static void *run(void *arg)
{
    struct job *job = arg;
    struct sqy_ctx *ctx = new_ctx();
    if (!job->first)
        sqy_ctx_on_notice(ctx, NULL, NULL);
    sqy_ctx_use_gpu(ctx, job->gpu);
    job->r = decode(ctx, job);
    const double begin = now();
    for (unsigned i = 0; i < N_BOXES && job->r == 0; i++)
        job->r = decode(ctx, job);
    job->seconds = (now() - begin) / N_BOXES;
    sqy_ctx_free(&ctx);
    return NULL;
}

/* GB/s of all threads together; their last boxes are in `out`. */
static double decode_by(const struct stream *stream, const struct coded *coded, bool gpu,
                        unsigned n_threads, uint8_t *out[MAX_THREADS])
{
    struct job jobs[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    const struct sqy_box box = box_of(stream->bits);
    double sum = 0;
    for (unsigned i = 0; i < n_threads; i++) {
        jobs[i] =
            (struct job){.stream = stream, .coded = coded, .gpu = gpu, .first = !i, .out = out[i]};
        pthread_create(&threads[i], NULL, run, &jobs[i]);
    }
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        if (jobs[i].r < 0)
            fail(stream->name, strerror(-jobs[i].r));
        sum += (double)sqy_box_bytes(&box) / jobs[i].seconds * 1e-9;
    }
    return sum;
}

static int check_stream(const char *folder, const struct stream *stream)
{
    static const unsigned counts[] = {1, 8};
    const struct sqy_box box = box_of(stream->bits);
    const size_t len = sqy_box_bytes(&box);
    struct coded coded = load(folder, stream->name);
    uint8_t *cpu[MAX_THREADS], *gpu[MAX_THREADS];
    int bad = 0;
    for (unsigned i = 0; i < MAX_THREADS; i++) {
        cpu[i] = malloc(len);
        gpu[i] = malloc(len);
    }
    printf("%s, ratio %.2f\n", stream->name, (double)len / (double)coded.len);
    for (unsigned c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        const double by_cpu = decode_by(stream, &coded, false, counts[c], cpu);
        const double by_gpu = decode_by(stream, &coded, true, counts[c], gpu);
        for (unsigned i = 0; i < counts[c]; i++)
            bad += memcmp(cpu[i], gpu[i], len) != 0;
        printf("    %2u threads: CPU %.3f GB/s, with the GPU %.3f GB/s%s\n", counts[c], by_cpu,
               by_gpu, bad ? ", NOT THE SAME" : ", the same voxels");
    }
    for (unsigned i = 0; i < MAX_THREADS; i++) {
        free(cpu[i]);
        free(gpu[i]);
    }
    free(coded.data);
    return bad;
}

/* Whatever the device says, what is encoded is whole. */
static int check_encoding(const char *text, unsigned bits)
{
    const struct sqy_box box = box_of(bits);
    const struct stream stream = {"encoded", text, bits};
    struct sqy_ctx *ctx = new_ctx();
    uint8_t *voxels = make_voxels(bits), *decoded = malloc(sqy_box_bytes(&box));
    double times[2];
    struct coded coded = {.data = NULL};
    for (unsigned i = 0; i < 2; i++) {
        const double begin = now();
        free(coded.data);
        coded = encode(ctx, text, bits, voxels);
        times[i] = now() - begin;
    }
    const struct job job = {.stream = &stream, .coded = &coded, .out = decoded};
    int r = decode(ctx, &job);
    const bool bad = r < 0 || memcmp(voxels, decoded, sqy_box_bytes(&box)) != 0;
    printf("%s: boxes of %.2f and %.2f s, %s\n", text, times[0], times[1],
           bad ? "NOT EXACT" : "exact");
    sqy_ctx_free(&ctx);
    free(coded.data);
    free(decoded);
    free(voxels);
    return bad;
}

static int check(const char *folder)
{
    static char none[] = "";
    char why[VIDEO_WHY_MAX];
    int bad = 0;
    printf("== encoding\n");
    nvenc_describe(tell, none);
    bad += check_encoding("h264(encoder=nvenc)", 8);
    bad += check_encoding("hevc(encoder=nvenc,bits=10)", 10);
    printf("== decoding: %s\n", nvenc_find_decoder(why) < 0 ? why : "the driver has a decoder");
    for (size_t i = 0; i < N_STREAMS; i++)
        bad += check_stream(folder, &streams[i]);
    printf(bad ? "%d boxes differ\n" : "all boxes are the same\n", bad);
    return bad != 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 3 && strcmp(argv[1], "make") == 0) {
        make(argv[2]);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check(argv[2]);
    fprintf(stderr, "usage: device make|check FOLDER\n");
    return 2;
}
