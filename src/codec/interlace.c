/* interlace: the interlaced predictor and coded blocks of what it leaves. Losslessly, for samples of
 * 8 and 16 bits. The coded bytes are described in codec/FORMAT.md. */
#include <errno.h>

#include "base/le.h"
#include "codec/blocks.h"
#include "codec/literal.h"
#include "codec/predict.h"
#include "codec/samples.h"

enum { ARG_ENTROPY };
/* Or SAMPLES_STORED. Without entropy coder, MODE_CODED is an older form. */
enum { MODE_CODED = 1, MODE_LITERAL = 2, MODE_THIN = 3 };
enum { FLAG_FOLLOWS = 1 };

#define HEAD_BYTES 9u /* mode, flags, shift, base, samples */

/* A box on its way. */
struct work {
    struct lattice lattice;
    struct blocks blocks; /* a field for each half */
    struct predict_model model;
    unsigned shift; /* low bits that are 0 in all samples */
};

#define NARROW 32u /* voxels: rows of fewer are coded as one */

/* False where the box is none that this stage codes: it is stored. */
static bool work_measure(struct blocks *blocks, const struct stage *stage,
                         const struct shape *shape)
{
    const size_t width = shape->width / shape->spp;
    const size_t halves[PREDICT_PHASES] = {(width + 1) / 2, width / 2};
    return shape->width % shape->spp == 0 && lattice_bytes(shape) &&
           blocks_measure(blocks, shape->planes * shape->spp * shape->rows, halves,
                          stage->arg[ARG_ENTROPY] ? BLOCKS_CODED : BLOCKS_THIN);
}

static int work_init(struct work *work, struct sqy_ctx *ctx, const struct shape *shape)
{
    const size_t lattice = lattice_bytes(shape);
    uint8_t *memory = ctx_scratch(ctx, 2, lattice + blocks_bytes(&work->blocks));
    if (!memory)
        return -ENOMEM;
    lattice_init(&work->lattice, shape, memory);
    blocks_place(&work->blocks, memory + lattice);
    return 0;
}

/* ---- samples and residuals ---- */

static int16_t *half_at(const struct lattice *lattice, size_t layer, size_t row, unsigned phase)
{
    return phase == PREDICT_EVEN ? lattice_even(lattice, layer, row)
                                 : lattice_odd(lattice, layer, row);
}

static void shift_lattice(const struct lattice *lattice, unsigned shift)
{
    const size_t n = lattice->layers * lattice->rows * 2 * lattice->stride - LATTICE_PAD;
    for (int16_t *v = lattice->halves - 1; shift && v < lattice->halves + n; v++)
        *v = (int16_t)(*v >> shift);
}

static int16_t mean_of_first_row(const struct lattice *lattice)
{
    const int16_t *even = lattice_even(lattice, 0, 0);
    int64_t sum = 0;
    for (size_t i = 0; i < lattice->even; i++)
        sum += even[i];
    return (int16_t)(sum / (int64_t)lattice->even);
}

/* The residuals of a row of all layers, counted through. */
static void predict_row_of(const struct work *work, const struct kernels *k, size_t at)
{
    const struct lattice *lattice = &work->lattice;
    const size_t layer = at / lattice->rows, row = at % lattice->rows;
    struct taps taps;
    for (unsigned phase = 0; phase < PREDICT_PHASES; phase++) {
        const struct field *field = &work->blocks.field[phase];
        predict_row(lattice, &work->model, layer, row, phase, &taps);
        k->residual(&taps, half_at(lattice, layer, row, phase), field->width, field_row(field, at));
    }
}

/* A group is coded when the next one is predicted, because blocks may reach into it. */
static ssize_t encode_box(struct work *work, struct sqy_ctx *ctx, uint8_t *out)
{
    const struct kernels *k = ctx_kernels(ctx);
    const struct blocks *blocks = &work->blocks;
    struct blocks_encoder e;
    size_t row = 0;
    blocks_encode_begin(&e, blocks, out, blocks_bound(blocks));
    for (size_t group = 0; group < blocks->n_groups; group++) {
        for (const size_t end = field_rows_to(&blocks->field[0], group); row < end; row++)
            predict_row_of(work, k, row);
        for (unsigned phase = 0; group + 1 == blocks->n_groups && phase < PREDICT_PHASES; phase++)
            field_fill_up(&blocks->field[phase]);
        if (group)
            blocks_encode_group(&e, k, group - 1);
    }
    blocks_encode_group(&e, k, blocks->n_groups - 1);
    return blocks_encode_end(&e, ctx);
}

