/* A volume as a TIFF stack, written front to back: header, all voxels (one strip a plane,
 * contiguous), then the directories. Little-endian; BigTIFF where offsets need it. Source of the
 * format: TIFF 6.0, and the BigTIFF proposal as libtiff reads it. */
#ifndef SQYFS_CTL_TIFF_H
#define SQYFS_CTL_TIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/sqy.h"

struct tiff_plan {
    enum sqy_type type;
    uint64_t depth, height, width;
    bool big;
    uint64_t voxels_off, plane_bytes;
    uint64_t ifds_off, ifd_bytes; /* directories follow the voxels, all of one length */
    uint64_t size;                /* of the whole file */
};

/* 0; -EOVERFLOW where a plane is larger than TIFF can say, or the file than 63 bits. */
int tiff_plan(enum sqy_type type, const uint64_t shape[3], struct tiff_plan *out);

#define TIFF_PIECE_MAX 256

/* What goes before the voxels. Returns its length. */
size_t tiff_header(const struct tiff_plan *plan, uint8_t out[TIFF_PIECE_MAX]);
/* The directory of plane z, in order behind the voxels. Returns plan->ifd_bytes. */
size_t tiff_ifd(const struct tiff_plan *plan, uint64_t z, uint8_t out[TIFF_PIECE_MAX]);

#endif
