/* A change of the table: what it said of the range is carved out, the new record is put in. All it
 * takes has been set aside before (table_reserve.c), so no step here can fail. */
#include <assert.h>
#include <string.h>

#include "store/table_impl.h"

void table_mark_changed(struct table *table, struct page *page)
{
    table_unlist_clean(table, page);
    page->dirty = true;
    page->version = ++table->version;
}

/* Readies a resident page for a change: no snapshot shares its records. */
static void own(struct table *table, struct page *page)
{
    if (page->records->n_owners > 1) {
        struct records *mine = table_reserve_take(table);
        memcpy(mine->at, page->records->at, page->ref.totals.n * sizeof(mine->at[0]));
        records_free(&page->records);
        page->records = mine;
    }
    table_mark_changed(table, page);
}

static void count_in(struct table *table, struct page *page, const struct page_record *record)
{
    struct page_totals totals = page_record_totals(record);
    page_totals_add(&page->ref.totals, &totals);
    page_totals_add(&table->totals, &totals);
}

static void count_out(struct table *table, struct page *page, const struct page_record *record)
{
    struct page_totals totals = page_record_totals(record);
    page_totals_sub(&page->ref.totals, &totals);
    page_totals_sub(&table->totals, &totals);
}

static void put_record(struct table *table, struct page *page, unsigned k,
                       const struct page_record *record)
{
    struct page_record *at = page->records->at;
    unsigned n = (unsigned)page->ref.totals.n;
    assert(n < PAGE_RECORDS);
    memmove(at + k + 1, at + k, (n - k) * sizeof(*at));
    at[k] = *record;
    count_in(table, page, record);
}

static void drop_records(struct table *table, struct page *page, unsigned from, unsigned to)
{
    struct page_record *at = page->records->at;
    unsigned n = (unsigned)page->ref.totals.n;
    for (unsigned k = from; k < to; k++)
        count_out(table, page, &at[k]);
    memmove(at + from, at + to, (n - to) * sizeof(*at));
}

void table_note_removed(struct table *table, const struct page *page)
{
    if (!page->listed && !table->snapshot_taken)
        return;
    assert(table->n_removed < table->cap_removed);
    table->removed[table->n_removed++] = page->ref.low;
}

void table_remove_pages(struct table *table, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        struct page *page = table->pages[i];
        table_note_removed(table, page);
        table_unlist_clean(table, page);
        page_totals_sub(&table->totals, &page->ref.totals);
        table_free_page(&page);
    }
    memmove(table->pages + from, table->pages + to, (table->n_pages - to) * sizeof(struct page *));
    table->n_pages -= to - from;
}

/* Leaves a page in place with nothing in it. */
static void empty_page(struct table *table, struct page *page)
{
    if (!page->records || page->records->n_owners > 1) {
        records_free(&page->records);
        page->records = table_reserve_take(table);
    }
    page_totals_sub(&table->totals, &page->ref.totals);
    page->ref.totals = (struct page_totals){0};
    table_mark_changed(table, page);
}

static void insert_page(struct table *table, size_t i, struct page *page)
{
    assert(table->n_pages < table->cap_pages);
    memmove(table->pages + i + 1, table->pages + i, (table->n_pages - i) * sizeof(struct page *));
    table->pages[i] = page;
    table->n_pages++;
}

static void split_page(struct table *table, size_t i)
{
    struct page *left = table->pages[i];
    unsigned n = (unsigned)left->ref.totals.n, half = n / 2;
    own(table, left);

    struct page *right = table_reserve_take_page(table, left->records->at[half].claim.off);
    memcpy(right->records->at, left->records->at + half, (n - half) * sizeof(struct page_record));
    for (unsigned k = half; k < n; k++) {
        struct page_totals totals = page_record_totals(&left->records->at[k]);
        page_totals_add(&right->ref.totals, &totals);
        page_totals_sub(&left->ref.totals, &totals);
    }
    insert_page(table, i + 1, right);
}

/* The page for one more record at `off`, with room. A stack that grows fills page after page to the
 * brim; anywhere else a full page is halved. */
static size_t page_with_room(struct table *table, uint64_t off)
{
    size_t i = table_page_index(table, off);
    struct page *page = table->pages[i];
    unsigned n = (unsigned)page->ref.totals.n;
    if (n < PAGE_RECORDS)
        return i;
    if (i + 1 == table->n_pages && records_end(&page->records->at[n - 1]) <= off) {
        insert_page(table, i + 1, table_reserve_take_page(table, off));
        return i + 1;
    }
    split_page(table, i);
    return table_page_index(table, off);
}

static void move_front(struct page_record *record, uint64_t off)
{
    uint64_t cut = off - record->claim.off;
    record->claim.off += cut;
    record->claim.src += (uint32_t)cut;
    record->claim.len -= cut;
}

/* Cuts the record that holds `off` in two there. */
static void cut_record(struct table *table, uint64_t off)
{
    size_t i = table_page_index(table, off);
    struct page *page = table->pages[i];
    unsigned k = table_record_index(page, off);
    if (k == page->ref.totals.n || page->records->at[k].claim.off >= off)
        return;

    page = table->pages[page_with_room(table, off)];
    own(table, page);
    k = table_record_index(page, off);
    struct page_record *at = page->records->at, rest = at[k];
    move_front(&rest, off);
    count_out(table, page, &at[k]);
    at[k].claim.len = off - at[k].claim.off;
    /* put_record() goes by the count of records: back in before it */
    count_in(table, page, &at[k]);
    put_record(table, page, k + 1, &rest);
}

