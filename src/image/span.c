/* Spans stand in an array in the order of their slabs, and in a treap by offset whose nodes are the
 * same elements: `left` and `right` are indices, priorities come from a hash of the index and a
 * secret, so that no file can be made for which the tree is deep. */
#include "image/span.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Shapes looked through for an equal one; a file that has more at once gets duplicates. */
#define SHAPES_LOOKED_AT 32u

size_t span_type_size(enum layout_type type)
{
    static const uint8_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8};
    return (size_t)type < sizeof(sizes) ? sizes[type] : 0;
}

void span_init(struct spans *spans, uint32_t target, struct memory *memory)
{
    *spans = (struct spans){.target = target, .memory = memory, .root = SPAN_NONE};
    if (getrandom(&spans->seed, sizeof(spans->seed), GRND_NONBLOCK) < 0)
        spans->seed = (uint64_t)time(NULL) ^ (uint64_t)(uintptr_t)spans;
}

void span_clear(struct spans *spans)
{
    spans->memory->used -= spans->cap * sizeof(*spans->spans) +
                           spans->cap_series * sizeof(*spans->series) +
                           spans->cap_shapes * sizeof(*spans->shapes);
    free(spans->spans);
    free(spans->series);
    free(spans->shapes);
    span_init(spans, spans->target, spans->memory);
}

static bool same_shape(const struct shape *a, const struct shape *b)
{
    return a->type == b->type && a->big_endian == b->big_endian && a->spp == b->spp &&
           a->width == b->width && a->rows == b->rows;
}

int span_shape(struct spans *spans, struct shape shape, uint32_t *index)
{
    uint32_t last = spans->n_shapes > SHAPES_LOOKED_AT ? spans->n_shapes - SHAPES_LOOKED_AT : 0;
    for (uint32_t i = spans->n_shapes; i-- > last;) {
        if (same_shape(&spans->shapes[i], &shape)) {
            *index = i;
            return 0;
        }
    }
    int error = 0;
    struct shape *shapes = array_room(spans->shapes, &spans->cap_shapes, spans->n_shapes,
                                      sizeof(*shapes), spans->memory, &error);
    if (!shapes)
        return error;
    spans->shapes = shapes;
    shape.row_bytes = shape.width * (uint64_t)span_type_size(shape.type);
    shape.n_planes = 0;
    *index = spans->n_shapes;
    spans->shapes[spans->n_shapes++] = shape;
    return 0;
}

/* ---- tree by offset ---- */

static uint64_t priority(const struct spans *spans, uint32_t i)
{
    /* splitmix64's finaliser (Steele, Lea, Flood 2014) */
    uint64_t h = spans->seed + (uint64_t)i * 0x9E3779B97F4A7C15u;
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9u;
    h = (h ^ (h >> 27)) * 0x94D049BB133111EBu;
    return h ^ (h >> 31);
}

static void tree_split(struct spans *spans, uint32_t at, uint64_t off, uint32_t *left,
                       uint32_t *right)
{
    while (at != SPAN_NONE) {
        struct span *span = &spans->spans[at];
        if (span->off < off) {
            *left = at;
            left = &span->right;
            at = span->right;
        } else {
            *right = at;
            right = &span->left;
            at = span->left;
        }
    }
    *left = *right = SPAN_NONE;
}

static void tree_insert(struct spans *spans, uint32_t i)
{
    struct span *span = &spans->spans[i];
    uint64_t mine = priority(spans, i);
    uint32_t *link = &spans->root;
    while (*link != SPAN_NONE && priority(spans, *link) >= mine) {
        struct span *at = &spans->spans[*link];
        link = at->off < span->off ? &at->right : &at->left;
    }
    uint32_t below = *link;
    *link = i;
    tree_split(spans, below, span->off, &span->left, &span->right);
}

static void tree_remove(struct spans *spans, uint32_t i)
{
    const struct span *span = &spans->spans[i];
    uint32_t *link = &spans->root;
    while (*link != i) {
        struct span *at = &spans->spans[*link];
        link = at->off < span->off ? &at->right : &at->left;
    }
    uint32_t a = span->left, b = span->right;
    while (a != SPAN_NONE && b != SPAN_NONE) {
        if (priority(spans, a) > priority(spans, b)) {
            *link = a;
            link = &spans->spans[a].right;
            a = *link;
        } else {
            *link = b;
            link = &spans->spans[b].left;
            b = *link;
        }
    }
    *link = a != SPAN_NONE ? a : b;
}

void span_around(const struct spans *spans, uint64_t off, uint32_t *at, uint32_t *after)
{
    *at = *after = SPAN_NONE;
    for (uint32_t i = spans->root; i != SPAN_NONE;) {
        if (spans->spans[i].off <= off) {
            *at = i;
            i = spans->spans[i].right;
        } else {
            *after = i;
            i = spans->spans[i].left;
        }
    }
}

static uint64_t tree_end(const struct spans *spans)
{
    uint32_t i = spans->root;
    if (i == SPAN_NONE)
        return 0;
    while (spans->spans[i].right != SPAN_NONE)
        i = spans->spans[i].right;
    return span_end(spans, i);
}

enum span_claim span_claim(const struct spans *spans, uint64_t off, uint64_t len)
{
    if (off >= spans->end)
        return SPAN_FREE;
    uint32_t at, after;
    span_around(spans, off, &at, &after);
    uint64_t end = at != SPAN_NONE ? span_end(spans, at) : 0;
    if (end > off)
        return off + len <= end ? SPAN_TAKEN : SPAN_CLASH;
    return after != SPAN_NONE && spans->spans[after].off < off + len ? SPAN_CLASH : SPAN_FREE;
}

