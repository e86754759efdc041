/* What is measured beside what: pipelines, most of them over a range of settings. */
#ifndef SQYFS_BENCH_LOSSY_ROWS_H
#define SQYFS_BENCH_LOSSY_ROWS_H

#include <stdbool.h>

#define LOSSY_MAX_ROWS 192

/* A series of one setting each has that of its name alone. The bars look these up. */
#define LOSSY_SERIES_SQEAZY "quantiser x264 ultrafast 8"
#define LOSSY_SERIES_NOISE  "noise interlace"

struct lossy_row {
    char series[48];
    double setting; /* of the series: qp, crf, q */
    char pipeline[160];
};

struct lossy_rows {
    struct lossy_row list[LOSSY_MAX_ROWS];
    unsigned n;
};

/* Those with one of the texts in their series or pipeline; all where there are none. `quick`: few settings
 * of the fast ones. */
void lossy_rows_make(struct lossy_rows *rows, const char *const *only, unsigned n_only, bool quick);
/* One more, a series of its own. */
void lossy_rows_add(struct lossy_rows *rows, const char *pipeline);

#endif
