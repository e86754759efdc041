#include "volumes.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/layout.h"

#define CHUNK_BYTES (1u << 20)
#define MIN_BYTES   (256u << 10) /* less than this says nothing */

struct walk {
    volumes_fn *fn;
    void *ctx;
    struct planes planes; /* collected so far; voxels NULL: nothing */
    char name[512];
    double noise_limit;
};

/* ---- cutting ---- */

static int add_image(struct images *images, const struct peer_image *image)
{
    struct peer_image *list = realloc(images->list, (images->n + 1) * sizeof(*list));
    if (list == NULL)
        return -ENOMEM;
    images->list = list;
    images->list[images->n++] = *image;
    return 0;
}

int volume_cut(const struct volume *volume, uint32_t n_planes, struct images *out)
{
    const struct planes *planes = &volume->planes;
    size_t plane = (size_t)planes->rows * planes->width;
    int r = 0;
    *out = (struct images){.n = 0};
    for (uint32_t z = 0; z < planes->depth && r == 0; z += n_planes) {
        uint32_t n = planes->depth - z < n_planes ? planes->depth - z : n_planes;
        struct peer_image image = {planes->voxels + z * plane, n, planes->rows, planes->width,
                                   n * plane * 2};
        r = add_image(out, &image);
    }
    return r;
}

static int no_bytes(void *ctx, void *buf, uint32_t len, uint64_t off)
{
    (void)ctx, (void)buf, (void)len, (void)off;
    return 0;
}

/* As a raw volume of this shape is cut in a mount. */
static int cut_chunks(struct volume *volume)
{
    char any[] = "*";
    const struct planes *planes = &volume->planes;
    struct raw_policy raw = {
        .glob = any, .width = planes->width, .height = planes->rows, .type = LAYOUT_UINT16};
    struct layout *layout;
    struct layout_unit unit;
    struct layout_piece want;
    uint64_t gap_end, size = planes_bytes(planes);
    int r = layout_create(CHUNK_BYTES, &raw, &layout);
    if (r < 0)
        return r;
    layout_note(layout, 0, UINT64_MAX);
    r = layout_update(layout, no_bytes, NULL, size, true, &want);
    for (uint64_t at = 0; at < size && r >= 0; at += unit.bytes) {
        if (!layout_unit_at(layout, at, &unit, &gap_end) || unit.n_pieces != 1 ||
            unit.pieces[0].off != at)
            r = -EINVAL;
        struct peer_image image = {planes->voxels + at / 2, unit.planes, unit.rows, unit.width,
                                   unit.bytes};
        if (r >= 0)
            r = add_image(&volume->chunks, &image);
    }
    layout_destroy(&layout);
    return r;
}

static int flush(struct walk *walk)
{
    if (walk->planes.voxels == NULL)
        return 0;
    struct volume volume = {
        .name = walk->name, .planes = walk->planes, .noise_limit = walk->noise_limit};
    int r = 0;
    if (planes_bytes(&volume.planes) < MIN_BYTES) {
        printf("%s: passed over: below 256 KiB\n", walk->name);
    } else {
        r = cut_chunks(&volume);
        if (r >= 0)
            r = volume_cut(&volume, 1, &volume.single);
        if (r >= 0)
            r = walk->fn(walk->ctx, &volume);
    }
    free(volume.chunks.list);
    free(volume.single.list);
    free(walk->planes.voxels);
    walk->planes.voxels = NULL;
    return r;
}

/* ---- collecting ---- */

static int join(struct planes *planes, struct planes *more)
{
    size_t old = planes_bytes(planes), add = planes_bytes(more);
    uint16_t *voxels = realloc(planes->voxels, old + add);
    if (voxels == NULL)
        return -ENOMEM;
    memcpy((uint8_t *)voxels + old, more->voxels, add);
    planes->voxels = voxels;
    planes->depth += more->depth;
    free(more->voxels);
    return 0;
}

static int take_file(struct walk *walk, const char *path, const char *name, const char *folder,
                     uint32_t rows, uint32_t width)
{
    struct planes planes;
    char why[128];
    if (planes_read(path, rows, width, &planes, why, sizeof(why)) < 0) {
        printf("%s: passed over: %s\n", path, why);
        return 0;
    }
    if (walk->planes.voxels != NULL && walk->planes.rows == planes.rows &&
        walk->planes.width == planes.width) {
        snprintf(walk->name, sizeof(walk->name), "%s", folder);
        return join(&walk->planes, &planes);
    }
    int r = flush(walk);
    walk->planes = planes;
    snprintf(walk->name, sizeof(walk->name), "%s", name);
    return r;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static int take_folder(struct walk *walk, const char *path)
{
    struct dirent **entries;
    char folder[2048], file[4096], name[512];
    int r = 0, n = scandir(path, &entries, NULL, alphasort);
    snprintf(folder, sizeof(folder), "%s", path);
    for (size_t len = strlen(folder); len > 1 && folder[len - 1] == '/'; len--)
        folder[len - 1] = '\0';
    for (int i = 0; i < n; i++) {
        snprintf(file, sizeof(file), "%s/%s", folder, entries[i]->d_name);
        snprintf(name, sizeof(name), "%.200s/%.255s", last_part(folder), entries[i]->d_name);
        if (r >= 0 && entries[i]->d_name[0] != '.')
            r = take_file(walk, file, name, last_part(folder), 0, 0);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return n < 0 ? -EIO : r;
}

int volumes_each(const char *text, volumes_fn *fn, void *ctx)
{
    struct walk walk = {.fn = fn, .ctx = ctx};
    struct stat st;
    char path[2048];
    unsigned width = 0, rows = 0;
    snprintf(path, sizeof(path), "%s", text);
    char *colon = strrchr(path, '/');
    colon = strchr(colon != NULL ? colon : path, ':');
    if (colon != NULL) {
        sscanf(colon, ":%ux%u:%lf", &width, &rows, &walk.noise_limit);
        *colon = '\0';
    }
    if (stat(path, &st) < 0)
        return -errno;
    int r = S_ISDIR(st.st_mode)
                ? take_folder(&walk, path)
                : take_file(&walk, path, last_part(path), last_part(path), rows, width);
    int flushed = r < 0 ? r : flush(&walk);
    free(walk.planes.voxels);
    return flushed;
}
