#include "image/tiffout.h"

#include <errno.h>
#include <string.h>

#include "base/le.h"
#include "image/span.h"

#define N_TAGS 10

enum field { FIELD_SHORT = 3, FIELD_LONG = 4, FIELD_LONG8 = 16 };

enum { SAMPLE_UNSIGNED = 1, SAMPLE_SIGNED = 2, SAMPLE_FLOAT = 3 };

static bool plan_as(bool big, struct tiffout *plan)
{
    plan->big = big;
    plan->voxels_off = 16;
    plan->ifd_bytes = big ? 8 + N_TAGS * 20 + 8 : 2 + N_TAGS * 12 + 4;
    uint64_t voxels, ifds;
    if (__builtin_mul_overflow(plan->plane_bytes, plan->depth, &voxels) ||
        __builtin_mul_overflow(plan->ifd_bytes, plan->depth, &ifds) ||
        __builtin_add_overflow(voxels, plan->voxels_off + 7, &plan->ifds_off))
        return false;
    plan->ifds_off &= ~7ull;
    return !__builtin_add_overflow(plan->ifds_off, ifds, &plan->size) && plan->size <= INT64_MAX &&
           (big || plan->size <= UINT32_MAX);
}

int tiffout_plan(enum layout_type type, const uint64_t shape[3], struct tiffout *out)
{
    uint64_t sample = span_type_size(type);
    if (sample == 0 || shape[0] == 0 || shape[1] == 0 || shape[2] == 0)
        return -EINVAL;
    *out = (struct tiffout){.type = type, .depth = shape[0], .height = shape[1], .width = shape[2]};
    if (out->height > UINT32_MAX || out->width > UINT32_MAX ||
        __builtin_mul_overflow(out->height * out->width, sample, &out->plane_bytes))
        return -EOVERFLOW;
    return plan_as(false, out) || plan_as(true, out) ? 0 : -EOVERFLOW;
}

size_t tiffout_header(const struct tiffout *plan, uint8_t out[TIFFOUT_PIECE_MAX])
{
    memset(out, 0, plan->voxels_off);
    out[0] = out[1] = 'I';
    if (plan->big) {
        le_store16(out + 2, 43);
        le_store16(out + 4, 8); /* bytes of an offset */
        le_store64(out + 8, plan->ifds_off);
    } else {
        le_store16(out + 2, 42);
        le_store32(out + 4, (uint32_t)plan->ifds_off);
    }
    return plan->voxels_off;
}

static uint8_t *put_tag(const struct tiffout *plan, uint8_t *at, uint16_t tag, enum field field,
                        uint64_t value)
{
    if (field == FIELD_LONG8 && !plan->big)
        field = FIELD_LONG;
    le_store16(at, tag);
    le_store16(at + 2, (uint16_t)field);
    if (plan->big) {
        le_store64(at + 4, 1);
        le_store64(at + 12, value);
        return at + 20;
    }
    le_store32(at + 4, 1);
    le_store32(at + 8, (uint32_t)value);
    return at + 12;
}

static unsigned sample_format(enum layout_type type)
{
    switch (type) {
    case LAYOUT_INT8:
    case LAYOUT_INT16:
    case LAYOUT_INT32:
    case LAYOUT_INT64:
        return SAMPLE_SIGNED;
    case LAYOUT_FLOAT16:
    case LAYOUT_FLOAT32:
    case LAYOUT_FLOAT64:
        return SAMPLE_FLOAT;
    default:
        return SAMPLE_UNSIGNED;
    }
}

size_t tiffout_ifd(const struct tiffout *plan, uint64_t z, uint8_t out[TIFFOUT_PIECE_MAX])
{
    uint8_t *at = out;
    uint64_t next = z + 1 < plan->depth ? plan->ifds_off + (z + 1) * plan->ifd_bytes : 0;
    if (plan->big)
        le_store64(at, N_TAGS);
    else
        le_store16(at, N_TAGS);
    at += plan->big ? 8 : 2;
    at = put_tag(plan, at, 256, FIELD_LONG, plan->width);
    at = put_tag(plan, at, 257, FIELD_LONG, plan->height);
    at = put_tag(plan, at, 258, FIELD_SHORT, 8 * span_type_size(plan->type));
    at = put_tag(plan, at, 259, FIELD_SHORT, 1); /* no compression */
    at = put_tag(plan, at, 262, FIELD_SHORT, 1); /* 0 is black */
    at = put_tag(plan, at, 273, FIELD_LONG8, plan->voxels_off + z * plan->plane_bytes);
    at = put_tag(plan, at, 277, FIELD_SHORT, 1); /* samples per pixel */
    at = put_tag(plan, at, 278, FIELD_LONG, plan->height);
    at = put_tag(plan, at, 279, FIELD_LONG8, plan->plane_bytes);
    at = put_tag(plan, at, 339, FIELD_SHORT, sample_format(plan->type));
    if (plan->big)
        le_store64(at, next);
    else
        le_store32(at, (uint32_t)next);
    at += plan->big ? 8 : 4;
    return (size_t)(at - out);
}

/* Copies what [off, off + len) has of the `n` bytes of `piece`, which lie at `at`. */
static void lay(const uint8_t *piece, size_t n, uint64_t at, uint8_t *out, uint64_t off, size_t len)
{
    uint64_t start = at > off ? at : off, end = at + n < off + len ? at + n : off + len;
    if (start < end)
        memcpy(out + (start - off), piece + (start - at), (size_t)(end - start));
}

static size_t shorter(size_t len, uint64_t left)
{
    return left < len ? (size_t)left : len;
}

size_t tiffout_around(const struct tiffout *plan, uint64_t off, uint8_t *out, size_t len)
{
    uint8_t piece[TIFFOUT_PIECE_MAX];
    uint64_t voxels_end = plan->voxels_off + plan->plane_bytes * plan->depth;
    if (off < plan->voxels_off) {
        len = shorter(len, plan->voxels_off - off);
        lay(piece, tiffout_header(plan, piece), 0, out, off, len);
        return len;
    }
    if (off < voxels_end || off >= plan->size)
        return 0;
    len = shorter(len, plan->size - off);
    memset(out, 0, len);
    uint64_t z = off > plan->ifds_off ? (off - plan->ifds_off) / plan->ifd_bytes : 0;
    for (; z < plan->depth && plan->ifds_off + z * plan->ifd_bytes < off + len; z++)
        lay(piece, tiffout_ifd(plan, z, piece), plan->ifds_off + z * plan->ifd_bytes, out, off,
            len);
    return len;
}
