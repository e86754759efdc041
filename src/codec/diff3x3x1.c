/* diff3x3x1: a voxel less the mean of the nine around its place in the plane before. The sum of the
 * nine wraps in the type of the voxels. sqeazy mixes up the axes: runs are `planes` - 2 voxels long,
 * whatever the width, and planes from `width` on are left alone. Runs longer than a row go on in
 * the next; what two runs share is done once. */
#include "base/le.h"
#include "codec/stage.h"

#include <errno.h>
#include <string.h>

#define MAX_AXIS_8BIT 127 /* sqeazy counts in the type of the voxels */

static int diff3x3x1_check(const struct shape *shape)
{
    if (shape->size == 1 && (shape->planes > MAX_AXIS_8BIT || shape->rows > MAX_AXIS_8BIT ||
                             shape->width > MAX_AXIS_8BIT))
        return -ENOTSUP;
    return shape->planes < 2 ? -ENOTSUP : 0;
}

static inline __attribute__((always_inline)) unsigned get(const uint8_t *p, size_t i, size_t size)
{
    return size == 1 ? p[i] : le_load16(p + 2 * i);
}

static inline __attribute__((always_inline)) void put(uint8_t *p, size_t i, size_t size, unsigned v)
{
    if (size == 1)
        p[i] = (uint8_t)v;
    else
        le_store16(p + 2 * i, (uint16_t)v);
}

static inline __attribute__((always_inline)) unsigned
mean_before(const uint8_t *v, size_t i, size_t plane, size_t row, size_t size)
{
    const size_t corner = i - plane - row - 1;
    unsigned sum = 0;
    for (size_t y = 0; y < 3; y++)
        for (size_t x = 0; x < 3; x++)
            sum += get(v, corner + y * row + x, size);
    return (size == 1 ? (uint8_t)sum : (uint16_t)sum) / 9;
}

/* Ascending, so that what a voxel is predicted from has been undone before. `size` is a constant
 * wherever this is inlined. */
static inline __attribute__((always_inline)) void run(const struct shape *shape, const uint8_t *in,
                                                      uint8_t *out, bool undo, size_t size)
{
    const size_t row = (size_t)shape->width, plane = row * (size_t)shape->rows;
    const uint64_t end_z = shape->width < shape->planes ? shape->width : shape->planes;
    const size_t len = shape->planes < 3 ? 0 : (size_t)shape->planes - 2;
    size_t done = 0;
    memcpy(out, in, shape->n * size);
    for (uint64_t z = 1; z < end_z; z++) {
        for (uint64_t y = 1; y + 1 < shape->rows; y++) {
            const size_t first = (size_t)z * plane + (size_t)y * row + 1;
            for (size_t i = first < done ? done : first; i < first + len; i++) {
                unsigned mean = mean_before(undo ? out : in, i, plane, row, size);
                put(out, i, size, undo ? get(in, i, size) + mean : get(in, i, size) - mean);
            }
            done = first + len > done ? first + len : done;
        }
    }
}

static int diff3x3x1_run(const struct shape *shape, const uint8_t *in, uint8_t *out, bool undo)
{
    int r = diff3x3x1_check(shape);
    if (r < 0)
        return r;
    if (shape->size == 1)
        run(shape, in, out, undo, 1);
    else
        run(shape, in, out, undo, 2);
    return 0;
}

static int diff3x3x1_apply(struct sqy_ctx *ctx, const struct stage *stage,
                           const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    (void)stage;
    return diff3x3x1_run(shape, in, out, false);
}

static int diff3x3x1_undo(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                          const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    (void)stage;
    return diff3x3x1_run(shape, in, out, true);
}

const struct stage_desc stage_desc_diff3x3x1 = {
    .name = "diff3x3x1",
    .about = "difference to the mean of nine in the plane before",
    .class = STAGE_FILTER,
    .upstream = true,
    .misread = true, /* by more than one thread */
    .sizes = 1 | 2,
    .whole_volume = true,
    .apply = diff3x3x1_apply,
    .undo = diff3x3x1_undo,
};
