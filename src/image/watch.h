/* Which bytes of the file were read to parse which directory, so that a write to them is noticed.
 *
 * Ranges are kept by 4-KiB page. Adding is for rising directory numbers only; watch_cut() takes the
 * most recent ones away. Answers may err towards too much: that costs a second parse. */
#ifndef SQYFS_IMAGE_WATCH_H
#define SQYFS_IMAGE_WATCH_H

#include <stdbool.h>

#include "image/array.h"

#define WATCH_NONE UINT32_MAX

struct watch_range;

struct watch {
    struct memory *memory;
    struct watch_range *ranges;
    uint32_t n, cap;
    uint32_t *heads; /* by hash of the page: its most recent range */
    uint32_t n_heads;
};

void watch_init(struct watch *watch, struct memory *memory);
void watch_clear(struct watch *watch);

/* 0, -ENOMEM or -E2BIG. off + len must not wrap. */
int watch_add(struct watch *watch, uint64_t off, uint64_t len, uint32_t ifd);
/* Forgets all but the first `n` ranges. */
void watch_cut(struct watch *watch, uint32_t n);
/* The lowest directory that has bytes in [off, off + len); WATCH_NONE where none has. */
uint32_t watch_hit(const struct watch *watch, uint64_t off, uint64_t len);

#endif
