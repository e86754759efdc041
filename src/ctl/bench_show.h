/* What was measured, for people and for programs. */
#ifndef SQYFS_CTL_BENCH_SHOW_H
#define SQYFS_CTL_BENCH_SHOW_H

#include "ctl/bench_run.h"

/* What one core must encode to keep up with a camera: 100 planes of 2048 x 2048 x 16 bits a second. */
#define BENCH_CAMERA_MB_S 850

struct bench_report {
    const struct bench_sample *sample;
    const struct bench_lane *lanes;
    unsigned n_lanes, n_files;
};

/* A table, and a line that recommends a pipeline. */
void bench_show_table(const struct bench_report *report);
void bench_show_json(const struct bench_report *report);
/* A line for each pipeline below one that names the columns. 0 or a negative errno. */
int bench_show_csv(const struct bench_report *report, int fd);

#endif
