/* context: slow and small. Every sample is predicted from all that is known around it, how far off
 * that may be is predicted too, and what is left is coded with a distribution that adapts, one for
 * each such class. Losslessly, for samples of 8 and 16 bits. The coded bytes are described in
 * codec/FORMAT.md. */
#include <errno.h>
#include <string.h>

#include "codec/arith.h"
#include "codec/bias.h"
#include "codec/samples.h"
#include "codec/tokens.h"

enum { MODE_STORED, MODE_CODED };
enum { FLAG_FOLLOWS = 1 };

#define FIXED_HEAD_BYTES 29u /* mode to the energy's constant */
#define NARROW           8u  /* voxels: rows of fewer are coded as one, for their pads' sake */
#define ESCAPE_BITS      5u  /* of the length of an escaped distance */
#define ESCAPE_MOST      16u
#define LOWEST           1 /* tokens below the middle and above are coded, the outermost escape */
#define HIGHEST          ((int32_t)TOKENS - 2)
#define MIDDLE           ((int32_t)TOKENS / 2)
#define ALIGN            64u

/* A box on its way. What learns while it is coded: bias, tokens, energies. */
struct work {
    struct tokens *tokens;
    struct grid grid;
    struct energy energy;
    struct causal_model model;
    struct bias bias;
    int16_t base;  /* what stands above the first layer */
    uint8_t *list; /* the encoder's tokens */
    size_t n_list;
    int32_t *sum[GRID_BANDS], *e_sum[GRID_BANDS]; /* of a row: of prediction and expected energy */
};

/* What is expected of a sample. */
struct guess {
    unsigned context, low_bits, around;
    int32_t plain, corrected; /* predictions, in units of 2^-3 */
    int32_t most;             /* that the bias learns from */
};

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* 0 where the box is none that this stage codes: it is stored. */
static size_t work_bytes(const struct shape *shape, bool encodes)
{
    const size_t grid = grid_bytes(shape), row = shape->width / shape->spp * sizeof(int32_t);
    size_t list = 0, total = ALIGN + aligned(sizeof(struct tokens)) + 2 * GRID_BANDS * aligned(row);
    if (!grid || (encodes && __builtin_mul_overflow(shape->n + ARITH_LANES, 4, &list)) ||
        __builtin_add_overflow(total, list, &total) ||
        __builtin_add_overflow(total, 2 * aligned(grid), &total))
        return 0;
    return total;
}

static int work_init(struct work *work, struct sqy_ctx *ctx, const struct shape *shape,
                     bool encodes)
{
    const size_t grid = aligned(grid_bytes(shape));
    const size_t row = aligned(shape->width / shape->spp * sizeof(int32_t));
    uint8_t *memory = ctx_scratch(ctx, 2, work_bytes(shape, encodes));
    if (!memory)
        return -ENOMEM;
    memory += aligned((uintptr_t)memory) - (uintptr_t)memory;
    work->tokens = (void *)memory;
    memory += aligned(sizeof(struct tokens));
    for (unsigned band = 0; band < GRID_BANDS; band++, memory += 2 * row) {
        work->sum[band] = (void *)memory;
        work->e_sum[band] = (void *)(memory + row);
    }
    grid_init(&work->grid, shape, memory);
    energy_init(&work->energy, &work->grid, memory += grid);
    work->list = memory + grid;
    memset(&work->bias, 0, sizeof(work->bias));
    tokens_init(work->tokens);
    return 0;
}

/* ---- samples ---- */

/* Where the row at hand and those above lie. */
struct row {
    int16_t weight[CAUSAL_OWN];
    int32_t e_left, e_far;
    int16_t *at;
    const int16_t *n, *nn;
    uint16_t *energy;
    int32_t *sum, *e_sum;
};

