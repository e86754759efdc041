/* What TIFF writers offer: differences along each row (Predictor 2), zlib. A chunk is a strip.
 * Source: TIFF 6.0, section 14. */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

struct state {
    uint16_t *rows;
    size_t cap;
};

static void close_state(void *opaque)
{
    struct state *state = opaque;
    free(state->rows);
    free(state);
}

static int open_state(const struct peer *peer, void **out)
{
    (void)peer;
    *out = calloc(1, sizeof(struct state));
    return *out != NULL ? 0 : -ENOMEM;
}

static size_t bound(const struct peer *peer, void *state, const struct peer_image *image)
{
    (void)peer, (void)state;
    return compressBound(image->bytes);
}

static uint16_t *reserve(struct state *state, size_t len)
{
    if (state->cap < len) {
        free(state->rows);
        state->rows = malloc(len);
        state->cap = state->rows != NULL ? len : 0;
    }
    return state->rows;
}

static ssize_t encode(const struct peer *peer, void *state, const struct peer_image *image,
                      void *out, size_t cap)
{
    const uint16_t *in = image->voxels;
    uint16_t *rows = reserve(state, image->bytes);
    if (rows == NULL)
        return -ENOMEM;
    for (size_t row = 0; row < (size_t)image->planes * image->rows; row++, in += image->width) {
        uint16_t *to = rows + row * image->width;
        to[0] = in[0];
        for (uint32_t x = 1; x < image->width; x++)
            to[x] = (uint16_t)(in[x] - in[x - 1]);
    }
    uLongf len = cap;
    int r = compress2(out, &len, (const Bytef *)rows, image->bytes, peer->level);
    return r == Z_OK ? (ssize_t)len : -EIO;
}

static int decode(const struct peer *peer, void *state, const void *coded, size_t len,
                  const struct peer_image *image, uint16_t *out)
{
    (void)peer, (void)state;
    uLongf got = image->bytes;
    if (uncompress((Bytef *)out, &got, coded, len) != Z_OK || got != image->bytes)
        return -EBADMSG;
    for (size_t row = 0; row < (size_t)image->planes * image->rows; row++, out += image->width)
        for (uint32_t x = 1; x < image->width; x++)
            out[x] = (uint16_t)(out[x] + out[x - 1]);
    return 0;
}

const struct peer peers_deflate[] = {
    {.name = "TIFF deflate 6 predictor",
     .level = 6,
     .open = open_state,
     .close = close_state,
     .bound = bound,
     .encode = encode,
     .decode = decode},
    {.name = NULL},
};
