/* A page's records:
 *
 *            attach()                  change                   snapshot()
 *   ABSENT ----------> CLEAN -------------------> DIRTY ----------------------> DIRTY, shared
 *      ^                 |  ^                       ^                             |       |
 *      +-----------------+  |                       +---- change: own copy -------+       |
 *       evict(), oldest     +------------------------------- snapshot_end(published) -----+
 *       of the clean ones
 *
 * ABSENT and DIRTY at once is a page that table_distrust() wants written again.
 *
 * Invariants (table_check()): low keys ascend strictly, the first is 0; a page's records ascend,
 * are disjoint and lie between its low key and the next one's (an extent that would cross is cut in
 * two); totals add up; the list of clean pages holds exactly the resident clean ones that are
 * stored. */
#include "store/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Two neighbours with no more records than this together become one page. Far enough from a full
 * page that no page is merged and split in turns. */
#define MERGE_RECORDS (PAGE_RECORDS / 2)
/* Spare pages kept from one change to the next, so that the usual change allocates nothing. */
#define KEEP_SPARES 4u

struct records {
    unsigned n_owners; /* the page, and a snapshot */
    struct page_record at[PAGE_RECORDS];
};

struct page {
    struct page_ref ref;
    struct records *records;    /* NULL: absent */
    uint64_t version;           /* of its last change */
    bool dirty;                 /* to be written by the next snapshot */
    bool listed;                /* the last published directory has an entry with this low key */
    bool wanted;                /* absent, and something came to nothing for it */
    struct page *newer, *older; /* clean pages by last use */
};

struct table {
    struct page **pages; /* by low key */
    size_t n_pages, cap_pages;
    struct page_totals totals;
    uint64_t version;

    struct page *newest, *oldest;
    size_t n_clean, limit;
    size_t boost; /* pages allowed above the limit, so that a change that needs many gets on */

    uint64_t *removed;
    size_t n_removed, cap_removed;
    bool snapshot_taken;

    /* what a change may use up */
    struct records *spare[KEEP_SPARES];
    unsigned n_spare;
    struct records **reserve;
    size_t n_reserve;
    struct page **reserve_page;
    size_t n_reserve_page;
};

/* ---- records ---- */

struct records *records_create(void)
{
    struct records *records = malloc(sizeof(*records));
    if (records)
        records->n_owners = 1;
    return records;
}

void records_free(struct records **records)
{
    if (*records && --(*records)->n_owners == 0)
        free(*records);
    *records = NULL;
}

struct page_record *records_at(struct records *records)
{
    return records->at;
}

const struct page_record *snapshot_records(const struct snapshot_page *page)
{
    return page->records->at;
}

static uint64_t record_end(const struct page_record *record)
{
    return record->claim.off + record->claim.len;
}

