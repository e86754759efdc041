/* pass_through: the samples as they are. */
#include "codec/stage.h"

#include <errno.h>
#include <string.h>

static size_t pass_through_bound(const struct stage *stage, size_t len)
{
    (void)stage;
    return len;
}

static ssize_t pass_through_encode(struct sqy_ctx *ctx, const struct stage *stage,
                                   const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
    (void)ctx;
    (void)stage;
    if (len > cap)
        return -ENOSPC;
    memcpy(out, in, len);
    return (ssize_t)len;
}

static int pass_through_decode(struct sqy_ctx *ctx, const struct stage *stage,
                               const struct stage_coded *in, uint8_t *out, size_t len)
{
    (void)ctx;
    (void)stage;
    if (in->len < len || !stage_only_zeros(in, len))
        return -EBADMSG;
    memcpy(out, in->data, len);
    return 0;
}

const struct stage_desc stage_desc_pass_through = {
    .name = "pass_through",
    .about = "the bytes as they are",
    .class = STAGE_SINK,
    .upstream = true,
    .bound = pass_through_bound,
    .encode = pass_through_encode,
    .decode = pass_through_decode,
};
