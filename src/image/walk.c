/* A visited directory:
 *
 *   (next_place) --visit(): parsed--------------------> visited --walk_cut()--> forgotten
 *        |      `--visit(): none, a loop, past the end--^
 *        `--visit(): bytes absent--> waits there; walk_on() tries again
 *
 * All that directories bring (slabs, shapes, watched ranges, SubIFD offsets) is kept on stacks, and
 * each directory knows how high these stood before it: forgetting the last ones is cutting the
 * stacks. */
#include "image/walk.h"

#include <assert.h>
#include <string.h>

#include "image/plan.h"

enum { PHOTOMETRIC_PALETTE = 3, PHOTOMETRIC_MASK = 4 };

#define MAX_DEPTH           8u    /* of SubIFDs in SubIFDs */
#define MAX_SUBS            1024u /* of one directory; pyramids have about ten */
#define MAX_SAMPLES_WATCHED 65535u

/* Entries of a directory that cost nothing of the allowance; honest ones have about twenty. */
#define FREE_ENTRIES 64u

struct walk_ifd {
    uint64_t off, next;
    uint64_t n_slabs_before;
    uint64_t n_planes;
    uint32_t n_shapes_before, n_watched_before, n_subs_before, waste_before;
    uint32_t n_subs;
    uint32_t parent, ordinal; /* whose SubIFD it is, and which; or follows by link */
    uint32_t shape;
    uint32_t hash_next;
    uint8_t depth;
    bool odd;
};

struct place {
    uint64_t off;
    uint32_t parent, ordinal;
    uint8_t depth;
};

/* ---- the record ---- */

void walk_init(struct walk *walk, uint32_t target)
{
    *walk = (struct walk){.memory = {.limit = LAYOUT_MAX_MEMORY},
                          .first_skipped = WALK_NONE,
                          .clip = INT64_MAX,
                          .description = {.n_contiguous = 1}};
    span_init(&walk->spans, target, &walk->memory);
    watch_init(&walk->watch, &walk->memory);
}

void walk_clear(struct walk *walk)
{
    span_clear(&walk->spans);
    watch_clear(&walk->watch);
    free(walk->ifds);
    free(walk->heads);
    free(walk->subs);
    walk_init(walk, walk->spans.target);
}

static uint32_t *head_of(const struct walk *walk, uint64_t off)
{
    uint64_t h = off * 0x9E3779B97F4A7C15u;
    return &walk->heads[(h >> 32) & (walk->n_heads - 1)];
}

static void link_in(struct walk *walk, uint32_t i)
{
    uint32_t *head = head_of(walk, walk->ifds[i].off);
    walk->ifds[i].hash_next = *head;
    *head = i;
}

static int grow_heads(struct walk *walk)
{
    uint32_t n = walk->n_heads ? 2 * walk->n_heads : 16;
    size_t more = (n - walk->n_heads) * sizeof(*walk->heads);
    if (walk->memory.used + more > walk->memory.limit)
        return -E2BIG;
    uint32_t *heads = malloc(n * sizeof(*heads));
    if (!heads)
        return -ENOMEM;
    walk->memory.used += more;
    memset(heads, 0xFF, n * sizeof(*heads));
    free(walk->heads);
    walk->heads = heads;
    walk->n_heads = n;
    for (uint32_t i = 0; i < walk->n; i++)
        link_in(walk, i);
    return 0;
}

static bool is_visited(const struct walk *walk, uint64_t off)
{
    if (!walk->n_heads)
        return false;
    uint32_t i = *head_of(walk, off);
    while (i != WALK_NONE && walk->ifds[i].off != off)
        i = walk->ifds[i].hash_next;
    return i != WALK_NONE;
}

/* Takes back what stands on the stacks beyond a directory's marks. */
static void cut_to_marks(struct walk *walk, const struct walk_ifd *ifd)
{
    span_cut(&walk->spans, ifd->n_slabs_before, ifd->n_shapes_before);
    watch_cut(&walk->watch, ifd->n_watched_before);
    walk->n_subs = ifd->n_subs_before;
    walk->waste = ifd->waste_before;
}

