/* Receipts against plain arithmetic, for all types, shapes and kinds of loss. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST 3000u

static int32_t value_of(enum sqy_type type, const uint8_t *voxels, size_t i)
{
    int16_t wide;
    switch (type) {
    case SQY_UINT8:
        return voxels[i];
    case SQY_INT8:
        return (int8_t)voxels[i] + 128;
    default:
        memcpy(&wide, voxels + 2 * i, 2);
        return type == SQY_INT16 ? wide + 32768 : (uint16_t)wide;
    }
}

static void plain_receipt(const struct sqy_box *box, const uint8_t *a, const uint8_t *b,
                          const struct sqy_noise *noise, struct sqy_receipt *out)
{
    *out = (struct sqy_receipt){.voxels = (uint64_t)box->planes * box->rows * box->width};
    for (size_t i = 0; i < out->voxels; i++) {
        const int32_t v = value_of(box->type, a, i), d = value_of(box->type, b, i);
        const double e = abs(v - d), sigma = noise ? sqy_noise_sigma(noise, v) : 1;
        out->within_sigma += e <= sigma;
        out->max_error = (uint32_t)fmax(out->max_error, e);
        out->peak = (uint32_t)fmax(out->peak, v);
        out->max_sigma = fmax(out->max_sigma, e / sigma);
        out->sum_squares += e * e;
        out->sum_sigma_squares += e / sigma * e / sigma;
    }
}

static void check_receipt(const struct sqy_box *box, const uint8_t *a, const uint8_t *b,
                          const struct sqy_noise *noise)
{
    struct sqy_receipt want, got;
    plain_receipt(box, a, b, noise, &want);
    assert_int_equal(sqy_receipt_measure(box, a, b, noise, &got), 0);
    assert_int_equal(got.voxels, want.voxels);
    assert_int_equal(got.within_sigma, want.within_sigma);
    assert_int_equal(got.max_error, want.max_error);
    assert_int_equal(got.peak, want.peak);
    assert_true(fabs(got.max_sigma - want.max_sigma) <= 1e-6 * want.max_sigma);
    assert_true(got.sum_squares == want.sum_squares);
    assert_true(fabs(got.sum_sigma_squares - want.sum_sigma_squares) <=
                1e-5 * want.sum_sigma_squares);
}

/* Errors of at most `most` counts, in one of `rare` voxels. */
static void spoil(uint8_t *out, const uint8_t *in, size_t len, size_t size, unsigned most,
                  unsigned rare, uint64_t seed)
{
    memcpy(out, in, len);
    for (size_t i = 0; i + size <= len; i += size) {
        const uint64_t bits = util_random(&seed);
        uint16_t v = 0;
        if (bits % rare)
            continue;
        memcpy(&v, in + i, size);
        v = (uint16_t)(v + bits / rare % (2 * most + 1) - most);
        memcpy(out + i, &v, size);
    }
}

static const struct sqy_noise noises[] = {
    {100.3, 0.46, 1.6}, {0, 0, 0}, {32868, 0.5, 3}, {0, 1, 0}, {65535, 10, 0.01}, {10, 0, 2},
};

static void test_all(void **state)
{
    (void)state;
    static const enum sqy_type types[] = {SQY_UINT8, SQY_INT8, SQY_UINT16, SQY_INT16};
    uint8_t *a = malloc(2 * MOST), *b = malloc(2 * MOST);
    uint64_t seed = 1;
    for (unsigned i = 0; i < 600; i++) {
        const struct sqy_box box = {types[i % 4], 1, 1, 1 + (uint32_t)(util_random(&seed) % MOST),
                                    1};
        const size_t len = sqy_box_bytes(&box), size = sqy_type_size(box.type);
        const struct sqy_noise *noise = i % 7 < 6 ? &noises[i % 7] : NULL;
        if (i % 3)
            util_image(a, size == 1 ? SQY_UINT8 : SQY_UINT16, len / size, i);
        else
            util_noise(a, len, i);
        spoil(b, a, len, size, i % 5 ? i % 5 : 65535, 1 + i % 11 * 30, i);
        check_receipt(&box, a, b, noise);
        check_receipt(&box, a, a, noise);
    }
    free(a);
    free(b);
}

/* An error that is just the bound is the bound, whatever is measured in single precision. */
static void test_bound_is_met(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT16, 1, 1, 1000, 1};
    const struct sqy_noise noise = {100, 3, 2};
    static uint16_t a[1000], b[1000];
    struct sqy_receipt got;
    for (unsigned i = 0; i < 1000; i++) {
        a[i] = 104; /* a variance of 16 */
        b[i] = 104 + (i == 777 ? 4 : 2);
    }
    assert_int_equal(sqy_receipt_measure(&box, a, b, &noise, &got), 0);
    assert_true(got.max_sigma == 1);
    assert_int_equal(got.within_sigma, 1000);
    b[777] = 109;
    assert_int_equal(sqy_receipt_measure(&box, a, b, &noise, &got), 0);
    assert_int_equal(got.within_sigma, 999);
}

static void test_sigma(void **state)
{
    (void)state;
    const struct sqy_noise noise = {100, 3, 2}, none = {0, 0, 0};
    assert_true(sqy_noise_sigma(&noise, 104) == 4);
    assert_true(sqy_noise_sigma(&noise, 100) == 2);
    assert_true(sqy_noise_sigma(&noise, 0) == 2);
    assert_true(fabs(sqy_noise_sigma(&none, 7) - sqrt(1. / 12)) < 1e-12);
}

static void test_sums(void **state)
{
    (void)state;
    const struct sqy_receipt a = {100, 90, 5, 1000, 2.5, 400, 100},
                             b = {300, 300, 2, 3000, 0.5, 0, 0};
    struct sqy_receipt sum = {0};
    assert_true(sqy_receipt_rms(&sum) == 0 && sqy_receipt_rms_sigma(&sum) == 0);
    assert_true(isinf(sqy_receipt_psnr(&sum)));
    sqy_receipt_add(&sum, &a);
    sqy_receipt_add(&sum, &b);
    assert_int_equal(sum.voxels, 400);
    assert_int_equal(sum.within_sigma, 390);
    assert_int_equal(sum.max_error, 5);
    assert_int_equal(sum.peak, 3000);
    assert_true(sum.max_sigma == 2.5);
    assert_true(sqy_receipt_rms(&sum) == 1 && sqy_receipt_rms_sigma(&sum) == 0.5);
    assert_true(fabs(sqy_receipt_psnr(&sum) - 69.5424) < 1e-3);
}

static void test_refused(void **state)
{
    (void)state;
    const uint8_t voxels[64] = {0};
    struct sqy_box box = {SQY_FLOAT32, 1, 1, 8, 1};
    struct sqy_receipt got;
    assert_int_equal(sqy_receipt_measure(&box, voxels, voxels, NULL, &got), -ENOTSUP);
    box.type = SQY_BYTES;
    assert_int_equal(sqy_receipt_measure(&box, voxels, voxels, NULL, &got), -ENOTSUP);
    box.width = 0;
    assert_int_equal(sqy_receipt_measure(&box, voxels, voxels, NULL, &got), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),     cmocka_unit_test(test_bound_is_met),
        cmocka_unit_test(test_sigma),   cmocka_unit_test(test_sums),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
