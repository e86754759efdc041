/* remove_background: a threshold that the user names is taken off. */
#include "codec/background.h"

#include <errno.h>

enum { ARG_THRESHOLD };

static int remove_background_apply(struct sqy_ctx *ctx, const struct stage *stage,
                                   const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    const unsigned threshold = (unsigned)stage->arg[ARG_THRESHOLD];
    if (shape->size == 1 && threshold > UINT8_MAX)
        return -ENOTSUP; /* nobody wants all of it black */
    background_subtract(shape, threshold, in, out);
    return 0;
}

const struct stage_desc stage_desc_remove_background = {
    .name = "remove_background",
    .about = "subtracts a threshold",
    .class = STAGE_FILTER,
    .args = {[ARG_THRESHOLD] = {.name = "threshold", .min = 0, .max = UINT16_MAX, .def = 0}},
    .upstream = true,
    .sizes = 1 | 2,
    .lossy = true,
    .head_only = true,
    .apply = remove_background_apply,
    .undo = background_undo,
};
