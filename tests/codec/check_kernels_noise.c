/* The kernels of noise: codes that are looked up, and what was lost. */
#include "test.h"

#include "base/le.h"
#include "check_kernels.h"
#include "util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST  2048u
#define GUARD 64u

static void check_look_up(const struct kernels *k)
{
    static uint16_t table[UINT16_MAX + 1];
    static uint8_t in[2 * MOST + 1], want[2 * MOST + GUARD], got[2 * MOST + GUARD];
    util_noise(table, sizeof(table), 1);
    util_noise(in, sizeof(in), 2);
    for (size_t n = 0; n < MOST; n = n < 70 ? n + 1 : 2 * n - 3) {
        memset(want, 0xA5, sizeof(want));
        memset(got, 0xA5, sizeof(got));
        for (size_t i = 0; i < n; i++)
            le_store16(want + 2 * i, table[le_load16(in + 1 + 2 * i)]);
        k->look_up(table, in + 1, n, got);
        assert_memory_equal(got, want, sizeof(want));
    }
}

static const struct loss_model models[] = {
    {100, 0.25f, 0.5f, 4, 1.f / 12},   {0, 0, 0, 1, 1.f / 12},
    {65536, 1e9f, 2, 0.01f, 1.f / 12}, {-1, 0.5f, 2000, 0, 1.f / 12},
    {32868, 0.1f, 0, 0, 1.f / 12},
};

/* Noise of few and of all bits, and none. */
static void fill(uint8_t *original, uint8_t *decoded, unsigned what, uint64_t seed)
{
    util_noise(original, 2 * LOSS_MOST, seed);
    util_noise(decoded, 2 * LOSS_MOST, seed + 1);
    for (size_t i = 0; i < LOSS_MOST && what < 3; i++) {
        const uint16_t a = le_load16(original + 2 * i), d = le_load16(decoded + 2 * i);
        le_store16(decoded + 2 * i, what == 2 ? a : (uint16_t)(a + (what ? d % 4095 : d % 3)));
    }
}

/* The same to the last bit; and close to what exact arithmetic gives. */
static void check_loss(const struct kernels *k)
{
    uint8_t a[2 * LOSS_MOST], b[2 * LOSS_MOST];
    for (unsigned i = 0; i < 200; i++) {
        const struct loss_model *m = &models[i % 5];
        const size_t n = LOSS_MOST - LOSS_STEP * (i % 7);
        const uint16_t flip = i % 2 ? 0x8000 : 0;
        struct loss got, want;
        double sum = 0, exact = 0;
        fill(a, b, i / 5 % 4, i);
        k->loss(a, b, n, flip, m, &got);
        scalar_loss(a, b, n, flip, m, &want);
        assert_int_equal(got.peak, want.peak);
        assert_int_equal(got.max_error, want.max_error);
        assert_int_equal(got.squares, want.squares);
        assert_true(got.max_ratio == want.max_ratio);
        for (unsigned l = 0; l < LOSS_LANES; l++) {
            assert_true(got.ratios[l] == want.ratios[l]);
            sum += (double)got.ratios[l];
        }
        for (size_t j = 0; j < n; j++) {
            const double v = le_load16(a + 2 * j) ^ flip, e = v - (le_load16(b + 2 * j) ^ flip);
            const double light = fmax(v - m->whole - (double)m->rest, 0);
            exact += e * e / fmax((double)m->gain * light + (double)m->dark, (double)m->least);
        }
        assert_true(fabs(sum - exact) <= 1e-5 * exact);
    }
}

const struct kernel_check check_kernels_noise[] = {
    {"look_up", check_look_up},
    {"loss", check_loss},
    {NULL, NULL},
};

static void time_look_up(const struct kernels *k, struct timed_memory *m)
{
    static uint16_t table[UINT16_MAX + 1];
    k->look_up(table, (const uint8_t *)m->numbers, TIMED_BYTES / 2, m->out);
}

static void time_loss(const struct kernels *k, struct timed_memory *m)
{
    struct loss loss;
    for (size_t i = 0; i < TIMED_BYTES; i += 2 * LOSS_MOST)
        k->loss(m->in + i, (const uint8_t *)m->numbers + i, LOSS_MOST, 0, &models[0], &loss);
}

const struct kernel_timed time_kernels_noise[] = {
    {"look_up", time_look_up},
    {"loss", time_loss},
    {NULL, NULL},
};
