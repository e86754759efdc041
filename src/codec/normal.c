#include "codec/normal.h"

#include <math.h>
#include <string.h>

#define LANES 8u

void normal_clear(struct normal *normal, unsigned n)
{
    memset(normal, 0, sizeof(*normal));
    normal->n = n;
}

/* In lanes that a compiler can keep in vectors, summed as normal_avx2.c does. */
static double dot(const float *a, const float *b)
{
    float lane[LANES] = {0};
    for (unsigned i = 0; i < NORMAL_WINDOW; i += LANES) {
        for (unsigned l = 0; l < LANES; l++)
            lane[l] += a[i + l] * b[i + l];
    }
    const float low = (lane[0] + lane[1]) + (lane[2] + lane[3]);
    const float high = (lane[4] + lane[5]) + (lane[6] + lane[7]);
    return (double)(low + high);
}

void normal_add(struct normal *normal, const struct normal_window *window)
{
    float weighted[NORMAL_WINDOW];
    for (unsigned i = 0; i < normal->n; i++) {
        for (unsigned s = 0; s < NORMAL_WINDOW; s++)
            weighted[s] = window->weight[s] * window->feature[i][s];
        for (unsigned j = 0; j <= i; j++)
            normal->a[i][j] += dot(weighted, window->feature[j]);
        normal->b[i] += dot(weighted, window->wanted);
    }
}

void normal_draw(struct normal *normal, unsigned i, double prior, double share, double more)
{
    const double weight = share * normal->a[i][i] + more;
    normal->a[i][i] += weight;
    normal->b[i] += weight * prior;
}

bool normal_solve(struct normal *normal, double x[NORMAL_MAX])
{
    double(*a)[NORMAL_MAX] = normal->a, *b = normal->b;
    for (unsigned i = 0; i < normal->n; i++) {
        for (unsigned j = 0; j <= i; j++) {
            double sum = a[i][j];
            for (unsigned k = 0; k < j; k++)
                sum -= a[i][k] * a[j][k];
            if (i == j && !(sum > 0))
                return false;
            a[i][j] = i == j ? sqrt(sum) : sum / a[j][j];
        }
        for (unsigned k = 0; k < i; k++)
            b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    for (unsigned i = normal->n; i-- > 0;) {
        for (unsigned k = i + 1; k < normal->n; k++)
            b[i] -= a[k][i] * b[k];
        b[i] /= a[i][i];
    }
    memcpy(x, b, normal->n * sizeof(b[0]));
    return true;
}

long normal_round(double v, long least, long most)
{
    return v < (double)least ? least : v > (double)most ? most : lrint(v);
}
