/* Raw policies, and the layout of raw volumes. */
#include "test.h"

#include <errno.h>
#include <string.h>

#include "file.h"
#include "image/layout.h"

#define TARGET (64u << 10)

static void good_policies(void **state)
{
    (void)state;
    static const struct {
        const char *text, *glob;
        uint32_t width, height;
        enum layout_type type;
        bool big_endian;
    } cases[] = {
        {"*.raw:2048x1024", "*.raw", 2048, 1024, LAYOUT_UINT16, false},
        {"a:1x1:uint8", "a", 1, 1, LAYOUT_UINT8, false},
        {"t:*:3x4:float32:be", "t:*", 3, 4, LAYOUT_FLOAT32, true},
        {"be:3x4:int64", "be", 3, 4, LAYOUT_INT64, false},
        {"1x1:2x2", "1x1", 2, 2, LAYOUT_UINT16, false},
        {"x:1073741824x1073741824:float64", "x", 1u << 30, 1u << 30, LAYOUT_FLOAT64, false},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct raw_policy policy;
        char why[200] = "";
        assert_int_equal(raw_policy_parse(cases[i].text, &policy, why, sizeof(why)), 0);
        assert_string_equal(policy.glob, cases[i].glob);
        assert_int_equal(policy.width, cases[i].width);
        assert_int_equal(policy.height, cases[i].height);
        assert_int_equal(policy.type, cases[i].type);
        assert_int_equal(policy.big_endian, cases[i].big_endian);
        raw_policy_clear(&policy);
        raw_policy_clear(&policy);
    }
}

static void bad_policies(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        ":",
        "*.raw",
        ":1x1",
        "a:1",
        "a:1x",
        "a:x1",
        "a:0x1",
        "a:1x0",
        "a:-1x1",
        "a:1x1:",
        "a:1x1:u16",
        "a:1x1:be",
        "a:1x1:uint8:le",
        "a:1x1:uint8:",
        "a:1x1x1",
        "a: 1x1",
        "a:4294967296x1",
        "a:1x99999999999999999999",
        "a:1073741825x1",
        "a:1x1:bytes",
        "uint8:be",
        "1x1:uint8",
        "a:1X1",
    };
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct raw_policy policy = {0};
        char why[80] = "";
        assert_int_equal(raw_policy_parse(texts[i], &policy, why, sizeof(why)), -EINVAL);
        assert_true(strlen(why) > 10);
        assert_null(strchr(why, '\n'));
        assert_null(policy.glob);
    }
}

static void names_match(void **state)
{
    (void)state;
    struct raw_policy policy;
    char why[80];
    assert_int_equal(raw_policy_parse("cam?_*.raw:4x4", &policy, why, sizeof(why)), 0);
    assert_true(raw_policy_matches(&policy, "cam1_t0001.raw"));
    assert_false(raw_policy_matches(&policy, "cam1_t0001.tif"));
    raw_policy_clear(&policy);
}

static void planes_from_byte_zero(void **state)
{
    (void)state;
    static uint8_t data[5 * 100 * 80 * 2 + 37];
    struct raw_policy policy = {
        .width = 100, .height = 80, .type = LAYOUT_INT16, .big_endian = true};
    struct layout *layout;
    struct layout_piece want, pieces[4];
    struct layout_unit unit;
    struct layout_info info;
    uint64_t gap_end, voxels;
    uint32_t n;
    assert_int_equal(layout_create(TARGET, &policy, &layout), 0);
    assert_int_equal(layout_kind(layout), LAYOUT_RAW);
    /* any byte that may ever be written is planned for */
    assert_true(layout_unit_at(layout, 1ull << 62, &unit, &gap_end));
    assert_int_equal(unit.planes, 4);
    assert_null(file_check(layout, 1 << 30, false, TARGET, 1000, NULL));
    assert_false(layout_note(layout, 0, 1000));

    struct file file = {.data = data, .len = sizeof(data)};
    assert_int_equal(layout_update(layout, file_read, &file, sizeof(data), true, &want), 0);
    assert_null(file_check(layout, sizeof(data), true, TARGET, 1000, &voxels));
    assert_int_equal(voxels, 5 * 16000);
    assert_true(layout_unit_at(layout, 4 * 16000, &unit, &gap_end));
    assert_int_equal(unit.planes, 1);
    assert_int_equal(unit.rows, 80);
    assert_int_equal(unit.type, LAYOUT_INT16);
    assert_true(unit.big_endian);
    assert_false(unit.open);
    assert_false(layout_unit_at(layout, 5 * 16000, &unit, &gap_end));
    layout_info(layout, &info);
    assert_true(info.one_volume);
    assert_int_equal(info.depth, 5);
    assert_int_equal(layout_volume_pieces(layout, 10, UINT64_MAX - 10, pieces, 4, &n), 79990);
    assert_int_equal(n, 1);

    /* it grows again */
    assert_int_equal(layout_update(layout, file_read, &file, sizeof(data), false, &want), 0);
    assert_true(layout_unit_at(layout, 5 * 16000, &unit, &gap_end));
    assert_int_equal(layout_update(layout, file_read, &file, 15999, true, &want), 0);
    assert_false(layout_unit_at(layout, 0, &unit, &gap_end));
    layout_info(layout, &info);
    assert_false(info.one_volume);
    assert_int_equal(layout_volume_pieces(layout, 0, 10, pieces, 4, &n), 0);
    layout_destroy(&layout);
}

static void largest_planes(void **state)
{
    (void)state;
    struct raw_policy policy = {.width = 1u << 30, .height = 1u << 30, .type = LAYOUT_FLOAT64};
    struct layout *layout;
    struct layout_piece want;
    struct file file = {.data = NULL};
    assert_int_equal(layout_create(TARGET, &policy, &layout), 0);
    /* a plane of 2^63 bytes: no file has one */
    struct layout_unit unit;
    uint64_t gap_end;
    assert_false(layout_unit_at(layout, 0, &unit, &gap_end));
    assert_int_equal(layout_update(layout, file_read, &file, UINT64_MAX, true, &want), 0);
    layout_destroy(&layout);
    policy.type = LAYOUT_FLOAT32;
    assert_int_equal(layout_create(TARGET, &policy, &layout), 0);
    assert_null(file_check(layout, 1ull << 40, false, TARGET, 1000, NULL));
    assert_null(file_check(layout, INT64_MAX, false, TARGET, 1000, NULL));
    layout_destroy(&layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_policies),  cmocka_unit_test(bad_policies),
        cmocka_unit_test(names_match),    cmocka_unit_test(planes_from_byte_zero),
        cmocka_unit_test(largest_planes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
