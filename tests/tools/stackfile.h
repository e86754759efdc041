/* Writes 16-bit planes as a raw volume or a TIFF, in the manner of several programs. */
#ifndef SQYFS_TOOLS_STACKFILE_H
#define SQYFS_TOOLS_STACKFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum stackfile_style {
    STACKFILE_RAW,        /* voxels, nothing else */
    STACKFILE_CONTIGUOUS, /* first IFD, all voxels, the other IFDs behind them */
    STACKFILE_PAGES,  /* strips of 8 KiB, then their IFD, then the previous IFD's link is patched */
    STACKFILE_IMAGEJ, /* one IFD that says images=N, then all voxels, at any size */
};

struct stackfile_spec {
    enum stackfile_style style;
    bool big_endian;
    bool big_tiff; /* not with IMAGEJ */
    uint32_t width, height, depth;
};

/* Where the bytes go. Each takes all `len` bytes: 0 or a negative errno. */
struct stackfile_sink {
    int (*append)(void *ctx, const void *data, size_t len);
    int (*patch)(void *ctx, const void *data, size_t len, uint64_t at); /* of PAGES alone */
    void *ctx;
};

struct stackfile;

/* -EFBIG where a classic TIFF would pass 4 GiB. */
int stackfile_create(const struct stackfile_sink *sink, const struct stackfile_spec *spec,
                     struct stackfile **out);

/* Into a file from its start on. `fd` is the sink's ctx: borrowed, and in place until the end. */
struct stackfile_sink stackfile_to(int *fd);

/* Writes the next plane. `plane` is in the machine's byte order and is swapped in place where need
 * be. */
int stackfile_plane(struct stackfile *file, uint16_t *plane);

/* Writes what is left when all planes are there, and frees. */
int stackfile_finish(struct stackfile **file);

#endif
