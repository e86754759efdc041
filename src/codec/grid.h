/* Samples of a box as rows of signed 16-bit numbers in the order of the type's values, with room
 * around: two rows above each layer and some columns at both ends, filled with what is known there.
 *
 * Interleaved samples (RGB) are told apart: sample s of every voxel of plane z makes layer z * spp + s.
 * The rows of a tall layer fall into bands that can be worked on at once. Row y of all bands is one
 * line of the grid, in which the bands take turns: column x of band b is number x * bands + b. Where a
 * band has a row less than others, its last row is there twice. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_GRID_H
#define SQYFS_CODEC_GRID_H

#include "codec/stage.h"

#define GRID_PAD   4u  /* samples before and after a row */
#define GRID_ABOVE 2u  /* rows */
#define GRID_BANDS 4u  /* at most */
#define GRID_SHORT 16u /* rows: bands are no shorter */
/* Rows of all planes: fewer make two bands at most, whose beginnings cost less. */
#define GRID_FEW 256u

struct grid {
    int16_t *samples; /* borrowed */
    size_t stride;    /* samples from one line to the next */
    size_t bands, layers, width;
    size_t span;    /* samples of a line, those around left out */
    size_t rows;    /* of the upper bands; the lower ones may have one less */
    size_t whole;   /* rows that all bands have */
    unsigned shift; /* low bits left out: 0 in all samples */
    const struct shape *shape;
};

/* How many bands a box makes, `most` at most. */
size_t grid_bands(const struct shape *shape, size_t most);
/* Bytes of memory that a box needs; 0 where that does not fit size_t, its voxels are not whole, or
 * its samples have another size than 1 or 2. */
size_t grid_bytes(const struct shape *shape, size_t most_bands);
/* `memory` holds grid_bytes(). */
void grid_init(struct grid *grid, const struct shape *shape, size_t most_bands, void *memory);

/* Row -2 .. rows - 1 of all bands of a layer. */
static inline int16_t *grid_row(const struct grid *grid, size_t layer, ptrdiff_t row)
{
    const size_t at = layer * (grid->rows + GRID_ABOVE) + (size_t)(row + (ptrdiff_t)GRID_ABOVE);
    return grid->samples + at * grid->stride + GRID_PAD * grid->bands;
}

/* How many bands have a row: the upper ones. */
static inline unsigned grid_n_bands(const struct grid *grid, size_t row)
{
    return (unsigned)(row < grid->whole ? grid->bands : grid->shape->rows % grid->bands);
}

/* All samples from the box, shifted by grid->shift. */
void grid_load(const struct grid *grid, const uint8_t *in);
/* Row `row` of a layer's bands back into the box. */
void grid_store_row(const struct grid *grid, size_t layer, size_t row, uint8_t *out);
/* Fills the rows above a layer: with the first row of the layer before it, or with `base`. */
void grid_open_layer(const struct grid *grid, size_t layer, int16_t base);
/* Fills the columns before a row from the row above it; and, when the row is there, what bands lack
 * of it, and the columns after. */
void grid_open_row(const struct grid *grid, size_t layer, size_t row);
void grid_close_row(const struct grid *grid, size_t layer, size_t row);

#endif
