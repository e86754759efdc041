/* The noise of a camera, from pictures of anything: how the variance of what is left of small patches
 * without their structure grows with their brightness.
 *
 * Structure only adds variance, so of patches of about the same brightness the quiet ones count. The
 * quiet quarter of patches of nothing but noise lies a known way below the mean, which is made up for.
 * A line through that: its slope is the gain; its value at the darkest patches is the read noise, and
 * their brightness the offset (where the sensor really was dark is not to be seen, nor does it matter). */
#include "base/le.h"
#include "codec/stage.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define PATCH       8u /* residuals of a patch, by as many rows */
#define PATCH_N     (PATCH * PATCH)
#define MARGIN      2u         /* voxels more than residuals, both ways */
#define BOX_PATCHES 4096u      /* looked at in one box */
#define MAX_PATCHES (1u << 15) /* remembered */
#define MIN_PATCHES 48u        /* some thousand voxels */
#define MAX_BINS    48u        /* of brightness */
#define BIN_PATCHES 24u        /* at least */
#define ROUNDS      6u

struct patch {
    float mean, energy; /* brightness, and the residuals' mean square */
};

struct sqy_noise_fit {
    size_t n, every, seen; /* one in `every` patches is remembered */
    struct patch patches[MAX_PATCHES];
};

int sqy_noise_fit_create(struct sqy_noise_fit **out)
{
    struct sqy_noise_fit *fit = calloc(1, sizeof(*fit));
    if (!fit)
        return -ENOMEM;
    fit->every = 1;
    *out = fit;
    return 0;
}

void sqy_noise_fit_free(struct sqy_noise_fit **fit)
{
    free(*fit);
    *fit = NULL;
}

/* ---- patches ---- */

/* Where patches lie: of `high` x `wide` residuals each, which need MARGIN more voxels where there is
 * more than one. */
struct tiling {
    const struct shape *shape;
    unsigned high, wide;
    size_t down, across; /* patches of a plane */
};

static unsigned span(unsigned n)
{
    return n > 1 ? n + MARGIN : n;
}

static bool tile(struct tiling *t, const struct shape *shape)
{
    const size_t width = shape->width / shape->spp;
    const bool flat = shape->rows < span(PATCH);
    *t = (struct tiling){.shape = shape, .high = flat ? 1 : PATCH, .wide = flat ? PATCH_N : PATCH};
    t->down = shape->rows / span(t->high);
    t->across = width / span(t->wide);
    return t->down && t->across;
}

static int32_t value_at(const struct shape *shape, const uint8_t *in, size_t i)
{
    if (shape->size == 1)
        return in[i];
    return le_load16(in + 2 * i) ^ (shape->type == SQY_INT16 ? 0x8000 : 0);
}

/* The voxels of patch `at`, rows of span(t->wide) after one another. */
static void load_patch(const struct tiling *t, const uint8_t *in, size_t at,
                       int32_t v[(PATCH + MARGIN) * (PATCH + MARGIN)])
{
    const struct shape *shape = t->shape;
    const size_t sample = at % shape->spp, plane = at / (t->down * t->across);
    const size_t y0 = at / t->across % t->down * span(t->high);
    const size_t x0 = at % t->across * span(t->wide);
    for (size_t y = 0; y < span(t->high); y++) {
        const size_t row = (plane * shape->rows + y0 + y) * shape->width;
        for (size_t x = 0; x < span(t->wide); x++)
            *v++ = value_at(shape, in, row + (x0 + x) * shape->spp + sample);
    }
}

/* What second differences leave, along rows and, where there are several, down columns, too; times
 * what makes its mean square the variance of independent noise. */
static struct patch measure(const struct tiling *t, const int32_t *v)
{
    const size_t wide = span(t->wide), n = wide * span(t->high);
    int64_t sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i];
    for (size_t y = 0; y < t->high; y++) {
        for (size_t x = 0; x < t->wide; x++) {
            const int32_t *a = v + y * wide + x, *b = a + wide, *c = b + wide;
            int64_t r = a[0] - 2 * a[1] + a[2];
            if (t->high > 1)
                r += -2 * (int64_t)(b[0] - 2 * b[1] + b[2]) + (c[0] - 2 * c[1] + c[2]);
            squares += r * r;
        }
    }
    const double norm = t->high > 1 ? 36 : 6;
    return (struct patch){.mean = (float)((double)sum / (double)n),
                          .energy = (float)((double)squares / (norm * PATCH_N))};
}

static void remember(struct sqy_noise_fit *fit, const struct patch *patch)
{
    if (fit->seen++ % fit->every)
        return;
    if (fit->n == MAX_PATCHES) {
        for (fit->n = 0; fit->n < MAX_PATCHES / 2; fit->n++)
            fit->patches[fit->n] = fit->patches[2 * fit->n];
        fit->every *= 2;
    }
    fit->patches[fit->n++] = *patch;
}

/* Voxels at an end of the range say nothing of noise: saturated ones, masks. */
static bool is_clipped(const struct shape *shape, const int32_t *v, size_t n)
{
    const int32_t top = shape->size == 1 ? UINT8_MAX : UINT16_MAX;
    for (size_t i = 0; i < n; i++)
        if (v[i] == top)
            return true;
    return false;
}

