/* Weights of the predictor, fitted to a sample of the box.
 *
 * A block of residuals costs about log2 of their mean size for each. So the fit minimises the sum of
 * log(mean |r|) over sampled windows, by least squares whose weights are set anew a few times
 * (iteratively reweighted least squares): a residual r in a window of mean size s weighs
 * 1 / (s max(|r|, s / 2)). Bright regions, noisier than dark ones, and hot pixels do not spoil it.
 *
 * Taps that mirror each other share a weight. Only the encoder runs this; its arithmetic is not
 * part of the format. */
#include "codec/predict.h"

#include <math.h>
#include <string.h>

#include "codec/classes.h"
#include "codec/normal.h"

#define N_WINDOWS    48u
#define FAST_WINDOWS 16u          /* cost 0.1 % of the ratio */
#define WINDOW       CLASS_WINDOW /* samples of one half of a row, a multiple of FIT_LANES */
#define N_SAMPLES    (N_WINDOWS * WINDOW)
#define N_ROUNDS     2
#define N_FEATURES   8u /* at most, without the constant */
#define FIT_LANES    8u
/* Bits a sample by which weights must do better than none: fitted to a sample, they always seem to. */
#define FLAT_BONUS 0.010
/* Where no window has a smaller mean residual, the lowest bit is noise: no need to try. */
#define NOISY       1.25f
#define NOISY_SAVED 0.01   /* bits a sample that rounding up saves there: a vote, no measure */
#define ONE         2048.0 /* weights are in units of 1 / ONE */

/* Which feature a tap belongs to; taps of one feature share its weight. NONE: weight 0. */
#define NONE N_FEATURES
static const uint8_t even_feature[] = {0, 3, 1, 1, 2, 2, 4, 4, 5, NONE, 6, 6, 7, 7};
static const uint8_t odd_feature[] = {0, 0, 1, 3, 2, 2, 4, NONE, 5, 5, 6, 6};
/* Where to begin, and what a flat sample leaves undecided: see `prior` below. */
static const float even_prior[N_FEATURES] = {0.5f, 0.25f};
static const float odd_prior[N_FEATURES] = {0.25f, 0.25f, 0.125f};

struct fit {
    const uint8_t *feature; /* of each tap */
    const float *prior;
    unsigned n_taps, n_features;
    unsigned n_windows, n_samples;
    unsigned centre;                     /* the feature of one tap that takes rounding */
    float mean[N_FEATURES + 1];          /* of features, and of what is predicted */
    float at[N_FEATURES + 1][N_SAMPLES]; /* less their means; last: what is predicted */
    float residual[N_SAMPLES], weight[N_SAMPLES];
    float quietest;                     /* least mean |residual| of a window, and a little */
    double coefficient[N_FEATURES + 1]; /* of features, and the constant */
};

/* Half of the lanes. A vector by name: left to itself, GCC 12 takes the loop below apart. */
struct half {
    float v __attribute__((vector_size(FIT_LANES / 2 * sizeof(float))));
};

/* Sums of products over all samples of `a` with each row, in FIT_LANES lanes, which are then added
 * up. An addition waits for the one before it in its lane: four rows at a time wait together. */
static void dots(unsigned n, const float *a, const float *const rows[], unsigned n_rows,
                 double *out)
{
    for (unsigned r = 0; r < n_rows; r += 4) {
        const float *at[4];
        struct half sum[4][2] = {0}, x[2], y[2];
        for (unsigned j = 0; j < 4; j++)
            at[j] = rows[r + j < n_rows ? r + j : n_rows - 1];
        for (unsigned i = 0; i < n; i += FIT_LANES) {
            memcpy(x, a + i, sizeof(x));
#pragma GCC unroll 4
            for (unsigned j = 0; j < 4; j++) {
                memcpy(y, at[j] + i, sizeof(y));
                sum[j][0].v += x[0].v * y[0].v;
                sum[j][1].v += x[1].v * y[1].v;
            }
        }
        for (unsigned j = 0; j < 4 && r + j < n_rows; j++) {
            float lane[FIT_LANES];
            memcpy(lane, sum[j], sizeof(lane));
            out[r + j] = 0;
            for (unsigned l = 0; l < FIT_LANES; l++)
                out[r + j] += (double)lane[l];
        }
    }
}

