/* Least squares by the normal equations, for encoders: sums of weighted products over windows of
 * samples, then the solution. Its arithmetic is part of no format.
 *
 * Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_NORMAL_H
#define SQYFS_CODEC_NORMAL_H

#include <stdbool.h>
#include <stddef.h>

#define NORMAL_MAX    25u /* unknowns */
#define NORMAL_WINDOW 32u /* samples */

struct normal {
    unsigned n; /* unknowns */
    double a[NORMAL_MAX][NORMAL_MAX], b[NORMAL_MAX];
};

/* What a window's samples are explained by, and what they are. Beyond its end the weight is 0. */
struct normal_window {
    unsigned len; /* samples, at most NORMAL_WINDOW */
    float feature[NORMAL_MAX][NORMAL_WINDOW], wanted[NORMAL_WINDOW], weight[NORMAL_WINDOW];
};

/* Windows of a sample that covers `n` samples at most once. At least 1. */
static inline unsigned normal_windows(size_t n, unsigned most)
{
    const size_t cover = n / NORMAL_WINDOW + 1;
    return cover < most ? (unsigned)cover : most;
}

void normal_clear(struct normal *normal, unsigned n);
/* Its versions give the same to every bit; normal_add_avx2() is where there is AVX2. */
typedef void normal_add_fn(struct normal *normal, const struct normal_window *window);
normal_add_fn normal_add, normal_add_avx2;
/* Draws unknown `i` towards `prior`, with the weight of `share` of what is known of it, and `more`. */
void normal_draw(struct normal *normal, unsigned i, double prior, double share, double more);
/* Solves in place: the unknowns are in `x` then. False where they are not determined. */
bool normal_solve(struct normal *normal, double x[NORMAL_MAX]);
/* What is solved as a format keeps it: the nearest whole number from `least` to `most`. */
long normal_round(double v, long least, long most);

#endif