int sqy_noise_fit_add(struct sqy_noise_fit *fit, const struct sqy_box *box, const void *voxels)
{
    struct shape shape;
    struct tiling t;
    int32_t v[(PATCH + MARGIN) * (PATCH + MARGIN)];
    if (!codec_shape(box, &shape))
        return -EINVAL;
    if (box->type != SQY_UINT8 && box->type != SQY_UINT16 && box->type != SQY_INT16)
        return -ENOTSUP;
    if (!tile(&t, &shape))
        return 0;
    const size_t n = shape.planes * t.down * t.across;
    const size_t step = n / BOX_PATCHES + 1;
    for (size_t i = 0; i < n; i += step) {
        load_patch(&t, voxels, i, v);
        const struct patch patch = measure(&t, v);
        if (patch.energy > 0 && !is_clipped(&shape, v, (size_t)span(t.high) * span(t.wide)))
            remember(fit, &patch);
    }
    return 0;
}

/* ---- variance by brightness ---- */

struct line {
    double at_0, slope;
};

static double line_at(const struct line *line, double x)
{
    return line->at_0 + line->slope * x;
}

struct point {
    double mean, variance, n;
};

#define QUIET 0.25 /* of the patches: below that many lies what counts ... */
#define QUIET_IS                                                                                   \
    0.769 /* ... times the mean, where residuals are of noise alone: the quantile of
                          chi squared of the 19.3 degrees of freedom that 8 x 8 of ours have */

static int by_mean(const void *a, const void *b)
{
    const float x = ((const struct patch *)a)->mean, y = ((const struct patch *)b)->mean;
    return (x > y) - (x < y);
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The quiet ones of a bin, each seen from the line so far. */
static struct point see(const struct patch *p, size_t n, const struct line *line, float *room)
{
    const double middle = p[n / 2].mean;
    for (size_t i = 0; i < n; i++)
        room[i] = (float)(p[i].energy / line_at(line, p[i].mean));
    qsort(room, n, sizeof(*room), by_value);
    return (struct point){.mean = middle,
                          .variance =
                              room[(size_t)(QUIET * (double)n)] / QUIET_IS * line_at(line, middle),
                          .n = (double)n};
}

static double below(double x, double most)
{
    return x < most ? x : most;
}

/* Least squares. Points far above the line are structure. */
static struct line draw(const struct point *p, size_t n, const struct line *last)
{
    double s = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = line_at(last, p[i].mean), above = p[i].variance / v / 1.15;
        const double w = p[i].n / (v * v) / (above > 1 ? above * above * above : 1);
        s += w;
        sx += w * p[i].mean;
        sy += w * p[i].variance;
        sxx += w * p[i].mean * p[i].mean;
        sxy += w * p[i].mean * p[i].variance;
    }
    const double det = s * sxx - sx * sx, low = p[0].mean;
    struct line line = {.slope = det > 1e-9 * s * sxx ? (s * sxy - sx * sy) / det : 0};
    if (line.slope < 0)
        line.slope = 0;
    line.at_0 = (sy - line.slope * sx) / s;
    if (line_at(&line, low) < 0.01) { /* a line through the darkest point */
        const double far = sxx - 2 * low * sx + low * low * s;
        line.slope = far > 0 ? (sxy - low * sy - 0.01 * (sx - low * s)) / far : 0;
        line.at_0 = 0.01 - line.slope * low;
    }
    return line;
}

/* `patches` in order of brightness. */
static struct line fit_line(const struct patch *patches, size_t n, float *room)
{
    struct point points[MAX_BINS];
    struct line line = {.at_0 = 1};
    size_t n_bins = n / BIN_PATCHES < MAX_BINS ? n / BIN_PATCHES : MAX_BINS;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t b = 0; b < n_bins; b++) {
            const size_t from = n * b / n_bins, to = n * (b + 1) / n_bins;
            points[b] = see(patches + from, to - from, &line, room);
        }
        line = draw(points, n_bins, &line);
    }
    double least = 1; /* of what the line promises */
    for (size_t b = 0; b < n_bins; b++)
        least = below(least, 1.25 * points[b].variance / line_at(&line, points[b].mean));
    return (struct line){.at_0 = line.at_0 * least, .slope = line.slope * least};
}

int sqy_noise_fit_end(const struct sqy_noise_fit *fit, struct sqy_noise *out)
{
    if (fit->n < MIN_PATCHES)
        return -ENODATA;
    struct patch *patches = malloc(fit->n * sizeof(*patches));
    float *room = malloc(fit->n * sizeof(*room));
    if (patches && room) {
        for (size_t i = 0; i < fit->n; i++)
            patches[i] = fit->patches[i];
        qsort(patches, fit->n, sizeof(*patches), by_mean);
        const struct line line = fit_line(patches, fit->n, room);
        const double dark = patches[fit->n / 200].mean;
        const double read = line_at(&line, dark);
        *out = (struct sqy_noise){
            .offset = dark, .gain = line.slope, .read = read > 0 ? sqrt(read) : 0};
    }
    const bool ok = patches && room;
    const double brightest = ok ? patches[fit->n - 1].mean : 0;
    free(patches);
    free(room);
    if (!ok)
        return -ENOMEM;
    return out->gain * (brightest - out->offset) + out->read * out->read < 1.0 / 12 ? -ENODATA : 0;
}
