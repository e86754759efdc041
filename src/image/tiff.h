/* One TIFF directory (IFD), classic or Big, as its bytes say: TIFF 6.0, and the BigTIFF extension.
 *
 * Nothing is believed but what fits into the file. */
#ifndef SQYFS_IMAGE_TIFF_H
#define SQYFS_IMAGE_TIFF_H

#include "image/window.h"

#define TIFF_HEADER_BYTES     8u
#define TIFF_BIG_HEADER_BYTES 16u

struct tiff_header {
    bool big, big_endian;
    uint64_t first; /* offset of the first directory; 0 where there is none yet */
};

/* From the first `len` bytes of a file: 0, -EINVAL where it is no TIFF, -EAGAIN where 16 bytes are
 * needed to know. */
int tiff_header_parse(const uint8_t *bytes, size_t len, struct tiff_header *out);

/* Where a tag's values lie; in the directory itself where they are small. */
struct tiff_field {
    uint64_t off, count; /* count 0: tag absent */
    uint16_t type;
};

struct tiff_ifd {
    uint64_t off, len, next;
    uint32_t width, height, spp, rows_per_strip, tile_width, tile_height;
    uint16_t compression, photometric, planar, fill_order;
    struct tiff_field bits, format, offsets, subifds, subsampling, description;
    struct tiff_field x_resolution, y_resolution;
    bool tiled;
    uint32_t n_entries;
};

/* Reads the directory at `off`. 0, WINDOW_ABSENT, WINDOW_NEVER, -EINVAL where it is none, or what
 * reading gave. out->off and out->len are set as far as they are known, whatever the result. */
int tiff_ifd_read(const struct tiff_header *header, struct window *window, uint64_t off,
                  struct tiff_ifd *out);

/* Bytes of one value; 0 where the type is no unsigned integer. */
uint32_t tiff_value_size(const struct tiff_field *field);

/* Value number `i` of a field of unsigned integers. Results as above. */
int tiff_value(const struct tiff_header *header, struct window *window,
               const struct tiff_field *field, uint64_t i, uint64_t *value);

/* A RATIONAL; 0 where it is none. */
double tiff_rational(const struct tiff_header *header, const uint8_t bytes[8]);

#endif
