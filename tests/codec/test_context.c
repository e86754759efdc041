/* The contextual coder on boxes of every shape: all comes back, and damage is an error. */
#include "boxes.h"

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
        {.planes = 4, .rows = 63, .width = 12, .spp = 1},  /* rows for two bands */
        {.planes = 3, .rows = 85, .width = 9, .spp = 1},   /* 255 rows: two bands */
        {.planes = 4, .rows = 64, .width = 8, .spp = 1},   /* four */
        {.planes = 4, .rows = 65, .width = 41, .spp = 1},  /* one of them has a row more */
        {.planes = 2, .rows = 131, .width = 37, .spp = 1}, /* three have */
        {.planes = 1, .rows = 258, .width = 50, .spp = 2}, /* interleaved, of two bands */
        {.planes = 1, .rows = 33, .width = 100, .spp = 1},
        {.planes = 1, .rows = 64, .width = 257, .spp = 1},
        {.planes = 5, .rows = 13, .width = 90, .spp = 1},
        {.planes = 3, .rows = 1, .width = 77, .spp = 1},
        {.planes = 2, .rows = 21, .width = 210, .spp = 3}, /* RGB */
        {.planes = 1, .rows = 16, .width = 128, .spp = 2},
        {.planes = 1, .rows = 10, .width = 101, .spp = 4}, /* no whole voxels */
    };
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        boxes_check("context", &shapes[s]);
    }
}

static void test_what_it_knows_of_images_counts(void **state)
{
    (void)state;
    const struct sqy_box one = {SQY_UINT16, 1, 128, 256, 1}, two = {SQY_UINT16, 2, 128, 256, 1};
    const struct sqy_box narrow = {SQY_UINT16, 1, 128 * 256 / 16, 16, 1};
    const size_t len = sqy_box_bytes(&one);
    assert_true(boxes_coded_bytes("context", &one, FLAT) < 600);
    assert_true(boxes_coded_bytes("context", &one, BLOBS) <
                len * 23 / 64 + 500); /* 5 bits are noise */
    assert_true(boxes_coded_bytes("context", &one, SPACED) < len * 19 / 64 + 500);
    assert_true(boxes_coded_bytes("context", &one, HOT) < len * 14 / 64);
    /* noise that is the same in two planes is stored once */
    assert_true(boxes_coded_bytes("context", &two, SAME_PLANES_DARK) <
                boxes_coded_bytes("context", &one, SAME_PLANES_DARK) + len / 8);
    assert_true(boxes_coded_bytes("context", &one, NOISE) == len + 1);
    assert_true(boxes_coded_bytes("context", &narrow, HOT) < len * 5 / 16);
}

static void test_masks_are_taken_as_they_are(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT16, 1, 128, 256, 1};
    assert_int_equal(boxes_coded_bytes("context", &box, MASK),
                     1 + boxes_coded_bytes("shuffle->zstd", &box, MASK));
}

static void test_damage(void **state)
{
    (void)state;
    static const enum sqy_type types[] = {SQY_UINT16,
                                          SQY_INT8}; /* at 8 bits a shift would run over the end */
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        const struct sqy_box box = {types[t], 2, 33, 20, 1};
        boxes_check_damage("context", &box, HOT);
        boxes_check_damage("context", &box, MASK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_shape),
        cmocka_unit_test(test_what_it_knows_of_images_counts),
        cmocka_unit_test(test_masks_are_taken_as_they_are),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
