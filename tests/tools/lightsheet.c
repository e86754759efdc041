/* lightsheet: writes a stack as a light-sheet microscope with an sCMOS camera would take it, and
 * says how far its noise lets any lossless coder go. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "camera.h"
#include "scene.h"
#include "stackfile.h"

#define MAX_SIDE    32768u
#define MAX_THREADS 64u

static const char usage_text[] =
    "usage: lightsheet [OPTION...] OUT|-\n"
    "Writes a 16-bit stack as a light-sheet microscope would take it.\n"
    "  --kind embryo|dense|sparse   what is looked at (embryo)\n"
    "  --size WxHxD                 columns, rows, planes (512x512x64)\n"
    "  --seed N                     another specimen, another camera (1)\n"
    "  --offset N                   counts without light, 100 to 200 (100)\n"
    "  --format raw|tiff|bigtiff|imagej   (tiff)\n"
    "  --pages                      TIFF as libtiff writes it: strips, IFD, patched links\n"
    "  --big-endian                 byte order of file and voxels\n"
    "  --threads N                  (one a core)\n"
    "  --json                       the report as JSON\n"
    "The report goes to standard output, or to standard error where OUT is '-'.\n";

struct job {
    struct stackfile_spec file;
    enum scene_kind kind;
    uint64_t seed;
    unsigned offset, threads;
    bool json;
    const char *out;
};

/* Workers make planes in the order of their numbers into a ring; the main thread writes them in
 * that order. slot z % n_slots is free for plane z once plane z - n_slots is written. */
struct studio {
    const struct job *job;
    struct scene scene;
    struct camera *camera;
    unsigned n_slots;
    uint16_t **slots;
    bool *ready;
    pthread_mutex_t lock; /* guards what follows, and ready */
    pthread_cond_t changed;
    uint32_t next;    /* plane to be made */
    uint32_t written; /* planes written */
    bool stop;
    double entropy; /* summed over a sample of voxels */
    uint64_t n_entropy;
};

/* ---- making planes ---- */

/* Every 4th row of the grid stands for the plane. */
static double plane_entropy(const struct studio *studio, const uint32_t *grid, uint64_t *n)
{
    const struct scene *scene = &studio->scene;
    uint32_t columns = scene_grid(scene->width);
    double sum = 0;
    for (uint32_t y = 0; y < scene->height; y += 4 * SCENE_STEP) {
        for (uint32_t x = 0; x < scene->width; x += SCENE_STEP) {
            struct camera_pixel pixel = camera_pixel(studio->camera, x, y);
            uint32_t light = grid[(size_t)(y / SCENE_STEP) * columns + x / SCENE_STEP];
            sum += camera_entropy(&pixel, (double)light / CAMERA_ONE_ELECTRON);
            ++*n;
        }
    }
    return sum;
}

static void make_plane(struct studio *studio, uint32_t z, uint32_t *grid, uint32_t *row)
{
    const struct scene *scene = &studio->scene;
    uint16_t *plane = studio->slots[z % studio->n_slots];
    scene_draw(scene, z, grid);
    for (uint32_t y = 0; y < scene->height; y++) {
        scene_row(scene, grid, y, row);
        camera_expose(studio->camera, z, y, row, plane + (size_t)y * scene->width);
    }
}

/* The next plane's number, once its slot is free; depth when there are no more. */
static uint32_t take_plane(struct studio *studio)
{
    pthread_mutex_lock(&studio->lock);
    uint32_t depth = studio->scene.depth;
    while (!studio->stop && studio->next < depth &&
           studio->next >= studio->written + studio->n_slots)
        pthread_cond_wait(&studio->changed, &studio->lock);
    uint32_t z = studio->stop || studio->next >= depth ? depth : studio->next++;
    pthread_mutex_unlock(&studio->lock);
    return z;
}

static void *worker(void *arg)
{
    struct studio *studio = arg;
    const struct scene *scene = &studio->scene;
    size_t grid_bytes =
        (size_t)scene_grid(scene->width) * scene_grid(scene->height) * sizeof(uint32_t);
    uint32_t *grid = malloc(grid_bytes);
    uint32_t *row = malloc(scene->width * sizeof(*row));
    if (!grid || !row) {
        fprintf(stderr, "lightsheet: out of memory\n");
        exit(1);
    }
    uint32_t z;
    while ((z = take_plane(studio)) < scene->depth) {
        make_plane(studio, z, grid, row);
        uint64_t n = 0;
        double entropy = plane_entropy(studio, grid, &n);
        pthread_mutex_lock(&studio->lock);
        studio->ready[z % studio->n_slots] = true;
        studio->entropy += entropy;
        studio->n_entropy += n;
        pthread_cond_broadcast(&studio->changed);
        pthread_mutex_unlock(&studio->lock);
    }
    free(grid);
    free(row);
    return NULL;
}

