/* The interlaced coder on boxes of every shape: all comes back, from every version of the kernels the
 * same bytes, and damage is an error. */
#include "boxes.h"

static const char *const pipelines[] = {"interlace", "interlace(entropy=0)"};

static void test_every_shape(void **state)
{
    (void)state;
    static const struct sqy_box shapes[] = {
        {.planes = 1, .rows = 1, .width = 1, .spp = 1},
        {.planes = 1, .rows = 1, .width = 1000, .spp = 1},
        {.planes = 1, .rows = 7, .width = 33, .spp = 1},
        {.planes = 1, .rows = 8, .width = 32, .spp = 1},
        {.planes = 1, .rows = 9, .width = 64, .spp = 1},
        {.planes = 1, .rows = 40, .width = 31, .spp = 1}, /* narrow */
        {.planes = 1, .rows = 300, .width = 1, .spp = 1},
        {.planes = 8, .rows = 3, .width = 6, .spp = 3},  /* rows of 3, over three groups */
        {.planes = 9, .rows = 1, .width = 15, .spp = 1}, /* halves of 8 and of 7 */
        {.planes = 1, .rows = 33, .width = 100, .spp = 1},
        {.planes = 1, .rows = 64, .width = 257, .spp = 1},
        {.planes = 5, .rows = 13, .width = 90, .spp = 1},
        {.planes = 3, .rows = 1, .width = 77, .spp = 1},
        {.planes = 2, .rows = 21, .width = 210, .spp = 3}, /* RGB */
        {.planes = 1, .rows = 16, .width = 128, .spp = 2},
        {.planes = 1, .rows = 10, .width = 101, .spp = 4}, /* no whole voxels */
    };
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        for (size_t p = 0; p < 2; p++)
            boxes_check(pipelines[p], &shapes[s]);
    }
}

static void test_what_it_knows_of_images_counts(void **state)
{
    (void)state;
    const struct sqy_box one = {SQY_UINT16, 1, 128, 256, 1}, two = {SQY_UINT16, 2, 128, 256, 1};
    const struct sqy_box narrow = {SQY_UINT16, 1, 128 * 256 / 16, 16, 1};
    const size_t len = sqy_box_bytes(&one);
    assert_true(boxes_coded_bytes("interlace", &one, FLAT) < 300);
    assert_true(boxes_coded_bytes("interlace", &one, BLOBS) <
                len * 6 / 16 + 500); /* 5 bits are noise */
    assert_true(boxes_coded_bytes("interlace", &one, SPACED) < len * 5 / 16 + 500);
    assert_true(boxes_coded_bytes("interlace", &one, HOT) < len * 4 / 16);
    /* noise that is the same in two planes is stored once */
    assert_true(boxes_coded_bytes("interlace", &two, SAME_PLANES) <
                boxes_coded_bytes("interlace", &one, SAME_PLANES) + len / 8);
    assert_true(boxes_coded_bytes("interlace", &one, NOISE) == len + 1);
    assert_true(boxes_coded_bytes("interlace", &narrow, HOT) < len * 5 / 16);
}

/* Their highest plane is nearly empty. */
static void test_few_large_residuals_do_not_widen_a_block(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT16, 1, 128, 256, 1};
    const size_t len = sqy_box_bytes(&box);
    assert_true(boxes_coded_bytes("interlace(entropy=0)", &box, BLOBS) < len * 13 / 32);
}

static void test_masks_are_taken_as_they_are(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT16, 1, 128, 256, 1}, bytes = {SQY_UINT8, 1, 128, 256, 1};
    assert_int_equal(boxes_coded_bytes("interlace", &box, MASK),
                     1 + boxes_coded_bytes("shuffle->zstd", &box, MASK));
    assert_int_equal(boxes_coded_bytes("interlace", &bytes, MASK),
                     1 + boxes_coded_bytes("zstd", &bytes, MASK));
    assert_true(boxes_coded_bytes("interlace", &box, MASK) < sqy_box_bytes(&box) / 8);
}

static void test_damage(void **state)
{
    (void)state;
    static const enum sqy_type types[] = {SQY_UINT16,
                                          SQY_INT8}; /* at 8 bits a shift would run over the end */
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        const struct sqy_box box = {types[t], 2, 16, 40, 1};
        for (size_t p = 0; p < 2; p++)
            boxes_check_damage(pipelines[p], &box, HOT);
        boxes_check_damage("interlace", &box, MASK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_shape),
        cmocka_unit_test(test_what_it_knows_of_images_counts),
        cmocka_unit_test(test_few_large_residuals_do_not_widen_a_block),
        cmocka_unit_test(test_masks_are_taken_as_they_are),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
