/* A volume in memory: encoded plane by plane, decoded whole and in part.
 *
 *     cc -o volume volume.c $(pkg-config --cflags --libs sqy)
 *     ./volume [PIPELINE] */
#include <sqy.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLANES = 32, ROWS = 256, WIDTH = 512, PLANE = ROWS * WIDTH };

/* Each plane is a box of its own, so each can be decoded alone. */
static const struct sqy_box plane_box = {SQY_UINT16, 1, ROWS, WIDTH, 1};

struct coded {
    unsigned char *data; /* of all planes, one after the other */
    size_t end[PLANES];  /* where each ends */
};

static const unsigned char *plane_data(const struct coded *coded, int z, size_t *len)
{
    const size_t start = z ? coded->end[z - 1] : 0;
    *len = coded->end[z] - start;
    return coded->data + start;
}

/* A dark camera's offset and noise, with something bright in it. */
static void make_volume(uint16_t *voxels)
{
    uint32_t noise = 1;
    for (int z = 0; z < PLANES; z++) {
        for (int i = 0; i < PLANE; i++) {
            const int y = i / WIDTH - ROWS / 2, x = i % WIDTH - WIDTH / 2;
            noise = noise * 1664525 + 1013904223;
            *voxels++ = (uint16_t)(100 + (noise >> 28) + (x * x + y * y < 400 * z ? 300 : 0));
        }
    }
}

static int encode(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline, const uint16_t *voxels,
                  struct coded *out)
{
    const size_t bound = sqy_encode_bound(pipeline, &plane_box);
    size_t used = 0;
    out->data = malloc(PLANES * bound);
    if (!out->data)
        return -1;
    for (int z = 0; z < PLANES; z++) {
        ssize_t len = sqy_encode(ctx, pipeline, &plane_box, voxels + (size_t)z * PLANE,
                                 out->data + used, bound);
        if (len < 0)
            return (int)len;
        used += (size_t)len;
        out->end[z] = used;
    }
    return 0;
}

/* n planes from `first` on. */
static int decode_planes(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                         const struct coded *coded, int first, int n, uint16_t *out)
{
    int r = 0;
    for (int z = first; z < first + n && r == 0; z++, out += PLANE) {
        size_t len;
        const unsigned char *data = plane_data(coded, z, &len);
        r = sqy_decode(ctx, pipeline, &plane_box, data, len, out);
    }
    return r;
}

static int check(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline, const uint16_t *voxels,
                 const struct coded *coded, uint16_t *out)
{
    int r = decode_planes(ctx, pipeline, coded, 0, PLANES, out);
    if (r < 0 || memcmp(out, voxels, sizeof(*out) * PLANES * PLANE) != 0)
        return r < 0 ? r : -1;
    r = decode_planes(ctx, pipeline, coded, 10, 3, out);
    if (r < 0 || memcmp(out, voxels + 10 * PLANE, sizeof(*out) * 3 * PLANE) != 0)
        return r < 0 ? r : -1;

    size_t len; /* rows 100 to 119 of plane 20 */
    const unsigned char *data = plane_data(coded, 20, &len);
    r = sqy_decode_rows(ctx, pipeline, &plane_box, data, len, 100, 20, out);
    if (r < 0 || memcmp(out, voxels + 20 * PLANE + 100 * WIDTH, sizeof(*out) * 20 * WIDTH) != 0)
        return r < 0 ? r : -1;
    return 0;
}

static int run(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline)
{
    struct coded coded = {0};
    const size_t bytes = sizeof(uint16_t) * PLANES * PLANE;
    uint16_t *voxels = malloc(bytes), *out = malloc(bytes);
    int r = -1;
    if (voxels && out) {
        make_volume(voxels);
        r = encode(ctx, pipeline, voxels, &coded);
        if (r == 0)
            r = check(ctx, pipeline, voxels, &coded, out);
    }
    if (r == 0)
        printf("%s: %zu bytes in %zu, ratio %.2f\n", sqy_pipeline_short(pipeline), bytes,
               coded.end[PLANES - 1], (double)bytes / (double)coded.end[PLANES - 1]);
    free(voxels);
    free(out);
    free(coded.data);
    return r;
}

int main(int argc, char **argv)
{
    const char *text = argc > 1 ? argv[1] : SQY_PIPELINE_DEFAULT;
    struct sqy_pipeline *pipeline = NULL;
    struct sqy_ctx *ctx = NULL;
    struct sqy_error error = {0, ""};
    int r = sqy_pipeline_parse(text, &pipeline, &error);
    if (r < 0)
        fprintf(stderr, "%s: at %zu: %s\n", text, error.position, error.message);
    if (r == 0)
        r = sqy_ctx_create(&ctx);
    if (r == 0)
        r = run(ctx, pipeline);
    sqy_ctx_free(&ctx);
    sqy_pipeline_free(&pipeline);
    return r == 0 ? 0 : 1;
}
