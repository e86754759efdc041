#include "codec/stage.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

size_t codec_shape(const struct sqy_box *box, struct shape *out)
{
    size_t size = sqy_type_size(box->type), n, bytes;
    if (!size || !box->planes || !box->rows || !box->width || !box->spp || box->spp > box->width)
        return 0;
    if (__builtin_mul_overflow((size_t)box->planes, box->rows, &n) ||
        __builtin_mul_overflow(n, box->width, &n) || __builtin_mul_overflow(n, size, &bytes) ||
        bytes > SSIZE_MAX)
        return 0;
    *out = (struct shape){.type = box->type,
                          .size = size,
                          .n = n,
                          .planes = box->planes,
                          .rows = box->rows,
                          .width = box->width,
                          .spp = box->spp};
    return bytes;
}

size_t sqy_box_bytes(const struct sqy_box *box)
{
    struct shape shape;
    return codec_shape(box, &shape);
}

/* A volume is coded in one piece, a box perhaps in parts: whichever needs more. */
size_t sqy_encode_bound(const struct sqy_pipeline *pipeline, const struct sqy_box *box)
{
    struct shape shape;
    struct plan plan;
    size_t part_len[SQY_MAX_PARTS], total = 0;
    if (!codec_shape(box, &shape) || plan_make(&plan, pipeline, shape.type) < 0)
        return 0;
    if (plan.tail)
        return 0;
    shape = plan_shape(&plan, &shape, plan.n_filters);
    if (plan.sink->desc->bound_box)
        return plan.sink->desc->bound_box(plan.sink, &shape);
    unsigned n = plan_parts(&plan, &shape, part_len);
    for (unsigned i = 0; i < n; i++) {
        if (!part_len[i])
            continue;
        size_t bound = plan.sink->desc->bound(plan.sink, part_len[i]);
        if (!bound || __builtin_add_overflow(total, bound, &total) || total > SSIZE_MAX)
            return 0;
    }
    size_t whole = plan.sink->desc->bound(plan.sink, shape.n * shape.size);
    return whole && whole < total ? total : whole;
}

/* ---- encoding ---- */

static int apply_filter(struct sqy_ctx *ctx, struct stage *learning, const struct stage *stage,
                        const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    if (learning && stage->desc->learn)
        return stage->desc->learn(ctx, learning, shape, in, out);
    return stage->desc->apply ? stage->desc->apply(ctx, stage, shape, in, out) : -ENOTSUP;
}

/* Runs the filters; *out is the filtered bytes, in scratch memory or `in` itself. `learner` is the
 * pipeline of the plan where its stages may learn, else NULL. */
static int apply_filters(struct sqy_ctx *ctx, const struct plan *plan, struct sqy_pipeline *learner,
                         const struct shape *volume, const uint8_t *in, const uint8_t **out)
{
    for (unsigned i = 0; i < plan->n_filters; i++) {
        const struct stage *stage = plan->filters[i];
        const struct shape shape = plan_shape(plan, volume, i);
        uint8_t *to = ctx_scratch(ctx, i % 2, shape.n * shape.size);
        if (!to)
            return -ENOMEM;
        /* only a stage of the pipeline itself learns, none that stands in for one */
        struct stage *learning =
            learner && stage->desc->learn ? &learner->stages[stage - learner->stages] : NULL;
        int r = apply_filter(ctx, learning, stage, &shape, in, to);
        if (r < 0)
            return r;
        in = to;
    }
    *out = in;
    return 0;
}

static ssize_t encode_sink(struct sqy_ctx *ctx, const struct stage *sink, const struct shape *shape,
                           const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
    if (sink->desc->encode_box)
        return sink->desc->encode_box(ctx, sink, shape, in, out, cap);
    if (sink->desc->encode_items)
        return sink->desc->encode_items(ctx, sink, shape->size, in, len, out, cap);
    return sink->desc->encode(ctx, sink, in, len, out, cap);
}

