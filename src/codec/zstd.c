/* zstd: zstd frames with their content size, without a checksum (whoever stores chunks sums them).
 */
#define ZSTD_STATIC_LINKING_ONLY /* for the coding of literals, a parameter marked experimental */
#include "codec/huffman.h"
#include "codec/stage.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { ARG_LEVEL };

struct zstd_state {
    ZSTD_CCtx *compressor;
    ZSTD_CCtx *huffman;
    ZSTD_DCtx *decompressor;
};

static void zstd_free_state(void *p)
{
    struct zstd_state *state = p;
    ZSTD_freeCCtx(state->compressor);
    ZSTD_freeCCtx(state->huffman);
    ZSTD_freeDCtx(state->decompressor);
    free(state);
}

/* The fast strategy looks for a match at every `targetLength` bytes: as rarely as it can be told. */
static ZSTD_CCtx *huffman_create(void)
{
    static const struct {
        ZSTD_cParameter what;
        int value;
    } parameters[] = {
        {ZSTD_c_compressionLevel, 1},
        {ZSTD_c_strategy, ZSTD_fast},
        {ZSTD_c_targetLength, 1 << 17},
        {ZSTD_c_windowLog, 18},
        {ZSTD_c_hashLog, 6},
        {ZSTD_c_literalCompressionMode, ZSTD_ps_enable},
        {ZSTD_c_contentSizeFlag, 0},
    };
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    for (size_t i = 0; zstd && i < sizeof(parameters) / sizeof(parameters[0]); i++) {
        if (ZSTD_isError(ZSTD_CCtx_setParameter(zstd, parameters[i].what, parameters[i].value))) {
            ZSTD_freeCCtx(zstd);
            zstd = NULL;
        }
    }
    return zstd;
}

static struct zstd_state *zstd_state(struct sqy_ctx *ctx)
{
    void **slot = ctx_state(ctx, &stage_desc_zstd);
    if (*slot)
        return *slot;
    struct zstd_state *state = calloc(1, sizeof(*state));
    if (!state)
        return NULL;
    state->compressor = ZSTD_createCCtx();
    state->huffman = huffman_create();
    state->decompressor = ZSTD_createDCtx();
    if (!state->compressor || !state->huffman || !state->decompressor) {
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
    const struct zstd_state *state = zstd_state(ctx);
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
    (void)stage;
    const struct zstd_state *state = zstd_state(ctx);
    if (!state)
        return -ENOMEM;
    size_t r = ZSTD_decompressDCtx(state->decompressor, out, len, in->data, in->len);
    return !ZSTD_isError(r) && r == len ? 0 : -EBADMSG;
}

ssize_t huffman_encode(struct sqy_ctx *ctx, const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
    const struct zstd_state *state = zstd_state(ctx);
    if (!state)
        return -ENOMEM;
    if (cap < len)
        return -ENOSPC;
    if (!len)
        return 0;
    size_t r = ZSTD_compress2(state->huffman, out, len, in, len);
    if (!ZSTD_isError(r) && r < len)
        return (ssize_t)r;
    memcpy(out, in, len);
    return (ssize_t)len;
}

int huffman_decode(struct sqy_ctx *ctx, const uint8_t *in, size_t in_len, uint8_t *out, size_t len)
{
    const struct zstd_state *state = zstd_state(ctx);
    if (!state)
        return -ENOMEM;
    if (in_len == len) {
        memcpy(out, in, len);
        return 0;
    }
    size_t r = ZSTD_decompressDCtx(state->decompressor, out, len, in, in_len);
    return !ZSTD_isError(r) && r == len ? 0 : -EBADMSG;
}

const struct stage_desc stage_desc_zstd = {
    .name = "zstd",
    .about = "zstd frames",
    .class = STAGE_SINK,
    .args = {[ARG_LEVEL] = {.name = "level", .min = -100, .max = 22, .def = 1}},
    .carriage = SQY_CARRIAGE_ZSTD,
    .bound = zstd_bound,
    .encode = zstd_encode,
    .decode = zstd_decode,
    .free_state = zstd_free_state,
};
