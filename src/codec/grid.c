#include "codec/grid.h"

#include "base/le.h"
#include "codec/samples.h"

#include <string.h>

size_t grid_bands(const struct shape *shape, size_t most)
{
    size_t bands = shape->planes * shape->rows < GRID_FEW && most > 2 ? 2 : most;
    while (bands > 1 && shape->rows < bands * GRID_SHORT)
        bands /= 2;
    return bands;
}

size_t grid_bytes(const struct shape *shape, size_t most_bands)
{
    const size_t bands = grid_bands(shape, most_bands);
    size_t stride = shape->width / shape->spp + 2 * GRID_PAD, rows, layers, bytes;
    if (shape->size > 2 || shape->width % shape->spp ||
        __builtin_mul_overflow(shape->planes, shape->spp, &layers) ||
        __builtin_add_overflow((shape->rows + bands - 1) / bands, GRID_ABOVE, &rows) ||
        __builtin_mul_overflow(layers, rows, &rows) ||
        __builtin_mul_overflow(stride, bands * sizeof(int16_t), &stride) ||
        __builtin_mul_overflow(rows, stride, &bytes) || bytes > SIZE_MAX / 8)
        return 0;
    return bytes;
}

void grid_init(struct grid *grid, const struct shape *shape, size_t most_bands, void *memory)
{
    const size_t bands = grid_bands(shape, most_bands), width = shape->width / shape->spp;
    *grid = (struct grid){
        .samples = memory,
        .stride = (width + 2 * GRID_PAD) * bands,
        .bands = bands,
        .layers = shape->planes * shape->spp,
        .width = width,
        .span = width * bands,
        .rows = (shape->rows + bands - 1) / bands,
        .whole = shape->rows / bands,
        .shape = shape,
    };
}

/* ---- to and from the box ---- */

static inline void load_row(const struct grid *grid, const uint8_t *in, int16_t *row, size_t bands)
{
    const struct shape *shape = grid->shape;
    const uint16_t flip = samples_flip(shape);
    const size_t step = shape->spp * shape->size;
    for (size_t x = 0; x < grid->width; x++) {
        if (shape->size == 1)
            row[x * bands] = shape->type == SQY_INT8 ? (int8_t)in[x * step] : in[x * step];
        else
            row[x * bands] = (int16_t)((int16_t)(le_load16(in + x * step) ^ flip) >> grid->shift);
    }
}

/* Where the first sample of a band's row stands in the box. */
static size_t row_in_box(const struct grid *grid, size_t layer, size_t band, size_t row)
{
    const struct shape *shape = grid->shape;
    const size_t z = layer / shape->spp, s = layer % shape->spp;
    const size_t longer = shape->rows % grid->bands;
    const size_t y = band * grid->whole + (band < longer ? band : longer) + row;
    return ((z * shape->rows + y) * shape->width + s) * shape->size;
}

static void load_line(const struct grid *grid, size_t layer, size_t row, const uint8_t *in)
{
    int16_t *line = grid_row(grid, layer, (ptrdiff_t)row);
    for (size_t band = 0; band < grid_n_bands(grid, row); band++)
        load_row(grid, in + row_in_box(grid, layer, band, row), line + band, grid->bands);
}

void grid_load(const struct grid *grid, const uint8_t *in)
{
    for (size_t layer = 0; layer < grid->layers; layer++) {
        for (size_t y = 0; y < grid->rows; y++)
            load_line(grid, layer, y, in);
    }
}

static inline void store_row(const struct grid *grid, const int16_t *row, size_t bands,
                             uint8_t *out)
{
    const struct shape *shape = grid->shape;
    const uint16_t flip = samples_flip(shape);
    const size_t step = shape->spp * shape->size;
    for (size_t x = 0; x < grid->width; x++) {
        if (shape->size == 1)
            out[x * step] = (uint8_t)row[x * bands];
        else
            le_store16(out + x * step, (uint16_t)((uint16_t)row[x * bands] << grid->shift) ^ flip);
    }
}

void grid_store_row(const struct grid *grid, size_t layer, size_t row, uint8_t *out)
{
    const int16_t *line = grid_row(grid, layer, (ptrdiff_t)row);
    for (size_t band = 0; band < grid_n_bands(grid, row); band++)
        store_row(grid, line + band, grid->bands, out + row_in_box(grid, layer, band, row));
}

/* ---- around the samples ---- */

void grid_open_layer(const struct grid *grid, size_t layer, int16_t base)
{
    for (ptrdiff_t up = -(ptrdiff_t)GRID_ABOVE; up < 0; up++) {
        int16_t *row = grid_row(grid, layer, up) - GRID_PAD * grid->bands;
        if (layer) {
            memcpy(row, grid_row(grid, layer - 1, 0) - GRID_PAD * grid->bands,
                   grid->stride * sizeof(*row));
            continue;
        }
        for (size_t i = 0; i < grid->stride; i++)
            row[i] = base;
    }
}

void grid_open_row(const struct grid *grid, size_t layer, size_t row)
{
    const int16_t *above = grid_row(grid, layer, (ptrdiff_t)row - 1);
    int16_t *before = grid_row(grid, layer, (ptrdiff_t)row) - GRID_PAD * grid->bands;
    for (size_t i = 0; i < GRID_PAD * grid->bands; i++)
        before[i] = above[i % grid->bands];
}

/* With what stands before it. */
static void repeat_missing(const struct grid *grid, const int16_t *above, int16_t *at,
                           unsigned n_bands)
{
    const ptrdiff_t bands = (ptrdiff_t)grid->bands, before = (ptrdiff_t)GRID_PAD * bands;
    for (ptrdiff_t band = n_bands; band < bands; band++) {
        for (ptrdiff_t i = band - before; i < (ptrdiff_t)grid->span; i += bands)
            at[i] = above[i];
    }
}

void grid_close_row(const struct grid *grid, size_t layer, size_t row)
{
    int16_t *at = grid_row(grid, layer, (ptrdiff_t)row), *after = at + grid->span;
    repeat_missing(grid, grid_row(grid, layer, (ptrdiff_t)row - 1), at, grid_n_bands(grid, row));
    for (size_t i = 0; i < GRID_PAD * grid->bands; i++)
        after[i] = after[(ptrdiff_t)(i % grid->bands) - (ptrdiff_t)grid->bands];
}
