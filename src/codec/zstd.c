/* zstd: zstd frames with their content size, without a checksum (whoever stores chunks sums them).
 */
#include "codec/stage.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <zstd.h>

enum { ARG_LEVEL };

struct zstd_state {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
};

static void zstd_free_state(void *p)
{
    struct zstd_state *state = p;
    ZSTD_freeCCtx(state->compressor);
    ZSTD_freeDCtx(state->decompressor);
    free(state);
}

static struct zstd_state *zstd_state(struct sqy_ctx *ctx, const struct stage *stage)
{
    void **slot = ctx_state(ctx, stage->desc);
    if (*slot)
        return *slot;
    struct zstd_state *state = calloc(1, sizeof(*state));
    if (!state)
        return NULL;
    state->compressor = ZSTD_createCCtx();
    state->decompressor = ZSTD_createDCtx();
    if (!state->compressor || !state->decompressor) {
        zstd_free_state(state);
        return NULL;
    }
    *slot = state;
    return state;
}

static size_t zstd_bound(const struct stage *stage, size_t len)
{
    (void)stage;
    return len > SSIZE_MAX / 2 ? 0 : ZSTD_compressBound(len);
}

static ssize_t zstd_encode(struct sqy_ctx *ctx, const struct stage *stage, const uint8_t *in,
                           size_t len, uint8_t *out, size_t cap)
{
    const struct zstd_state *state = zstd_state(ctx, stage);
    if (!state)
        return -ENOMEM;
    if (cap < zstd_bound(stage, len))
        return -ENOSPC;
    /* With that much room there is nothing left to fail but an allocation. */
    size_t r = ZSTD_compressCCtx(state->compressor, out, cap, in, len, stage->arg[ARG_LEVEL]);
    return ZSTD_isError(r) ? -ENOMEM : (ssize_t)r;
}

static int zstd_decode(struct sqy_ctx *ctx, const struct stage *stage, const struct stage_coded *in,
                       uint8_t *out, size_t len)
{
    const struct zstd_state *state = zstd_state(ctx, stage);
    if (!state)
        return -ENOMEM;
    size_t r = ZSTD_decompressDCtx(state->decompressor, out, len, in->data, in->len);
    return !ZSTD_isError(r) && r == len ? 0 : -EBADMSG;
}

const struct stage_desc stage_desc_zstd = {
    .name = "zstd",
    .class = STAGE_SINK,
    .args = {[ARG_LEVEL] = {.name = "level", .min = -100, .max = 22, .def = 1}},
    .carriage = SQY_CARRIAGE_ZSTD,
    .bound = zstd_bound,
    .encode = zstd_encode,
    .decode = zstd_decode,
    .free_state = zstd_free_state,
};
