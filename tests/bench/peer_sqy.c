/* Our own pipelines. */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>

#include "codec/sqy.h"

struct state {
    struct sqy_ctx *ctx;
    struct sqy_pipeline *pipeline;
};

static void close_state(void *opaque)
{
    struct state *state = opaque;
    sqy_pipeline_free(&state->pipeline);
    sqy_ctx_free(&state->ctx);
    free(state);
}

static int open_state(const struct peer *peer, void **out)
{
    struct state *state = calloc(1, sizeof(*state));
    if (state == NULL)
        return -ENOMEM;
    int r = sqy_pipeline_parse(peer->name, &state->pipeline, NULL);
    if (r == 0)
        r = sqy_ctx_create(&state->ctx);
    if (r < 0) {
        close_state(state);
        return r;
    }
    *out = state;
    return 0;
}

static struct sqy_box box_of(const struct peer_image *image)
{
    return (struct sqy_box){SQY_UINT16, image->planes, image->rows, image->width, 1};
}

static size_t bound(const struct peer *peer, void *opaque, const struct peer_image *image)
{
    (void)peer;
    struct state *state = opaque;
    struct sqy_box box = box_of(image);
    return sqy_encode_bound(state->pipeline, &box);
}

static ssize_t encode(const struct peer *peer, void *opaque, const struct peer_image *image,
                      void *out, size_t cap)
{
    (void)peer;
    struct state *state = opaque;
    struct sqy_box box = box_of(image);
    return sqy_encode(state->ctx, state->pipeline, &box, image->voxels, out, cap);
}

static int decode(const struct peer *peer, void *opaque, const void *coded, size_t len,
                  const struct peer_image *image, uint16_t *out)
{
    (void)peer;
    struct state *state = opaque;
    struct sqy_box box = box_of(image);
    return sqy_decode(state->ctx, state->pipeline, &box, coded, len, out);
}

#define SQY_PEER(pipeline)                                                                         \
    {                                                                                              \
        .name = pipeline, .open = open_state, .close = close_state, .bound = bound,                \
        .encode = encode, .decode = decode                                                         \
    }

struct peer peer_sqy_of(const char *pipeline)
{
    return (struct peer)SQY_PEER(pipeline);
}

const struct peer peers_sqy[] = {
    SQY_PEER("interlace"),
    SQY_PEER("interlace(entropy=0)"),
    SQY_PEER("delta(zigzag=1)->shuffle->zstd"),
    SQY_PEER("bitshuffle->zstd"),
    SQY_PEER("shuffle->zstd"),
    SQY_PEER("bitshuffle->lz4"),
    SQY_PEER("bitswap1->lz4"),
    {.name = NULL},
};
