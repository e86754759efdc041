#include "codec/blocks.h"

#include <errno.h>
#include <string.h>

#include "base/le.h"
#include "codec/classes.h"
#include "codec/huffman.h"

/* With the entropy coder: an escape, 15 to 269, stands in a byte of a list, and what is more in two
 * bytes of another. A class of many blocks has a stream of its own; others share, as classes that
 * differ by a factor of 2 alone have nearly the same distribution. */
#define OWN_BLOCKS 128u /* enough to pay for a code of its own: 4 KiB */
#define N_STREAMS  (SHARED_STREAMS + CLASS_MAX)

enum { SHARED_QUIET, SHARED_NOISY, SHARED_STREAMS = SHARED_NOISY + 2 };

_Static_assert(N_STREAMS <= 64 && CLASS_MAX < 64, "they fit struct blocks_decoder");

#define NIBBLE_BYTES (BLOCK / 2u) /* of a block */

/* ---- memory ---- */

bool blocks_measure(struct blocks *blocks, size_t rows, const size_t width[BLOCKS_FIELDS],
                    enum blocks_form form)
{
    bool one_lane = rows < LANES;
    *blocks = (struct blocks){.form = form};
    for (unsigned f = 0; f < BLOCKS_FIELDS; f++)
        one_lane |= width[f] < BLOCK / LANES;
    for (unsigned f = 0; f < BLOCKS_FIELDS; f++) {
        if (!field_measure(&blocks->field[f], rows, width[f], one_lane))
            return false;
        blocks->n += blocks->field[f].n_blocks;
    }
    blocks->n_groups = blocks->field[0].n_groups;
    return blocks->n <= UINT32_MAX / BLOCK; /* lengths are stored in 32 bits */
}

size_t blocks_bytes(const struct blocks *blocks)
{
    size_t numbers = 0;
    for (unsigned f = 0; f < BLOCKS_FIELDS; f++)
        numbers += field_room(&blocks->field[f]);
    return numbers * sizeof(uint16_t) + blocks->n * (1 + 2 * NIBBLE_BYTES + 3 * BLOCK);
}

void blocks_place(struct blocks *blocks, void *memory)
{
    uint16_t *next = memory;
    for (unsigned f = 0; f < BLOCKS_FIELDS; f++) {
        blocks->field[f].lanes.z = next;
        next += field_room(&blocks->field[f]);
    }
    blocks->nibbles = (uint8_t *)next;
    blocks->streams = blocks->nibbles + blocks->n * NIBBLE_BYTES;
    blocks->escapes = blocks->streams + blocks->n * NIBBLE_BYTES;
    blocks->wide = blocks->escapes + blocks->n * BLOCK;
    blocks->class = blocks->wide + blocks->n * 2 * BLOCK;
}

/* ---- streams ---- */

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
        extent->stream[s] += NIBBLE_BYTES * count[c];
    }
}

/* Planes that are stored of a block. */
static unsigned class_planes(const struct blocks *blocks, unsigned class)
{
    return blocks->form == BLOCKS_PLANES ? class : class_bits(class);
}

static int measure(const struct blocks *blocks, struct extent *extent)
{
    const unsigned most = blocks->form == BLOCKS_PLANES ? 16 : CLASS_MAX;
    size_t count[CLASS_MAX + 1] = {0};
    memset(extent, 0, sizeof(*extent));
    for (size_t b = 0; b < blocks->n; b++) {
        if (blocks->class[b] > most)
            return -EBADMSG;
        count[blocks->class[b]]++;
    }
    for (unsigned c = 1; c <= most; c++)
        extent->planes += 8 * count[c] * class_planes(blocks, c);
    if (blocks->form == BLOCKS_CODED)
        assign_streams(count, extent);
    return 0;
}

static int check_thin_classes(const struct blocks *blocks)
{
    bool bad = false;
    for (size_t b = 0; b < blocks->n; b++) {
        const unsigned c = blocks->class[b];
        bad |= c >= THIN_CLASSES || c == THIN;
    }
    return bad ? -EBADMSG : 0;
}

