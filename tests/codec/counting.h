/* Counts what the program allocates, in place of the C library's own functions. */
#ifndef SQYFS_TEST_COUNTING_H
#define SQYFS_TEST_COUNTING_H

#include <stdbool.h>
#include <stddef.h>

/* False under a sanitizer, which has functions of its own, and without glibc. */
bool counting_works(void);
/* Allocations so far. */
size_t counting_calls(void);
/* Bytes that are allocated now; and the most that were since the peak was last taken. */
size_t counting_bytes(void);
size_t counting_take_peak(void);

#endif