void walk_cut(struct walk *walk, uint32_t ifd)
{
    if (ifd <= 1 && walk->not_contiguous) {
        walk->not_contiguous = false;
        ifd = 0;
    }
    if (ifd >= walk->n)
        return;
    walk->full = false;
    if (walk->first_skipped >= ifd)
        walk->first_skipped = WALK_NONE;
    for (uint32_t i = walk->n; i-- > ifd;) {
        const struct walk_ifd *last = &walk->ifds[i];
        *head_of(walk, last->off) = last->hash_next;
        walk->n_odd -= last->odd;
        walk->n_planes -= last->n_planes;
        if (last->shape != SPAN_NONE)
            walk->spans.shapes[last->shape].n_planes -= last->n_planes;
    }
    cut_to_marks(walk, &walk->ifds[ifd]);
    walk->n_watched = walk->watch.n;
    walk->n = ifd;
    if (ifd == 0)
        walk->end = 0;
}

void walk_restart(struct walk *walk, const struct tiff_header *header)
{
    walk_cut(walk, 0);
    walk->header = *header;
    walk->text = (struct text){0};
    walk->description = (struct description){.n_contiguous = 1};
    walk->text_stale = walk->text_skipped = false;
    walk->no_light = false;
}

static int record(struct walk *walk, const struct walk_ifd *ifd)
{
    int error = 0;
    struct walk_ifd *ifds =
        array_room(walk->ifds, &walk->cap, walk->n, sizeof(*ifds), &walk->memory, &error);
    if (!ifds)
        return error;
    walk->ifds = ifds;
    int r = walk->n >= walk->n_heads ? grow_heads(walk) : 0;
    if (r < 0)
        return r;
    ifds[walk->n] = *ifd;
    link_in(walk, walk->n++);
    walk->n_odd += ifd->odd;
    walk->n_planes += ifd->n_planes;
    if (ifd->shape != SPAN_NONE)
        walk->spans.shapes[ifd->shape].n_planes += ifd->n_planes;
    walk->n_watched = walk->watch.n;
    return 0;
}

const struct shape *walk_first_shape(const struct walk *walk)
{
    for (uint32_t i = 0; i < walk->n; i++)
        if (walk->ifds[i].n_planes)
            return &walk->spans.shapes[walk->ifds[i].shape];
    return NULL;
}

/* ---- notes ---- */

uint32_t walk_hit(const struct walk *walk, uint64_t off, uint64_t len)
{
    return watch_hit(&walk->watch, off, len);
}

bool walk_note_text(struct walk *walk, uint64_t off, uint64_t len)
{
    if (text_touches(&walk->text, off, len))
        walk->text_stale = true;
    return walk->text_stale;
}

bool walk_has_skipped(const struct walk *walk)
{
    return walk->first_skipped != WALK_NONE || walk->text_skipped;
}

/* A complete file ends before something: what there is counts. */
static void skip(struct walk *walk, const struct source *source)
{
    if (walk->first_skipped == WALK_NONE)
        walk->first_skipped = walk->n;
    walk->skipped_size = source->size;
}

/* What was skipped is looked for again in a file that goes on, or is of another length now. */
static void return_to_skipped(struct walk *walk, const struct source *source)
{
    if (!walk_has_skipped(walk) || (source->final && source->size == walk->skipped_size))
        return;
    walk->text_stale |= walk->text_skipped;
    walk->text_skipped = false;
    uint32_t first = walk->first_skipped;
    walk->first_skipped = WALK_NONE;
    if (first != WALK_NONE)
        walk_cut(walk, first);
}

/* ---- text ---- */

static void set_text(struct walk *walk, const struct tiff_ifd *ifd)
{
    struct text text = text_of(ifd);
    if (text_same(&walk->text, &text))
        return;
    walk->text = text;
    walk->description = (struct description){.n_contiguous = 1};
    walk->text_stale = true;
}

/* Reads the text again where it is stale. *changed: the planes that it speaks of are others. */
static int refresh_text(struct walk *walk, struct source *source, bool *changed)
{
    *changed = false;
    if (!walk->text_stale)
        return 0;
    struct description description = {.n_contiguous = 1};
    int r = text_read(&walk->text, &walk->header, source, &description);
    if (r == -ENOMEM)
        return r;
    if (r == WINDOW_NEVER) {
        walk->text_skipped = true;
        walk->skipped_size = source->size;
        r = 0;
    }
    if (r)
        description = (struct description){.n_contiguous = 1};
    walk->text_stale = r != 0;
    *changed = description.n_contiguous != walk->description.n_contiguous;
    walk->description = description;
    return r;
}

/* ---- directories ---- */

