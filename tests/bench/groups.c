/* Planes from a raw file through one pipeline into another file, a group at a time: what stands beside an
 * encoder's own tool, which does the same as a process.
 *
 *   groups --size WIDTHxHEIGHT [--type TYPE] [--group N] [--threads N] -p PIPELINE IN OUT
 *
 * Nothing but coded bytes is written, in the order of the planes. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/sqy.h"

#define MAX_THREADS 256

static const char usage[] =
    "usage: groups --size WIDTHxHEIGHT [--type TYPE] [--group N] [--threads N] -p PIPELINE IN OUT\n"
    "  --type TYPE   of the samples (uint16)\n"
    "  --group N     planes coded at a time (what suits the pipeline, or 1)\n"
    "  --threads N   groups coded at the same time, 1 to 256 (1)\n";

struct job {
    struct sqy_pipeline *pipeline;
    struct sqy_box box; /* a group; the last one may have fewer planes */
    unsigned threads;
    void *in; /* mapped */
    size_t in_len;
    int out;
    size_t plane, n_planes, n_groups;
    atomic_size_t next;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t moved;
    size_t written; /* groups */
    int error;      /* the first; the rest is left out then */
};

/* Of a thread; nothing is allocated for a group. */
struct room {
    struct sqy_ctx *ctx;
    void *coded;
    size_t cap;
};

static ssize_t encode(struct job *job, struct room *room, const struct sqy_box *box,
                      const void *voxels)
{
    struct sqy_pipeline *used = NULL;
    if (!sqy_pipeline_needs_volume(job->pipeline))
        return sqy_encode_lossy(room->ctx, job->pipeline, box, voxels, room->coded, room->cap);
    ssize_t len =
        sqy_encode_volume(room->ctx, job->pipeline, box, voxels, room->coded, room->cap, &used);
    sqy_pipeline_free(&used);
    return len;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Coded bytes, or a negative errno. */
static ssize_t code_group(struct job *job, struct room *room, size_t index)
{
    struct sqy_box box = job->box;
    size_t first = index * box.planes;
    if (job->n_planes - first < box.planes)
        box.planes = (uint32_t)(job->n_planes - first);
    return encode(job, room, &box, (const char *)job->in + first * job->plane);
}

/* Waits for those before it. */
static void put_group(struct job *job, size_t index, const void *coded, ssize_t len)
{
    pthread_mutex_lock(&job->lock);
    while (job->written < index)
        pthread_cond_wait(&job->moved, &job->lock);
    bool good = job->error == 0 && len > 0;
    pthread_mutex_unlock(&job->lock);
    int r = good ? write_all(job->out, coded, (size_t)len) : (int)(len < 0 ? len : 0);
    pthread_mutex_lock(&job->lock);
    if (job->error == 0)
        job->error = r;
    job->written++;
    pthread_cond_broadcast(&job->moved);
    pthread_mutex_unlock(&job->lock);
}

static void *worker(void *opaque)
{
    struct job *job = opaque;
    struct room room = {.cap = sqy_encode_bound(job->pipeline, &job->box)};
    room.coded = malloc(room.cap);
    int r = room.coded == NULL ? -ENOMEM : sqy_ctx_create(&room.ctx);
    for (size_t i; (i = atomic_fetch_add(&job->next, 1)) < job->n_groups;)
        put_group(job, i, room.coded, r < 0 ? r : code_group(job, &room, i));
    sqy_ctx_free(&room.ctx);
    free(room.coded);
    return NULL;
}

static void code_all(struct job *job)
{
    pthread_t threads[MAX_THREADS];
    unsigned n = 0;
    while (n < job->threads - 1 && pthread_create(&threads[n], NULL, worker, job) == 0)
        n++;
    worker(job);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static int map_in(struct job *job, const char *path)
{
    struct stat st;
    int r = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        r = -errno;
    if (r == 0) {
        job->in_len = (size_t)st.st_size;
        job->n_planes = job->in_len / job->plane;
        job->in = mmap(NULL, job->in_len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        r = job->in == MAP_FAILED ? -errno : 0;
    }
    if (fd >= 0)
        close(fd);
    return r;
}

static int open_files(struct job *job, const char *in, const char *out)
{
    int r = map_in(job, in);
    if (r < 0)
        return r;
    job->out = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return job->out < 0 ? -errno : 0;
}

static int run(struct job *job, const char *in, const char *out)
{
    struct sqy_box plane = job->box;
    plane.planes = 1;
    job->plane = sqy_box_bytes(&plane);
    if (job->plane == 0)
        return -EINVAL;
    if (job->box.planes == 0)
        job->box.planes = sqy_pipeline_group(job->pipeline);
    if (job->box.planes == 0)
        job->box.planes = 1;
    int r = open_files(job, in, out);
    if (r == 0) {
        job->n_groups = (job->n_planes + job->box.planes - 1) / job->box.planes;
        code_all(job);
        r = job->error;
    }
    if (job->in != MAP_FAILED)
        munmap(job->in, job->in_len);
    if (job->out >= 0 && close(job->out) < 0 && r == 0)
        r = -errno;
    return r;
}

static bool take_pipeline(struct job *job, const char *text)
{
    struct sqy_error error = {.position = 0};
    sqy_pipeline_free(&job->pipeline);
    if (sqy_pipeline_parse(text, &job->pipeline, &error) == 0)
        return true;
    fprintf(stderr, "groups: %s: %s\n", text, error.message);
    return false;
}

static bool take_option(struct job *job, int c)
{
    char end;
    switch (c) {
    case 's':
        return sscanf(optarg, "%ux%u%c", &job->box.width, &job->box.rows, &end) == 2;
    case 'y':
        return sqy_type_parse(optarg, strlen(optarg), &job->box.type) == 0;
    case 'g':
        return sscanf(optarg, "%u%c", &job->box.planes, &end) == 1 && job->box.planes > 0;
    case 't':
        return sscanf(optarg, "%u%c", &job->threads, &end) == 1 && job->threads >= 1 &&
               job->threads <= MAX_THREADS;
    case 'p':
        return take_pipeline(job, optarg);
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"size", required_argument, NULL, 's'},
        {"type", required_argument, NULL, 'y'},
        {"group", required_argument, NULL, 'g'},
        {"threads", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    struct job job = {.box = {.type = SQY_UINT16, .spp = 1},
                      .threads = 1,
                      .in = MAP_FAILED,
                      .out = -1,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .moved = PTHREAD_COND_INITIALIZER};
    int c;
    bool good = true;
    while (good && (c = getopt_long(argc, argv, "p:", longs, NULL)) != -1)
        good = take_option(&job, c);
    if (!good || optind + 2 != argc || job.pipeline == NULL || job.box.width == 0) {
        sqy_pipeline_free(&job.pipeline);
        fputs(usage, stderr);
        return 2;
    }
    int r = run(&job, argv[optind], argv[optind + 1]);
    if (r < 0)
        fprintf(stderr, "groups: %s: %s\n", argv[optind], strerror(-r));
    sqy_pipeline_free(&job.pipeline);
    return r < 0;
}
