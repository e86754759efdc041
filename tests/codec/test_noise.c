/* The stage noise: its bins against a slow model of codec/FORMAT.md and against what they promise, for
 * all values; its text; its place in pipelines. */
#include "test.h"

#include "codec/kernels.h"
#include "codec/noise.h"
#include "codec/stage.h"
#include "util.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

#define VALUES 65536u

static const uint32_t steps[] = {100, 250, 333, 500, 1000, 1700, 2000, 4000, 16000};

/* Thousandths, millionths, thousandths. */
static const struct {
    uint32_t offset, gain, read;
} models[] = {
    {0, 0, 0},
    {0, 0, 1},
    {0, 1000000, 0},
    {500, 1, 1},
    {2800, 9600, 259},
    {100000, 460000, 1600},
    {100000, 2173913, 2870},
    {104512, 2174500, 4300},
    {497500, 0, 4703},
    {1000, 7000000, 300},
    {2000000, 16000000, 400000},
    {32868000, 500000, 2000},
    {65535000, 2000000000, 65535000},
    {0, 2000000000, 0},
    {65535000, 0, 0},
};

#define N_STEPS  (sizeof(steps) / sizeof(steps[0]))
#define N_MODELS (sizeof(models) / sizeof(models[0]))

struct bins {
    uint32_t n, n_values;
    uint16_t code[VALUES], stands[VALUES]; /* of values; of codes */
};

/* ---- the slow model ---- */

/* In 10^-9 counts squared. */
static u128 variance_of(const struct noise_params *p, uint64_t value)
{
    const uint64_t at = 1000 * value;
    return (at > p->offset ? (u128)p->gain * (at - p->offset) : 0) + (u128)1000 * p->read * p->read;
}

/* (q sigma)^2 in 10^-3 counts squared. */
static u128 allowance(const struct noise_params *p, uint64_t value)
{
    const u128 v = variance_of(p, value) * p->q * p->q / 1000000000000u;
    const u128 most = (u128)1000 << 34;
    return v < most ? v : most;
}

static u128 squares(u128 width, u128 stands) /* 12 times */
{
    u128 sum = 0;
    for (u128 i = 0; i < width; i++)
        sum += 12 * (i > stands ? i - stands : stands - i) * (i > stands ? i - stands : stands - i);
    return sum;
}

/* Any width that the rules allow; the largest. */
static uint32_t widest(const struct noise_params *p, uint32_t from, u128 lent, u128 *left)
{
    uint32_t best = 1;
    u128 earned = 0;
    for (uint32_t w = 1; from + w <= p->n_values; w++) {
        const u128 half = w / 2;
        earned += allowance(p, from + w - 1);
        if (4 * half * half * 1000 > allowance(p, from))
            break;
        /* the sum over a bin, in closed form for the wide ones */
        const u128 made = w < 40 ? squares(w, (w - 1) / 2)
                                 : (u128)w * (w % 2 ? (u128)w * w - 1 : (u128)w * w + 2);
        if (made * 1000 > lent + earned)
            continue;
        best = w;
        *left = lent + earned - made * 1000;
        *left = *left < earned ? *left : earned;
    }
    return best;
}

static void slow_bins(const struct noise_params *p, struct bins *b)
{
    const uint64_t deep = 8 * (uint64_t)p->read;
    uint32_t dark = p->offset > deep ? (uint32_t)((p->offset - deep) / 1000) : 0, even = 0;
    const uint32_t zero = p->flip;
    u128 lent = 0;
    dark = dark < p->n_values ? dark : p->n_values;
    b->n = 0;
    b->n_values = p->n_values;
    if (zero < dark) {
        b->code[zero] = 0;
        b->stands[b->n++] = (uint16_t)zero;
    }
    for (uint32_t v = dark, w; v < p->n_values; v += w, b->n++) {
        w = widest(p, v, lent, &lent);
        b->stands[b->n] = (uint16_t)(v + (w - 1) / 2);
        if (w % 2 == 0 && even++ % 2)
            b->stands[b->n]++;
        for (uint32_t i = 0; i < w; i++)
            b->code[v + i] = (uint16_t)b->n;
    }
    for (uint32_t v = 0; v < dark; v++) {
        if (v == zero)
            continue;
        b->code[v] = (uint16_t)b->n;
        b->stands[b->n++] = (uint16_t)v;
    }
}

/* ---- what the stage does ---- */

