/* Samples of a box as the predictor wants them: every row in two halves, its even columns and its odd
 * ones, as signed 16-bit numbers in the order of the type's values, with room at both ends.
 *
 * Interleaved samples (RGB) are told apart first: sample s of every voxel of a plane makes a plane of
 * its own, "layer" z * spp + s. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_LATTICE_H
#define SQYFS_CODEC_LATTICE_H

#include "codec/stage.h"

/* Samples before and after a half that may be read (before: 1) and overwritten (after). */
#define LATTICE_PAD 32

struct lattice {
    int16_t *halves;         /* borrowed; first sample of row 0's even half */
    int16_t *above;          /* a half that stands above the first layer's first row */
    size_t stride;           /* samples from one half to the next: even, odd, even, ... */
    size_t layers, rows;     /* planes * spp; rows of each */
    size_t width, even, odd; /* voxels of a row and how many have even and odd columns */
    const struct shape *shape;
};

/* Bytes of memory that the halves of a box need; 0 where that does not fit size_t, or the samples
 * have another size than 1 or 2. */
size_t lattice_bytes(const struct shape *shape);
/* `memory` holds lattice_bytes(). */
void lattice_init(struct lattice *lattice, const struct shape *shape, void *memory);

static inline int16_t *lattice_even(const struct lattice *lattice, size_t layer, size_t row)
{
    return lattice->halves + (layer * lattice->rows + row) * 2 * lattice->stride;
}

static inline int16_t *lattice_odd(const struct lattice *lattice, size_t layer, size_t row)
{
    return lattice_even(lattice, layer, row) + lattice->stride;
}

/* Fills the half above the first row. */
void lattice_set_base(const struct lattice *lattice, int16_t base);
/* All samples from the box, ends included. */
void lattice_load(const struct lattice *lattice, const struct kernels *k, const uint8_t *in);
/* One row of every layer of plane `z` back into the box. */
void lattice_store_row(const struct lattice *lattice, const struct kernels *k, size_t z, size_t row,
                       uint8_t *out);
/* What lies beyond the ends of a row: its nearest even sample. Even half filled; the odd one may
 * follow. */
void lattice_close_ends(const struct lattice *lattice, size_t layer, size_t row);

#endif
