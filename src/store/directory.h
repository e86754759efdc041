/* The directory of a blob's table pages, as the records of a chain build it up. No I/O. */
#ifndef SQYFS_STORE_DIRECTORY_H
#define SQYFS_STORE_DIRECTORY_H

#include <stddef.h>
#include <stdint.h>

#include "store/checkpoint.h"
#include "store/page.h"

struct directory {
    struct page_ref *refs; /* ascending low keys */
    size_t n;
};

void directory_clear(struct directory *directory);
/* What the directory is after a record. 0, -ENOMEM, -EBADMSG where it does not add up. */
int directory_apply(struct directory *directory, const struct checkpoint *checkpoint);
/* Tree over the pages' checksums. */
int directory_digest(const struct page_ref *refs, size_t n, uint64_t *digest);

#endif
