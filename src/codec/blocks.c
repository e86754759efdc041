#include "codec/blocks.h"

#include <errno.h>
#include <string.h>

#include "base/le.h"
#include "codec/huffman.h"

/* With the entropy coder.
 *
 * Class 0: all 64 residuals are 0. Else class c = 1 + floor(2 log2(sum)). k low bits are stored as
 * they are, so many that what is above has a mean between sqrt(2) and 2 sqrt(2): a number from 0 to
 * 14, or 15 for an escape: then 15 to 269 stand in a byte of a list, and what is more in two bytes of
 * another. A class of many blocks has a stream of its own.
 * Others share: classes that differ by a factor of 2 alone have nearly the same distribution. */
#define CLASS_MAX 44u /* 64 * 65535 squared is less than 2^44 */
#define CLASS_NOISY                                                                                \
    14u /* the first one of mean sqrt(2): from here on there are low bits to store */
#define OWN_BLOCKS 128u /* enough to pay for a code of its own: 4 KiB */
#define N_STREAMS  (SHARED_STREAMS + CLASS_MAX)

enum { SHARED_QUIET, SHARED_NOISY, SHARED_STREAMS = SHARED_NOISY + 2 };

static unsigned class_of(uint32_t sum)
{
    return sum ? 64 - (unsigned)__builtin_clzll((uint64_t)sum * sum) : 0;
}

static unsigned class_bits(unsigned class)
{
    return class < CLASS_NOISY ? 0 : (class - CLASS_NOISY) / 2;
}

/* ---- fields ---- */

#define GUARD 32u /* numbers that a kernel may write beyond a row */

static bool measure_field(struct field *field, size_t rows, size_t width)
{
    size_t n, deep = (rows + LANES - 1) / LANES;
    *field = (struct field){.rows = rows, .width = width, .n_lanes = rows < LANES ? 1 : LANES};
    if (field->n_lanes == 1)
        deep = rows;
    if (__builtin_mul_overflow(deep, width, &field->length) || field->length > SIZE_MAX / 256)
        return false;
    n = field->n_lanes == 1 ? BLOCK : BLOCK / LANES;
    field->n_blocks = (field->length + n - 1) / n;
    field->lanes.step = n;
    field->lanes.stride = field->n_lanes == 1 ? BLOCK / LANES : field->n_blocks * n + GUARD;
    return true;
}

/* Numbers of a field in memory. */
static size_t field_room(const struct field *field)
{
    return field->n_lanes == 1 ? field->n_blocks * BLOCK + GUARD : LANES * field->lanes.stride;
}

bool blocks_measure(struct blocks *blocks, size_t rows, const size_t width[BLOCKS_PARTS])
{
    *blocks = (struct blocks){.n = 0};
    for (unsigned p = 0; p < BLOCKS_PARTS; p++) {
        if (!measure_field(&blocks->field[p], rows, width[p]))
            return false;
        blocks->n += blocks->field[p].n_blocks;
    }
    return true;
}

size_t blocks_bytes(const struct blocks *blocks)
{
    size_t numbers = 0;
    for (unsigned p = 0; p < BLOCKS_PARTS; p++)
        numbers += field_room(&blocks->field[p]);
    return numbers * sizeof(uint16_t) + blocks->n * (BLOCK / 2 + 1 + BLOCK);
}

void blocks_place(struct blocks *blocks, void *memory)
{
    uint16_t *next = memory;
    for (unsigned p = 0; p < BLOCKS_PARTS; p++) {
        blocks->field[p].lanes.z = next;
        next += field_room(&blocks->field[p]);
    }
    blocks->nibbles = (uint8_t *)next;
    blocks->class = blocks->nibbles + blocks->n * BLOCK / 2;
    blocks->escapes = blocks->class + blocks->n;
}

uint16_t *blocks_row(const struct field *field, size_t row)
{
    if (field->n_lanes == 1)
        return field->lanes.z + row * field->width;
    return field->lanes.z + row % LANES * field->lanes.stride + row / LANES * field->width;
}

