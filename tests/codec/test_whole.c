/* Volumes coded as a whole: what a stage takes comes back from its own bytes, what it cannot do is
 * refused, and what is damaged fails. Buffers are exactly as large as promised. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sqy_box shapes[] = {
    /* type is filled in: planes, rows, width, spp */
    {0, 1, 1, 1, 1},   {0, 2, 1, 1, 1},   {0, 1, 1, 2, 1},   {0, 1, 5, 7, 1},    {0, 3, 3, 3, 1},
    {0, 3, 2, 1, 1},   {0, 7, 1, 1, 1},   {0, 8, 8, 8, 1},   {0, 16, 16, 32, 1}, {0, 9, 7, 5, 1},
    {0, 40, 3, 4, 1},  {0, 40, 4, 3, 1},  {0, 4, 40, 3, 1},  {0, 2, 64, 48, 1},  {0, 11, 29, 37, 1},
    {0, 33, 31, 9, 1}, {0, 5, 32, 64, 1}, {0, 127, 3, 5, 1}, {0, 128, 3, 5, 1},  {0, 24, 24, 24, 1},
};

#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static bool divides(const struct sqy_box *b, uint32_t t)
{
    return b->planes % t == 0 && b->rows % t == 0 && b->width % t == 0;
}

static bool divides_none(const struct sqy_box *b, uint32_t t)
{
    return b->planes % t && b->rows % t && b->width % t;
}

static bool all_at_least(const struct sqy_box *b, uint32_t t)
{
    return b->planes >= t && b->rows >= t && b->width >= t;
}

/* Shapes that a stage takes, by what the specification says of it. */
static bool takes_any(const struct sqy_box *b)
{
    return b->planes > 0;
}

static bool takes_2(const struct sqy_box *b)
{
    return all_at_least(b, 2);
}

static bool takes_8(const struct sqy_box *b)
{
    return all_at_least(b, 8);
}

static bool raster_5(const struct sqy_box *b)
{
    return divides(b, 5) || divides_none(b, 5);
}

static bool raster_16(const struct sqy_box *b)
{
    return divides_none(b, 16) || (divides(b, 16) && sqy_type_size(b->type) == 1);
}

static bool raster_default(const struct sqy_box *b)
{
    const uint32_t edge = sqy_type_size(b->type) == 1 ? 16 : 8;
    return divides(b, edge) || divides_none(b, edge);
}

static bool diff(const struct sqy_box *b)
{
    return b->planes >= 2 &&
           (sqy_type_size(b->type) > 1 || (b->planes <= 127 && b->rows <= 127 && b->width <= 127));
}

static bool three_planes(const struct sqy_box *b)
{
    return b->planes >= 3;
}

static bool four_planes(const struct sqy_box *b)
{
    return b->planes >= 4;
}

struct row {
    const char *pipeline;
    bool (*takes)(const struct sqy_box *box);
};

