/* What KLB files are made of. */
#include "peer.h"

#include <bzlib.h>
#include <errno.h>

static size_t bound(const struct peer *peer, void *state, const struct peer_image *image)
{
    (void)peer, (void)state;
    return image->bytes + image->bytes / 100 + 600; /* bzlib's manual, 3.5.1 */
}

static ssize_t encode(const struct peer *peer, void *state, const struct peer_image *image,
                      void *out, size_t cap)
{
    (void)state;
    unsigned len = (unsigned)cap;
    char *in = (char *)(uintptr_t)image->voxels; /* not written to */
    int r = BZ2_bzBuffToBuffCompress(out, &len, in, (unsigned)image->bytes, peer->level, 0, 0);
    return r == BZ_OK ? (ssize_t)len : -EIO;
}

static int decode(const struct peer *peer, void *state, const void *coded, size_t len,
                  const struct peer_image *image, uint16_t *out)
{
    (void)peer, (void)state;
    unsigned got = (unsigned)image->bytes;
    char *in = (char *)(uintptr_t)coded;
    int r = BZ2_bzBuffToBuffDecompress((char *)out, &got, in, (unsigned)len, 0, 0);
    return r == BZ_OK && got == image->bytes ? 0 : -EBADMSG;
}

const struct peer peers_bzip2[] = {
    {.name = "bzip2 9", .level = 9, .bound = bound, .encode = encode, .decode = decode},
    {.name = NULL},
};
