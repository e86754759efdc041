/* Rows and planes of a box, from and to memory that is not aligned. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const pipelines[] = {
    "pass_through",         "lz4",       "bitswap1->lz4",        "bitshuffle->zstd",
    "delta->shuffle->zstd", "interlace", "interlace(entropy=0)", "context"};
static const struct sqy_box boxes[] = {
    {SQY_UINT16, 5, 40, 64, 1}, {SQY_UINT8, 5, 40, 66, 3}, {SQY_FLOAT32, 5, 7, 9, 1}};

/* A coded box, everything at odd addresses. */
struct fixture {
    struct sqy_ctx *ctx;
    struct sqy_pipeline *pipeline;
    const struct sqy_box *box;
    uint8_t *in, *coded, *out; /* the memory begins a byte before */
    size_t len, coded_len;
};

static uint8_t *odd(size_t len)
{
    return (uint8_t *)malloc(len + 1) + 1;
}

static void set_up(struct fixture *f, const char *pipeline, const struct sqy_box *box)
{
    *f = (struct fixture){.ctx = util_ctx(), .pipeline = util_pipeline(pipeline), .box = box};
    const size_t cap = sqy_encode_bound(f->pipeline, box);
    f->len = sqy_box_bytes(box);
    f->in = odd(f->len);
    f->coded = odd(cap);
    f->out = odd(f->len);
    util_image(f->in, box->type, f->len / sqy_type_size(box->type), 3);
    ssize_t got = sqy_encode(f->ctx, f->pipeline, box, f->in, f->coded, cap);
    assert_true(got > 0);
    f->coded_len = (size_t)got;
}

static void tear_down(struct fixture *f)
{
    free(f->in - 1);
    free(f->coded - 1);
    free(f->out - 1);
    sqy_pipeline_free(&f->pipeline);
    sqy_ctx_free(&f->ctx);
}

static int decode_rows(struct fixture *f, size_t first, size_t n)
{
    memset(f->out, 0x55, f->len);
    return sqy_decode_rows(f->ctx, f->pipeline, f->box, f->coded, f->coded_len, first, n, f->out);
}

static void check_rows(struct fixture *f, size_t first, size_t n)
{
    const size_t row = f->len / f->box->planes / f->box->rows;
    assert_int_equal(decode_rows(f, first, n), 0);
    assert_memory_equal(f->out, f->in + first * row, n * row);
    for (size_t i = n * row; i < f->len; i++)
        assert_int_equal(f->out[i], 0x55);
}

static void test_rows_and_planes(void **state)
{
    (void)state;
    for (unsigned p = 0; p < sizeof(pipelines) / sizeof(pipelines[0]); p++) {
        for (unsigned b = 0; b < sizeof(boxes) / sizeof(boxes[0]); b++) {
            struct fixture f;
            set_up(&f, pipelines[p], &boxes[b]);
            const size_t rows = f.box->rows, all = f.box->planes * rows;
            check_rows(&f, 0, all);
            check_rows(&f, 2 * rows, rows);
            check_rows(&f, rows - 1, rows + 2);
            check_rows(&f, all - 1, 1);
            check_rows(&f, all, 0);
            tear_down(&f);
        }
    }
}

static void test_what_is_not_there_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, SQY_PIPELINE_DEFAULT, &boxes[0]);
    const size_t all = (size_t)f.box->planes * f.box->rows;
    assert_int_equal(decode_rows(&f, 0, all + 1), -EINVAL);
    assert_int_equal(decode_rows(&f, all + 1, 0), -EINVAL);
    assert_int_equal(decode_rows(&f, 1, SIZE_MAX), -EINVAL);
    assert_int_equal(decode_rows(&f, SIZE_MAX, 2), -EINVAL);
    f.coded_len--;
    assert_int_equal(decode_rows(&f, 0, 1), -EBADMSG);
    const struct sqy_box none = {SQY_UINT16, 0, 1, 1, 1};
    f.box = &none;
    assert_int_equal(decode_rows(&f, 0, 0), -EINVAL);
    f.box = &boxes[0];
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_and_planes),
        cmocka_unit_test(test_what_is_not_there_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
