/* Weights of the expected energy, fitted to windows spread over the box, as if energies were
 * distributed exponentially: an energy expected as s weighs 1 / s^2. Only the encoder runs this. */
#include "codec/energy.h"

#include <string.h>

#define MOST_WINDOWS 384u /* and no more than cover the box once */
#define N_ROUNDS     4u
#define OUTLIER      5.0f /* times what was expected: more counts as that */
#define CONSTANT     ENERGY_FEATURES
#define UNKNOWNS     (ENERGY_FEATURES + 1)
#define PRIOR_PART   0.01

static const double prior[UNKNOWNS] = {0.25, 0.2, 0.08, 0.08, 0.02};

struct fit {
    const struct energy *energy;
    float least; /* nothing less is expected */
    double coefficient[NORMAL_MAX];
    unsigned n_windows;
    normal_add_fn *add;
    struct normal normal;
    struct normal_window window;
};

static void take_window(struct fit *fit, unsigned w)
{
    const struct grid *grid = fit->energy->grid;
    struct normal_window *to = &fit->window;
    float *feature[ENERGY_FEATURES];
    const size_t at = (2 * w + 1) * (grid->layers * grid->rows) / (2 * fit->n_windows);
    const size_t layer = at / grid->rows, most = grid->whole - 1;
    const size_t row = at % grid->rows < most ? at % grid->rows : most;
    const size_t room = grid->width > NORMAL_WINDOW ? grid->width - NORMAL_WINDOW : 0;
    const size_t from = room * ((w * 145) % fit->n_windows) / fit->n_windows;
    const size_t step = grid->bands, first_column = from * step + w % grid->bands;
    const uint16_t *e = energy_row(fit->energy, layer, (ptrdiff_t)row) + first_column;
    to->len = (unsigned)(grid->width < NORMAL_WINDOW ? grid->width : NORMAL_WINDOW);
    for (unsigned i = 0; i < to->len; i++)
        to->wanted[i] = e[i * step];
    for (unsigned f = 0; f < ENERGY_FEATURES; f++)
        feature[f] = to->feature[f];
    energy_features(fit->energy, layer, row, first_column, to->len, feature);
    for (unsigned i = 0; i < NORMAL_WINDOW; i++)
        to->feature[CONSTANT][i] = 1 << CAUSAL_FRACTION;
}

static void weigh_window(struct fit *fit)
{
    struct normal_window *window = &fit->window;
    for (unsigned i = 0; i < window->len; i++) {
        float s = 0;
        for (unsigned f = 0; f < UNKNOWNS; f++)
            s += (float)fit->coefficient[f] * window->feature[f][i];
        s = s < fit->least ? fit->least : s;
        window->weight[i] = 1 / (s * s);
        if (window->wanted[i] > OUTLIER * s)
            window->wanted[i] = OUTLIER * s;
    }
}

static void improve(struct fit *fit)
{
    normal_clear(&fit->normal, UNKNOWNS);
    for (unsigned w = 0; w < fit->n_windows; w++) {
        take_window(fit, w);
        weigh_window(fit);
        fit->add(&fit->normal, &fit->window);
    }
    for (unsigned f = 0; f < UNKNOWNS; f++)
        normal_draw(&fit->normal, f, prior[f], PRIOR_PART, 1e-9);
    normal_solve(&fit->normal, fit->coefficient);
}

static float mean_energy(const struct grid *grid, const struct energy *energy)
{
    uint64_t sum = 0;
    for (size_t layer = 0; layer < grid->layers; layer++) {
        for (size_t y = 0; y < grid->rows; y++) {
            const uint16_t *row = energy_row(energy, layer, (ptrdiff_t)y);
            for (size_t x = 0; x < grid->span; x++)
                sum += row[x];
        }
    }
    return (float)sum / (float)grid->shape->n;
}

static int16_t darkest(const struct grid *grid)
{
    int16_t least = INT16_MAX;
    for (size_t layer = 0; layer < grid->layers; layer++) {
        for (size_t y = 0; y < grid->rows; y++) {
            const int16_t *row = grid_row(grid, layer, (ptrdiff_t)y);
            for (size_t x = 0; x < grid->span; x++)
                least = row[x] < least ? row[x] : least;
        }
    }
    return least;
}

void energy_fit(struct energy *energy, normal_add_fn *add)
{
    const size_t n = energy->grid->shape->n;
    struct fit fit = {.energy = energy, .n_windows = normal_windows(n, MOST_WINDOWS), .add = add};
    struct energy_model *model = &energy->model;
    const float mean = mean_energy(energy->grid, energy);
    const double one = 1 << ENERGY_ONE;
    fit.least = 0.1f * mean < 2 ? 2 : 0.1f * mean;
    memcpy(fit.coefficient, prior, sizeof(prior));
    model->dark = darkest(energy->grid);
    /* samples that bands lack were counted, too */
    model->start = (uint16_t)(mean < UINT16_MAX ? mean : UINT16_MAX);
    energy_open_layer(energy, 0);
    energy_open_row(energy, 0, 0);
    for (unsigned round = 0; round < N_ROUNDS; round++)
        improve(&fit);
    for (unsigned f = 0; f < ENERGY_FEATURES; f++)
        model->weight[f] = (int16_t)normal_round(fit.coefficient[f] * one, -8 * 1024, 8 * 1024);
    model->constant = (int32_t)normal_round(
        fit.coefficient[CONSTANT] * one * (1 << CAUSAL_FRACTION), -(1 << 28), 1 << 28);
}