/* Zeros behind the last row of every lane, up to the end of its last block. */
static void fill_up(const struct field *field)
{
    const size_t most = field->n_blocks * field->lanes.step;
    for (size_t l = 0; l < field->n_lanes; l++) {
        const size_t rows = (field->rows + field->n_lanes - 1 - l) / field->n_lanes;
        uint16_t *lane = field->lanes.z + (field->n_lanes == 1 ? 0 : l * field->lanes.stride);
        memset(lane + rows * field->width, 0, (most - rows * field->width) * sizeof(*lane));
    }
}

/* ---- classes ---- */

/* What the classes say of the rest. */
struct extent {
    uint8_t stream_of[CLASS_MAX + 1]; /* where a class's nibbles go */
    size_t stream[N_STREAMS];         /* bytes of each stream of nibbles */
    size_t planes;                    /* bytes of low bits */
};

static void assign_streams(const size_t count[CLASS_MAX + 1], struct extent *extent)
{
    unsigned next = SHARED_STREAMS;
    for (unsigned c = 1; c <= CLASS_MAX; c++) {
        unsigned s = c < CLASS_NOISY ? SHARED_QUIET : SHARED_NOISY + (c & 1);
        if (count[c] >= OWN_BLOCKS)
            s = next++;
        extent->stream_of[c] = (uint8_t)s;
        extent->stream[s] += BLOCK / 2 * count[c];
    }
}

static int measure(const struct blocks *blocks, bool huffman, struct extent *extent)
{
    size_t count[CLASS_MAX + 1] = {0};
    const unsigned most = huffman ? CLASS_MAX : 16;
    memset(extent, 0, sizeof(*extent));
    for (size_t b = 0; b < blocks->n; b++) {
        if (blocks->class[b] > most)
            return -EBADMSG;
        count[blocks->class[b]]++;
    }
    for (unsigned c = 1; c <= most; c++)
        extent->planes += 8 * count[c] * (huffman ? class_bits(c) : c);
    if (huffman)
        assign_streams(count, extent);
    return 0;
}

static void place_streams(const struct blocks *blocks, const struct extent *extent,
                          uint8_t *at[N_STREAMS])
{
    uint8_t *next = blocks->nibbles;
    for (unsigned s = 0; s < N_STREAMS; s++) {
        at[s] = next;
        next += extent->stream[s];
    }
}

size_t blocks_bound(const struct blocks *blocks)
{
    const size_t each = 1 + 8 * 16 + BLOCK / 2 + BLOCK + 2 * BLOCK;
    return blocks->n * each + 4 * (N_STREAMS + 3);
}

/* ---- escapes ---- */

#define ESCAPE_FIRST 15u
#define ESCAPE_WIDE  255u /* the byte of a number that follows in two */

struct escapes_out {
    uint8_t *byte, *wide; /* where the next one is put */
};

struct escapes_in {
    const uint8_t *byte, *byte_end, *wide, *wide_end; /* what is left to take */
};

static void put_escapes(const struct lanes *lanes, size_t block, unsigned k, uint64_t which,
                        struct escapes_out *to)
{
    for (; which; which &= which - 1) {
        const unsigned v = *lanes_at(lanes, block, (unsigned)__builtin_ctzll(which)) >> k;
        if (v - ESCAPE_FIRST < ESCAPE_WIDE) {
            *to->byte++ = (uint8_t)(v - ESCAPE_FIRST);
            continue;
        }
        *to->byte++ = ESCAPE_WIDE;
        le_store16(to->wide, (uint16_t)v);
        to->wide += 2;
    }
}

static int take_escapes(const struct lanes *lanes, size_t block, unsigned k, uint64_t which,
                        struct escapes_in *from)
{
    for (; which; which &= which - 1) {
        uint16_t *to = lanes_at(lanes, block, (unsigned)__builtin_ctzll(which));
        if (from->byte == from->byte_end)
            return -EBADMSG;
        unsigned v = ESCAPE_FIRST + *from->byte++;
        if (v == ESCAPE_FIRST + ESCAPE_WIDE) {
            if (from->wide_end - from->wide < 2)
                return -EBADMSG;
            v = le_load16(from->wide);
            from->wide += 2;
        }
        *to = (uint16_t)(v << k | (*to & ((1u << k) - 1)));
    }
    return 0;
}