static const char *print_stage(const struct noise_params *p)
{
    return util_path("noise(q=%u.%03u,offset=%u.%03u,gain=%u.%06u,read=%u.%03u)", p->q / 1000,
                     p->q % 1000, p->offset / 1000, p->offset % 1000, p->gain / 1000000,
                     p->gain % 1000000, p->read / 1000, p->read % 1000);
}

static struct sqy_box box_of(const struct noise_params *p)
{
    const enum sqy_type type = p->n_values == 256 ? SQY_UINT8 : p->flip ? SQY_INT16 : SQY_UINT16;
    return (struct sqy_box){type, 1, 1, p->n_values, 1};
}

static void put(void *voxels, const struct noise_params *p, size_t i, unsigned value)
{
    if (p->n_values == 256)
        ((uint8_t *)voxels)[i] = (uint8_t)value;
    else
        ((uint16_t *)voxels)[i] = (uint16_t)(value ^ p->flip);
}

static unsigned get(const void *voxels, const struct noise_params *p, size_t i)
{
    return p->n_values == 256 ? ((const uint8_t *)voxels)[i]
                              : ((const uint16_t *)voxels)[i] ^ (unsigned)p->flip;
}

/* All values through the stage, bare, and back. */
static void real_bins(struct sqy_ctx *ctx, const struct noise_params *p, struct bins *b)
{
    static uint16_t in[VALUES], coded[VALUES], out[VALUES];
    struct sqy_pipeline *pipeline = util_pipeline(print_stage(p));
    const struct sqy_box box = box_of(p);
    const size_t len = sqy_box_bytes(&box);
    for (uint32_t v = 0; v < p->n_values; v++)
        put(in, p, v, v);
    assert_int_equal(sqy_encode_lossy(ctx, pipeline, &box, in, coded, sizeof(coded)), len);
    assert_int_equal(sqy_decode(ctx, pipeline, &box, coded, len, out), 0);
    *b = (struct bins){.n_values = p->n_values};
    for (uint32_t v = 0; v < p->n_values; v++) {
        const struct noise_params plain = {.n_values = p->n_values};
        b->code[v] = (uint16_t)get(coded, &plain, v);
        b->stands[b->code[v]] = (uint16_t)get(out, p, v);
        b->n = b->code[v] + 1u > b->n ? b->code[v] + 1u : b->n;
    }
    sqy_pipeline_free(&pipeline);
}

/* The promises, whatever the rules: errors, the budget, what is exact. */
static void check_promises(const struct noise_params *p, const struct bins *b)
{
    const uint64_t deep = 8 * (uint64_t)p->read;
    const uint32_t dark = p->offset > deep ? (uint32_t)((p->offset - deep) / 1000) : 0;
    u128 made = 0, allowed = 0; /* 12 times the squares, in 10^-15 counts squared */
    for (uint32_t v = 0; v < p->n_values; v++) {
        const uint32_t stands = b->stands[b->code[v]];
        const uint64_t e = v > stands ? v - stands : stands - v;
        const u128 may = variance_of(p, v) * p->q * p->q;
        if ((u128)(4 * e * e) * 1000000000000000u > may)
            fail_msg("%s: %u becomes %u", print_stage(p), v, stands);
        assert_true(e == 0 || v >= dark);
        if (v < dark)
            continue;
        made += (u128)(12 * e * e) * 1000000000000000u;
        allowed += may;
        if (v + 1 == p->n_values || b->code[v + 1] != b->code[v])
            assert_true(made <= allowed);
    }
}

/* Codes rise with the values from the dark level on; that of zero is 0 or, from there, the bin's. */
static void check_order(const struct noise_params *p, const struct bins *b)
{
    const uint64_t deep = 8 * (uint64_t)p->read;
    const uint32_t dark = p->offset > deep ? (uint32_t)((p->offset - deep) / 1000) : 0;
    for (uint32_t v = dark + 1; v < p->n_values; v++)
        assert_true(b->code[v] == b->code[v - 1] || b->code[v] == b->code[v - 1] + 1);
    assert_true(dark >= p->n_values || b->code[dark] <= 1);
    assert_true(p->flip >= dark || b->code[p->flip] == 0);
}

