/* The video sinks: what they promise of sizes, depths and settings. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum fill { NOISE, BLOBS, FLAT, EDGES, FILLS };

/* Samples of so many bits. */
static void fill_samples(uint8_t *out, const struct sqy_box *box, unsigned bits, enum fill fill)
{
    const size_t size = sqy_type_size(box->type), n = sqy_box_bytes(box) / size;
    const uint32_t most = (1u << bits) - 1;
    uint64_t random = 1 + bits;
    for (size_t i = 0; i < n; i++) {
        const size_t x = i % box->width, y = i / box->width % box->rows;
        uint64_t v = util_random(&random);
        if (fill == BLOBS)
            v = most / 8 + (x / 5 % 7 + y / 3 % 5) * (most / 16) + v % (most / 32);
        else if (fill == FLAT)
            v = most / 3;
        else if (fill == EDGES)
            v = (x ^ y) & 1 ? most : 0;
        v &= most;
        memcpy(out + i * size, &v, size);
    }
}

/* Encodes and decodes; returns the coded bytes or what went wrong. */
static ssize_t there_and_back(struct sqy_ctx *ctx, const char *text, const struct sqy_box *box,
                              const uint8_t *in, uint8_t *out)
{
    struct sqy_pipeline *p = util_pipeline(text);
    const size_t cap = sqy_encode_bound(p, box);
    uint8_t *coded = malloc(cap + 1);
    ssize_t len = sqy_encode_lossy(ctx, p, box, in, coded, cap);
    if (len > 0) {
        int r = sqy_decode(ctx, p, box, coded, (size_t)len, out);
        if (r < 0)
            fail_msg("%s: %d, not decoded", text, r);
    }
    free(coded);
    sqy_pipeline_free(&p);
    return len;
}

static const struct sqy_box sizes[] = {
    {0, 8, 64, 64, 1},  {0, 3, 37, 29, 1},  {0, 1, 1, 1, 1},     {0, 2, 2, 2, 1},
    {0, 9, 65, 130, 1}, {0, 1, 1, 4099, 1}, {0, 2, 301, 3, 1},   {0, 4, 17, 15, 1},
    {0, 1, 63, 64, 1},  {0, 5, 8, 16, 1},   {0, 1, 2, 16384, 1},
};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void check_exact(struct sqy_ctx *ctx, const char *text, enum sqy_type type, unsigned bits)
{
    for (size_t s = 0; s < N_SIZES; s++) {
        for (enum fill fill = 0; fill < FILLS; fill++) {
            struct sqy_box box = sizes[s];
            box.type = type;
            const size_t len = sqy_box_bytes(&box);
            uint8_t *in = malloc(len), *out = malloc(len);
            fill_samples(in, &box, bits, fill);
            ssize_t got = there_and_back(ctx, text, &box, in, out);
            if (got <= 0 || memcmp(in, out, len) != 0)
                fail_msg("%s, %u bits, %ux%ux%u, fill %d: %zd, or not exact", text, bits,
                         box.planes, box.rows, box.width, fill, got);
            free(in);
            free(out);
        }
    }
}

static void test_lossless_settings_are_exact(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    check_exact(ctx, "h264", SQY_UINT8, 8);
    check_exact(ctx, "hevc", SQY_UINT8, 8);
    check_exact(ctx, "h264(bits=8)", SQY_UINT16, 8);
    check_exact(ctx, "h264(bits=10)", SQY_UINT16, 10);
    check_exact(ctx, "h264(bits=10)", SQY_UINT8, 8);
    check_exact(ctx, "hevc(bits=8)", SQY_INT16, 8);
    check_exact(ctx, "hevc(bits=10)", SQY_UINT16, 10);
    check_exact(ctx, "hevc(bits=12)", SQY_UINT16, 12);
    check_exact(ctx, "h264(preset=medium,qp=0,bits=10)", SQY_UINT16, 10);
    check_exact(ctx, "hevc(preset=superfast,lossless=1,bits=12)", SQY_UINT16, 12);
    sqy_ctx_free(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lossless_settings_are_exact),
    };
#ifndef HAVE_VIDEO
    puts("skipped: this build has no video");
    return 77;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
