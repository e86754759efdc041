/* NVIDIA's encoder against the stand-in driver: whatever the device does, the planes are all there. */
#include "test.h"

#include "codec/nvenc.h"
#include "codec/sqy.h"
#include "standin/standin.h"
#include "util.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct standin *device;
static void *library;

/* Every test begins with a device that can all, and ends with nothing left of it. */
static int setup(void **state)
{
    standin_reset_all *reset;
    void *symbol = dlsym(library, "standin_reset");
    (void)state;
    memcpy(&reset, &symbol, sizeof(reset));
    reset();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_string_equal(device->misuse, "");
    assert_int_equal(device->sessions, 0);
    assert_int_equal(device->contexts, 0);
    assert_int_equal(device->current, 0);
    assert_int_equal(device->pinned_buffers, 0);
    assert_int_equal(device->device_buffers, 0);
    assert_int_equal(device->registered, 0);
    assert_int_equal(device->mapped, 0);
    assert_int_equal(device->bitstreams, 0);
    assert_int_equal(device->streams, 0);
    return 0;
}

/* ---- boxes ---- */

struct notices {
    int n;
    char last[SQY_NOTICE_MAX];
};

static void notice(void *arg, const char *line)
{
    struct notices *notices = arg;
    notices->n++;
    snprintf(notices->last, sizeof(notices->last), "%s", line);
}

static const struct sqy_box box8 = {SQY_UINT8, 8, 96, 160, 1}, box10 = {SQY_UINT16, 8, 96, 160, 1},
                            odd8 = {SQY_UINT8, 3, 97, 133, 1};

/* Slopes that move a little from plane to plane, with some noise. */
static uint8_t *make_voxels(const struct sqy_box *box, unsigned bits, uint64_t seed)
{
    const size_t size = sqy_type_size(box->type), n = sqy_box_bytes(box) / size;
    uint8_t *out = malloc(n * size);
    for (size_t i = 0; i < n; i++) {
        const size_t x = i % box->width, y = i / box->width % box->rows,
                     z = i / box->width / box->rows;
        const uint32_t most = (1u << bits) - 1;
        const uint32_t v =
            (uint32_t)((x * 3 + y * 2 + z * 5) % 200 + util_random(&seed) % 8) * (most / 255) &
            most;
        memcpy(out + i * size, &v, size);
    }
    return out;
}

struct coded {
    struct sqy_pipeline *pipeline;
    uint8_t *data;
    ssize_t len;
};

static struct coded encode(struct sqy_ctx *ctx, const char *text, const struct sqy_box *box,
                           const uint8_t *voxels)
{
    struct coded coded = {.pipeline = util_pipeline(text)};
    const size_t cap = sqy_encode_bound(coded.pipeline, box);
    coded.data = malloc(cap);
    coded.len = sqy_encode_lossy(ctx, coded.pipeline, box, voxels, coded.data, cap);
    return coded;
}

static void free_coded(struct coded *coded)
{
    sqy_pipeline_free(&coded->pipeline);
    free(coded->data);
}

/* In a context of its own, which has never seen a device. */
static uint8_t *decode(const struct coded *coded, const struct sqy_box *box)
{
    struct sqy_ctx *ctx = util_ctx();
    uint8_t *out = malloc(sqy_box_bytes(box));
    assert_true(coded->len > 0);
    assert_int_equal(sqy_decode(ctx, coded->pipeline, box, coded->data, (size_t)coded->len, out),
                     0);
    sqy_ctx_free(&ctx);
    return out;
}

static void check_exact(struct sqy_ctx *ctx, const char *text, const struct sqy_box *box,
                        unsigned bits, uint64_t seed)
{
    uint8_t *voxels = make_voxels(box, bits, seed);
    struct coded coded = encode(ctx, text, box, voxels);
    uint8_t *decoded = decode(&coded, box);
    assert_memory_equal(decoded, voxels, sqy_box_bytes(box));
    free(decoded);
    free(voxels);
    free_coded(&coded);
}

static struct sqy_ctx *listening_ctx(struct notices *notices)
{
    struct sqy_ctx *ctx = util_ctx();
    *notices = (struct notices){.n = 0};
    sqy_ctx_on_notice(ctx, notice, notices);
    return ctx;
}

/* ---- a device as it should be ---- */

#define H264   "h264(encoder=nvenc)"
#define HEVC   "hevc(encoder=nvenc)"
#define HEVC10 "hevc(bits=10,encoder=nvenc)"

