#include "codec/predict.h"

/* The row at `up` rows above `row`. Above the first row stands the first of the layer before, which
 * is the best guess there is, and above that the base value. */
static const int16_t *half_above(const struct lattice *lattice, size_t layer, size_t row, size_t up,
                                 unsigned phase)
{
    if (up <= row)
        row -= up;
    else if (layer)
        layer--, row = 0;
    else
        return lattice->above;
    return phase == PREDICT_EVEN ? lattice_even(lattice, layer, row)
                                 : lattice_odd(lattice, layer, row);
}

void predict_taps(const struct lattice *lattice, size_t layer, size_t row, unsigned phase,
                  bool across, struct taps *taps)
{
    const int16_t *e1 = half_above(lattice, layer, row, 1, PREDICT_EVEN);
    const int16_t *o1 = half_above(lattice, layer, row, 1, PREDICT_ODD);
    const int16_t *e2 = half_above(lattice, layer, row, 2, PREDICT_EVEN);
    const int16_t *o2 = half_above(lattice, layer, row, 2, PREDICT_ODD);
    const int16_t *e0 = lattice_even(lattice, layer, row);
    const bool even = phase == PREDICT_EVEN;
    const int16_t *const within_even[] = {e1, e2, o1 - 1, o1, e1 - 1, e1 + 1, o2 - 1, o2};
    const int16_t *const within_odd[] = {e0, e0 + 1, o1, o2, e1, e1 + 1};
    unsigned n = 0;
    for (; n < predict_n_taps(phase, false); n++)
        taps->at[n] = even ? within_even[n] : within_odd[n];
    if (across) {
        const size_t up = row ? row - 1 : 0, down = row + 1 < lattice->rows ? row + 1 : row;
        const int16_t *e = lattice_even(lattice, layer - 1, row), *o = e + lattice->stride;
        const size_t at = even ? 0 : lattice->stride;
        taps->at[n++] = even ? e : o;
        taps->at[n++] = even ? e : o;
        taps->at[n++] = even ? o - 1 : e;
        taps->at[n++] = even ? o : e + 1;
        taps->at[n++] = lattice_even(lattice, layer - 1, up) + at;
        taps->at[n++] = lattice_even(lattice, layer - 1, down) + at;
    }
    taps->n = n;
}

/* The taps of predict_taps(), pairs of neighbours in memory first. */
struct order {
    uint8_t n, near, tap[TAPS_MAX];
};

/* Without the layer before, and with it. */
static const struct order orders[PREDICT_PHASES][2] = {
    [PREDICT_EVEN] = {{8, 3, {0, 5, 2, 3, 6, 7, 4, 1}},
                      {14, 4, {0, 5, 2, 3, 6, 7, 10, 11, 4, 1, 8, 9, 12, 13}}},
    [PREDICT_ODD] = {{6, 2, {0, 1, 4, 5, 2, 3}}, {12, 3, {0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11}}},
};

void predict_row(const struct lattice *lattice, const struct predict_model *model, size_t layer,
                 size_t row, unsigned phase, struct taps *taps)
{
    const bool across = model->follows && layer;
    const struct predict_weights *from = (across ? model->across : model->within) + phase;
    const struct order *order = &orders[phase][across];
    struct taps plain;
    predict_taps(lattice, layer, row, phase, across, &plain);
    for (unsigned i = 0; i < order->n; i++) {
        taps->at[i] = plain.at[order->tap[i]];
        taps->weight[i] = from->weight[order->tap[i]];
    }
    taps->n = order->n;
    taps->near = order->near;
    taps->bias = from->bias;
}
