/* A file in memory that a layout reads, part of which may be absent; and what must hold of any
 * layout of any file. */
#ifndef SQYFS_TESTS_IMAGE_FILE_H
#define SQYFS_TESTS_IMAGE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/layout.h"

struct file {
    const uint8_t *data;
    size_t len;
    const uint8_t *present; /* a byte each; NULL: all */
    uint64_t n_reads;       /* counted */
    int error;              /* given back instead of bytes where not 0 */
};

/* A layout_read_fn; ctx is a struct file. */
int file_read(void *ctx, void *buf, uint32_t len, uint64_t off);

/* A layout of the whole file, final; aborts where that fails. */
struct layout *file_layout(struct file *file, uint32_t target, const struct raw_policy *raw);

/* NULL where all invariants hold between bytes 0 and `limit`, else what does not. `in_bounds`: no
 * unit may reach beyond the limit. At most `max_units` are looked at. *voxels (may be NULL): bytes
 * in units. */
const char *file_check(const struct layout *layout, uint64_t limit, bool in_bounds, uint32_t target,
                       uint64_t max_units, uint64_t *voxels);

/* A number that is equal for layouts that give equal answers up to `limit`. */
uint64_t file_digest(const struct layout *layout, uint64_t limit);

#endif
