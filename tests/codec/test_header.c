/* sqeazy's header: as it is written, as it may come, and as it must not. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define END "|01307#!"

/* As sqeazy 0.7.2 wrote it, but for the "/". */
static const char plain[] = "{\n"
                            "    \"pipename\": \"bitswap1(num_bits_per_plane=1)->a\\/b\",\n"
                            "    \"raw\": {\n"
                            "        \"type\": \"uint16\",\n"
                            "        \"rank\": \"3\",\n"
                            "        \"shape\": {\n"
                            "            \"dim\": \"65\",\n"
                            "            \"dim\": \"42\",\n"
                            "            \"dim\": \"47\"\n"
                            "        }\n"
                            "    },\n"
                            "    \"encoded\": {\n"
                            "        \"bytes\": \"118507\"\n"
                            "    },\n"
                            "    \"sqy\": {\n"
                            "        \"version\": \"0.7.2\",\n"
                            "        \"headref\": \"libsqy\"\n"
                            "    }\n"
                            "}\n" END;

static int parse(const char *text, struct sqy_header *h)
{
    memset(h, 0x5A, sizeof(*h));
    return sqy_header_parse(text, strlen(text), h);
}

static void check_plain(const struct sqy_header *h)
{
    assert_string_equal(h->pipename, "bitswap1(num_bits_per_plane=1)->a/b");
    assert_int_equal(h->type, SQY_UINT16);
    assert_int_equal(h->rank, 3);
    assert_int_equal(h->shape[0], 65);
    assert_int_equal(h->shape[1], 42);
    assert_int_equal(h->shape[2], 47);
}

static void test_as_sqeazy_writes_it(void **state)
{
    (void)state;
    struct sqy_header h;
    assert_int_equal(parse(plain, &h), 0);
    check_plain(&h);
    assert_int_equal(h.encoded_bytes, 118507);
    assert_null(h.ours);
    assert_string_equal(h.version, "0.7.2");
    assert_int_equal(h.header_bytes, strlen(plain));
    char again[1024];
    ssize_t len = sqy_header_write(&h, 0, again, sizeof(again));
    assert_int_equal(len % 2, 0);
    size_t blanks = (size_t)len - strlen(plain);
    assert_true(blanks < 2);
    assert_memory_equal(again + blanks, plain, strlen(plain));
    assert_true(!blanks || again[0] == ' ');
    sqy_header_free(&h);
    sqy_header_free(&h); /* once more does nothing */
    assert_null(h.pipename);
}

#define RAW                                                                                        \
    "\"raw\":{\"type\":\"uint16\",\"rank\":\"3\",\"shape\":{\"dim\":\"65\",\"dim\":\"42\","        \
    "\"dim\":\"47\"}}"
#define PIPE "\"pipename\":\"bitswap1(num_bits_per_plane=1)->a/b\""

/* What sqeazy's own reader accepts, by experiment. */
static void test_what_else_must_be_read(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{" PIPE "," RAW "}" END,
        "   \n\t {" PIPE "," RAW "} \n " END,
        "{" RAW "," PIPE "}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"rank\":3,\"shape\":{\"dim\":65,\"dim\":42,"
        "\"dim\":47}}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":[65,42,47]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":[\"65\",42,\"47\"],\"rank\":\"9\"}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"t\",\"shape\":{\"z\":65,\"y\":42,\"x\":47}}}" END,
        "{\"a\":{\"type\":\"b\",\"shape\":[1]}," PIPE ",\"x\":[{\"raw\":7}]," RAW
        ",\"y\":null,\"z\":true}" END,
        "{" PIPE "," RAW ",\"encoded\":{\"bytes\":\"many\"},\"sqy\":7}" END,
        "{" PIPE "," RAW ",\"encoded\":[1,2]}" END,
        "{" PIPE "," RAW ",\"pipename\":\"other\",\"raw\":{\"type\":\"uint8\",\"shape\":[1]}}" END,
        "{" PIPE "," RAW "}" END END,
        "{\"note\":\"\xe9t\xe9\"," PIPE "," RAW "}" END, /* an old encoding */
        "{\"pipename\":\"bitswap1(num_bits_per_plane=1)->a\\u002fb\"," RAW "}" END,
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sqy_header h;
        if (parse(texts[i], &h) < 0)
            fail_msg("not read: %s", texts[i]);
        check_plain(&h);
        assert_int_equal(h.encoded_bytes, 0);
        assert_null(h.ours);
        sqy_header_free(&h);
    }
}

