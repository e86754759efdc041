#include "test.h"

#include <errno.h>
#include <string.h>

#include "store/names.h"

static void suffix_is_seen_in_any_case(void **state)
{
    (void)state;
    assert_true(names_has_suffix("a.sqy"));
    assert_true(names_has_suffix("a.SQY"));
    assert_true(names_has_suffix("a.sQy"));
    assert_true(names_has_suffix("a.tif.sqy"));
    assert_true(names_has_suffix(".a.sqy"));
    assert_true(names_has_suffix("....sqy"));
    assert_false(names_has_suffix(""));
    assert_false(names_has_suffix("sqy"));
    assert_false(names_has_suffix("asqy"));
    assert_false(names_has_suffix("a.sqyx"));
    assert_false(names_has_suffix("a.sqy "));
}

/* Without the suffix they would show as "", "." and "..". */
static void suffix_leaves_a_name(void **state)
{
    (void)state;
    assert_false(names_has_suffix(".sqy"));
    assert_false(names_has_suffix("..sqy"));
    assert_false(names_has_suffix("...sqy"));
    char out[NAMES_MAX];
    names_to_visible("..sqy", out);
    assert_string_equal(out, "..sqy");
}

static void reserved_names(void **state)
{
    (void)state;
    assert_true(names_is_reserved(".sqyfs"));
    assert_true(names_is_reserved(".sqyfs-policy"));
    assert_true(names_is_reserved(".sqyfs.sqy"));
    assert_false(names_is_reserved(".sqyf"));
    assert_false(names_is_reserved("sqyfs"));
    assert_false(names_is_reserved(".SQYFS"));
}

static void lengths_at_the_limit(void **state)
{
    (void)state;
    char name[NAME_MAX + 2], out[NAMES_MAX];
    memset(name, 'n', sizeof(name));
    name[NAME_MAX - 4] = '\0';
    assert_true(names_fits_blob(name));
    assert_int_equal(names_to_stored(name, true, out), 0);
    assert_int_equal(strlen(out), NAME_MAX);
    name[NAME_MAX - 4] = 'n';
    name[NAME_MAX - 3] = '\0';
    assert_false(names_fits_blob(name));
    assert_int_equal(names_to_stored(name, true, out), -ENAMETOOLONG);
    assert_int_equal(names_to_stored(name, false, out), 0);
    assert_string_equal(out, name);
    memcpy(name + NAME_MAX - 7, ".sqy", 5); /* 252 bytes, ends in the suffix: it must get another */
    assert_int_equal(names_to_stored(name, false, out), -ENAMETOOLONG);
    memset(name, 'n', sizeof(name));
    name[NAME_MAX + 1] = '\0';
    assert_int_equal(names_to_stored(name, false, out), -ENAMETOOLONG);
}

/* Whatever the visible name, as a blob or not, what is stored shows as that name again. */
static void mapping_can_be_undone(void **state)
{
    (void)state;
    static const char *const part[] = {"a",    ".",   "..",     ".sqy", ".SQY",
                                       ".tif", "sqy", "\xff\n", " "};
    const size_t n = sizeof(part) / sizeof(part[0]);
    for (size_t i = 0; i < n * n * n; i++) {
        char name[32], out[NAMES_MAX], back[NAMES_MAX];
        name[0] = '\0';
        strcat(name, part[i % n]);
        strcat(name, part[i / n % n]);
        strcat(name, part[i / n / n]);
        for (int blob = 0; blob < 2; blob++) {
            assert_int_equal(names_to_stored(name, blob, out), 0);
            names_to_visible(out, back);
            assert_string_equal(back, name);
            if (blob || names_has_suffix(name))
                assert_true(names_has_suffix(out));
            else
                assert_string_equal(out, name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suffix_is_seen_in_any_case),
        cmocka_unit_test(suffix_leaves_a_name),
        cmocka_unit_test(reserved_names),
        cmocka_unit_test(lengths_at_the_limit),
        cmocka_unit_test(mapping_can_be_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