static void place_streams(const struct blocks *blocks, const struct extent *extent,
                          uint8_t *at[N_STREAMS])
{
    uint8_t *next = blocks->streams;
    for (unsigned s = 0; s < N_STREAMS; s++) {
        at[s] = next;
        next += extent->stream[s];
    }
}

/* ---- encoding: low bits, classes, streams, escapes of a byte after their number, wide ones; each
 * part after its length, 4 bytes, but for the last ---- */

#define ESCAPE_FIRST CLASS_ESCAPE
#define ESCAPE_WIDE  255u /* the byte of a number that follows in two */

/* Planes take 2 BLOCK bytes of a block at most, and kernels write no more than that. */
size_t blocks_bound(const struct blocks *blocks)
{
    return blocks->n * 3 * BLOCK + 4 * (N_STREAMS + 4);
}

void blocks_encode_begin(struct blocks_encoder *e, const struct blocks *blocks, uint8_t *out,
                         size_t cap)
{
    *e = (struct blocks_encoder){.blocks = blocks,
                                 .out = out,
                                 .end = out + cap,
                                 .planes = out + 4,
                                 .escape = blocks->escapes,
                                 .wide = blocks->wide};
}

static void put_escapes(struct blocks_encoder *e, const struct lanes *lanes, size_t block,
                        unsigned k, uint64_t which)
{
    for (; which; which &= which - 1) {
        const unsigned v = *lanes_at(lanes, block, (unsigned)__builtin_ctzll(which)) >> k;
        if (v - ESCAPE_FIRST < ESCAPE_WIDE) {
            *e->escape++ = (uint8_t)(v - ESCAPE_FIRST);
            continue;
        }
        *e->escape++ = ESCAPE_WIDE;
        le_store16(e->wide, (uint16_t)v);
        e->wide += 2;
    }
}

static void encode_block(struct blocks_encoder *e, const struct kernels *k,
                         const struct lanes *lanes, size_t block, unsigned class)
{
    const unsigned planes = class_bits(class);
    if (!class)
        return;
    uint64_t which =
        k->pack(lanes, block, planes, e->blocks->nibbles + e->at * NIBBLE_BYTES, e->planes);
    if (which)
        put_escapes(e, lanes, block, planes, which);
    e->planes += 8 * planes;
}

#define RUN 64u /* blocks whose classes are found at a time */

static void encode_run(struct blocks_encoder *e, const struct kernels *k, const struct lanes *lanes,
                       size_t first, size_t n)
{
    uint8_t *class = e->blocks->class + e->at;
    uint32_t sum[RUN];
    if (e->blocks->form == BLOCKS_THIN) {
        e->planes += k->thin(lanes, first, n, class, e->planes);
        e->at += n;
        return;
    }
    k->sums(lanes, first, n, sum);
    for (size_t i = 0; i < n; i++)
        class[i] = (uint8_t)class_of(sum[i]);
    for (size_t i = 0; i < n; i++, e->at++)
        encode_block(e, k, lanes, first + i, class[i]);
}

void blocks_encode_group(struct blocks_encoder *e, const struct kernels *k, size_t group)
{
    for (unsigned f = 0; f < BLOCKS_FIELDS; f++) {
        const struct field *field = &e->blocks->field[f];
        const size_t end = field_blocks_to(field, group);
        while (e->in_field[f] < end) {
            const size_t left = end - e->in_field[f], n = left < RUN ? left : RUN;
            encode_run(e, k, &field->lanes, e->in_field[f], n);
            e->in_field[f] += n;
        }
    }
}

static int put_number(struct blocks_encoder *e, uint8_t **to, size_t number)
{
    if (e->end - *to < 4)
        return -ENOSPC;
    le_store32(*to, (uint32_t)number);
    *to += 4;
    return 0;
}

static int put_coded(struct blocks_encoder *e, struct sqy_ctx *ctx, const uint8_t *in, size_t len,
                     uint8_t **to)
{
    uint8_t *length = *to;
    int r = put_number(e, to, 0);
    if (r < 0)
        return r;
    ssize_t got = huffman_encode(ctx, in, len, *to, (size_t)(e->end - *to));
    if (got < 0)
        return (int)got;
    le_store32(length, (uint32_t)got);
    *to += got;
    return 0;
}

