/* raster_reorder: the voxels tile by tile. sqeazy gets it right only where the tiles' edge divides
 * all axes or none, and with edges that divide, only where its vectorised copy is not too wide. */
#include "codec/stage.h"
#include "codec/tiles.h"

#include <errno.h>

enum { ARG_TILE_SIZE };

#define VECTOR_BYTES 16 /* of sqeazy's copy; also its default edge */

static bool raster_reorder_is_sound(const struct stage *stage, const struct shape *shape)
{
    const unsigned divided = tiles_axes_divided(shape, (uint64_t)stage->arg[ARG_TILE_SIZE]);
    return divided == 0 || divided == 3;
}

static int raster_reorder_learn(struct sqy_ctx *ctx, struct stage *stage, const struct shape *shape,
                                const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    const int32_t vector = (int32_t)(VECTOR_BYTES / shape->size);
    struct tiles tiles;
    if (stage->arg[ARG_TILE_SIZE] == 0)
        stage->arg[ARG_TILE_SIZE] = vector;
    const int32_t edge = stage->arg[ARG_TILE_SIZE];
    if (!raster_reorder_is_sound(stage, shape) ||
        (edge > vector && edge % vector == 0 && tiles_axes_divided(shape, (uint64_t)edge) == 3))
        return -ENOTSUP;
    tiles_cut(shape, (uint64_t)edge, &tiles);
    tiles_gather_all(&tiles, in, out);
    return 0;
}

/* What the vectorised copy has lost is lost; the rest of such a volume stands where it should. */
static int raster_reorder_undo(struct sqy_ctx *ctx, const struct stage *stage,
                               const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    struct stage own = *stage;
    struct tiles tiles;
    if (own.arg[ARG_TILE_SIZE] == 0)
        own.arg[ARG_TILE_SIZE] = (int32_t)(VECTOR_BYTES / shape->size);
    if (!raster_reorder_is_sound(&own, shape))
        return -ENOTSUP;
    tiles_cut(shape, (uint64_t)own.arg[ARG_TILE_SIZE], &tiles);
    tiles_scatter_all(&tiles, in, out);
    return 0;
}

const struct stage_desc stage_desc_raster_reorder = {
    .name = "raster_reorder",
    .about = "cubes, one after the other",
    .class = STAGE_FILTER,
    .args = {[ARG_TILE_SIZE] = {.name = "tile_size", .min = 1, .max = 1 << 20, .def = 0}},
    .upstream = true,
    .sizes = 1 | 2,
    .whole_volume = true,
    .learn = raster_reorder_learn,
    .undo = raster_reorder_undo,
};