/* ---- adding and taking away ---- */

uint64_t span_count(const struct spans *spans)
{
    if (!spans->n)
        return 0;
    const struct span *last = &spans->spans[spans->n - 1];
    return last->slab + last->n_slabs;
}

static uint32_t slabs_per_unit(const struct spans *spans, const struct shape *shape)
{
    uint64_t n = spans->target / span_slab_bytes(shape);
    return n < 1 ? 1 : n < LAYOUT_MAX_PIECES ? (uint32_t)n : LAYOUT_MAX_PIECES;
}

/* Whether a slab of fewer rows ends the plane that makes up the whole series so far. */
static bool ends_plane(const struct spans *spans, const struct series *series, uint32_t shape,
                       bool joins)
{
    const struct shape *a = &spans->shapes[series->shape], *b = &spans->shapes[shape];
    struct shape equal_rows = *b;
    equal_rows.rows = a->rows;
    return joins && series->n_joined == series->n_slabs && b->rows < a->rows &&
           same_shape(a, &equal_rows);
}

/* Takes the new slabs into the last series where they fit. The last span is still the one before.
 */
static bool series_extend(struct spans *spans, uint64_t off, uint32_t shape, uint64_t n,
                          uint32_t row)
{
    if (!spans->n_series)
        return false;
    struct series *series = &spans->series[spans->n_series - 1];
    const struct span *last = &spans->spans[spans->n - 1];
    const struct shape *last_shape = &spans->shapes[last->shape];
    uint64_t last_off = last->off + (last->n_slabs - 1) * span_slab_bytes(last_shape);
    bool falling = off < last_off;
    bool joins = row == last->row + last_shape->rows && n == 1 && !falling;
    bool shorter = series->shape != shape;
    if (series->short_end || (falling && n > 1) ||
        (series->n_slabs > 1 && falling != series->falling))
        return false;
    if (shorter && !(series->per_unit > 1 && ends_plane(spans, series, shape, joins)))
        return false;
    series->falling = falling;
    series->short_end = shorter;
    if (joins && series->n_joined == series->n_slabs)
        series->n_joined++;
    series->n_slabs += n;
    return true;
}

static int series_start(struct spans *spans, uint64_t slab, uint32_t shape, uint64_t n)
{
    int error = 0;
    struct series *series = array_room(spans->series, &spans->cap_series, spans->n_series,
                                       sizeof(*series), spans->memory, &error);
    if (!series)
        return error;
    spans->series = series;
    spans->series[spans->n_series++] = (struct series){
        .slab = slab,
        .n_slabs = n,
        .n_joined = 1,
        .shape = shape,
        .per_unit = slabs_per_unit(spans, &spans->shapes[shape]),
    };
    return 0;
}

static bool touches_last(const struct spans *spans, uint64_t off, uint32_t shape, uint32_t row)
{
    if (!spans->n)
        return false;
    const struct span *last = &spans->spans[spans->n - 1];
    return last->shape == shape && last->row == row && span_end(spans, spans->n - 1) == off;
}

int span_add(struct spans *spans, uint64_t off, uint32_t shape, uint64_t n, uint32_t row)
{
    int error = 0;
    struct span *array =
        array_room(spans->spans, &spans->cap, spans->n, sizeof(*array), spans->memory, &error);
    if (!array)
        return error;
    spans->spans = array;
    uint64_t slab = span_count(spans);
    if (!series_extend(spans, off, shape, n, row)) {
        int r = series_start(spans, slab, shape, n);
        if (r < 0)
            return r;
    }
    if (touches_last(spans, off, shape, row)) {
        array[spans->n - 1].n_slabs += n;
    } else {
        uint32_t i = spans->n++;
        uint64_t before = i ? array[i - 1].before + array[i - 1].n_slabs *
                                                        span_slab_bytes(span_shape_of(spans, i - 1))
                            : 0;
        array[i] = (struct span){
            .off = off, .slab = slab, .n_slabs = n, .before = before, .shape = shape, .row = row};
        tree_insert(spans, i);
    }
    uint64_t end = off + n * span_slab_bytes(&spans->shapes[shape]);
    if (end > spans->end)
        spans->end = end;
    return 0;
}

static void series_cut(struct spans *spans, uint64_t n_slabs)
{
    while (spans->n_series && spans->series[spans->n_series - 1].slab >= n_slabs)
        spans->n_series--;
    if (!spans->n_series)
        return;
    struct series *last = &spans->series[spans->n_series - 1];
    uint64_t left = n_slabs - last->slab;
    if (left >= last->n_slabs)
        return;
    last->n_slabs = left;
    last->short_end = false;
    if (last->n_joined > left)
        last->n_joined = left;
}

void span_cut(struct spans *spans, uint64_t n_slabs, uint32_t n_shapes)
{
    series_cut(spans, n_slabs);
    while (spans->n && spans->spans[spans->n - 1].slab >= n_slabs) {
        tree_remove(spans, spans->n - 1);
        spans->n--;
    }
    if (spans->n) {
        struct span *last = &spans->spans[spans->n - 1];
        if (last->n_slabs > n_slabs - last->slab)
            last->n_slabs = n_slabs - last->slab;
    }
    spans->end = tree_end(spans);
    if (spans->n_shapes > n_shapes)
        spans->n_shapes = n_shapes;
}
