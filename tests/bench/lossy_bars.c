#include "lossy_bars.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ENCODE_MB_S    1500. /* noise(q=1) and the default, per core */
#define RMS_SIGMA      0.3
#define TIMES_RATIO    1.2 /* of sqeazy's quantiser->x264 ultrafast at the same rms */
#define TIMES_SPEED    7.
#define BOUND_ROUNDING 1e-6
#define BOUND_SIGMA(q) ((q) / 2)

struct point { /* of a curve over the encoder's setting */
    double rms, ratio, speed, setting;
};

static void print_bar(const char *volume, const char *what, double value, const char *relation,
                      double wanted)
{
    bool met = relation[0] == '>' ? value >= wanted : value <= wanted;
    printf("  %-28.28s %-66s %9.3f  wanted %s %-7g %s\n", volume, what, value, relation, wanted,
           met ? "met" : "MISSED");
}

static const struct lossy_measure *find(const struct lossy_rows *rows,
                                        const struct lossy_measure *measures, const char *series,
                                        double setting)
{
    for (unsigned i = 0; i < rows->n; i++)
        if (strcmp(rows->list[i].series, series) == 0 && rows->list[i].setting == setting &&
            measures[i].skipped[0] == '\0')
            return &measures[i];
    return NULL;
}

/* ---- at equal rms ---- */

static double between(double a, double b, double share)
{
    return exp(log(a) + share * (log(b) - log(a)));
}

/* The two points of the curve that lie next to `rms`, below and above; NULL: none there. */
static void bracket(const struct point *curve, unsigned n, double rms, const struct point **below,
                    const struct point **above)
{
    *below = *above = NULL;
    for (unsigned i = 0; i < n; i++) {
        const struct point *p = &curve[i];
        if (p->rms <= rms && (*below == NULL || p->rms > (*below)->rms))
            *below = p;
        if (p->rms > rms && (*above == NULL || p->rms < (*above)->rms))
            *above = p;
    }
}

typedef double error_fn(const struct lossy_measure *measure);

static double rms_of(const struct lossy_measure *measure)
{
    return sqy_receipt_rms_sigma(&measure->receipt);
}

static double capped_of(const struct lossy_measure *measure)
{
    return measure->capped;
}

/* What is exact lies on no curve. */
static unsigned curve_of(const struct lossy_rows *rows, const struct lossy_measure *measures,
                         error_fn *error, struct point curve[LOSSY_MAX_ROWS])
{
    unsigned n = 0;
    for (unsigned i = 0; i < rows->n; i++) {
        const struct lossy_measure *m = &measures[i];
        if (strcmp(rows->list[i].series, LOSSY_SERIES_SQEAZY) == 0 && m->skipped[0] == '\0' &&
            error(m) > 0)
            curve[n++] =
                (struct point){error(m), m->ratio, m->encode.median, rows->list[i].setting};
    }
    return n;
}

static void compare_at(const char *volume, const struct lossy_measure *ours,
                       const struct point *peer, const char *how)
{
    char what[96];
    snprintf(what, sizeof(what), "ratio, times quantiser->x264 %s", how);
    print_bar(volume, what, ours->ratio / peer->ratio, ">=", TIMES_RATIO);
    snprintf(what, sizeof(what), "encode, times quantiser->x264 %s", how);
    print_bar(volume, what, ours->encode.median / peer->speed, ">=", TIMES_SPEED);
}

/* `name`: of the error, by which they are compared where they are alike. */
static void compare(const char *volume, const struct lossy_rows *rows,
                    const struct lossy_measure *measures, const struct lossy_measure *ours,
                    error_fn *error, const char *name)
{
    struct point curve[LOSSY_MAX_ROWS], at;
    const struct point *below, *above;
    char how[64];
    double rms = error(ours);
    bracket(curve, curve_of(rows, measures, error, curve), rms, &below, &above);
    if (below != NULL && above != NULL) {
        double share = log(rms / below->rms) / log(above->rms / below->rms);
        at = (struct point){rms, between(below->ratio, above->ratio, share),
                            between(below->speed, above->speed, share),
                            below->setting + share * (above->setting - below->setting)};
        snprintf(how, sizeof(how), "at equal %s (qp %.1f)", name, at.setting);
    } else if (below != NULL || above != NULL) {
        at = below != NULL ? *below : *above;
        snprintf(how, sizeof(how), "at its %s %s, %.3f (qp %g)",
                 below != NULL ? "highest" : "lowest", name, at.rms, at.setting);
    } else {
        return;
    }
    compare_at(volume, ours, &at, how);
}

/* ---- all ---- */

static void print_bounds(const char *volume, const struct lossy_rows *rows,
                         const struct lossy_measure *measures)
{
    for (unsigned i = 0; i < rows->n; i++) {
        double q = rows->list[i].setting;
        char what[64];
        if (strcmp(rows->list[i].series, LOSSY_SERIES_NOISE) != 0 || measures[i].skipped[0] != '\0')
            continue;
        snprintf(what, sizeof(what), "noise(q=%g): largest error, sigma", q);
        print_bar(volume, what, measures[i].receipt.max_sigma,
                  "<=", BOUND_SIGMA(q) + BOUND_ROUNDING);
    }
}

void lossy_bars_print(const char *volume, const struct lossy_rows *rows,
                      const struct lossy_measure *measures)
{
    const struct lossy_measure *ours = find(rows, measures, LOSSY_SERIES_NOISE, 1);
    if (ours == NULL)
        return;
    print_bar(volume, "noise(q=1)->interlace: encode, MB/s of a core", ours->encode.median,
              ">=", ENCODE_MB_S);
    print_bar(volume, "noise(q=1)->interlace: rms, sigma", sqy_receipt_rms_sigma(&ours->receipt),
              "<=", RMS_SIGMA);
    print_bounds(volume, rows, measures);
    compare(volume, rows, measures, ours, rms_of, "rms");
    compare(volume, rows, measures, ours, capped_of, "capped rms");
}
