/* The table as a checkpoint writes it: a snapshot shares the records of changed pages with the
 * table, which makes its own copy where it goes on changing them. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/table_impl.h"

/* Two neighbours with no more records than this together become one page. Far enough from a full
 * page that no page is merged and split in turns. */
#define MERGE_RECORDS (PAGE_RECORDS / 2)

const struct page_record *snapshot_records(const struct snapshot_page *page)
{
    return page->records->at;
}

/* Takes pages out that have become empty, and joins small neighbours. */
static void tidy(struct table *table)
{
    for (size_t i = table->n_pages; i-- > 1;) {
        struct page *right = table->pages[i], *left = table->pages[i - 1];
        if (right->dirty && right->records && right->ref.totals.n == 0) {
            table_remove_pages(table, i, i + 1);
            continue;
        }
        if (!(right->dirty || left->dirty) || !right->records || !left->records)
            continue;
        size_t n_left = left->ref.totals.n, n_right = right->ref.totals.n;
        if (n_left + n_right > MERGE_RECORDS || left->records->n_owners > 1)
            continue;
        memcpy(left->records->at + n_left, right->records->at,
               n_right * sizeof(struct page_record));
        table_mark_changed(table, left);
        page_totals_add(&left->ref.totals, &right->ref.totals);
        page_totals_add(&table->totals, &right->ref.totals);
        table_remove_pages(table, i, i + 1);
    }
}

/* The first page is always here; the directory has it only while there is something in it. */
static void settle_first(struct table *table)
{
    struct page *first = table->pages[0];
    if (!first->dirty || !first->records || first->ref.totals.n > 0)
        return;
    table_note_removed(table, first);
    first->dirty = false;
    first->listed = false;
    first->ref.off = 0;
}

int table_snapshot(struct table *table, struct table_snapshot *out)
{
    assert(!table->snapshot_taken);
    *out = (struct table_snapshot){0};
    if (table_reserve_removed(table, table->n_pages) < 0)
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
    struct page *page = table->pages[table_page_index(table, from->ref.low)];
    if (page->ref.low != from->ref.low)
        return;
    page->listed = true;
    if (page->version != from->version)
        return;
    page->ref = from->ref;
    page->dirty = false;
    table_list_clean(table, page);
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
    table_evict(table);
}

void table_distrust(struct table *table, uint64_t from)
{
    for (size_t i = 0; i < table->n_pages; i++) {
        struct page *page = table->pages[i];
        if (!page->dirty && page->ref.off >= from && page->ref.off != 0)
            table_mark_changed(table, page);
    }
}
