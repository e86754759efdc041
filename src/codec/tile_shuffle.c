/* tile_shuffle: the tiles of a volume, the darkest first. */
#include "codec/order.h"
#include "codec/tiles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ARG_TILE_SIZE, ARG_REORDER_MAP };

/* Samples of all tiles in the order of the map: those of the volume, unless it names one twice. */
static size_t tile_shuffle_samples(const struct stage *stage, const struct tiles *tiles)
{
    size_t n = 0;
    for (size_t i = 0; i < tiles->n && n <= tiles->shape->n; i++)
        n += tiles_at(tiles, order_at(stage, i)).n;
    return n;
}

static int tile_shuffle_learn(struct sqy_ctx *ctx, struct stage *stage, const struct shape *shape,
                              const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    struct tiles tiles;
    tiles_cut(shape, (uint64_t)stage->arg[ARG_TILE_SIZE], &tiles);
    uint64_t *keys = calloc((size_t)tiles.n, sizeof(*keys));
    if (!keys)
        return -ENOMEM;
    for (size_t i = 0; i < tiles.n; i++) {
        const struct tile tile = tiles_at(&tiles, i);
        tiles_gather(&tiles, &tile, in, out); /* just to be summed in one run */
        keys[i] = order_sum(out, tile.n, shape->size) / tile.n;
    }
    int r = order_learn(stage, keys, (size_t)tiles.n);
    free(keys);
    for (size_t i = 0; i < tiles.n && r == 0; i++) {
        const struct tile tile = tiles_at(&tiles, order_at(stage, i));
        tiles_gather(&tiles, &tile, in, out);
        out += tile.n * shape->size;
    }
    return r;
}

/* A tile that the map does not name is black. */
static int tile_shuffle_undo(struct sqy_ctx *ctx, const struct stage *stage,
                             const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    struct tiles tiles;
    tiles_cut(shape, (uint64_t)stage->arg[ARG_TILE_SIZE], &tiles);
    int r = order_check(stage, (size_t)tiles.n);
    if (r < 0)
        return r;
    if (tile_shuffle_samples(stage, &tiles) > shape->n)
        return -EBADMSG;
    memset(out, 0, shape->n * shape->size);
    for (size_t i = 0; i < tiles.n; i++) {
        const struct tile tile = tiles_at(&tiles, order_at(stage, i));
        tiles_scatter(&tiles, &tile, in, out);
        in += tile.n * shape->size;
    }
    return 0;
}

const struct stage_desc stage_desc_tile_shuffle = {
    .name = "tile_shuffle",
    .about = "cubes, sorted by brightness",
    .class = STAGE_FILTER,
    .args =
        {
            [ARG_TILE_SIZE] = {.name = "tile_size", .min = 1, .max = 1 << 20, .def = 32},
            [ARG_REORDER_MAP] = {.name = "reorder_map", .kind = STAGE_ARG_BYTES},
        },
    .upstream = true,
    .sizes = 1 | 2,
    .whole_volume = true,
    .learn = tile_shuffle_learn,
    .undo = tile_shuffle_undo,
};
