/* What stands before the camera: blurred nuclei and filaments, as expected electrons a voxel.
 *
 * Everything is found again from (seed, cell), so that any plane can be drawn on its own. */
#ifndef SQYFS_TOOLS_SCENE_H
#define SQYFS_TOOLS_SCENE_H

#include <stdint.h>

enum scene_kind {
    SCENE_EMBRYO, /* an ellipsoid of nuclei in dark medium */
    SCENE_DENSE,  /* cleared tissue: light everywhere */
    SCENE_SPARSE, /* a few filaments and cells in the dark */
};

/* Light is drawn on a grid of every 4th pixel and interpolated: the optics blur more than that. */
#define SCENE_STEP 4u

struct scene {
    enum scene_kind kind;
    uint32_t width, height, depth;
    uint64_t seed;
};

/* Columns and rows of the grid. */
uint32_t scene_grid(uint32_t pixels);

/* Draws plane z into grid[scene_grid(height)][scene_grid(width)], in 1/256 electrons. */
void scene_draw(const struct scene *scene, uint32_t z, uint32_t *grid);

/* Interpolates pixel row y out of the grid. */
void scene_row(const struct scene *scene, const uint32_t *grid, uint32_t y, uint32_t *electrons);

#endif
