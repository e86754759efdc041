/* A file to a blob and back without a mount; what is called upstream form is what sqeazy reads. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/le.h"
#include "rig.h"
#include "volume/pack.h"

struct memory {
    const uint8_t *data;
};

static int read_memory(void *ctx, void *buf, size_t len, uint64_t off)
{
    memcpy(buf, ((struct memory *)ctx)->data + off, len);
    return 0;
}

static int temporary(void)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    assert_true(fd >= 0);
    return fd;
}

static int encode(const uint8_t *data, size_t len, const char *text, const char *name,
                  const struct raw_policy *raw)
{
    struct sqy_pipeline *pipeline;
    assert_int_equal(sqy_pipeline_parse(text, &pipeline, NULL), 0);
    struct memory memory = {data};
    struct pack_source source = {read_memory, &memory, len, {1700000000, 5}, name, NULL};
    struct pack_options options = {
        .pipeline = pipeline, .chunk = 65536, .threads = 3, .raw = raw, .n_raw = raw != NULL};
    int fd = temporary();
    assert_int_equal(pack_encode(&source, &options, fd), 0);
    sqy_pipeline_free(&pipeline);
    return fd;
}

static void expect_back(int fd, const uint8_t *data, size_t len, bool upstream)
{
    struct blob *blob;
    struct pack_reader *reader;
    struct blob_state state;
    struct blob_stats stats;
    assert_int_equal(blob_open(&io_system, dup(fd), false, &blob), 0);
    blob_state(blob, &state);
    blob_stats(blob, &stats);
    assert_int_equal(state.size, len);
    assert_int_equal(state.mtime.tv_sec, 1700000000);
    assert_int_equal(stats.upstream, upstream);
    assert_int_equal(stats.provisional_bytes, 0);
    assert_int_equal(pack_reader_create(blob, &reader), 0);
    uint8_t *back = malloc(len + 1);
    assert_int_equal(pack_reader_read(reader, back, len, 0, NULL), 0);
    assert_memory_equal(back, data, len);
    assert_int_equal(pack_reader_read(reader, back, 1, len, NULL), 0);
    assert_int_equal(back[0], 0);
    free(back);
    pack_reader_destroy(&reader);
    blob_close(&blob);
}

/* As a reader that knows nothing but sqeazy does it: header, payload, voxels. */
static void expect_sqeazy(int fd, const uint8_t *voxels, size_t len)
{
    off_t size = lseek(fd, 0, SEEK_END);
    uint8_t *file = malloc((size_t)size), *out = malloc(len);
    assert_int_equal(pread(fd, file, (size_t)size, 0), size);
    struct sqy_header header;
    struct sqy_ctx *ctx;
    assert_int_equal(sqy_header_parse(file, (size_t)size, &header), 0);
    assert_int_equal(sqy_ctx_create(&ctx), 0);
    assert_int_equal(sqy_decode_volume(ctx, &header, file + header.header_bytes,
                                       (size_t)size - header.header_bytes, out, len),
                     0);
    assert_memory_equal(out, voxels, len);
    sqy_ctx_free(&ctx);
    sqy_header_free(&header);
    free(file);
    free(out);
}

static void every_pipeline_gives_the_file_back(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool upstream;
    } pipelines[] = {{"lz4", true},
                     {"bitswap1->lz4", true},
                     {"bitshuffle->lz4", true},
                     {"bitshuffle->zstd", false},
                     {"zstd(level=5)", false},
                     {"pass_through", false}};
    static const uint32_t shapes[][3] = {{47, 42, 65}, {64, 64, 3}, {1, 1, 1}, {333, 5, 9}};
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 70) * 2);
    for (size_t p = 0; p < sizeof(pipelines) / sizeof(pipelines[0]); p++) {
        for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
            for (int kind = 0; kind < 3; kind++) {
                size_t len =
                    rig_tiff((enum rig_tiff)kind, shapes[s][0], shapes[s][1], shapes[s][2], data);
                int fd = encode(data, len, pipelines[p].text, "x.tif", NULL);
                expect_back(fd, data, len, pipelines[p].upstream);
                size_t bytes = (size_t)shapes[s][0] * shapes[s][1] * shapes[s][2] * 2;
                if (pipelines[p].upstream && kind == RIG_CONTIGUOUS)
                    expect_sqeazy(fd, data + 441, bytes);
                if (pipelines[p].upstream && kind == RIG_IFDS_LAST)
                    expect_sqeazy(fd, data + 8, bytes);
                close(fd);
            }
        }
    }
    free(data);
}

