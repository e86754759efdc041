/* noise: steps of q times the noise that a camera has at a voxel's brightness; codec/FORMAT.md. A
 * pipeline may leave the camera's model open until the voxels are known (sqy_pipeline_with_noise()). */
#include "codec/noise.h"
#include "base/le.h"
#include "codec/kernels.h"
#include "codec/stage.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ARG_Q, ARG_OFFSET, ARG_GAIN, ARG_READ, N_ARGS };

#define FINEST_Q 250 /* thousandths of a sigma: below that a lossless pipeline is hardly larger */
#define N_TABLES 2u  /* kept by a context: stacks take turns */

/* ---- the model in the text ---- */

static bool is_noise(const struct stage *stage)
{
    return stage->desc == &stage_desc_noise;
}

static bool is_open(const struct stage *stage)
{
    return stage->arg[ARG_OFFSET] < 0 || stage->arg[ARG_GAIN] < 0 || stage->arg[ARG_READ] < 0;
}

static const struct stage *find_noise(const struct sqy_pipeline *pipeline)
{
    for (unsigned i = 0; i < pipeline->n_stages; i++)
        if (is_noise(&pipeline->stages[i]))
            return &pipeline->stages[i];
    return NULL;
}

bool sqy_pipeline_wants_noise(const struct sqy_pipeline *pipeline)
{
    const struct stage *stage = find_noise(pipeline);
    return stage && is_open(stage);
}

static double unit(unsigned i)
{
    return i == ARG_GAIN ? 1e-6 : 1e-3;
}

/* Where the text leaves it open. What is too large for the text is less noise than there is. */
static void fill_in(struct stage *stage, unsigned i, double value)
{
    const struct stage_arg *arg = &stage->desc->args[i];
    if (stage->arg[i] < 0)
        stage->arg[i] = (int32_t)lround(fmin(value / unit(i), arg->max));
}

static bool is_model(const struct sqy_noise *noise)
{
    return isfinite(noise->offset) && isfinite(noise->gain) && isfinite(noise->read) &&
           noise->offset >= 0 && noise->gain >= 0 && noise->read >= 0;
}

int sqy_pipeline_with_noise(const struct sqy_pipeline *pipeline, const struct sqy_noise *noise,
                            struct sqy_pipeline **out)
{
    struct sqy_pipeline *filled;
    if (!is_model(noise))
        return -EINVAL;
    int r = pipeline_clone(pipeline, &filled);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < filled->n_stages; i++) {
        if (!is_noise(&filled->stages[i]))
            continue;
        fill_in(&filled->stages[i], ARG_OFFSET, noise->offset);
        fill_in(&filled->stages[i], ARG_GAIN, noise->gain);
        fill_in(&filled->stages[i], ARG_READ, noise->read);
    }
    r = pipeline_write_texts(filled);
    if (r < 0)
        sqy_pipeline_free(&filled);
    else
        *out = filled;
    return r;
}

int sqy_pipeline_noise(const struct sqy_pipeline *pipeline, struct sqy_noise *out)
{
    const struct stage *stage = find_noise(pipeline);
    if (!stage || is_open(stage))
        return -ENODATA;
    *out = (struct sqy_noise){.offset = stage->arg[ARG_OFFSET] * unit(ARG_OFFSET),
                              .gain = stage->arg[ARG_GAIN] * unit(ARG_GAIN),
                              .read = stage->arg[ARG_READ] * unit(ARG_READ)};
    return 0;
}

static struct noise_params params_of(const struct stage *stage, const struct shape *shape)
{
    return (struct noise_params){
        .q = (uint32_t)stage->arg[ARG_Q],
        .offset = (uint32_t)stage->arg[ARG_OFFSET],
        .gain = (uint32_t)stage->arg[ARG_GAIN],
        .read = (uint32_t)stage->arg[ARG_READ],
        .n_values = shape->size == 1 ? UINT8_MAX + 1 : NOISE_VALUES,
        .flip = shape->type == SQY_INT16 ? 0x8000 : 0,
    };
}

/* False also where no two values would share a code any more. */
static bool noise_finer(struct stage *stage)
{
    struct stage finer = *stage;
    const struct shape shape = {.type = SQY_UINT16, .size = 2};
    finer.arg[ARG_Q] /= 2;
    if (finer.arg[ARG_Q] < FINEST_Q)
        return false;
    const struct noise_params params = params_of(&finer, &shape);
    if (!is_open(stage) && noise_variance(&params, UINT16_MAX) < 4 * NOISE_VARIANCE_UNIT)
        return false;
    stage->arg[ARG_Q] = finer.arg[ARG_Q];
    return true;
}

