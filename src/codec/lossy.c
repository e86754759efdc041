/* What a lossy pipeline tells of itself, and how it comes to lose less. */
#include "codec/arg.h"
#include "codec/stage.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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

/* Where the argument stands in the text of stage `i`, or the stage's name. */
static size_t position_of(const struct sqy_pipeline *pipeline, unsigned i, const char *name)
{
    const char *at = pipeline->text;
    while (i-- > 0)
        at = strstr(at, "->") + 2;
    const size_t len = strlen(name), stage = strcspn(at, ")");
    for (size_t from = 1; from + len < stage; from++)
        if (strchr("(,", at[from - 1]) && !strncmp(at + from, name, len) && at[from + len] == '=')
            return (size_t)(at - pipeline->text) + from;
    return (size_t)(at - pipeline->text);
}

int sqy_pipeline_check_encoder(const struct sqy_pipeline *pipeline, struct sqy_error *err)
{
    for (unsigned i = 0; i < pipeline->n_stages; i++) {
        const struct stage *stage = &pipeline->stages[i];
        char culprit[STAGE_WORD_MAX], why[ARG_WHY_MAX];
        int r = stage->desc->check_encoder ? stage->desc->check_encoder(stage, culprit, why) : 0;
        if (r < 0 && r != -ENOMEM && err) {
            err->position = position_of(pipeline, i, culprit);
            snprintf(err->message, sizeof(err->message), "%s", why);
        }
        if (r < 0)
            return r;
    }
    return 0;
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