/* ---- blocks ---- */

static void classify(const struct kernels *k, const struct field *field, bool huffman,
                     uint8_t *class)
{
    enum { AT_ONCE = 64 };
    uint32_t sum[AT_ONCE];
    uint16_t bits[AT_ONCE];
    for (size_t b = 0; b < field->n_blocks; b += AT_ONCE) {
        const size_t n = field->n_blocks - b < AT_ONCE ? field->n_blocks - b : AT_ONCE;
        k->sums(&field->lanes, b, n, sum, bits);
        for (size_t i = 0; i < n; i++)
            class[b + i] = (uint8_t)(huffman   ? class_of(sum[i])
                                     : bits[i] ? 32 - (unsigned)__builtin_clz(bits[i])
                                               : 0);
    }
}

/* ---- coded ---- */

static void encode_field(const struct kernels *k, const struct field *field,
                         const struct extent *extent, bool huffman, const uint8_t *class,
                         uint8_t *at[N_STREAMS], uint8_t **planes, struct escapes_out *escapes)
{
    for (size_t b = 0; b < field->n_blocks; b++) {
        if (!huffman) {
            k->split_low(&field->lanes, b, class[b], *planes);
            *planes += 8 * class[b];
        } else if (class[b]) {
            const unsigned bits = class_bits(class[b]);
            uint8_t **nibbles = &at[extent->stream_of[class[b]]];
            uint64_t which = k->pack(&field->lanes, b, bits, *nibbles, *planes);
            *nibbles += BLOCK / 2;
            *planes += 8 * bits;
            if (which)
                put_escapes(&field->lanes, b, bits, which, escapes);
        }
    }
}

/* The room is there: a coded part is no longer than its plain bytes. */
static ssize_t put_coded(struct sqy_ctx *ctx, const uint8_t *in, size_t len, uint8_t *out)
{
    ssize_t r = huffman_encode(ctx, in, len, out + 4, len);
    if (r < 0)
        return r;
    le_store32(out, (uint32_t)r);
    return 4 + r;
}

/* out: classes, low bits, streams, escapes of a byte after their number, wide escapes; each coded
 * part after its length, 4 bytes. */
ssize_t blocks_encode(struct sqy_ctx *ctx, struct blocks *blocks, bool huffman, uint8_t *out,
                      size_t cap)
{
    const struct kernels *k = ctx_kernels(ctx);
    struct extent extent;
    uint8_t *at[N_STREAMS], *class = blocks->class;
    if (cap < blocks_bound(blocks))
        return -ENOSPC;
    for (unsigned p = 0; p < BLOCKS_PARTS; p++) {
        fill_up(&blocks->field[p]);
        classify(k, &blocks->field[p], huffman, class);
        class += blocks->field[p].n_blocks;
    }
    measure(blocks, huffman, &extent);
    place_streams(blocks, &extent, at);
    ssize_t r = put_coded(ctx, blocks->class, blocks->n, out);
    if (r < 0)
        return r;
    uint8_t *planes = out + r, *rest = planes + extent.planes;
    /* wide escapes are few and come last: they wait at the end of the room, and are moved then */
    uint8_t *const wide = out + cap - 2 * BLOCK * blocks->n;
    struct escapes_out escapes = {.byte = blocks->escapes, .wide = wide};
    class = blocks->class;
    for (unsigned p = 0; p < BLOCKS_PARTS; p++) {
        encode_field(k, &blocks->field[p], &extent, huffman, class, at, &planes, &escapes);
        class += blocks->field[p].n_blocks;
    }
    const uint8_t *from = blocks->nibbles;
    for (unsigned s = 0; s < N_STREAMS; s++) {
        if (!extent.stream[s])
            continue;
        r = put_coded(ctx, from, extent.stream[s], rest);
        if (r < 0)
            return r;
        from += extent.stream[s];
        rest += r;
    }
    const size_t n_escapes = (size_t)(escapes.byte - blocks->escapes);
    le_store32(rest, (uint32_t)n_escapes);
    r = put_coded(ctx, blocks->escapes, n_escapes, rest + 4);
    if (r < 0)
        return r;
    rest += 4 + r;
    memmove(rest, wide, (size_t)(escapes.wide - wide));
    return (rest - out) + (escapes.wide - wide);
}

