#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/table.h"
#include "util.h"

/* The table alone against an array, with memory that gives out at every single allocation, and a
 * pretended file that pages are written to and loaded from. */

#define PLAIN 20000u

/* ---- memory that gives out ---- */

static long allocations_left = -1; /* -1: without end */

static bool may_allocate(void)
{
    if (allocations_left < 0)
        return true;
    if (allocations_left == 0)
        return false;
    allocations_left--;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

void *__wrap_malloc(size_t size)
{
    return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
    return may_allocate() ? __real_reallocarray(p, n, size) : NULL;
}

/* ---- a file of pages ---- */

#define MAX_STORED 60000u

struct stored {
    struct page_ref ref;
    struct page_record records[PAGE_RECORDS];
};

struct bench {
    struct table *table;
    uint64_t random;
    uint32_t values[PLAIN]; /* chunk number << 8 and more, per byte; 0: hole */
    uint32_t n_chunks;
    struct stored *file[MAX_STORED]; /* by offset, which starts at 1 */
    size_t n_stored;
    bool out_of_memory; /* try every call with all too little first */
};

static void load(struct bench *b, const struct page_ref *ref)
{
    const struct stored *stored = b->file[ref->off];
    assert_int_equal(stored->ref.low, ref->low);
    struct records *records = records_create();
    memcpy(records_at(records), stored->records, ref->totals.n * sizeof(struct page_record));
    table_attach(b->table, ref, &records);
    assert_null(records);
}

static void load_around(struct bench *b, uint64_t off, uint64_t end)
{
    struct page_ref ref;
    uint64_t high;
    while (table_missing(b->table, off, end, false, &ref, &high)) {
        assert_true(high > ref.low);
        load(b, &ref);
    }
}

/* ---- the model ---- */

/* What a byte of a chunk is told from others by. */
static uint32_t value_of(uint32_t chunk, uint32_t src)
{
    return chunk << 10 | src;
}

static void check_bytes(struct bench *b)
{
    for (uint64_t off = 0; off < PLAIN;) {
        struct blob_extent extent;
        while (table_find(b->table, off, &extent) == -EAGAIN)
            load_around(b, off, off + 1);
        assert_true(extent.claim.off <= off && extent.claim.len > off - extent.claim.off);
        uint64_t end = extent.claim.off + extent.claim.len;
        for (; off < end && off < PLAIN; off++) {
            uint32_t src = extent.claim.src + (uint32_t)(off - extent.claim.off);
            uint32_t expected = b->values[off];
            uint32_t got = extent.hole ? 0 : value_of((uint32_t)extent.chunk.coded_sum, src);
            assert_int_equal(got, expected);
        }
    }
}

typedef int change_fn(struct bench *b, const void *arg);

/* Carries a change out, after it has failed for want of each of the allocations that it makes. */
static void change(struct bench *b, change_fn *fn, const void *arg, uint64_t off, uint64_t end)
{
    for (long n = b->out_of_memory ? 0 : -1;; n++) {
        struct page_totals before = *table_totals(b->table);
        allocations_left = n;
        int r = fn(b, arg);
        allocations_left = -1;
        if (r >= 0)
            break;
        assert_memory_equal(table_totals(b->table), &before, sizeof(before));
        if (r == -EAGAIN) {
            load_around(b, off, end);
            n = b->out_of_memory ? -1 : -2;
        } else {
            assert_int_equal(r, -ENOMEM);
            table_check(b->table);
        }
    }
}

struct commit {
    struct blob_chunk chunk;
    struct blob_claim claims[64];
    unsigned n;
};

static int do_commit(struct bench *b, const void *arg)
{
    const struct commit *c = arg;
    return table_commit(b->table, &c->chunk, c->claims, c->n);
}

static void start_commit(struct bench *b, struct commit *c)
{
    b->n_chunks++;
    c->n = 0;
    c->chunk = (struct blob_chunk){
        .box = {.type = SQY_BYTES, .planes = 1, .rows = 1, .width = 1024, .spp = 1},
        .coded_off = BLOB_HEADER_BYTES + b->n_chunks,
        .coded_len = 1,
        .coded_sum = b->n_chunks,
    };
}

static void finish_commit(struct bench *b, const struct commit *c)
{
    const struct blob_claim *last = &c->claims[c->n - 1];
    change(b, do_commit, c, c->claims[0].off, last->off + last->len);
    for (unsigned i = 0; i < c->n; i++)
        for (uint32_t k = 0; k < c->claims[i].len; k++)
            b->values[c->claims[i].off + k] = value_of(b->n_chunks, c->claims[i].src + k);
}

static void commit_run(struct bench *b, uint64_t off, uint32_t len)
{
    struct commit c;
    start_commit(b, &c);
    c.claims[c.n++] = (struct blob_claim){.off = off, .len = len, .src = 5};
    finish_commit(b, &c);
}

static void commit_scattered(struct bench *b)
{
    struct commit c;
    start_commit(b, &c);
    uint64_t off = util_below(&b->random, PLAIN / 2);
    uint32_t src = 0;
    while (c.n < 64 && off < PLAIN - 16) {
        uint32_t len = 1 + (uint32_t)util_below(&b->random, 15);
        c.claims[c.n++] = (struct blob_claim){.off = off, .len = len, .src = src};
        src += len;
        off += len + util_below(&b->random, c.n % 8 ? 20 : 2000);
    }
    finish_commit(b, &c);
}

static int do_punch(struct bench *b, const void *arg)
{
    const struct blob_claim *range = arg;
    return table_punch(b->table, range->off, range->off + range->len);
}

static void punch(struct bench *b, uint64_t off, uint64_t len)
{
    struct blob_claim range = {.off = off, .len = len};
    change(b, do_punch, &range, off, off + len);
    for (uint64_t i = off; i < off + len && i < PLAIN; i++)
        b->values[i] = 0;
}

static void random_change(struct bench *b)
{
    uint64_t off = util_below(&b->random, PLAIN - 1000);
    switch (util_below(&b->random, 12)) {
    case 0:
        commit_scattered(b);
        break;
    case 1:
        punch(b, off, 1 + util_below(&b->random, 20));
        break;
    case 2:
        if (util_below(&b->random, 8) == 0)
            punch(b, off, 1 + util_below(&b->random, PLAIN));
        break;
    case 3:
        commit_run(b, off, 1 + (uint32_t)util_below(&b->random, 1000));
        break;
    case 4:
        for (unsigned i = 0; i < 60; i++, off += 3)
            commit_run(b, off, 3);
        break;
    default:
        commit_run(b, off, 1 + (uint32_t)util_below(&b->random, 4));
    }
}

/* ---- publishing ---- */

struct published {
    struct page_ref *refs;
    size_t n;
};

/* Applies a snapshot to the list of what is published, as a reader of deltas would. */
static void publish_refs(struct published *p, const struct table_snapshot *snapshot)
{
    struct page_ref *refs = calloc(p->n + snapshot->n_pages + 1, sizeof(*refs));
    size_t n = 0, j = 0;
    for (size_t i = 0; i < p->n; i++) {
        bool gone = false;
        for (size_t k = 0; k < snapshot->n_removed; k++)
            gone |= snapshot->removed[k] == p->refs[i].low;
        for (size_t k = 0; k < snapshot->n_pages; k++)
            gone |= snapshot->pages[k].records && snapshot->pages[k].ref.low == p->refs[i].low;
        if (!gone)
            refs[n++] = p->refs[i];
    }
    for (size_t k = 0; k < snapshot->n_pages; k++)
        if (snapshot->pages[k].records)
            refs[n++] = snapshot->pages[k].ref;
    for (size_t i = 1; i < n; i++)
        for (j = i; j > 0 && refs[j].low < refs[j - 1].low; j--) {
            struct page_ref swap = refs[j];
            refs[j] = refs[j - 1];
            refs[j - 1] = swap;
        }
    free(p->refs);
    *p = (struct published){refs, n};
    assert_int_equal(n, snapshot->n_pages);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(refs[i].low, snapshot->pages[i].ref.low);
        assert_int_equal(refs[i].off, snapshot->pages[i].ref.off);
        assert_int_equal(refs[i].totals.n, snapshot->pages[i].ref.totals.n);
    }
}

