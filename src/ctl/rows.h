/* What sqyctl shows of a row of the index, for ls and info. */
#ifndef SQYFS_CTL_ROWS_H
#define SQYFS_CTL_ROWS_H

#include <stddef.h>

#include "ctl/json.h"
#include "store/index.h"

double rows_ratio(uint64_t plain_bytes, uint64_t stored_bytes);

/* "2048x2048x64 uint16", or "-". */
const char *rows_shape(const struct index_row *row, char *buf, size_t len);

/* The row's keys into the map that is open, all but the path. */
void rows_json(struct json *json, const struct index_row *row);

#endif
