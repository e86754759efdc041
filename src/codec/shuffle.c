/* shuffle: byte 0 of every sample, then byte 1 of every sample, and so on. */
#include "codec/bits.h"
#include "codec/stage.h"

static size_t shuffle_grain(const struct stage *stage, size_t size)
{
    (void)stage;
    return size == 1 ? 1 : 0;
}

static int shuffle_apply(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                         const uint8_t *in, uint8_t *out)
{
    (void)stage;
    bits_deal(ctx_kernels(ctx), shape->size, in, shape->n, out, shape->n);
    return 0;
}

static int shuffle_undo(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                        const uint8_t *in, uint8_t *out)
{
    (void)stage;
    bits_gather(ctx_kernels(ctx), shape->size, in, shape->n, shape->n, out);
    return 0;
}

const struct stage_desc stage_desc_shuffle = {
    .name = "shuffle",
    .about = "bytes of samples, sorted by weight",
    .class = STAGE_FILTER,
    .sizes = 1 | 2 | 4 | 8,
    .grain = shuffle_grain,
    .apply = shuffle_apply,
    .undo = shuffle_undo,
};