/* ---- writing them ---- */

static void wait_for_plane(struct studio *studio, uint32_t z)
{
    pthread_mutex_lock(&studio->lock);
    while (!studio->ready[z % studio->n_slots])
        pthread_cond_wait(&studio->changed, &studio->lock);
    studio->ready[z % studio->n_slots] = false;
    pthread_mutex_unlock(&studio->lock);
}

static void plane_written(struct studio *studio, bool stop)
{
    pthread_mutex_lock(&studio->lock);
    studio->written++;
    studio->stop = stop;
    pthread_cond_broadcast(&studio->changed);
    pthread_mutex_unlock(&studio->lock);
}

static int write_planes(struct studio *studio, int fd)
{
    struct stackfile *file = NULL;
    struct stackfile_sink sink = stackfile_to(&fd);
    int r = stackfile_create(&sink, &studio->job->file, &file);
    if (r < 0) {
        plane_written(studio, true);
        return r;
    }
    for (uint32_t z = 0; z < studio->scene.depth && r >= 0; z++) {
        wait_for_plane(studio, z);
        r = stackfile_plane(file, studio->slots[z % studio->n_slots]);
        plane_written(studio, r < 0);
    }
    int finished = stackfile_finish(&file);
    return r < 0 ? r : finished;
}

static int run(struct studio *studio, int fd)
{
    pthread_t threads[MAX_THREADS];
    unsigned n = 0;
    for (; n < studio->job->threads; n++)
        if (pthread_create(&threads[n], NULL, worker, studio))
            break;
    int r = n > 0 ? write_planes(studio, fd) : -EAGAIN;
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return r;
}

/* ---- setting up ---- */

static int studio_setup(struct studio *studio, const struct job *job)
{
    *studio = (struct studio){.job = job, .n_slots = 2 * job->threads + 1};
    studio->scene =
        (struct scene){job->kind, job->file.width, job->file.height, job->file.depth, job->seed};
    pthread_mutex_init(&studio->lock, NULL);
    pthread_cond_init(&studio->changed, NULL);
    studio->slots = calloc(studio->n_slots, sizeof(*studio->slots));
    studio->ready = calloc(studio->n_slots, sizeof(*studio->ready));
    if (!studio->slots || !studio->ready)
        return -ENOMEM;
    for (unsigned i = 0; i < studio->n_slots; i++) {
        studio->slots[i] = malloc((size_t)job->file.width * job->file.height * sizeof(uint16_t));
        if (!studio->slots[i])
            return -ENOMEM;
    }
    return camera_create(job->file.width, job->file.height, job->offset, job->seed,
                         &studio->camera);
}

static void studio_teardown(struct studio *studio)
{
    for (unsigned i = 0; studio->slots && i < studio->n_slots; i++)
        free(studio->slots[i]);
    free(studio->slots);
    free(studio->ready);
    camera_destroy(&studio->camera);
    pthread_cond_destroy(&studio->changed);
    pthread_mutex_destroy(&studio->lock);
}

static const char *const kinds[] = {"embryo", "dense", "sparse"};

static void report(const struct studio *studio)
{
    const struct job *job = studio->job;
    FILE *to = strcmp(job->out, "-") == 0 ? stderr : stdout;
    double bits = studio->n_entropy ? studio->entropy / (double)studio->n_entropy : 0;
    uint64_t voxels = (uint64_t)job->file.width * job->file.height * job->file.depth;
    if (job->json)
        fprintf(to,
                "{\"kind\": \"%s\", \"width\": %u, \"height\": %u, \"depth\": %u, \"voxel_bytes\": "
                "%llu, "
                "\"noise_bits\": %.4f, \"noise_limit\": %.3f}\n",
                kinds[job->kind], job->file.width, job->file.height, job->file.depth,
                (unsigned long long)voxels * 2, bits, 16 / bits);
    else
        fprintf(to, "%s, %u x %u x %u voxels, %.1f MB; noise %.2f bits a voxel: ratio limit %.2f\n",
                kinds[job->kind], job->file.width, job->file.height, job->file.depth,
                (double)voxels * 2e-6, bits, 16 / bits);
}