static void take_snapshot(struct bench *b, struct table_snapshot *snapshot)
{
    for (long n = b->out_of_memory ? 0 : -1;; n++) {
        allocations_left = n;
        int r = table_snapshot(b->table, snapshot);
        allocations_left = -1;
        if (r >= 0)
            return;
        assert_int_equal(r, -ENOMEM);
        table_check(b->table);
    }
}

static void store_pages(struct bench *b, struct table_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->n_pages; i++) {
        struct snapshot_page *page = &snapshot->pages[i];
        if (!page->records)
            continue;
        assert_true(++b->n_stored < MAX_STORED);
        struct stored *stored = calloc(1, sizeof(*stored));
        page->ref.off = b->n_stored;
        stored->ref = page->ref;
        memcpy(stored->records, snapshot_records(page),
               page->ref.totals.n * sizeof(struct page_record));
        b->file[b->n_stored] = stored;
    }
}

/* Goes on changing the table while the snapshot is being written. */
static void publish(struct bench *b, struct published *p, bool succeed)
{
    struct table_snapshot snapshot;
    take_snapshot(b, &snapshot);
    table_check(b->table);
    for (unsigned i = 0; i < 20; i++)
        random_change(b);
    store_pages(b, &snapshot);
    for (unsigned i = 0; i < 20; i++)
        random_change(b);
    if (succeed)
        publish_refs(p, &snapshot);
    table_snapshot_end(b->table, &snapshot, succeed);
    table_check(b->table);
}

