/* The loops of the contextual coder: every version against the scalar one, those that work on whole
 * lines by what becomes of boxes. */
#include "test.h"

#include "boxes.h"
#include "check_kernels.h"
#include "codec/turns.h"

#include <stdlib.h>
#include <string.h>

#define MOST 75 /* columns */

static uint64_t below(uint64_t *seed, uint64_t n)
{
    return (util_random(seed) >> 11) % n;
}

static int16_t nasty(uint64_t *seed)
{
    static const int16_t worst[] = {INT16_MIN, INT16_MIN + 1, -1, 0, 1, INT16_MAX};
    return below(seed, 2) ? worst[below(seed, 6)] : (int16_t)below(seed, 65536);
}

static void fill(void *to, size_t n, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++)
        ((int16_t *)to)[i] = nasty(seed);
}

static void check_same(const void *want, const void *got, size_t len, const struct kernels *k,
                       const char *what)
{
    if (memcmp(want, got, len) != 0)
        fail_msg("%s of %s is wrong", what, k->name);
}

/* ---- what is made of a line beforehand ---- */

static void check_sum(const struct kernels *k)
{
    uint64_t seed = 3;
    int16_t samples[CAUSAL_TAPS][MOST], weight[CAUSAL_TAPS];
    const int16_t *taps[CAUSAL_TAPS];
    for (unsigned n_taps = 0; n_taps <= CAUSAL_TAPS; n_taps++) {
        for (size_t n = 0; n <= MOST; n++) {
            int32_t want[MOST] = {0}, got[MOST] = {0};
            const int32_t bias = nasty(&seed) * 65535;
            fill(samples, sizeof(samples) / 2, &seed);
            fill(weight, CAUSAL_TAPS, &seed);
            for (unsigned t = 0; t < CAUSAL_TAPS; t++)
                taps[t] = samples[t];
            turns_scalar.sum(want, taps, weight, n_taps, bias, n);
            k->turns->sum(got, taps, weight, n_taps, bias, n);
            check_same(want, got, sizeof(want), k, "sum");
        }
    }
}

static void check_energy_sum(const struct kernels *k)
{
    uint64_t seed = 4;
    const struct shape shape = {SQY_INT16, 2, MOST, 1, 1, MOST, 1, false, false};
    const size_t len = grid_bytes(&shape, GRID_BANDS);
    uint8_t *memory = calloc(2, len);
    struct grid grid;
    struct energy energy;
    grid_init(&grid, &shape, GRID_BANDS, memory);
    energy_init(&energy, &grid, memory + len);
    for (size_t n = 0; n <= MOST; n++) {
        int32_t want[MOST] = {0}, got[MOST] = {0};
        fill(memory, len, &seed);
        fill(&energy.model.weight, ENERGY_FEATURES, &seed);
        energy.model.dark = nasty(&seed);
        energy.model.constant = nasty(&seed) * 65535;
        const struct energy_above above = energy_above(&energy, 0, 0);
        turns_scalar.energy_sum(&energy, &above, 0, n, want);
        k->turns->energy_sum(&energy, &above, 0, n, got);
        check_same(want, got, sizeof(want), k, "energy_sum");
    }
    free(memory);
}

static void fill_window(struct normal_window *window, uint64_t *seed)
{
    float *f = (float *)(void *)((uint8_t *)window + offsetof(struct normal_window, feature));
    const size_t n = (sizeof(*window) - offsetof(struct normal_window, feature)) / sizeof(float);
    for (size_t i = 0; i < n; i++)
        f[i] = (float)nasty(seed) / 7;
}

