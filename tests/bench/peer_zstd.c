#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

struct state {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
};

static void close_state(void *opaque)
{
    struct state *state = opaque;
    ZSTD_freeCCtx(state->compressor);
    ZSTD_freeDCtx(state->decompressor);
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

static ssize_t encode(const struct peer *peer, void *opaque, const struct peer_image *image,
                      void *out, size_t cap)
{
    struct state *state = opaque;
    size_t len =
        ZSTD_compressCCtx(state->compressor, out, cap, image->voxels, image->bytes, peer->level);
    return ZSTD_isError(len) ? -EIO : (ssize_t)len;
}

static int decode(const struct peer *peer, void *opaque, const void *coded, size_t len,
                  const struct peer_image *image, uint16_t *out)
{
    (void)peer;
    struct state *state = opaque;
    size_t got = ZSTD_decompressDCtx(state->decompressor, out, image->bytes, coded, len);
    return got == image->bytes ? 0 : -EBADMSG;
}

#define ZSTD_PEER(label, strength)                                                                 \
    {                                                                                              \
        .name = label, .level = strength, .open = open_state, .close = close_state,                \
        .bound = bound, .encode = encode, .decode = decode                                         \
    }

const struct peer peers_zstd[] = {
    ZSTD_PEER("zstd 1", 1),
    ZSTD_PEER("zstd 3", 3),
    {.name = NULL},
};
