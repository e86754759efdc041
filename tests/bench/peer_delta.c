/* What many a home-made format does: the difference to the voxel before, its sign folded in, low
 * and high bytes apart, zstd 1. */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

struct state {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    uint8_t *bytes;
    size_t cap;
};

static void close_state(void *opaque)
{
    struct state *state = opaque;
    ZSTD_freeCCtx(state->compressor);
    ZSTD_freeDCtx(state->decompressor);
    free(state->bytes);
    free(state);
}

static int open_state(const struct peer *peer, void **out)
{
    (void)peer;
    struct state *state = calloc(1, sizeof(*state));
    if (state == NULL)
        return -ENOMEM;
    state->compressor = ZSTD_createCCtx();
    state->decompressor = ZSTD_createDCtx();
    if (state->compressor == NULL || state->decompressor == NULL) {
        close_state(state);
        return -ENOMEM;
    }
    *out = state;
    return 0;
}

static size_t bound(const struct peer *peer, void *state, const struct peer_image *image)
{
    (void)peer, (void)state;
    return ZSTD_compressBound(image->bytes);
}

static uint8_t *reserve(struct state *state, size_t len)
{
    if (state->cap < len) {
        free(state->bytes);
        state->bytes = malloc(len);
        state->cap = state->bytes != NULL ? len : 0;
    }
    return state->bytes;
}

static ssize_t encode(const struct peer *peer, void *opaque, const struct peer_image *image,
                      void *out, size_t cap)
{
    struct state *state = opaque;
    const uint16_t *voxels = image->voxels;
    size_t n = image->bytes / 2;
    uint8_t *low = reserve(state, image->bytes), *high = low + n;
    if (low == NULL)
        return -ENOMEM;
    low[0] = (uint8_t)voxels[0];
    high[0] = (uint8_t)(voxels[0] >> 8);
    for (size_t i = 1; i < n; i++) {
        uint16_t delta = (uint16_t)(voxels[i] - voxels[i - 1]);
        uint16_t folded = (uint16_t)((delta << 1) ^ -(delta >> 15));
        low[i] = (uint8_t)folded;
        high[i] = (uint8_t)(folded >> 8);
    }
    size_t len = ZSTD_compressCCtx(state->compressor, out, cap, low, image->bytes, peer->level);
    return ZSTD_isError(len) ? -EIO : (ssize_t)len;
}

static int decode(const struct peer *peer, void *opaque, const void *coded, size_t len,
                  const struct peer_image *image, uint16_t *out)
{
    (void)peer;
    struct state *state = opaque;
    size_t n = image->bytes / 2;
    uint8_t *low = reserve(state, image->bytes), *high = low + n;
    if (low == NULL)
        return -ENOMEM;
    if (ZSTD_decompressDCtx(state->decompressor, low, image->bytes, coded, len) != image->bytes)
        return -EBADMSG;
    uint16_t last = out[0] = (uint16_t)(low[0] | high[0] << 8);
    for (size_t i = 1; i < n; i++) {
        uint16_t folded = (uint16_t)(low[i] | high[i] << 8);
        last = out[i] = (uint16_t)(last + ((folded >> 1) ^ -(folded & 1)));
    }
    return 0;
}

const struct peer peers_delta[] = {
    {.name = "delta shuffle zstd 1",
     .level = 1,
     .open = open_state,
     .close = close_state,
     .bound = bound,
     .encode = encode,
     .decode = decode},
    {.name = NULL},
};
