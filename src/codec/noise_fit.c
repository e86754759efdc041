/* The noise of a camera, from pictures of anything: how the variance of small patches grows with their
 * brightness.
 *
 * Structure only adds variance, so of patches of about the same brightness the quiet ones count. The
 * quiet quarter of patches of nothing but noise lies a known way below the mean, which is made up for.
 * Variance is measured in two ways, of which the lower counts: by second differences, which see little
 * structure, but too much of noise that was sharpened; and as it is. Through that a line: its slope is
 * the gain; its value at the darkest patches is the read noise, their brightness the offset. Where the sensor really was dark is
 * not to be seen, nor does it matter for what is brighter. */
#include "base/le.h"
#include "codec/stage.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PATCH        8u /* residuals of a patch, by as many rows */
#define PATCH_N      (PATCH * PATCH)
#define MARGIN       2u /* voxels more than residuals, both ways */
#define MAX_VOXELS   ((PATCH + MARGIN) * (PATCH + MARGIN))
#define BOX_PATCHES  4096u      /* looked at in one box */
#define MAX_PATCHES  (1u << 15) /* remembered */
#define MIN_PATCHES  48u        /* some thousand voxels */
#define BINS         48u        /* of brightness, by its range; and as many again by numbers */
#define BIN_PATCHES  24u        /* at least */
#define MANY_PATCHES 200u
#define CHANCE       6 /* standard deviations of a patch's mean */
#define ROUNDS       6u

#define CROWD 4u /* voxels of a patch */
#define SPIKE 4  /* a residual of that part of all squares is no noise */

/* Two ways to measure variance: by second differences, and as it is. */
enum { LAPLACIAN, PLAIN, WAYS };

struct patch {
    float mean, max;
    uint32_t n_max;       /* voxels that are as bright */
    float variance[WAYS]; /* in units in which a quarter of patches of pure noise are below it */
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
    double norm[WAYS];   /* of the sums of squares */
};

static unsigned span(unsigned n)
{
    return n > 1 ? n + MARGIN : n;
}

/* The lowest quarter of sums of squares of noise are below these parts of the mean: quantiles of chi
 * squared, of as many degrees of freedom as there are among residuals that overlap (19, or 33 in one
 * row) and voxels. */
#define QUIET     0.25
#define QUIET_2D  0.769
#define QUIET_1D  0.825
#define QUIET_100 0.901
#define QUIET_66  0.877

static bool tile(struct tiling *t, const struct shape *shape)
{
    const size_t width = shape->width / shape->spp;
    const bool flat = shape->rows < span(PATCH);
    *t = (struct tiling){.shape = shape, .high = flat ? 1 : PATCH, .wide = flat ? PATCH_N : PATCH};
    t->down = shape->rows / span(t->high);
    t->across = width / span(t->wide);
    t->norm[LAPLACIAN] = PATCH_N * (flat ? 6 * QUIET_1D : 36 * QUIET_2D);
    t->norm[PLAIN] = (span(t->high) * span(t->wide) - 1) * (flat ? QUIET_66 : QUIET_100);
    return t->down && t->across;
}

static int32_t value_at(const struct shape *shape, const uint8_t *in, size_t i)
{
    if (shape->size == 1)
        return in[i];
    return le_load16(in + 2 * i) ^ (shape->type == SQY_INT16 ? 0x8000 : 0);
}

/* The voxels of patch `at`, rows of span(t->wide) after one another. */
static void load_patch(const struct tiling *t, const uint8_t *in, size_t at, int32_t v[MAX_VOXELS])
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

struct residuals {
    int64_t squares, largest; /* their sum, and one of them */
    unsigned n_zero;
};

static int32_t second(const int32_t *v)
{
    return v[0] - 2 * v[1] + v[2];
}

