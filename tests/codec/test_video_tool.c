/* What we write is a stream like any other: the ffmpeg program decodes it to the same pixels as we do. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/sqy-video-XXXXXX";

static const struct {
    const char *pipeline;
    unsigned bits;
    bool grey; /* else 4:2:0, padded to even sizes */
} settings[] = {
    {"h264", 8, true},
    {"h264(bits=10)", 10, true},
    {"hevc", 8, false},
    {"hevc(bits=10)", 10, false},
    {"hevc(bits=12)", 12, false},
    {"h264(preset=medium,qp=20,bits=8)", 8, true},
    {"h264(preset=superfast,qp=24,bits=10)", 10, true},
    {"hevc(preset=ultrafast,crf=20,bits=8)", 8, true},
    {"hevc(preset=medium,qp=12,bits=10)", 10, true},
    {"hevc(preset=ultrafast,qp=6,bits=12)", 12, true},
};

static const struct sqy_box boxes[] = {
    {SQY_UINT16, 8, 96, 128, 1}, {SQY_UINT16, 8, 65, 67, 1}, {SQY_UINT16, 1, 71, 90, 1},
    {SQY_UINT16, 3, 37, 29, 1},  {SQY_UINT16, 2, 1, 1, 1},
};

static const char *path_of(const char *name)
{
    return util_path("%s/%s", folder, name);
}

/* What the program makes of the stream, frames as they come: nothing is asked for, so nothing converted. */
static struct bytes decode_by_tool(const char *codec, const uint8_t *coded, size_t len)
{
    FILE *f = fopen(path_of("stream"), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(coded, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    const char *command =
        util_path("ffmpeg -nostdin -y -v error -f %s -i %s/stream -vsync passthrough "
                  "-f rawvideo %s/planes",
                  codec, folder, folder);
    assert_int_equal(system(command), 0);
    return util_read(path_of("planes"));
}

static uint16_t sample(const uint8_t *at, unsigned bits)
{
    return bits > 8 ? (uint16_t)(at[0] | at[1] << 8) : at[0];
}

static void compare(const char *what, const struct sqy_box *box, const uint16_t *ours,
                    const struct bytes *theirs, unsigned bits, bool grey, bool is_hevc)
{
    const size_t item = bits > 8 ? 2 : 1, even = grey ? 1 : 2, least = is_hevc ? 64 : 16;
    size_t width = (box->width + even - 1) / even * even;
    size_t rows = (box->rows + even - 1) / even * even;
    width = width < least ? least : width;
    rows = rows < least ? least : rows;
    const size_t luma = width * rows * item;
    const size_t chroma = (width + 1) / 2 * ((rows + 1) / 2) * item;
    const size_t frame = theirs->len / box->planes; /* grey of 8 bits may come with chroma */
    if (theirs->len % box->planes || (frame != luma && frame != luma + 2 * chroma))
        fail_msg("%s, %ux%u: %zu bytes for %u planes", what, box->rows, box->width, theirs->len,
                 box->planes);
    for (size_t z = 0, i = 0; z < box->planes; z++)
        for (size_t y = 0; y < box->rows; y++)
            for (size_t x = 0; x < box->width; x++, i++)
                if (sample(theirs->data + z * frame + (y * width + x) * item, bits) != ours[i])
                    fail_msg("%s, %ux%u: plane %zu, row %zu, column %zu", what, box->rows,
                             box->width, z, y, x);
}

static void check(struct sqy_ctx *ctx, size_t which, const struct sqy_box *box)
{
    const unsigned bits = settings[which].bits;
    const bool is_hevc = settings[which].pipeline[1] == 'e', grey = settings[which].grey;
    struct sqy_pipeline *p = util_pipeline(settings[which].pipeline);
    struct sqy_pipeline *as_luma = util_pipeline(is_hevc ? "hevc(bits=8)" : "h264(bits=8)");
    const size_t len = sqy_box_bytes(box), cap = sqy_encode_bound(as_luma, box) * 2;
    uint16_t *in = malloc(len), *out = malloc(len);
    uint8_t *coded = malloc(cap);
    uint64_t random = which + 1;
    for (size_t i = 0; i < len / 2; i++)
        in[i] = (uint16_t)((i % box->width * 3 + util_random(&random) % 32) & ((1u << bits) - 1));
    /* without bits= uint16 would go in blocks of minima, which no other program undoes */
    struct sqy_pipeline *used = strchr(settings[which].pipeline, '(') ? p : as_luma;
    ssize_t got = sqy_encode_lossy(ctx, used, box, in, coded, cap);
    assert_true(got > 0);
    assert_int_equal(sqy_decode(ctx, used, box, coded, (size_t)got, out), 0);
    struct bytes theirs = decode_by_tool(is_hevc ? "hevc" : "h264", coded, (size_t)got);
    compare(settings[which].pipeline, box, out, &theirs, bits, grey, is_hevc);
    free(theirs.data);
    free(in);
    free(out);
    free(coded);
    sqy_pipeline_free(&p);
    sqy_pipeline_free(&as_luma);
}

static void test_the_tool_sees_what_we_see(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        for (size_t b = 0; b < sizeof(boxes) / sizeof(boxes[0]); b++)
            check(ctx, i, &boxes[b]);
    sqy_ctx_free(&ctx);
}

static int clean_up(void **state)
{
    (void)state;
    unlink(path_of("stream"));
    unlink(path_of("planes"));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_tool_sees_what_we_see)};
#ifndef HAVE_VIDEO
    puts("skipped: this build has no video");
    return 77;
#endif
    if (system("ffmpeg -version >/dev/null 2>&1")) {
        puts("skipped: there is no ffmpeg");
        return 77;
    }
    return mkdtemp(folder) ? cmocka_run_group_tests(tests, NULL, clean_up) : 1;
}