/* In lanes, as above; exact for whole numbers. */
static double sum_of(const float *v, unsigned n)
{
    double lane[FIT_LANES] = {0}, sum = 0;
    for (unsigned i = 0; i < n; i += FIT_LANES) {
        for (unsigned l = 0; l < FIT_LANES; l++)
            lane[l] += (double)v[i + l];
    }
    for (unsigned l = 0; l < FIT_LANES; l++)
        sum += lane[l];
    return sum;
}

/* ---- the sample ---- */

static void take_window(struct fit *fit, unsigned w, const struct taps *taps, const int16_t *x,
                        size_t from)
{
    for (unsigned f = 0; f < fit->n_features; f++)
        memset(fit->at[f] + w * WINDOW, 0, WINDOW * sizeof(float));
    for (unsigned i = 0; i < WINDOW; i++)
        fit->at[N_FEATURES][w * WINDOW + i] = (float)x[from + i];
    for (unsigned t = 0; t < fit->n_taps; t++) {
        if (fit->feature[t] == NONE)
            continue;
        float *to = fit->at[fit->feature[t]] + w * WINDOW;
        for (unsigned i = 0; i < WINDOW; i++)
            to[i] += (float)taps->at[t][from + i];
    }
}

/* Windows lie evenly spread over the rows, and at columns that jump about. */
static void take_sample(struct fit *fit, const struct lattice *lattice, unsigned phase, bool across)
{
    const size_t first = across && lattice->layers > 1 ? lattice->rows : 0;
    const size_t n_rows = lattice->layers * lattice->rows - first;
    const size_t half = lattice->odd;
    for (unsigned w = 0; w < fit->n_windows; w++) {
        struct taps taps;
        const size_t at = first + (2 * w + 1) * n_rows / (2 * fit->n_windows);
        size_t layer = at / lattice->rows, row = at % lattice->rows;
        if (!row && lattice->rows > 1)
            row = 1; /* what lies above the first row is nothing to learn from */
        predict_taps(lattice, layer, row, phase, across, &taps);
        const size_t from = (half - WINDOW) * ((w * 19) % fit->n_windows) / (fit->n_windows - 1);
        const int16_t *x = lattice_even(lattice, layer, row);
        take_window(fit, w, &taps, phase == PREDICT_EVEN ? x : x + lattice->stride, from);
    }
}

static void centre_sample(struct fit *fit)
{
    for (unsigned f = 0; f <= N_FEATURES; f++) {
        if (f >= fit->n_features && f < N_FEATURES)
            continue;
        fit->mean[f] = (float)(sum_of(fit->at[f], fit->n_samples) / fit->n_samples);
        for (unsigned i = 0; i < fit->n_samples; i++)
            fit->at[f][i] -= fit->mean[f];
    }
}

/* ---- rounds ---- */

/* Residuals under the present coefficients, and what they cost, in bits of a sample. */
static double measure(struct fit *fit)
{
    double cost = 0;
    fit->quietest = INFINITY;
    for (unsigned i = 0; i < fit->n_samples; i++)
        fit->residual[i] = fit->at[N_FEATURES][i] - (float)fit->coefficient[N_FEATURES];
    for (unsigned f = 0; f < fit->n_features; f++) {
        const float c = (float)fit->coefficient[f];
        for (unsigned i = 0; i < fit->n_samples; i++)
            fit->residual[i] -= c * fit->at[f][i];
    }
    for (unsigned w = 0; w < fit->n_windows; w++) {
        float *r = fit->residual + w * WINDOW, *weight = fit->weight + w * WINDOW;
        float lane[FIT_LANES] = {0}, s = 0;
        for (unsigned i = 0; i < WINDOW; i += FIT_LANES) {
            for (unsigned l = 0; l < FIT_LANES; l++)
                lane[l] += fabsf(r[i + l]);
        }
        for (unsigned l = 0; l < FIT_LANES; l++)
            s += lane[l];
        s = s / WINDOW + 0.25f; /* less than that no rounded residual is worth */
        for (unsigned i = 0; i < WINDOW; i++) {
            float size = fabsf(r[i]), least = s / 2;
            weight[i] = 1 / (s * (size > least ? size : least));
        }
        cost += (double)log2f(s);
        fit->quietest = s < fit->quietest ? s : fit->quietest;
    }
    return cost / fit->n_windows;
}