/* ---- arguments ---- */

static bool parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || v < low || v > high)
        return false;
    *out = v;
    return true;
}

static bool parse_size(const char *text, struct stackfile_spec *spec)
{
    char after;
    if (sscanf(text, "%ux%ux%u%c", &spec->width, &spec->height, &spec->depth, &after) != 3)
        return false;
    return spec->width - 1 < MAX_SIDE && spec->height - 1 < MAX_SIDE && spec->depth > 0;
}

static bool parse_kind(const char *text, enum scene_kind *kind)
{
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(text, kinds[i]) == 0) {
            *kind = (enum scene_kind)i;
            return true;
        }
    }
    return false;
}

static bool parse_format(const char *text, struct stackfile_spec *spec)
{
    spec->big_tiff = strcmp(text, "bigtiff") == 0;
    if (strcmp(text, "raw") == 0)
        spec->style = STACKFILE_RAW;
    else if (strcmp(text, "imagej") == 0)
        spec->style = STACKFILE_IMAGEJ;
    else
        spec->style = STACKFILE_CONTIGUOUS;
    return spec->style != STACKFILE_CONTIGUOUS || spec->big_tiff || strcmp(text, "tiff") == 0;
}

static bool parse_option(int option, const char *value, struct job *job)
{
    uint64_t n = 0;
    switch (option) {
    case 'k':
        return parse_kind(value, &job->kind);
    case 's':
        return parse_size(value, &job->file);
    case 'S':
        return parse_number(value, 0, UINT64_MAX, &job->seed);
    case 'o':
        if (!parse_number(value, 100, 200, &n))
            return false;
        job->offset = (unsigned)n;
        return true;
    case 'f':
        return parse_format(value, &job->file);
    case 't':
        if (!parse_number(value, 1, MAX_THREADS, &n))
            return false;
        job->threads = (unsigned)n;
        return true;
    default:
        return false;
    }
}

static const struct option options[] = {
    {"kind", required_argument, NULL, 'k'},
    {"size", required_argument, NULL, 's'},
    {"seed", required_argument, NULL, 'S'},
    {"offset", required_argument, NULL, 'o'},
    {"format", required_argument, NULL, 'f'},
    {"pages", no_argument, NULL, 'p'},
    {"big-endian", no_argument, NULL, 'b'},
    {"threads", required_argument, NULL, 't'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int usage(void)
{
    fputs(usage_text, stderr);
    return 2;
}

/* 0, or the exit status plus one. */
static int parse(int argc, char **argv, struct job *job)
{
    bool pages = false;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage_text, stdout);
            return 1;
        } else if (option == 'p') {
            pages = true;
        } else if (option == 'b') {
            job->file.big_endian = true;
        } else if (option == 'j') {
            job->json = true;
        } else if (option == '?' || !parse_option(option, optarg, job)) {
            return usage() + 1;
        }
    }
    if (optind != argc - 1)
        return usage() + 1;
    job->out = argv[optind];
    if (!pages)
        return 0;
    if (job->file.style != STACKFILE_CONTIGUOUS || strcmp(job->out, "-") == 0)
        return usage() + 1;
    job->file.style = STACKFILE_PAGES;
    return 0;
}

static int record(const struct job *job)
{
    int fd = strcmp(job->out, "-") == 0
                 ? STDOUT_FILENO
                 : open(job->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    struct studio studio;
    int r = studio_setup(&studio, job);
    if (r >= 0)
        r = run(&studio, fd);
    if (close(fd) < 0 && r >= 0)
        r = -errno;
    if (r >= 0)
        report(&studio);
    studio_teardown(&studio);
    return r;
}

int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct job job = {
        .file = {.style = STACKFILE_CONTIGUOUS, .width = 512, .height = 512, .depth = 64},
        .kind = SCENE_EMBRYO,
        .seed = 1,
        .offset = 100,
        .threads = cores < 1                   ? 1
                   : cores > (long)MAX_THREADS ? MAX_THREADS
                                               : (unsigned)cores,
    };
    int done = parse(argc, argv, &job);
    if (done)
        return done - 1;
    int r = record(&job);
    if (r < 0) {
        fprintf(stderr, "lightsheet: %s: %s%s\n", job.out, strerror(-r),
                r == -EFBIG ? " (a classic TIFF ends at 4 GiB: use --format bigtiff)" : "");
        return 1;
    }
    return 0;
}
