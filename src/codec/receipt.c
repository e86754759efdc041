/* What was lost: the original beside what is decoded. */
#include "base/le.h"
#include "codec/stage.h"

#include <errno.h>
#include <math.h>

double sqy_noise_sigma(const struct sqy_noise *noise, double value)
{
    double light = value > noise->offset ? value - noise->offset : 0;
    return sqrt(noise->gain * light + noise->read * noise->read);
}

int sqy_receipt_measure(const struct sqy_box *box, const void *original, const void *decoded,
                        const struct sqy_noise *noise, struct sqy_receipt *out)
{
    (void)box, (void)original, (void)decoded, (void)noise, (void)out;
    return -ENOTSUP;
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
