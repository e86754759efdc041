#include "image/guess.h"

#define PATIENCE 2u /* planes without any directory that says more */

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

uint64_t guess_planes(struct walk *walk, uint64_t size)
{
    struct tail tail;
    if (!find_tail(walk, &tail))
        return UINT64_MAX;
    const uint64_t wait = tail.told ? 0 : PATIENCE * tail.plane;
    if (size < tail.off || size - tail.off < wait)
        return tail.off + wait;
    walk->n_slabs_told = span_count(&walk->spans);
    walk->guess_off = tail.off;
    walk->guessed = true;
    /* out of memory: these are bytes, as they would be without a guess */
    span_add(&walk->spans, tail.off, tail.shape, (tail.end - tail.off) / tail.plane, 0);
    return UINT64_MAX;
}

void guess_forget(struct walk *walk)
{
    if (walk->guessed)
        span_cut(&walk->spans, walk->n_slabs_told, walk->spans.n_shapes);
    walk->guessed = false;
}

bool guess_has(const struct walk *walk, const struct layout_unit *unit)
{
    const struct layout_piece *last = &unit->pieces[unit->n_pieces - 1];
    return walk->guessed && last->off + last->len > walk->guess_off;
}
