/* A volume as a TIFF stack, written front to back: header, all voxels (one strip a plane,
 * contiguous), then the directories. Little-endian; BigTIFF where offsets need it. Source of the
 * format: TIFF 6.0, and the BigTIFF proposal as libtiff reads it. */
#ifndef SQYFS_IMAGE_TIFFOUT_H
#define SQYFS_IMAGE_TIFFOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/layout.h"

struct tiffout {
    enum layout_type type;
    uint64_t depth, height, width;
    bool big;
    uint64_t voxels_off, plane_bytes;
    uint64_t ifds_off, ifd_bytes; /* directories follow the voxels, all of one length */
    uint64_t size;                /* of the whole file */
};

/* 0; -EOVERFLOW where a plane is larger than TIFF can say, or the file than 63 bits. */
int tiffout_plan(enum layout_type type, const uint64_t shape[3], struct tiffout *out);

#define TIFFOUT_PIECE_MAX 256

/* What goes before the voxels. Returns its length. */
size_t tiffout_header(const struct tiffout *plan, uint8_t out[TIFFOUT_PIECE_MAX]);
/* The directory of plane z, in order behind the voxels. Returns plan->ifd_bytes. */
size_t tiffout_ifd(const struct tiffout *plan, uint64_t z, uint8_t out[TIFFOUT_PIECE_MAX]);

/* What surrounds the voxels, from byte `off` of the file: fills as much of out[0 .. len) as lies on
 * one side of them. Returns how much that is: 0 at a voxel, or at the end of the file. */
size_t tiffout_around(const struct tiffout *plan, uint64_t off, uint8_t *out, size_t len);

#endif
