#include "image/plan.h"

#include <string.h>

enum {
    COMPRESSION_NONE = 1,
    PHOTOMETRIC_YCBCR = 6,
    PLANAR_SEPARATE = 2,
    FILL_ORDER_USUAL = 1,
    FORMAT_UINT = 1,
    FORMAT_INT = 2,
    FORMAT_FLOAT = 3,
    FORMAT_UNDEFINED = 4,
};

/* Rows that have been found to lie in one piece. */
struct run {
    uint64_t off;
    uint32_t row, rows; /* rows 0: none */
};

/* What is to be looked for: planes of `cells` strips or tiles each. */
struct grid {
    const struct tiff_ifd *ifd;
    struct shape plane; /* a whole plane */
    struct shape cell;  /* of a strip: rows as RowsPerStrip; of a tile */
    uint32_t plane_index, cell_index;
    uint64_t n_cells, n_planes; /* cells of a plane */
    bool tiled;
    bool found, taken; /* any cell of the present plane was free; was somebody's already */
    bool missing;
    struct run run;
};

/* ---- what the samples are ---- */

/* All values of a field are equal: that one, else 0. Fields without values give `otherwise`. */
static int common_value(struct plan *plan, const struct tiff_field *field, uint32_t n,
                        uint64_t otherwise, uint64_t *out)
{
    uint64_t value = 0, first = 0;
    if (!field->count) {
        *out = otherwise;
        return 0;
    }
    for (uint64_t i = 0; i < n && i < field->count; i++) {
        int r = tiff_value(plan->header, plan->window, field, i, &value);
        if (r)
            return r;
        if (i == 0)
            first = value;
        if (value != first)
            first = 0;
    }
    *out = first;
    return 0;
}

static enum layout_type type_of(uint64_t bits, uint64_t format)
{
    if (format == FORMAT_UNDEFINED)
        format = FORMAT_UINT;
    switch (bits) {
    case 8:
        return format == FORMAT_UINT  ? LAYOUT_UINT8
               : format == FORMAT_INT ? LAYOUT_INT8
                                      : LAYOUT_BYTES;
    case 16:
        return format == FORMAT_UINT    ? LAYOUT_UINT16
               : format == FORMAT_INT   ? LAYOUT_INT16
               : format == FORMAT_FLOAT ? LAYOUT_FLOAT16
                                        : LAYOUT_BYTES;
    case 32:
        return format == FORMAT_UINT    ? LAYOUT_UINT32
               : format == FORMAT_INT   ? LAYOUT_INT32
               : format == FORMAT_FLOAT ? LAYOUT_FLOAT32
                                        : LAYOUT_BYTES;
    case 64:
        return format == FORMAT_UINT    ? LAYOUT_UINT64
               : format == FORMAT_INT   ? LAYOUT_INT64
               : format == FORMAT_FLOAT ? LAYOUT_FLOAT64
                                        : LAYOUT_BYTES;
    default:
        return LAYOUT_BYTES;
    }
}

static int sample_type(struct plan *plan, const struct tiff_ifd *ifd, enum layout_type *out)
{
    uint64_t bits, format;
    uint32_t n = ifd->spp < UINT16_MAX ? ifd->spp : UINT16_MAX;
    plan->waste += n / 64;
    int r = common_value(plan, &ifd->bits, n, 1, &bits);
    if (r)
        return r;
    r = common_value(plan, &ifd->format, n, FORMAT_UINT, &format);
    *out = r ? LAYOUT_BYTES : type_of(bits, format);
    return r;
}

/* YCbCr samples are stored in blocks of pixels unless the subsampling is 1:1, which is not the
 * default. */
static int is_plain_colour(struct plan *plan, const struct tiff_ifd *ifd, bool *plain)
{
    uint64_t ratio = 0;
    *plain = true;
    if (ifd->photometric != PHOTOMETRIC_YCBCR || ifd->planar == PLANAR_SEPARATE)
        return 0;
    int r = common_value(plan, &ifd->subsampling, 2, 2, &ratio);
    *plain = ratio == 1;
    return r;
}

/* ---- strips and tiles ---- */

static int flush_run(struct plan *plan, struct grid *grid)
{
    struct run run = grid->run;
    uint32_t shape;
    grid->run.rows = 0;
    if (!run.rows)
        return 0;
    struct shape slab = grid->plane;
    slab.rows = run.rows;
    int r = span_shape(plan->spans, slab, &shape);
    return r < 0 ? r : span_add(plan->spans, run.off, shape, 1, run.row);
}

/* Whole rows of [off, off + rows * row_bytes) that lie before the clip. */
static uint32_t clipped_rows(const struct plan *plan, uint64_t off, uint32_t rows,
                             uint64_t row_bytes)
{
    uint64_t fit = off < plan->clip ? (plan->clip - off) / row_bytes : 0;
    return fit < rows ? (uint32_t)fit : rows;
}