static void restart(struct bench *b, const struct published *p, size_t limit)
{
    table_destroy(&b->table);
    assert_int_equal(table_create(&b->table), 0);
    assert_int_equal(table_set_directory(b->table, p->refs, p->n), 0);
    table_limit(b->table, limit);
    table_check(b->table);
    assert_false(table_is_dirty(b->table));
}

static void run(uint64_t seed, size_t limit, unsigned rounds, bool out_of_memory)
{
    static struct bench b;
    struct published p = {0};
    b = (struct bench){.random = seed, .out_of_memory = out_of_memory};
    assert_int_equal(table_create(&b.table), 0);
    table_limit(b.table, limit);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 30; i++)
            random_change(&b);
        table_check(b.table);
        publish(&b, &p, round % 3 != 2);
        if (round % 7 == 6)
            check_bytes(&b);
        if (round % 10 == 9) {
            struct table_snapshot last;
            take_snapshot(&b, &last);
            store_pages(&b, &last);
            publish_refs(&p, &last);
            table_snapshot_end(b.table, &last, true);
            assert_false(table_is_dirty(b.table));
            restart(&b, &p, limit);
            check_bytes(&b);
            assert_true(table_n_resident(b.table) <= limit + 1);
        }
    }
    check_bytes(&b);
    punch(&b, 0, UINT64_MAX - 1);
    assert_int_equal(table_totals(b.table)->n, 0);
    assert_int_equal(table_totals(b.table)->live, 0);
    table_check(b.table);
    table_destroy(&b.table);
    for (size_t i = 1; i <= b.n_stored; i++)
        free(b.file[i]);
    free(p.refs);
}

static void test_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        run(seed, seed, 60, false);
}

static void test_model_without_memory(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++)
        run(seed, 3, 40, true);
}

static void test_append_fills_pages(void **state)
{
    (void)state;
    static struct bench b;
    struct table_snapshot snapshot;
    b = (struct bench){0};
    assert_int_equal(table_create(&b.table), 0);
    for (unsigned i = 0; i < 4 * PAGE_RECORDS; i++)
        commit_run(&b, 3 * i, 2);
    assert_int_equal(table_snapshot(b.table, &snapshot), 0);
    assert_int_equal(snapshot.n_pages, 4);
    table_snapshot_end(b.table, &snapshot, false);
    table_destroy(&b.table);
}

static void test_joined_claims_are_one_extent(void **state)
{
    (void)state;
    static struct bench b;
    struct commit c;
    b = (struct bench){0};
    assert_int_equal(table_create(&b.table), 0);
    start_commit(&b, &c);
    for (unsigned i = 0; i < 8; i++)
        c.claims[c.n++] = (struct blob_claim){.off = 100 + 4 * i, .len = 4, .src = 4 * i};
    finish_commit(&b, &c);
    assert_int_equal(table_totals(b.table)->n, 1);
    check_bytes(&b);
    table_destroy(&b.table);
}

