/* Spans by themselves: any sequence of adding and cutting ends where adding alone would have. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "image/span.h"

#define TARGET 4096u
#define SPACE  (1u << 16)

struct slab {
    uint64_t off, n;
    uint32_t shape, row;
};

struct model {
    struct memory memory;
    struct spans spans;
    uint32_t shapes[6];
    struct slab slabs[400];
    uint64_t counts[400]; /* of slabs, before each */
    unsigned n;
    uint8_t taken[SPACE];
    uint32_t random;
};

static uint32_t next_random(struct model *m, uint32_t n)
{
    m->random = m->random * 1664525u + 1013904223u;
    return (m->random >> 8) % n;
}

static void make_shapes(struct spans *spans, uint32_t shapes[6])
{
    static const uint32_t rows[] = {4, 4, 2, 1, 7, 100}, widths[] = {10, 30, 10, 10, 100, 60};
    for (unsigned i = 0; i < 6; i++) {
        struct shape shape = {.type = LAYOUT_UINT16, .spp = 1, .width = widths[i], .rows = rows[i]};
        assert_int_equal(span_shape(spans, shape, &shapes[i]), 0);
        assert_int_equal(shapes[i], i);
    }
}

static uint64_t bytes_of(const struct model *m, uint32_t shape)
{
    const struct shape *s = &m->spans.shapes[shape];
    return s->rows * s->row_bytes;
}

static enum span_claim claim_by_hand(const struct model *m, uint64_t off, uint64_t len)
{
    unsigned used = 0;
    for (uint64_t i = off; i < off + len; i++)
        used += m->taken[i];
    if (!used)
        return SPAN_FREE;
    return used == len ? SPAN_TAKEN : SPAN_CLASH;
}

static void mark(struct model *m, const struct slab *slab, uint8_t value)
{
    memset(m->taken + slab->off, value, slab->n * bytes_of(m, slab->shape));
}

static void try_add(struct model *m)
{
    struct slab slab = {.shape = next_random(m, 6), .n = 1, .row = next_random(m, 3) * 4};
    uint64_t bytes = bytes_of(m, slab.shape);
    if (next_random(m, 4) == 0)
        slab.n += next_random(m, 4);
    const struct slab *last = m->n ? &m->slabs[m->n - 1] : NULL;
    uint64_t last_end = last ? last->off + last->n * bytes_of(m, last->shape) : 0;
    switch (last ? next_random(m, 5) : 0) {
    case 1: /* touching, the same again */
        slab.off = last_end;
        slab.shape = last->shape;
        slab.row = last->row;
        break;
    case 2: /* the next rows */
        slab.off = last_end + next_random(m, 2) * 6;
        slab.shape = next_random(m, 2) ? last->shape : slab.shape;
        slab.row = last->row + m->spans.shapes[last->shape].rows;
        slab.n = 1;
        break;
    case 3: /* just before */
        slab.shape = last->shape;
        slab.n = 1;
        slab.off = last->off - bytes_of(m, slab.shape) - next_random(m, 2) * 2;
        break;
    default:
        slab.off = next_random(m, SPACE);
    }
    bytes = slab.n * bytes_of(m, slab.shape);
    if (slab.off >= SPACE || bytes > SPACE - slab.off || m->n == 400)
        return;
    enum span_claim claim = span_claim(&m->spans, slab.off, bytes), real;
    real = claim_by_hand(m, slab.off, bytes);
    assert_int_equal(claim == SPAN_FREE, real == SPAN_FREE);
    if (real == SPAN_CLASH)
        assert_int_equal(claim, SPAN_CLASH);
    if (claim != SPAN_FREE)
        return;
    m->counts[m->n] = span_count(&m->spans);
    m->slabs[m->n++] = slab;
    mark(m, &slab, 1);
    assert_int_equal(span_add(&m->spans, slab.off, slab.shape, slab.n, slab.row), 0);
}

static void cut(struct model *m)
{
    unsigned keep = next_random(m, m->n + 1);
    if (keep == m->n)
        return;
    span_cut(&m->spans, m->counts[keep], 6);
    while (m->n > keep)
        mark(m, &m->slabs[--m->n], 0);
}

