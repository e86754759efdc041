/* Blobs that sqeazy itself wrote: what we know decodes to the expected bytes, the rest is refused.
 */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>

static char *folder; /* of the vectors */

static bool known_stage(const char *name, size_t len)
{
    static const char *const names[] = {"pass_through", "lz4", "bitswap1", "bitshuffle"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == len && !strncmp(names[i], name, len))
            return true;
    }
    return false;
}

static bool known_pipeline(const char *text)
{
    for (const char *at = text; at; at = strstr(at, "->") ? strstr(at, "->") + 2 : NULL) {
        if (!known_stage(at, strcspn(at, "(-")))
            return false;
    }
    return true;
}

static size_t header_voxels(const struct sqy_header *h)
{
    size_t n = 1;
    for (unsigned i = 0; i < h->rank; i++)
        n *= h->shape[i];
    return n * sqy_type_size(h->type);
}

/* -ENOTSUP or the decoded bytes in *out. */
static int decode(const char *path, struct bytes *out, bool *known)
{
    struct bytes blob = util_read(path);
    struct sqy_header h;
    struct sqy_ctx *ctx = util_ctx();
    assert_int_equal(sqy_header_parse(blob.data, blob.len, &h), 0);
    assert_int_equal(h.encoded_bytes, blob.len - h.header_bytes);
    *known = known_pipeline(h.pipename);
    out->len = header_voxels(&h);
    out->data = malloc(out->len);
    int r = sqy_decode_volume(ctx, &h, blob.data + h.header_bytes, blob.len - h.header_bytes,
                              out->data, out->len);
    sqy_ctx_free(&ctx);
    sqy_header_free(&h);
    free(blob.data);
    return r;
}

static struct bytes expected(const char *blob_name)
{
    size_t stem = strlen(blob_name) - strlen(".sqy");
    const char *path = util_path("%s/dec/%.*s.raw", folder, (int)stem, blob_name);
    if (!util_exists(path))
        path = util_path("%s/in/%.*s.raw", folder, (int)(strstr(blob_name, "__") - blob_name),
                         blob_name);
    return util_read(path);
}

static void check_vector(const char *name, unsigned *n_decoded, unsigned *n_refused)
{
    struct bytes got, want;
    bool known;
    int r = decode(util_path("%s/blob/%s", folder, name), &got, &known);
    if (!known) {
        if (r != -ENOTSUP)
            fail_msg("%s: %d, not refused", name, r);
        ++*n_refused;
    } else {
        want = expected(name);
        if (r < 0 || got.len != want.len || memcmp(got.data, want.data, want.len) != 0)
            fail_msg("%s: %d, or wrong bytes", name, r);
        free(want.data);
        ++*n_decoded;
    }
    free(got.data);
}

static void test_every_vector_decodes_or_is_refused(void **state)
{
    (void)state;
    unsigned n_decoded = 0, n_refused = 0;
    struct dirent **names;
    int n = scandir(util_path("%s/blob", folder), &names, NULL, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        if (strstr(names[i]->d_name, ".sqy"))
            check_vector(names[i]->d_name, &n_decoded, &n_refused);
        free(names[i]);
    }
    free(names);
    print_message("%u decoded, %u refused\n", n_decoded, n_refused);
    assert_true(n_decoded >= 40);
    assert_true(n_refused >= 90);
}

/* All planes of a TIFF of 8 or 16 bit. */
static struct bytes read_tiff(const char *path)
{
    struct bytes b = {0};
    TIFF *tiff = TIFFOpen(path, "r");
    assert_non_null(tiff);
    do {
        for (uint32_t strip = 0; strip < TIFFNumberOfStrips(tiff); strip++) {
            tmsize_t room = TIFFStripSize(tiff);
            b.data = realloc(b.data, b.len + (size_t)room);
            tmsize_t got = TIFFReadEncodedStrip(tiff, strip, b.data + b.len, room);
            assert_true(got > 0);
            b.len += (size_t)got;
        }
    } while (TIFFReadDirectory(tiff));
    TIFFClose(tiff);
    return b;
}

static void check_authentic(const char *blob, const char *tiff)
{
    struct bytes got, want = read_tiff(util_path("%s/authentic/%s", folder, tiff));
    bool known;
    int r = decode(util_path("%s/authentic/%s", folder, blob), &got, &known);
    if (r < 0 || got.len != want.len || memcmp(got.data, want.data, want.len) != 0)
        fail_msg("%s: %d, or not what %s holds", blob, r, tiff);
    free(got.data);
    free(want.data);
}

static void test_every_version_of_sqeazy_is_read(void **state)
{
    (void)state;
    check_authentic("droso.sqy", "droso.tif");
    check_authentic("flybrain.sqy", "flybrain.tif");
    check_authentic("tiny-10x10x3.sqy", "tiny-10x10x3.tif");
    check_authentic("hist_droso_c2b11db0.sqy", "droso.tif");
    check_authentic("hist_droso_f8f4653a.sqy", "droso.tif");
    check_authentic("hist_tiny-10x10x3_5e50caf3.sqy", "tiny-10x10x3.tif");
    check_authentic("hist_tiny-10x10x3_dc30e32c.sqy", "tiny-10x10x3.tif");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_vector_decodes_or_is_refused),
        cmocka_unit_test(test_every_version_of_sqeazy_is_read),
    };
    if (!util_shared()) {
        puts("skipped: SQYFS_SHARED names no folder with sqeazy-vectors/");
        return 77;
    }
    if (asprintf(&folder, "%s/sqeazy-vectors", util_shared()) < 0)
        return 1;
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return r;
}
