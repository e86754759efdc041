#include "codec/tiles.h"

#include <string.h>

static uint64_t tiles_along(uint64_t axis, uint64_t edge)
{
    return axis / edge + (axis % edge != 0);
}

void tiles_cut(const struct shape *shape, uint64_t edge, struct tiles *out)
{
    *out = (struct tiles){.shape = shape,
                          .edge = edge,
                          .nz = tiles_along(shape->planes, edge),
                          .ny = tiles_along(shape->rows, edge),
                          .nx = tiles_along(shape->width, edge)};
    out->n = out->nz * out->ny * out->nx; /* no more than samples */
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct tile tiles_at(const struct tiles *tiles, uint64_t index)
{
    const struct shape *shape = tiles->shape;
    const uint64_t z = index / (tiles->ny * tiles->nx) * tiles->edge;
    const uint64_t y = index / tiles->nx % tiles->ny * tiles->edge;
    const uint64_t x = index % tiles->nx * tiles->edge;
    struct tile tile = {.planes = least(tiles->edge, shape->planes - z),
                        .rows = least(tiles->edge, shape->rows - y),
                        .width = least(tiles->edge, shape->width - x)};
    tile.n = (size_t)(tile.planes * tile.rows * tile.width);
    tile.first = (size_t)((z * shape->rows + y) * shape->width + x);
    return tile;
}

/* The usual lengths are constants, so that no call is made for a handful of bytes. */
static inline void copy_row(uint8_t *to, const uint8_t *from, size_t len)
{
    switch (len) {
    case 2:
        memcpy(to, from, 2);
        break;
    case 4:
        memcpy(to, from, 4);
        break;
    case 8:
        memcpy(to, from, 8);
        break;
    case 16:
        memcpy(to, from, 16);
        break;
    default:
        memcpy(to, from, len);
    }
}

void tiles_gather(const struct tiles *tiles, const struct tile *tile, const uint8_t *volume,
                  uint8_t *out)
{
    const struct shape *shape = tiles->shape;
    const size_t row = (size_t)shape->width * shape->size, len = (size_t)tile->width * shape->size;
    const uint8_t *plane = volume + tile->first * shape->size;
    for (uint64_t z = 0; z < tile->planes; z++, plane += shape->rows * row)
        for (uint64_t y = 0; y < tile->rows; y++, out += len)
            copy_row(out, plane + y * row, len);
}

void tiles_scatter(const struct tiles *tiles, const struct tile *tile, const uint8_t *in,
                   uint8_t *volume)
{
    const struct shape *shape = tiles->shape;
    const size_t row = (size_t)shape->width * shape->size, len = (size_t)tile->width * shape->size;
    uint8_t *plane = volume + tile->first * shape->size;
    for (uint64_t z = 0; z < tile->planes; z++, plane += shape->rows * row)
        for (uint64_t y = 0; y < tile->rows; y++, in += len)
            copy_row(plane + y * row, in, len);
}

void tiles_gather_all(const struct tiles *tiles, const uint8_t *volume, uint8_t *out)
{
    for (uint64_t i = 0; i < tiles->n; i++) {
        const struct tile tile = tiles_at(tiles, i);
        tiles_gather(tiles, &tile, volume, out);
        out += tile.n * tiles->shape->size;
    }
}

void tiles_scatter_all(const struct tiles *tiles, const uint8_t *in, uint8_t *volume)
{
    for (uint64_t i = 0; i < tiles->n; i++) {
        const struct tile tile = tiles_at(tiles, i);
        tiles_scatter(tiles, &tile, in, volume);
        in += tile.n * tiles->shape->size;
    }
}

unsigned tiles_axes_divided(const struct shape *shape, uint64_t edge)
{
    return (shape->planes % edge == 0) + (shape->rows % edge == 0) + (shape->width % edge == 0);
}