static void test_lossless_planes_are_exact(void **state)
{
    struct notices notices;
    struct sqy_ctx *ctx = listening_ctx(&notices);
    (void)state;
    check_exact(ctx, H264, &box8, 8, 1);
    check_exact(ctx, H264, &odd8, 8, 2);
    check_exact(ctx, "h264(bits=8,encoder=nvenc)", &(struct sqy_box){SQY_UINT16, 5, 80, 90, 1}, 8,
                3);
    check_exact(ctx, HEVC, &box8, 8, 4);
    check_exact(ctx, HEVC, &odd8, 8, 5);
    check_exact(ctx, HEVC10, &box10, 10, 6);
    check_exact(ctx, "h264(preset=veryslow,qp=0,encoder=nvenc)", &box8, 8, 7);
    assert_int_equal(notices.n, 0);
    assert_int_equal(device->pictures, 8 + 3 + 5 + 8 + 3 + 8 + 8);
    sqy_ctx_free(&ctx);
}

/* sqeazy's layout of 16 bits, whose high ones are chroma. */
static void test_chroma_that_bears_voxels_is_exact(void **state)
{
    struct notices notices;
    struct sqy_ctx *ctx = listening_ctx(&notices);
    (void)state;
    check_exact(ctx, H264, &box10, 8, 1);
    assert_int_equal(notices.n, 0);
    assert_int_equal(device->pictures, 8);
    sqy_ctx_free(&ctx);
}

static double rms(const uint8_t *a, const uint8_t *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sqrt(sum / (double)n);
}

static double loss(struct sqy_ctx *ctx, const char *text)
{
    uint8_t *voxels = make_voxels(&box8, 8, 1);
    struct coded coded = encode(ctx, text, &box8, voxels);
    uint8_t *decoded = decode(&coded, &box8);
    const double got = rms(voxels, decoded, sqy_box_bytes(&box8));
    free(decoded);
    free(voxels);
    free_coded(&coded);
    return got;
}

static void test_qp_means_what_it_means_on_the_cpu(void **state)
{
    struct sqy_ctx *ctx = util_ctx();
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        const double device_loss =
            loss(ctx, i ? "hevc(preset=fast,qp=20,encoder=nvenc)" : "h264(qp=20,encoder=nvenc)");
        const double cpu_loss =
            loss(ctx, i ? "hevc(preset=fast,qp=20,encoder=cpu)" : "h264(qp=20,encoder=cpu)");
        if (!(device_loss > 0 && fabs(device_loss - cpu_loss) < 0.3 * cpu_loss))
            fail_msg("lost %g, the CPU %g", device_loss, cpu_loss);
    }
    assert_int_equal(device->pictures, 16);
    sqy_ctx_free(&ctx);
}

static void test_sessions_stay_open_across_boxes(void **state)
{
    struct sqy_ctx *ctx = util_ctx();
    (void)state;
    for (uint64_t i = 0; i < 6; i++)
        check_exact(ctx, H264, &box8, 8, i);
    assert_int_equal(device->sessions_opened, 1);
    assert_int_equal(device->idrs, 6);
    assert_int_equal(device->sessions, 1);
    sqy_ctx_trim(ctx);
    assert_int_equal(device->sessions, 0);
    assert_int_equal(device->pinned_buffers, 0);
    check_exact(ctx, H264, &box8, 8, 7);
    assert_int_equal(device->sessions_opened, 2);
    sqy_ctx_free(&ctx);
}

static void test_groups_begin_where_they_shall(void **state)
{
    const struct sqy_box box = {SQY_UINT8, 19, 64, 96, 1};
    struct sqy_ctx *ctx = util_ctx();
    (void)state;
    check_exact(ctx, "hevc(gop=8,encoder=nvenc)", &box, 8, 1);
    assert_int_equal(device->idrs, 3);
    sqy_ctx_free(&ctx);
}

static void test_a_busy_or_slow_or_plain_device_is_waited_for(void **state)
{
    struct notices notices;
    struct sqy_ctx *ctx = listening_ctx(&notices);
    (void)state;
    device->busy = 3;
    device->slow_us = 2000;
    check_exact(ctx, H264, &box8, 8, 1);
    assert_int_equal(device->pictures, 8);
    sqy_ctx_trim(ctx);
    device->no_streams = true;
    check_exact(ctx, HEVC10, &box10, 10, 2);
    assert_int_equal(device->pictures, 16);
    assert_int_equal(notices.n, 0);
    sqy_ctx_free(&ctx);
}

