/* Coded bytes of earlier versions decode to the same voxels for ever. Each line of index.txt names
 * a file of coded bytes, the file of its voxels, and how it was made; see README there.
 *
 * `test_codec_golden add NAME TYPE SHAPE PIPELINE` (SHAPE: samples, or PLANESxROWSxWIDTH) encodes the voxels of the type anew: for a
 * pipeline that has no line yet, never to replace one. `add-volume NAME TYPE PLANESxROWSxWIDTH
 * PIPELINE` writes a whole file of sqeazy's, and beside it, where something is lost, what it decodes
 * to. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *folder;

struct entry {
    char name[64], type[16], shape[32], pipeline[128];
};

static int read_entry(FILE *index, struct entry *e)
{
    return fscanf(index, "%63s %15s %31s %127s", e->name, e->type, e->shape, e->pipeline) == 4;
}

static struct bytes voxels_of(const struct entry *e)
{
    return util_read(util_path("%s/%s.raw", folder, e->type));
}

/* What a lossy pipeline made of the voxels lies beside the coded bytes. */
static const char *decoded_path(const struct entry *e)
{
    return util_path("%s/%.*s.raw", folder, (int)strcspn(e->name, "."), e->name);
}

static struct bytes decoded_of(const struct entry *e)
{
    return util_exists(decoded_path(e)) ? util_read(decoded_path(e)) : voxels_of(e);
}

static struct sqy_box box_of(const struct entry *e)
{
    struct sqy_box box = {.planes = 1, .rows = 1, .spp = 1};
    if (sscanf(e->shape, "%ux%ux%u", &box.planes, &box.rows, &box.width) != 3) {
        box.planes = 1;
        assert_int_equal(sscanf(e->shape, "%u", &box.width), 1);
    }
    assert_int_equal(sqy_type_parse(e->type, strlen(e->type), &box.type), 0);
    return box;
}

static void check_box(struct sqy_ctx *ctx, const struct entry *e)
{
    struct sqy_pipeline *p = NULL;
    if (sqy_pipeline_parse(e->pipeline, &p, NULL) == -ENOTSUP)
        return; /* a library that this build lacks */
    struct bytes want = decoded_of(e), coded = util_read(util_path("%s/%s", folder, e->name));
    const struct sqy_box box = box_of(e);
    const size_t len = sqy_box_bytes(&box);
    uint8_t *out = malloc(len);
    assert_true(len <= want.len);
    int r = sqy_decode(ctx, p, &box, coded.data, coded.len, out);
    if (r < 0 || memcmp(out, want.data, len) != 0)
        fail_msg("%s: %d, or other voxels than it used to be", e->name, r);
    free(out);
    free(want.data);
    free(coded.data);
    sqy_pipeline_free(&p);
}

static void test_coded_boxes(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    struct entry e;
    unsigned n = 0;
    FILE *index = fopen(util_path("%s/index.txt", folder), "r");
    assert_non_null(index);
    for (; read_entry(index, &e); n++)
        check_box(ctx, &e);
    assert_true(feof(index));
    fclose(index);
    assert_true(n >= 12);
    sqy_ctx_free(&ctx);
}

/* A whole file, which decodes to the beginning of another. */
static void check_blob(const char *name, const char *raw)
{
    struct sqy_ctx *ctx = util_ctx();
    struct bytes blob = util_read(util_path("%s/%s", folder, name));
    struct bytes want = util_read(util_path("%s/%s", folder, raw));
    struct sqy_header h;
    assert_int_equal(sqy_header_parse(blob.data, blob.len, &h), 0);
    const size_t len = h.shape[0] * h.shape[1] * h.shape[2] * sqy_type_size(h.type);
    uint8_t *out = malloc(len);
    assert_int_equal(
        sqy_decode_volume(ctx, &h, blob.data + h.header_bytes, blob.len - h.header_bytes, out, len),
        0);
    assert_true(len <= want.len);
    assert_memory_equal(out, want.data, len);
    free(out);
    free(blob.data);
    free(want.data);
    sqy_header_free(&h);
    sqy_ctx_free(&ctx);
}

static void test_whole_blobs(void **state)
{
    (void)state;
    check_blob("volume.sqy", "uint16.raw");
    check_blob("volume-old.sqy", "uint16.raw"); /* as the sqeazy before 0.5.2 would have written */
}

/* Each line of volumes/index.txt: the file, the type of its voxels. */
static void test_volumes(void **state)
{
    (void)state;
    char name[64], type[16];
    unsigned n = 0;
    FILE *index = fopen(util_path("%s/volumes/index.txt", folder), "r");
    assert_non_null(index);
    for (; fscanf(index, "%63s %15s", name, type) == 2; n++) {
        char blob[96], lossy[96], lossless[32];
        snprintf(blob, sizeof(blob), "volumes/%s.sqy", name);
        snprintf(lossy, sizeof(lossy), "volumes/%s.raw", name);
        snprintf(lossless, sizeof(lossless), "%s.raw", type);
        check_blob(blob, util_exists(util_path("%s/%s", folder, lossy)) ? lossy : lossless);
    }
    assert_true(feof(index));
    fclose(index);
    assert_true(n >= 14);
}

