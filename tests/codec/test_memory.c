/* What a context holds is bounded by the box, as libsqy(3) says, and can be had back. */
#include "test.h"

#include "codec/sqy.h"
#include "counting.h"
#include "util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB   (1u << 20)
#define ROUND (16u << 10) /* what the allocator rounds up in all */

/* The table in libsqy.3, in bytes; `edge`: of each column of each plane. Rows of fewer than `narrow`
 * voxels count as one. */
struct row {
    const char *pipeline;
    unsigned boxes; /* of filters */
    double sample, row, edge, plane;
    size_t fixed;
    unsigned narrow;
};

static const struct row rows[] = {
    {"pass_through", 0, 0, 0, 0, 0, 0, 0},
    {"lz4", 0, 0, 0, 0, 0, MIB, 0},
    {"lz4(accel=9)", 0, 0, 0, 0, 0, MIB, 0},
    {"lz4(blocksize_kb=4096)", 0, 0, 0, 0, 0, 9 * MIB, 0},
    {"bitswap1->lz4", 1, 0, 0, 0, 0, MIB, 0},
    {"bitshuffle->lz4", 1, 0, 0, 0, 0, MIB, 0},
    {"zstd", 0, 0, 0, 0, 0, MIB, 0},
    {"bitshuffle->zstd", 1, 0, 0, 0, 0, MIB, 0},
    {"delta(zigzag=1)->shuffle->zstd", 2, 0, 0, 0, 0, MIB, 0},
    {"delta->bitshuffle->shuffle->zstd", 2, 0, 0, 0, 0, MIB, 0},
    {"interlace", 0, 8.1, 256, 1, 0, 2 * MIB, 32},
    {"interlace(entropy=0)", 0, 8.1, 256, 1, 0, MIB, 32},
    {"delta->interlace", 1, 8.1, 256, 1, 0, 2 * MIB, 32},
    {"context", 0, 8.1, 40, 16, 80, 2 * MIB, 8},
    {"noise(offset=100,gain=0.5,read=2)->interlace", 1, 8.1, 256, 1, 0, 2 * MIB + 6 * MIB / 10, 32},
};

static const struct sqy_box boxes[] = {
    {SQY_UINT16, 1, 512, 1024, 1}, {SQY_UINT16, 1, 2048, 256, 1},  {SQY_UINT16, 8, 256, 256, 1},
    {SQY_UINT8, 8, 256, 256, 1},   {SQY_UINT16, 1, 512, 1536, 3},  {SQY_UINT16, 64, 64, 64, 1},
    {SQY_UINT16, 64, 64, 31, 1},   {SQY_UINT16, 64, 64, 32, 1},    {SQY_INT8, 64, 64, 32, 1},
    {SQY_UINT16, 64, 1, 1024, 1},  {SQY_UINT16, 64, 33, 1024, 1},  {SQY_UINT16, 300, 16, 33, 1},
    {SQY_UINT16, 1, 1, 1, 1},      {SQY_UINT16, 1, 4000, 96, 3},   {SQY_UINT16, 1, 4000, 24, 3},
    {SQY_UINT16, 1, 1, MIB, 1},    {SQY_UINT8, 1, 1, MIB, 1},      {SQY_UINT16, 2, 100000, 8, 1},
    {SQY_UINT16, 1, 131072, 7, 1}, {SQY_UINT16, MIB / 4, 1, 2, 1}, {SQY_UINT16, MIB / 16, 3, 3, 1},
    {SQY_UINT16, 1, 65535, 21, 3}, {SQY_UINT16, 1, 3, MIB / 2, 1},
};

static size_t bound(const struct row *row, const struct sqy_box *box)
{
    const double samples = (double)box->planes * box->rows * box->width;
    const bool joined = box->width / box->spp < row->narrow;
    const double layers = (double)box->planes * box->spp,
                 all_rows = joined ? layers : layers * box->rows;
    const double edges = (double)box->planes * box->width * (joined ? box->rows : 1);
    return ROUND + row->fixed + (row->boxes + 1) * sqy_box_bytes(box) +
           (size_t)(row->sample * samples + row->row * all_rows + row->edge * edges +
                    row->plane * layers);
}

/* Returns the most that was held meanwhile, by all. */
static size_t use(struct sqy_ctx *ctx, const struct sqy_pipeline *p, const struct sqy_box *box,
                  const uint8_t *in, uint8_t *coded, size_t cap, uint8_t *out)
{
    counting_take_peak();
    ssize_t len = sqy_encode_lossy(ctx, p, box, in, coded, cap);
    if (len <= 0 || sqy_decode(ctx, p, box, coded, (size_t)len, out) < 0 ||
        sqy_decode_rows(ctx, p, box, coded, (size_t)len, 0, 0, out) < 0)
        abort();
    return counting_take_peak();
}

static void check_most(const struct row *row, const struct sqy_box *box, size_t most)
{
    if (most > bound(row, box))
        fail_msg("%s, %ux%ux%u: %zu bytes, not %zu", row->pipeline, box->planes, box->rows,
                 box->width, most, bound(row, box));
}

static void check(const struct row *row, const struct sqy_box *box, bool noise)
{
    struct sqy_pipeline *p = util_pipeline(row->pipeline);
    const size_t len = sqy_box_bytes(box), cap = sqy_encode_bound(p, box);
    if (!cap) { /* a type that the pipeline does not take */
        sqy_pipeline_free(&p);
        return;
    }
    uint8_t *in = malloc(len), *out = malloc(len), *coded = malloc(cap);
    if (noise)
        util_noise(in, len, 1);
    else
        util_image(in, box->type, len / sqy_type_size(box->type), 1);
    struct sqy_ctx *ctx = util_ctx();
    const size_t empty = counting_bytes();
    check_most(row, box, use(ctx, p, box, in, coded, cap, out) - empty);
    sqy_ctx_trim(ctx);
    assert_int_equal(counting_bytes(), empty);
    check_most(row, box, use(ctx, p, box, in, coded, cap, out) - empty);
    assert_true(!sqy_pipeline_is_lossless(p) || !memcmp(in, out, len));
    memset(in, 0, len); /* coders may take another way, and what that needs comes on top */
    check_most(row, box, use(ctx, p, box, in, coded, cap, out) - empty);
    assert_true(!sqy_pipeline_is_lossless(p) || !memcmp(in, out, len));
    sqy_ctx_free(&ctx);
    sqy_pipeline_free(&p);
    free(in);
    free(out);
    free(coded);
}

static void test_a_context_is_bounded_and_gives_back(void **state)
{
    (void)state;
    for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        for (unsigned b = 0; b < sizeof(boxes) / sizeof(boxes[0]); b++) {
            check(&rows[r], &boxes[b], false);
            check(&rows[r], &boxes[b], true);
        }
    }
}

/* blosc's own library allocates for each call. */
static void test_blosc_keeps_nothing(void **state)
{
    (void)state;
#ifdef HAVE_BLOSC
    const struct row row = {"blosc", 0, 0, 0, 0, 0, MIB, 0};
    check(&row, &boxes[0], false);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_context_is_bounded_and_gives_back),
        cmocka_unit_test(test_blosc_keeps_nothing),
    };
    if (!counting_works()) {
        puts("skipped: allocations cannot be counted under a sanitizer");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
