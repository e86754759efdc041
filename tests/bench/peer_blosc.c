#include "peer.h"

#include <blosc.h>
#include <errno.h>

static size_t bound(const struct peer *peer, void *state, const struct peer_image *image)
{
    (void)peer, (void)state;
    return image->bytes + BLOSC_MAX_OVERHEAD;
}

static ssize_t encode(const struct peer *peer, void *state, const struct peer_image *image,
                      void *out, size_t cap)
{
    (void)state;
    int len = blosc_compress_ctx(peer->level, peer->filter, sizeof(uint16_t), image->bytes,
                                 image->voxels, out, cap, peer->text, 0, 1);
    return len > 0 ? len : -EIO;
}

static int decode(const struct peer *peer, void *state, const void *coded, size_t len,
                  const struct peer_image *image, uint16_t *out)
{
    (void)peer, (void)state, (void)len;
    int got = blosc_decompress_ctx(coded, out, image->bytes, 1);
    return got == (int)image->bytes ? 0 : -EBADMSG;
}

#define BLOSC_PEER(label, filter_, coder, strength)                                                \
    {                                                                                              \
        .name = label, .level = strength, .filter = filter_, .text = coder, .bound = bound,        \
        .encode = encode, .decode = decode                                                         \
    }

const struct peer peers_blosc[] = {
    BLOSC_PEER("blosc shuffle lz4 5", BLOSC_SHUFFLE, "lz4", 5),
    BLOSC_PEER("blosc bitshuffle lz4 5", BLOSC_BITSHUFFLE, "lz4", 5),
    BLOSC_PEER("blosc shuffle zstd 1", BLOSC_SHUFFLE, "zstd", 1),
    BLOSC_PEER("blosc bitshuffle zstd 1", BLOSC_BITSHUFFLE, "zstd", 1),
    BLOSC_PEER("blosc shuffle zstd 5", BLOSC_SHUFFLE, "zstd", 5),
    BLOSC_PEER("blosc bitshuffle zstd 5", BLOSC_BITSHUFFLE, "zstd", 5),
    {.name = NULL},
};
