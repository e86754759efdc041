#include "store/records.h"

#include <stdlib.h>

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

unsigned records_find(const struct records *records, unsigned n, uint64_t off)
{
    unsigned lo = 0, hi = n;
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        if (records_end(&records->at[mid]) > off)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}
