/* A page's records:
 *
 *           table_attach()              change                table_snapshot()
 *   ABSENT ----------------> CLEAN ----------------> DIRTY ----------------------> DIRTY, shared
 *      ^                      |  ^                     ^                             |       |
 *      +----------------------+  |                     +---- change: own copy -------+       |
 *       table_evict(): the       |                                                           |
 *       oldest clean one         +---------- table_snapshot_end(published) ------------------+
 *
 * Changes are in table_change.c, snapshots in table_snapshot.c.
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

#include "store/table_impl.h"

unsigned table_record_index(const struct page *page, uint64_t off)
{
    return records_find(page->records, (unsigned)page->ref.totals.n, off);
}

void table_unlist_clean(struct table *table, struct page *page)
{
    if (!page->newer && !page->older && table->newest != page)
        return;
    *(page->newer ? &page->newer->older : &table->newest) = page->older;
    *(page->older ? &page->older->newer : &table->oldest) = page->newer;
    page->newer = page->older = NULL;
    table->n_clean--;
}

void table_list_clean(struct table *table, struct page *page)
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
    table_unlist_clean(table, page);
    table_list_clean(table, page);
}

void table_evict(struct table *table)
{
    while (table->n_clean > table->limit + table->boost) {
        struct page *page = table->oldest;
        table_unlist_clean(table, page);
        records_free(&page->records);
    }
}

void table_free_page(struct page **page)
{
    if (*page)
        records_free(&(*page)->records);
    free(*page);
    *page = NULL;
}

int table_grow_pages(struct table *table, size_t n)
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
    int r = table_grow_pages(table, table->n_pages + 1);
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
        table_free_page(&t->pages[i]);
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
    int r = table_grow_pages(table, n + 1);
    if (r < 0)
        return r;
    bool keep_first = refs[0].low != 0;
    if (!keep_first) {
        table_free_page(&table->pages[0]);
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
    table_evict(table);
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

size_t table_page_index(const struct table *table, uint64_t off)
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

uint64_t table_page_high(const struct table *table, size_t i)
{
    return i + 1 < table->n_pages ? table->pages[i + 1]->ref.low : UINT64_MAX;
}

int table_find(struct table *table, uint64_t off, struct blob_extent *out)
{
    size_t i = table_page_index(table, off);
    struct page *page = table->pages[i];
    if (!page->records) {
        page->wanted = true;
        return -EAGAIN;
    }
    touch(table, page);

    const struct page_record *at = page->records->at;
    unsigned n = (unsigned)page->ref.totals.n, k = table_record_index(page, off);
    if (k < n && at[k].claim.off <= off) {
        *out = (struct blob_extent){.claim = at[k].claim, .chunk = at[k].chunk};
        return 0;
    }
    uint64_t from = k > 0 ? records_end(&at[k - 1]) : page->ref.low;
    uint64_t to = k < n ? at[k].claim.off : table_page_high(table, i);
    *out = (struct blob_extent){.claim = {.off = from, .len = to - from}, .hole = true};
    return 0;
}

bool table_missing(const struct table *table, uint64_t off, uint64_t end, bool wanted,
                   struct page_ref *ref, uint64_t *high)
{
    for (size_t i = table_page_index(table, off); i < table->n_pages; i++) {
        const struct page *page = table->pages[i];
        if (page->ref.low >= end)
            break;
        if (!page->records && (page->wanted || !wanted)) {
            *ref = page->ref;
            *high = table_page_high(table, i);
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
            *high = table_page_high(table, i);
            return true;
        }
    }
    return false;
}

void table_attach(struct table *table, const struct page_ref *ref, struct records **records)
{
    struct page *page = table->pages[table_page_index(table, ref->low)];
    bool wanted = !page->records && page->ref.low == ref->low && page->ref.off == ref->off;
    if (wanted) {
        page->records = *records;
        page->wanted = false;
        *records = NULL;
        if (!page->dirty)
            table_list_clean(table, page);
        table_evict(table);
    }
    records_free(records);
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
            end = records_end(record);
            struct page_totals one = page_record_totals(record);
            page_totals_add(&sum, &one);
        }
        assert(end <= table_page_high(table, i));
        assert(memcmp(&sum, &page->ref.totals, sizeof(sum)) == 0);
    }
    assert(memcmp(&all, &table->totals, sizeof(all)) == 0);
    size_t listed = 0;
    for (const struct page *page = table->newest; page; page = page->older)
        listed++;
    assert(listed == n_clean && n_clean == table->n_clean);
}
