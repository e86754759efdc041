#include "codec/arg.h"
#include "codec/stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned bit(unsigned i)
{
    return 1u << i;
}

/* The arguments that have a value: one bit each. */
static unsigned all_args(const struct stage *stage)
{
    unsigned args = 0;
    for (unsigned i = 0; i < STAGE_MAX_ARGS && stage->desc->args[i].name; i++)
        args |= arg_has_value(stage, i) ? bit(i) : 0;
    return args;
}

/* Those that somebody must have asked for, so that the rest follows. What was learned from voxels
 * nobody asked for. */
static unsigned needed_args(const struct stage *stage)
{
    const struct stage_desc *desc = stage->desc;
    unsigned needed = all_args(stage);
    for (unsigned drop = 0; drop < STAGE_MAX_ARGS && desc->args[drop].name; drop++) {
        if (desc->args[drop].kind == STAGE_ARG_TEXT)
            continue;
        struct stage trial;
        stage_default(&trial, desc);
        for (unsigned i = 0; i < STAGE_MAX_ARGS && desc->args[i].name; i++)
            if (i != drop && needed & bit(i))
                trial.arg[i] = stage->arg[i];
        if (desc->normalise)
            desc->normalise(&trial);
        if (!memcmp(trial.arg, stage->arg, sizeof(trial.arg)))
            needed &= ~bit(drop);
    }
    return needed;
}

static void print_stage(FILE *f, const struct stage *stage, unsigned args)
{
    fputs(stage->desc->name, f);
    for (unsigned i = 0; i < STAGE_MAX_ARGS; i++) {
        if (!(args & bit(i)))
            continue;
        fputc(args & (bit(i) - 1) ? ',' : '(', f);
        arg_print(stage, i, f);
    }
    if (args)
        fputc(')', f);
}

static char *print_pipeline(const struct sqy_pipeline *pipeline, bool in_full)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return NULL;
    for (unsigned i = 0; i < pipeline->n_stages; i++) {
        const struct stage *stage = &pipeline->stages[i];
        if (i)
            fputs("->", f);
        if (stage->desc->print_args) {
            fputs(stage->desc->name, f);
            stage->desc->print_args(stage, in_full, f);
        } else
            print_stage(f, stage, in_full ? all_args(stage) : needed_args(stage));
    }
    bool bad = ferror(f);
    if (fclose(f) || bad) {
        free(text);
        return NULL;
    }
    return text;
}

int pipeline_write_texts(struct sqy_pipeline *pipeline)
{
    free(pipeline->text);
    free(pipeline->short_text);
    pipeline->text = print_pipeline(pipeline, true);
    pipeline->short_text = print_pipeline(pipeline, false);
    return pipeline->text && pipeline->short_text ? 0 : -ENOMEM;
}
