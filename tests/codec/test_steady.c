/* After the first chunks a context allocates nothing more: a camera's encoder threads must not meet
 * in the allocator. */
#include "test.h"

#include "codec/sqy.h"
#include "counting.h"
#include "util.h"

#include <stdio.h>
#include <stdlib.h>

static void test_no_allocation_for_a_further_chunk(void **state)
{
    (void)state;
    static const char *const texts[] = {"lz4",
                                        "bitswap1->lz4",
                                        "bitshuffle->lz4",
                                        "bitshuffle->zstd",
                                        "bitshuffle->shuffle->bitshuffle->zstd",
                                        "interlace",
                                        "interlace(entropy=0)",
                                        "context",
                                        "noise(offset=100,gain=0.5,read=2)->lz4"};
    enum { N = sizeof(texts) / sizeof(texts[0]) };
    const struct sqy_box big = {SQY_UINT16, 1, 512, 1024, 1}, small = {SQY_UINT16, 1, 77, 1001, 1};
    struct sqy_ctx *ctx = util_ctx();
    const size_t len = sqy_box_bytes(&big);
    uint8_t *in = malloc(len), *out = malloc(len), *coded = malloc(2 * len);
    util_image(in, SQY_UINT16, len / 2, 1);
    struct sqy_pipeline *pipelines[N];
    for (unsigned i = 0; i < N; i++)
        pipelines[i] = util_pipeline(texts[i]);
    size_t before = 0;
    for (unsigned round = 0; round < 6; round++) {
        if (round == 1)
            before = counting_calls();
        for (unsigned i = 0; i < N; i++) {
            const struct sqy_box *box = (round + i) % 2 ? &big : &small;
            box = round ? box : &big;
            ssize_t got = sqy_encode_lossy(ctx, pipelines[i], box, in, coded, 2 * len);
            if (got <= 0 || sqy_decode(ctx, pipelines[i], box, coded, (size_t)got, out) < 0 ||
                sqy_decode_rows(ctx, pipelines[i], box, coded, (size_t)got, 7, 9, out) < 0)
                abort();
        }
    }
    assert_true(before > 0);
    assert_int_equal(counting_calls() - before, 0);
    for (unsigned i = 0; i < N; i++)
        sqy_pipeline_free(&pipelines[i]);
    sqy_ctx_free(&ctx);
    free(in);
    free(out);
    free(coded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_allocation_for_a_further_chunk),
    };
    if (!counting_works()) {
        puts("skipped: allocations cannot be counted under a sanitizer");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