static void check_model(struct sqy_ctx *ctx, const struct noise_params *p)
{
    static struct bins want, got;
    slow_bins(p, &want);
    real_bins(ctx, p, &got);
    assert_int_equal(got.n, want.n);
    for (uint32_t v = 0; v < p->n_values; v++)
        if (got.code[v] != want.code[v])
            fail_msg("%s: code of %u is %u, not %u", print_stage(p), v, got.code[v], want.code[v]);
    for (uint32_t c = 0; c < want.n; c++)
        if (got.stands[c] != want.stands[c])
            fail_msg("%s: %u stands for %u, not %u", print_stage(p), c, got.stands[c],
                     want.stands[c]);
    check_promises(p, &got);
    check_order(p, &got);
}

static void test_bins(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    for (size_t m = 0; m < N_MODELS; m++) {
        for (size_t s = 0; s < N_STEPS; s++) {
            struct noise_params p = {.q = steps[s],
                                     .offset = models[m].offset,
                                     .gain = models[m].gain,
                                     .read = models[m].read,
                                     .n_values = VALUES};
            check_model(ctx, &p);
            p.n_values = 256;
            check_model(ctx, &p);
            p.n_values = VALUES;
            p.flip = 0x8000;
            check_model(ctx, &p);
        }
    }
    sqy_ctx_free(&ctx);
}

static void test_random_bins(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    uint64_t seed = 5;
    for (unsigned i = 0; i < 60; i++) {
        const uint32_t bits = (uint32_t)(util_random(&seed) >> 40);
        struct noise_params p = {.q = 100 + (uint32_t)(util_random(&seed) % 4000),
                                 .offset = (uint32_t)(util_random(&seed) >> 32) >> bits % 32,
                                 .gain = (uint32_t)(util_random(&seed) >> 32) >> bits / 32 % 32,
                                 .read = (uint32_t)(util_random(&seed) >> 32) >> bits / 1024 % 32,
                                 .n_values = VALUES};
        p.offset %= 65535001;
        p.gain %= 2000000001;
        p.read %= 65535001;
        check_model(ctx, &p);
    }
    sqy_ctx_free(&ctx);
}

/* ---- data ---- */

static double normal(uint64_t *seed)
{
    double v = -6;
    for (unsigned i = 0; i < 12; i++)
        v += (double)(util_random(seed) >> 11) * 0x1p-53;
    return v;
}

/* Light of all kinds on a camera. */
static void expose(uint16_t *out, size_t n, const struct sqy_noise *noise, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        const double mean = noise->offset + (i % 512 < 256 ? 0 : exp((double)(i / 512 % 100) / 11));
        const double v = mean + normal(&seed) * sqy_noise_sigma(noise, mean);
        out[i] = (uint16_t)(v < 0 ? 0 : v > 65535 ? 65535 : v + 0.5);
    }
}

#define N_EXPOSED (512u * 200u)

static void test_rms(void **state)
{
    (void)state;
    static uint16_t in[N_EXPOSED], out[N_EXPOSED], coded[2 * N_EXPOSED];
    const struct sqy_box box = {SQY_UINT16, 1, 200, 512, 1};
    struct sqy_ctx *ctx = util_ctx();
    for (unsigned i = 0; i < 12; i++) {
        const struct sqy_noise noise = {100, 0.25 * (1 + i % 4 * i % 4), 1.5 + i};
        const double q = 0.5 * (1 << i % 3);
        struct sqy_receipt receipt;
        struct sqy_pipeline *p =
            util_pipeline(util_path("noise(q=%g,offset=%g,gain=%g,read=%g)->default", q,
                                    noise.offset, noise.gain, noise.read));
        expose(in, N_EXPOSED, &noise, i);
        ssize_t len = sqy_encode_lossy(ctx, p, &box, in, coded, sizeof(coded));
        assert_true(len > 0);
        assert_int_equal(sqy_decode(ctx, p, &box, coded, (size_t)len, out), 0);
        assert_int_equal(sqy_receipt_measure(&box, in, out, &noise, &receipt), 0);
        assert_true(sqy_receipt_rms_sigma(&receipt) <= 0.3 * q);
        assert_true(receipt.max_sigma <= 0.5 * q + 1e-9);
        sqy_pipeline_free(&p);
    }
    sqy_ctx_free(&ctx);
}

static const char *const model_text = "offset=100,gain=0.5,read=1.6";

