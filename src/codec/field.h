/* Residuals in memory, as the kernels want them for coding: rows of one half (even or odd columns),
 * dealt out to eight lanes. Row r goes to lane r % 8, behind the rows that are there; so eight rows
 * make a group, and eight columns of a group a block. Blocks go on from a group into the next. Small
 * fields lie in one lane, from end to end, as one group. Nobody outside
 * codec/ includes this. */
#ifndef SQYFS_CODEC_FIELD_H
#define SQYFS_CODEC_FIELD_H

#include <stdbool.h>
#include <stddef.h>

#include "codec/kernels.h"

struct field {
    size_t rows, width;
    size_t n_lanes, n_groups, n_blocks;
    struct lanes lanes;
};

/* In eight lanes a block reaches into the next group at most: rows have eight columns or more. False
 * where it does not fit size_t. */
bool field_measure(struct field *field, size_t rows, size_t width, bool one_lane);
/* Numbers of memory that it takes; to be given to lanes.z. */
size_t field_room(const struct field *field);
/* Rows and blocks up to and with group `group`. A block belongs to the group that it begins in. */
size_t field_rows_to(const struct field *field, size_t group);
size_t field_blocks_to(const struct field *field, size_t group);
/* Where row `row` begins. May be written 31 numbers beyond its end, rows in rising order. */
uint16_t *field_row(const struct field *field, size_t row);
/* Zeros behind the last row of every lane, up to the end of its last block. */
void field_fill_up(const struct field *field);

#endif
