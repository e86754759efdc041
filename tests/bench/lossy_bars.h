/* What the figures of one volume have to reach, and whether they do. */
#ifndef SQYFS_BENCH_LOSSY_BARS_H
#define SQYFS_BENCH_LOSSY_BARS_H

#include "lossy_measure.h"

/* Prints a line for each bar that the measured rows say something about. */
void lossy_bars_print(const char *volume, const struct lossy_rows *rows,
                      const struct lossy_measure *measures);

#endif