/* A record put between those that a snapshot holds does not show in it. */
static void test_snapshot_stays_as_it_was(void **state)
{
    (void)state;
    static struct bench b;
    struct table_snapshot snapshot;
    static struct page_record kept[100];
    b = (struct bench){0};
    assert_int_equal(table_create(&b.table), 0);
    for (unsigned i = 0; i < 100; i++)
        commit_run(&b, 10 * i, 2);
    assert_int_equal(table_snapshot(b.table, &snapshot), 0);
    memcpy(kept, snapshot_records(&snapshot.pages[0]), sizeof(kept));
    commit_run(&b, 55, 2);
    assert_memory_equal(kept, snapshot_records(&snapshot.pages[0]), sizeof(kept));
    punch(&b, 200, 300);
    assert_memory_equal(kept, snapshot_records(&snapshot.pages[0]), sizeof(kept));
    table_snapshot_end(b.table, &snapshot, true);
    assert_true(table_is_dirty(b.table));
    check_bytes(&b);
    table_destroy(&b.table);
}

/* More claims than a page has records, between the records of full pages that a snapshot holds. */
static void test_many_claims(void **state)
{
    (void)state;
    static struct bench b;
    static struct blob_claim claims[4000];
    struct table_snapshot snapshot;
    struct commit c;
    for (unsigned n = 1; n <= 4000; n = n * 2 + 1) {
        b = (struct bench){0};
        assert_int_equal(table_create(&b.table), 0);
        for (unsigned i = 0; i < 4 * PAGE_RECORDS; i++)
            commit_run(&b, 16 * i, 2);
        assert_int_equal(table_snapshot(b.table, &snapshot), 0);
        start_commit(&b, &c);
        c.chunk.box.width = 8000;
        for (unsigned i = 0; i < n; i++)
            claims[i] = (struct blob_claim){.off = 5 + 4 * i, .len = 1, .src = 2 * i};
        assert_int_equal(table_commit(b.table, &c.chunk, claims, n), 0);
        table_check(b.table);
        assert_true(table_totals(b.table)->n >= 4 * PAGE_RECORDS);
        table_snapshot_end(b.table, &snapshot, false);
        table_destroy(&b.table);
    }
}

/* Pages that may not be on the disk count as changed, also those that are not in memory. */
static void test_distrust(void **state)
{
    (void)state;
    static struct bench b;
    struct published p = {0};
    struct table_snapshot snapshot;
    b = (struct bench){.random = 3};
    assert_int_equal(table_create(&b.table), 0);
    for (unsigned i = 0; i < 4 * PAGE_RECORDS; i++)
        commit_run(&b, 3 * i, 2);
    assert_int_equal(table_snapshot(b.table, &snapshot), 0);
    store_pages(&b, &snapshot);
    publish_refs(&p, &snapshot);
    table_snapshot_end(b.table, &snapshot, true);
    table_limit(b.table, 1);
    assert_false(table_is_dirty(b.table));

    table_distrust(b.table, 3);
    table_check(b.table);
    struct page_ref ref;
    uint64_t high;
    unsigned n = 0;
    for (; table_missing_dirty(b.table, &ref, &high); n++)
        load(&b, &ref);
    assert_int_equal(n, 1);
    assert_int_equal(table_snapshot(b.table, &snapshot), 0);
    assert_int_equal(snapshot.n_changed, 2);
    table_snapshot_end(b.table, &snapshot, false);
    check_bytes(&b);
    table_destroy(&b.table);
    for (size_t i = 1; i <= b.n_stored; i++)
        free(b.file[i]);
    free(p.refs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_model_without_memory),
        cmocka_unit_test(test_append_fills_pages),
        cmocka_unit_test(test_joined_claims_are_one_extent),
        cmocka_unit_test(test_snapshot_stays_as_it_was),
        cmocka_unit_test(test_many_claims),
        cmocka_unit_test(test_distrust),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