static ssize_t encode_box(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                          const struct sqy_box *box, const void *in, void *out, size_t out_cap,
                          size_t part_len[SQY_MAX_PARTS], unsigned *n_parts)
{
    struct shape shape;
    struct plan plan;
    const uint8_t *from;
    if (!codec_shape(box, &shape))
        return -EINVAL;
    if (sqy_pipeline_needs_volume(pipeline))
        return -ENOTSUP;
    int r = plan_make(&plan, pipeline, shape.type);
    if (r == 0)
        r = apply_filters(ctx, &plan, NULL, &shape, in, &from);
    if (r < 0)
        return r;
    shape = plan_shape(&plan, &shape, plan.n_filters);
    unsigned n = plan_parts(&plan, &shape, part_len);
    size_t used = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t len = part_len[i];
        if (!len)
            continue;
        ssize_t got =
            encode_sink(ctx, plan.sink, &shape, from, len, (uint8_t *)out + used, out_cap - used);
        if (got < 0)
            return got;
        from += len;
        used += (size_t)got;
        part_len[i] = (size_t)got;
    }
    *n_parts = n;
    return (ssize_t)used;
}

ssize_t sqy_encode_parts(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                         const struct sqy_box *box, const void *in, void *out, size_t out_cap,
                         size_t part_len[SQY_MAX_PARTS], unsigned *n_parts)
{
    if (!sqy_pipeline_is_lossless(pipeline))
        return -ENOTSUP;
    return encode_box(ctx, pipeline, box, in, out, out_cap, part_len, n_parts);
}

ssize_t sqy_encode_lossy(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                         const struct sqy_box *box, const void *in, void *out, size_t out_cap)
{
    size_t part_len[SQY_MAX_PARTS];
    unsigned n_parts;
    if (sqy_pipeline_wants_noise(pipeline))
        return -ENOTSUP;
    return encode_box(ctx, pipeline, box, in, out, out_cap, part_len, &n_parts);
}

ssize_t sqy_encode(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                   const struct sqy_box *box, const void *in, void *out, size_t out_cap)
{
    size_t part_len[SQY_MAX_PARTS];
    unsigned n_parts;
    return sqy_encode_parts(ctx, pipeline, box, in, out, out_cap, part_len, &n_parts);
}

static ssize_t encode_volume(struct sqy_ctx *ctx, struct sqy_pipeline *learner,
                             const struct shape *shape, const uint8_t *in, uint8_t *out,
                             size_t out_cap)
{
    const uint8_t *filtered;
    struct plan plan;
    int r = plan_make(&plan, learner, shape->type);
    if (r == 0 && plan.tail)
        r = -ENOTSUP;
    if (r == 0)
        r = apply_filters(ctx, &plan, learner, shape, in, &filtered);
    if (r == 0)
        r = pipeline_write_texts(learner);
    if (r < 0)
        return r;
    struct shape last = plan_shape(&plan, shape, plan.n_filters);
    last.foreign = true;
    return encode_sink(ctx, plan.sink, &last, filtered, last.n * last.size, out, out_cap);
}

ssize_t sqy_encode_volume(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                          const struct sqy_box *box, const void *in, void *out, size_t out_cap,
                          struct sqy_pipeline **used)
{
    struct sqy_pipeline *learner;
    struct shape shape;
    if (!codec_shape(box, &shape))
        return -EINVAL;
    if (!sqy_pipeline_is_lossless(pipeline) && box->type != SQY_UINT8 && box->type != SQY_UINT16)
        return -ENOTSUP; /* their arithmetic is that of unsigned samples */
    int r = pipeline_clone(pipeline, &learner);
    if (r < 0)
        return r;
    ssize_t got = encode_volume(ctx, learner, &shape, in, out, out_cap);
    ctx_forget_large(ctx);
    if (got < 0)
        sqy_pipeline_free(&learner);
    else
        *used = learner;
    return got;
}

/* ---- decoding ---- */

/* Undoes the filters, the last one first: from `filtered` through scratch memory into `out`. The
 * last but one lies in scratch `next` if it is not the only one. */
