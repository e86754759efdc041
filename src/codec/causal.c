#include "codec/causal.h"

unsigned causal_taps(const struct grid *grid, size_t layer, size_t row, bool across,
                     const int16_t *taps[CAUSAL_TAPS])
{
    const ptrdiff_t y = (ptrdiff_t)row, e = (ptrdiff_t)grid->bands; /* to the next column */
    const int16_t *at = grid_row(grid, layer, y), *n = grid_row(grid, layer, y - 1);
    const int16_t *nn = grid_row(grid, layer, y - 2);
    const int16_t *const within[CAUSAL_WITHIN] = {at - e, at - 2 * e, n,      n - e,  n + e,
                                                  nn,     n + 2 * e,  nn + e, nn - e, n - 2 * e};
    for (unsigned t = 0; t < CAUSAL_WITHIN; t++)
        taps[t] = within[t];
    if (!across)
        return CAUSAL_WITHIN;
    const ptrdiff_t up = row ? y - 1 : y, down = row + 1 < grid->rows ? y + 1 : y;
    const int16_t *p = grid_row(grid, layer - 1, y);
    const int16_t *pp = grid_row(grid, layer > 1 ? layer - 2 : layer - 1, y);
    const int16_t *pu = grid_row(grid, layer - 1, up), *pd = grid_row(grid, layer - 1, down);
    const int16_t *const before[] = {p,      p - e,  p + e, pu,     pd,     pu - e,    pu + e,
                                     pd - e, pd + e, pp,    pp - e, pp + e, p - 2 * e, p + 2 * e};
    for (unsigned t = CAUSAL_WITHIN; t < CAUSAL_TAPS; t++)
        taps[t] = before[t - CAUSAL_WITHIN];
    return CAUSAL_TAPS;
}

void causal_first(struct causal_model *model)
{
    int32_t sum = 0;
    for (unsigned t = 0; t < CAUSAL_WITHIN; t++)
        sum += model->within.weight[t];
    sum = sum < INT16_MIN ? INT16_MIN : sum > INT16_MAX ? INT16_MAX : sum;
    model->first = (struct causal_weights){.weight = {(int16_t)sum}, .bias = model->within.bias};
}

void causal_sum_row(const struct grid *grid, const struct causal_model *model,
                    causal_sum_fn *kernel, size_t layer, size_t row, int32_t *sum)
{
    const struct causal_weights *w = causal_of(model, layer, row);
    const int16_t *taps[CAUSAL_TAPS], *used[CAUSAL_TAPS];
    int16_t weight[CAUSAL_TAPS];
    const unsigned n = causal_taps(grid, layer, row, causal_is_across(model, layer), taps);
    unsigned n_used = 0;
    for (unsigned t = CAUSAL_OWN; t < n; t++) {
        used[n_used] = taps[t];
        weight[n_used] = w->weight[t];
        n_used += w->weight[t] != 0;
    }
    kernel(sum, used, weight, n_used, w->bias, grid->span);
}