/* Time stamps, zeros, hot voxels and saturated ones: exact where there is no noise, else in bounds. */
static void test_outliers(void **state)
{
    (void)state;
    enum { N = 4096 };
    static uint16_t in[N], out[N], coded[4 * N];
    const uint16_t odd[] = {0, 1, 9, 34, 86, 65535, 65534, 32768, 4095, 60000};
    const struct sqy_box box = {SQY_UINT16, 1, 64, 64, 1};
    const struct sqy_noise noise = {100, 0.5, 1.6};
    struct sqy_pipeline *p = util_pipeline(util_path("noise(q=1,%s)->default", model_text));
    struct sqy_ctx *ctx = util_ctx();
    expose(in, N, &noise, 7);
    for (size_t i = 0; i < 200; i++)
        in[i * 19] = odd[i % 10];
    ssize_t len = sqy_encode_lossy(ctx, p, &box, in, coded, sizeof(coded));
    assert_true(len > 0);
    assert_int_equal(sqy_decode(ctx, p, &box, coded, (size_t)len, out), 0);
    for (size_t i = 0; i < N; i++) {
        assert_true(in[i] >= 87 || out[i] == in[i]);
        assert_true(abs(in[i] - out[i]) <= 0.5 * sqy_noise_sigma(&noise, in[i]));
    }
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
}

/* Signed samples are those with 32768 added: the same codes, and what is 0 has code 0. */
static void test_signed(void **state)
{
    (void)state;
    enum { N = 2000 };
    static uint16_t in[N], flipped[N], a[2 * N], b[2 * N];
    const struct sqy_noise noise = {32868, 0.5, 1.6};
    struct sqy_pipeline *p = util_pipeline("noise(offset=32868,gain=0.5,read=1.6)");
    const struct sqy_box plain = {SQY_UINT16, 1, 1, N, 1}, minus = {SQY_INT16, 1, 1, N, 1};
    struct sqy_ctx *ctx = util_ctx();
    expose(in, N, &noise, 3);
    in[0] = 32768;
    for (size_t i = 0; i < N; i++)
        flipped[i] = in[i] ^ 0x8000;
    assert_int_equal(sqy_encode_lossy(ctx, p, &plain, in, a, sizeof(a)), 2 * N);
    assert_int_equal(sqy_encode_lossy(ctx, p, &minus, flipped, b, sizeof(b)), 2 * N);
    assert_int_equal(b[0], 0);
    assert_memory_equal(a + 1, b + 1, 2 * (N - 1));
    assert_int_equal(sqy_decode(ctx, p, &plain, a, 2 * N, in), 0);
    assert_int_equal(sqy_decode(ctx, p, &minus, b, 2 * N, flipped), 0);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(in[i], flipped[i] ^ 0x8000);
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
}

static void test_bad_codes(void **state)
{
    (void)state;
    uint16_t coded[9] = {0}, out[9];
    const struct sqy_box box = {SQY_UINT16, 1, 1, 9, 1}, bytes = {SQY_UINT8, 1, 1, 9, 1};
    struct sqy_pipeline *p = util_pipeline(util_path("noise(q=1,%s)", model_text));
    struct sqy_ctx *ctx = util_ctx();
    assert_int_equal(sqy_decode(ctx, p, &box, coded, 18, out), 0);
    coded[8] = 2000;
    assert_int_equal(sqy_decode(ctx, p, &box, coded, 18, out), -EBADMSG);
    memset(coded, 255, sizeof(coded));
    assert_int_equal(sqy_decode(ctx, p, &bytes, coded, 9, out), -EBADMSG);
    sqy_pipeline_free(&p);
    p = util_pipeline("noise");
    assert_int_equal(sqy_decode(ctx, p, &box, coded, 18, out), -EBADMSG);
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
}

/* More pipelines than a context keeps tables of, in turns. */
static void test_many_tables(void **state)
{
    (void)state;
    enum { N = 3000, PIPELINES = 5 };
    static uint16_t in[N], first[PIPELINES][N], again[2 * N];
    const struct sqy_box box = {SQY_UINT16, 1, 1, N, 1};
    struct sqy_ctx *ctx = util_ctx();
    for (size_t i = 0; i < N; i++)
        in[i] = (uint16_t)(i * 20);
    for (unsigned i = 0; i < 7 * PIPELINES; i++) {
        const unsigned which = i < PIPELINES ? i : i * i % PIPELINES;
        struct sqy_pipeline *p =
            util_pipeline(util_path("noise(q=%u.5,offset=100,gain=0.5,read=1.6)", which));
        assert_int_equal(sqy_encode_lossy(ctx, p, &box, in, again, sizeof(again)), 2 * N);
        if (i < PIPELINES)
            memcpy(first[i], again, 2 * N);
        assert_memory_equal(first[which], again, 2 * N);
        if (i == 2 * PIPELINES)
            sqy_ctx_trim(ctx);
        sqy_pipeline_free(&p);
    }
    sqy_ctx_free(&ctx);
}

