/* How long each of many calls took. */
#ifndef SQYFS_BENCH_LATENCY_H
#define SQYFS_BENCH_LATENCY_H

#include <stddef.h>
#include <stdint.h>

struct latency {
    float *ms; /* owned */
    size_t n, room;
};

/* Its memory is there from the start, so that no measured call waits for it. 0 or -ENOMEM. */
int latency_create(size_t room, struct latency *out);
void latency_destroy(struct latency *latency);

/* What is beyond its room is counted for nothing: room is the number of calls. */
void latency_add(struct latency *latency, double seconds);

/* All series in one, sorted. 0 or -ENOMEM. */
int latency_join(const struct latency *series, unsigned n, struct latency *out);
/* The quantile, 0 <= share <= 1, in ms; 0 where there was no call. */
double latency_at(const struct latency *sorted, double share);

#endif
