/* Files of 16-bit samples as planes in memory: TIFF (with libtiff, whatever its compression), NumPy
 * arrays, raw. */
#ifndef SQYFS_BENCH_PLANES_H
#define SQYFS_BENCH_PLANES_H

#include <stddef.h>
#include <stdint.h>

struct planes {
    uint16_t *voxels; /* owned; malloc */
    uint32_t depth, rows, width;
};

static inline size_t planes_bytes(const struct planes *planes)
{
    return (size_t)planes->depth * planes->rows * planes->width * 2;
}

/* By the name's ending. `rows`, `width`: of raw files, 0 where not known. 0, or -ENOTSUP with one
 * line in `why` that says why it is passed over. */
int planes_read(const char *path, uint32_t rows, uint32_t width, struct planes *out, char *why,
                size_t why_len);

#endif
