#include "codec/background.h"
#include "base/le.h"

#include <string.h>

void background_subtract(const struct shape *shape, unsigned threshold, const uint8_t *in,
                         uint8_t *out)
{
    if (shape->size == 1) {
        for (size_t i = 0; i < shape->n; i++)
            out[i] = (uint8_t)(in[i] > threshold ? in[i] - threshold : 0);
        return;
    }
    for (size_t i = 0; i < shape->n; i++) {
        unsigned v = le_load16(in + 2 * i);
        le_store16(out + 2 * i, (uint16_t)(v > threshold ? v - threshold : 0));
    }
}

int background_undo(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                    const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    (void)stage;
    memcpy(out, in, shape->n * shape->size);
    return 0;
}
