/* The table of a blob in memory: which extent holds which plain bytes, in pages that need not all
 * be here. No I/O and no locks: it says which page is missing, the caller reads it and attaches it.
 *
 * A change happens whole or not at all: what it needs is allocated before anything is touched. */
#ifndef SQYFS_STORE_TABLE_H
#define SQYFS_STORE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/page.h"
#include "store/records.h"

/* Clean pages kept in memory by default: 6 MiB, enough for 64 GiB in chunks of 1 MiB. */
#define TABLE_RESIDENT_PAGES 256u

struct table;

/* An empty table. */
int table_create(struct table **out);
void table_destroy(struct table **table);

/* Puts a directory into an empty table; `refs` ascend by low key. 0 or -ENOMEM. */
int table_set_directory(struct table *table, const struct page_ref *refs, size_t n);
/* How many clean pages may stay in memory; at least 1. */
void table_limit(struct table *table, size_t n_resident);

const struct page_totals *table_totals(const struct table *table);
/* Whether anything has changed since the last published snapshot. */
bool table_is_dirty(const struct table *table);
size_t table_n_resident(const struct table *table);

/* The extent that holds `off`, or the hole around it within its page. 0 or -EAGAIN. */
int table_find(struct table *table, uint64_t off, struct blob_extent *out);

/* The first page with bytes of [off, end) that is not here; false where all are. With `wanted` only
 * pages count for which a call has returned -EAGAIN. `high` is where the page's range ends. */
bool table_missing(const struct table *table, uint64_t off, uint64_t end, bool wanted,
                   struct page_ref *ref, uint64_t *high);
/* The first page that has to be written again but is not here (after table_distrust()). */
bool table_missing_dirty(const struct table *table, struct page_ref *ref, uint64_t *high);

/* Takes *records over, whether the table still wants them or not. */
void table_attach(struct table *table, const struct page_ref *ref, struct records **records);

/* The claims replace what the table said of their bytes; records are valid
 * (page_record_is_valid()). 0, -EAGAIN (a page at a claim's border is not here), -ENOMEM; on error
 * nothing has changed. */
int table_commit(struct table *table, const struct blob_chunk *chunk,
                 const struct blob_claim *claims, unsigned n_claims);
/* Makes [off, end) a hole. Same errors. */
int table_punch(struct table *table, uint64_t off, uint64_t end);

/* A chunk has been copied from one place of the file to another: the dirty pages, which must all be
 * here, name the new one from now on. Lists of parts stay. Returns how many records did. No snapshot
 * is taken. */
int table_move_chunk(struct table *table, uint64_t from, uint64_t to);

/* The table as it is at one moment, while it goes on changing. */
struct snapshot_page {
    struct page_ref ref;     /* of a changed page: low and totals; the writer fills in the rest */
    struct records *records; /* NULL: unchanged */
    uint64_t version;
};

struct table_snapshot {
    struct snapshot_page *pages; /* all of them */
    size_t n_pages, n_changed;
    uint64_t *removed; /* low keys that are in the last published snapshot but perhaps no more */
    size_t n_removed;
    struct page_totals totals;
};

/* One at a time. 0 or -ENOMEM. */
int table_snapshot(struct table *table, struct table_snapshot *out);
const struct page_record *snapshot_records(const struct snapshot_page *page);
/* Ends a snapshot: its pages are stored where their refs say now, or nothing has come of it. */
void table_snapshot_end(struct table *table, struct table_snapshot *snapshot, bool published);

/* Pages stored at `from` and behind may not be on the disk: all of them count as changed. */
void table_distrust(struct table *table, uint64_t from);

/* Aborts where an invariant does not hold; for tests. */
void table_check(const struct table *table);

#endif
