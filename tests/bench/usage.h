/* What the time went by for: ours, the daemon's, and the whole machine's, whose difference to the
 * others is the kernel's own threads (writeback, compression, loop devices) and whoever else is there. */
#ifndef SQYFS_BENCH_USAGE_H
#define SQYFS_BENCH_USAGE_H

#include <sys/types.h>

struct usage {                      /* seconds */
    double wall;                    /* of the monotonic clock */
    double client, daemon, machine; /* of CPU, user and system */
};

double usage_now(void);

/* `daemon`: 0 for none. */
struct usage usage_take(pid_t daemon);
struct usage usage_between(const struct usage *from, const struct usage *to);

#endif
