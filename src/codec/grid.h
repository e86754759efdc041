/* Samples of a box as rows of signed 16-bit numbers in the order of the type's values, with room
 * around: two rows above each layer and some columns at both ends, filled with what is known there.
 *
 * Interleaved samples (RGB) are told apart, and tall planes fall into two bands, of the upper and the
 * lower half of their rows, that can be worked on at once: band b of sample s of every voxel of plane
 * z makes a layer, (z * spp + s) * bands + b. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_GRID_H
#define SQYFS_CODEC_GRID_H

#include "codec/stage.h"

#define GRID_PAD   4u  /* samples before and after a row */
#define GRID_ABOVE 2u  /* rows */
#define GRID_BANDS 2u  /* at most */
#define GRID_TALL  32u /* rows: planes of as many have bands */

struct grid {
    int16_t *samples; /* borrowed */
    size_t stride;    /* samples from one row to the next */
    size_t bands, layers, width;
    size_t rows;    /* of a layer; a lower band may have one less */
    unsigned shift; /* low bits left out: 0 in all samples */
    const struct shape *shape;
};

/* Bytes of memory that a box needs; 0 where that does not fit size_t, its voxels are not whole, or
 * its samples have another size than 1 or 2. */
size_t grid_bytes(const struct shape *shape);
/* `memory` holds grid_bytes(). */
void grid_init(struct grid *grid, const struct shape *shape, void *memory);

/* Row -2 .. rows - 1 of a layer. */
static inline int16_t *grid_row(const struct grid *grid, size_t layer, ptrdiff_t row)
{
    const size_t at = layer * (grid->rows + GRID_ABOVE) + (size_t)(row + (ptrdiff_t)GRID_ABOVE);
    return grid->samples + at * grid->stride + GRID_PAD;
}

/* Rows that a layer really has. */
static inline size_t grid_rows(const struct grid *grid, size_t layer)
{
    return layer % grid->bands ? grid->shape->rows - grid->rows : grid->rows;
}

/* All samples from the box, shifted by grid->shift. */
void grid_load(const struct grid *grid, const uint8_t *in);
/* Row `row` of a layer back into the box. */
void grid_store_row(const struct grid *grid, size_t layer, size_t row, uint8_t *out);
/* Fills the rows above a layer: with the first row of the same band before it, or with `base`. */
void grid_open_layer(const struct grid *grid, size_t layer, int16_t base);
/* Fills the columns before a row from the row above it; and, when the row is there, those after. */
void grid_open_row(const struct grid *grid, size_t layer, size_t row);
void grid_close_row(const struct grid *grid, size_t layer, size_t row);

#endif
