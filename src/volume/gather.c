/* Bytes that belong to no unit, or to none yet, on their way into byte chunks: many small pieces to one. */
#include "volume/core.h"

int gather_flush(struct gather *gather)
{
    if (gather->n_claims == 0)
        return 0;
    struct sqy_box box = {SQY_BYTES, 1, 1, (uint32_t)gather->total, 1};
    int r = job_start(gather->stack, gather->why, &box, false, gather->flags, gather->claims,
                      gather->n_claims);
    gather->n_claims = 0;
    gather->total = 0;
    return r;
}

int gather_add(struct gather *gather, uint64_t off, uint64_t end)
{
    uint64_t target = gather->stack->volume->config.chunk;
    while (off < end) {
        if (gather->total >= target || gather->n_claims == GATHER_CLAIMS) {
            int r = gather_flush(gather);
            if (r < 0)
                return r;
        }
        uint64_t len = end - off < target - gather->total ? end - off : target - gather->total;
        struct blob_claim *last = &gather->claims[gather->n_claims];
        if (gather->n_claims > 0 && last[-1].off + last[-1].len == off) {
            last[-1].len += len;
        } else {
            *last = (struct blob_claim){off, len, (uint32_t)gather->total};
            gather->n_claims++;
        }
        gather->total += len;
        off += len;
    }
    return 0;
}
