#include "peer.h"

#include <errno.h>
#include <lz4.h>

static size_t bound(const struct peer *peer, void *state, const struct peer_image *image)
{
    (void)peer, (void)state;
    return (size_t)LZ4_compressBound((int)image->bytes);
}

static ssize_t encode(const struct peer *peer, void *state, const struct peer_image *image,
                      void *out, size_t cap)
{
    (void)peer, (void)state;
    int len = LZ4_compress_default((const char *)image->voxels, out, (int)image->bytes, (int)cap);
    return len > 0 ? len : -EIO;
}

static int decode(const struct peer *peer, void *state, const void *coded, size_t len,
                  const struct peer_image *image, uint16_t *out)
{
    (void)peer, (void)state;
    int got = LZ4_decompress_safe(coded, (char *)out, (int)len, (int)image->bytes);
    return got == (int)image->bytes ? 0 : -EBADMSG;
}

const struct peer peers_lz4[] = {
    {.name = "lz4", .bound = bound, .encode = encode, .decode = decode},
    {.name = NULL},
};
