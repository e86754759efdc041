/* Weights of the causal predictor, fitted to windows spread over the box.
 *
 * A sample costs about log2 of the mean size of the residuals around it. So the fit minimises the
 * sum of log(mean |r|) over windows, by least squares whose weights are set anew a few times: a
 * residual r in a window of mean size s weighs 1 / (s max(|r|, s / 2)). The first round weighs all
 * alike, or it would end near what suits the dark windows only. Only the encoder runs this. */
#include "codec/causal.h"

#include <math.h>
#include <string.h>

#define MOST_WINDOWS 256u /* and no more than cover the box once */
#define N_ROUNDS     3u
#define ONE          ((double)(1 << CAUSAL_ONE))
#define LEAST        0.25f /* a smaller mean of rounded residuals is worth nothing more */

struct fit {
    const struct grid *grid;
    bool across;
    unsigned n_taps;
    float mean;                     /* taken off all samples */
    double coefficient[NORMAL_MAX]; /* of taps, and the constant */
    unsigned n_windows;
    normal_add_fn *add;
    struct normal normal;
    struct normal_window window;
};

/* Windows lie evenly over the lines, and at columns that jump about; each is of one band. */
static void take_window(struct fit *fit, unsigned w)
{
    const struct grid *grid = fit->grid;
    struct normal_window *to = &fit->window;
    const int16_t *taps[CAUSAL_TAPS];
    const size_t first = fit->across ? grid->rows : 0, most = grid->whole - 1;
    const size_t at =
        first + (2 * w + 1) * (grid->layers * grid->rows - first) / (2 * fit->n_windows);
    const size_t layer = at / grid->rows;
    const size_t y = at % grid->rows ? at % grid->rows : 1, row = y < most ? y : most;
    const size_t room = grid->width > NORMAL_WINDOW ? grid->width - NORMAL_WINDOW : 0;
    const size_t from = room * ((w * 197) % fit->n_windows) / fit->n_windows;
    const size_t step = grid->bands, first_column = from * step + w % grid->bands;
    const int16_t *x = grid_row(grid, layer, (ptrdiff_t)row) + first_column;
    causal_taps(grid, layer, row, fit->across, taps);
    to->len = (unsigned)(grid->width < NORMAL_WINDOW ? grid->width : NORMAL_WINDOW);
    for (unsigned i = 0; i < to->len; i++)
        to->wanted[i] = (float)x[i * step] - fit->mean;
    for (unsigned t = 0; t < fit->n_taps; t++) {
        for (unsigned i = 0; i < to->len; i++)
            to->feature[t][i] = (float)taps[t][first_column + i * step] - fit->mean;
    }
    for (unsigned i = 0; i < NORMAL_WINDOW; i++)
        to->feature[fit->n_taps][i] = 1;
}

/* Weighs the window by what the coefficients leave of it; returns the bits of one sample. */
static double weigh_window(struct fit *fit)
{
    struct normal_window *window = &fit->window;
    float residual[NORMAL_WINDOW], mean = 0;
    memcpy(residual, window->wanted, sizeof(residual));
    for (unsigned t = 0; t <= fit->n_taps; t++) {
        const float c = (float)fit->coefficient[t];
        for (unsigned i = 0; i < NORMAL_WINDOW; i++)
            residual[i] -= c * window->feature[t][i];
    }
    for (unsigned i = 0; i < window->len; i++)
        mean += fabsf(residual[i]);
    mean = mean / (float)window->len + LEAST;
    for (unsigned i = 0; i < window->len; i++) {
        const float size = fabsf(residual[i]), least = mean / 2;
        window->weight[i] = 1 / (mean * (size > least ? size : least));
    }
    return (double)log2f(mean);
}

static void weigh_alike(struct normal_window *window)
{
    for (unsigned i = 0; i < window->len; i++)
        window->weight[i] = 1;
}

static void improve(struct fit *fit, unsigned round)
{
    normal_clear(&fit->normal, fit->n_taps + 1);
    for (unsigned w = 0; w < fit->n_windows; w++) {
        take_window(fit, w);
        if (round)
            weigh_window(fit);
        else
            weigh_alike(&fit->window);
        fit->add(&fit->normal, &fit->window);
    }
    const double total = fit->normal.a[fit->n_taps][fit->n_taps];
    for (unsigned t = 0; t < fit->n_taps; t++)
        normal_draw(&fit->normal, t, 0, 1e-5, 1e-3 * total);
    normal_solve(&fit->normal, fit->coefficient);
}

/* Bits of a sample under the present coefficients. */
static double cost_of(struct fit *fit)
{
    double cost = 0;
    for (unsigned w = 0; w < fit->n_windows; w++) {
        take_window(fit, w);
        cost += weigh_window(fit);
    }
    return cost / fit->n_windows;
}

static void round_weights(const struct fit *fit, struct causal_weights *out)
{
    double constant = (double)fit->mean + fit->coefficient[fit->n_taps];
    for (unsigned t = 0; t < fit->n_taps; t++) {
        out->weight[t] = (int16_t)normal_round(fit->coefficient[t] * ONE, INT16_MIN, INT16_MAX);
        constant -= (double)out->weight[t] / ONE * (double)fit->mean;
    }
    const double half = ONE / (2 << CAUSAL_FRACTION);
    out->bias = (int32_t)normal_round(constant * ONE + half, INT32_MIN / 2, INT32_MAX / 2);
}

static float mean_of(const struct grid *grid)
{
    int64_t sum = 0;
    for (size_t layer = 0; layer < grid->layers; layer++) {
        const int16_t *row = grid_row(grid, layer, (ptrdiff_t)(grid->rows / 2));
        for (size_t x = 0; x < grid->span; x++)
            sum += row[x];
    }
    return (float)sum / (float)(grid->layers * grid->span);
}

static double fit_weights(struct fit *fit, bool across, struct causal_weights *out)
{
    fit->across = across;
    fit->n_taps = causal_n_taps(across);
    memset(&fit->window, 0, sizeof(fit->window));
    memset(fit->coefficient, 0, sizeof(fit->coefficient));
    fit->coefficient[0] = fit->coefficient[2] = 0.5;
    for (unsigned round = 0; round < N_ROUNDS; round++)
        improve(fit, round);
    round_weights(fit, out);
    return cost_of(fit);
}

void causal_fit(const struct grid *grid, struct causal_model *model, normal_add_fn *add)
{
    struct fit fit = {.grid = grid,
                      .mean = mean_of(grid),
                      .add = add,
                      .n_windows = normal_windows(grid->shape->n, MOST_WINDOWS)};
    *model = (struct causal_model){.follows = false};
    const double within = fit_weights(&fit, false, &model->within);
    causal_first(model);
    if (grid->layers > 1)
        model->follows = fit_weights(&fit, true, &model->across) < within;
}
