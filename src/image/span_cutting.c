/* How the slabs that there are are cut into units, and where runs of the volume lie. */
#include "image/span.h"

#include <assert.h>

/* The span that has slab number `slab`. */
static uint32_t span_of_slab(const struct spans *spans, uint64_t slab)
{
    uint32_t low = 0, high = spans->n;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (spans->spans[mid].slab <= slab)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static const struct series *series_of_slab(const struct spans *spans, uint64_t slab)
{
    uint32_t low = 0, high = spans->n_series;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (spans->series[mid].slab <= slab)
            low = mid;
        else
            high = mid;
    }
    return &spans->series[low];
}

static void unit_start(struct layout_unit *unit, const struct shape *shape)
{
    unit->type = shape->type;
    unit->big_endian = shape->big_endian;
    unit->open = false;
    unit->planes = 1;
    unit->rows = shape->rows;
    unit->width = shape->width;
    unit->spp = shape->spp;
    unit->n_pieces = 0;
    unit->bytes = 0;
}

static bool add_piece(struct layout_piece *pieces, uint32_t max, uint32_t *n, uint64_t off,
                      uint64_t len)
{
    if (*n && pieces[*n - 1].off + pieces[*n - 1].len == off) {
        pieces[*n - 1].len += len;
        return true;
    }
    if (*n == max)
        return false;
    pieces[(*n)++] = (struct layout_piece){off, len};
    return true;
}

static void unit_piece(struct layout_unit *unit, uint64_t off, uint64_t len)
{
    bool added = add_piece(unit->pieces, LAYOUT_MAX_PIECES, &unit->n_pieces, off, len);
    assert(added);
    (void)added;
    unit->bytes += len;
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static uint64_t at_least_one(uint64_t n)
{
    return n ? n : 1;
}

/* A part of one row that is too long for a unit, `at` bytes into the row that starts at `off`. */
static void unit_of_row_part(const struct spans *spans, const struct shape *shape, uint64_t off,
                             uint64_t at, struct layout_unit *unit)
{
    uint64_t voxel = span_type_size(shape->type) * shape->spp;
    uint64_t n_voxels = shape->row_bytes / voxel;
    uint64_t n_parts = at_least_one((shape->row_bytes + spans->target / 2) / spans->target);
    uint64_t part = divide_up(n_voxels, n_parts) * voxel;
    uint64_t from = at / part * part;
    uint64_t len = shape->row_bytes - from < part ? shape->row_bytes - from : part;
    unit->rows = 1;
    unit->width = (uint32_t)(len / span_type_size(shape->type));
    unit_piece(unit, off + from, len);
}

/* Rows of one slab that starts at `off`, `at` bytes into it. Cut evenly, so that the last piece is
 * no crumb. */
static void unit_of_rows(const struct spans *spans, const struct shape *shape, uint64_t off,
                         uint64_t at, struct layout_unit *unit)
{
    uint64_t row = at / shape->row_bytes;
    if (shape->row_bytes > 2 * (uint64_t)spans->target) {
        unit_of_row_part(spans, shape, off + row * shape->row_bytes, at % shape->row_bytes, unit);
        return;
    }
    uint64_t n_parts = at_least_one((span_slab_bytes(shape) + spans->target / 2) / spans->target);
    uint64_t rows = divide_up(shape->rows, n_parts);
    uint64_t most = 2 * (uint64_t)spans->target / shape->row_bytes;
    if (rows > most)
        rows = most;
    uint64_t from = row / rows * rows;
    if (rows > shape->rows - from)
        rows = shape->rows - from;
    unit->rows = (uint32_t)rows;
    unit_piece(unit, off + from * shape->row_bytes, rows * shape->row_bytes);
}

/* Pieces of slabs [first, end) of one series, by rising offset. */
static void unit_of_slabs(const struct spans *spans, const struct series *series, uint64_t first,
                          uint64_t end, struct layout_unit *unit)
{
    uint32_t i = span_of_slab(spans, series->falling ? end - 1 : first);
    for (uint64_t left = end - first; left;) {
        const struct span *span = &spans->spans[i];
        uint64_t bytes = span_slab_bytes(span_shape_of(spans, i));
        uint64_t from = span->slab > first ? span->slab : first;
        uint64_t to = span->slab + span->n_slabs < end ? span->slab + span->n_slabs : end;
        unit_piece(unit, span->off + (from - span->slab) * bytes, (to - from) * bytes);
        left -= to - from;
        i += series->falling ? -1u : 1u;
    }
}

static void unit_of_group(const struct spans *spans, const struct series *series, uint64_t slab,
                          struct layout_unit *unit)
{
    const struct shape *shape = &spans->shapes[series->shape];
    uint64_t group = (slab - series->slab) / series->per_unit;
    uint64_t first = series->slab + group * series->per_unit;
    uint64_t end = series->slab + series->n_slabs;
    unit_start(unit, shape);
    if (end - first > series->per_unit)
        end = first + series->per_unit;
    else if (end - first < series->per_unit)
        unit->open = series == &spans->series[spans->n_series - 1] && !series->short_end;
    unit_of_slabs(spans, series, first, end, unit);
    if (end - series->slab <= series->n_joined)
        unit->rows = (uint32_t)(unit->bytes / shape->row_bytes);
    else
        unit->planes = (uint32_t)(end - first);
}

bool span_unit_at(const struct spans *spans, uint64_t off, struct layout_unit *unit,
                  uint64_t *gap_end)
{
    uint32_t at, after;
    span_around(spans, off, &at, &after);
    if (at == SPAN_NONE || span_end(spans, at) <= off) {
        *gap_end = after == SPAN_NONE ? UINT64_MAX : spans->spans[after].off;
        return false;
    }
    const struct span *span = &spans->spans[at];
    const struct shape *shape = &spans->shapes[span->shape];
    uint64_t bytes = span_slab_bytes(shape), i = (off - span->off) / bytes;
    const struct series *series = series_of_slab(spans, span->slab + i);
    if (series->per_unit > 1) {
        unit_of_group(spans, series, span->slab + i, unit);
    } else {
        unit_start(unit, shape);
        unit_of_rows(spans, shape, span->off + i * bytes, (off - span->off) % bytes, unit);
    }
    return true;
}

/* ---- volume ---- */

static uint32_t span_of_voxel_byte(const struct spans *spans, uint64_t off)
{
    uint32_t low = 0, high = spans->n;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (spans->spans[mid].before <= off)
            low = mid;
        else
            high = mid;
    }
    return low;
}

uint64_t span_pieces(const struct spans *spans, uint64_t off, uint64_t len,
                     struct layout_piece *pieces, uint32_t max, uint32_t *n_pieces)
{
    uint64_t done = 0;
    *n_pieces = 0;
    if (!spans->n)
        return 0;
    for (uint32_t i = span_of_voxel_byte(spans, off); i < spans->n && done < len; i++) {
        uint64_t at = off + done - spans->spans[i].before;
        uint64_t bytes = span_end(spans, i) - spans->spans[i].off;
        if (at >= bytes)
            break; /* past the end of the volume */
        uint64_t n = bytes - at < len - done ? bytes - at : len - done;
        if (!add_piece(pieces, max, n_pieces, spans->spans[i].off + at, n))
            break;
        done += n;
    }
    return done;
}
