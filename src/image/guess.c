#include "image/guess.h"

#define PATIENCE 2u /* planes without any directory that says more */

/* Bytes without any directory. libtiff writes that of a plane behind it: longer than most of those are. */
#define PATIENCE_AT_FIRST (32u << 20)

/* What a directory could still say of the bytes behind the last plane. */
struct tail {
    uint64_t off, end; /* planes lie between, if any do */
    uint64_t plane;    /* bytes */
    uint32_t shape;
    bool told; /* the next directory is known to lie behind at least one more plane */
};

/* False where the last directory that was visited is not that of the last bytes, or where these are
 * not one whole plane or several, behind their directory. */
static bool find_tail(const struct walk *walk, struct tail *tail)
{
    const struct spans *spans = &walk->spans;
    uint64_t ifd, next;
    uint32_t at, after;
    if (!spans->n || walk->full || !walk_last(walk, &ifd, &next, &tail->shape))
        return false;
    span_around(spans, spans->end - 1, &at, &after);
    const struct span *last = &spans->spans[at];
    if (at != spans->n - 1 || last->row || last->shape != tail->shape || last->off < ifd)
        return false;
    tail->plane = span_slab_bytes(&spans->shapes[tail->shape]);
    tail->off = spans->end;
    tail->end = next ? next : INT64_MAX;
    tail->told = next != 0;
    return tail->end > tail->off && (tail->end - tail->off) / tail->plane > 0;
}

static void begin(struct walk *walk, uint64_t off)
{
    walk->n_slabs_told = span_count(&walk->spans);
    walk->n_shapes_told = walk->spans.n_shapes;
    walk->guess_off = off;
    walk->guessed = true;
}

/* No directory was visited: what lies between the header and where it says that the first one is. */
static uint64_t guess_samples(struct walk *walk, uint64_t size)
{
    struct spans *spans = &walk->spans;
    const struct shape samples = {
        .type = LAYOUT_UINT16,
        .big_endian = walk->header.big_endian,
        .spp = 1,
        .width = spans->target / 2,
        .rows = 1,
    };
    const uint64_t off = walk->header.big ? TIFF_BIG_HEADER_BYTES : TIFF_HEADER_BYTES;
    const uint64_t end = walk->header.first ? walk->header.first : INT64_MAX;
    uint32_t shape;
    if (end > INT64_MAX || end < PATIENCE_AT_FIRST || samples.width == 0)
        return UINT64_MAX;
    if (size < PATIENCE_AT_FIRST)
        return PATIENCE_AT_FIRST;
    begin(walk, off);
    if (span_shape(spans, samples, &shape) == 0)
        span_add(spans, off, shape, (end - off) / span_slab_bytes(&spans->shapes[shape]), 0);
    return UINT64_MAX;
}

uint64_t guess_planes(struct walk *walk, uint64_t size)
{
    struct tail tail;
    if (!walk->n)
        return guess_samples(walk, size);
    if (!find_tail(walk, &tail))
        return UINT64_MAX;
    const uint64_t wait = tail.told ? 0 : PATIENCE * tail.plane;
    if (size < tail.off || size - tail.off < wait)
        return tail.off + wait;
    begin(walk, tail.off);
    /* out of memory: these are bytes, as they would be without a guess */
    span_add(&walk->spans, tail.off, tail.shape, (tail.end - tail.off) / tail.plane, 0);
    return UINT64_MAX;
}

void guess_forget(struct walk *walk)
{
    if (walk->guessed)
        span_cut(&walk->spans, walk->n_slabs_told, walk->n_shapes_told);
    walk->guessed = false;
}

bool guess_has(const struct walk *walk, const struct layout_unit *unit)
{
    const struct layout_piece *last = &unit->pieces[unit->n_pieces - 1];
    return walk->guessed && last->off + last->len > walk->guess_off;
}
