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
    const size_t stride = energy->grid->stride;
    for (ptrdiff_t up = -(ptrdiff_t)GRID_ABOVE; up < 0; up++) {
        uint16_t *row = energy_row(energy, layer, up) - GRID_PAD;
        if (layer >= energy->grid->bands) {
            memcpy(row, energy_row(energy, layer - energy->grid->bands, 0) - GRID_PAD,
                   stride * sizeof(*row));
            continue;
        }
        for (size_t i = 0; i < stride; i++)
            row[i] = energy->model.start;
    }
}

void energy_open_row(const struct energy *energy, size_t layer, size_t row)
{
    uint16_t *at = energy_row(energy, layer, (ptrdiff_t)row);
    const uint16_t above = energy_row(energy, layer, (ptrdiff_t)row - 1)[0];
    for (size_t i = 1; i <= GRID_PAD; i++)
        at[-(ptrdiff_t)i] = above;
}

void energy_close_row(const struct energy *energy, size_t layer, size_t row)
{
    uint16_t *at = energy_row(energy, layer, (ptrdiff_t)row);
    const size_t width = energy->grid->width;
    for (size_t i = 0; i < GRID_PAD; i++)
        at[width + i] = at[width - 1];
}

/* Of four times the intensity, which is what the row above says: twice as much of its middle. */
static int32_t root_at(const struct energy *energy, const int16_t *above)
{
    int32_t z = 2 * above[0] + above[-1] + above[1] - 4 * energy->model.dark;
    z = z < 0 ? 0 : z;
    const unsigned bits = 32u - (unsigned)__builtin_clz((unsigned)z | 1);
    const unsigned half = bits > 8 ? (bits - 7) / 2 : 0;
    return (int32_t)((uint32_t)energy->root[z >> 2 * half] << half >> 2);
}

void energy_sum_row(const struct energy *energy, size_t layer, size_t row, int32_t *sum)
{
    const struct energy_model *m = &energy->model;
    const uint16_t *n = energy_row(energy, layer, (ptrdiff_t)row - 1);
    const uint16_t *nn = energy_row(energy, layer, (ptrdiff_t)row - 2);
    const int16_t *above = grid_row(energy->grid, layer, (ptrdiff_t)row - 1);
    const uint32_t up = (uint32_t)m->weight[ENERGY_UP], slant = (uint32_t)m->weight[ENERGY_SLANT];
    const uint32_t far = (uint32_t)m->weight[ENERGY_FAR], wide = (uint32_t)m->weight[ENERGY_WIDE];
    const uint32_t root = (uint32_t)m->weight[ENERGY_ROOT];
    for (size_t x = 0; x < energy->grid->width; x++)
        sum[x] = root_at(energy, above + x);
    for (size_t x = 0; x < energy->grid->width; x++) {
        const uint32_t four = (uint32_t)n[x + 2] + (n + x)[-2] + nn[x + 1] + (nn + x)[-1];
        uint32_t v = (uint32_t)m->constant + root * (uint32_t)sum[x];
        v += up * n[x] + slant * ((uint32_t)n[x + 1] + (n + x)[-1]) + far * nn[x] + wide * four;
        sum[x] = (int32_t)v;
    }
}

void energy_features(const struct energy *energy, size_t layer, size_t row, size_t from, size_t n,
                     float *feature[ENERGY_FEATURES])
{
    const uint16_t *own = energy_row(energy, layer, (ptrdiff_t)row) + from;
    const uint16_t *up = energy_row(energy, layer, (ptrdiff_t)row - 1) + from;
    const uint16_t *far = energy_row(energy, layer, (ptrdiff_t)row - 2) + from;
    const int16_t *above = grid_row(energy->grid, layer, (ptrdiff_t)row - 1) + from;
    for (size_t i = 0; i < n; i++, own++, up++, far++) {
        feature[ENERGY_LEFT][i] = own[-1];
        feature[ENERGY_UP][i] = up[0];
        feature[ENERGY_SLANT][i] = (float)(up[-1] + up[1]);
        feature[ENERGY_FAR][i] = (float)(own[-2] + far[0]);
        feature[ENERGY_WIDE][i] = (float)(up[-2] + up[2] + far[-1] + far[1]);
        feature[ENERGY_ROOT][i] = (float)root_at(energy, above + i);
    }
}