/* ---- tables ---- */

struct tables {
    struct noise_table *table[N_TABLES]; /* the one used last first; the rest NULL */
};

static bool same_params(const struct noise_params *a, const struct noise_params *b)
{
    return a->q == b->q && a->offset == b->offset && a->gain == b->gain && a->read == b->read &&
           a->n_values == b->n_values && a->flip == b->flip;
}

/* Puts `table` first; what was before `gap` moves back by one. */
static void put_first(struct tables *tables, unsigned gap, struct noise_table *table)
{
    for (; gap > 0; gap--)
        tables->table[gap] = tables->table[gap - 1];
    tables->table[0] = table;
}

static struct noise_table *find_table(struct tables *tables, const struct noise_params *params)
{
    unsigned i = 0;
    while (i < N_TABLES - 1 && tables->table[i] && !same_params(&tables->table[i]->params, params))
        i++;
    struct noise_table *table = tables->table[i];
    if (!table && !(table = malloc(sizeof(*table))))
        return NULL;
    if (!tables->table[i] || !same_params(&table->params, params))
        noise_table_build(table, params);
    put_first(tables, i, table);
    return table;
}

/* NULL where memory is out. */
static const struct noise_table *table_of(struct sqy_ctx *ctx, const struct stage *stage,
                                          const struct shape *shape)
{
    void **state = ctx_state(ctx, stage->desc);
    const struct noise_params params = params_of(stage, shape);
    if (!*state)
        *state = calloc(1, sizeof(struct tables));
    return *state ? find_table(*state, &params) : NULL;
}

static void noise_free_state(void *state)
{
    struct tables *tables = state;
    for (unsigned i = 0; i < N_TABLES; i++)
        free(tables->table[i]);
    free(tables);
}

/* ---- the stage ---- */

static void look_up(struct sqy_ctx *ctx, const uint16_t *table, const struct shape *shape,
                    const uint8_t *in, uint8_t *out)
{
    if (shape->size == 2)
        ctx_kernels(ctx)->look_up(table, in, shape->n, out);
    for (size_t i = 0; shape->size == 1 && i < shape->n; i++)
        out[i] = (uint8_t)table[in[i]];
}

static int noise_apply(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                       const uint8_t *in, uint8_t *out)
{
    if (is_open(stage))
        return -ENOTSUP;
    const struct noise_table *table = table_of(ctx, stage, shape);
    if (!table)
        return -ENOMEM;
    look_up(ctx, table->code, shape, in, out);
    return 0;
}

static uint16_t highest(const struct shape *shape, const uint8_t *in)
{
    uint16_t most = 0;
    for (size_t i = 0; i < shape->n; i++) {
        const uint16_t code = shape->size == 1 ? in[i] : le_load16(in + 2 * i);
        most = code > most ? code : most;
    }
    return most;
}

static int noise_undo(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                      const uint8_t *in, uint8_t *out)
{
    if (is_open(stage))
        return -EBADMSG;
    const struct noise_table *table = table_of(ctx, stage, shape);
    if (!table)
        return -ENOMEM;
    if (highest(shape, in) >= table->n_codes)
        return -EBADMSG;
    look_up(ctx, table->sample, shape, in, out);
    return 0;
}

const struct stage_desc stage_desc_noise = {
    .name = "noise",
    .about = "steps of the noise that each value has",
    .class = STAGE_FILTER,
    .args =
        {
            [ARG_Q] = {.name = "q",
                       .kind = STAGE_ARG_DECIMAL,
                       .digits = 3,
                       .min = 100,
                       .max = 16000,
                       .def = 1000},
            [ARG_OFFSET] = {.name = "offset",
                            .kind = STAGE_ARG_DECIMAL,
                            .digits = 3,
                            .max = UINT16_MAX * 1000,
                            .def = -1},
            [ARG_GAIN] = {.name = "gain",
                          .kind = STAGE_ARG_DECIMAL,
                          .digits = 6,
                          .max = 2000000000,
                          .def = -1},
            [ARG_READ] = {.name = "read",
                          .kind = STAGE_ARG_DECIMAL,
                          .digits = 3,
                          .max = UINT16_MAX * 1000,
                          .def = -1},
        },
    .sizes = 1 | 2,
    .types = 1u << SQY_UINT8 | 1u << SQY_UINT16 | 1u << SQY_INT16,
    .voxels_only = true,
    .lossy = true,
    .lossy_boxes = true,
    .codes = true,
    .apply = noise_apply,
    .undo = noise_undo,
    .finer = noise_finer,
    .free_state = noise_free_state,
};
