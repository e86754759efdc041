/* The camera's noise, found again in generated pictures: of light on a camera with this and that amiss,
 * and of what no camera has seen. What is found may be too low, never much too high. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIDE   512u
#define N      (SIDE * SIDE)
#define PLANES 3u

static uint64_t seed;

static double uniform(void)
{
    return (double)(util_random(&seed) >> 11) * 0x1p-53;
}

static double normal(void)
{
    double v = -6;
    for (unsigned i = 0; i < 12; i++)
        v += uniform();
    return v;
}

static double poisson(double mean)
{
    if (mean > 60)
        return floor(mean + sqrt(mean) * normal() + 0.5);
    double product = uniform(), k = 0;
    for (const double limit = exp(-mean); product > limit; k++)
        product *= uniform();
    return k;
}

/* Photo-electrons: dark, with blurred cells and an edge; `light`: of the brightest. */
static double scene(size_t x, size_t y, double light)
{
    const double cells = sin((double)x / 23) * sin((double)y / 17);
    if (x < SIDE / 4)
        return 0;
    return light * (cells > 0 ? cells * cells : 0) + (y > SIDE / 2 ? light / 8 : 0);
}

static uint16_t clip(double v, double top)
{
    return (uint16_t)(v < 0 ? 0 : v > top ? top : floor(v + 0.5));
}

static void expose(uint16_t *out, const struct sqy_noise *camera, double light, double top)
{
    for (size_t i = 0; i < N; i++) {
        const double electrons = poisson(scene(i % SIDE, i / SIDE, light));
        out[i] = clip(camera->offset + camera->gain * electrons + camera->read * normal(), top);
    }
}

/* What a camera and a scene become before they are fitted. */
typedef void spoil_fn(uint16_t *voxels);

static int fit(const struct sqy_noise *camera, double light, double top, spoil_fn *spoil,
               struct sqy_noise *out)
{
    uint16_t *voxels = malloc(N * sizeof(*voxels));
    const struct sqy_box box = {SQY_UINT16, 1, SIDE, SIDE, 1};
    struct sqy_noise_fit *fit;
    assert_int_equal(sqy_noise_fit_create(&fit), 0);
    seed = 11;
    for (unsigned z = 0; z < PLANES; z++) {
        expose(voxels, camera, light, top);
        if (spoil)
            spoil(voxels);
        assert_int_equal(sqy_noise_fit_add(fit, &box, voxels), 0);
    }
    int r = sqy_noise_fit_end(fit, out);
    sqy_noise_fit_free(&fit);
    assert_null(fit);
    free(voxels);
    return r;
}

static void check_found(const struct sqy_noise *want, const struct sqy_noise *got)
{
    const double rounded = sqrt(want->read * want->read + 1.0 / 12);
    if (fabs(got->gain - want->gain) > 0.1 * want->gain || fabs(got->offset - want->offset) > 2 ||
        fabs(got->read - rounded) > 0.15 * rounded)
        fail_msg("offset %g, gain %g, read %g became %g, %g, %g", want->offset, want->gain,
                 want->read, got->offset, got->gain, got->read);
}

/* Over the range that is there, at most a little too much. */
static void check_modest(const struct sqy_noise *truth, const struct sqy_noise *got, double from,
                         double to)
{
    for (double v = from; v <= to; v += (to - from) / 16)
        if (sqy_noise_sigma(got, v) > 1.1 * sqy_noise_sigma(truth, v))
            fail_msg("sigma of %g is %g, was %g", v, sqy_noise_sigma(got, v),
                     sqy_noise_sigma(truth, v));
}

static const struct sqy_noise cameras[] = {
    {100, 2.1739, 2.87}, {100, 0.46, 1.6}, {200, 0.25, 2}, {32868, 0.5, 3}, {500, 16, 12},
};

static void test_cameras(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cameras) / sizeof(cameras[0]); i++) {
        struct sqy_noise got;
        assert_int_equal(fit(&cameras[i], 400, 65535, NULL, &got), 0);
        check_found(&cameras[i], &got);
        check_modest(&cameras[i], &got, cameras[i].offset,
                     cameras[i].offset + 400 * cameras[i].gain);
    }
}

static void spoil_hot(uint16_t *v)
{
    for (unsigned i = 0; i < N / 500; i++)
        v[util_random(&seed) % N] = (uint16_t)util_random(&seed);
    for (unsigned i = 0; i < N / 50000; i++)
        v[util_random(&seed) % N] = 0;
}