/* ---- and as it should not ---- */

static void set_no_device(void)
{
    device->no_device = true;
}

static void set_no_engine(void)
{
    device->no_engine = true;
}

static void set_old(void)
{
    device->version = 9 << 4 | 1;
}

static void set_no_hevc(void)
{
    device->no_hevc = true;
}

static void set_no_ten_bits(void)
{
    device->no_ten_bits = true;
}

static void set_no_lossless(void)
{
    device->no_lossless = true;
}

static void set_large_only(void)
{
    device->min_size = 146;
}

static void set_small_only(void)
{
    device->max_size = 128;
}

static void set_lost_at_the_third(void)
{
    device->fail_picture = 3;
}

static void set_lost_in_the_second_box(void)
{
    device->fail_picture = 8 + 5;
    device->fail_status = 20; /* a generic error */
}

static void set_reading_fails(void)
{
    device->fail_reading = 8 + 2;
}

static void set_reading_fails_at_once(void)
{
    device->fail_reading = 1;
}

struct fault {
    void (*set)(void);
    const char *pipeline;
    const struct sqy_box *box;
    const char *notice; /* a part of it */
    int sessions;       /* that can be opened at all */
};

static const struct fault faults[] = {
    {set_no_device, H264, &box8, "CUDA_ERROR_NO_DEVICE", 0},
    {set_no_engine, HEVC, &box8, "unsupported device", 0},
    {set_old, H264, &box8, "too old: its encoder speaks version 9.1", 0},
    {set_no_hevc, HEVC, &box8, "HEVC: not encoded by this device", 1},
    {set_no_ten_bits, HEVC10, &box10, "not encoded with 10 bits", 1},
    {set_no_lossless, H264, &box8, "not encoded losslessly", 1},
    {set_large_only, H264, &box8, "planes of 146x146 to 8192x8192 only", 1},
    {set_small_only, H264, &box8, "planes of 2x2 to 128x128 only", 1},
    {set_lost_at_the_third, H264, &box8, "device lost; the CPU goes on at plane 2 of 8", 1},
    {set_lost_at_the_third, HEVC10, &box10, "the CPU goes on at plane 2 of 8", 1},
    {set_lost_in_the_second_box, HEVC, &box8, "generic error; the CPU goes on at plane 4 of 8", 1},
    {set_reading_fails, H264, &box8,
     "reading a coded plane: device lost; the CPU goes on at plane 1", 1},
    {set_reading_fails_at_once, H264, &box8, "device lost; the CPU encodes", 1},
};

static void check_fault(const struct fault *fault)
{
    struct notices notices;
    struct sqy_ctx *ctx = listening_ctx(&notices);
    fault->set();
    for (uint64_t i = 0; i < 4; i++)
        check_exact(ctx, fault->pipeline, fault->box, fault->box->type == SQY_UINT16 ? 10 : 8, i);
    if (notices.n != 1 || !strstr(notices.last, fault->notice))
        fail_msg("%d notices; \"%s\", not \"%s\"", notices.n, notices.last, fault->notice);
    assert_int_equal(device->sessions_opened, fault->sessions);
    sqy_ctx_free(&ctx);
}

static void test_whatever_fails_all_planes_are_there(void **state)
{
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        setup(state);
        check_fault(&faults[i]);
        teardown(state);
    }
}

static void test_twelve_bits_and_ten_of_h264_are_the_cpus(void **state)
{
    struct notices notices;
    struct sqy_ctx *ctx = listening_ctx(&notices);
    (void)state;
    check_exact(ctx, "hevc(bits=12,encoder=nvenc)", &box10, 12, 1);
    assert_non_null(strstr(notices.last, "8 or 10 bits"));
    check_exact(ctx, "h264(bits=10,encoder=nvenc)", &box10, 10, 1);
    assert_non_null(strstr(notices.last, "H.264 has 8 bits"));
    assert_int_equal(device->pictures, 0);
    sqy_ctx_free(&ctx);
}

static void test_settings_that_it_has_not_are_the_cpus(void **state)
{
    struct notices notices;
    struct sqy_ctx *ctx = listening_ctx(&notices);
    (void)state;
    check_exact(ctx, "h264(qp=0,tune=psnr,encoder=nvenc)", &box8, 8, 1);
    assert_non_null(strstr(notices.last, "it has no setting tune"));
    sqy_ctx_free(&ctx);
}

