#include "codec/stage.h"

#include <errno.h>
#include <limits.h>

/* Axes before the last three count as planes. -EBADMSG where there is nothing, or more than memory
 * could ever hold. */
static int volume_shape(const struct sqy_header *header, struct shape *out)
{
    size_t n = 1, bytes;
    *out = (struct shape){.type = header->type, .size = sqy_type_size(header->type), .spp = 1};
    out->planes = out->rows = out->width = 1;
    if (!header->rank || header->rank > SQY_MAX_RANK || !out->size)
        return -EBADMSG;
    for (unsigned i = 0; i < header->rank; i++) {
        unsigned from_last = header->rank - 1 - i;
        uint64_t *axis = from_last == 0 ? &out->width : from_last == 1 ? &out->rows : &out->planes;
        if (!header->shape[i] || __builtin_mul_overflow(n, header->shape[i], &n))
            return -EBADMSG;
        *axis *= header->shape[i];
    }
    if (__builtin_mul_overflow(n, out->size, &bytes) || bytes > SSIZE_MAX)
        return -EBADMSG;
    out->n = n;
    return 0;
}

int sqy_decode_volume(struct sqy_ctx *ctx, const struct sqy_header *header, const void *payload,
                      size_t payload_len, void *out, size_t out_len)
{
    const struct stage_coded coded = {.data = payload, .len = payload_len, .whole = true};
    struct sqy_pipeline *pipeline;
    struct shape shape;
    int r = volume_shape(header, &shape);
    if (r < 0)
        return r;
    if (out_len != shape.n * shape.size)
        return -EINVAL;
    r = sqy_pipeline_parse(header->pipename, &pipeline, NULL);
    if (r < 0)
        return r == -EINVAL ? -ENOTSUP : r;
    r = codec_decode(ctx, pipeline, &shape, &coded, out);
    sqy_pipeline_free(&pipeline);
    ctx_forget_large(ctx);
    return r;
}