/* Where the walk goes from the last directory: into its SubIFDs, along its link, or back up. */
static bool next_place(const struct walk *walk, struct place *place)
{
    *place = (struct place){.off = walk->header.first, .parent = WALK_NONE};
    if (!walk->n)
        return place->off != 0;
    const struct walk_ifd *at = &walk->ifds[walk->n - 1];
    if (at->n_subs) {
        *place = (struct place){.off = walk->subs[at->n_subs_before],
                                .parent = walk->n - 1,
                                .depth = (uint8_t)(at->depth + 1)};
        return true;
    }
    for (;;) {
        if (at->next) {
            *place = (struct place){at->next, at->parent, at->ordinal, at->depth};
            return true;
        }
        if (at->parent == WALK_NONE)
            return false;
        const struct walk_ifd *up = &walk->ifds[at->parent];
        uint32_t ordinal = at->ordinal + 1;
        if (ordinal < up->n_subs) {
            *place = (struct place){walk->subs[up->n_subs_before + ordinal], at->parent, ordinal,
                                    at->depth};
            return true;
        }
        at = up;
    }
}

bool walk_last(const struct walk *walk, uint64_t *off, uint64_t *next, uint32_t *shape)
{
    struct place place = {0};
    const struct walk_ifd *last = walk->n ? &walk->ifds[walk->n - 1] : NULL;
    if (!last || last->parent != WALK_NONE || last->odd || !last->n_planes)
        return false;
    *off = last->off;
    *shape = last->shape;
    *next = next_place(walk, &place) ? place.off : 0;
    return true;
}

static int watch_bytes(struct walk *walk, uint64_t off, uint64_t len)
{
    if (off > INT64_MAX || len > INT64_MAX - off)
        return 0; /* no file has them */
    return watch_add(&walk->watch, off, len, walk->n);
}

static int watch_values(struct walk *walk, const struct tiff_field *field, uint64_t n)
{
    uint32_t size = tiff_value_size(field);
    n = n < field->count ? n : field->count;
    return size ? watch_bytes(walk, field->off, n * size) : 0;
}

static int push_sub(struct walk *walk, uint64_t off)
{
    int error = 0;
    uint64_t *subs =
        array_room(walk->subs, &walk->cap_subs, walk->n_subs, sizeof(*subs), &walk->memory, &error);
    if (!subs)
        return error;
    walk->subs = subs;
    subs[walk->n_subs++] = off;
    return 0;
}

static int read_subs(struct walk *walk, struct window *window, const struct tiff_ifd *tiff,
                     struct walk_ifd *ifd)
{
    const struct source *source = window->source;
    if (ifd->depth >= MAX_DEPTH)
        return 0;
    uint64_t n = tiff->subifds.count < MAX_SUBS ? tiff->subifds.count : MAX_SUBS;
    int r = watch_values(walk, &tiff->subifds, n);
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        uint64_t off;
        r = tiff_value(&walk->header, window, &tiff->subifds, i, &off);
        if (r == 0 && off) /* zeros are filled in later */
            r = push_sub(walk, off);
    }
    if (r == WINDOW_NEVER) {
        skip(walk, source);
        r = 0;
    }
    ifd->n_subs = r == 0 ? walk->n_subs - ifd->n_subs_before : 0;
    return r;
}

/* "images=" speaks of planes without directories, or of directories that repeat them. */
static bool contradicts(const struct walk *walk, const struct plan *plan)
{
    if (walk->n != 1 || walk->not_contiguous || walk->description.n_contiguous < 2 || !plan->first)
        return false;
    const struct walk_ifd *first = &walk->ifds[0];
    if (first->n_planes < 2 || first->shape == SPAN_NONE)
        return false;
    const struct shape *shape = &walk->spans.shapes[first->shape];
    return plan->first != walk->spans.spans[0].off + shape->rows * shape->row_bytes;
}

static int read_image(struct walk *walk, struct window *window, const struct tiff_ifd *tiff,
                      struct walk_ifd *ifd, bool *restart)
{
    bool contiguous = walk->n == 0 && !walk->not_contiguous;
    struct plan plan = {
        .spans = &walk->spans,
        .header = &walk->header,
        .window = window,
        .clip = walk->clip,
        .n_contiguous = contiguous ? walk->description.n_contiguous : 1,
        .end = walk->end,
        .waste = walk->waste,
    };
    int r = watch_values(walk, &tiff->bits, MAX_SAMPLES_WATCHED);
    if (r == 0)
        r = watch_values(walk, &tiff->format, MAX_SAMPLES_WATCHED);
    if (r == 0)
        r = watch_values(walk, &tiff->subsampling, 2);
    if (r == 0)
        walk->no_light |=
            tiff->photometric == PHOTOMETRIC_PALETTE || tiff->photometric == PHOTOMETRIC_MASK;
    r = plan_image(&plan, tiff);
    walk->waste = plan.waste;
    walk->end = plan.end;
    if (r)
        return r;
    ifd->shape = plan.shape;
    ifd->n_planes = plan.n_planes;
    ifd->odd = plan.odd;
    *restart = contradicts(walk, &plan);
    return watch_values(walk, &tiff->offsets, plan.n_offsets);
}

