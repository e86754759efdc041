#include "codec/causal.h"

unsigned causal_taps(const struct grid *grid, size_t layer, size_t row, bool across,
                     const int16_t *taps[CAUSAL_TAPS])
{
    const ptrdiff_t y = (ptrdiff_t)row;
    const int16_t *at = grid_row(grid, layer, y), *n = grid_row(grid, layer, y - 1);
    const int16_t *nn = grid_row(grid, layer, y - 2);
    const int16_t *const within[CAUSAL_WITHIN] = {at - 1, at - 2, n,      n - 1,  n + 1,
                                                  nn,     n + 2,  nn + 1, nn - 1, n - 2};
    for (unsigned t = 0; t < CAUSAL_WITHIN; t++)
        taps[t] = within[t];
    if (!across)
        return CAUSAL_WITHIN;
    const size_t before1 = layer - grid->bands;
    const size_t before2 = before1 >= grid->bands ? before1 - grid->bands : before1;
    const ptrdiff_t up = row ? y - 1 : y, down = row + 1 < grid_rows(grid, layer) ? y + 1 : y;
    const int16_t *p = grid_row(grid, before1, y), *pp = grid_row(grid, before2, y);
    const int16_t *pu = grid_row(grid, before1, up), *pd = grid_row(grid, before1, down);
    const int16_t *const before[] = {p,      p - 1,  p + 1, pu,     pd,     pu - 1, pu + 1,
                                     pd - 1, pd + 1, pp,    pp - 1, pp + 1, p - 2,  p + 2};
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

static void add_tap(int32_t *restrict sum, const int16_t *restrict tap, int16_t weight, size_t n)
{
    for (size_t x = 0; x < n; x++)
        sum[x] = (int32_t)((uint32_t)sum[x] + (uint32_t)(weight * tap[x]));
}

void causal_sum_row(const struct grid *grid, const struct causal_model *model, size_t layer,
                    size_t row, int32_t *sum)
{
    const struct causal_weights *w = causal_of(grid, model, layer, row);
    const int16_t *taps[CAUSAL_TAPS];
    const bool across = causal_is_across(grid, model, layer);
    const unsigned n = causal_taps(grid, layer, row, across, taps);
    for (size_t x = 0; x < grid->width; x++)
        sum[x] = w->bias;
    for (unsigned t = CAUSAL_OWN; t < n; t++) {
        if (w->weight[t])
            add_tap(sum, taps[t], w->weight[t], grid->width);
    }
}
