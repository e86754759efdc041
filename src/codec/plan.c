#include "codec/stage.h"

#include <errno.h>

static bool takes(const struct stage_desc *desc, enum sqy_type type, size_t size)
{
    return desc->sizes & size && (!desc->types || desc->types & 1u << type);
}

/* Opaque bytes are not filtered: they have no samples. Samples a filter cannot take are shuffled
 * where it stands, once. Both follow from the type alone, so the decoder needs no telling. What
 * loses something is never left out so quietly. */
int plan_make(struct plan *plan, const struct sqy_pipeline *pipeline, enum sqy_type type)
{
    size_t size = type == SQY_BYTES ? 0 : sqy_type_size(type); /* of what the next filter sees */
    bool shuffled = false;
    *plan = (struct plan){.sink = stage_pass_through()};
    for (unsigned i = 0; i < pipeline->n_stages; i++) {
        const struct stage *stage = &pipeline->stages[i];
        if (plan->sink == &pipeline->stages[i ? i - 1 : 0]) {
            plan->tail = stage;
        } else if (stage->desc->encode_box && !takes(stage->desc, type, size)) {
            if (stage->desc->lossy)
                return -ENOTSUP;
            if (size && !shuffled)
                plan->filters[plan->n_filters++] = stage_shuffle();
            plan->sink = stage_zstd();
        } else if (stage->desc->class == STAGE_SINK) {
            plan->sink = stage;
        } else if (takes(stage->desc, type, size)) {
            plan->filters[plan->n_filters++] = stage;
            if (stage->desc->narrows)
                plan->n_wide = plan->n_filters;
            size = stage->desc->narrows ? 1 : size;
        } else if (stage->desc->lossy) {
            return -ENOTSUP;
        } else if (size && !shuffled) {
            plan->filters[plan->n_filters++] = stage_shuffle();
            shuffled = true;
        }
    }
    if (!plan->n_wide)
        plan->n_wide = plan->n_filters + 1; /* the sink too */
    return 0;
}

struct shape plan_shape(const struct plan *plan, const struct shape *volume, unsigned i)
{
    struct shape shape = *volume;
    for (unsigned f = 0; f < i && f < plan->n_filters; f++)
        shape.codes |= plan->filters[f]->desc->codes;
    if (shape.codes)
        shape.type = shape.size == 1 ? SQY_UINT8 : SQY_UINT16;
    if (i >= plan->n_wide) {
        shape.type = SQY_UINT8;
        shape.size = 1;
    }
    return shape;
}

unsigned plan_parts(const struct plan *plan, const struct shape *shape,
                    size_t part_len[SQY_MAX_PARTS])
{
    const struct stage *last = plan->n_filters ? plan->filters[plan->n_filters - 1] : NULL;
    if (last && last->desc->parts && !plan->sink->desc->encode_box)
        return last->desc->parts(last, shape, part_len);
    part_len[0] = shape->n * shape->size;
    return 1;
}

static size_t common_multiple(size_t a, size_t b)
{
    size_t x = a, y = b, product;
    while (y) {
        size_t rest = x % y;
        x = y;
        y = rest;
    }
    return __builtin_mul_overflow(a / x, b, &product) ? 0 : product;
}

size_t sqy_pipeline_grain(const struct sqy_pipeline *pipeline, enum sqy_type type)
{
    struct plan plan;
    size_t grain = 1;
    if (plan_make(&plan, pipeline, type) < 0)
        return 0;
    for (unsigned i = 0; i < plan.n_filters && grain; i++) {
        const struct stage_desc *desc = plan.filters[i]->desc;
        size_t own = desc->grain ? desc->grain(plan.filters[i], sqy_type_size(type)) : 1;
        if (!own || desc->whole_volume || (desc->parts && i + 1 < plan.n_filters))
            return 0;
        grain = common_multiple(grain, own);
    }
    return grain;
}

enum sqy_carriage sqy_pipeline_carriage(const struct sqy_pipeline *pipeline)
{
    return pipeline->stages[pipeline->n_stages - 1].desc->carriage;
}

bool sqy_pipeline_is_lossless(const struct sqy_pipeline *pipeline)
{
    for (unsigned i = 0; i < pipeline->n_stages; i++)
        if (pipeline->stages[i].desc->lossy)
            return false;
    return true;
}

bool sqy_pipeline_needs_volume(const struct sqy_pipeline *pipeline)
{
    for (unsigned i = 0; i < pipeline->n_stages; i++) {
        const struct stage_desc *desc = pipeline->stages[i].desc;
        if (desc->whole_volume || (desc->lossy && !desc->lossy_boxes))
            return true;
        if (desc->class == STAGE_SINK && i + 1 < pipeline->n_stages)
            return true; /* a tail: sqeazy's, and only read */
    }
    return false;
}

bool sqy_pipeline_is_sqeazy(const struct sqy_pipeline *pipeline, enum sqy_type type)
{
    if (type != SQY_UINT8 && type != SQY_INT8 && type != SQY_UINT16 && type != SQY_INT16)
        return false;
    for (unsigned i = 0; i < pipeline->n_stages; i++)
        if (!pipeline->stages[i].desc->upstream)
            return false;
    return true;
}

bool sqy_pipeline_is_upstream(const struct sqy_pipeline *pipeline, enum sqy_type type)
{
    for (unsigned i = 0; i < pipeline->n_stages; i++)
        if (pipeline->stages[i].desc->misread)
            return false;
    return sqy_pipeline_is_sqeazy(pipeline, type) &&
           sqy_pipeline_carriage(pipeline) != SQY_CARRIAGE_NONE;
}