static const struct row rows[] = {
    {"lz4", takes_any},
    {"bitswap1->lz4", takes_any},
    {"bitshuffle->zstd", takes_any},
    {"raster_reorder", raster_default},
    {"raster_reorder(tile_size=5)->lz4", raster_5},
    {"raster_reorder(tile_size=16)->bitswap1->lz4", raster_16},
    {"raster_reorder(tile_size=1)", takes_any},
    {"zcurve_reorder->lz4", takes_2},
    {"zcurve_reorder(tile_size=8)->bitshuffle->zstd", takes_8},
    {"diff3x3x1", diff},
    {"diff3x3x1->bitswap1->lz4", diff},
    {"frame_shuffle->lz4", takes_any},
    {"frame_shuffle(frame_chunk_size=3)", three_planes},
    {"frame_shuffle(frame_chunk_size=4)->bitswap1->lz4", four_planes},
    {"tile_shuffle->lz4", takes_any},
    {"tile_shuffle(tile_size=1)", takes_any},
    {"tile_shuffle(tile_size=7)->lz4", takes_any},
    {"tile_shuffle(tile_size=8)->zcurve_reorder->zstd", takes_2},
    {"remove_background(threshold=90)->lz4", takes_any},
    {"rmestbkrd->bitswap1->lz4", three_planes},
    {"quantiser", takes_any},
    {"quantiser->lz4", takes_any},
    {"quantiser(weighting_function=offset_power_of_1_2)->bitswap1->lz4", takes_any},
    {"quantiser(weighting_function=power_3_1)->raster_reorder(tile_size=5)->zstd", raster_5},
    {"quantiser->frame_shuffle->tile_shuffle->shuffle->bitshuffle->lz4", takes_any},
    {"remove_background(threshold=20)->quantiser->bitswap1", takes_any},
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static uint8_t *exact(size_t len)
{
    uint8_t *p = malloc(len ? len : 1);
    assert_non_null(p);
    return p;
}

/* -ENOTSUP, or the coded bytes and the pipeline that decodes them. */
static ssize_t encode(struct sqy_ctx *ctx, const struct sqy_pipeline *p, const struct sqy_box *box,
                      const uint8_t *in, struct bytes *coded, struct sqy_pipeline **used)
{
    const size_t cap = sqy_encode_bound(p, box);
    uint8_t *room = exact(cap);
    ssize_t got = sqy_encode_volume(ctx, p, box, in, room, cap, used);
    if (got > 0) {
        *coded = (struct bytes){exact((size_t)got), (size_t)got};
        memcpy(coded->data, room, (size_t)got);
    }
    free(room);
    return got;
}

/* What a lossy pipeline decodes to it encodes to the same again: only with values that are left. */
static void check_decoded(struct sqy_ctx *ctx, const struct sqy_pipeline *used,
                          const struct sqy_box *box, const struct bytes *coded, const uint8_t *in)
{
    const size_t len = sqy_box_bytes(box);
    uint8_t *out = exact(len), *again = exact(len);
    struct sqy_pipeline *parsed = util_pipeline(sqy_pipeline_text(used));
    assert_int_equal(sqy_decode(ctx, used, box, coded->data, coded->len, out), 0);
    assert_int_equal(sqy_decode(ctx, parsed, box, coded->data, coded->len, again), 0);
    assert_memory_equal(out, again, len);
    if (sqy_pipeline_is_lossless(used) && memcmp(out, in, len) != 0)
        fail_msg("%s: %ux%ux%u of %s are not what they were", sqy_pipeline_short(used), box->planes,
                 box->rows, box->width, sqy_type_name(box->type));
    sqy_pipeline_free(&parsed);
    free(out);
    free(again);
}

static void check(struct sqy_ctx *ctx, const struct row *row, const struct sqy_box *box,
                  bool constant)
{
    struct sqy_pipeline *p = util_pipeline(row->pipeline), *used = NULL;
    const size_t size = sqy_type_size(box->type), len = sqy_box_bytes(box);
    uint8_t *in = exact(len);
    struct bytes coded = {0};
    const bool is_whole = box->type != SQY_BYTES && size <= 2; /* else shuffled, or refused */
    bool takes = is_whole ? row->takes(box) : true;
    if (!sqy_pipeline_is_lossless(p) && box->type != SQY_UINT8 && box->type != SQY_UINT16)
        takes = false;
    if (constant)
        memset(in, 7, len);
    else
        util_image(in, box->type == SQY_BYTES ? SQY_UINT8 : box->type, len / size, len);
    ssize_t got = encode(ctx, p, box, in, &coded, &used);
    if (takes ? got <= 0 : got != -ENOTSUP)
        fail_msg("%s: %zd for %ux%ux%u of %s", row->pipeline, got, box->planes, box->rows,
                 box->width, sqy_type_name(box->type));
    if (got > 0)
        check_decoded(ctx, used, box, &coded, in);
    free(coded.data);
    free(in);
    sqy_pipeline_free(&p);
    sqy_pipeline_free(&used);
}

static void test_every_stage_type_and_shape(void **state)
{
    (void)state;
    static const enum sqy_type types[] = {SQY_UINT8, SQY_UINT16, SQY_INT8,   SQY_INT16,
                                          SQY_BYTES, SQY_UINT32, SQY_FLOAT64};
    struct sqy_ctx *ctx = util_ctx();
    for (size_t i = 0; i < N_ROWS; i++) {
        for (size_t s = 0; s < N_SHAPES; s++) {
            for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
                struct sqy_box box = shapes[s];
                box.type = types[t];
                check(ctx, &rows[i], &box, false);
                check(ctx, &rows[i], &box, true);
            }
        }
    }
    sqy_ctx_free(&ctx);
}

/* Chunks must never meet what makes sense on a whole volume only, or loses something. */
static void test_boxes_are_refused(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    const struct sqy_box box = {SQY_UINT16, 8, 8, 8, 1};
    uint8_t in[1024], out[65536];
    util_image(in, box.type, 512, 1);
    for (size_t i = 0; i < N_ROWS; i++) {
        struct sqy_pipeline *p = util_pipeline(rows[i].pipeline);
        ssize_t got = sqy_encode(ctx, p, &box, in, out, sizeof(out));
        assert_true(sqy_pipeline_needs_volume(p) ? got == -ENOTSUP : got > 0);
        sqy_pipeline_free(&p);
    }
    sqy_ctx_free(&ctx);
}

