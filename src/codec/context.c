/* context: slow and small. Every sample is predicted from all that is known around it, how far off
 * that may be is predicted too, and what is left is coded with a distribution that adapts, one for
 * each such class. Losslessly, for samples of 8 and 16 bits. The coded bytes are described in
 * codec/FORMAT.md. */
#include <errno.h>
#include <string.h>

#include "codec/kernels.h"
#include "codec/literal.h"
#include "codec/samples.h"
#include "codec/turns.h"

/* Before there were turns, planes had two bands at most: MODE_TWO_BANDS is only read. */
enum { MODE_TWO_BANDS = 1, MODE_CODED = 2, MODE_LITERAL = 3 }; /* or SAMPLES_STORED */
enum { FLAG_FOLLOWS = 1 };

#define FIXED_HEAD_BYTES 29u /* mode to the energy's constant */
#define NARROW           8u  /* voxels: rows of fewer are coded as one, for their pads' sake */
#define ALIGN            64u

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* Bands and lanes that a mode has at most. */
static unsigned lanes_of(uint8_t mode)
{
    return mode == MODE_TWO_BANDS ? 2 : GRID_BANDS;
}

/* Of the sums of a line. */
static size_t sum_bytes(const struct shape *shape, unsigned lanes)
{
    return aligned(shape->width / shape->spp * grid_bands(shape, lanes) * sizeof(int32_t));
}

/* 0 where the box is none that this stage codes: it is stored. */
static size_t work_bytes(const struct shape *shape, unsigned lanes, bool encodes)
{
    const size_t grid = grid_bytes(shape, lanes);
    size_t list = 0, total = ALIGN + aligned(sizeof(struct tokens)) + 2 * sum_bytes(shape, lanes);
    if (!grid || (encodes && __builtin_mul_overflow(shape->n + ARITH_LANES, 4, &list)) ||
        __builtin_add_overflow(total, list, &total) ||
        __builtin_add_overflow(total, 2 * aligned(grid), &total))
        return 0;
    return total;
}

/* The next `len` bytes, a multiple of ALIGN. */
static void *take(uint8_t **memory, size_t len)
{
    uint8_t *at = *memory;
    *memory += len;
    return at;
}

static int work_init(struct context *work, struct sqy_ctx *ctx, const struct shape *shape,
                     unsigned lanes, bool encodes)
{
    const size_t grid = aligned(grid_bytes(shape, lanes));
    uint8_t *memory = ctx_scratch(ctx, 2, work_bytes(shape, lanes, encodes));
    if (!memory)
        return -ENOMEM;
    memory += aligned((uintptr_t)memory) - (uintptr_t)memory;
    work->tokens = take(&memory, aligned(sizeof(struct tokens)));
    work->sum = take(&memory, sum_bytes(shape, lanes));
    work->e_sum = take(&memory, sum_bytes(shape, lanes));
    grid_init(&work->grid, shape, lanes, take(&memory, grid));
    energy_init(&work->energy, &work->grid, take(&memory, grid));
    work->list = memory;
    work->n_list = 0;
    work->turns = ctx_kernels(ctx)->turns;
    memset(&work->bias, 0, sizeof(work->bias));
    tokens_init(work->tokens);
    return 0;
}

/* ---- samples ---- */

static struct line line_at(const struct context *work, size_t layer, size_t y)
{
    const struct grid *grid = &work->grid;
    const struct causal_weights *w = causal_of(&work->model, layer, y);
    const ptrdiff_t row = (ptrdiff_t)y;
    const unsigned n_bands = grid_n_bands(grid, y);
    return (struct line){.weight = {w->weight[0], w->weight[1]},
                         .e_left = work->energy.model.weight[ENERGY_LEFT],
                         .e_far = work->energy.model.weight[ENERGY_FAR],
                         .at = grid_row(grid, layer, row),
                         .n = grid_row(grid, layer, row - 1),
                         .nn = grid_row(grid, layer, row - 2),
                         .energy = energy_row(&work->energy, layer, row),
                         .width = grid->width,
                         .step = (ptrdiff_t)grid->bands,
                         .n_bands = n_bands,
                         .turn = work->one_by_one ? 1 : n_bands};
}

/* Makes ready what is known before a row. */
static struct line open_row(const struct context *work, size_t layer, size_t y)
{
    const struct grid *grid = &work->grid;
    if (!y) {
        grid_open_layer(grid, layer, work->base);
        energy_open_layer(&work->energy, layer);
    }
    grid_open_row(grid, layer, y);
    energy_open_row(&work->energy, layer, y);
    const struct energy_above above = energy_above(&work->energy, layer, y);
    causal_sum_row(grid, &work->model, work->turns->sum, layer, y, work->sum);
    work->turns->energy_sum(&work->energy, &above, 0, grid->span, work->e_sum);
    return line_at(work, layer, y);
}

