/* A table page: up to PAGE_RECORDS consecutive extents of the plain file, and how they lie in the
 * blob. No I/O, no locks. The bytes: FORMAT.md, "Table pages". */
#ifndef SQYFS_STORE_PAGE_H
#define SQYFS_STORE_PAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "codec/sqy.h"
#include "store/blob.h"

#define PAGE_RECORDS      256u
#define PAGE_RECORD_BYTES 66u /* as stored, before compression */
#define PAGE_HEAD_BYTES   16u /* frame head, magic, count, coding */
#define PAGE_MAX_BYTES    (PAGE_HEAD_BYTES + PAGE_RECORDS * PAGE_RECORD_BYTES)

struct page_record {
    struct blob_claim claim;
    struct blob_chunk chunk;
};

/* What a run of records adds up to. */
struct page_totals {
    uint64_t n;           /* records */
    uint64_t live;        /* coded bytes, shares of a chunk pro rata */
    uint64_t provisional; /* plain bytes flagged PROVISIONAL or LOWER_RUNG */
    uint64_t mapped;      /* plain bytes */
};

/* A directory's entry. The page holds all extents from `low` up to the next entry's `low`. */
struct page_ref {
    uint64_t low;
    uint64_t off; /* of the frame in the blob; 0: never written */
    uint32_t len; /* of the frame */
    uint64_t sum; /* sum64 of the frame */
    struct page_totals totals;
};

void page_totals_add(struct page_totals *sum, const struct page_totals *more);
void page_totals_sub(struct page_totals *sum, const struct page_totals *less);
struct page_totals page_record_totals(const struct page_record *record);

/* Whether a record could be in a blob at all: box, claim inside the decoded chunk, flags, coded
 * bytes inside [BLOB_HEADER_BYTES, end). Used on what callers give and on what files say. */
bool page_record_is_valid(const struct page_record *record, uint32_t n_pipelines, uint64_t end);

/* Library state for packing and unpacking; one thread at a time. */
struct page_coder;
int page_coder_create(struct page_coder **out);
void page_coder_destroy(struct page_coder **coder);

/* Writes the frame of 1 .. PAGE_RECORDS records, compressed where that is smaller. Returns its
 * length (at most PAGE_MAX_BYTES) or a negative errno. */
ssize_t page_write(struct page_coder *coder, const struct page_record *records, unsigned n,
                   uint8_t frame[PAGE_MAX_BYTES]);

/* Reads the frame that `ref` describes; its sum has been verified against the directory or is
 * verified here. Extents are sorted, disjoint, inside [ref->low, high), add up to ref->totals;
 * chunks lie before the page. -EBADMSG where not. */
int page_parse(struct page_coder *coder, const void *frame, const struct page_ref *ref,
               uint64_t high, uint32_t n_pipelines, struct page_record records[PAGE_RECORDS]);

#endif