static bool add_decoded(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                        const struct sqy_box *box, const uint8_t *coded, ssize_t len,
                        const struct entry *e)
{
    const size_t n = sqy_box_bytes(box);
    uint8_t *decoded = malloc(n);
    FILE *f = fopen(decoded_path(e), "wb");
    bool good = f && len > 0 && sqy_decode(ctx, p, box, coded, (size_t)len, decoded) == 0 &&
                fwrite(decoded, 1, n, f) == n;
    free(decoded);
    return (!f || !fclose(f)) && good;
}

static int add(char **arg)
{
    struct entry e = {.name = ""};
    snprintf(e.shape, sizeof(e.shape), "%s", arg[2]);
    snprintf(e.name, sizeof(e.name), "%s", arg[0]);
    snprintf(e.type, sizeof(e.type), "%s", arg[1]);
    snprintf(e.pipeline, sizeof(e.pipeline), "%s", arg[3]);
    if (util_exists(util_path("%s/%s", folder, e.name))) {
        fprintf(stderr, "%s is there and stays as it is\n", e.name);
        return 1;
    }
    struct bytes voxels = voxels_of(&e);
    struct sqy_pipeline *p = util_pipeline(e.pipeline);
    struct sqy_ctx *ctx = util_ctx();
    const struct sqy_box box = box_of(&e);
    const size_t bound = sqy_encode_bound(p, &box);
    uint8_t *coded = malloc(bound);
    ssize_t got = sqy_encode_lossy(ctx, p, &box, voxels.data, coded, bound);
    if (!sqy_pipeline_is_lossless(p) && !add_decoded(ctx, p, &box, coded, got, &e))
        return 1;
    FILE *f = fopen(util_path("%s/%s", folder, e.name), "wb");
    if (got <= 0 || !f || fwrite(coded, 1, (size_t)got, f) != (size_t)got || fclose(f))
        return 1;
    f = fopen(util_path("%s/index.txt", folder), "a");
    if (!f || fprintf(f, "%s %s %s %s\n", e.name, e.type, e.shape, e.pipeline) < 0 || fclose(f))
        return 1;
    free(coded);
    free(voxels.data);
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
    return 0;
}

static int put_file(const char *name, const void *data, size_t len, const void *more,
                    size_t more_len)
{
    const char *path = util_path("%s/%s", folder, name);
    if (util_exists(path)) {
        fprintf(stderr, "%s is there and stays as it is\n", name);
        return 1;
    }
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(data, 1, len, f) == len && fwrite(more, 1, more_len, f) == more_len;
    return (f && fclose(f)) || !good;
}

static int add_volume(char **arg)
{
    struct sqy_header h = {.rank = 3};
    struct sqy_box box = {.spp = 1};
    struct sqy_pipeline *p = util_pipeline(arg[3]), *used;
    struct sqy_ctx *ctx = util_ctx();
    struct bytes voxels = util_read(util_path("%s/%s.raw", folder, arg[1]));
    assert_int_equal(sqy_type_parse(arg[1], strlen(arg[1]), &box.type), 0);
    assert_int_equal(sscanf(arg[2], "%ux%ux%u", &box.planes, &box.rows, &box.width), 3);
    const size_t cap = sqy_encode_bound(p, &box), len = sqy_box_bytes(&box);
    uint8_t *coded = malloc(cap), *decoded = malloc(len), header[65536];
    assert_true(len <= voxels.len);
    ssize_t got = sqy_encode_volume(ctx, p, &box, voxels.data, coded, cap, &used);
    assert_true(got > 0);
    h.type = box.type;
    h.shape[0] = box.planes;
    h.shape[1] = box.rows;
    h.shape[2] = box.width;
    h.encoded_bytes = (uint64_t)got;
    h.pipename = strdup(sqy_pipeline_text(used));
    ssize_t front = sqy_header_write(&h, 0, header, sizeof(header));
    assert_int_equal(sqy_decode(ctx, used, &box, coded, (size_t)got, decoded), 0);
    int r =
        put_file(util_path("volumes/%s.sqy", arg[0]), header, (size_t)front, coded, (size_t)got);
    if (r == 0 && !sqy_pipeline_is_lossless(p))
        r = put_file(util_path("volumes/%s.raw", arg[0]), decoded, len, NULL, 0);
    FILE *f = fopen(util_path("%s/volumes/index.txt", folder), "a");
    if (r || !f || fprintf(f, "%s %s\n", arg[0], arg[1]) < 0 || fclose(f))
        return 1;
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coded_boxes),
        cmocka_unit_test(test_whole_blobs),
        cmocka_unit_test(test_volumes),
    };
    const char *data = getenv("SQYFS_TEST_DATA");
    if (!data) {
        puts("skipped: SQYFS_TEST_DATA names no folder");
        return 77;
    }
    folder = strdup(util_path("%s/codec", data));
    if (argc == 6 && !strcmp(argv[1], "add"))
        return add(argv + 2);
    if (argc == 6 && !strcmp(argv[1], "add-volume"))
        return add_volume(argv + 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
