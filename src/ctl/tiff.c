#include "ctl/tiff.h"

#include <errno.h>
#include <string.h>

#include "base/le.h"

#define N_TAGS 10

enum field { FIELD_SHORT = 3, FIELD_LONG = 4, FIELD_LONG8 = 16 };

enum { SAMPLE_UNSIGNED = 1, SAMPLE_SIGNED = 2, SAMPLE_FLOAT = 3 };

static bool plan_as(bool big, struct tiff_plan *plan)
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

int tiff_plan(enum sqy_type type, const uint64_t shape[3], struct tiff_plan *out)
{
    uint64_t sample = sqy_type_size(type);
    if (sample == 0 || shape[0] == 0 || shape[1] == 0 || shape[2] == 0)
        return -EINVAL;
    *out =
        (struct tiff_plan){.type = type, .depth = shape[0], .height = shape[1], .width = shape[2]};
    if (out->height > UINT32_MAX || out->width > UINT32_MAX ||
        __builtin_mul_overflow(out->height * out->width, sample, &out->plane_bytes))
        return -EOVERFLOW;
    return plan_as(false, out) || plan_as(true, out) ? 0 : -EOVERFLOW;
}

size_t tiff_header(const struct tiff_plan *plan, uint8_t out[TIFF_PIECE_MAX])
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

static uint8_t *put_tag(const struct tiff_plan *plan, uint8_t *at, uint16_t tag, enum field field,
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

static unsigned sample_format(enum sqy_type type)
{
    switch (type) {
    case SQY_INT8:
    case SQY_INT16:
    case SQY_INT32:
    case SQY_INT64:
        return SAMPLE_SIGNED;
    case SQY_FLOAT16:
    case SQY_FLOAT32:
    case SQY_FLOAT64:
        return SAMPLE_FLOAT;
    default:
        return SAMPLE_UNSIGNED;
    }
}

size_t tiff_ifd(const struct tiff_plan *plan, uint64_t z, uint8_t out[TIFF_PIECE_MAX])
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
    at = put_tag(plan, at, 258, FIELD_SHORT, 8 * sqy_type_size(plan->type));
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
