#include "codec/stage.h"

/* Opaque bytes are not filtered: they have no samples. Samples a filter cannot take are shuffled
 * where it stands, once. Both follow from the type alone, so the decoder needs no telling. */
void plan_make(struct plan *plan, const struct sqy_pipeline *pipeline, enum sqy_type type)
{
    bool shuffled = false;
    *plan = (struct plan){.sink = stage_pass_through()};
    for (unsigned i = 0; i < pipeline->n_stages; i++) {
        const struct stage *stage = &pipeline->stages[i];
        if (stage->desc->class == STAGE_SINK && stage->desc->encode_box &&
            (type == SQY_BYTES || !(stage->desc->sizes & sqy_type_size(type)))) {
            if (type != SQY_BYTES && !shuffled)
                plan->filters[plan->n_filters++] = stage_shuffle();
            plan->sink = stage_zstd();
        } else if (stage->desc->class == STAGE_SINK) {
            plan->sink = stage;
        } else if (type == SQY_BYTES) {
            continue;
        } else if (stage->desc->sizes & sqy_type_size(type)) {
            plan->filters[plan->n_filters++] = stage;
        } else if (!shuffled) {
            plan->filters[plan->n_filters++] = stage_shuffle();
            shuffled = true;
        }
    }
}

unsigned plan_parts(const struct plan *plan, const struct shape *shape,
                    size_t part_len[SQY_MAX_PARTS])
{
    const struct stage *last = plan->n_filters ? plan->filters[plan->n_filters - 1] : NULL;
    if (last && last->desc->parts)
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
    plan_make(&plan, pipeline, type);
    for (unsigned i = 0; i < plan.n_filters && grain; i++) {
        const struct stage_desc *desc = plan.filters[i]->desc;
        size_t own = desc->grain ? desc->grain(plan.filters[i], sqy_type_size(type)) : 1;
        if (!own || (desc->parts && i + 1 < plan.n_filters))
            return 0;
        grain = common_multiple(grain, own);
    }
    return grain;
}

enum sqy_carriage sqy_pipeline_carriage(const struct sqy_pipeline *pipeline)
{
    return pipeline->stages[pipeline->n_stages - 1].desc->carriage;
}

bool sqy_pipeline_is_upstream(const struct sqy_pipeline *pipeline, enum sqy_type type)
{
    if (type != SQY_UINT8 && type != SQY_INT8 && type != SQY_UINT16 && type != SQY_INT16)
        return false;
    for (unsigned i = 0; i < pipeline->n_stages; i++) {
        if (!pipeline->stages[i].desc->upstream)
            return false;
    }
    return sqy_pipeline_carriage(pipeline) != SQY_CARRIAGE_NONE;
}