/* Second differences, along rows and, where there are several, down columns, too. */
static struct residuals sum_residuals(const struct tiling *t, const int32_t *v)
{
    const size_t wide = span(t->wide);
    struct residuals sum = {0};
    for (size_t y = 0; y < t->high; y++) {
        for (size_t x = 0; x < t->wide; x++) {
            const int32_t *at = v + y * wide + x;
            int64_t r = second(at);
            if (t->high > 1)
                r += second(at + 2 * wide) - 2 * (int64_t)second(at + wide);
            sum.squares += r * r;
            sum.largest = r * r > sum.largest ? r * r : sum.largest;
            sum.n_zero += !r;
        }
    }
    return sum;
}

/* How much of all residuals' squares a voxel at `i` of `n` in a row or column makes: they are 1, -2, 1. */
static int32_t share(unsigned i, unsigned n)
{
    const unsigned end = i < n - 1 - i ? i : n - 1 - i;
    return n == 1 || end == 0 ? 1 : end == 1 ? 5 : 6;
}

/* Of the voxels that make the residuals: where it becomes brighter, noise does so in step. */
static double mean_of(const struct tiling *t, const int32_t *v)
{
    const unsigned wide = span(t->wide), high = span(t->high);
    int64_t sum = 0, all = 0;
    for (unsigned y = 0; y < high; y++) {
        for (unsigned x = 0; x < wide; x++) {
            const int32_t of = share(x, wide) * share(y, high);
            sum += (int64_t)of * v[y * wide + x];
            all += of;
        }
    }
    return (double)sum / (double)all;
}

static double squares_around_mean(const int32_t *v, size_t n)
{
    int64_t sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        const int64_t d = v[i] - v[0];
        sum += d;
        squares += d * d;
    }
    return (double)squares - (double)sum * (double)sum / (double)n;
}

/* Whether many voxels are as dark as can be, and the others far from it, all of them: the edge of a mask. */
static bool is_edge(const int32_t *v, size_t n, int32_t max)
{
    int32_t min = v[0], next = INT32_MAX;
    unsigned n_min = 0;
    for (size_t i = 0; i < n; i++)
        min = v[i] < min ? v[i] : min;
    for (size_t i = 0; i < n; i++) {
        n_min += v[i] == min;
        next = v[i] > min && v[i] < next ? v[i] : next;
    }
    return n_min >= CROWD && next - min > max - next;
}

/* False where it was drawn, not seen (masks, labels, what is saturated), and where one voxel is all there
 * is to see (a hot one). */
static bool measure(const struct tiling *t, const int32_t *v, struct patch *out)
{
    const size_t n = (size_t)span(t->wide) * span(t->high);
    const struct residuals left = sum_residuals(t, v);
    int32_t max = v[0];
    *out = (struct patch){.mean = (float)mean_of(t, v)};
    for (size_t i = 0; i < n; i++)
        max = v[i] > max ? v[i] : max;
    for (size_t i = 0; i < n; i++)
        out->n_max += v[i] == max;
    out->max = (float)max;
    out->variance[LAPLACIAN] = (float)((double)left.squares / t->norm[LAPLACIAN]);
    out->variance[PLAIN] = (float)(squares_around_mean(v, n) / t->norm[PLAIN]);
    return 2 * left.n_zero <= PATCH_N && left.largest < left.squares / SPIKE && !is_edge(v, n, max);
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

int sqy_noise_fit_add(struct sqy_noise_fit *fit, const struct sqy_box *box, const void *voxels)
{
    struct shape shape;
    struct tiling t;
    struct patch patch;
    int32_t v[MAX_VOXELS];
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
        if (measure(&t, v, &patch))
            remember(fit, &patch);
    }
    return 0;
}

/* ---- variance by brightness ---- */

struct line {
    double at_0, slope;
};

#define LEAST 0.01 /* of variance, counts squared: that of nothing */

static double line_at(const struct line *line, double x)
{
    return fmax(line->at_0 + line->slope * x, LEAST);
}