static void close_row(const struct context *work, size_t layer, size_t row)
{
    grid_close_row(&work->grid, layer, row);
    energy_close_row(&work->energy, layer, row);
}

/* The length of the bits, the bits, the tokens; -ENOSPC where they do not fit. */
static ssize_t encode_box(struct context *work, uint8_t *out, size_t cap)
{
    const struct grid *grid = &work->grid;
    if (cap < 4)
        return -ENOSPC;
    struct bit_writer bits = {.at = out + 4, .end = out + cap};
    uint8_t *tokens;
    for (size_t at = 0; at < grid->layers * grid->rows; at++) {
        const size_t layer = at / grid->rows, y = at % grid->rows;
        const struct line line = open_row(work, layer, y);
        work->turns->encode(work, &line, &bits);
        close_row(work, layer, y);
    }
    bit_flush(&bits);
    const size_t n_bits = (size_t)(bits.at - out) - 4;
    if (bits.full || n_bits > UINT32_MAX)
        return -ENOSPC;
    const size_t n_tokens = arith_encode(work->list, work->n_list, &tokens);
    if (n_tokens > cap - 4 - n_bits)
        return -ENOSPC;
    le_store32(out, (uint32_t)n_bits);
    memcpy(bits.at, tokens, n_tokens);
    return (ssize_t)(4 + n_bits + n_tokens);
}

static int decode_box(struct context *work, unsigned lanes, const uint8_t *in, size_t len,
                      uint8_t *out)
{
    const struct grid *grid = &work->grid;
    struct arith_reader arith;
    if (len < 4 || le_load32(in) > len - 4)
        return -EBADMSG;
    const size_t n_bits = le_load32(in);
    struct bit_reader bits = {.at = in + 4, .end = in + 4 + n_bits};
    if (!arith_begin(&arith, bits.end, len - 4 - n_bits, lanes))
        return -EBADMSG;
    for (size_t at = 0; at < grid->layers * grid->rows; at++) {
        const size_t layer = at / grid->rows, y = at % grid->rows;
        const struct line line = open_row(work, layer, y);
        work->turns->decode(work, &line, &bits, &arith);
        if (bits.over || arith.over)
            return -EBADMSG;
        close_row(work, layer, y);
        grid_store_row(grid, layer, y, out);
    }
    return bit_ended(&bits) && arith_ended(&arith) ? 0 : -EBADMSG;
}

/* ---- the head ---- */

static size_t weights_bytes(bool across)
{
    return 2 * causal_n_taps(across) + 4;
}

static size_t head_bytes(bool follows)
{
    return FIXED_HEAD_BYTES + weights_bytes(false) + (follows ? weights_bytes(true) : 0);
}

static uint8_t *put_weights(uint8_t *at, const struct causal_weights *w, bool across)
{
    for (unsigned t = 0; t < causal_n_taps(across); t++, at += 2)
        le_store16(at, (uint16_t)w->weight[t]);
    le_store32(at, (uint32_t)w->bias);
    return at + 4;
}

static const uint8_t *get_weights(const uint8_t *at, struct causal_weights *w, bool across)
{
    for (unsigned t = 0; t < causal_n_taps(across); t++, at += 2)
        w->weight[t] = (int16_t)le_load16(at);
    w->bias = (int32_t)le_load32(at);
    return at + 4;
}

static void put_head(const struct context *work, uint8_t *out)
{
    const struct energy_model *e = &work->energy.model;
    out[0] = MODE_CODED;
    out[1] = work->model.follows ? FLAG_FOLLOWS : 0;
    out[2] = (uint8_t)work->grid.shift;
    le_store32(out + 3, (uint32_t)work->grid.shape->n);
    le_store16(out + 7, (uint16_t)work->base);
    le_store16(out + 9, (uint16_t)e->dark);
    le_store16(out + 11, e->start);
    for (unsigned f = 0; f < ENERGY_FEATURES; f++)
        le_store16(out + 13 + 2 * f, (uint16_t)e->weight[f]);
    le_store32(out + 25, (uint32_t)e->constant);
    uint8_t *at = put_weights(out + FIXED_HEAD_BYTES, &work->model.within, false);
    if (work->model.follows)
        put_weights(at, &work->model.across, true);
}

