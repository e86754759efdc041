/* Inside a table: shared by table.c (pages in memory, finding), table_reserve.c (what a change
 * needs), table_change.c (carving and inserting) and table_snapshot.c (publishing), nobody else. */
#ifndef SQYFS_STORE_TABLE_IMPL_H
#define SQYFS_STORE_TABLE_IMPL_H

#include "store/records.h"
#include "store/table.h"

/* Spare records kept from one change to the next, so that the usual change allocates nothing. */
#define TABLE_SPARES 4u

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
    struct records *spare[TABLE_SPARES];
    unsigned n_spare;
    struct records **reserve;
    size_t n_reserve;
    struct page **reserve_page;
    size_t n_reserve_page;
};

/* table.c */
/* The page whose range holds `off`, and where its range ends. */
size_t table_page_index(const struct table *table, uint64_t off);
uint64_t table_page_high(const struct table *table, size_t i);
/* First record of a resident page that ends behind `off`. */
unsigned table_record_index(const struct page *page, uint64_t off);
/* Room for `n` pages in table->pages. 0 or -ENOMEM. */
int table_grow_pages(struct table *table, size_t n);
void table_free_page(struct page **page);
/* The list of clean pages by last use; taking out what is not in it does nothing. */
void table_list_clean(struct table *table, struct page *page);
void table_unlist_clean(struct table *table, struct page *page);
/* Drops the oldest clean pages above the limit. */
void table_evict(struct table *table);

/* table_reserve.c */
struct table_need {
    size_t missing; /* pages that are not here */
    size_t records; /* fresh ones, copies of shared ones, second halves */
    size_t splits;
    size_t removed; /* pages that may go */
    size_t counted; /* the page counted last; SIZE_MAX: none */
};
/* Adds what changing [off, end) needs at most, when the change as a whole puts in at most `more`
 * records. A page that lies wholly in the range need not be here: it goes. */
void table_reserve_count(struct table *table, uint64_t off, uint64_t end, size_t more,
                         struct table_need *need);
/* Makes sure that a change can be carried through. 0, -EAGAIN (pages are missing), -ENOMEM. */
int table_reserve_for(struct table *table, struct table_need *need, size_t more);
void table_reserve_end(struct table *table);
/* Room to note `more` removed keys. 0 or -ENOMEM. */
int table_reserve_removed(struct table *table, size_t more);
/* From the reserve: records with one owner, and a dirty page with nothing in it. */
struct records *table_reserve_take(struct table *table);
struct page *table_reserve_take_page(struct table *table, uint64_t low);

/* table_change.c */
/* The page differs from what is stored. */
void table_mark_changed(struct table *table, struct page *page);
/* The published directory, or the one a snapshot is about to publish, may have this page's key. */
void table_note_removed(struct table *table, const struct page *page);
void table_remove_pages(struct table *table, size_t from, size_t to);

#endif