struct bin {
    size_t from, to; /* patches, in order of brightness */
    double mean, variance;
    double most; /* the variance may be said to be, so that hardly any patch is quieter */
};

/* One patch in so many is below a part of what a quarter is below: 0.6 or more, where it is noise. */
#define QUIETEST_PART 20u
#define QUIETEST      1.7

struct bins {
    size_t n;
    struct bin bin[2 * BINS + 4]; /* about BINS by numbers, fewer by range, and the last */
};

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

/* Where the highest value of all comes in crowds, the camera ends: such patches are left out. Returns
 * how many are left. */
static size_t drop_clipped(struct patch *patches, size_t n)
{
    float top = 0;
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        top = patches[i].max > top ? patches[i].max : top;
    for (size_t i = 0; i < n; i++)
        if (patches[i].max < top || patches[i].n_max < CROWD)
            patches[left++] = patches[i];
    return left;
}

#define DARK_PART 200 /* one in so many patches is taken for darker than the sensor in the dark */

static double darkest(const struct patch *patches, size_t n)
{
    return patches[n / DARK_PART].mean;
}

/* Brightness as noise sees it: steps of it are wider where there is more. */
static double stretched(const struct patch *patches, size_t i, double dark)
{
    return sqrt(fmax((double)patches[i].mean - dark, 0));
}

/* `patches` in order of brightness, at least BIN_PATCHES. What is below the dark is no noise. No bin is narrower than what chance makes of
 * patches of one brightness: the slope would come out too low. */
static void cut_bins(struct bins *bins, const struct patch *patches, size_t n,
                     const struct line *line)
{
    const double dark = darkest(patches, n), step = stretched(patches, n - 1, dark) / BINS;
    size_t from = 0;
    bins->n = 0;
    for (size_t i = 1; i <= n; i++) {
        const double wide = patches[i - 1].mean - patches[from].mean;
        const bool full = i - from >= n / BINS ||
                          stretched(patches, i - 1, dark) - stretched(patches, from, dark) > step;
        const bool chance =
            wide * wide * MAX_VOXELS < CHANCE * CHANCE * line_at(line, patches[i - 1].mean);
        if (i < n && (i - from < BIN_PATCHES || !full || chance))
            continue;
        if (i - from >= BIN_PATCHES && patches[(from + i) / 2].mean >= dark)
            bins->bin[bins->n++] = (struct bin){.from = from, .to = i};
        from = i;
    }
}

/* What the quiet ones of a bin are like, each seen from the line so far: it is steep perhaps, but where
 * it ends is not known that well. */
static void see(struct bin *bin, const struct patch *patches, const struct line *line, float *room)
{
    const size_t n = bin->to - bin->from;
    patches += bin->from;
    bin->mean = patches[n / 2].mean;
    const double middle = line_at(line, bin->mean);
    double quiet = INFINITY, quietest = INFINITY;
    for (unsigned way = 0; way < WAYS; way++) {
        for (size_t i = 0; i < n; i++)
            room[i] = (float)(patches[i].variance[way] /
                              fmin(fmax(line_at(line, patches[i].mean) / middle, 0.5), 2));
        qsort(room, n, sizeof(*room), by_value);
        quiet = fmin(quiet, room[(size_t)(QUIET * (double)n)]);
        quietest = fmin(quietest, room[n / QUIETEST_PART] * QUIETEST);
    }
    bin->variance = quiet;
    bin->most = n < 2 * BIN_PATCHES ? quiet : fmin(quiet, quietest);
}

/* How sure a bin's variance is, over its square. */
static double weight(const struct bin *bin)
{
    const double n = (double)(bin->to - bin->from);
    return 1 / (0.05 * 0.05 + 0.5 * 0.5 / n);
}

