/* Blobs that sqeazy itself wrote: all of them decode to the expected bytes (video where the build has it),
 * and what we encode of their voxels says the same as they do. */
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

#ifdef HAVE_VIDEO
#define HAS_VIDEO true
#else
#define HAS_VIDEO false
#endif
#define N_VIDEO 15

static bool is_video(const char *pipename)
{
    return strstr(pipename, "h264") || strstr(pipename, "hevc");
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
    *known = HAS_VIDEO || !is_video(h.pipename);
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
    assert_int_equal(n_decoded, 149 + (HAS_VIDEO ? N_VIDEO : 0));
    assert_int_equal(n_refused, HAS_VIDEO ? 0 : N_VIDEO);
}

/* ---- the way there ---- */

/* What sqeazy cannot write rightly (and so we do not), or writes with losses where we do not. */
static bool differs(const char *name)
{
    static const char *const parts[] = {"__rmbkrd-neighbor5x5x5",
                                        "syn_64x64x32_u16__raster-reorder-tile-size-16"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (strstr(name, parts[i]))
            return true;
    return false;
}

/* The order of equally bright pieces is ours to choose, and what sqeazy takes for brightness where
 * pieces are not all alike. */
static bool has_map(const char *name)
{
    return strstr(name, "frame-shuffle") || strstr(name, "tile-shuffle");
}

/* What the sink was given, be the sink lz4 or none. */
static struct bytes filtered(struct sqy_ctx *ctx, const char *pipename, const uint8_t *payload,
                             size_t len, size_t n)
{
    struct sqy_pipeline *p = util_pipeline(strstr(pipename, "lz4") ? "lz4" : "pass_through");
    const struct sqy_box box = {SQY_UINT8, 1, 1, (uint32_t)n, 1};
    struct bytes out = {malloc(n), n};
    assert_int_equal(sqy_decode(ctx, p, &box, payload, len, out.data), 0);
    sqy_pipeline_free(&p);
    return out;
}

static void check_way_there(const char *name, const struct bytes *blob, const struct sqy_header *h)
{
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *theirs = util_pipeline(h->pipename), *ours, *used;
    struct bytes in =
        util_read(util_path("%s/in/%.*s.raw", folder, (int)(strstr(name, "__") - name), name));
    const struct sqy_box box = {h->type, (uint32_t)h->shape[0], (uint32_t)h->shape[1],
                                (uint32_t)h->shape[2], 1};
    assert_string_equal(sqy_pipeline_text(theirs), h->pipename);
    ours = util_pipeline(sqy_pipeline_short(theirs));
    const size_t cap = sqy_encode_bound(ours, &box);
    uint8_t *out = malloc(cap), *back = malloc(in.len);
    ssize_t got = sqy_encode_volume(ctx, ours, &box, in.data, out, cap, &used);
    if (got < 0)
        fail_msg("%s: %zd, not encoded", name, got);
    if (!has_map(name)) {
        const size_t n = in.len / (strstr(h->pipename, "quantiser") ? sqy_type_size(h->type) : 1);
        struct bytes a = filtered(ctx, h->pipename, out, (size_t)got, n);
        struct bytes b = filtered(ctx, h->pipename, blob->data + h->header_bytes,
                                  blob->len - h->header_bytes, n);
        assert_string_equal(sqy_pipeline_text(used), h->pipename);
        if (memcmp(a.data, b.data, n) != 0)
            fail_msg("%s: filtered otherwise", name);
        free(a.data);
        free(b.data);
    }
    assert_int_equal(sqy_decode(ctx, used, &box, out, (size_t)got, back), 0);
    if (sqy_pipeline_is_lossless(used))
        assert_memory_equal(back, in.data, in.len);
    free(out);
    free(back);
    free(in.data);
    sqy_pipeline_free(&theirs);
    sqy_pipeline_free(&ours);
    sqy_pipeline_free(&used);
    sqy_ctx_free(&ctx);
}

static void test_what_we_encode_is_what_sqeazy_does(void **state)
{
    (void)state;
    struct dirent **names;
    unsigned n_checked = 0;
    int n = scandir(util_path("%s/blob", folder), &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        struct sqy_header h;
        if (strstr(name, ".sqy") && !differs(name)) {
            struct bytes blob = util_read(util_path("%s/blob/%s", folder, name));
            assert_int_equal(sqy_header_parse(blob.data, blob.len, &h), 0);
            if (!is_video(h.pipename)) {
                check_way_there(name, &blob, &h);
                n_checked++;
            }
            sqy_header_free(&h);
            free(blob.data);
        }
        free(names[i]);
    }
    free(names);
    assert_int_equal(n_checked, 142);
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
        cmocka_unit_test(test_what_we_encode_is_what_sqeazy_does),
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