/* One step: the normal equations under the present weights, drawn a little towards the prior. */
static void improve(struct fit *fit)
{
    struct normal normal;
    double by_weight[N_FEATURES + 1], with[N_FEATURES + 1], x[NORMAL_MAX];
    float weighted[N_SAMPLES];
    const float *rows[N_FEATURES + 1];
    const unsigned n = fit->n_features;
    const double total = sum_of(fit->weight, fit->n_samples);
    normal_clear(&normal, n + 1);
    for (unsigned f = 0; f < n; f++)
        rows[f] = fit->at[f];
    rows[n] = fit->at[N_FEATURES];
    dots(fit->n_samples, fit->weight, rows, n + 1, by_weight);
    for (unsigned f = 0; f < n; f++) {
        for (unsigned i = 0; i < fit->n_samples; i++)
            weighted[i] = fit->weight[i] * fit->at[f][i];
        dots(fit->n_samples, weighted, rows + f, n + 1 - f, with);
        for (unsigned g = f; g < n; g++)
            normal.a[g][f] = with[g - f];
        normal.a[n][f] = by_weight[f];
        normal.b[f] = with[n - f];
    }
    normal.b[n] = by_weight[n];
    normal.a[n][n] = total;
    for (unsigned f = 0; f < n; f++)
        normal_draw(&normal, f, (double)fit->prior[f], 1e-4, 1e-3 * total);
    if (!normal_solve(&normal, x))
        return;
    memcpy(fit->coefficient, x, n * sizeof(x[0]));
    fit->coefficient[N_FEATURES] = x[n];
}

/* ---- what comes of it ---- */

/* Coefficients as weights. What rounding takes from their sum goes to a tap that has no twin, so
 * that bright and dark ends of the range stay where they were. */
static void round_weights(const struct fit *fit, struct predict_weights *out)
{
    long q[N_FEATURES] = {0};
    double lost = 0, constant = (double)fit->mean[N_FEATURES] + fit->coefficient[N_FEATURES];
    unsigned taps_of[N_FEATURES + 1] = {0};
    for (unsigned t = 0; t < fit->n_taps; t++)
        taps_of[fit->feature[t]]++;
    for (unsigned f = 0; f < fit->n_features; f++) {
        q[f] = normal_round(fit->coefficient[f] * ONE, INT16_MIN / 2, INT16_MAX / 2);
        lost += taps_of[f] * (fit->coefficient[f] * ONE - (double)q[f]);
    }
    q[fit->centre] += normal_round(lost, -64, 64);
    for (unsigned f = 0; f < fit->n_features; f++)
        constant -= (double)q[f] / ONE * (double)fit->mean[f];
    for (unsigned t = 0; t < fit->n_taps; t++)
        out->weight[t] = fit->feature[t] == NONE ? 0 : (int16_t)q[fit->feature[t]];
    out->bias = (int32_t)normal_round(constant * ONE + ONE / 2, INT32_MIN / 2, INT32_MAX / 2);
}

static double iterate(struct fit *fit)
{
    double cost = measure(fit);
    for (unsigned round = 0; round < N_ROUNDS; round++) {
        improve(fit);
        cost = measure(fit);
    }
    return cost;
}

/* Just one value for all: best where there is nothing but noise. */
static double fit_constant(struct fit *fit)
{
    const unsigned n_features = fit->n_features;
    memset(fit->coefficient, 0, sizeof(fit->coefficient));
    fit->n_features = 0;
    double cost = iterate(fit);
    fit->n_features = n_features;
    return cost;
}