static void sort_nibbles(const struct blocks *blocks, const struct extent *extent)
{
    uint8_t *at[N_STREAMS];
    place_streams(blocks, extent, at);
    for (size_t b = 0; b < blocks->n; b++) {
        if (!blocks->class[b])
            continue;
        uint8_t **to = &at[extent->stream_of[blocks->class[b]]];
        memcpy(*to, blocks->nibbles + b * NIBBLE_BYTES, NIBBLE_BYTES);
        *to += NIBBLE_BYTES;
    }
}

static int put_streams(struct blocks_encoder *e, struct sqy_ctx *ctx, const struct extent *extent,
                       uint8_t **to)
{
    const uint8_t *from = e->blocks->streams;
    for (unsigned s = 0; s < N_STREAMS; s++) {
        int r = extent->stream[s] ? put_coded(e, ctx, from, extent->stream[s], to) : 0;
        if (r < 0)
            return r;
        from += extent->stream[s];
    }
    return 0;
}

static int put_escape_lists(struct blocks_encoder *e, struct sqy_ctx *ctx, uint8_t **to)
{
    const size_t n = (size_t)(e->escape - e->blocks->escapes);
    const size_t wide = (size_t)(e->wide - e->blocks->wide);
    int r = put_number(e, to, n);
    if (r >= 0)
        r = put_coded(e, ctx, e->blocks->escapes, n, to);
    if (r >= 0 && (size_t)(e->end - *to) < wide)
        r = -ENOSPC;
    if (r < 0)
        return r;
    memcpy(*to, e->blocks->wide, wide);
    *to += wide;
    return 0;
}

ssize_t blocks_encode_end(struct blocks_encoder *e, struct sqy_ctx *ctx)
{
    const struct blocks *blocks = e->blocks;
    uint8_t *to = e->planes;
    const size_t n_planes = (size_t)(to - e->out - 4);
    struct extent extent;
    if (n_planes > UINT32_MAX)
        return -ENOSPC;
    le_store32(e->out, (uint32_t)n_planes);
    int r = put_coded(e, ctx, blocks->class, blocks->n, &to);
    if (r < 0 || blocks->form == BLOCKS_THIN)
        return r < 0 ? r : to - e->out;
    measure(blocks, &extent);
    sort_nibbles(blocks, &extent);
    r = put_streams(e, ctx, &extent, &to);
    if (r >= 0)
        r = put_escape_lists(e, ctx, &to);
    return r < 0 ? r : to - e->out;
}

/* ---- decoding ---- */

struct input {
    const uint8_t *at;
    size_t left;
};

/* Takes the next `len` bytes off the front. */
static const uint8_t *take(struct input *in, size_t len)
{
    const uint8_t *at = in->at;
    if (len > in->left)
        return NULL;
    in->at += len;
    in->left -= len;
    return at;
}

static int take_number(struct input *in, size_t *out)
{
    const uint8_t *at = take(in, 4);
    if (!at)
        return -EBADMSG;
    *out = le_load32(at);
    return 0;
}

static int take_coded(struct sqy_ctx *ctx, struct input *in, uint8_t *out, size_t len)
{
    size_t coded;
    int r = take_number(in, &coded);
    if (r < 0)
        return r;
    const uint8_t *at = take(in, coded);
    return at ? huffman_decode(ctx, at, coded, out, len) : -EBADMSG;
}

