#include "codec/kernels.h"

#include "base/le.h"

void scalar_look_up(const uint16_t *table, const uint8_t *in, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++)
        le_store16(out + 2 * i, table[le_load16(in + 2 * i)]);
}

static float ratio(const struct loss_model *model, uint16_t value, uint16_t error)
{
    const float light = (float)(value - model->whole) - model->rest;
    const float variance = model->gain * (light > 0 ? light : 0) + model->dark;
    return (float)error * (float)error / (variance > model->least ? variance : model->least);
}

void scalar_loss(const uint8_t *original, const uint8_t *decoded, size_t n, uint16_t flip,
                 const struct loss_model *model, struct loss *out)
{
    *out = (struct loss){0};
    for (size_t i = 0; i < n; i++) {
        const uint16_t a = le_load16(original + 2 * i) ^ flip,
                       b = le_load16(decoded + 2 * i) ^ flip;
        const uint16_t error = a > b ? a - b : b - a;
        const float r = ratio(model, a, error);
        out->peak = a > out->peak ? a : out->peak;
        out->max_error = error > out->max_error ? error : out->max_error;
        out->squares += (uint32_t)error * error;
        out->ratios[i % LOSS_LANES] += r;
        out->max_ratio = r > out->max_ratio ? r : out->max_ratio;
    }
}