static bool waste(struct plan *plan)
{
    return ++plan->waste > PLAN_MAX_WASTE;
}

/* Whether rows at `off` may be taken; cut at the clip. Otherwise *rows is 0. 0 or -E2BIG. */
static int claim_rows(struct plan *plan, struct grid *grid, uint64_t off, uint32_t *rows)
{
    uint64_t row_bytes = grid->plane.row_bytes, len = *rows * row_bytes;
    uint32_t fit = 0;
    if (off >= TIFF_HEADER_BYTES && off <= INT64_MAX && len <= INT64_MAX - off) {
        if (off + len > plan->end)
            plan->end = off + len;
        fit = clipped_rows(plan, off, *rows, row_bytes);
    }
    if (fit < *rows)
        grid->missing = true;
    *rows = fit;
    if (!fit)
        return waste(plan) ? -E2BIG : 0;
    enum span_claim claim = span_claim(plan->spans, off, fit * row_bytes);
    if (claim == SPAN_FREE) {
        grid->found = true;
        return 0;
    }
    *rows = 0;
    grid->taken = true;
    grid->missing |= claim == SPAN_CLASH;
    return waste(plan) ? -E2BIG : 0;
}

static int take_strip(struct plan *plan, struct grid *grid, uint64_t off, uint32_t row,
                      uint32_t rows)
{
    struct run *run = &grid->run;
    bool goes_on = run->rows && run->row + run->rows == row &&
                   run->off + run->rows * grid->plane.row_bytes == off;
    int r = goes_on ? 0 : flush_run(plan, grid);
    if (r >= 0)
        r = claim_rows(plan, grid, off, &rows);
    if (r < 0 || !rows)
        return r;
    if (!goes_on)
        *run = (struct run){.off = off, .row = row};
    run->rows += rows;
    return 0;
}

static int take_tile(struct plan *plan, struct grid *grid, uint64_t off)
{
    uint64_t len = grid->cell.rows * grid->cell.row_bytes;
    bool fits = off >= TIFF_HEADER_BYTES && off <= INT64_MAX && len <= INT64_MAX - off;
    if (fits && off + len > plan->end)
        plan->end = off + len;
    if (!fits || off + len > plan->clip || span_claim(plan->spans, off, len) != SPAN_FREE)
        return waste(plan) ? -E2BIG : 0;
    grid->found = true;
    uint32_t shape;
    int r = span_shape(plan->spans, grid->cell, &shape);
    return r < 0 ? r : span_add(plan->spans, off, shape, 1, 0);
}

/* ImageJ's planes 1 .. N-1, which have no directory, or one at the far end that says the same. */
static int take_contiguous(struct plan *plan, struct grid *grid)
{
    const struct run *run = &grid->run;
    uint64_t bytes = plan->plane_bytes;
    if (plan->n_contiguous < 2 || run->row || run->rows != grid->plane.rows ||
        run->off != plan->first)
        return 0;
    uint64_t off = run->off, n = (uint64_t)(INT64_MAX - off) / bytes;
    n = plan->n_contiguous < n ? plan->n_contiguous : n;
    if (off + n * bytes > plan->end)
        plan->end = off + n * bytes;
    if (off + n * bytes > plan->clip)
        n = (plan->clip - off) / bytes;
    if (n < 2 || span_claim(plan->spans, off, n * bytes) != SPAN_FREE)
        return 0;
    uint32_t shape;
    int r = span_shape(plan->spans, grid->plane, &shape);
    if (r >= 0)
        r = span_add(plan->spans, off, shape, n, 0);
    grid->run.rows = 0;
    plan->n_planes = n;
    return r;
}

/* Strips or tiles of one plane. */
static int take_plane(struct plan *plan, struct grid *grid, uint64_t plane)
{
    grid->found = grid->taken = grid->missing = false;
    for (uint64_t i = 0; i < grid->n_cells; i++) {
        uint64_t off, number = plane * grid->n_cells + i;
        if (number >= grid->ifd->offsets.count) {
            grid->missing = true;
            break;
        }
        int r = tiff_value(plan->header, plan->window, &grid->ifd->offsets, number, &off);
        if (r)
            return r;
        uint64_t row = i * grid->cell.rows;
        uint64_t rows = grid->plane.rows - row;
        if (number == 0)
            plan->first = off;
        r = grid->tiled ? take_tile(plan, grid, off)
                        : take_strip(plan, grid, off, (uint32_t)row,
                                     (uint32_t)(rows < grid->cell.rows ? rows : grid->cell.rows));
        if (r < 0)
            return r;
    }
    if (grid->found)
        plan->n_planes++;
    /* planes that earlier directories have already are no loss; half planes are */
    if (grid->missing || (grid->found && grid->taken))
        plan->odd = true;
    int r = plane == 0 ? take_contiguous(plan, grid) : 0;
    return r < 0 ? r : flush_run(plan, grid);
}