static int take_streams(struct blocks_decoder *d, struct sqy_ctx *ctx, const struct extent *extent,
                        struct input *in)
{
    uint8_t *at[N_STREAMS];
    memcpy(d->stream_of, extent->stream_of, sizeof(extent->stream_of));
    place_streams(d->blocks, extent, at);
    for (unsigned s = 0; s < N_STREAMS; s++) {
        d->stream[s] = at[s];
        int r = extent->stream[s] ? take_coded(ctx, in, at[s], extent->stream[s]) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int take_escapes(struct blocks_decoder *d, struct sqy_ctx *ctx, struct input *in)
{
    size_t n;
    int r = take_number(in, &n);
    if (r < 0)
        return r;
    if (n > d->blocks->n * BLOCK)
        return -EBADMSG;
    r = take_coded(ctx, in, d->blocks->escapes, n);
    d->escape = d->blocks->escapes;
    d->escape_end = d->escape + n;
    d->wide = in->at;
    d->wide_end = in->at + in->left;
    return r;
}

int blocks_decode_begin(struct blocks_decoder *d, const struct blocks *blocks, struct sqy_ctx *ctx,
                        const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    struct extent extent;
    size_t n_planes;
    *d = (struct blocks_decoder){.blocks = blocks};
    int r = take_number(&in, &n_planes);
    if (r < 0)
        return r;
    d->planes = take(&in, n_planes);
    if (!d->planes)
        return -EBADMSG;
    d->planes_end = d->planes + n_planes;
    r = take_coded(ctx, &in, blocks->class, blocks->n);
    if (r >= 0 && blocks->form == BLOCKS_THIN)
        return in.left ? -EBADMSG : check_thin_classes(blocks);
    if (r >= 0)
        r = measure(blocks, &extent);
    if (r >= 0 && extent.planes != n_planes)
        r = -EBADMSG;
    if (r >= 0)
        r = take_streams(d, ctx, &extent, &in);
    if (r >= 0)
        r = take_escapes(d, ctx, &in);
    return r;
}

static int get_escapes(struct blocks_decoder *d, const struct lanes *lanes, size_t block,
                       unsigned k, uint64_t which)
{
    for (; which; which &= which - 1) {
        uint16_t *to = lanes_at(lanes, block, (unsigned)__builtin_ctzll(which));
        if (d->escape == d->escape_end)
            return -EBADMSG;
        unsigned v = ESCAPE_FIRST + *d->escape++;
        if (v == ESCAPE_FIRST + ESCAPE_WIDE) {
            if (d->wide_end - d->wide < 2)
                return -EBADMSG;
            v = le_load16(d->wide);
            d->wide += 2;
        }
        *to = (uint16_t)(v << k | (*to & ((1u << k) - 1)));
    }
    return 0;
}

static int decode_thin(struct blocks_decoder *d, const struct kernels *k, const struct lanes *lanes,
                       size_t block)
{
    const size_t left = (size_t)(d->planes_end - d->planes);
    uint8_t last[THIN_ROOM];
    const uint8_t *in = d->planes;
    if (left < THIN_ROOM) {
        memset(last, 0, sizeof(last));
        memcpy(last, in, left);
        in = last;
    }
    const size_t len = k->thicken(in, d->blocks->class[d->at++], lanes, block);
    if (len > left || len > THIN_ROOM)
        return -EBADMSG;
    d->planes += len;
    return 0;
}

static int decode_block(struct blocks_decoder *d, const struct kernels *k,
                        const struct lanes *lanes, size_t block)
{
    if (d->blocks->form == BLOCKS_THIN)
        return decode_thin(d, k, lanes, block);
    const unsigned class = d->blocks->class[d->at++], planes = class_planes(d->blocks, class);
    uint64_t which = 0;
    if (d->blocks->form == BLOCKS_PLANES || !class) {
        k->join_low(d->planes, planes, lanes, block);
    } else {
        const uint8_t **nibbles = &d->stream[d->stream_of[class]];
        which = k->unpack(*nibbles, d->planes, planes, lanes, block);
        *nibbles += NIBBLE_BYTES;
    }
    d->planes += 8 * planes;
    return which ? get_escapes(d, lanes, block, planes, which) : 0;
}

int blocks_decode_group(struct blocks_decoder *d, const struct kernels *k, size_t group)
{
    for (unsigned f = 0; f < BLOCKS_FIELDS; f++) {
        const struct field *field = &d->blocks->field[f];
        const size_t end = field_blocks_to(field, group);
        for (; d->in_field[f] < end; d->in_field[f]++) {
            int r = decode_block(d, k, &field->lanes, d->in_field[f]);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int blocks_decode_end(const struct blocks_decoder *d)
{
    return d->planes == d->planes_end && d->escape == d->escape_end && d->wide == d->wide_end
               ? 0
               : -EBADMSG;
}
