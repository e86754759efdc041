/* The contextual coder on boxes of every shape: all comes back, and damage is an error. */
#include "test.h"

#include "util.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum fill { BLOBS, NOISE, FLAT, RAMP, HOT, SPACED, SAME_PLANES, FILLS };

static double wave(const struct sqy_box *box, size_t i)
{
    const size_t x = i % box->width / box->spp, y = i / box->width % box->rows;
    return 500 + 300 * sin((double)x / 9) * sin((double)y / 7);
}

static uint32_t sample(const struct sqy_box *box, enum fill fill, size_t i, uint64_t *seed)
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
    case HOT: /* dark, with pixels at the end of the range */
        return noise % 211 ? 100 + noise % 7 : 0xffff - noise % 3;
    case SPACED: /* 12 bits in the upper part of 16 */
        return ((uint32_t)wave(box, i) + noise % 16) << 4;
    case SAME_PLANES:
        return (uint32_t)((i % plane) * (i % plane) * 2654435761u) >> 20;
    default:
        return (uint32_t)wave(box, i) + noise % 32;
    }
}

static uint8_t *filled(const struct sqy_box *box, enum fill fill)
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

static struct bytes encode(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
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

static void check_box(const struct sqy_pipeline *p, const struct sqy_box *box, enum fill fill)
{
    struct sqy_ctx *ctx = util_ctx();
    const size_t len = sqy_box_bytes(box);
    uint8_t *in = filled(box, fill), *out = malloc(len);
    struct bytes coded = encode(ctx, p, box, in);
    memset(out, 0x5A, len);
    assert_int_equal(sqy_decode(ctx, p, box, coded.data, coded.len, out), 0);
    if (memcmp(in, out, len) != 0)
        fail_msg("fill %d of %ux%ux%u (%u) comes back wrong", fill, box->planes, box->rows,
                 box->width, box->spp);
    assert_true(coded.len <= len + 1);
    free(coded.data);
    free(in);
    free(out);
    sqy_ctx_free(&ctx);
}

static void test_every_shape(void **state)
{
    (void)state;
    static const struct sqy_box shapes[] = {
        {.planes = 1, .rows = 1, .width = 1, .spp = 1},
        {.planes = 1, .rows = 1, .width = 1000, .spp = 1},
        {.planes = 1, .rows = 7, .width = 33, .spp = 1},
        {.planes = 1, .rows = 8, .width = 32, .spp = 1},
        {.planes = 1, .rows = 9, .width = 64, .spp = 1},
        {.planes = 1, .rows = 40, .width = 8, .spp = 1},
        {.planes = 2, .rows = 40, .width = 7, .spp = 1}, /* narrow */
        {.planes = 1, .rows = 31, .width = 9, .spp = 1}, /* the tallest without bands */
        {.planes = 3, .rows = 32, .width = 40, .spp = 1},
        {.planes = 4, .rows = 35, .width = 11, .spp = 1}, /* bands of 18 and 17 rows */
        {.planes = 1, .rows = 300, .width = 1, .spp = 1},
        {.planes = 1, .rows = 33, .width = 100, .spp = 1},
        {.planes = 1, .rows = 64, .width = 257, .spp = 1},
        {.planes = 5, .rows = 13, .width = 90, .spp = 1},
        {.planes = 3, .rows = 1, .width = 77, .spp = 1},
        {.planes = 2, .rows = 21, .width = 210, .spp = 3}, /* RGB */
        {.planes = 1, .rows = 16, .width = 128, .spp = 2},
        {.planes = 1, .rows = 10, .width = 101, .spp = 4}, /* no whole voxels */
    };
    static const enum sqy_type types[] = {SQY_UINT8, SQY_INT8, SQY_UINT16, SQY_INT16};
    struct sqy_pipeline *pipeline = util_pipeline("context");
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        for (size_t t = 0; t < 4; t++) {
            struct sqy_box box = shapes[s];
            box.type = types[t];
            for (unsigned fill = 0; fill < FILLS; fill++)
                check_box(pipeline, &box, (enum fill)fill);
        }
    }
    sqy_pipeline_free(&pipeline);
}

static size_t coded_bytes(const struct sqy_box *box, enum fill fill)
{
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *p = util_pipeline("context");
    uint8_t *in = filled(box, fill);
    struct bytes coded = encode(ctx, p, box, in);
    free(coded.data);
    free(in);
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
    return coded.len;
}

static void test_what_it_knows_of_images_counts(void **state)
{
    (void)state;
    const struct sqy_box one = {SQY_UINT16, 1, 128, 256, 1}, two = {SQY_UINT16, 2, 128, 256, 1};
    const struct sqy_box narrow = {SQY_UINT16, 1, 128 * 256 / 16, 16, 1};
    const size_t len = sqy_box_bytes(&one);
    assert_true(coded_bytes(&one, FLAT) < 600);
    assert_true(coded_bytes(&one, BLOBS) < len * 23 / 64 + 500); /* 5 bits are noise */
    assert_true(coded_bytes(&one, SPACED) < len * 19 / 64 + 500);
    assert_true(coded_bytes(&one, HOT) < len * 14 / 64);
    /* noise that is the same in two planes is stored once */
    assert_true(coded_bytes(&two, SAME_PLANES) < coded_bytes(&one, SAME_PLANES) + len / 8);
    assert_true(coded_bytes(&one, NOISE) == len + 1);
    assert_true(coded_bytes(&narrow, HOT) < len * 5 / 16);
}

/* Every byte changed in turn, and every length cut off: an error, or other voxels; never more. */
static void check_damage(enum sqy_type type)
{
    const struct sqy_box box = {type, 2, 33, 20, 1};
    const size_t len = sqy_box_bytes(&box);
    struct sqy_ctx *ctx = util_ctx();
    uint8_t *out = malloc(len);
    struct sqy_pipeline *pipeline = util_pipeline("context");
    uint8_t *in = filled(&box, HOT);
    struct bytes coded = encode(ctx, pipeline, &box, in);
    for (size_t n = 0; n < coded.len; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, coded.data, n);
        assert_int_equal(sqy_decode(ctx, pipeline, &box, cut, n, out), -EBADMSG);
        free(cut);
    }
    for (size_t i = 0; i < coded.len; i++) {
        for (unsigned with = 1; with < 256; with = 2 * with + 1) {
            coded.data[i] ^= (uint8_t)with;
            int r = sqy_decode(ctx, pipeline, &box, coded.data, coded.len, out);
            assert_true(r == 0 || r == -EBADMSG);
            coded.data[i] ^= (uint8_t)with;
        }
    }
    free(coded.data);
    free(in);
    sqy_pipeline_free(&pipeline);
    free(out);
    sqy_ctx_free(&ctx);
}

static void test_damage(void **state)
{
    (void)state;
    check_damage(SQY_UINT16);
    check_damage(SQY_INT8); /* a shift in the head would run over its bytes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_shape),
        cmocka_unit_test(test_what_it_knows_of_images_counts),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
