/* Watched ranges: no write to one is ever missed, whatever was cut meanwhile, and far from all of
 * them there is silence. */
#include "test.h"

#include <string.h>

#include "image/watch.h"

struct known {
    uint64_t off, len;
    uint32_t ifd, n_before;
};

struct model {
    struct memory memory;
    struct watch watch;
    struct known known[2000];
    unsigned n;
    uint32_t random;
};

static uint32_t next_random(struct model *m, uint32_t n)
{
    m->random = m->random * 1664525u + 1013904223u;
    return (m->random >> 8) % n;
}

static uint32_t lowest_by_hand(const struct model *m, uint64_t off, uint64_t len)
{
    for (unsigned i = 0; i < m->n; i++)
        if (m->known[i].off < off + len && off < m->known[i].off + m->known[i].len)
            return m->known[i].ifd;
    return WATCH_NONE;
}

static bool near_any(const struct model *m, uint64_t off, uint64_t len)
{
    for (unsigned i = 0; i < m->n; i++)
        if (m->known[i].off / 4096 <= (off + len) / 4096 &&
            off / 4096 <= (m->known[i].off + m->known[i].len) / 4096)
            return true;
    return false;
}

static void check(struct model *m, uint32_t space)
{
    for (unsigned i = 0; i < 300; i++) {
        uint64_t off = next_random(m, space), len = 1 + next_random(m, i % 9 ? 100 : space);
        uint32_t by_hand = lowest_by_hand(m, off, len), hit = watch_hit(&m->watch, off, len);
        assert_true(hit <= by_hand);
        if (!near_any(m, off, len))
            assert_int_equal(hit, WATCH_NONE);
    }
}

static void run(struct model *m, uint32_t space, uint32_t longest)
{
    uint32_t ifd = 0;
    for (unsigned i = 0; i < 1500; i++) {
        struct known k = {.off = next_random(m, space),
                          .len = 1 + next_random(m, longest),
                          .n_before = m->watch.n};
        ifd += next_random(m, 2);
        k.ifd = ifd;
        assert_int_equal(watch_add(&m->watch, k.off, k.len, ifd), 0);
        m->known[m->n++] = k;
        if (next_random(m, 200) == 0) {
            unsigned keep = next_random(m, m->n);
            watch_cut(&m->watch, m->known[keep].n_before);
            m->n = keep;
            ifd = keep ? m->known[keep - 1].ifd : 0;
        }
        if (i % 100 == 0)
            check(m, space);
    }
    check(m, space);
}

static void no_write_is_missed(void **state)
{
    (void)state;
    static struct model m;
    static const uint32_t spaces[] = {1u << 12, 1u << 16, 1u << 23}, longest[] = {3, 200, 20000};
    for (unsigned i = 0; i < 9; i++) {
        memset(&m, 0, sizeof(m));
        m.random = i + 1;
        m.memory.limit = 16 << 20;
        watch_init(&m.watch, &m.memory);
        run(&m, spaces[i / 3], longest[i % 3]);
        watch_clear(&m.watch);
        assert_int_equal(m.memory.used, 0);
    }
}

/* However many directories are said to lie in one page. */
static void one_page_costs_little(void **state)
{
    (void)state;
    struct memory memory = {.limit = 16 << 20};
    struct watch watch;
    watch_init(&watch, &memory);
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(watch_add(&watch, 8192 + i % 4000, 1 + i % 90, i), 0);
    assert_true(watch.n <= 64);
    assert_int_equal(watch_hit(&watch, 8192, 1), 0);
    assert_int_equal(watch_hit(&watch, 8191, 1), WATCH_NONE);
    assert_int_equal(watch_hit(&watch, 3 * 4096 - 1, 1), 0);
    assert_int_equal(watch_hit(&watch, 0, UINT64_MAX), 0);
    watch_clear(&watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_write_is_missed),
        cmocka_unit_test(one_page_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
