/* Checksums: XXH3, 64 bits, seed 0, over bytes as they lie (format-stable; source: xxHash's
 * specification). For detecting damage, not against forgery. */
#ifndef SQYFS_BASE_SUM_H
#define SQYFS_BASE_SUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t sum64(const void *data, size_t len);

/* The same of bytes that come piece by piece. */
struct sum;
struct sum *sum_create(void); /* NULL: out of memory */
void sum_destroy(struct sum **sum);
void sum_add(struct sum *sum, const void *data, size_t len);
uint64_t sum_value(const struct sum *sum);

#endif