/* Returns the length of the head. */
static ssize_t get_head(struct context *work, const uint8_t *in, size_t len)
{
    struct energy_model *e = &work->energy.model;
    const struct shape *shape = work->grid.shape;
    if (len < FIXED_HEAD_BYTES || in[1] > FLAG_FOLLOWS || in[2] > (shape->size == 2 ? 15 : 0) ||
        le_load32(in + 3) != (uint32_t)shape->n)
        return -EBADMSG;
    work->model.follows = in[1] & FLAG_FOLLOWS;
    work->grid.shift = in[2];
    work->base = (int16_t)le_load16(in + 7);
    e->dark = (int16_t)le_load16(in + 9);
    e->start = le_load16(in + 11);
    for (unsigned f = 0; f < ENERGY_FEATURES; f++)
        e->weight[f] = (int16_t)le_load16(in + 13 + 2 * f);
    e->constant = (int32_t)le_load32(in + 25);
    if (len < head_bytes(work->model.follows))
        return -EBADMSG;
    const uint8_t *at = get_weights(in + FIXED_HEAD_BYTES, &work->model.within, false);
    causal_first(&work->model);
    if (work->model.follows)
        get_weights(at, &work->model.across, true);
    return (ssize_t)head_bytes(work->model.follows);
}

/* ---- what is found out of a box ---- */

static int16_t mean_of_first_row(const struct grid *grid)
{
    const int16_t *row = grid_row(grid, 0, 0);
    int64_t sum = 0;
    for (size_t x = 0; x < grid->span; x++)
        sum += row[x];
    return (int16_t)(sum / (int64_t)grid->span);
}

/* Energies of all samples, as the coder will find them. */
static void measure_energies(const struct context *work)
{
    const struct grid *grid = &work->grid;
    for (size_t layer = 0; layer < grid->layers; layer++) {
        for (size_t y = 0; y < grid->rows; y++) {
            const struct line line = line_at(work, layer, y);
            causal_sum_row(grid, &work->model, work->turns->sum, layer, y, work->sum);
            work->turns->measure(&line, work->sum);
            if (!y)
                energy_open_layer(&work->energy, layer);
            energy_open_row(&work->energy, layer, y);
            energy_close_row(&work->energy, layer, y);
        }
    }
}

static void find_out(struct context *work, const uint8_t *in)
{
    const struct grid *grid = &work->grid;
    work->grid.shift = samples_common_zeros(grid->shape, in);
    grid_load(grid, in);
    work->base = mean_of_first_row(grid);
    for (size_t layer = 0; layer < grid->layers; layer++) {
        grid_open_layer(grid, layer, work->base);
        for (size_t y = 0; y < grid->rows; y++) {
            grid_open_row(grid, layer, y);
            grid_close_row(grid, layer, y);
        }
    }
    causal_fit(grid, &work->model, work->turns->add_window);
    measure_energies(work);
    energy_fit(&work->energy, work->turns->add_window);
}

/* ---- the stage ---- */

static size_t context_bound(const struct stage *stage, const struct shape *shape)
{
    (void)stage;
    return 1 + shape->n * shape->size;
}

static ssize_t context_encode(struct sqy_ctx *ctx, const struct stage *stage,
                              const struct shape *box, const uint8_t *in, uint8_t *out, size_t cap)
{
    const struct shape shape = samples_join_rows(box, NARROW);
    struct context work;
    const size_t len = shape.n * shape.size;
    if (cap < context_bound(stage, box))
        return -ENOSPC;
    if (!work_bytes(&shape, GRID_BANDS, true) || len < head_bytes(true))
        return samples_store(&shape, in, out);
    int r = work_init(&work, ctx, &shape, GRID_BANDS, true);
    if (r < 0)
        return r;
    work.one_by_one = false;
    find_out(&work, in);
    put_head(&work, out);
    const size_t head = head_bytes(work.model.follows);
    ssize_t got = encode_box(&work, out + head, len - head);
    if (got < 0)
        return samples_store(&shape, in, out);
    return literal_instead(ctx, &shape, in, out, head + (size_t)got, MODE_LITERAL);
}

static int context_decode(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *box,
                          const struct stage_coded *in, uint8_t *out)
{
    const struct shape shape = samples_join_rows(box, NARROW);
    struct context work;
    (void)stage;
    if (!in->len)
        return -EBADMSG;
    if (in->data[0] == SAMPLES_STORED)
        return samples_restore(&shape, in->data, in->len, out);
    if (in->data[0] == MODE_LITERAL)
        return literal_decode(ctx, &shape, in->data + 1, in->len - 1, out);
    const unsigned lanes = lanes_of(in->data[0]);
    if (in->data[0] > MODE_CODED || !work_bytes(&shape, lanes, false))
        return -EBADMSG;
    int r = work_init(&work, ctx, &shape, lanes, false);
    if (r < 0)
        return r;
    work.one_by_one = in->data[0] == MODE_TWO_BANDS;
    ssize_t head = get_head(&work, in->data, in->len);
    if (head < 0)
        return (int)head;
    return decode_box(&work, lanes, in->data + head, in->len - (size_t)head, out);
}

const struct stage_desc stage_desc_context = {
    .name = "context",
    .about = "predicts from many neighbours, codes by contexts; slow, for archives",
    .class = STAGE_SINK,
    .sizes = 1 | 2,
    .bound_box = context_bound,
    .encode_box = context_encode,
    .decode_box = context_decode,
};
