#include "lossy_error.h"

#include <math.h>
#include <stdlib.h>

#define ROUNDING 1e-6

void lossy_error_add(struct lossy_error *error, const uint16_t *original, const uint16_t *decoded,
                     size_t n, const struct sqy_noise *noise)
{
    for (size_t i = 0; i < n; i++) {
        long value = original[i], off = labs((long)decoded[i] - value);
        double sigma = noise != NULL ? sqy_noise_sigma(noise, (double)value) : 1;
        double in_sigma = off > 0 ? (double)off / sigma : 0;
        error->max = off > error->max ? off : error->max;
        error->peak = value > error->peak ? value : error->peak;
        error->max_sigma = fmax(error->max_sigma, in_sigma);
        error->within_sigma += in_sigma <= 1;
        error->sum_squares += (long double)(off * off);
        error->sum_sigma_squares += (long double)in_sigma * in_sigma;
        in_sigma = fmin(in_sigma, LOSSY_CAP);
        error->sum_capped_squares += (long double)in_sigma * in_sigma;
    }
    error->voxels += n;
}

double lossy_error_capped_rms(const struct lossy_error *error)
{
    return error->voxels > 0 ? sqrt((double)error->sum_capped_squares / (double)error->voxels) : 0;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= ROUNDING * fmax(fabs(a), fabs(b));
}

bool lossy_error_agrees(const struct lossy_error *error, const struct sqy_receipt *receipt)
{
    return error->voxels == receipt->voxels &&
           near((double)error->within_sigma, (double)receipt->within_sigma) &&
           error->max == (long)receipt->max_error && error->peak == (long)receipt->peak &&
           near(error->max_sigma, receipt->max_sigma) &&
           near((double)error->sum_squares, receipt->sum_squares) &&
           near((double)error->sum_sigma_squares, receipt->sum_sigma_squares);
}
