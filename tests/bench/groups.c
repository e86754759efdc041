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

struct group {
    void *coded; /* owned */
    ssize_t len; /* or a negative errno */
};

struct job {
    struct sqy_pipeline *pipeline;
    struct sqy_box box; /* a group; the last one may have fewer planes */
    unsigned threads;
    void *mapped;
    const uint8_t *in; /* the same */
    size_t in_len, plane, n_planes, n_groups;
    struct group *groups;
    atomic_size_t next;
};

static ssize_t encode(struct job *job, struct sqy_ctx *ctx, const struct sqy_box *box,
                      const void *in, void *out, size_t cap)
{
    struct sqy_pipeline *used = NULL;
    if (!sqy_pipeline_needs_volume(job->pipeline))
        return sqy_encode_lossy(ctx, job->pipeline, box, in, out, cap);
    ssize_t len = sqy_encode_volume(ctx, job->pipeline, box, in, out, cap, &used);
    sqy_pipeline_free(&used);
    return len;
}

/* `room` is the thread's own; what was coded is copied, for it is far smaller. */
static struct group code_group(struct job *job, struct sqy_ctx *ctx, size_t index, void *room,
                               size_t cap)
{
    struct sqy_box box = job->box;
    size_t first = index * box.planes;
    if (job->n_planes - first < box.planes)
        box.planes = (uint32_t)(job->n_planes - first);
    struct group group = {.len = encode(job, ctx, &box, job->in + first * job->plane, room, cap)};
    if (group.len > 0 && (group.coded = malloc((size_t)group.len)) == NULL)
        group.len = -ENOMEM;
    if (group.len > 0)
        memcpy(group.coded, room, (size_t)group.len);
    return group;
}

static void *worker(void *opaque)
{
    struct job *job = opaque;
    size_t cap = sqy_encode_bound(job->pipeline, &job->box);
    void *room = malloc(cap);
    struct sqy_ctx *ctx = NULL;
    int r = room == NULL ? -ENOMEM : sqy_ctx_create(&ctx);
    for (size_t i; (i = atomic_fetch_add(&job->next, 1)) < job->n_groups;)
        job->groups[i] = r < 0 ? (struct group){.len = r} : code_group(job, ctx, i, room, cap);
    sqy_ctx_free(&ctx);
    free(room);
    return NULL;
}

static int code_all(struct job *job)
{
    pthread_t threads[MAX_THREADS];
    unsigned n = 0;
    job->groups = calloc(job->n_groups, sizeof(*job->groups));
    if (job->groups == NULL)
        return -ENOMEM;
    while (n < job->threads - 1 && pthread_create(&threads[n], NULL, worker, job) == 0)
        n++;
    worker(job);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

static int write_all(const struct job *job, const char *path)
{
    FILE *out = fopen(path, "wb");
    int r = out == NULL ? -errno : 0;
    for (size_t i = 0; i < job->n_groups; i++) {
        const struct group *group = &job->groups[i];
        if (r == 0 && group->len < 0)
            r = (int)group->len;
        if (r == 0 && fwrite(group->coded, 1, (size_t)group->len, out) != (size_t)group->len)
            r = -EIO;
        free(group->coded);
    }
    if (out != NULL && fclose(out) != 0 && r == 0)
        r = -EIO;
    return r;
}

static int map(struct job *job, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    job->in_len = (size_t)st.st_size;
    void *at = mmap(NULL, job->in_len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    job->mapped = at;
    job->in = at;
    return at == MAP_FAILED ? -errno : 0;
}

static int run(struct job *job, const char *in, const char *out)
{
    struct sqy_box plane = job->box;
    plane.planes = 1;
    job->plane = sqy_box_bytes(&plane);
    if (job->plane == 0)
        return -EINVAL;
    int r = map(job, in);
    if (r < 0)
        return r;
    if (job->box.planes == 0)
        job->box.planes = sqy_pipeline_group(job->pipeline);
    if (job->box.planes == 0)
        job->box.planes = 1;
    job->n_planes = job->in_len / job->plane;
    job->n_groups = (job->n_planes + job->box.planes - 1) / job->box.planes;
    r = code_all(job);
    if (r == 0)
        r = write_all(job, out);
    free(job->groups);
    munmap(job->mapped, job->in_len);
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
    struct job job = {.box = {.type = SQY_UINT16, .spp = 1}, .threads = 1};
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
