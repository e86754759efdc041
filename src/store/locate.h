/* Finds the last checkpoint of a blob that everything it rests on is there for, and loads its
 * directory.
 *
 * Looks from the end of the file backwards, in one read where a checkpoint ends the file. Time and
 * memory are bounded whatever the file holds (LOCATE_SCAN_MAX, CHECKPOINT_MAX_CHAIN_BYTES): what
 * has to be read twice is counted against the file's size. */
#ifndef SQYFS_STORE_LOCATE_H
#define SQYFS_STORE_LOCATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/io.h"
#include "store/checkpoint.h"
#include "store/directory.h"

/* A tail without checkpoint that is longer than this is not searched: minutes of writing at full
 * speed, while a checkpoint is due every few seconds. */
#define LOCATE_SCAN_MAX (64ull << 30)
/* The same where the header is damaged and the file may be no blob at all. */
#define LOCATE_SCAN_UNKNOWN (256ull << 20)

struct located {
    uint8_t id[CHECKPOINT_ID_BYTES];
    uint64_t off, end; /* of the record's frame */
    uint64_t sum;      /* its trailer's */
    uint64_t seq, size, digest;
    uint32_t chain;
    uint64_t chain_bytes; /* of the records after the full one */
    struct timespec mtime;
    struct page_totals totals;
    struct directory directory;
    char *pipelines[BLOB_MAX_PIPELINES];
    uint32_t n_pipelines;
    char *meta; /* "" where there is none */
    /* A later checkpoint was complete, but what it rests on is damaged: the tail is not just torn.
     */
    bool passed_over;
};

struct locate_file {
    const struct io *io;
    int fd;
    uint64_t bytes;
    bool skip_bad_sectors; /* an EIO is damage to be passed over; else it ends the search */
};

/* `id` NULL: any blob's that is consistent with itself. 0, -ENODATA where no checkpoint is to be
 * found, -ENOTSUP where one of a newer format is met, -ENOMEM or an error of reading. Caller
 * clears. */
int locate_last(const struct locate_file *file, const uint8_t *id, struct located *out);
void located_clear(struct located *located);

#endif
