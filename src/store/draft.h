/* A checkpoint record on its way: whether it says all or what has changed, and its memory. It is
 * made from a snapshot whose pages are written; publish.c writes it. */
#ifndef SQYFS_STORE_DRAFT_H
#define SQYFS_STORE_DRAFT_H

#include "store/blob_impl.h"

struct draft {
    struct checkpoint checkpoint; /* all but its offset; borrows from the blob and the snapshot */
    struct page_ref *refs;        /* all, then those that changed */
    char *meta;
    uint8_t *frame; /* room for `len` bytes, the whole record */
    size_t len;
};

/* Into an empty draft, which the caller clears in any case. The caller has the turn. -EFBIG where
 * the record would be larger than CHECKPOINT_MAX_BYTES. */
int draft_make(struct blob *blob, const struct blob_state *state, unsigned flags,
               const struct table_snapshot *snapshot, struct draft *draft);
void draft_clear(struct draft *draft);

#endif
