/* frame_shuffle: groups of planes, the darkest first. The planes that fill no group stay where they
 * are. */
#include "codec/order.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ARG_FRAME_CHUNK_SIZE, ARG_REORDER_MAP };

struct groups {
    size_t n, samples, bytes; /* how many; of one */
    size_t rest;              /* bytes that fill none */
};

static struct groups frame_shuffle_groups(const struct stage *stage, const struct shape *shape)
{
    const uint64_t planes = (uint64_t)stage->arg[ARG_FRAME_CHUNK_SIZE];
    struct groups groups = {.n = (size_t)(shape->planes / planes)};
    if (groups.n)
        groups.samples = (size_t)(planes * shape->rows * shape->width);
    groups.bytes = groups.samples * shape->size;
    groups.rest = shape->n * shape->size - groups.n * groups.bytes;
    return groups;
}

static int frame_shuffle_learn(struct sqy_ctx *ctx, struct stage *stage, const struct shape *shape,
                               const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    const struct groups groups = frame_shuffle_groups(stage, shape);
    if (!groups.n)
        return -ENOTSUP; /* nothing to shuffle: sqeazy knows no empty map */
    uint64_t *keys = calloc(groups.n, sizeof(*keys));
    if (!keys)
        return -ENOMEM;
    for (size_t i = 0; i < groups.n; i++)
        keys[i] = order_sum(in + i * groups.bytes, groups.samples, shape->size);
    int r = order_learn(stage, keys, groups.n);
    free(keys);
    if (r < 0)
        return r;
    for (size_t i = 0; i < groups.n; i++)
        memcpy(out + i * groups.bytes, in + order_at(stage, i) * groups.bytes, groups.bytes);
    memcpy(out + groups.n * groups.bytes, in + groups.n * groups.bytes, groups.rest);
    return 0;
}

/* A group that the map does not name is black. */
static int frame_shuffle_undo(struct sqy_ctx *ctx, const struct stage *stage,
                              const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    const struct groups groups = frame_shuffle_groups(stage, shape);
    int r = order_check(stage, groups.n);
    if (r < 0)
        return r;
    memset(out, 0, groups.n * groups.bytes);
    for (size_t i = 0; i < groups.n; i++)
        memcpy(out + order_at(stage, i) * groups.bytes, in + i * groups.bytes, groups.bytes);
    memcpy(out + groups.n * groups.bytes, in + groups.n * groups.bytes, groups.rest);
    return 0;
}

const struct stage_desc stage_desc_frame_shuffle = {
    .name = "frame_shuffle",
    .about = "planes, sorted by brightness",
    .class = STAGE_FILTER,
    .args =
        {
            [ARG_FRAME_CHUNK_SIZE] =
                {.name = "frame_chunk_size", .min = 1, .max = 1 << 20, .def = 1},
            [ARG_REORDER_MAP] = {.name = "reorder_map", .kind = STAGE_ARG_BYTES},
        },
    .upstream = true,
    .sizes = 1 | 2,
    .whole_volume = true,
    .learn = frame_shuffle_learn,
    .undo = frame_shuffle_undo,
};
