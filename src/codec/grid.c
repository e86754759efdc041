#include "codec/grid.h"

#include "base/le.h"
#include "codec/samples.h"

#include <string.h>

static size_t bands_of(const struct shape *shape)
{
    return shape->rows >= GRID_TALL ? GRID_BANDS : 1;
}

size_t grid_bytes(const struct shape *shape)
{
    const size_t stride = shape->width / shape->spp + 2 * GRID_PAD;
    size_t rows, layers, bytes;
    const size_t bands = bands_of(shape);
    if (shape->size > 2 || shape->width % shape->spp ||
        __builtin_mul_overflow(shape->planes * bands, shape->spp, &layers) ||
        __builtin_add_overflow((shape->rows + bands - 1) / bands, GRID_ABOVE, &rows) ||
        __builtin_mul_overflow(layers, rows, &rows) ||
        __builtin_mul_overflow(rows, stride * sizeof(int16_t), &bytes) || bytes > SIZE_MAX / 8)
        return 0;
    return bytes;
}

void grid_init(struct grid *grid, const struct shape *shape, void *memory)
{
    const size_t bands = bands_of(shape);
    *grid = (struct grid){
        .samples = memory,
        .stride = shape->width / shape->spp + 2 * GRID_PAD,
        .bands = bands,
        .layers = shape->planes * shape->spp * bands,
        .rows = (shape->rows + bands - 1) / bands,
        .width = shape->width / shape->spp,
        .shape = shape,
    };
}

/* ---- to and from the box ---- */

static void load_row(const struct grid *grid, const uint8_t *in, int16_t *row)
{
    const struct shape *shape = grid->shape;
    const uint16_t flip = samples_flip(shape);
    const size_t step = shape->spp * shape->size;
    for (size_t x = 0; x < grid->width; x++) {
        if (shape->size == 1)
            row[x] = shape->type == SQY_INT8 ? (int8_t)in[x * step] : in[x * step];
        else
            row[x] = (int16_t)((int16_t)(le_load16(in + x * step) ^ flip) >> grid->shift);
    }
}

/* Where the first sample of a layer's row stands in the box. */
static size_t row_in_box(const struct grid *grid, size_t layer, size_t row)
{
    const struct shape *shape = grid->shape;
    const size_t plane = layer / grid->bands, z = plane / shape->spp, s = plane % shape->spp;
    const size_t y = layer % grid->bands * grid->rows + row;
    return ((z * shape->rows + y) * shape->width + s) * shape->size;
}

void grid_load(const struct grid *grid, const uint8_t *in)
{
    for (size_t layer = 0; layer < grid->layers; layer++) {
        for (size_t y = 0; y < grid_rows(grid, layer); y++)
            load_row(grid, in + row_in_box(grid, layer, y), grid_row(grid, layer, (ptrdiff_t)y));
    }
}

static void store_row(const struct grid *grid, const int16_t *row, uint8_t *out)
{
    const struct shape *shape = grid->shape;
    const uint16_t flip = samples_flip(shape);
    const size_t step = shape->spp * shape->size;
    for (size_t x = 0; x < grid->width; x++) {
        if (shape->size == 1)
            out[x * step] = (uint8_t)row[x];
        else
            le_store16(out + x * step, (uint16_t)((uint16_t)row[x] << grid->shift) ^ flip);
    }
}

void grid_store_row(const struct grid *grid, size_t layer, size_t row, uint8_t *out)
{
    store_row(grid, grid_row(grid, layer, (ptrdiff_t)row), out + row_in_box(grid, layer, row));
}

/* ---- around the samples ---- */

void grid_open_layer(const struct grid *grid, size_t layer, int16_t base)
{
    for (ptrdiff_t up = -(ptrdiff_t)GRID_ABOVE; up < 0; up++) {
        int16_t *row = grid_row(grid, layer, up) - GRID_PAD;
        if (layer >= grid->bands) {
            memcpy(row, grid_row(grid, layer - grid->bands, 0) - GRID_PAD,
                   grid->stride * sizeof(*row));
            continue;
        }
        for (size_t i = 0; i < grid->stride; i++)
            row[i] = base;
    }
}

void grid_open_row(const struct grid *grid, size_t layer, size_t row)
{
    int16_t *at = grid_row(grid, layer, (ptrdiff_t)row);
    const int16_t above = grid_row(grid, layer, (ptrdiff_t)row - 1)[0];
    for (size_t i = 1; i <= GRID_PAD; i++)
        at[-(ptrdiff_t)i] = above;
}

void grid_close_row(const struct grid *grid, size_t layer, size_t row)
{
    int16_t *at = grid_row(grid, layer, (ptrdiff_t)row);
    for (size_t i = 0; i < GRID_PAD; i++)
        at[grid->width + i] = at[grid->width - 1];
}