static void spoil_stamp(uint16_t *v)
{
    for (unsigned i = 0; i < 14; i++)
        v[i] = (uint16_t)(i * 7 % 100);
    memset(v + 16 * SIDE, 0, 64 * sizeof(*v));
}

static void spoil_mask(uint16_t *v)
{
    for (size_t i = 0; i < N; i++)
        if (i % SIDE + i / SIDE < SIDE / 2 || i % SIDE > SIDE - 40)
            v[i] = 0;
}

static void test_spoilt(void **state)
{
    (void)state;
    spoil_fn *const spoils[] = {spoil_hot, spoil_stamp, spoil_mask};
    for (size_t i = 0; i < 3; i++) {
        struct sqy_noise got;
        assert_int_equal(fit(&cameras[0], 400, 65535, spoils[i], &got), 0);
        check_found(&cameras[0], &got);
    }
}

/* 12 bits: what is brighter is all 4095. */
static void test_saturated(void **state)
{
    (void)state;
    struct sqy_noise got;
    assert_int_equal(fit(&cameras[0], 4000, 4095, NULL, &got), 0);
    check_found(&cameras[0], &got);
}

static void spoil_shift(uint16_t *v)
{
    for (size_t i = 0; i < N; i++)
        v[i] = (uint16_t)(v[i] << 4);
}

static void test_shifted(void **state)
{
    (void)state;
    const struct sqy_noise truth = {1600, 16 * 2.1739, 16 * 2.89};
    struct sqy_noise got;
    assert_int_equal(fit(&cameras[0], 400, 4095, spoil_shift, &got), 0);
    assert_true(fabs(got.gain - truth.gain) < 0.1 * truth.gain);
    assert_true(fabs(got.offset - truth.offset) < 32);
    check_modest(&truth, &got, 1600, 15000);
}

/* Each voxel the mean of 3 x 3: a third of the noise, seen as less. */
static void spoil_blur(uint16_t *v)
{
    uint16_t *copy = malloc(N * sizeof(*copy));
    memcpy(copy, v, N * sizeof(*copy));
    for (size_t i = SIDE + 1; i < N - SIDE - 1; i++) {
        unsigned sum = 4;
        for (size_t y = 0; y < 3; y++)
            for (size_t x = 0; x < 3; x++)
                sum += copy[i + y * SIDE + x - SIDE - 1];
        v[i] = (uint16_t)(sum / 9);
    }
    free(copy);
}

/* Twice the voxel less the mean of its neighbours along the row: more noise, seen as no more. */
static void spoil_sharpen(uint16_t *v)
{
    uint16_t *copy = malloc(N * sizeof(*copy));
    memcpy(copy, v, N * sizeof(*copy));
    for (size_t i = 1; i < N - 1; i++)
        v[i] = clip(2. * copy[i] - (copy[i - 1] + copy[i + 1]) / 2., 65535);
    free(copy);
}

/* Every second voxel is made of its neighbours. */
static void spoil_interpolate(uint16_t *v)
{
    for (size_t i = 1; i < N - 1; i += 2)
        v[i] = (uint16_t)((v[i - 1] + v[i + 1]) / 2);
}

static void test_processed(void **state)
{
    (void)state;
    static const struct {
        spoil_fn *spoil;
        double part; /* of the noise that is left */
    } what[] = {{spoil_blur, 1. / 3}, {spoil_sharpen, 2.1213}, {spoil_interpolate, 1}};
    for (size_t i = 0; i < 3; i++) {
        struct sqy_noise got, left = cameras[0];
        left.gain *= what[i].part * what[i].part;
        left.read *= what[i].part;
        int r = fit(&cameras[0], 400, 65535, what[i].spoil, &got);
        assert_true(r == 0 || r == -ENODATA);
        if (r == 0)
            check_modest(&left, &got, 100, 900);
    }
}

/* Noise that does not grow with light, of a display's gamma for instance. */
static void test_constant_noise(void **state)
{
    (void)state;
    const struct sqy_noise camera = {1000, 0, 6};
    struct sqy_noise got;
    assert_int_equal(fit(&camera, 0, 65535, NULL, &got), 0);
    assert_true(fabs(got.read - 6) < 0.6 && got.gain < 0.5);
}

static void spoil_constant(uint16_t *v)
{
    memset(v, 7, N * sizeof(*v));
}

