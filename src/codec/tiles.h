/* A volume cut into cubes of `edge` voxels, numbered z, y, x; those at the far borders are smaller.
 * Laid out tile by tile, the voxels of each in the order z, y, x. */
#ifndef SQYFS_CODEC_TILES_H
#define SQYFS_CODEC_TILES_H

#include "codec/stage.h"

struct tiles {
    const struct shape *shape; /* borrowed */
    uint64_t edge;
    uint64_t nz, ny, nx, n; /* tiles along each axis, and of all */
};

struct tile {
    uint64_t planes, rows, width;
    size_t n;     /* samples */
    size_t first; /* sample of the volume that is its first */
};

void tiles_cut(const struct shape *shape, uint64_t edge, struct tiles *out);
struct tile tiles_at(const struct tiles *tiles, uint64_t index);
/* Between the volume and tile->n samples of their own. */
void tiles_gather(const struct tiles *tiles, const struct tile *tile, const uint8_t *volume,
                  uint8_t *out);
void tiles_scatter(const struct tiles *tiles, const struct tile *tile, const uint8_t *in,
                   uint8_t *volume);
/* All of them, in order. */
void tiles_gather_all(const struct tiles *tiles, const uint8_t *volume, uint8_t *out);
void tiles_scatter_all(const struct tiles *tiles, const uint8_t *in, uint8_t *volume);
/* How many of the three axes `edge` divides. */
unsigned tiles_axes_divided(const struct shape *shape, uint64_t edge);

#endif
