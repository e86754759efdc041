/* Tables of what was measured: one a volume, then the geometric means. */
#ifndef SQYFS_BENCH_REPORT_H
#define SQYFS_BENCH_REPORT_H

#include <stdio.h>

#include "measure.h"

struct report;

/* `csv` may be NULL; both are borrowed. NULL: out of memory. */
struct report *report_open(const struct peer *const *peers, unsigned n_peers, FILE *csv);
void report_volume(struct report *report, const struct volume *volume,
                   const struct measure *measures);
/* Geometric means over the volumes whose noise is known (generated), over the others, over all;
 * speeds also as a multiple of the first peer named `base`. */
void report_means(const struct report *report, const char *base);
/* Whether every peer gave back every voxel. */
bool report_all_exact(const struct report *report);
void report_close(struct report **report);

#endif