static void test_too_little_room(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    const struct sqy_box box = {SQY_UINT16, 8, 8, 8, 1};
    uint8_t in[1024];
    util_image(in, box.type, 512, 1);
    for (size_t i = 0; i < N_ROWS; i++) {
        struct sqy_pipeline *p = util_pipeline(rows[i].pipeline), *used = NULL;
        const size_t caps[] = {0, 1, 100, sqy_encode_bound(p, &box) / 2};
        for (size_t c = 0; c < 4 && rows[i].takes(&box); c++) {
            uint8_t *room = exact(caps[c]);
            ssize_t got = sqy_encode_volume(ctx, p, &box, in, room, caps[c], &used);
            assert_true(got == -ENOSPC || (got > 0 && (size_t)got <= caps[c]));
            assert_true((got > 0) == (used != NULL));
            sqy_pipeline_free(&used);
            free(room);
        }
        sqy_pipeline_free(&p);
    }
    sqy_ctx_free(&ctx);
}

static void test_what_is_only_read(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *p = util_pipeline("rmbkrd_neighbor5x5x5"), *used;
    const struct sqy_box box = {SQY_UINT16, 8, 8, 8, 1};
    uint8_t in[1024] = {1, 2, 3}, out[1024];
    assert_int_equal(sqy_encode_volume(ctx, p, &box, in, out, sizeof(out), &used), -ENOTSUP);
    assert_int_equal(sqy_decode(ctx, p, &box, in, sizeof(in), out), 0);
    assert_memory_equal(in, out, sizeof(in));
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
}

/* ---- what each stage does, by hand ---- */

static void check_bytes(const char *text, const struct sqy_box *box, const uint8_t *in,
                        const uint8_t *want, size_t n, const char *want_text)
{
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *p = util_pipeline(text), *used;
    struct bytes coded;
    assert_int_equal(encode(ctx, p, box, in, &coded, &used), n);
    assert_memory_equal(coded.data, want, n);
    assert_string_equal(sqy_pipeline_text(used), want_text);
    free(coded.data);
    sqy_pipeline_free(&p);
    sqy_pipeline_free(&used);
    sqy_ctx_free(&ctx);
}

static void test_tiles_by_hand(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT8, 1, 3, 3, 1}, cube = {SQY_UINT8, 2, 2, 4, 1};
    const uint8_t in[9] = {9, 1, 2, 3, 4, 5, 6, 7, 8};
    const uint8_t shuffled[9] = {2, 5, 9, 1, 3, 4, 6, 7, 8}; /* means 4, 3, 6, 8 */
    const uint8_t volume[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const uint8_t tiled[16] = {0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15};
    check_bytes(
        "tile_shuffle(tile_size=2)", &box, in, shuffled, 9,
        "tile_shuffle(tile_size=2,reorder_map=<verbatim>AQAAAAAAAAAAAAAAAAAAAAIAAAAAAAAAAwAA"
        "AAAAAAA=</verbatim>)");
    check_bytes("raster_reorder(tile_size=2)", &cube, volume, tiled, 16,
                "raster_reorder(tile_size=2)");
    check_bytes("zcurve_reorder", &cube, volume, tiled, 16, "zcurve_reorder(tile_size=2)");
}

static void test_frames_by_hand(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT16, 5, 1, 1, 1};
    const uint8_t in[10] = {0, 9, 0, 8, 1, 0, 2, 0, 3, 0};
    const uint8_t out[10] = {1, 0, 2, 0, 0, 9, 0, 8, 3, 0};
    check_bytes("frame_shuffle(frame_chunk_size=2)", &box, in, out, 10,
                "frame_shuffle(frame_chunk_size=2,reorder_map=<verbatim>AQAAAAAAAAAAAAAAAAAAAA=="
                "</verbatim>)");
}

static void test_differences_by_hand(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT8, 3, 3, 4, 1};
    uint8_t in[36], want[36];
    for (unsigned i = 0; i < 36; i++)
        in[i] = (uint8_t)(40 + i * i);
    memcpy(want, in, 36);
    for (size_t z = 1; z < 3; z++) { /* runs of one voxel: there are three planes */
        unsigned sum = 0;
        for (size_t k = 0; k < 9; k++)
            sum += in[(z - 1) * 12 + k / 3 * 4 + k % 3];
        want[z * 12 + 5] = (uint8_t)(in[z * 12 + 5] - (sum & 0xFF) / 9);
    }
    check_bytes("diff3x3x1", &box, in, want, 36, "diff3x3x1");
}