static void big_endian_voxels_are_little_endian_in_sqeazys_form(void **state)
{
    (void)state;
    struct raw_policy raw;
    char why[100];
    assert_int_equal(raw_policy_parse("*.raw:100x50:uint16:be", &raw, why, sizeof(why)), 0);
    enum { N = 100 * 50 * 7 };
    uint8_t *data = malloc(N * 2), *little = malloc(N * 2);
    for (size_t i = 0; i < N; i++) {
        uint16_t v = (uint16_t)(i * 7 % 1000);
        data[2 * i] = (uint8_t)(v >> 8);
        data[2 * i + 1] = (uint8_t)v;
        le_store16(little + 2 * i, v);
    }
    int fd = encode(data, N * 2, "bitswap1->lz4", "a.raw", &raw);
    expect_back(fd, data, N * 2, true);
    expect_sqeazy(fd, little, N * 2);
    close(fd);
    free(data);
    free(little);
    raw_policy_clear(&raw);
}

static void what_is_no_image_comes_back_too(void **state)
{
    (void)state;
    uint8_t *data = malloc(300000);
    uint64_t seed = 9;
    for (size_t i = 0; i < 300000; i++)
        data[i] = (uint8_t)rig_random(&seed);
    static const size_t lens[] = {0, 1, 7, 65536, 300000};
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        int fd = encode(data, lens[i], "lz4", "noise.bin", NULL);
        expect_back(fd, data, lens[i], false);
        close(fd);
    }
    free(data);
}

static void damage_is_found_and_named(void **state)
{
    (void)state;
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 20));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 64, 64, 20, data);
    int fd = encode(data, len, "bitshuffle->zstd", "x.tif", NULL);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, 4096 + 20000), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, 4096 + 20000), 1);
    struct blob *blob;
    struct pack_reader *reader;
    assert_int_equal(blob_open(&io_system, dup(fd), false, &blob), 0);
    assert_int_equal(pack_reader_create(blob, &reader), 0);
    uint8_t *back = malloc(len);
    uint64_t bad = 0;
    assert_int_equal(pack_reader_read(reader, back, len, 0, &bad), -EBADMSG);
    assert_true(bad < len);
    assert_memory_equal(back, data, bad); /* all before it is there */
    free(back);
    free(data);
    pack_reader_destroy(&reader);
    blob_close(&blob);
    close(fd);
}

static void meta_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct layout_info info = {.type = LAYOUT_UINT16,
                               .big_endian = true,
                               .one_volume = true,
                               .depth = 65,
                               .height = 42,
                               .width = 47,
                               .spp = 1,
                               .channels = 2,
                               .slices = 5,
                               .frames = 3,
                               .voxel_x = 0.40625,
                               .voxel_y = 0.1,
                               .voxel_z = 5e-7,
                               .pixel_hash = true};
    struct layout_info back;
    char *meta = pack_meta_write(&info, true, NULL);
    assert_non_null(meta);
    assert_int_equal(pack_meta_parse(meta, &back), 0);
    assert_true(pack_meta_lower_rung(meta));
    assert_int_equal(back.type, info.type);
    assert_true(back.big_endian && back.one_volume && back.pixel_hash);
    assert_int_equal(back.depth, 65);
    assert_int_equal(back.frames, 3);
    assert_true(back.voxel_x == 0.40625 && back.voxel_y == 0.1 && back.voxel_z == 5e-7);
    free(meta);
    static const char *const hostile[] = {"{", "[]", "{\"depth\":-1,\"width\":\"x\",\"type\":7}",
                                          "{\"depth\":99999999999999999999999}", "null"};
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        assert_false(pack_meta_lower_rung(hostile[i]));
        if (pack_meta_parse(hostile[i], &back) == 0)
            assert_true(back.width == 0 && back.type == LAYOUT_BYTES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pipeline_gives_the_file_back),
        cmocka_unit_test(big_endian_voxels_are_little_endian_in_sqeazys_form),
        cmocka_unit_test(what_is_no_image_comes_back_too),
        cmocka_unit_test(damage_is_found_and_named),
        cmocka_unit_test(meta_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
