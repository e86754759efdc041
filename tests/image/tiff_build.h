/* Builds TIFF files in memory, right or wrong as asked. */
#ifndef SQYFS_TESTS_IMAGE_TIFF_BUILD_H
#define SQYFS_TESTS_IMAGE_TIFF_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct build {
    bool big, big_endian; /* BigTIFF; byte order */
    uint8_t *data;
    size_t len, cap;
    size_t link; /* where the next directory's offset has to be patched in */
};

enum build_type {
    BUILD_BYTE = 1,
    BUILD_ASCII = 2,
    BUILD_SHORT = 3,
    BUILD_LONG = 4,
    BUILD_RATIONAL = 5,
    BUILD_IFD = 13,
    BUILD_LONG8 = 16,
};

/* One tag; values as numbers, or as bytes for ASCII and RATIONAL (then `count` of the type). */
struct build_tag {
    uint16_t tag, type;
    uint64_t count;
    const uint64_t *values;
    const void *bytes;
    uint64_t one; /* the value where `values` and `bytes` are NULL */
};

/* What build_page() writes; zeros mean the usual. */
struct build_page {
    uint32_t width, height, bits, format, spp, planar, rows_per_strip, compression;
    uint32_t tile_width, tile_height;
    uint32_t gap;   /* bytes between strips */
    bool reverse;   /* last strip first */
    bool ifd_first; /* directory before the voxels */
    uint64_t at;    /* where they are already, in one piece; 0: they are written */
    bool no_byte_counts;
    const char *description;
    const uint64_t *subs; /* SubIFDs */
    uint32_t n_subs;
    uint8_t fill; /* voxel bytes count up from it */
};

void build_start(struct build *build, bool big, bool big_endian);
void build_free(struct build *build);

void build_put(struct build *build, uint64_t value, unsigned size);
void build_patch(struct build *build, size_t at, uint64_t value, unsigned size);
/* Appends bytes (zeros where NULL); returns their offset. */
size_t build_bytes(struct build *build, const void *bytes, size_t len);

/* A directory at the end, linked from the last one where `link`. Values that do not fit follow it.
 * Returns its offset. */
size_t build_ifd(struct build *build, const struct build_tag *tags, unsigned n, bool link);

/* A page; returns the offset of its directory. */
size_t build_page(struct build *build, const struct build_page *page, bool link);

#endif