static void test_auto_says_nothing_of_a_device_that_is_not_there(void **state)
{
    struct notices notices;
    struct sqy_ctx *ctx = listening_ctx(&notices);
    (void)state;
    device->no_device = true;
    check_exact(ctx, "h264(encoder=auto)", &box8, 8, 1);
    assert_int_equal(notices.n, 0);
    sqy_ctx_trim(ctx);
    setup(NULL);
    device->fail_picture = 5;
    check_exact(ctx, "h264(encoder=auto)", &box8, 8, 1);
    assert_int_equal(notices.n, 1);
    assert_int_equal(device->pictures, 4);
    sqy_ctx_free(&ctx);
}

/* Each failure lets twice as many boxes pass. */
static void test_a_device_that_fails_is_asked_ever_more_seldom(void **state)
{
    struct sqy_ctx *ctx = util_ctx();
    const struct sqy_box small = {SQY_UINT8, 1, 64, 64, 1};
    (void)state;
    device->no_engine = true;
    for (uint64_t i = 0; i < 1 + 32 + 1 + 64; i++)
        check_exact(ctx, H264, &small, 8, i);
    assert_int_equal(device->loads, 2);
    device->no_engine = false;
    check_exact(ctx, H264, &small, 8, 1);
    assert_int_equal(device->loads, 3);
    assert_int_equal(device->pictures, 1);
    sqy_ctx_free(&ctx);
}

static void test_contexts_share_the_sessions_that_there_are(void **state)
{
    enum { N = 3 };
    struct notices notices[N];
    struct sqy_ctx *ctx[N];
    (void)state;
    device->session_limit = 1;
    for (unsigned i = 0; i < N; i++)
        ctx[i] = listening_ctx(&notices[i]);
    for (unsigned i = 0; i < 4 * N; i++)
        check_exact(ctx[i % N], HEVC, &box8, 8, i);
    assert_int_equal(device->sessions_opened, 1);
    assert_int_equal(device->pictures, 4 * 8);
    assert_int_equal(notices[0].n, 0);
    assert_int_equal(notices[1].n, 1);
    assert_non_null(strstr(notices[2].last, "out of memory or sessions"));
    for (unsigned i = 0; i < N; i++)
        sqy_ctx_free(&ctx[i]);
}

static bool stop_at_the_fourth(void *arg)
{
    int *asked = arg;
    return ++*asked == 4;
}

static void test_a_box_that_is_stopped_leaves_nothing_behind(void **state)
{
    struct sqy_ctx *ctx = util_ctx();
    uint8_t *voxels = make_voxels(&box8, 8, 1);
    int asked = 0;
    (void)state;
    sqy_ctx_stop_when(ctx, stop_at_the_fourth, &asked);
    struct coded coded = encode(ctx, H264, &box8, voxels);
    assert_int_equal(coded.len, -ECANCELED);
    sqy_ctx_stop_when(ctx, NULL, NULL);
    free_coded(&coded);
    free(voxels);
    check_exact(ctx, H264, &box8, 8, 2);
    sqy_ctx_free(&ctx);
}

static void test_too_little_room_is_said(void **state)
{
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *pipeline = util_pipeline(H264);
    uint8_t *voxels = make_voxels(&box8, 8, 1), out[4096];
    (void)state;
    assert_int_equal(sqy_encode_lossy(ctx, pipeline, &box8, voxels, out, sizeof(out)), -ENOSPC);
    sqy_pipeline_free(&pipeline);
    free(voxels);
    check_exact(ctx, H264, &box8, 8, 2);
    sqy_ctx_free(&ctx);
}

/* The stand-in does not decode: what asks for a GPU gets the CPU's voxels, and hears of it once. */
static void test_what_no_gpu_decodes_the_cpu_does(void **state)
{
    struct notices notices;
    struct sqy_ctx *ctx = listening_ctx(&notices);
    uint8_t *voxels = make_voxels(&box8, 8, 1), *out = malloc(sqy_box_bytes(&box8));
    struct coded lossless = encode(ctx, "h264", &box8, voxels),
                 lossy = encode(ctx, "hevc(preset=fast,qp=10)", &box8, voxels);
    uint8_t *expected = decode(&lossy, &box8);
    (void)state;
    sqy_ctx_use_gpu(ctx, true);
    assert_int_equal(
        sqy_decode(ctx, lossless.pipeline, &box8, lossless.data, (size_t)lossless.len, out), 0);
    assert_memory_equal(out, voxels, sqy_box_bytes(&box8));
    assert_int_equal(notices.n, 0); /* no GPU reads that profile: none was asked */
    for (unsigned i = 0; i < 3; i++) {
        memset(out, 0, sqy_box_bytes(&box8));
        assert_int_equal(sqy_decode(ctx, lossy.pipeline, &box8, lossy.data, (size_t)lossy.len, out),
                         0);
        assert_memory_equal(out, expected, sqy_box_bytes(&box8));
    }
    assert_int_equal(notices.n, 1);
    assert_non_null(strstr(notices.last, "no libnvcuvid.so.1; the CPU decodes"));
    free(expected);
    free(voxels);
    free(out);
    free_coded(&lossless);
    free_coded(&lossy);
    sqy_ctx_free(&ctx);
}