static void restore_row_of(const struct work *work, const struct kernels *k, size_t at)
{
    const struct lattice *lattice = &work->lattice;
    const size_t layer = at / lattice->rows, row = at % lattice->rows;
    struct taps taps;
    for (unsigned phase = 0; phase < PREDICT_PHASES; phase++) {
        const struct field *field = &work->blocks.field[phase];
        if (phase == PREDICT_ODD)
            lattice_close_ends(lattice, layer, row);
        predict_row(lattice, &work->model, layer, row, phase, &taps);
        k->restore(&taps, field_row(field, at), field->width, half_at(lattice, layer, row, phase));
    }
    lattice_close_ends(lattice, layer, row);
}

static void shift_row_back(const struct shape *shape, size_t z, size_t row, unsigned shift,
                           uint8_t *out)
{
    const uint16_t flip = samples_flip(shape);
    uint8_t *at = out + (z * shape->rows + row) * shape->width * 2;
    for (size_t i = 0; i < shape->width; i++) {
        const uint16_t v = le_load16(at + 2 * i) ^ flip;
        le_store16(at + 2 * i, (uint16_t)(v << shift) ^ flip);
    }
}

/* Into the box, where the last sample of its voxels is there. */
static void store_row_of(const struct work *work, const struct kernels *k, size_t at, uint8_t *out)
{
    const struct lattice *lattice = &work->lattice;
    const struct shape *shape = lattice->shape;
    const size_t layer = at / lattice->rows, row = at % lattice->rows, z = layer / shape->spp;
    if ((layer + 1) % shape->spp)
        return;
    lattice_store_row(lattice, k, z, row, out);
    if (work->shift)
        shift_row_back(shape, z, row, work->shift, out);
}

static int decode_box(struct work *work, struct sqy_ctx *ctx, const uint8_t *in, size_t len,
                      uint8_t *out)
{
    const struct kernels *k = ctx_kernels(ctx);
    const struct blocks *blocks = &work->blocks;
    struct blocks_decoder d;
    size_t row = 0;
    lattice_set_base(&work->lattice, work->model.base);
    int r = blocks_decode_begin(&d, blocks, ctx, in, len);
    for (size_t group = 0; r >= 0 && group < blocks->n_groups; group++) {
        r = blocks_decode_group(&d, k, group);
        for (const size_t end = field_rows_to(&blocks->field[0], group); r >= 0 && row < end;
             row++) {
            restore_row_of(work, k, row);
            store_row_of(work, k, row, out);
        }
    }
    return r < 0 ? r : blocks_decode_end(&d);
}

/* ---- the head ---- */

static uint8_t mode_of(const struct work *work)
{
    return work->blocks.form == BLOCKS_THIN ? MODE_THIN : MODE_CODED;
}

static size_t head_bytes(bool follows)
{
    size_t taps = PREDICT_EVEN_TAPS + PREDICT_ODD_TAPS;
    size_t one = 2 * taps + 2 * 4;
    return HEAD_BYTES + one + (follows ? one + 2 * 2 * PREDICT_ACROSS_TAPS : 0);
}

static uint8_t *put_weights(uint8_t *at, const struct predict_weights *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++, at += 2)
        le_store16(at, (uint16_t)w->weight[i]);
    le_store32(at, (uint32_t)w->bias);
    return at + 4;
}

static const uint8_t *get_weights(const uint8_t *at, struct predict_weights *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++, at += 2)
        w->weight[i] = (int16_t)le_load16(at);
    w->bias = (int32_t)le_load32(at);
    return at + 4;
}

static void put_head(const struct work *work, uint8_t *out)
{
    const struct predict_model *m = &work->model;
    out[0] = mode_of(work);
    out[1] = m->follows ? FLAG_FOLLOWS : 0;
    out[2] = (uint8_t)work->shift;
    le_store16(out + 3, (uint16_t)m->base);
    le_store32(out + 5, (uint32_t)work->lattice.shape->n);
    uint8_t *at = out + HEAD_BYTES;
    for (unsigned p = 0; p < PREDICT_PHASES; p++)
        at = put_weights(at, &m->within[p], predict_n_taps(p, false));
    for (unsigned p = 0; m->follows && p < PREDICT_PHASES; p++)
        at = put_weights(at, &m->across[p], predict_n_taps(p, true));
}