static void test_kernels_agree(void **state)
{
    (void)state;
    static uint16_t in[N_EXPOSED], want[2 * N_EXPOSED], got[2 * N_EXPOSED];
    const struct sqy_noise noise = {100, 0.5, 1.6};
    struct sqy_pipeline *p = util_pipeline(util_path("noise(q=1,%s)->interlace", model_text));
    const struct sqy_box box = {SQY_UINT16, 1, 200, 512, 1};
    struct sqy_ctx *ctx = util_ctx();
    expose(in, N_EXPOSED, &noise, 1);
    ctx_use_kernels(ctx, &kernels_scalar);
    ssize_t len = sqy_encode_lossy(ctx, p, &box, in, want, sizeof(want));
    assert_true(len > 0);
    for (unsigned i = 0; i < kernels_count(); i++) {
        if (!kernels_version(i))
            continue;
        ctx_use_kernels(ctx, kernels_version(i));
        assert_int_equal(sqy_encode_lossy(ctx, p, &box, in, got, sizeof(got)), len);
        assert_memory_equal(got, want, (size_t)len);
    }
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
}

/* ---- text ---- */

static void check_text(const char *text, const char *full, const char *brief)
{
    struct sqy_pipeline *p = util_pipeline(text), *again;
    assert_string_equal(sqy_pipeline_text(p), full);
    assert_string_equal(sqy_pipeline_short(p), brief);
    again = util_pipeline(full);
    assert_string_equal(sqy_pipeline_text(again), full);
    sqy_pipeline_free(&again);
    sqy_pipeline_free(&p);
}

static void test_text(void **state)
{
    (void)state;
    check_text("noise", "noise(q=1)", "noise");
    check_text("noise(q=1.0)->default", "noise(q=1)->interlace(entropy=1)", "noise->interlace");
    check_text("default", "interlace(entropy=1)", "interlace");
    check_text("bitshuffle->default", "bitshuffle(block_size=0)->interlace(entropy=1)",
               "bitshuffle->interlace");
    check_text("noise(read=2.50,q=0.25)", "noise(q=0.25,read=2.5)", "noise(q=0.25,read=2.5)");
    check_text("noise(q=16,offset=65535,gain=2000,read=65535)",
               "noise(q=16,offset=65535,gain=2000,read=65535)",
               "noise(q=16,offset=65535,gain=2000,read=65535)");
    check_text("noise(offset=0,gain=0.000001,read=0.0019)",
               "noise(q=1,offset=0,gain=0.000001,read=0.001)",
               "noise(offset=0,gain=0.000001,read=0.001)");
}

static void test_wrong_text(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "noise(q=0)",
        "noise(q=0.0999)",
        "noise(q=16.001)",
        "noise(q=-1)",
        "noise(q=nan)",
        "noise(q=1e3)",
        "noise(q=)",
        "noise(q=.5)",
        "noise(q=99999999999999999999999)",
        "noise(gain=-0.1)",
        "noise(gain=2000.000001)",
        "noise(offset=65535.001)",
        "noise(offset=inf)",
        "noise(read=65536)",
        "noise(sigma=1)",
        "noise(q=1,q=1)",
        "bitshuffle->noise",
        "noise->noise",
        "default->noise",
        "noise->default->lz4",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sqy_pipeline *p = NULL;
        struct sqy_error err;
        if (sqy_pipeline_parse(texts[i], &p, &err) != -EINVAL)
            fail_msg("%s is taken", texts[i]);
        assert_true(err.message[0]);
    }
}