static void test_codes_by_hand(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT16, 1, 1, 5, 1};
    const uint8_t in[10] = {0x34, 0x12, 7, 0, 7, 0, 0xFF, 0xFF, 0x34, 0x12},
                  want[5] = {1, 0, 0, 2, 1};
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *p = util_pipeline("quantiser"), *used;
    struct bytes coded;
    uint8_t out[10];
    assert_int_equal(encode(ctx, p, &box, in, &coded, &used), 5);
    assert_memory_equal(coded.data, want, 5);
    assert_int_equal(sqy_decode(ctx, used, &box, coded.data, 5, out), 0);
    assert_memory_equal(out, in, 10); /* no more than 256 values: nothing is lost */
    free(coded.data);
    sqy_pipeline_free(&p);
    sqy_pipeline_free(&used);
    sqy_ctx_free(&ctx);
}

static void test_deltas_by_hand(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT8, 1, 2, 4, 2};
    const uint8_t in[8] = {10, 200, 11, 200, 9, 198, 11, 0};
    const uint8_t plain[8] = {10, 200, 1, 0, 254, 254, 2, 58};
    const uint8_t folded[8] = {10, 200, 2, 0, 3, 3, 4, 116};
    check_bytes("delta", &box, in, plain, 8, "delta(zigzag=0)");
    check_bytes("delta(zigzag=1)", &box, in, folded, 8, "delta(zigzag=1)");
}

/* ---- damage ---- */

static void test_maps_and_tables_that_do_not_fit(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "quantiser", /* without its table */
        "quantiser(decode_lut_string=<verbatim></verbatim>)",
        "quantiser(decode_lut_string=<verbatim>AAAA</verbatim>)",
        "frame_shuffle",
        "frame_shuffle(reorder_map=<verbatim>AAAA</verbatim>)",
        "frame_shuffle(reorder_map=<verbatim>AAAAAAAAAAAAAAAAAAAAAA==</verbatim>)", /* two */
        "frame_shuffle(reorder_map=<verbatim>AAAAAAAAAAABAAAAAAAAAAMAAAAAAAAA</verbatim>)", /* 3 */
        "tile_shuffle(tile_size=2)",
        "tile_shuffle(reorder_map=<verbatim>AAAAAAAAAAAAAAAAAAAAAA==</verbatim>)", /* one is due */
        ("tile_shuffle(tile_size=2,reorder_map=<verbatim>"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=</verbatim>)"), /* the largest four times */
    };
    struct sqy_ctx *ctx = util_ctx();
    const struct sqy_box box = {SQY_UINT16, 3, 3, 2, 1};
    const uint8_t in[36] = {0};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sqy_pipeline *p = util_pipeline(texts[i]);
        uint8_t out[36];
        int r = sqy_decode(ctx, p, &box, in, strncmp(texts[i], "quant", 5) ? 36 : 18, out);
        if (r != -EBADMSG)
            fail_msg("%s: %d", texts[i], r);
        sqy_pipeline_free(&p);
    }
    sqy_ctx_free(&ctx);
}

static void check_cut(const struct row *row)
{
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *p = util_pipeline(row->pipeline), *used;
    const struct sqy_box box = {SQY_UINT16, 8, 8, 8, 1};
    uint8_t in[1024], out[1024];
    struct bytes coded;
    util_image(in, box.type, 512, 3);
    assert_true(encode(ctx, p, &box, in, &coded, &used) > 0);
    for (size_t len = 0; len < coded.len; len++) {
        uint8_t *cut = exact(len);
        memcpy(cut, coded.data, len);
        if (sqy_decode(ctx, used, &box, cut, len, out) != -EBADMSG)
            fail_msg("%s: %zu of %zu bytes are enough", row->pipeline, len, coded.len);
        free(cut);
    }
    free(coded.data);
    sqy_pipeline_free(&p);
    sqy_pipeline_free(&used);
    sqy_ctx_free(&ctx);
}

static void test_cut_payloads(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT16, 8, 8, 8, 1};
    for (size_t i = 0; i < N_ROWS; i++)
        if (rows[i].takes(&box))
            check_cut(&rows[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_stage_type_and_shape),
        cmocka_unit_test(test_boxes_are_refused),
        cmocka_unit_test(test_too_little_room),
        cmocka_unit_test(test_what_is_only_read),
        cmocka_unit_test(test_tiles_by_hand),
        cmocka_unit_test(test_frames_by_hand),
        cmocka_unit_test(test_differences_by_hand),
        cmocka_unit_test(test_codes_by_hand),
        cmocka_unit_test(test_deltas_by_hand),
        cmocka_unit_test(test_maps_and_tables_that_do_not_fit),
        cmocka_unit_test(test_cut_payloads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
