/* What a change of the table may use up: pages, records and room to note removed keys, counted and
 * allocated before anything is touched. So a change that has begun cannot fail.
 *
 *   table_reserve_count() for each range -> table_reserve_for() -> the change -> table_reserve_end()
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "store/table_impl.h"

void table_reserve_count(struct table *table, uint64_t off, uint64_t end, size_t more,
                         struct table_need *need)
{
    size_t first = table_page_index(table, off), last = table_page_index(table, end - 1);
    for (size_t i = first; i <= last; i++) {
        struct page *page = table->pages[i];
        bool covered = page->ref.low >= off && table_page_high(table, i) <= end;
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
        if (i == need->counted)
            continue;
        need->counted = i;
        need->records += page->records->n_owners > 1;
        need->splits += page->ref.totals.n + more > PAGE_RECORDS;
    }
}

static void release_reserve(struct table *table)
{
    while (table->n_reserve > 0) {
        struct records *records = table->reserve[--table->n_reserve];
        if (table->n_spare < TABLE_SPARES)
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

int table_reserve_removed(struct table *table, size_t more)
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

static int fill_reserve(struct table *table, const struct table_need *need)
{
    size_t n_records = need->records + need->splits;
    if (table_grow_pages(table, table->n_pages + need->splits) < 0 ||
        table_reserve_removed(table, need->removed) < 0)
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

int table_reserve_for(struct table *table, struct table_need *need, size_t more)
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

void table_reserve_end(struct table *table)
{
    release_reserve(table);
    table->boost = 0;
    table_evict(table);
}

struct records *table_reserve_take(struct table *table)
{
    assert(table->n_reserve > 0);
    struct records *records = table->reserve[--table->n_reserve];
    records->n_owners = 1;
    return records;
}

struct page *table_reserve_take_page(struct table *table, uint64_t low)
{
    assert(table->n_reserve_page > 0);
    struct page *page = table->reserve_page[--table->n_reserve_page];
    page->ref.low = low;
    page->records = table_reserve_take(table);
    table_mark_changed(table, page);
    return page;
}
