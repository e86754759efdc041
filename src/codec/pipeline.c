/* pipe := stage ("->" stage)*    stage := name [ "(" arg ("," arg)* ")" ]    arg := name "=" value
 *
 * No blanks. Filters first, among them at most one that narrows; a sink ends it; one without a sink
 * leaves the filtered samples bare. */
#include "codec/arg.h"
#include "codec/stage.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    const char *text;
    size_t at;
    struct sqy_error *err; /* may be NULL */
};

static int __attribute__((format(printf, 3, 4)))
fail(struct parser *p, size_t at, const char *format, ...)
{
    va_list args;
    if (p->err) {
        p->err->position = at;
        va_start(args, format);
        vsnprintf(p->err->message, sizeof(p->err->message), format, args);
        va_end(args);
    }
    return -EINVAL;
}

static bool accept(struct parser *p, const char *token)
{
    size_t len = strlen(token);
    if (strncmp(p->text + p->at, token, len) != 0)
        return false;
    p->at += len;
    return true;
}

static size_t parse_name(struct parser *p)
{
    size_t len =
        strspn(p->text + p->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    p->at += len;
    return len;
}

static int parse_value(struct parser *p, struct stage *stage, unsigned i)
{
    char why[ARG_WHY_MAX];
    size_t len = 0;
    int r = arg_parse(stage, i, p->text + p->at, &len, why);
    if (r == -EINVAL)
        return fail(p, p->at, "%s", why);
    p->at += len;
    return r;
}

static int parse_arg(struct parser *p, struct stage *stage, unsigned *seen)
{
    const struct stage_desc *desc = stage->desc;
    size_t start = p->at, len = parse_name(p);
    if (!len)
        return fail(p, start, "expected the name of an argument of %s", desc->name);
    unsigned i = 0;
    while (i < STAGE_MAX_ARGS && desc->args[i].name &&
           (strlen(desc->args[i].name) != len ||
            strncmp(desc->args[i].name, p->text + start, len) != 0))
        i++;
    if (i == STAGE_MAX_ARGS || !desc->args[i].name)
        return fail(p, start, "%s has no argument '%.*s'", desc->name, (int)(len < 40 ? len : 40),
                    p->text + start);
    if (*seen & (1u << i))
        return fail(p, start, "%s is given twice", desc->args[i].name);
    *seen |= 1u << i;
    if (!accept(p, "="))
        return fail(p, p->at, "expected '=' after %s", desc->args[i].name);
    return parse_value(p, stage, i);
}

/* A stage that reads its arguments itself. */
static int parse_own_args(struct parser *p, struct stage *stage)
{
    char why[ARG_WHY_MAX];
    size_t len = 0;
    int r = stage->desc->parse_args(stage, p->text + p->at, &len, why);
    p->at += len;
    return r == -EINVAL ? fail(p, p->at, "%s", why) : r;
}

static int parse_args(struct parser *p, struct stage *stage)
{
    if (stage->desc->parse_args)
        return parse_own_args(p, stage);
    unsigned seen = 0;
    do {
        int r = parse_arg(p, stage, &seen);
        if (r < 0)
            return r;
    } while (accept(p, ","));
    if (!accept(p, ")"))
        return fail(p, p->at, "expected ',' or ')'");
    if (stage->desc->normalise)
        stage->desc->normalise(stage);
    return 0;
}

/* Whether a stage may stand where it does; `narrow` where an earlier one has left bytes. */
static int check_place(struct parser *p, size_t at, const struct stage_desc *desc, bool narrow)
{
    if (desc->missing) {
        fail(p, at, "%s", desc->missing);
        return -ENOTSUP;
    }
    if (at && desc->voxels_only)
        return fail(p, at, "%s takes voxels as they were: it comes first", desc->name);
    if (narrow && (desc->head_only || desc->narrows))
        return fail(p, at, "%s takes voxels, and those are codes here", desc->name);
    return 0;
}

static int parse_stage(struct parser *p, struct stage *stage, bool narrow)
{
    size_t start = p->at, len = parse_name(p);
    if (!len)
        return fail(p, start, "expected the name of a stage");
    const struct stage_desc *desc = stage_find(p->text + start, len);
    if (!desc)
        return fail(p, start, "there is no stage '%.*s'", (int)(len < 40 ? len : 40),
                    p->text + start);
    int r = check_place(p, start, desc, narrow);
    if (r < 0)
        return r;
    stage_default(stage, desc);
    return accept(p, "(") ? parse_args(p, stage) : 0;
}

/* lz4 behind a video: sqeazy writes that. */
static bool may_be_tail(const struct stage *sink, const struct stage *stage)
{
    return sink->desc->class == STAGE_SINK && sink->desc->lossy && stage->desc == &stage_desc_lz4;
}

static int parse_stages(struct parser *p, struct sqy_pipeline *pipeline)
{
    const struct stage *last = NULL, *sink = NULL;
    bool narrow = false;
    do {
        const size_t start = p->at;
        if (pipeline->n_stages == PIPELINE_MAX_STAGES)
            return fail(p, p->at, "at most %d stages", PIPELINE_MAX_STAGES);
        last = &pipeline->stages[pipeline->n_stages++];
        int r = parse_stage(p, &pipeline->stages[pipeline->n_stages - 1], narrow);
        if (r < 0)
            return r;
        if (sink && (sink != last - 1 || !may_be_tail(sink, last)))
            return fail(p, start, "nothing can follow %s", last[-1].desc->name);
        sink = sink || last->desc->class != STAGE_SINK ? sink : last;
        narrow = narrow || last->desc->narrows;
    } while (accept(p, "->"));
    if (p->text[p->at])
        return fail(p, p->at, "expected '->' or the end");
    return 0;
}

int sqy_pipeline_parse(const char *text, struct sqy_pipeline **out, struct sqy_error *err)
{
    struct parser p = {.text = text, .err = err};
    struct sqy_pipeline *pipeline = calloc(1, sizeof(*pipeline));
    if (!pipeline)
        return -ENOMEM;
    int r = parse_stages(&p, pipeline);
    if (r < 0)
        goto out;
    r = pipeline_write_texts(pipeline);
    if (r < 0)
        goto out;
    *out = pipeline;
    return 0;
out:
    sqy_pipeline_free(&pipeline);
    return r;
}

int pipeline_clone(const struct sqy_pipeline *pipeline, struct sqy_pipeline **out)
{
    struct sqy_pipeline *clone = calloc(1, sizeof(*clone));
    if (!clone)
        return -ENOMEM;
    for (; clone->n_stages < pipeline->n_stages; clone->n_stages++) {
        const struct stage *from = &pipeline->stages[clone->n_stages];
        struct stage *to = &clone->stages[clone->n_stages];
        *to = *from;
        to->bytes = NULL;
        to->n_bytes = 0;
        if (!from->bytes)
            continue;
        uint8_t *bytes = malloc(from->n_bytes + 1);
        if (!bytes) {
            sqy_pipeline_free(&clone);
            return -ENOMEM;
        }
        memcpy(bytes, from->bytes, from->n_bytes);
        stage_set_bytes(to, bytes, from->n_bytes);
    }
    *out = clone;
    return 0;
}

void sqy_pipeline_free(struct sqy_pipeline **pipeline)
{
    if (!*pipeline)
        return;
    for (unsigned i = 0; i < PIPELINE_MAX_STAGES; i++)
        free((*pipeline)->stages[i].bytes);
    free((*pipeline)->text);
    free((*pipeline)->short_text);
    free(*pipeline);
    *pipeline = NULL;
}

const char *sqy_pipeline_text(const struct sqy_pipeline *pipeline)
{
    return pipeline->text;
}

const char *sqy_pipeline_short(const struct sqy_pipeline *pipeline)
{
    return pipeline->short_text;
}
