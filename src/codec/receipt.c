/* What was lost: the original beside what is decoded. */
#include "base/le.h"
#include "codec/kernels.h"
#include "codec/stage.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define ROUNDING (1.0 / 12) /* variance of integers that were rounded: no voxel is better known */

static double variance(const struct sqy_noise *noise, double value)
{
    const double light = value > noise->offset ? value - noise->offset : 0;
    const double v = noise->gain * light + noise->read * noise->read;
    return v > ROUNDING ? v : ROUNDING;
}

double sqy_noise_sigma(const struct sqy_noise *noise, double value)
{
    return sqrt(variance(noise, value));
}

/* Samples as sqy_noise counts them. */
struct run {
    uint16_t original[LOSS_MOST], decoded[LOSS_MOST];
};

/* n of them from `at` on; the rest is nothing lost. */
static void load_run(struct run *run, const struct shape *shape, const uint8_t *original,
                     const uint8_t *decoded, size_t at, size_t n)
{
    const bool narrow = shape->size == 1;
    const uint16_t flip = shape->type == SQY_INT8 ? 0x80 : shape->type == SQY_INT16 ? 0x8000 : 0;
    memset(run, 0, sizeof(*run));
    for (size_t i = 0; i < n; i++) {
        const uint8_t *a = original + (at + i) * shape->size, *b = decoded + (at + i) * shape->size;
        run->original[i] = (narrow ? *a : le_load16(a)) ^ flip;
        run->decoded[i] = (narrow ? *b : le_load16(b)) ^ flip;
    }
}

static uint16_t error_of(const struct run *run, size_t i)
{
    const uint16_t a = run->original[i], b = run->decoded[i];
    return a > b ? a - b : b - a;
}

static uint64_t count_within(const struct run *run, const struct sqy_noise *noise, size_t n)
{
    uint64_t within = 0;
    for (size_t i = 0; i < n; i++) {
        const double e = error_of(run, i);
        within += e * e <= variance(noise, run->original[i]);
    }
    return within;
}

static double max_sigma(const struct run *run, const struct sqy_noise *noise)
{
    double most = 0;
    for (size_t i = 0; i < LOSS_MOST; i++) {
        const double e = error_of(run, i);
        most = fmax(most, e * e / variance(noise, run->original[i]));
    }
    return sqrt(most);
}

static struct loss_model model_of(const struct sqy_noise *noise)
{
    const double whole = fmin(fmax(floor(noise->offset), -1), UINT16_MAX + 1);
    return (struct loss_model){.whole = (int32_t)whole,
                               .rest = (float)(noise->offset - whole),
                               .gain = (float)noise->gain,
                               .dark = (float)(noise->read * noise->read),
                               .least = (float)ROUNDING};
}

/* n samples from `at` on, whole runs of 16 bits where they lie. */
static void measure_run(const struct kernels *k, const struct shape *shape, const uint8_t *original,
                        const uint8_t *decoded, size_t at, size_t n, const struct loss_model *model,
                        struct loss *out)
{
    struct run run;
    if (shape->size == 2 && n % LOSS_STEP == 0) {
        k->loss(original + 2 * at, decoded + 2 * at, n, shape->type == SQY_INT16 ? 0x8000 : 0,
                model, out);
        return;
    }
    load_run(&run, shape, original, decoded, at, n);
    for (size_t i = 0; i < LOSS_MOST; i++) {
        run.original[i] = htole16(run.original[i]);
        run.decoded[i] = htole16(run.decoded[i]);
    }
    k->loss((const uint8_t *)run.original, (const uint8_t *)run.decoded, LOSS_MOST, 0, model, out);
}

#define SURELY_WITHIN 0.9999f /* of a ratio in single precision */

/* Ratios of many voxels are added up in single precision, a run at a time; what one voxel decides is
 * looked at again in double. */
int sqy_receipt_measure(const struct sqy_box *box, const void *original, const void *decoded,
                        const struct sqy_noise *noise, struct sqy_receipt *out)
{
    static const struct sqy_noise one = {.read = 1};
    const struct kernels *k = kernels_best();
    uint64_t squares = 0;
    struct shape shape;
    struct run run;
    struct loss loss;
    if (!codec_shape(box, &shape))
        return -EINVAL;
    if (box->type < SQY_UINT8 || box->type > SQY_INT16)
        return -ENOTSUP;
    noise = noise ? noise : &one;
    const struct loss_model model = model_of(noise);
    struct sqy_receipt sum = {.voxels = shape.n};
    size_t worst = 0; /* where the highest ratio is */
    float highest = 0;
    for (size_t at = 0, n; at < shape.n; at += n) {
        n = shape.n - at < LOSS_MOST ? shape.n - at : LOSS_MOST;
        measure_run(k, &shape, original, decoded, at, n, &model, &loss);
        squares += loss.squares;
        sum.peak = loss.peak > sum.peak ? loss.peak : sum.peak;
        sum.max_error = loss.max_error > sum.max_error ? loss.max_error : sum.max_error;
        for (unsigned i = 0; i < LOSS_LANES; i++)
            sum.sum_sigma_squares += (double)loss.ratios[i];
        worst = loss.max_ratio > highest ? at : worst;
        highest = loss.max_ratio > highest ? loss.max_ratio : highest;
        if (loss.max_ratio > SURELY_WITHIN) {
            load_run(&run, &shape, original, decoded, at, n);
            sum.within_sigma += count_within(&run, noise, n);
        } else {
            sum.within_sigma += n;
        }
    }
    load_run(&run, &shape, original, decoded, worst,
             shape.n - worst < LOSS_MOST ? shape.n - worst : LOSS_MOST);
    sum.max_sigma = max_sigma(&run, noise);
    sum.sum_squares = (double)squares;
    *out = sum;
    return 0;
}

void sqy_receipt_add(struct sqy_receipt *total, const struct sqy_receipt *more)
{
    total->voxels += more->voxels;
    total->within_sigma += more->within_sigma;
    if (more->max_error > total->max_error)
        total->max_error = more->max_error;
    if (more->peak > total->peak)
        total->peak = more->peak;
    if (more->max_sigma > total->max_sigma)
        total->max_sigma = more->max_sigma;
    total->sum_squares += more->sum_squares;
    total->sum_sigma_squares += more->sum_sigma_squares;
}

static double mean(double sum, uint64_t n)
{
    return n > 0 ? sum / (double)n : 0;
}

double sqy_receipt_rms(const struct sqy_receipt *receipt)
{
    return sqrt(mean(receipt->sum_squares, receipt->voxels));
}

double sqy_receipt_rms_sigma(const struct sqy_receipt *receipt)
{
    return sqrt(mean(receipt->sum_sigma_squares, receipt->voxels));
}

double sqy_receipt_psnr(const struct sqy_receipt *receipt)
{
    double rms = sqy_receipt_rms(receipt);
    return rms > 0 ? 20 * log10(receipt->peak / rms) : INFINITY;
}