/* The last of the offsets that are needed first: writers that fill in the array piece by piece are
 * then not followed at each of them. */
static int probe_offsets(struct plan *plan, const struct grid *grid)
{
    uint64_t n = grid->n_planes * grid->n_cells, last;
    if (n > grid->ifd->offsets.count)
        n = grid->ifd->offsets.count;
    plan->n_offsets = n;
    if (!n)
        return 0;
    return tiff_value(plan->header, plan->window, &grid->ifd->offsets, n - 1, &last);
}

/* False where the numbers make no sense, or are larger than any file. */
static bool grid_init(struct grid *grid, const struct tiff_ifd *ifd, enum layout_type type,
                      bool big_endian)
{
    bool separate = ifd->planar == PLANAR_SEPARATE && ifd->spp > 1;
    uint64_t spp = separate ? 1 : ifd->spp, size = span_type_size(type);
    *grid = (struct grid){.ifd = ifd, .n_planes = separate ? ifd->spp : 1};
    if (!ifd->width || !ifd->height || !spp || ifd->width * spp > UINT32_MAX)
        return false;
    grid->plane = (struct shape){.type = type,
                                 .big_endian = big_endian,
                                 .spp = (uint32_t)spp,
                                 .width = (uint32_t)(ifd->width * spp),
                                 .rows = ifd->height};
    grid->plane.row_bytes = grid->plane.width * size;
    grid->cell = grid->plane;
    if (!ifd->tiled) {
        if (ifd->rows_per_strip && ifd->rows_per_strip < ifd->height)
            grid->cell.rows = ifd->rows_per_strip;
        grid->n_cells = (ifd->height + (uint64_t)grid->cell.rows - 1) / grid->cell.rows;
    } else {
        if (!ifd->tile_width || !ifd->tile_height || ifd->tile_width * spp > UINT32_MAX)
            return false;
        grid->cell.width = (uint32_t)(ifd->tile_width * spp);
        grid->cell.rows = ifd->tile_height;
        grid->cell.row_bytes = grid->cell.width * size;
        uint64_t across = ((uint64_t)ifd->width + ifd->tile_width - 1) / ifd->tile_width;
        uint64_t down = ((uint64_t)ifd->height + ifd->tile_height - 1) / ifd->tile_height;
        grid->n_cells = across * down;
        grid->tiled = ifd->tile_width != ifd->width || ifd->tile_height != ifd->height;
    }
    return grid->plane.row_bytes <= (1ull << 32) * 8 &&
           grid->n_cells <= UINT64_MAX / grid->n_planes &&
           grid->plane.rows <= INT64_MAX / grid->plane.row_bytes &&
           grid->cell.rows <= INT64_MAX / grid->cell.row_bytes;
}

static int plan_voxels(struct plan *plan, struct grid *grid)
{
    int r = probe_offsets(plan, grid);
    if (r)
        return r;
    plan->odd = grid->tiled;
    plan->plane_bytes = grid->tiled ? 0 : grid->plane.rows * grid->plane.row_bytes;
    for (uint64_t p = 0; p < grid->n_planes; p++) {
        r = take_plane(plan, grid, p);
        if (r)
            return r;
        if (grid->missing && p * grid->n_cells >= plan->n_offsets)
            break;
    }
    return 0;
}

int plan_image(struct plan *plan, const struct tiff_ifd *ifd)
{
    enum layout_type type;
    struct grid grid;
    bool plain;
    plan->shape = SPAN_NONE;
    plan->n_planes = plan->first = plan->plane_bytes = plan->n_offsets = 0;
    plan->odd = false;
    if (!ifd->width || !ifd->height)
        return 0;
    plan->odd = true;
    int r = sample_type(plan, ifd, &type);
    if (r == 0)
        r = is_plain_colour(plan, ifd, &plain);
    if (r || !grid_init(&grid, ifd, type, plan->header->big_endian))
        return r;
    r = span_shape(plan->spans, grid.plane, &plan->shape);
    if (r < 0)
        return r;
    if (type == LAYOUT_BYTES || !plain || ifd->compression != COMPRESSION_NONE ||
        ifd->fill_order != FILL_ORDER_USUAL || !tiff_value_size(&ifd->offsets)) {
        plan->n_planes = 1; /* for those who count; its bytes are opaque */
        return 0;
    }
    return plan_voxels(plan, &grid);
}
