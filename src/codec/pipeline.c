/* pipe := stage ("->" stage)*    stage := name [ "(" arg ("," arg)* ")" ]    arg := name "="
 * integer No blanks. Filters first; a sink ends it; one without a sink leaves the filtered samples
 * bare. */
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

/* Leaves *out outside min..max where there is no such number. */
static void parse_integer(struct parser *p, const struct stage_arg *arg, int64_t *out)
{
    bool negative = accept(p, "-");
    size_t start = p->at;
    int64_t v = 0;
    for (char c; c = p->text[p->at], c >= '0' && c <= '9'; p->at++)
        v = v > INT32_MAX ? v : 10 * v + (c - '0');
    *out = p->at == start ? (int64_t)arg->max + 1 : negative ? -v : v;
}

static int parse_value(struct parser *p, const struct stage_arg *arg, int32_t *out)
{
    size_t start = p->at;
    int64_t v;
    parse_integer(p, arg, &v);
    if (v < arg->min || v > arg->max)
        return fail(p, start, "%s takes an integer from %d to %d", arg->name, (int)arg->min,
                    (int)arg->max);
    if (arg->multiple_of && v % arg->multiple_of)
        return fail(p, start, "%s takes a multiple of %d", arg->name, (int)arg->multiple_of);
    *out = (int32_t)v;
    return 0;
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
    return parse_value(p, &desc->args[i], &stage->arg[i]);
}

static int parse_args(struct parser *p, struct stage *stage)
{
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

static int parse_stage(struct parser *p, struct stage *stage)
{
    size_t start = p->at, len = parse_name(p);
    if (!len)
        return fail(p, start, "expected the name of a stage");
    const struct stage_desc *desc = stage_find(p->text + start, len);
    if (!desc)
        return fail(p, start, "there is no stage '%.*s'", (int)(len < 40 ? len : 40),
                    p->text + start);
    stage_default(stage, desc);
    return accept(p, "(") ? parse_args(p, stage) : 0;
}

static int parse_stages(struct parser *p, struct sqy_pipeline *pipeline)
{
    const struct stage *last = NULL;
    do {
        if (last && last->desc->class == STAGE_SINK)
            return fail(p, p->at, "nothing can follow %s", last->desc->name);
        if (pipeline->n_stages == PIPELINE_MAX_STAGES)
            return fail(p, p->at, "at most %d stages", PIPELINE_MAX_STAGES);
        int r = parse_stage(p, &pipeline->stages[pipeline->n_stages]);
        if (r < 0)
            return r;
        last = &pipeline->stages[pipeline->n_stages++];
    } while (accept(p, "->"));
    if (p->text[p->at])
        return fail(p, p->at, "expected '->' or the end");
    return 0;
}

/* ---- writing it again ---- */

/* The arguments that must be spelled out so that the rest follows: one bit each. */
static unsigned needed_args(const struct stage *stage)
{
    const struct stage_desc *desc = stage->desc;
    unsigned needed = 0, n = 0;
    while (n < STAGE_MAX_ARGS && desc->args[n].name)
        needed |= 1u << n++;
    for (unsigned drop = 0; drop < n; drop++) {
        unsigned fewer = needed & ~(1u << drop);
        struct stage trial = {.desc = desc};
        for (unsigned i = 0; i < n; i++)
            trial.arg[i] = fewer & (1u << i) ? stage->arg[i] : desc->args[i].def;
        if (desc->normalise)
            desc->normalise(&trial);
        if (!memcmp(trial.arg, stage->arg, sizeof(trial.arg)))
            needed = fewer;
    }
    return needed;
}

static void print_stage(FILE *f, const struct stage *stage, unsigned args)
{
    const char *before = "(";
    fputs(stage->desc->name, f);
    for (unsigned i = 0; i < STAGE_MAX_ARGS && stage->desc->args[i].name; i++) {
        if (!(args & (1u << i)))
            continue;
        fprintf(f, "%s%s=%d", before, stage->desc->args[i].name, (int)stage->arg[i]);
        before = ",";
    }
    if (*before == ',')
        fputc(')', f);
}

static char *print_pipeline(const struct sqy_pipeline *pipeline, bool all_args)
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
        print_stage(f, stage, all_args ? ~0u : needed_args(stage));
    }
    bool bad = ferror(f);
    if (fclose(f) || bad) {
        free(text);
        return NULL;
    }
    return text;
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
    r = -ENOMEM;
    pipeline->text = print_pipeline(pipeline, true);
    pipeline->short_text = print_pipeline(pipeline, false);
    if (!pipeline->text || !pipeline->short_text)
        goto out;
    *out = pipeline;
    return 0;
out:
    sqy_pipeline_free(&pipeline);
    return r;
}

void sqy_pipeline_free(struct sqy_pipeline **pipeline)
{
    if (!*pipeline)
        return;
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
