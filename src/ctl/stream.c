#include "ctl/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "volume/pack.h"
#include "volume/receipt.h"

static bool is_video(const char *pipeline)
{
    const char *sink = pipeline;
    for (const char *next = strstr(sink, "->"); next != NULL; next = strstr(sink, "->"))
        sink = next + 2;
    return strncmp(sink, "h264", 4) == 0 || strncmp(sink, "hevc", 4) == 0;
}

static int put_chunk(struct blob *blob, const struct blob_chunk *chunk, stream_put_fn *put,
                     void *ctx, uint64_t *off)
{
    uint32_t tail = chunk->flags & BLOB_LOSSY ? RECEIPT_BYTES : 0;
    if (chunk->coded_len <= tail)
        return -EBADMSG;
    void *coded = malloc(chunk->coded_len);
    int r = coded != NULL ? blob_read(blob, chunk, coded) : -ENOMEM;
    if (r >= 0)
        r = put(ctx, coded, chunk->coded_len - tail, *off);
    free(coded);
    *off += chunk->coded_len - tail;
    return r;
}

int stream_write(struct blob *blob, stream_put_fn *put, void *ctx, uint64_t *plain_off)
{
    struct blob_state state;
    uint64_t off = 0, last = 0;
    int r = 0;
    blob_state(blob, &state);
    for (*plain_off = 0; r >= 0 && *plain_off < state.size;) {
        struct blob_extent extent;
        r = pack_find(blob, *plain_off, &extent);
        if (r < 0)
            break;
        bool voxels = !extent.hole && extent.chunk.box.type != SQY_BYTES;
        const char *text = voxels ? blob_pipeline_text(blob, extent.chunk.pipeline) : NULL;
        if (voxels && (text == NULL || !is_video(text)))
            return -ENOTSUP;
        if (voxels && extent.claim.src == 0 && extent.chunk.coded_off != last) {
            r = put_chunk(blob, &extent.chunk, put, ctx, &off);
            last = extent.chunk.coded_off;
        }
        *plain_off = extent.claim.len < UINT64_MAX - extent.claim.off
                         ? extent.claim.off + extent.claim.len
                         : UINT64_MAX;
    }
    return r < 0 ? r : off > 0 ? 0 : -ENOTSUP;
}
