/* zcurve_reorder: sqeazy's Morton codes come to the order of raster_reorder, without its faults at
 * the borders. */
#include "codec/stage.h"
#include "codec/tiles.h"

#include <errno.h>

enum { ARG_TILE_SIZE };

/* Where an axis is shorter than a tile nobody knows what sqeazy does. */
static int zcurve_reorder_cut(const struct stage *stage, const struct shape *shape,
                              struct tiles *tiles)
{
    const uint64_t edge = (uint64_t)stage->arg[ARG_TILE_SIZE];
    if (shape->planes < edge || shape->rows < edge || shape->width < edge)
        return -ENOTSUP;
    tiles_cut(shape, edge, tiles);
    return 0;
}

static int zcurve_reorder_apply(struct sqy_ctx *ctx, const struct stage *stage,
                                const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    struct tiles tiles;
    int r = zcurve_reorder_cut(stage, shape, &tiles);
    if (r == 0)
        tiles_gather_all(&tiles, in, out);
    return r;
}

static int zcurve_reorder_undo(struct sqy_ctx *ctx, const struct stage *stage,
                               const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    struct tiles tiles;
    int r = zcurve_reorder_cut(stage, shape, &tiles);
    if (r == 0)
        tiles_scatter_all(&tiles, in, out);
    return r;
}

const struct stage_desc stage_desc_zcurve_reorder = {
    .name = "zcurve_reorder",
    .about = "cubes, one after the other",
    .class = STAGE_FILTER,
    .args = {[ARG_TILE_SIZE] =
                 {.name = "tile_size", .min = 2, .max = 128, .def = 2, .power_of_two = true}},
    .upstream = true,
    .sizes = 1 | 2,
    .whole_volume = true,
    .apply = zcurve_reorder_apply,
    .undo = zcurve_reorder_undo,
};