/* Returns the length of the head. */
static ssize_t get_head(struct work *work, const uint8_t *in, size_t len)
{
    struct predict_model *m = &work->model;
    const struct shape *shape = work->lattice.shape;
    if (len < HEAD_BYTES || in[0] != mode_of(work) || in[1] > FLAG_FOLLOWS ||
        in[2] > (shape->size == 2 ? 15 : 0) || le_load32(in + 5) != (uint32_t)shape->n)
        return -EBADMSG;
    m->follows = in[1] & FLAG_FOLLOWS;
    work->shift = in[2];
    m->base = (int16_t)le_load16(in + 3);
    if (len < head_bytes(m->follows))
        return -EBADMSG;
    const uint8_t *at = in + HEAD_BYTES;
    for (unsigned p = 0; p < PREDICT_PHASES; p++)
        at = get_weights(at, &m->within[p], predict_n_taps(p, false));
    for (unsigned p = 0; m->follows && p < PREDICT_PHASES; p++)
        at = get_weights(at, &m->across[p], predict_n_taps(p, true));
    return (ssize_t)head_bytes(m->follows);
}

/* ---- the stage ---- */

static size_t interlace_bound(const struct stage *stage, const struct shape *box)
{
    const struct shape as = samples_join_rows(box, NARROW), *shape = &as;
    const size_t bytes = shape->n * shape->size;
    struct blocks blocks;
    if (!work_measure(&blocks, stage, shape))
        return 1 + bytes;
    const size_t coded = head_bytes(true) + blocks_bound(&blocks);
    return coded > 1 + bytes ? coded : 1 + bytes;
}

static ssize_t interlace_encode(struct sqy_ctx *ctx, const struct stage *stage,
                                const struct shape *box, const uint8_t *in, uint8_t *out,
                                size_t cap)
{
    const struct shape as = samples_join_rows(box, NARROW), *shape = &as;
    struct work work;
    const struct kernels *k = ctx_kernels(ctx);
    const size_t len = shape->n * shape->size;
    if (cap < interlace_bound(stage, box))
        return -ENOSPC;
    if (!work_measure(&work.blocks, stage, shape))
        return samples_store(shape, in, out);
    int r = work_init(&work, ctx, shape);
    if (r < 0)
        return r;
    lattice_load(&work.lattice, k, in);
    work.shift = samples_common_zeros(shape, in);
    shift_lattice(&work.lattice, work.shift);
    work.model.base = mean_of_first_row(&work.lattice);
    lattice_set_base(&work.lattice, work.model.base);
    predict_fit(&work.lattice, &work.model, work.blocks.form == BLOCKS_THIN);
    put_head(&work, out);
    const size_t head = head_bytes(work.model.follows);
    ssize_t got = encode_box(&work, ctx, out + head);
    if (got < 0 && got != -ENOSPC)
        return got;
    const size_t coded = got > 0 ? head + (size_t)got : SIZE_MAX;
    if (stage->arg[ARG_ENTROPY] && coded < 1 + len)
        return literal_instead(ctx, shape, in, out, coded, MODE_LITERAL);
    return coded < 1 + len ? (ssize_t)coded : samples_store(shape, in, out);
}

static int interlace_decode(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *box,
                            const struct stage_coded *in, uint8_t *out)
{
    const struct shape as = samples_join_rows(box, NARROW), *shape = &as;
    struct work work;
    if (!in->len)
        return -EBADMSG;
    if (in->data[0] == SAMPLES_STORED)
        return samples_restore(shape, in->data, in->len, out);
    if (in->data[0] == MODE_LITERAL)
        return literal_decode(ctx, shape, in->data + 1, in->len - 1, out);
    if (!work_measure(&work.blocks, stage, shape))
        return -EBADMSG;
    if (work.blocks.form == BLOCKS_THIN && in->data[0] == MODE_CODED)
        work.blocks.form = BLOCKS_PLANES;
    int r = work_init(&work, ctx, shape);
    if (r < 0)
        return r;
    ssize_t head = get_head(&work, in->data, in->len);
    if (head < 0)
        return (int)head;
    return decode_box(&work, ctx, in->data + head, in->len - (size_t)head, out);
}

const struct stage_desc stage_desc_interlace = {
    .name = "interlace",
    .about = "predicts in columns of turns and codes what is left; the default",
    .class = STAGE_SINK,
    .args = {[ARG_ENTROPY] = {.name = "entropy", .min = 0, .max = 1, .def = 1}},
    .sizes = 1 | 2,
    .bound_box = interlace_bound,
    .encode_box = interlace_encode,
    .decode_box = interlace_decode,
};