static void spoil_ramp(uint16_t *v)
{
    for (size_t i = 0; i < N; i++)
        v[i] = (uint16_t)(3 * (i % SIDE) + i / SIDE);
}

static void spoil_labels(uint16_t *v)
{
    for (size_t i = 0; i < N; i++)
        v[i] = (uint16_t)(scene(i % SIDE, i / SIDE, 1) > 0.3 ? 1 + i / SIDE / 17 * 37 : 0);
}

static void spoil_binary(uint16_t *v)
{
    for (size_t i = 0; i < N; i++)
        v[i] = scene(i % SIDE, i / SIDE, 1) > 0.3 ? 255 : 0;
}

static void test_nothing_seen(void **state)
{
    (void)state;
    spoil_fn *const spoils[] = {spoil_constant, spoil_ramp, spoil_labels, spoil_binary};
    for (size_t i = 0; i < 4; i++) {
        struct sqy_noise got;
        assert_int_equal(fit(&cameras[0], 10, 65535, spoils[i], &got), -ENODATA);
    }
}

/* Rows, 8 bits, signed, interleaved: as the same voxels otherwise. */
static void check_as(enum sqy_type type, uint32_t rows, uint32_t spp, double offset, double read)
{
    const uint32_t width = (1u << 18) / rows / spp * spp;
    const size_t n = (size_t)rows * width, size = sqy_type_size(type);
    const struct sqy_box box = {type, 1, rows, width, spp};
    uint8_t *voxels = malloc(n * size);
    struct sqy_noise_fit *f;
    struct sqy_noise got;
    seed = 3;
    for (size_t i = 0; i < n; i++) {
        const int v = (int)floor(offset + 100. * (double)(i % spp) + read * normal() + 0.5);
        const uint16_t bits = (uint16_t)v;
        memcpy(voxels + i * size, &bits, size);
    }
    assert_int_equal(sqy_noise_fit_create(&f), 0);
    assert_int_equal(sqy_noise_fit_add(f, &box, voxels), 0);
    assert_int_equal(sqy_noise_fit_end(f, &got), 0);
    assert_true(fabs(got.read - read) < 0.15 * read);
    assert_true(fabs(got.offset - offset - (type == SQY_INT16 ? 32768 : 0)) < 2);
    sqy_noise_fit_free(&f);
    free(voxels);
}

static void test_shapes(void **state)
{
    (void)state;
    check_as(SQY_UINT16, 1, 1, 100, 3);
    check_as(SQY_UINT16, 9, 1, 100, 3);
    check_as(SQY_UINT16, 512, 1, 100, 3);
    check_as(SQY_UINT8, 512, 1, 40, 3);
    check_as(SQY_INT16, 512, 1, 100, 3);
    check_as(SQY_INT16, 512, 1, -300, 3);
    check_as(SQY_UINT16, 512, 3, 100, 3);
}

static void test_refused(void **state)
{
    (void)state;
    static uint16_t voxels[60 * 60];
    struct sqy_box box = {SQY_UINT16, 1, 60, 60, 1};
    struct sqy_noise_fit *f, *none = NULL;
    struct sqy_noise got;
    util_noise(voxels, sizeof(voxels), 1);
    assert_int_equal(sqy_noise_fit_create(&f), 0);
    assert_int_equal(sqy_noise_fit_end(f, &got), -ENODATA);
    assert_int_equal(sqy_noise_fit_add(f, &box, voxels), 0); /* too few */
    assert_int_equal(sqy_noise_fit_end(f, &got), -ENODATA);
    box.type = SQY_INT8;
    assert_int_equal(sqy_noise_fit_add(f, &box, voxels), -ENOTSUP);
    box.type = SQY_FLOAT32;
    assert_int_equal(sqy_noise_fit_add(f, &box, voxels), -ENOTSUP);
    box = (struct sqy_box){SQY_UINT16, 1, 0, 60, 1};
    assert_int_equal(sqy_noise_fit_add(f, &box, voxels), -EINVAL);
    box = (struct sqy_box){SQY_UINT16, 1, 2, 7, 1};
    assert_int_equal(sqy_noise_fit_add(f, &box, voxels), 0);
    sqy_noise_fit_free(&f);
    sqy_noise_fit_free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cameras),      cmocka_unit_test(test_spoilt),
        cmocka_unit_test(test_saturated),    cmocka_unit_test(test_shifted),
        cmocka_unit_test(test_processed),    cmocka_unit_test(test_constant_noise),
        cmocka_unit_test(test_nothing_seen), cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