static int read_ifd(struct walk *walk, struct source *source, struct window *window,
                    struct walk_ifd *ifd, bool *restart)
{
    struct tiff_ifd tiff;
    bool changed;
    int r = tiff_ifd_read(&walk->header, window, ifd->off, &tiff);
    int watched = watch_bytes(walk, ifd->off, tiff.len);
    if (watched < 0 || r)
        return watched < 0 ? watched : r;
    if (tiff.n_entries > FREE_ENTRIES)
        walk->waste += tiff.n_entries - FREE_ENTRIES;
    if (walk->waste > PLAN_MAX_WASTE)
        return -E2BIG;
    if (walk->n == 0) {
        set_text(walk, &tiff);
        r = refresh_text(walk, source, &changed);
        if (r < 0)
            return r;
    }
    uint64_t n_slabs = span_count(&walk->spans);
    r = read_image(walk, window, &tiff, ifd, restart);
    if (r == WINDOW_NEVER) { /* its arrays are cut off: the links may be whole */
        skip(walk, source);
        span_cut(&walk->spans, n_slabs, walk->spans.n_shapes);
        ifd->shape = SPAN_NONE;
        ifd->n_planes = 0;
        ifd->odd = true;
        r = 0;
    }
    if (r == 0)
        r = read_subs(walk, window, &tiff, ifd);
    ifd->next = tiff.next;
    return r;
}

/* Goes to one directory. 0 where the walk can go on, WINDOW_ABSENT, or a negative errno. */
static int visit(struct walk *walk, struct source *source, struct window *window,
                 const struct place *place)
{
    watch_cut(&walk->watch, walk->n_watched);
    struct walk_ifd ifd = {
        .off = place->off,
        .n_slabs_before = span_count(&walk->spans),
        .n_shapes_before = walk->spans.n_shapes,
        .n_watched_before = walk->watch.n,
        .n_subs_before = walk->n_subs,
        .waste_before = walk->waste,
        .parent = place->parent,
        .ordinal = place->ordinal,
        .shape = SPAN_NONE,
        .depth = place->depth,
    };
    bool restart = false;
    int r = 0;
    if (!is_visited(walk, place->off))
        r = read_ifd(walk, source, window, &ifd, &restart);
    if (r == WINDOW_NEVER)
        skip(walk, source);
    if (r == WINDOW_NEVER || r == -EINVAL) {
        if (walk->n == 0)
            set_text(walk, &(struct tiff_ifd){0});
        ifd.next = 0;
        r = 0;
    }
    if (r == 0 && restart) {
        walk_cut(walk, 0);
        walk->not_contiguous = true;
        return 0;
    }
    if (r == 0)
        r = record(walk, &ifd);
    if (r == WINDOW_ABSENT) {
        span_cut(&walk->spans, ifd.n_slabs_before, ifd.n_shapes_before);
        walk->n_subs = ifd.n_subs_before;
        walk->waste = ifd.waste_before;
        int watched = watch_bytes(walk, source->want.off, source->want.len);
        return watched < 0 ? watched : r;
    }
    if (r < 0)
        cut_to_marks(walk, &ifd);
    return r;
}

/* Follows the directories from where the walk stands. */
static int visit_all(struct walk *walk, struct source *source)
{
    struct window window;
    struct place place;
    window_init(&window, source);
    while (!walk->full && next_place(walk, &place)) {
        int r = walk->n < LAYOUT_MAX_IFDS ? visit(walk, source, &window, &place) : -E2BIG;
        if (r == -E2BIG)
            walk->full = true;
        else if (r)
            return r;
    }
    return 0;
}

int walk_on(struct walk *walk, struct source *source)
{
    return_to_skipped(walk, source);
    for (;;) {
        bool changed;
        int text = refresh_text(walk, source, &changed);
        if (text < 0)
            return text;
        if (changed)
            walk_cut(walk, 0);
        struct layout_piece want = source->want;
        int r = visit_all(walk, source);
        if (r)
            return r;
        if (!walk->text_stale)
            return 0;
        if (text == WINDOW_ABSENT) {
            source->want = want;
            return text;
        }
    }
}