/* Least squares, from `low` on. Bins far above the last line are structure. */
static struct line draw(const struct bins *bins, double low, const struct line *last)
{
    double s = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (size_t i = 0; i < bins->n; i++) {
        const struct bin *bin = &bins->bin[i];
        const double v = line_at(last, bin->mean), above = fmax(bin->variance / v / 1.15, 1);
        const double w = weight(bin) / (v * v) / (above * above * above), x = bin->mean - low;
        s += w;
        sx += w * x;
        sy += w * bin->variance;
        sxx += w * x * x;
        sxy += w * x * bin->variance;
    }
    if (!bins->n)
        return *last;
    const double det = s * sxx - sx * sx;
    double slope = det > 1e-9 * s * sxx ? fmax((s * sxy - sx * sy) / det, 0) : 0;
    double at_low = (sy - slope * sx) / s;
    if (at_low < LEAST) {
        at_low = LEAST;
        slope = sxx > 0 ? fmax((sxy - at_low * sx) / sxx, 0) : 0;
    }
    return (struct line){.at_0 = at_low - slope * low, .slope = slope};
}

/* How much of the line there is at a bin, by far the most that can be. */
static double part_of(const struct line *line, const struct bin *bin)
{
    const double slack = 1.1 + 1.5 / sqrt((double)(bin->to - bin->from));
    return slack * bin->most / line_at(line, bin->mean);
}

static double middle_of(double a, double b, double c)
{
    return fmax(fmin(a, b), fmin(fmax(a, b), c));
}

/* Nothing may be much quieter than the line says: no bin of many patches, nor two of three others. */
static struct line lower(const struct line *line, const struct bins *bins)
{
    double factor = 1;
    for (size_t i = 0; i < bins->n; i++) {
        const struct bin *bin = &bins->bin[i], *last = i ? bin - 1 : bin;
        const struct bin *next = i + 1 < bins->n ? bin + 1 : bin;
        const double part = part_of(line, bin);
        factor = fmin(factor, bin->to - bin->from >= MANY_PATCHES
                                  ? part
                                  : middle_of(part, part_of(line, last), part_of(line, next)));
    }
    return (struct line){.at_0 = line->at_0 * factor, .slope = line->slope * factor};
}

static struct line fit_line(const struct patch *patches, size_t n, float *room)
{
    struct bins bins;
    struct line line = {.at_0 = 1};
    for (unsigned round = 0; round < ROUNDS; round++) {
        cut_bins(&bins, patches, n, &line);
        for (size_t b = 0; b < bins.n; b++)
            see(&bins.bin[b], patches, &line, room);
        line = draw(&bins, darkest(patches, n), &line);
    }
    return lower(&line, &bins);
}

#define DARK_BELOW                                                                                 \
    2.58 /* standard deviations of its mean that one in DARK_PART patches is below all */

static int conclude(struct patch *patches, size_t n, float *room, struct sqy_noise *out)
{
    n = drop_clipped(patches, n);
    if (n < MIN_PATCHES)
        return -ENODATA;
    qsort(patches, n, sizeof(*patches), by_mean);
    const struct line line = fit_line(patches, n, room);
    const double low = darkest(patches, n);
    const double dark = low + DARK_BELOW * sqrt(line_at(&line, low) / MAX_VOXELS);
    if (!isfinite(dark) || !isfinite(line.at_0) || !isfinite(line.slope) ||
        line_at(&line, patches[n - 1].mean) < 1.0 / 12)
        return -ENODATA;
    *out =
        (struct sqy_noise){.offset = dark, .gain = line.slope, .read = sqrt(line_at(&line, dark))};
    return 0;
}

int sqy_noise_fit_end(const struct sqy_noise_fit *fit, struct sqy_noise *out)
{
    if (fit->n < MIN_PATCHES)
        return -ENODATA;
    struct patch *patches = malloc(fit->n * sizeof(*patches));
    float *room = malloc(fit->n * sizeof(*room));
    int r = -ENOMEM;
    if (patches && room) {
        memcpy(patches, fit->patches, fit->n * sizeof(*patches));
        r = conclude(patches, fit->n, room, out);
    }
    free(patches);
    free(room);
    return r;
}
