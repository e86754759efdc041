/* Bytes that belong to no unit, or to none yet, on their way into byte chunks: many small pieces to one. */
#include "volume/core.h"

/* A chunk that is to be cut again and whose pieces lie all over the file ends here: every unit that has one of
 * them decodes all of it. Written in random order, a stack of 256 planes would be decoded 256 times. */
#define TORN_BYTES  (64u << 10)
#define TORN_PIECES 16u

static bool is_full(const struct gather *gather)
{
    const bool torn = gather->flags & BLOB_PROVISIONAL && gather->n_claims >= TORN_PIECES &&
                      gather->total >= TORN_BYTES;
    return torn || gather->total >= gather->stack->volume->config.chunk ||
           gather->n_claims == GATHER_CLAIMS;
}

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
        if (is_full(gather)) {
            int r = gather_flush(gather);
            if (r < 0)
                return r;
        }
        uint64_t room = target - gather->total, len = end - off < room ? end - off : room;
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