/* First record that ends behind `off`. */
static unsigned record_index(const struct page *page, uint64_t off)
{
    unsigned lo = 0, hi = (unsigned)page->ref.totals.n;
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        if (record_end(&page->records->at[mid]) > off)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* ---- the list of clean pages ---- */

static void unlist_clean(struct table *table, struct page *page)
{
    if (!page->newer && !page->older && table->newest != page)
        return;
    *(page->newer ? &page->newer->older : &table->newest) = page->older;
    *(page->older ? &page->older->newer : &table->oldest) = page->newer;
    page->newer = page->older = NULL;
    table->n_clean--;
}

static void list_clean(struct table *table, struct page *page)
{
    page->newer = NULL;
    page->older = table->newest;
    *(table->newest ? &table->newest->newer : &table->oldest) = page;
    table->newest = page;
    table->n_clean++;
}

static void touch(struct table *table, struct page *page)
{
    if (table->newest == page || page->dirty || page->ref.off == 0)
        return;
    unlist_clean(table, page);
    list_clean(table, page);
}

static void evict(struct table *table)
{
    while (table->n_clean > table->limit + table->boost) {
        struct page *page = table->oldest;
        unlist_clean(table, page);
        records_free(&page->records);
    }
}

/* ---- life ---- */

static void page_free(struct page **page)
{
    if (*page)
        records_free(&(*page)->records);
    free(*page);
    *page = NULL;
}

static int grow_pages(struct table *table, size_t n)
{
    if (n <= table->cap_pages)
        return 0;
    size_t cap = n + n / 2;
    struct page **pages = reallocarray(table->pages, cap, sizeof(struct page *));
    if (!pages)
        return -ENOMEM;
    table->pages = pages;
    table->cap_pages = cap;
    return 0;
}

/* The page without which no table is: low key 0, nothing in it. */
static int add_first_page(struct table *table)
{
    int r = grow_pages(table, table->n_pages + 1);
    if (r < 0)
        return r;
    struct page *page = calloc(1, sizeof(*page));
    struct records *records = records_create();
    if (!page || !records) {
        free(page);
        free(records);
        return -ENOMEM;
    }
    page->records = records;
    memmove(table->pages + 1, table->pages, table->n_pages * sizeof(struct page *));
    table->pages[0] = page;
    table->n_pages++;
    return 0;
}

int table_create(struct table **out)
{
    struct table *table = calloc(1, sizeof(*table));
    if (!table)
        return -ENOMEM;
    table->limit = TABLE_RESIDENT_PAGES;
    int r = add_first_page(table);
    if (r < 0) {
        table_destroy(&table);
        return r;
    }
    *out = table;
    return 0;
}

void table_destroy(struct table **table)
{
    struct table *t = *table;
    if (!t)
        return;
    for (size_t i = 0; i < t->n_pages; i++)
        page_free(&t->pages[i]);
    for (unsigned i = 0; i < t->n_spare; i++)
        free(t->spare[i]);
    free(t->pages);
    free(t->removed);
    free(t->reserve);
    free(t->reserve_page);
    free(t);
    *table = NULL;
}

int table_set_directory(struct table *table, const struct page_ref *refs, size_t n)
{
    if (n == 0)
        return 0;
    int r = grow_pages(table, n + 1);
    if (r < 0)
        return r;
    bool keep_first = refs[0].low != 0;
    if (!keep_first) {
        page_free(&table->pages[0]);
        table->n_pages = 0;
    }
    for (size_t i = 0; i < n; i++) {
        struct page *page = calloc(1, sizeof(*page));
        if (!page)
            return -ENOMEM;
        page->ref = refs[i];
        page->listed = true;
        table->pages[table->n_pages++] = page;
        page_totals_add(&table->totals, &refs[i].totals);
    }
    return 0;
}

void table_limit(struct table *table, size_t n_resident)
{
    table->limit = n_resident ? n_resident : 1;
    evict(table);
}

const struct page_totals *table_totals(const struct table *table)
{
    return &table->totals;
}

bool table_is_dirty(const struct table *table)
{
    if (table->n_removed > 0)
        return true;
    for (size_t i = 0; i < table->n_pages; i++)
        if (table->pages[i]->dirty)
            return true;
    return false;
}

size_t table_n_resident(const struct table *table)
{
    size_t n = 0;
    for (size_t i = 0; i < table->n_pages; i++)
        n += table->pages[i]->records != NULL;
    return n;
}

/* ---- finding ---- */

/* The page whose range holds `off`. */
static size_t page_index(const struct table *table, uint64_t off)
{
    size_t lo = 0, hi = table->n_pages;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (table->pages[mid]->ref.low <= off)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static uint64_t page_high(const struct table *table, size_t i)
{
    return i + 1 < table->n_pages ? table->pages[i + 1]->ref.low : UINT64_MAX;
}

int table_find(struct table *table, uint64_t off, struct blob_extent *out)
{
    size_t i = page_index(table, off);
    struct page *page = table->pages[i];
    if (!page->records) {
        page->wanted = true;
        return -EAGAIN;
    }
    touch(table, page);

    const struct page_record *at = page->records->at;
    unsigned n = (unsigned)page->ref.totals.n, k = record_index(page, off);
    if (k < n && at[k].claim.off <= off) {
        *out = (struct blob_extent){.claim = at[k].claim, .chunk = at[k].chunk};
        return 0;
    }
    uint64_t from = k > 0 ? record_end(&at[k - 1]) : page->ref.low;
    uint64_t to = k < n ? at[k].claim.off : page_high(table, i);
    *out = (struct blob_extent){.claim = {.off = from, .len = to - from}, .hole = true};
    return 0;
}

bool table_missing(const struct table *table, uint64_t off, uint64_t end, bool wanted,
                   struct page_ref *ref, uint64_t *high)
{
    for (size_t i = page_index(table, off); i < table->n_pages; i++) {
        const struct page *page = table->pages[i];
        if (page->ref.low >= end)
            break;
        if (!page->records && (page->wanted || !wanted)) {
            *ref = page->ref;
            *high = page_high(table, i);
            return true;
        }
    }
    return false;
}

bool table_missing_dirty(const struct table *table, struct page_ref *ref, uint64_t *high)
{
    for (size_t i = 0; i < table->n_pages; i++) {
        const struct page *page = table->pages[i];
        if (page->dirty && !page->records) {
            *ref = page->ref;
            *high = page_high(table, i);
            return true;
        }
    }
    return false;
}

void table_attach(struct table *table, const struct page_ref *ref, struct records **records)
{
    struct page *page = table->pages[page_index(table, ref->low)];
    bool wanted = !page->records && page->ref.low == ref->low && page->ref.off == ref->off;
    if (wanted) {
        page->records = *records;
        page->wanted = false;
        *records = NULL;
        if (!page->dirty)
            list_clean(table, page);
        evict(table);
    }
    records_free(records);
}

/* ---- what a change needs ---- */

struct need {
    size_t missing; /* pages that are not here */
    size_t records; /* fresh ones, copies of shared ones, second halves */
    size_t splits;
    size_t removed; /* pages that may go */
};

/* Adds what changing [off, end) needs at most, when the change as a whole puts in at most `more`
 * records. A page that lies wholly in the range need not be here: it goes. */
static void count_need(struct table *table, uint64_t off, uint64_t end, size_t more,
                       size_t *counted, struct need *need)
{
    size_t first = page_index(table, off), last = page_index(table, end - 1);
    for (size_t i = first; i <= last; i++) {
        struct page *page = table->pages[i];
        bool covered = page->ref.low >= off && page_high(table, i) <= end;
        if (covered) {
            need->removed++;
            need->records += i == first;
            continue;
        }
        if (!page->records) {
            page->wanted = true;
            need->missing++;
            continue;
        }
        /* neighbouring claims share their pages: count those once */
        if (i == *counted)
            continue;
        *counted = i;
        need->records += page->records->n_owners > 1;
        need->splits += page->ref.totals.n + more > PAGE_RECORDS;
    }
}

static void release_reserve(struct table *table)
{
    while (table->n_reserve > 0) {
        struct records *records = table->reserve[--table->n_reserve];
        if (table->n_spare < KEEP_SPARES)
            table->spare[table->n_spare++] = records;
        else
            free(records);
    }
    while (table->n_reserve_page > 0)
        free(table->reserve_page[--table->n_reserve_page]);
    free(table->reserve);
    free(table->reserve_page);
    table->reserve = NULL;
    table->reserve_page = NULL;
}

static int reserve_removed(struct table *table, size_t more)
{
    size_t cap = table->n_removed + more;
    if (cap <= table->cap_removed)
        return 0;
    cap += cap / 2;
    uint64_t *removed = reallocarray(table->removed, cap, sizeof(uint64_t));
    if (!removed)
        return -ENOMEM;
    table->removed = removed;
    table->cap_removed = cap;
    return 0;
}

static int fill_reserve(struct table *table, const struct need *need)
{
    size_t n_records = need->records + need->splits;
    if (grow_pages(table, table->n_pages + need->splits) < 0 ||
        reserve_removed(table, need->removed) < 0)
        return -ENOMEM;
    table->reserve = calloc(n_records + 1, sizeof(struct records *));
    table->reserve_page = calloc(need->splits + 1, sizeof(struct page *));
    if (!table->reserve || !table->reserve_page)
        return -ENOMEM;
    while (table->n_reserve < n_records) {
        struct records *records =
            table->n_spare > 0 ? table->spare[--table->n_spare] : records_create();
        if (!records)
            return -ENOMEM;
        table->reserve[table->n_reserve++] = records;
    }
    while (table->n_reserve_page < need->splits) {
        struct page *page = calloc(1, sizeof(*page));
        if (!page)
            return -ENOMEM;
        table->reserve_page[table->n_reserve_page++] = page;
    }
    return 0;
}

/* Makes sure that a change can be carried through. */
static int prepare_change(struct table *table, struct need *need, size_t more)
{
    if (need->missing > 0) {
        table->boost += need->missing + 1;
        return -EAGAIN;
    }
    /* a half full page takes PAGE_RECORDS / 2 more before it splits again; one may be added behind
     */
    need->splits += more / (PAGE_RECORDS / 2) + 2;
    /* what one claim splits off, the next may cover */
    need->removed += need->splits;
    int r = fill_reserve(table, need);
    if (r < 0)
        release_reserve(table);
    return r;
}

static void end_change(struct table *table)
{
    release_reserve(table);
    table->boost = 0;
    evict(table);
}

static struct records *take_records(struct table *table)
{
    assert(table->n_reserve > 0);
    struct records *records = table->reserve[--table->n_reserve];
    records->n_owners = 1;
    return records;
}

/* ---- changing a page ---- */

static void mark_changed(struct table *table, struct page *page)
{
    unlist_clean(table, page);
    page->dirty = true;
    page->version = ++table->version;
}

/* Readies a resident page for a change: no snapshot shares its records. */
static void own(struct table *table, struct page *page)
{
    if (page->records->n_owners > 1) {
        struct records *mine = take_records(table);
        memcpy(mine->at, page->records->at, page->ref.totals.n * sizeof(mine->at[0]));
        records_free(&page->records);
        page->records = mine;
    }
    mark_changed(table, page);
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

/* ---- changing the directory ---- */

/* The published directory, or the one a snapshot is about to publish, may have this key. */
static void note_removed(struct table *table, const struct page *page)
{
    if (!page->listed && !table->snapshot_taken)
        return;
    assert(table->n_removed < table->cap_removed);
    table->removed[table->n_removed++] = page->ref.low;
}

static void remove_pages(struct table *table, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        struct page *page = table->pages[i];
        note_removed(table, page);
        unlist_clean(table, page);
        page_totals_sub(&table->totals, &page->ref.totals);
        page_free(&page);
    }
    memmove(table->pages + from, table->pages + to, (table->n_pages - to) * sizeof(struct page *));
    table->n_pages -= to - from;
}

/* Leaves a page in place with nothing in it. */
static void empty_page(struct table *table, struct page *page)
{
    if (!page->records || page->records->n_owners > 1) {
        records_free(&page->records);
        page->records = take_records(table);
    }
    page_totals_sub(&table->totals, &page->ref.totals);
    page->ref.totals = (struct page_totals){0};
    mark_changed(table, page);
}

static void insert_page(struct table *table, size_t i, struct page *page)
{
    assert(table->n_pages < table->cap_pages);
    memmove(table->pages + i + 1, table->pages + i, (table->n_pages - i) * sizeof(struct page *));
    table->pages[i] = page;
    table->n_pages++;
}

static struct page *take_page(struct table *table, uint64_t low)
{
    assert(table->n_reserve_page > 0);
    struct page *page = table->reserve_page[--table->n_reserve_page];
    page->ref.low = low;
    page->records = take_records(table);
    mark_changed(table, page);
    return page;
}

static void split_page(struct table *table, size_t i)
{
    struct page *left = table->pages[i];
    unsigned n = (unsigned)left->ref.totals.n, half = n / 2;
    own(table, left);

    struct page *right = take_page(table, left->records->at[half].claim.off);
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
    size_t i = page_index(table, off);
    struct page *page = table->pages[i];
    unsigned n = (unsigned)page->ref.totals.n;
    if (n < PAGE_RECORDS)
        return i;
    if (i + 1 == table->n_pages && record_end(&page->records->at[n - 1]) <= off) {
        insert_page(table, i + 1, take_page(table, off));
        return i + 1;
    }
    split_page(table, i);
    return page_index(table, off);
}

/* ---- carving and inserting ---- */

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
    size_t i = page_index(table, off);
    struct page *page = table->pages[i];
    unsigned k = record_index(page, off);
    if (k == page->ref.totals.n || page->records->at[k].claim.off >= off)
        return;

    page = table->pages[page_with_room(table, off)];
    own(table, page);
    k = record_index(page, off);
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
    unsigned from = record_index(page, off), to = from;
    while (to < page->ref.totals.n && page->records->at[to].claim.off < end)
        to++;
    if (from == to)
        return;
    own(table, page);
    struct page_record *at = page->records->at;

    if (at[to - 1].claim.off < end && record_end(&at[to - 1]) > end) {
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
    size_t first = page_index(table, off);
    if (table->pages[first]->ref.low < off || page_high(table, first) > end) {
        /* a record that sticks out on both sides becomes two, and then neither does */
        cut_record(table, off);
        first = page_index(table, off);
    }
    size_t covered_from = first, i = first;
    if (table->pages[first]->ref.low < off)
        covered_from++;
    for (i = covered_from; i < table->n_pages && page_high(table, i) <= end; i++)
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
        remove_pages(table, covered_from, covered_to);
}

static bool joins(const struct page_record *before, const struct page_record *record)
{
    return before->chunk.coded_off == record->chunk.coded_off &&
           before->chunk.flags == record->chunk.flags &&
           before->chunk.pipeline == record->chunk.pipeline &&
           record_end(before) == record->claim.off &&
           before->claim.src + before->claim.len == record->claim.src;
}

/* Puts a record where carve() has made room for it, cut where pages meet. */
static void insert(struct table *table, struct page_record record)
{
    uint64_t end = record_end(&record);
    while (record.claim.off < end) {
        size_t i = page_with_room(table, record.claim.off);
        struct page *page = table->pages[i];
        uint64_t high = page_high(table, i), to = end < high ? end : high;
        struct page_record part = record;
        part.claim.len = to - part.claim.off;

        own(table, page);
        unsigned k = record_index(page, part.claim.off);
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
    struct need need = {0};
    size_t counted = SIZE_MAX, more = 3 * (size_t)n_claims; /* a cut, and a piece on either page */
    for (unsigned i = 0; i < n_claims; i++)
        count_need(table, claims[i].off, claims[i].off + claims[i].len, more, &counted, &need);
    int r = prepare_change(table, &need, more);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < n_claims; i++) {
        struct page_record record = {.claim = claims[i], .chunk = *chunk};
        carve(table, claims[i].off, record_end(&record), true);
        insert(table, record);
    }
    end_change(table);
    return 0;
}

int table_punch(struct table *table, uint64_t off, uint64_t end)
{
    if (off >= end)
        return 0;
    struct need need = {0};
    size_t counted = SIZE_MAX;
    count_need(table, off, end, 1, &counted, &need);
    int r = prepare_change(table, &need, 1);
    if (r < 0)
        return r;
    carve(table, off, end, false);
    end_change(table);
    return 0;
}

/* ---- publishing ---- */

/* Takes pages out that have become empty, and joins small neighbours. */
static void tidy(struct table *table)
{
    for (size_t i = table->n_pages; i-- > 1;) {
        struct page *right = table->pages[i], *left = table->pages[i - 1];
        if (right->dirty && right->records && right->ref.totals.n == 0) {
            remove_pages(table, i, i + 1);
            continue;
        }
        if (!(right->dirty || left->dirty) || !right->records || !left->records)
            continue;
        size_t n_left = left->ref.totals.n, n_right = right->ref.totals.n;
        if (n_left + n_right > MERGE_RECORDS || left->records->n_owners > 1)
            continue;
        memcpy(left->records->at + n_left, right->records->at,
               n_right * sizeof(struct page_record));
        mark_changed(table, left);
        page_totals_add(&left->ref.totals, &right->ref.totals);
        page_totals_add(&table->totals, &right->ref.totals);
        remove_pages(table, i, i + 1);
    }
}

/* The first page is always here; the directory has it only while there is something in it. */
static void settle_first(struct table *table)
{
    struct page *first = table->pages[0];
    if (!first->dirty || !first->records || first->ref.totals.n > 0)
        return;
    note_removed(table, first);
    first->dirty = false;
    first->listed = false;
    first->ref.off = 0;
}

int table_snapshot(struct table *table, struct table_snapshot *out)
{
    assert(!table->snapshot_taken);
    *out = (struct table_snapshot){0};
    if (reserve_removed(table, table->n_pages) < 0)
        return -ENOMEM;
    tidy(table);
    settle_first(table);

    out->pages = calloc(table->n_pages + 1, sizeof(struct snapshot_page));
    out->removed = calloc(table->n_removed + 1, sizeof(uint64_t));
    if (!out->pages || !out->removed) {
        free(out->pages);
        free(out->removed);
        return -ENOMEM;
    }
    for (size_t i = 0; i < table->n_pages; i++) {
        struct page *page = table->pages[i];
        assert(!page->dirty || page->records);
        if (page->ref.totals.n == 0)
            continue;
        struct snapshot_page *to = &out->pages[out->n_pages++];
        *to = (struct snapshot_page){.ref = page->ref, .version = page->version};
        if (page->dirty) {
            to->records = page->records;
            to->records->n_owners++;
            out->n_changed++;
        }
    }
    memcpy(out->removed, table->removed, table->n_removed * sizeof(uint64_t));
    out->n_removed = table->n_removed;
    out->totals = table->totals;
    table->snapshot_taken = true;
    return 0;
}

static void page_published(struct table *table, const struct snapshot_page *from)
{
    struct page *page = table->pages[page_index(table, from->ref.low)];
    if (page->ref.low != from->ref.low)
        return;
    page->listed = true;
    if (page->version != from->version)
        return;
    page->ref = from->ref;
    page->dirty = false;
    list_clean(table, page);
}

void table_snapshot_end(struct table *table, struct table_snapshot *snapshot, bool published)
{
    for (size_t i = 0; i < snapshot->n_pages; i++) {
        struct snapshot_page *page = &snapshot->pages[i];
        if (!page->records)
            continue;
        records_free(&page->records);
        if (published)
            page_published(table, page);
    }
    if (published) {
        table->n_removed -= snapshot->n_removed;
        memmove(table->removed, table->removed + snapshot->n_removed,
                table->n_removed * sizeof(uint64_t));
    }
    table->snapshot_taken = false;
    free(snapshot->pages);
    free(snapshot->removed);
    *snapshot = (struct table_snapshot){0};
    evict(table);
}

void table_distrust(struct table *table, uint64_t from)
{
    for (size_t i = 0; i < table->n_pages; i++) {
        struct page *page = table->pages[i];
        if (!page->dirty && page->ref.off >= from && page->ref.off != 0)
            mark_changed(table, page);
    }
}

void table_check(const struct table *table)
{
    struct page_totals all = {0};
    size_t n_clean = 0;
    assert(table->n_pages > 0 && table->pages[0]->ref.low == 0);
    for (size_t i = 0; i < table->n_pages; i++) {
        const struct page *page = table->pages[i];
        assert(i == 0 || page->ref.low > table->pages[i - 1]->ref.low);
        page_totals_add(&all, &page->ref.totals);
        if (!page->records)
            continue;
        n_clean += !page->dirty && page->ref.off != 0;
        struct page_totals sum = {0};
        uint64_t end = page->ref.low;
        for (unsigned k = 0; k < page->ref.totals.n; k++) {
            const struct page_record *record = &page->records->at[k];
            assert(record->claim.off >= end && record->claim.len > 0);
            end = record_end(record);
            struct page_totals one = page_record_totals(record);
            page_totals_add(&sum, &one);
        }
        assert(end <= page_high(table, i));
        assert(memcmp(&sum, &page->ref.totals, sizeof(sum)) == 0);
    }
    assert(memcmp(&all, &table->totals, sizeof(all)) == 0);
    size_t listed = 0;
    for (const struct page *page = table->newest; page; page = page->older)
        listed++;
    assert(listed == n_clean && n_clean == table->n_clean);
}
