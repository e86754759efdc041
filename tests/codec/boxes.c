#include "boxes.h"

#include "codec/kernels.h"
#include "codec/stage.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double wave(const struct sqy_box *box, size_t i)
{
    const size_t x = i % box->width / box->spp, y = i / box->width % box->rows;
    return 500 + 300 * sin((double)x / 9) * sin((double)y / 7);
}

static bool is_white(const struct sqy_box *box, size_t i)
{
    const uint32_t x = (uint32_t)(i % box->width / 4), y = (uint32_t)(i / box->width / 4);
    return ((x * 73856093u ^ y * 19349663u) * 2654435761u) >> 31;
}

static uint32_t sample(const struct sqy_box *box, enum boxes_fill fill, size_t i, uint64_t *seed)
{
    const size_t plane = (size_t)box->rows * box->width;
    const uint32_t noise = (uint32_t)(util_random(seed) >> 40);
    switch (fill) {
    case NOISE:
        return noise;
    case FLAT:
        return 0xC3C3;
    case RAMP:
        return (uint32_t)(i * 37);
    case HOT:
        return noise % 211 ? 100 + noise % 7 : 0xffff - noise % 3;
    case SPACED:
        return ((uint32_t)wave(box, i) + noise % 16) << 4;
    case SAME_PLANES:
        return (uint32_t)((i % plane) * (i % plane) * 2654435761u >> 16);
    case SAME_PLANES_DARK:
        return (uint32_t)((i % plane) * (i % plane) * 2654435761u) >> 20;
    case MASK:
        return is_white(box, i) ? 0xffff : 0;
    default:
        return (uint32_t)wave(box, i) + noise % 32;
    }
}

uint8_t *boxes_filled(const struct sqy_box *box, enum boxes_fill fill)
{
    const size_t len = sqy_box_bytes(box), size = sqy_type_size(box->type);
    uint8_t *p = malloc(len);
    uint64_t seed = len + fill;
    assert_non_null(p);
    for (size_t i = 0; i < len / size; i++) {
        const uint32_t v = sample(box, fill, i, &seed);
        for (size_t b = 0; b < size; b++)
            p[i * size + b] = (uint8_t)(v >> 8 * b);
    }
    return p;
}

struct bytes boxes_encode(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                          const struct sqy_box *box, const uint8_t *in)
{
    const size_t bound = sqy_encode_bound(p, box);
    struct bytes coded = {.data = malloc(bound)};
    assert_non_null(coded.data);
    ssize_t got = sqy_encode(ctx, p, box, in, coded.data, bound);
    assert_true(got > 0 && (size_t)got <= bound);
    coded.len = (size_t)got;
    coded.data = realloc(coded.data, coded.len); /* a sanitizer sees what is read beyond */
    return coded;
}

static void check_fill(const struct sqy_pipeline *p, const struct sqy_box *box,
                       enum boxes_fill fill)
{
    struct sqy_ctx *best = util_ctx(), *scalar = util_ctx();
    ctx_use_kernels(scalar, &kernels_scalar);
    const size_t len = sqy_box_bytes(box);
    uint8_t *in = boxes_filled(box, fill), *out = malloc(len);
    struct bytes a = boxes_encode(best, p, box, in), b = boxes_encode(scalar, p, box, in);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    for (unsigned i = 0; i < 2; i++) {
        memset(out, 0x5A, len);
        assert_int_equal(sqy_decode(i ? scalar : best, p, box, a.data, a.len, out), 0);
        if (memcmp(in, out, len) != 0)
            fail_msg("%s: fill %d of %ux%ux%u (%u) comes back wrong", sqy_pipeline_short(p), fill,
                     box->planes, box->rows, box->width, box->spp);
    }
    assert_true(a.len <= len + 1);
    free(a.data);
    free(b.data);
    free(in);
    free(out);
    sqy_ctx_free(&best);
    sqy_ctx_free(&scalar);
}

void boxes_check(const char *pipeline, const struct sqy_box *box)
{
    static const enum sqy_type types[] = {SQY_UINT8, SQY_INT8, SQY_UINT16, SQY_INT16};
    struct sqy_pipeline *p = util_pipeline(pipeline);
    for (size_t t = 0; t < 4; t++) {
        struct sqy_box typed = *box;
        typed.type = types[t];
        for (unsigned fill = 0; fill < BOXES_FILLS; fill++)
            check_fill(p, &typed, (enum boxes_fill)fill);
    }
    sqy_pipeline_free(&p);
}

size_t boxes_coded_bytes(const char *pipeline, const struct sqy_box *box, enum boxes_fill fill)
{
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *p = util_pipeline(pipeline);
    uint8_t *in = boxes_filled(box, fill);
    struct bytes coded = boxes_encode(ctx, p, box, in);
    free(coded.data);
    free(in);
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
    return coded.len;
}

void boxes_check_damage(const char *pipeline, const struct sqy_box *box, enum boxes_fill fill)
{
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *p = util_pipeline(pipeline);
    uint8_t *in = boxes_filled(box, fill), *out = malloc(sqy_box_bytes(box));
    struct bytes coded = boxes_encode(ctx, p, box, in);
    for (size_t n = 0; n < coded.len; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, coded.data, n);
        assert_int_equal(sqy_decode(ctx, p, box, cut, n, out), -EBADMSG);
        free(cut);
    }
    for (size_t i = 0; i < coded.len; i++) {
        for (unsigned with = 1; with < 256; with = 2 * with + 1) {
            coded.data[i] ^= (uint8_t)with;
            int r = sqy_decode(ctx, p, box, coded.data, coded.len, out);
            assert_true(r == 0 || r == -EBADMSG);
            coded.data[i] ^= (uint8_t)with;
        }
    }
    free(coded.data);
    free(in);
    free(out);
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
}