static void check_add_window(const struct kernels *k)
{
    uint64_t seed = 5;
    for (unsigned n = 1; n <= NORMAL_MAX; n++) {
        static struct normal want, got;
        struct normal_window window = {.len = NORMAL_WINDOW};
        normal_clear(&want, n);
        normal_clear(&got, n);
        for (unsigned round = 0; round < 3; round++) {
            fill_window(&window, &seed);
            turns_scalar.add_window(&want, &window);
            k->turns->add_window(&got, &window);
        }
        for (unsigned i = 0; i < n; i++)
            check_same(want.a[i], got.a[i], (i + 1) * sizeof(double), k, "add_window");
        check_same(want.b, got.b, n * sizeof(double), k, "add_window");
    }
}

/* ---- lines ---- */

static void check_box(const struct kernels *k, const struct sqy_box *box, enum boxes_fill kind)
{
    struct sqy_ctx *scalar = util_ctx(), *ctx = util_ctx();
    struct sqy_pipeline *p = util_pipeline("context");
    uint8_t *in = boxes_filled(box, kind), *out = malloc(sqy_box_bytes(box));
    ctx_use_kernels(scalar, &kernels_scalar);
    ctx_use_kernels(ctx, k);
    struct bytes want = boxes_encode(scalar, p, box, in), got = boxes_encode(ctx, p, box, in);
    assert_int_equal(want.len, got.len);
    check_same(want.data, got.data, want.len, k, "encode");
    assert_int_equal(sqy_decode(ctx, p, box, want.data, want.len, out), 0);
    check_same(in, out, sqy_box_bytes(box), k, "decode");
    free(want.data);
    free(got.data);
    free(in);
    free(out);
    sqy_pipeline_free(&p);
    sqy_ctx_free(&scalar);
    sqy_ctx_free(&ctx);
}

/* Of four bands, of two, of one; some that are shorter than others. */
static void check_lines(const struct kernels *k)
{
    static const struct sqy_box boxes[] = {
        {SQY_UINT16, 4, 67, 45, 1}, {SQY_INT16, 1, 256, 33, 1}, {SQY_UINT8, 5, 64, 30, 2},
        {SQY_UINT16, 2, 33, 77, 1}, {SQY_INT16, 3, 7, 90, 1},
    };
    for (size_t b = 0; b < sizeof(boxes) / sizeof(boxes[0]); b++) {
        for (unsigned kind = 0; kind < BOXES_FILLS; kind++)
            check_box(k, &boxes[b], (enum boxes_fill)kind);
    }
}

const struct kernel_check check_kernels_turns[] = {
    {"context sum", check_sum},
    {"context energy_sum", check_energy_sum},
    {"context add_window", check_add_window},
    {"context measure, encode, decode", check_lines},
    {NULL, NULL},
};

/* ---- timing ---- */

static void time_sum(const struct kernels *k, struct timed_memory *m)
{
    const unsigned n = TIMED_BYTES / 2 / 4;
    const int16_t *samples = (const int16_t *)(const void *)m->numbers;
    const int16_t *taps[CAUSAL_TAPS];
    int16_t weight[CAUSAL_TAPS];
    for (unsigned t = 0; t < CAUSAL_TAPS; t++) {
        taps[t] = samples + t;
        weight[t] = (int16_t)(1000 - 77 * (int)t);
    }
    for (unsigned i = 0; i < 4; i++)
        k->turns->sum((int32_t *)(void *)m->out, taps, weight, CAUSAL_TAPS - CAUSAL_OWN, 0, n);
}

static void time_add_window(const struct kernels *k, struct timed_memory *m)
{
    static struct normal normal;
    struct normal_window window = {.len = NORMAL_WINDOW};
    for (unsigned f = 0; f < NORMAL_MAX; f++) {
        for (unsigned i = 0; i < NORMAL_WINDOW; i++)
            window.feature[f][i] = m->numbers[f + i];
    }
    normal_clear(&normal, NORMAL_MAX);
    for (unsigned i = 0; i < 4; i++)
        k->turns->add_window(&normal, &window);
}

const struct kernel_timed time_kernels_turns[] = {
    {"context sum", time_sum},
    {"context add_window", time_add_window},
    {NULL, NULL},
};
