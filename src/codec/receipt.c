/* What was lost: the original beside what is decoded. */
#include "base/le.h"
#include "codec/stage.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

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

#define N_LANES 8u /* sums that run side by side, so that they vectorise in one order everywhere */
#define N_BLOCK 256u

/* A run of voxels: values as sqy_noise counts them, what was added to each, and their variance. */
struct run {
    unsigned n;
    int32_t value[N_BLOCK], error[N_BLOCK];
};

static void load_run(struct run *run, enum sqy_type type, const uint8_t *a, const uint8_t *b,
                     unsigned n)
{
    const bool narrow = sqy_type_size(type) == 1;
    const int32_t flip = type == SQY_INT8 ? 0x80 : type == SQY_INT16 ? 0x8000 : 0;
    run->n = n;
    for (unsigned i = 0; narrow && i < n; i++) {
        run->value[i] = a[i] ^ flip;
        run->error[i] = (b[i] ^ flip) - run->value[i];
    }
    for (unsigned i = 0; !narrow && i < n; i++) {
        run->value[i] = le_load16(a + 2 * i) ^ flip;
        run->error[i] = (le_load16(b + 2 * i) ^ flip) - run->value[i];
    }
    for (unsigned i = n; i < N_BLOCK; i++)
        run->value[i] = run->error[i] = 0;
}

struct sums {
    uint64_t squares, within, max_error, peak;
    double ratio[N_LANES], max_ratio[N_LANES]; /* error^2 / variance */
};

static void add_run(struct sums *s, const struct run *run, const struct sqy_noise *noise)
{
    uint32_t max = 0, peak = 0, within = 0;
    uint64_t squares = 0;
    for (unsigned i = 0; i < N_BLOCK; i++) {
        const uint32_t e = (uint32_t)abs(run->error[i]), v = (uint32_t)run->value[i];
        max = e > max ? e : max;
        peak = v > peak ? v : peak;
        squares += (uint64_t)e * e;
    }
    s->max_error = max > s->max_error ? max : s->max_error;
    s->peak = peak > s->peak ? peak : s->peak;
    s->squares += squares;
    if (!max) {
        s->within += run->n;
        return;
    }
    for (unsigned i = 0; i < N_BLOCK; i++) {
        const double e = run->error[i], var = noise ? variance(noise, run->value[i]) : 1;
        const double ratio = e * e / var;
        s->ratio[i % N_LANES] += ratio;
        s->max_ratio[i % N_LANES] =
            ratio > s->max_ratio[i % N_LANES] ? ratio : s->max_ratio[i % N_LANES];
        within += e * e <= var;
    }
    s->within += within - (N_BLOCK - run->n);
}

int sqy_receipt_measure(const struct sqy_box *box, const void *original, const void *decoded,
                        const struct sqy_noise *noise, struct sqy_receipt *out)
{
    const uint8_t *a = original, *b = decoded;
    struct sums s = {0};
    struct run run;
    struct shape shape;
    if (!codec_shape(box, &shape))
        return -EINVAL;
    if (box->type < SQY_UINT8 || box->type > SQY_INT16)
        return -ENOTSUP;
    for (size_t at = 0, n; at < shape.n; at += n) {
        n = shape.n - at < N_BLOCK ? shape.n - at : N_BLOCK;
        load_run(&run, box->type, a + at * shape.size, b + at * shape.size, (unsigned)n);
        add_run(&s, &run, noise);
    }
    *out = (struct sqy_receipt){.voxels = shape.n,
                                .within_sigma = s.within,
                                .max_error = (uint32_t)s.max_error,
                                .peak = (uint32_t)s.peak,
                                .sum_squares = (double)s.squares};
    double max_ratio = 0;
    for (unsigned i = 0; i < N_LANES; i++) {
        out->sum_sigma_squares += s.ratio[i];
        max_ratio = fmax(max_ratio, s.max_ratio[i]);
    }
    out->max_sigma = sqrt(max_ratio);
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