static void test_what_is_damage(void **state)
{
    (void)state;
    static const char *const texts[] = {
        END,
        "{}" END,
        "[]" END,
        "7" END,
        "\"{\"" END,
        "x{" PIPE "," RAW "}" END,
        "{" PIPE "," RAW END,
        "{" PIPE "," RAW "}}" END,
        "{" PIPE "," RAW "} x" END,
        "{" PIPE "," RAW "} 1" END,
        "{" PIPE "," RAW "} \"x" END,
        "{" PIPE "," RAW "} tru" END,
        "{" PIPE "," RAW ",\"sqyfs\":1" END,
        "{\"sqyfs\":1" END,
        "{" PIPE "," RAW ",}" END,
        "{" PIPE " " RAW "}" END,
        "{" PIPE "}" END,
        "{" RAW "}" END,
        "[{" PIPE "," RAW "}]" END,
        "{\"pipename\":[\"lz4\"]," RAW "}" END,
        "{\"pipename\":\"lz4\\u0000->x\"," RAW "}" END,
        "{" PIPE ",\"raw\":{\"shape\":[1]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\"}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":[]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":7}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":[[1,2]]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint24\",\"shape\":[1]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"\",\"shape\":[1]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":[-1]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":[1.5]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":[\"\"]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":[\" 1\"]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":[18446744073709551616]}}" END,
        "{" PIPE ",\"raw\":{\"type\":\"uint16\",\"shape\":[1,1,1,1,1,1,1,1,1]}}" END,
        "{\"raw\":7,\"encoded\":{\"type\":\"uint16\",\"shape\":[1]}," PIPE "}" END,
        "{\"note\":\"" END "\"," PIPE "," RAW "}" END, /* the first occurrence ends it */
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sqy_header h;
        int r = parse(texts[i], &h);
        if (r != -EBADMSG)
            fail_msg("%d, not damage: %s", r, texts[i]);
        assert_int_equal(h.rank, 0x5A5A5A5A); /* untouched */
    }
}

static void test_our_key_is_kept_as_it_stands(void **state)
{
    (void)state;
    static const char *const values[] = {
        "{\"compact\": true, \"id\" : \"a\\/\\\"b\", \"n\":[1,{\"type\":\"x\",\"shape\":[3]}]}",
        "[1,2 , 3]",
        "\"text: with } ] \\\" marks\"",
        "-12.50e3",
        "true",
        "null",
        "{}",
        "[]",
        "{ }",
        "{\"sqyfs\":{\"sqyfs\":1}}",
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        static const char *const forms[] = {
            "{" PIPE "," RAW ",\"sqyfs\":%s}" END,
            "{ \"sqyfs\" : \n %s , " PIPE "," RAW "}" END,
            "{" PIPE ",\"sqyfs\":%s," RAW ",\"sqyfs\":99}" END,
        };
        for (size_t f = 0; f < 3; f++) {
            char text[1024];
            struct sqy_header h;
            const char *hole = strstr(forms[f], "%s");
            snprintf(text, sizeof(text), "%.*s%s%s", (int)(hole - forms[f]), forms[f], values[i],
                     hole + 2);
            assert_int_equal(parse(text, &h), 0);
            assert_string_equal(h.ours, values[i]);
            check_plain(&h);
            char again[2048];
            ssize_t len = sqy_header_write(&h, 777, again, sizeof(again));
            assert_int_equal(len, 777);
            sqy_header_free(&h);
            assert_int_equal(sqy_header_parse(again, 777, &h), 0);
            assert_string_equal(h.ours, values[i]);
            assert_int_equal(h.header_bytes, 777);
            check_plain(&h);
            sqy_header_free(&h);
        }
    }
}

/* "sqyfs" elsewhere than at the top is not ours. */
static void test_our_key_elsewhere_is_not_ours(void **state)
{
    (void)state;
    struct sqy_header h;
    assert_int_equal(parse("{\"x\":{\"sqyfs\":1}," PIPE "," RAW ",\"sqyfs2\":2}" END, &h), 0);
    assert_null(h.ours);
    sqy_header_free(&h);
}

static void test_every_beginning_asks_for_more(void **state)
{
    (void)state;
    struct sqy_header h;
    for (size_t len = 0; len < strlen(plain); len++) {
        char *exact = malloc(len ? len : 1);
        memcpy(exact, plain, len);
        int r = sqy_header_parse(exact, len, &h);
        if (r != -EAGAIN)
            fail_msg("%d at %zu", r, len);
        free(exact);
    }
}

/* A large file that is no blob is refused at once, not after 16 MiB. */
static void test_a_beginning_of_something_else_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "x",  "II*",  "MM",     "  x",  "{\"a\":1} x",    "{a", "[", "\x89HDF",
        "7 ", "{} 1", "{} \"x", "{} t", "{\"a\":1}|01308"};
    struct sqy_header h;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int r = parse(texts[i], &h);
        if (r != -EBADMSG)
            fail_msg("%d: %s", r, texts[i]);
    }
}

static void test_a_header_without_end_is_bounded(void **state)
{
    (void)state;
    const size_t len = SQY_HEADER_MAX + 100;
    char *text = malloc(len);
    struct sqy_header h;
    memset(text, ' ', len);
    assert_int_equal(sqy_header_parse(text, SQY_HEADER_MAX - 1, &h), -EAGAIN);
    assert_int_equal(sqy_header_parse(text, SQY_HEADER_MAX, &h), -EBADMSG);
    memcpy(text + len - strlen(plain), plain, strlen(plain)); /* ends behind the limit */
    assert_int_equal(sqy_header_parse(text, len, &h), -EBADMSG);
    free(text);
}

