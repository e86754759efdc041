/* What a lossy pipeline tells of itself, and how it comes to lose less. */
#include "codec/stage.h"

#include <errno.h>

unsigned sqy_pipeline_group(const struct sqy_pipeline *pipeline)
{
    unsigned group = 0;
    for (unsigned i = 0; i < pipeline->n_stages; i++) {
        const struct stage *stage = &pipeline->stages[i];
        if (stage->desc->group)
            group = stage->desc->group(stage);
    }
    return group;
}

/* The last stage that can: what is lost behind a quantiser is not known in its units. */
int sqy_pipeline_finer(const struct sqy_pipeline *pipeline, struct sqy_pipeline **out)
{
    struct sqy_pipeline *finer;
    int r = pipeline_clone(pipeline, &finer);
    if (r < 0)
        return r;
    r = -ENOENT;
    for (unsigned i = finer->n_stages; i-- > 0 && r == -ENOENT;) {
        struct stage *stage = &finer->stages[i];
        if (stage->desc->finer && stage->desc->finer(stage))
            r = pipeline_write_texts(finer);
    }
    if (r < 0)
        sqy_pipeline_free(&finer);
    else
        *out = finer;
    return r;
}
