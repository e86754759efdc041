#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/blob.h"
#include "util.h"

/* A blob against an array of bytes: anything that may be done to it, in any order, with as few
 * table pages in memory as there may be. */

#define PLAIN (48u << 10)

struct model {
    uint64_t random;
    struct blob *blob;
    int fd;
    uint8_t now[PLAIN], saved[PLAIN];
    uint64_t size, saved_size; /* now: of what was written; saved: of the last checkpoint */
    uint32_t tag;
    unsigned n_limit;
};

static void check_all(struct model *m, const uint8_t *expected)
{
    static uint8_t got[PLAIN];
    assert_int_equal(util_read(m->blob, 0, got, PLAIN), 0);
    assert_memory_equal(got, expected, PLAIN);
}

/* Extents and holes follow each other without gap; their sums are the statistics. */
static void check_walk(struct model *m)
{
    struct blob_stats stats;
    struct blob_extent extent;
    uint64_t n = 0, mapped = 0, provisional = 0, off = 0;
    while (off < UINT64_MAX) {
        assert_int_equal(util_find(m->blob, off, &extent), 0);
        assert_int_equal(extent.claim.off, off);
        assert_true(extent.claim.len > 0);
        off += extent.claim.len;
        if (extent.hole)
            continue;
        n++;
        mapped += extent.claim.len;
        if (extent.chunk.flags & (BLOB_PROVISIONAL | BLOB_LOWER_RUNG))
            provisional += extent.claim.len;
    }
    blob_stats(m->blob, &stats);
    assert_int_equal(stats.n_extents, n);
    assert_int_equal(stats.mapped_bytes, mapped);
    assert_int_equal(stats.provisional_bytes, provisional);
}

static void grow(struct model *m, uint64_t end)
{
    if (end > m->size)
        m->size = end;
}

static void write_one(struct model *m, uint64_t off, uint32_t len)
{
    uint8_t data[4096];
    util_fill(&m->random, data, len);
    uint32_t flags = util_below(&m->random, 4) == 0 ? BLOB_PROVISIONAL : 0;
    assert_int_equal(util_write(m->blob, off, data, len, flags), 0);
    memcpy(m->now + off, data, len);
    grow(m, off + len);
}

static void write_small(struct model *m)
{
    uint32_t len = 1 + (uint32_t)util_below(&m->random, 12);
    write_one(m, util_below(&m->random, PLAIN - len), len);
}

static void write_run(struct model *m)
{
    uint64_t off = util_below(&m->random, PLAIN - 4096);
    for (unsigned i = 0; i < 400; i++) {
        uint32_t len = 1 + (uint32_t)util_below(&m->random, 9);
        write_one(m, off, len);
        off += len;
    }
}

static void write_big(struct model *m)
{
    uint32_t len = 1 + (uint32_t)util_below(&m->random, 4095);
    write_one(m, util_below(&m->random, PLAIN - len), len);
}

/* One chunk, many places, in the order of the chunk or not. */
static void write_scattered(struct model *m)
{
    struct blob_claim claims[40];
    uint8_t data[4096];
    struct blob_chunk chunk;
    unsigned n = 0;
    uint64_t off = util_below(&m->random, 4096);
    uint32_t src = 0;
    while (n < 40 && off < PLAIN - 64) {
        uint32_t len = 1 + (uint32_t)util_below(&m->random, 40);
        claims[n++] = (struct blob_claim){.off = off, .len = len, .src = src};
        off += len + util_below(&m->random, 1500);
        src += len;
    }
    util_fill(&m->random, data, src);
    for (unsigned i = 0; i < n && util_below(&m->random, 2); i++) {
        unsigned j = (unsigned)util_below(&m->random, n);
        struct blob_claim swap = claims[i];
        claims[i] = claims[j];
        claims[j] = swap;
    }
    assert_int_equal(util_append(m->blob, data, src, 0, &chunk), 0);
    assert_int_equal(util_commit(m->blob, &chunk, claims, n), 0);
    for (unsigned i = 0; i < n; i++) {
        memcpy(m->now + claims[i].off, data + claims[i].src, claims[i].len);
        grow(m, claims[i].off + claims[i].len);
    }
}

static void punch(struct model *m)
{
    uint64_t off = util_below(&m->random, PLAIN);
    uint64_t len =
        util_below(&m->random, 3) ? util_below(&m->random, 64) : util_below(&m->random, PLAIN);
    if (len > PLAIN - off)
        len = PLAIN - off;
    assert_int_equal(util_punch(m->blob, off, len), 0);
    memset(m->now + off, 0, len);
}

static void truncate_to(struct model *m)
{
    m->size = util_below(&m->random, PLAIN);
    assert_int_equal(util_punch(m->blob, m->size, UINT64_MAX), 0);
    memset(m->now + m->size, 0, PLAIN - m->size);
}

static void checkpoint(struct model *m)
{
    static const unsigned flags[] = {0, 0, BLOB_FULL, BLOB_NO_SYNC};
    m->tag++;
    assert_int_equal(util_checkpoint(m->blob, m->size, m->tag, flags[util_below(&m->random, 4)]),
                     0);
    memcpy(m->saved, m->now, PLAIN);
    m->saved_size = m->size;
}

static void reopen(struct model *m)
{
    blob_close(&m->blob);
    int r = util_open(&io_system, m->fd, true, &m->blob);
    assert_int_equal(r, 0);
    blob_limit_pages(m->blob, m->n_limit);
    assert_int_equal(util_tag(m->blob), m->tag);
    memcpy(m->now, m->saved, PLAIN);
    m->size = m->saved_size;
    check_all(m, m->now);
}

/* A reader beside the writer sees the last checkpoint. */
static void look(struct model *m)
{
    struct blob *writer = m->blob;
    assert_int_equal(util_open(&io_system, m->fd, false, &m->blob), 0);
    blob_limit_pages(m->blob, m->n_limit);
    struct blob_state state;
    blob_state(m->blob, &state);
    assert_int_equal(state.size, m->saved_size);
    check_all(m, m->saved);
    blob_close(&m->blob);
    m->blob = writer;
}

static void run(uint64_t seed, unsigned n_limit, unsigned n_steps)
{
    static void (*const steps[])(struct model *) = {
        write_small, write_small, write_small, write_run, write_big,   write_scattered,
        punch,       punch,       checkpoint,  look,      truncate_to, reopen,
    };
    static const unsigned weight[] = {30, 30, 30, 3, 2, 6, 6, 6, 6, 1, 1, 1};
    unsigned total = 0;
    for (unsigned i = 0; i < sizeof(weight) / sizeof(weight[0]); i++)
        total += weight[i];

    static struct model m;
    m = (struct model){.random = seed, .n_limit = n_limit, .blob = util_create(&io_system)};
    m.fd = fcntl(blob_fd(m.blob), F_DUPFD_CLOEXEC, 0);
    blob_limit_pages(m.blob, n_limit);
    checkpoint(&m);
    for (unsigned i = 0; i < n_steps; i++) {
        unsigned k = 0, pick = (unsigned)util_below(&m.random, total);
        while (pick >= weight[k])
            pick -= weight[k++];
        steps[k](&m);
        if (i % 97 == 0)
            check_walk(&m);
    }
    check_all(&m, m.now);
    checkpoint(&m);
    reopen(&m);
    check_walk(&m);
    blob_close(&m.blob);
    close(m.fd);
}

static void test_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        run(seed, seed % 3 == 0 ? 200 : (unsigned)seed, 1500);
}

static void test_model_one_page_at_a_time(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 104; seed++)
        run(seed, 1, 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_model_one_page_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