/* Takes the next `len` bytes off the front. */
static const uint8_t *take(const uint8_t **in, size_t *left, size_t len)
{
    const uint8_t *at = *in;
    if (len > *left)
        return NULL;
    *in += len;
    *left -= len;
    return at;
}

static int take_coded(struct sqy_ctx *ctx, const uint8_t **in, size_t *left, uint8_t *out,
                      size_t len)
{
    const uint8_t *coded_len = take(in, left, 4);
    const size_t coded = coded_len ? le_load32(coded_len) : 0;
    const uint8_t *at = take(in, left, coded);
    return coded_len && at ? huffman_decode(ctx, at, coded, out, len) : -EBADMSG;
}

static int decode_field(const struct kernels *k, const struct field *field,
                        const struct extent *extent, bool huffman, const uint8_t *class,
                        uint8_t *at[N_STREAMS], const uint8_t **planes, struct escapes_in *escapes)
{
    for (size_t b = 0; b < field->n_blocks; b++) {
        if (!huffman || !class[b]) {
            k->join_low(*planes, class[b], &field -> lanes, b);
            *planes += 8 * class[b];
            continue;
        }
        const unsigned bits = class_bits(class[b]);
        uint8_t **nibbles = &at[extent->stream_of[class[b]]];
        uint64_t which = k->unpack(*nibbles, *planes, bits, &field->lanes, b);
        *nibbles += BLOCK / 2;
        *planes += 8 * bits;
        if (!which)
            continue;
        int r = take_escapes(&field->lanes, b, bits, which, escapes);
        if (r < 0)
            return r;
    }
    return 0;
}

static int take_escape_bytes(struct sqy_ctx *ctx, const struct blocks *blocks, const uint8_t **in,
                             size_t *left, struct escapes_in *escapes)
{
    const uint8_t *number = take(in, left, 4);
    const size_t n = number ? le_load32(number) : 0;
    if (!number || n > blocks->n * BLOCK)
        return -EBADMSG;
    *escapes = (struct escapes_in){.byte = blocks->escapes, .byte_end = blocks->escapes + n};
    return take_coded(ctx, in, left, blocks->escapes, n);
}

int blocks_decode(struct sqy_ctx *ctx, struct blocks *blocks, bool huffman, const uint8_t *in,
                  size_t len)
{
    struct extent extent;
    struct escapes_in escapes;
    uint8_t *at[N_STREAMS], *class = blocks->class;
    int r = take_coded(ctx, &in, &len, class, blocks->n);
    if (r >= 0)
        r = measure(blocks, huffman, &extent);
    if (r < 0)
        return r;
    const uint8_t *planes = take(&in, &len, extent.planes);
    if (!planes)
        return -EBADMSG;
    place_streams(blocks, &extent, at);
    for (unsigned s = 0; s < N_STREAMS; s++) {
        if (!extent.stream[s])
            continue;
        r = take_coded(ctx, &in, &len, at[s], extent.stream[s]);
        if (r < 0)
            return r;
    }
    r = take_escape_bytes(ctx, blocks, &in, &len, &escapes);
    if (r < 0)
        return r;
    escapes.wide = in;
    escapes.wide_end = in + len;
    for (unsigned p = 0; p < BLOCKS_PARTS; p++) {
        const struct field *field = &blocks->field[p];
        r = decode_field(ctx_kernels(ctx), field, &extent, huffman, class, at, &planes, &escapes);
        if (r < 0)
            return r;
        class += field->n_blocks;
    }
    return escapes.byte == escapes.byte_end && escapes.wide == escapes.wide_end ? 0 : -EBADMSG;
}
