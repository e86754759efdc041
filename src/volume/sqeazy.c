#include "volume/sqeazy.h"

#include <errno.h>

#include "volume/scan.h"

#define MAX_RATIO  65536u /* no sink packs tighter */
#define ALWAYS_FIT (64u << 20)

int sqeazy_plan(const struct sqy_header *header, struct tiffout *out)
{
    uint64_t shape[3], bytes;
    int r = scan_header_box(header, shape, &bytes);
    return r < 0 ? r : tiffout_plan((enum layout_type)header->type, shape, out);
}

bool sqeazy_is_plausible(const struct sqy_header *header, const struct tiffout *plan,
                         uint64_t bytes)
{
    uint64_t voxels = plan->plane_bytes * plan->depth;
    return bytes >= header->header_bytes &&
           (voxels <= ALWAYS_FIT || voxels / MAX_RATIO <= bytes - header->header_bytes);
}

int sqeazy_decode(const struct sqy_header *header, const void *payload, size_t payload_len,
                  void *voxels, size_t bytes)
{
    struct sqy_ctx *ctx;
    int r = sqy_ctx_create(&ctx);
    if (r < 0)
        return r;
    r = sqy_decode_volume(ctx, header, payload, payload_len, voxels, bytes);
    sqy_ctx_free(&ctx);
    return r == -EINVAL ? -ENOTSUP : r; /* a pipeline that is not known here */
}