struct text {
    char all[2048];
};

static void add_line(void *arg, const char *line)
{
    struct text *text = arg;
    const size_t len = strlen(text->all);
    snprintf(text->all + len, sizeof(text->all) - len, "%s\n", line);
}

static void test_devices_are_described(void **state)
{
    struct text text = {""};
    (void)state;
    device->n_devices = 2;
    device->no_hevc = true;
    assert_int_equal(nvenc_describe(add_line, &text), 2);
    assert_string_equal(text.all, "driver for CUDA 12.2, its encoder speaks version 11.1\n"
                                  "device 0, Stand-in 0: encodes\n"
                                  "    h264: 8 bits, planes of 2x2 to 8192x8192, also lossless\n"
                                  "    hevc: not encoded\n"
                                  "device 1, Stand-in 1: encodes\n"
                                  "    h264: 8 bits, planes of 2x2 to 8192x8192, also lossless\n"
                                  "    hevc: not encoded\n");
    text.all[0] = '\0';
    device->n_devices = 1;
    device->no_engine = true;
    assert_int_equal(nvenc_describe(add_line, &text), -ENODEV);
    assert_non_null(strstr(text.all, "device 0, Stand-in 0: no encoding session: unsupported"));
}

static void test_a_machine_without_a_driver_says_so(void **state)
{
    const char *folder = getenv("SQY_NVIDIA_LIBRARIES");
    char *was = strdup(folder);
    struct notices notices;
    struct sqy_ctx *ctx = listening_ctx(&notices);
    (void)state;
    setenv("SQY_NVIDIA_LIBRARIES", "/nonexistent", 1);
    check_exact(ctx, H264, &box8, 8, 1);
    assert_string_equal(notices.last,
                        "h264: nvenc: no NVIDIA driver: no libcuda.so.1; the CPU encodes");
    setenv("SQY_NVIDIA_LIBRARIES", was, 1);
    free(was);
    sqy_ctx_free(&ctx);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static bool load_standin(void)
{
    const char *folder = getenv("SQY_NVIDIA_LIBRARIES");
    standin_get *get;
    if (!folder)
        return false;
    library = dlopen(util_path("%s/libcuda.so.1", folder), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    void *symbol = library ? dlsym(library, "standin") : NULL;
    if (!symbol)
        return false;
    memcpy(&get, &symbol, sizeof(get));
    device = get();
    return true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lossless_planes_are_exact),
        TEST(test_chroma_that_bears_voxels_is_exact),
        TEST(test_qp_means_what_it_means_on_the_cpu),
        TEST(test_sessions_stay_open_across_boxes),
        TEST(test_groups_begin_where_they_shall),
        TEST(test_a_busy_or_slow_or_plain_device_is_waited_for),
        TEST(test_whatever_fails_all_planes_are_there),
        TEST(test_twelve_bits_and_ten_of_h264_are_the_cpus),
        TEST(test_settings_that_it_has_not_are_the_cpus),
        TEST(test_auto_says_nothing_of_a_device_that_is_not_there),
        TEST(test_a_device_that_fails_is_asked_ever_more_seldom),
        TEST(test_contexts_share_the_sessions_that_there_are),
        TEST(test_a_box_that_is_stopped_leaves_nothing_behind),
        TEST(test_too_little_room_is_said),
        TEST(test_what_no_gpu_decodes_the_cpu_does),
        TEST(test_devices_are_described),
        TEST(test_a_machine_without_a_driver_says_so),
    };
    if (!load_standin()) {
        printf("no stand-in driver in $SQY_NVIDIA_LIBRARIES\n");
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dlclose(library);
    return failed;
}
