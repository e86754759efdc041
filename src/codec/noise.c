/* noise: not there yet. */
#include "codec/stage.h"

#include <errno.h>

bool sqy_pipeline_wants_noise(const struct sqy_pipeline *pipeline)
{
    (void)pipeline;
    return false;
}

int sqy_pipeline_with_noise(const struct sqy_pipeline *pipeline, const struct sqy_noise *noise,
                            struct sqy_pipeline **out)
{
    (void)pipeline, (void)noise, (void)out;
    return -ENOTSUP;
}

int sqy_pipeline_noise(const struct sqy_pipeline *pipeline, struct sqy_noise *out)
{
    (void)pipeline, (void)out;
    return -ENODATA;
}

const struct stage_desc stage_desc_noise = {
    .name = "noise",
    .class = STAGE_FILTER,
    .missing = "noise is not built yet",
};