/* Makes ready what is known before a row. */
static struct row open_row(const struct work *work, size_t layer, size_t y)
{
    const struct grid *grid = &work->grid;
    const ptrdiff_t row = (ptrdiff_t)y;
    if (!y) {
        grid_open_layer(grid, layer, work->base);
        energy_open_layer(&work->energy, layer);
    }
    grid_open_row(grid, layer, y);
    energy_open_row(&work->energy, layer, y);
    const size_t band = layer % grid->bands;
    const struct causal_weights *w = causal_of(grid, &work->model, layer, y);
    causal_sum_row(grid, &work->model, layer, y, work->sum[band]);
    energy_sum_row(&work->energy, layer, y, work->e_sum[band]);
    return (struct row){.weight = {w->weight[0], w->weight[1]},
                        .e_left = work->energy.model.weight[ENERGY_LEFT],
                        .e_far = work->energy.model.weight[ENERGY_FAR],
                        .at = grid_row(grid, layer, row),
                        .n = grid_row(grid, layer, row - 1),
                        .nn = grid_row(grid, layer, row - 2),
                        .energy = energy_row(&work->energy, layer, row),
                        .sum = work->sum[band],
                        .e_sum = work->e_sum[band]};
}

static void close_row(const struct work *work, size_t layer, size_t row)
{
    grid_close_row(&work->grid, layer, row);
    energy_close_row(&work->energy, layer, row);
}

static inline struct guess guess(const struct work *work, const struct row *row, size_t x)
{
    struct guess g;
    const unsigned class = energy_class(row->e_sum[x], row->e_left, row->e_far, row->energy + x);
    g.plain = causal_predict(row->weight, row->sum[x], row->at + x);
    g.around = bias_context(class, g.plain, row->at + x, row->n + x, row->nn + x);
    g.corrected = bias_correct(&work->bias, g.around, g.plain);
    g.low_bits = tokens_low_bits(class);
    g.context = class * TOKENS_FRACTIONS +
                ((unsigned)(g.corrected >> (g.low_bits + 1)) & (TOKENS_FRACTIONS - 1));
    g.most = (energy_size(class) * 5 >> 5) + 4;
    return g;
}

/* The count that token MIDDLE begins with. */
static inline int32_t middle_of(const struct guess *g)
{
    return (g->corrected >> (CAUSAL_FRACTION + g->low_bits)) * (1 << g->low_bits);
}

static inline void learn(struct work *work, const struct row *row, size_t x, const struct guess *g,
                         unsigned token)
{
    const int32_t off = row->at[x] * (1 << CAUSAL_FRACTION) - g->plain;
    row->energy[x] = energy_of(row->at[x], g->plain);
    bias_learn(&work->bias, g->around, off, g->most);
    tokens_meet(work->tokens, g->context, token);
}

/* How many of the bands from `layer` on have a row `y`. */
static unsigned n_bands_at(const struct grid *grid, size_t layer, size_t y)
{
    return y < grid_rows(grid, layer + grid->bands - 1) ? (unsigned)grid->bands : 1;
}

/* ---- encoding ---- */

/* What an outermost token leaves open: how far beyond it the distance lies. */
static void put_escape(struct bit_writer *bits, uint32_t beyond)
{
    const unsigned n = 31u - (unsigned)__builtin_clz(beyond);
    bit_put(bits, n, ESCAPE_BITS);
    bit_put(bits, beyond - (1u << n), n);
}

static inline void encode_sample(struct work *work, const struct row *row, size_t x, unsigned lane,
                                 struct bit_writer *bits)
{
    const struct guess g = guess(work, row, x);
    const int32_t off = row->at[x] - middle_of(&g);
    const int32_t distance = (off >> g.low_bits) + MIDDLE;
    const unsigned token = distance < LOWEST    ? 0
                           : distance > HIGHEST ? TOKENS - 1
                                                : (unsigned)distance;
    const uint32_t start = (uint32_t)work->tokens->bound[g.context][token];
    const uint32_t end = tokens_end(work->tokens, g.context, token);
    le_store32(work->list + 4 * work->n_list++, arith_pack(start, end - start, lane));
    bit_put(bits, (uint32_t)off & ((1u << g.low_bits) - 1), g.low_bits);
    if (token == 0)
        put_escape(bits, (uint32_t)(LOWEST - distance));
    else if (token == TOKENS - 1)
        put_escape(bits, (uint32_t)(distance - HIGHEST));
    learn(work, row, x, &g, token);
}

/* Row `y` of `n` bands: their samples take turns. */
static void encode_rows(struct work *work, size_t layer, size_t y, unsigned n,
                        struct bit_writer *bits)
{
    struct row rows[GRID_BANDS];
    for (unsigned lane = 0; lane < n; lane++)
        rows[lane] = open_row(work, layer + lane, y);
    for (size_t x = 0; x < work->grid.width; x++) {
        encode_sample(work, &rows[0], x, 0, bits);
        if (n > 1)
            encode_sample(work, &rows[1], x, 1, bits);
    }
    for (unsigned lane = 0; lane < n; lane++)
        close_row(work, layer + lane, y);
}