/* Of what a sample leaves: its measure; bits if predictions are rounded to the nearest, and to the one
 * above that are saved. */
struct cost {
    double size, saved;
};

static double saved_by_rounding_up(const struct fit *fit)
{
    if (fit->quietest > NOISY)
        return NOISY_SAVED;
    return classes_cost(fit->residual, fit->n_samples, 0.5f) -
           classes_cost(fit->residual, fit->n_samples, 1);
}

static void fit_half(struct fit *fit, const struct lattice *lattice, unsigned phase, bool across,
                     struct predict_weights *out, struct cost *sum)
{
    const bool even = phase == PREDICT_EVEN;
    fit->feature = even ? even_feature : odd_feature;
    fit->prior = even ? even_prior : odd_prior;
    fit->n_taps = predict_n_taps(phase, across);
    fit->n_features = (even ? 5 : 4) + (across ? 3 : 0);
    fit->centre = even ? 0 : 1;
    take_sample(fit, lattice, phase, across);
    centre_sample(fit);
    const double flat = fit_constant(fit), constant = fit->coefficient[N_FEATURES];
    for (unsigned f = 0; f < N_FEATURES; f++)
        fit->coefficient[f] = (double)fit->prior[f];
    fit->coefficient[N_FEATURES] = 0;
    double cost = iterate(fit);
    if (flat < cost + FLAT_BONUS) {
        memset(fit->coefficient, 0, sizeof(fit->coefficient));
        fit->coefficient[N_FEATURES] = constant;
        cost = measure(fit);
    }
    round_weights(fit, out);
    sum->size += cost;
    sum->saved += saved_by_rounding_up(fit);
}

/* Boxes too narrow to sample get the prior. */
static void fixed_half(unsigned phase, struct predict_weights *out)
{
    const bool even = phase == PREDICT_EVEN;
    for (unsigned t = 0; t < predict_n_taps(phase, false); t++) {
        const float *prior = even ? even_prior : odd_prior;
        out->weight[t] = (int16_t)(ONE * (double)prior[(even ? even_feature : odd_feature)[t]]);
    }
    out->bias = (int32_t)(ONE / 2);
}

static void round_up(struct predict_weights weights[PREDICT_PHASES])
{
    for (unsigned phase = 0; phase < PREDICT_PHASES; phase++)
        weights[phase].bias += (int32_t)(ONE / 2);
}

/* Rounded to the nearest, predictions leave something around 0: best where much of it is 0. Rounded up,
 * it lies around -1/2, and 0 and -1, 1 and -2, ... are as likely in pairs: best where the lowest bit is
 * stored as it is. For both halves alike, as they share their codes. */
void predict_fit(const struct lattice *lattice, struct predict_model *model, bool fast)
{
    struct fit fit;
    fit.n_windows = fast ? FAST_WINDOWS : N_WINDOWS;
    fit.n_samples = fit.n_windows * WINDOW;
    struct cost within = {0}, across = {0};
    memset(model->within, 0, sizeof(model->within));
    memset(model->across, 0, sizeof(model->across));
    model->follows = false;
    if (lattice->odd < WINDOW) {
        fixed_half(PREDICT_EVEN, &model->within[PREDICT_EVEN]);
        fixed_half(PREDICT_ODD, &model->within[PREDICT_ODD]);
        return;
    }
    for (unsigned phase = 0; phase < PREDICT_PHASES; phase++)
        fit_half(&fit, lattice, phase, false, &model->within[phase], &within);
    for (unsigned phase = 0; lattice->layers > 1 && phase < PREDICT_PHASES; phase++)
        fit_half(&fit, lattice, phase, true, &model->across[phase], &across);
    model->follows = lattice->layers > 1 && across.size < within.size;
    if ((model->follows ? across : within).saved > 0) {
        round_up(model->within);
        round_up(model->across);
    }
}