static int parse_nested(unsigned depth)
{
    char text[1024] = "{\"x\":", after[] = "," PIPE "," RAW "}" END;
    struct sqy_header h;
    size_t len = strlen(text);
    memset(text + len, '[', depth);
    memset(text + len + depth, ']', depth);
    memcpy(text + len + 2 * (size_t)depth, after, sizeof(after));
    int r = parse(text, &h);
    if (r == 0)
        sqy_header_free(&h);
    return r;
}

static void test_nesting_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(parse_nested(1), 0);
    assert_int_equal(parse_nested(63), 0);
    assert_int_equal(parse_nested(64), -EBADMSG);
    assert_int_equal(parse_nested(300), -EBADMSG);
}

static struct sqy_header sample(void)
{
    static char pipename[] = "bitshuffle->zstd", ours[] = "{\"v\":1}";
    return (struct sqy_header){.pipename = pipename,
                               .type = SQY_FLOAT32,
                               .rank = 2,
                               .shape = {UINT64_MAX, 0},
                               .encoded_bytes = UINT64_MAX,
                               .ours = ours};
}

static void test_writing_to_size(void **state)
{
    (void)state;
    struct sqy_header h = sample(), got;
    char out[4096];
    ssize_t bare = sqy_header_write(&h, 0, NULL, 0);
    assert_true(bare > 0 && bare % 4 == 0);
    assert_int_equal(sqy_header_write(&h, 0, out, (size_t)bare - 1), -ENOSPC);
    assert_int_equal(sqy_header_write(&h, 0, out, (size_t)bare), bare);
    assert_int_equal(sqy_header_write(&h, (size_t)bare - 4, out, sizeof(out)), -ENOSPC);
    assert_int_equal(sqy_header_write(&h, sizeof(out) + 1, out, sizeof(out)), -ENOSPC);
    assert_int_equal(sqy_header_write(&h, SQY_HEADER_MAX + 1, NULL, 0), -ENOSPC);
    for (size_t pad = (size_t)bare; pad < (size_t)bare + 9; pad++) {
        memset(out, 0, sizeof(out));
        assert_int_equal(sqy_header_write(&h, pad, out, sizeof(out)), pad);
        assert_int_equal(out[pad], 0);
        assert_int_equal(out[0], '{');
        assert_int_equal(sqy_header_parse(out, sizeof(out), &got), 0);
        assert_int_equal(got.header_bytes, pad);
        assert_int_equal(got.shape[0], UINT64_MAX);
        assert_int_equal(got.shape[1], 0);
        assert_int_equal(got.encoded_bytes, UINT64_MAX);
        assert_int_equal(got.type, SQY_FLOAT32);
        assert_string_equal(got.version, "0.7.2");
        sqy_header_free(&got);
    }
}

static void test_any_text_survives(void **state)
{
    (void)state;
    struct sqy_header h = sample(), got;
    char text[256], out[4096];
    for (int i = 1; i < 256; i++)
        text[i - 1] = (char)i;
    text[255] = 0;
    h.pipename = text;
    h.version = text;
    ssize_t len = sqy_header_write(&h, 0, out, sizeof(out));
    assert_true(len > 0);
    assert_int_equal(sqy_header_parse(out, (size_t)len, &got), 0);
    assert_string_equal(got.pipename, text);
    assert_string_equal(got.version, text);
    sqy_header_free(&got);
}

static void test_what_cannot_be_written(void **state)
{
    (void)state;
    char end[] = "x" END;
    struct sqy_header h = sample();
    h.rank = 0;
    assert_int_equal(sqy_header_write(&h, 0, NULL, 0), -EINVAL);
    h.rank = SQY_MAX_RANK + 1;
    assert_int_equal(sqy_header_write(&h, 0, NULL, 0), -EINVAL);
    h = sample();
    h.type = (enum sqy_type)99;
    assert_int_equal(sqy_header_write(&h, 0, NULL, 0), -EINVAL);
    h = sample();
    h.pipename = NULL;
    assert_int_equal(sqy_header_write(&h, 0, NULL, 0), -EINVAL);
    h = sample();
    h.ours = end;
    assert_int_equal(sqy_header_write(&h, 0, NULL, 0), -EINVAL);
    h = sample();
    h.version = end;
    assert_int_equal(sqy_header_write(&h, 0, NULL, 0), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_sqeazy_writes_it),
        cmocka_unit_test(test_what_else_must_be_read),
        cmocka_unit_test(test_what_is_damage),
        cmocka_unit_test(test_our_key_is_kept_as_it_stands),
        cmocka_unit_test(test_our_key_elsewhere_is_not_ours),
        cmocka_unit_test(test_every_beginning_asks_for_more),
        cmocka_unit_test(test_a_beginning_of_something_else_is_refused),
        cmocka_unit_test(test_a_header_without_end_is_bounded),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_writing_to_size),
        cmocka_unit_test(test_any_text_survives),
        cmocka_unit_test(test_what_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
