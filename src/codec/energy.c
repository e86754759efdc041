#include "codec/energy.h"

#include <string.h>

void energy_init(struct energy *energy, const struct grid *grid, void *memory)
{
    *energy = (struct energy){.energies = memory, .grid = grid};
    for (unsigned i = 0, root = 0; i < ENERGY_ROOTS; i++) {
        while ((root + 1) * (root + 1) <= i << 8)
            root++;
        energy->root[i] = (uint8_t)root;
    }
}

void energy_open_layer(const struct energy *energy, size_t layer)
{
    const struct grid *grid = energy->grid;
    const size_t pad = GRID_PAD * grid->bands;
    for (ptrdiff_t up = -(ptrdiff_t)GRID_ABOVE; up < 0; up++) {
        uint16_t *row = energy_row(energy, layer, up) - pad;
        if (layer) {
            memcpy(row, energy_row(energy, layer - 1, 0) - pad, grid->stride * sizeof(*row));
            continue;
        }
        for (size_t i = 0; i < grid->stride; i++)
            row[i] = energy->model.start;
    }
}

void energy_open_row(const struct energy *energy, size_t layer, size_t row)
{
    const size_t bands = energy->grid->bands;
    const uint16_t *above = energy_row(energy, layer, (ptrdiff_t)row - 1);
    uint16_t *before = energy_row(energy, layer, (ptrdiff_t)row) - GRID_PAD * bands;
    for (size_t i = 0; i < GRID_PAD * bands; i++)
        before[i] = above[i % bands];
}

void energy_close_row(const struct energy *energy, size_t layer, size_t row)
{
    const size_t bands = energy->grid->bands;
    uint16_t *after = energy_row(energy, layer, (ptrdiff_t)row) + energy->grid->span;
    for (size_t i = 0; i < GRID_PAD * bands; i++)
        after[i] = after[(ptrdiff_t)(i % bands) - (ptrdiff_t)bands];
}

/* Of four times the intensity, which is what the row above says: twice as much of its middle. */
static int32_t root_at(const struct energy *energy, const int16_t *above, ptrdiff_t e)
{
    int32_t z = 2 * above[0] + above[-e] + above[e] - 4 * energy->model.dark;
    z = z < 0 ? 0 : z;
    const unsigned bits = 32u - (unsigned)__builtin_clz((unsigned)z | 1);
    const unsigned half = bits > 8 ? (bits - 7) / 2 : 0;
    return (int32_t)((uint32_t)energy->root[z >> 2 * half] << half >> 2);
}

void energy_sum(const struct energy *energy, const struct energy_above *above, size_t from,
                size_t n, int32_t *sum)
{
    const struct energy_model *m = &energy->model;
    const uint32_t up = (uint32_t)m->weight[ENERGY_UP], slant = (uint32_t)m->weight[ENERGY_SLANT];
    const uint32_t far = (uint32_t)m->weight[ENERGY_FAR], wide = (uint32_t)m->weight[ENERGY_WIDE];
    const uint32_t root = (uint32_t)m->weight[ENERGY_ROOT];
    const ptrdiff_t e = above->step;
    for (size_t x = from; x < n; x++)
        sum[x] = root_at(energy, above->sample + x, e);
    for (size_t x = from; x < n; x++) {
        const uint16_t *at = above->n + x, *nn = above->nn + x;
        const uint32_t four = (uint32_t)at[2 * e] + at[-2 * e] + nn[e] + nn[-e];
        uint32_t v = (uint32_t)m->constant + root * (uint32_t)sum[x];
        v += up * at[0] + slant * ((uint32_t)at[e] + at[-e]) + far * nn[0] + wide * four;
        sum[x] = (int32_t)v;
    }
}

void energy_features(const struct energy *energy, size_t layer, size_t row, size_t from, size_t n,
                     float *feature[ENERGY_FEATURES])
{
    const struct energy_above above = energy_above(energy, layer, row);
    const uint16_t *own = energy_row(energy, layer, (ptrdiff_t)row) + from;
    const uint16_t *up = above.n + from, *far = above.nn + from;
    const ptrdiff_t e = above.step;
    for (size_t i = 0; i < n; i++, own += e, up += e, far += e) {
        feature[ENERGY_LEFT][i] = own[-e];
        feature[ENERGY_UP][i] = up[0];
        feature[ENERGY_SLANT][i] = (float)(up[-e] + up[e]);
        feature[ENERGY_FAR][i] = (float)(own[-2 * e] + far[0]);
        feature[ENERGY_WIDE][i] = (float)(up[-2 * e] + up[2 * e] + far[-e] + far[e]);
        feature[ENERGY_ROOT][i] = (float)root_at(energy, above.sample + from + (ptrdiff_t)i * e, e);
    }
}
