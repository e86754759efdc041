/* Questions about the units of a layout that whoever cuts by them asks. */
#ifndef SQYFS_VOLUME_UNITS_H
#define SQYFS_VOLUME_UNITS_H

#include <stdbool.h>

#include "codec/sqy.h"
#include "image/layout.h"

/* image/ and codec/ do not know each other: here their types are held to be the same. */
#define UNITS_SAME_TYPE(name)                                                                      \
    _Static_assert((int)LAYOUT_##name == (int)SQY_##name, "one numbering of types")
UNITS_SAME_TYPE(BYTES);
UNITS_SAME_TYPE(UINT8);
UNITS_SAME_TYPE(INT8);
UNITS_SAME_TYPE(UINT16);
UNITS_SAME_TYPE(INT16);
UNITS_SAME_TYPE(UINT32);
UNITS_SAME_TYPE(INT32);
UNITS_SAME_TYPE(UINT64);
UNITS_SAME_TYPE(INT64);
UNITS_SAME_TYPE(FLOAT16);
UNITS_SAME_TYPE(FLOAT32);
UNITS_SAME_TYPE(FLOAT64);

/* Where the piece that holds `off` ends. */
static inline uint64_t unit_piece_end(const struct layout_unit *unit, uint64_t off)
{
    for (uint32_t i = 0; i < unit->n_pieces; i++)
        if (off >= unit->pieces[i].off && off - unit->pieces[i].off < unit->pieces[i].len)
            return unit->pieces[i].off + unit->pieces[i].len;
    return off + 1;
}

/* Whether a file of `size` bytes has all of it. */
static inline bool unit_within(const struct layout_unit *unit, uint64_t size)
{
    const struct layout_piece *last = &unit->pieces[unit->n_pieces - 1];
    return last->off <= size && last->len <= size - last->off;
}

#endif