static int undo_filters(struct sqy_ctx *ctx, const struct plan *plan, const struct shape *volume,
                        const uint8_t *filtered, unsigned next, uint8_t *out)
{
    for (unsigned i = plan->n_filters; i-- > 0; next = !next) {
        const struct stage *stage = plan->filters[i];
        const struct shape shape = plan_shape(plan, volume, i);
        uint8_t *to = i ? ctx_scratch(ctx, next, shape.n * shape.size) : out;
        if (!to)
            return -ENOMEM;
        int r = stage->desc->undo(ctx, stage, &shape, filtered, to);
        if (r < 0)
            return r;
        filtered = to;
    }
    return 0;
}

/* Undoes the tail, which was given as many bytes as there are samples. */
static int decode_tail(struct sqy_ctx *ctx, const struct stage *tail, size_t len,
                       const struct stage_coded *in, struct stage_coded *out)
{
    uint8_t *bytes = ctx_scratch(ctx, CTX_TAIL, len);
    if (!bytes)
        return -ENOMEM;
    *out = (struct stage_coded){.data = bytes, .len = len, .stale = true};
    return tail->desc->decode(ctx, tail, in, bytes, len);
}

int codec_decode(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                 const struct shape *shape, const struct stage_coded *in, uint8_t *out)
{
    struct plan plan;
    int r = plan_make(&plan, pipeline, shape->type);
    if (r < 0)
        return r;
    const struct shape last = plan_shape(&plan, shape, plan.n_filters);
    const size_t len = last.n * last.size;
    uint8_t *filtered = plan.n_filters ? ctx_scratch(ctx, 0, len) : out;
    if (!filtered)
        return -ENOMEM;
    struct stage_coded inner;
    if (plan.tail) {
        r = decode_tail(ctx, plan.tail, len, in, &inner);
        if (r < 0)
            return r;
        in = &inner;
    }
    r = plan.sink->desc->decode_box
            ? plan.sink->desc->decode_box(ctx, plan.sink, &last, in, filtered)
            : plan.sink->desc->decode(ctx, plan.sink, in, filtered, len);
    if (r < 0)
        return r;
    return undo_filters(ctx, &plan, shape, filtered, 1, out);
}

int sqy_decode(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline, const struct sqy_box *box,
               const void *in, size_t in_len, void *out)
{
    const struct stage_coded coded = {.data = in, .len = in_len};
    struct shape shape;
    if (!codec_shape(box, &shape))
        return -EINVAL;
    return codec_decode(ctx, pipeline, &shape, &coded, out);
}

/* Whether the first planes of a box can be decoded without the others. */
static bool has_prefix(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->n_filters; i++)
        if (!plan->filters[i]->desc->by_sample)
            return false;
    return plan->sink->desc->decodes_prefix && !plan->tail;
}

/* Decodes at least the first `rows` rows, all of the box where that is not possible. */
static int decode_first(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                        const struct sqy_box *box, const void *in, size_t in_len, size_t rows,
                        uint8_t *out)
{
    struct stage_coded coded = {.data = in, .len = in_len};
    struct shape shape;
    struct plan plan;
    codec_shape(box, &shape);
    int r = plan_make(&plan, pipeline, shape.type);
    if (r < 0)
        return r;
    const uint64_t planes = (rows + shape.rows - 1) / shape.rows;
    if (planes < shape.planes && planes && has_prefix(&plan)) {
        coded.prefix = true;
        shape.planes = planes;
        shape.n = (size_t)(planes * shape.rows * shape.width);
    }
    return codec_decode(ctx, pipeline, &shape, &coded, out);
}

int sqy_decode_rows(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline,
                    const struct sqy_box *box, const void *in, size_t in_len, size_t first_row,
                    size_t n_rows, void *out)
{
    const size_t len = sqy_box_bytes(box);
    if (!len)
        return -EINVAL;
    const size_t rows = (size_t)box->planes * box->rows, row = len / rows;
    if (first_row > rows || n_rows > rows - first_row)
        return -EINVAL;
    if (n_rows == rows)
        return sqy_decode(ctx, pipeline, box, in, in_len, out);
    uint8_t *whole = ctx_scratch(ctx, CTX_BOX, len);
    if (!whole)
        return -ENOMEM;
    int r = decode_first(ctx, pipeline, box, in, in_len, first_row + n_rows, whole);
    if (r < 0)
        return r;
    memcpy(out, whole + first_row * row, n_rows * row);
    return 0;
}
