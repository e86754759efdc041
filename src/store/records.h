/* The records of one page in memory, shared by the table and a snapshot of it. No locks: owners come
 * and go under the table's. */
#ifndef SQYFS_STORE_RECORDS_H
#define SQYFS_STORE_RECORDS_H

#include "store/page.h"

struct records {
    unsigned n_owners; /* the page, and a snapshot */
    struct page_record at[PAGE_RECORDS];
};

/* Room for one page's records, with one owner. NULL where there is no memory. */
struct records *records_create(void);
/* One owner less; the last one frees them. */
void records_free(struct records **records);
struct page_record *records_at(struct records *records);
/* First of at[0 .. n) that ends behind `off`; n: none does. */
unsigned records_find(const struct records *records, unsigned n, uint64_t off);

static inline uint64_t records_end(const struct page_record *record)
{
    return record->claim.off + record->claim.len;
}

#endif