static void carve_page(struct table *table, struct page *page, uint64_t off, uint64_t end)
{
    unsigned from = table_record_index(page, off), to = from;
    while (to < page->ref.totals.n && page->records->at[to].claim.off < end)
        to++;
    if (from == to)
        return;
    own(table, page);
    struct page_record *at = page->records->at;

    if (at[to - 1].claim.off < end && records_end(&at[to - 1]) > end) {
        count_out(table, page, &at[to - 1]);
        move_front(&at[to - 1], end);
        count_in(table, page, &at[to - 1]);
        to--;
    }
    if (from < to && at[from].claim.off < off) {
        count_out(table, page, &at[from]);
        at[from].claim.len = off - at[from].claim.off;
        count_in(table, page, &at[from]);
        from++;
    }
    drop_records(table, page, from, to);
}

/* Takes [off, end) out of all records. Where the page of `off` itself is covered it stays, empty,
 * if `keep`: it gets the record that follows. */
static void carve(struct table *table, uint64_t off, uint64_t end, bool keep)
{
    size_t first = table_page_index(table, off);
    if (table->pages[first]->ref.low < off || table_page_high(table, first) > end) {
        /* a record that sticks out on both sides becomes two, and then neither does */
        cut_record(table, off);
        first = table_page_index(table, off);
    }
    size_t covered_from = first, i = first;
    if (table->pages[first]->ref.low < off)
        covered_from++;
    for (i = covered_from; i < table->n_pages && table_page_high(table, i) <= end; i++)
        ;
    size_t covered_to = i;
    if (covered_from > first)
        carve_page(table, table->pages[first], off, end);
    if (covered_to < table->n_pages && table->pages[covered_to]->ref.low < end)
        carve_page(table, table->pages[covered_to], off, end);

    if (covered_from < covered_to && covered_from == first && (keep || first == 0)) {
        empty_page(table, table->pages[first]);
        covered_from++;
    }
    if (covered_from < covered_to)
        table_remove_pages(table, covered_from, covered_to);
}

static bool joins(const struct page_record *before, const struct page_record *record)
{
    return before->chunk.coded_off == record->chunk.coded_off &&
           before->chunk.flags == record->chunk.flags &&
           before->chunk.pipeline == record->chunk.pipeline &&
           records_end(before) == record->claim.off &&
           before->claim.src + before->claim.len == record->claim.src;
}

/* Puts a record where carve() has made room for it, cut where pages meet. */
static void insert(struct table *table, struct page_record record)
{
    uint64_t end = records_end(&record);
    while (record.claim.off < end) {
        size_t i = page_with_room(table, record.claim.off);
        struct page *page = table->pages[i];
        uint64_t high = table_page_high(table, i), to = end < high ? end : high;
        struct page_record part = record;
        part.claim.len = to - part.claim.off;

        own(table, page);
        unsigned k = table_record_index(page, part.claim.off);
        struct page_record *before = k > 0 ? &page->records->at[k - 1] : NULL;
        if (before && joins(before, &part)) {
            count_out(table, page, before);
            before->claim.len += part.claim.len;
            count_in(table, page, before);
        } else {
            put_record(table, page, k, &part);
        }
        move_front(&record, to);
    }
}

int table_commit(struct table *table, const struct blob_chunk *chunk,
                 const struct blob_claim *claims, unsigned n_claims)
{
    struct table_need need = {.counted = SIZE_MAX};
    size_t more = 3 * (size_t)n_claims; /* a cut, and a piece on either page */
    for (unsigned i = 0; i < n_claims; i++)
        table_reserve_count(table, claims[i].off, claims[i].off + claims[i].len, more, &need);
    int r = table_reserve_for(table, &need, more);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < n_claims; i++) {
        struct page_record record = {.claim = claims[i], .chunk = *chunk};
        carve(table, claims[i].off, records_end(&record), true);
        insert(table, record);
    }
    table_reserve_end(table);
    return 0;
}

int table_move_chunk(struct table *table, uint64_t from, uint64_t to)
{
    int n_moved = 0;
    assert(!table->snapshot_taken);
    for (size_t i = 0; i < table->n_pages; i++) {
        struct page *page = table->pages[i];
        unsigned n = page->dirty && page->records ? (unsigned)page->ref.totals.n : 0;
        int n_before = n_moved;
        for (unsigned k = 0; k < n; k++) {
            struct blob_chunk *chunk = &page->records->at[k].chunk;
            if (chunk->coded_off != from || chunk->flags & BLOB_SPLIT)
                continue;
            chunk->coded_off = to;
            n_moved++;
        }
        if (n_moved > n_before)
            table_mark_changed(table, page);
    }
    return n_moved;
}

int table_punch(struct table *table, uint64_t off, uint64_t end)
{
    if (off >= end)
        return 0;
    struct table_need need = {.counted = SIZE_MAX};
    table_reserve_count(table, off, end, 1, &need);
    int r = table_reserve_for(table, &need, 1);
    if (r < 0)
        return r;
    carve(table, off, end, false);
    table_reserve_end(table);
    return 0;
}