/* The length of the bits, the bits, the tokens; -ENOSPC where they do not fit. */
static ssize_t encode_box(struct work *work, uint8_t *out, size_t cap)
{
    const struct grid *grid = &work->grid;
    if (cap < 4)
        return -ENOSPC;
    struct bit_writer bits = {.at = out + 4, .end = out + cap};
    uint8_t *tokens;
    work->n_list = 0;
    for (size_t layer = 0; layer < grid->layers; layer += grid->bands) {
        for (size_t y = 0; y < grid->rows; y++)
            encode_rows(work, layer, y, n_bands_at(grid, layer, y), &bits);
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

/* ---- decoding ---- */

static int32_t get_escape(struct bit_reader *bits)
{
    const uint32_t n = bit_get(bits, ESCAPE_BITS);
    if (n > ESCAPE_MOST) {
        bits->over = true;
        return 1;
    }
    return (int32_t)(1u << n | bit_get(bits, n));
}

static inline void decode_sample(struct work *work, const struct row *row, size_t x, unsigned lane,
                                 struct bit_reader *bits, struct arith_reader *arith)
{
    const struct guess g = guess(work, row, x);
    const int16_t slot = (int16_t)arith_slot(arith, lane);
    const unsigned token = tokens_find(work->tokens, g.context, slot);
    const uint32_t start = (uint32_t)work->tokens->bound[g.context][token];
    const uint32_t end = tokens_end(work->tokens, g.context, token);
    int32_t distance = (int32_t)token, low = (int32_t)bit_get(bits, g.low_bits);
    arith_take(arith, lane, start, end - start);
    if (token == 0)
        distance = LOWEST - get_escape(bits);
    else if (token == TOKENS - 1)
        distance = HIGHEST + get_escape(bits);
    row->at[x] = (int16_t)(middle_of(&g) + (distance - MIDDLE) * (1 << g.low_bits) + low);
    learn(work, row, x, &g, token);
}

static void decode_rows(struct work *work, size_t layer, size_t y, unsigned n,
                        struct bit_reader *bits, struct arith_reader *arith)
{
    struct row rows[GRID_BANDS];
    struct bit_reader b = *bits; /* copies that a compiler can keep in registers */
    struct arith_reader a = *arith;
    for (unsigned lane = 0; lane < n; lane++)
        rows[lane] = open_row(work, layer + lane, y);
    for (size_t x = 0; x < work->grid.width; x++) {
        decode_sample(work, &rows[0], x, 0, &b, &a);
        if (n > 1)
            decode_sample(work, &rows[1], x, 1, &b, &a);
    }
    for (unsigned lane = 0; lane < n; lane++)
        close_row(work, layer + lane, y);
    *bits = b;
    *arith = a;
}

static int decode_box(struct work *work, const uint8_t *in, size_t len, uint8_t *out)
{
    const struct grid *grid = &work->grid;
    struct arith_reader arith;
    if (len < 4 || le_load32(in) > len - 4)
        return -EBADMSG;
    const size_t n_bits = le_load32(in);
    struct bit_reader bits = {.at = in + 4, .end = in + 4 + n_bits};
    if (!arith_begin(&arith, bits.end, len - 4 - n_bits))
        return -EBADMSG;
    for (size_t at = 0; at < grid->layers / grid->bands * grid->rows; at++) {
        const size_t layer = at / grid->rows * grid->bands, y = at % grid->rows;
        const unsigned n = n_bands_at(grid, layer, y);
        decode_rows(work, layer, y, n, &bits, &arith);
        if (bits.over || arith.over)
            return -EBADMSG;
        for (unsigned lane = 0; lane < n; lane++)
            grid_store_row(grid, layer + lane, y, out);
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

static void put_head(const struct work *work, uint8_t *out)
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
static ssize_t get_head(struct work *work, const uint8_t *in, size_t len)
{
    struct energy_model *e = &work->energy.model;
    const struct shape *shape = work->grid.shape;
    if (len < FIXED_HEAD_BYTES || in[0] != MODE_CODED || in[1] > FLAG_FOLLOWS ||
        in[2] > (shape->size == 2 ? 15 : 0) || le_load32(in + 3) != (uint32_t)shape->n)
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
    for (size_t x = 0; x < grid->width; x++)
        sum += row[x];
    return (int16_t)(sum / (int64_t)grid->width);
}

/* Energies of all samples, as the coder will find them. */
static void measure_energies(const struct work *work)
{
    const struct grid *grid = &work->grid;
    for (size_t layer = 0; layer < grid->layers; layer++) {
        for (size_t y = 0; y < grid_rows(grid, layer); y++) {
            const struct causal_weights *w = causal_of(grid, &work->model, layer, y);
            const int16_t *row = grid_row(grid, layer, (ptrdiff_t)y);
            uint16_t *energy = energy_row(&work->energy, layer, (ptrdiff_t)y);
            causal_sum_row(grid, &work->model, layer, y, work->sum[0]);
            for (size_t x = 0; x < grid->width; x++)
                energy[x] = energy_of(row[x], causal_predict(w->weight, work->sum[0][x], row + x));
            if (!y)
                energy_open_layer(&work->energy, layer);
            energy_open_row(&work->energy, layer, y);
            energy_close_row(&work->energy, layer, y);
        }
    }
}

static void find_out(struct work *work, const uint8_t *in)
{
    const struct grid *grid = &work->grid;
    work->grid.shift = samples_common_zeros(grid->shape, in);
    grid_load(grid, in);
    work->base = mean_of_first_row(grid);
    for (size_t layer = 0; layer < grid->layers; layer++) {
        const size_t rows = grid_rows(grid, layer);
        for (size_t y = 0; y < rows; y++)
            grid_close_row(grid, layer, y);
        grid_open_layer(grid, layer, work->base);
        for (size_t y = 0; y < rows; y++)
            grid_open_row(grid, layer, y);
    }
    causal_fit(grid, &work->model);
    measure_energies(work);
    energy_fit(&work->energy);
}

/* ---- the stage ---- */

static size_t context_bound(const struct stage *stage, const struct shape *shape)
{
    (void)stage;
    return 1 + shape->n * shape->size;
}

static ssize_t store(const uint8_t *in, size_t len, uint8_t *out)
{
    out[0] = MODE_STORED;
    memcpy(out + 1, in, len);
    return (ssize_t)(1 + len);
}

static ssize_t context_encode(struct sqy_ctx *ctx, const struct stage *stage,
                              const struct shape *box, const uint8_t *in, uint8_t *out, size_t cap)
{
    const struct shape shape = samples_join_rows(box, NARROW);
    struct work work;
    const size_t len = shape.n * shape.size;
    if (cap < context_bound(stage, box))
        return -ENOSPC;
    if (!work_bytes(&shape, true) || len < head_bytes(true))
        return store(in, len, out);
    int r = work_init(&work, ctx, &shape, true);
    if (r < 0)
        return r;
    find_out(&work, in);
    put_head(&work, out);
    const size_t head = head_bytes(work.model.follows);
    ssize_t got = encode_box(&work, out + head, len - head);
    return got < 0 ? store(in, len, out) : (ssize_t)head + got;
}

static int context_decode(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *box,
                          const struct stage_coded *in, uint8_t *out)
{
    const struct shape shape = samples_join_rows(box, NARROW);
    struct work work;
    const size_t len = shape.n * shape.size;
    (void)stage;
    if (!in->len)
        return -EBADMSG;
    if (in->data[0] == MODE_STORED) {
        if (in->len != 1 + len)
            return -EBADMSG;
        memcpy(out, in->data + 1, len);
        return 0;
    }
    if (!work_bytes(&shape, false))
        return -EBADMSG;
    int r = work_init(&work, ctx, &shape, false);
    if (r < 0)
        return r;
    ssize_t head = get_head(&work, in->data, in->len);
    if (head < 0)
        return (int)head;
    return decode_box(&work, in->data + head, in->len - (size_t)head, out);
}

const struct stage_desc stage_desc_context = {
    .name = "context",
    .class = STAGE_SINK,
    .sizes = 1 | 2,
    .bound_box = context_bound,
    .encode_box = context_encode,
    .decode_box = context_decode,
};
