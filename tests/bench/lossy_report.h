/* Tables and lines of CSV of what was measured with losses. */
#ifndef SQYFS_BENCH_LOSSY_REPORT_H
#define SQYFS_BENCH_LOSSY_REPORT_H

#include <stdio.h>

#include "lossy_measure.h"

/* `noise` NULL: not known. */
void lossy_report_print(const struct volume *volume, const struct sqy_noise *noise,
                        const struct lossy_rows *rows, const struct lossy_measure *measures);

void lossy_report_csv_head(FILE *csv);
void lossy_report_csv(FILE *csv, const struct volume *volume, const struct sqy_noise *noise,
                      const struct lossy_rows *rows, const struct lossy_measure *measures,
                      unsigned threads);

#endif
