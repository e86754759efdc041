#include "codec/field.h"

#include <string.h>

#define GUARD 32u /* numbers that a kernel may write beyond a row */

static size_t columns_of_block(const struct field *field)
{
    return BLOCK / field->n_lanes;
}

bool field_measure(struct field *field, size_t rows, size_t width, bool one_lane)
{
    size_t columns; /* of a lane */
    *field = (struct field){.rows = rows, .width = width, .n_lanes = one_lane ? 1 : LANES};
    const size_t deep = (rows + field->n_lanes - 1) / field->n_lanes;
    if (__builtin_mul_overflow(deep, width, &columns) || columns > SIZE_MAX / 256)
        return false;
    const size_t step = columns_of_block(field);
    field->n_groups = field->n_lanes == 1 ? 1 : deep;
    field->n_blocks = (columns + step - 1) / step;
    field->lanes.step = step;
    field->lanes.stride = field->n_lanes == 1 ? BLOCK / LANES : field->n_blocks * step + GUARD;
    return true;
}

size_t field_room(const struct field *field)
{
    return field->n_lanes == 1 ? field->n_blocks * BLOCK + GUARD : LANES * field->lanes.stride;
}

size_t field_rows_to(const struct field *field, size_t group)
{
    return group + 1 < field->n_groups ? (group + 1) * field->n_lanes : field->rows;
}

size_t field_blocks_to(const struct field *field, size_t group)
{
    const size_t step = columns_of_block(field);
    return group + 1 < field->n_groups ? ((group + 1) * field->width + step - 1) / step
                                       : field->n_blocks;
}

uint16_t *field_row(const struct field *field, size_t row)
{
    const size_t lane = row % field->n_lanes, deep = row / field->n_lanes;
    return field->lanes.z + lane * field->lanes.stride + deep * field->width;
}

void field_fill_up(const struct field *field)
{
    const size_t most = field->n_blocks * columns_of_block(field);
    for (size_t l = 0; l < field->n_lanes; l++) {
        const size_t deep = (field->rows + field->n_lanes - 1 - l) / field->n_lanes;
        uint16_t *end = field->lanes.z + l * field->lanes.stride + deep * field->width;
        memset(end, 0, (most - deep * field->width) * sizeof(*end));
    }
}
