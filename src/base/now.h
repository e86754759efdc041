/* The clocks. */
#ifndef SQYFS_BASE_NOW_H
#define SQYFS_BASE_NOW_H

#include <stdint.h>
#include <time.h>

/* Monotonic: for intervals, whatever becomes of the time of day. */
int64_t now_ms(void);

/* The time of day as filesystems take it, for what files say. */
struct timespec now_real(void);

/* `ms` from now by that clock: until when a condition variable waits. `ms` >= 0. */
struct timespec now_later(clockid_t clock, int64_t ms);

#endif
