/* Questions about the units of a layout that whoever cuts by them asks. */
#ifndef SQYFS_VOLUME_UNITS_H
#define SQYFS_VOLUME_UNITS_H

#include <stdbool.h>

#include "image/layout.h"

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