static void test_model(void **state)
{
    (void)state;
    const struct sqy_noise noise = {103.4567, 2.1739126, 2.9994}, bad = {NAN, 1, 1};
    const struct sqy_noise minus = {-1, 1, 1}, huge = {1e30, 1e30, 1e30};
    struct sqy_noise model;
    struct sqy_pipeline *p = util_pipeline("noise(q=0.5,read=7)->zstd"), *filled = NULL;
    assert_true(sqy_pipeline_wants_noise(p));
    assert_int_equal(sqy_pipeline_noise(p, &model), -ENODATA);
    assert_int_equal(sqy_pipeline_with_noise(p, &bad, &filled), -EINVAL);
    assert_int_equal(sqy_pipeline_with_noise(p, &minus, &filled), -EINVAL);
    assert_int_equal(sqy_pipeline_with_noise(p, &noise, &filled), 0);
    assert_string_equal(sqy_pipeline_short(filled),
                        "noise(q=0.5,offset=103.457,gain=2.173913,read=7)->zstd");
    assert_false(sqy_pipeline_wants_noise(filled));
    assert_int_equal(sqy_pipeline_noise(filled, &model), 0);
    assert_true(fabs(model.offset - 103.457) < 1e-9 && fabs(model.gain - 2.173913) < 1e-9 &&
                fabs(model.read - 7) < 1e-9);
    sqy_pipeline_free(&filled);
    assert_int_equal(sqy_pipeline_with_noise(p, &huge, &filled), 0);
    assert_string_equal(sqy_pipeline_short(filled),
                        "noise(q=0.5,offset=65535,gain=2000,read=7)->zstd");
    sqy_pipeline_free(&filled);
    sqy_pipeline_free(&p);
    p = util_pipeline("bitshuffle->zstd");
    assert_false(sqy_pipeline_wants_noise(p));
    assert_int_equal(sqy_pipeline_noise(p, &model), -ENODATA);
    assert_int_equal(sqy_pipeline_with_noise(p, &noise, &filled), 0);
    assert_string_equal(sqy_pipeline_text(filled), sqy_pipeline_text(p));
    sqy_pipeline_free(&filled);
    sqy_pipeline_free(&p);
}

static void test_finer(void **state)
{
    (void)state;
    struct sqy_pipeline *p = util_pipeline(util_path("noise(q=2,%s)->default", model_text)), *finer;
    static const char *const q[] = {"q=1,", "q=0.5,", "q=0.25,"};
    char text[80];
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sqy_pipeline_finer(p, &finer), 0);
        snprintf(text, sizeof(text), "noise(%s%s)->interlace", i ? q[i] : "", model_text);
        assert_string_equal(sqy_pipeline_short(finer), text);
        sqy_pipeline_free(&p);
        p = finer;
    }
    assert_int_equal(sqy_pipeline_finer(p, &finer), -ENOENT);
    sqy_pipeline_free(&p);
    p = util_pipeline("noise(q=2,offset=100,gain=0,read=1.9)"); /* with q=1 no bin is wide */
    assert_int_equal(sqy_pipeline_finer(p, &finer), -ENOENT);
    sqy_pipeline_free(&p);
}

/* Neither other types, nor without a model, nor unasked. */
static void test_refused(void **state)
{
    (void)state;
    uint8_t in[64] = {0}, out[4096];
    struct sqy_pipeline *p = util_pipeline(util_path("noise(q=1,%s)->default", model_text));
    struct sqy_pipeline *open = util_pipeline("noise(offset=100)->default"), *used;
    struct sqy_ctx *ctx = util_ctx();
    assert_false(sqy_pipeline_is_lossless(p));
    assert_false(sqy_pipeline_needs_volume(p));
    for (int type = SQY_BYTES; type <= SQY_FLOAT64; type++) {
        const struct sqy_box box = {(enum sqy_type)type, 1, 1, 8, 1};
        const bool taken = type == SQY_UINT8 || type == SQY_UINT16 || type == SQY_INT16;
        ssize_t got = sqy_encode_lossy(ctx, p, &box, in, out, sizeof(out));
        assert_true(taken ? got > 0 : got == -ENOTSUP);
        assert_true(taken == (sqy_encode_bound(p, &box) > 0));
        assert_int_equal(sqy_encode_lossy(ctx, open, &box, in, out, sizeof(out)), -ENOTSUP);
        assert_int_equal(sqy_encode(ctx, p, &box, in, out, sizeof(out)), -ENOTSUP);
        assert_int_equal(sqy_encode_volume(ctx, open, &box, in, out, sizeof(out), &used), -ENOTSUP);
    }
    sqy_pipeline_free(&p);
    sqy_pipeline_free(&open);
    sqy_ctx_free(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bins),        cmocka_unit_test(test_random_bins),
        cmocka_unit_test(test_rms),         cmocka_unit_test(test_outliers),
        cmocka_unit_test(test_signed),      cmocka_unit_test(test_bad_codes),
        cmocka_unit_test(test_many_tables), cmocka_unit_test(test_kernels_agree),
        cmocka_unit_test(test_text),        cmocka_unit_test(test_wrong_text),
        cmocka_unit_test(test_model),       cmocka_unit_test(test_finer),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