static void assert_same_answers(const struct model *m, const struct spans *other)
{
    for (uint64_t off = 0; off < SPACE; off += 5) {
        struct layout_unit a, b;
        uint64_t gap_a = 0, gap_b = 0;
        bool found = span_unit_at(&m->spans, off, &a, &gap_a);
        assert_int_equal(found, m->taken[off]);
        assert_int_equal(found, span_unit_at(other, off, &b, &gap_b));
        assert_true(gap_a == gap_b);
        if (!found)
            continue;
        assert_int_equal(a.n_pieces, b.n_pieces);
        assert_memory_equal(a.pieces, b.pieces, a.n_pieces * sizeof(a.pieces[0]));
        assert_int_equal(a.open, b.open);
        assert_int_equal(a.planes, b.planes);
        assert_int_equal(a.rows, b.rows);
        assert_int_equal(a.width, b.width);
        assert_int_equal(a.planes * (uint64_t)a.rows * a.width * 2, a.bytes);
        assert_true(a.bytes <= 2 * TARGET);
    }
}

/* Volume order is the order of adding. */
static void assert_volume_order(const struct model *m)
{
    struct layout_piece pieces[3];
    uint64_t at = 0;
    uint32_t n;
    for (unsigned i = 0; i < m->n; i++) {
        uint64_t bytes = m->slabs[i].n * bytes_of(m, m->slabs[i].shape);
        assert_int_equal(span_pieces(&m->spans, at, bytes, pieces, 3, &n), bytes);
        assert_int_equal(n, 1);
        assert_int_equal(pieces[0].off, m->slabs[i].off);
        at += bytes;
    }
    assert_int_equal(span_pieces(&m->spans, at, 1, pieces, 3, &n), 0);
}

static void compare_with_fresh(const struct model *m)
{
    struct memory memory = {.limit = 1 << 20};
    struct spans fresh;
    uint32_t shapes[6];
    span_init(&fresh, TARGET, &memory);
    make_shapes(&fresh, shapes);
    for (unsigned i = 0; i < m->n; i++) {
        const struct slab *slab = &m->slabs[i];
        assert_int_equal(span_add(&fresh, slab->off, slab->shape, slab->n, slab->row), 0);
    }
    assert_same_answers(m, &fresh);
    assert_true(m->spans.end == fresh.end);
    assert_int_equal(span_count(&m->spans), span_count(&fresh));
    span_clear(&fresh);
    assert_int_equal(memory.used, 0);
}

static void adding_and_cutting(void **state)
{
    (void)state;
    static struct model m;
    for (unsigned seed = 1; seed <= 300; seed++) {
        memset(&m, 0, sizeof(m));
        m.random = seed * 7919;
        m.memory.limit = 1 << 20;
        span_init(&m.spans, TARGET, &m.memory);
        make_shapes(&m.spans, m.shapes);
        for (unsigned i = 0; i < 60; i++) {
            for (unsigned k = next_random(&m, 12); k--;)
                try_add(&m);
            if (next_random(&m, 3) == 0)
                cut(&m);
            if (i % 10 == 0)
                compare_with_fresh(&m);
        }
        compare_with_fresh(&m);
        assert_volume_order(&m);
        span_clear(&m.spans);
        assert_int_equal(m.memory.used, 0);
    }
}

static void no_more_than_the_memory_allowed(void **state)
{
    (void)state;
    struct memory memory = {.limit = 10000};
    struct spans spans;
    uint32_t shapes[6];
    int r = 0;
    span_init(&spans, TARGET, &memory);
    make_shapes(&spans, shapes);
    uint64_t off = 0;
    for (; r == 0 && off < 1000000; off += 1000)
        r = span_add(&spans, off, shapes[0], 1, 0);
    assert_int_equal(r, -E2BIG);
    assert_true(memory.used <= 10000);
    struct layout_unit unit;
    uint64_t gap_end;
    assert_true(span_unit_at(&spans, off - 2000, &unit, &gap_end));
    assert_false(span_unit_at(&spans, off - 1000, &unit, &gap_end));
    span_clear(&spans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adding_and_cutting),
        cmocka_unit_test(no_more_than_the_memory_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
