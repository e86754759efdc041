#include "image/layout.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "image/guess.h"
#include "image/walk.h"

struct layout {
    enum layout_kind kind;
    const struct raw_policy *raw;
    uint64_t size;
    bool final;
    bool header_stale;
    uint64_t guess_from; /* the size from which on more can be guessed */
    uint32_t dirty;      /* lowest directory whose bytes were written again; WALK_NONE: none */
    struct walk walk;
};

static void raw_plan(struct layout *layout);

int layout_create(uint32_t target, const struct raw_policy *raw, struct layout **out)
{
    struct layout *layout = calloc(1, sizeof(*layout));
    if (!layout)
        return -ENOMEM;
    layout->raw = raw;
    layout->header_stale = true;
    layout->dirty = WALK_NONE;
    layout->guess_from = UINT64_MAX;
    walk_init(&layout->walk, target ? target : 1);
    if (raw) {
        layout->kind = LAYOUT_RAW;
        raw_plan(layout);
    }
    *out = layout;
    return 0;
}

void layout_destroy(struct layout **layout)
{
    if (!*layout)
        return;
    walk_clear(&(*layout)->walk);
    free(*layout);
    *layout = NULL;
}

bool layout_note(struct layout *layout, uint64_t off, uint64_t len)
{
    if (!len || layout->kind == LAYOUT_RAW)
        return false;
    if (off < TIFF_BIG_HEADER_BYTES)
        layout->header_stale = true;
    bool text = walk_note_text(&layout->walk, off, len);
    uint32_t hit = walk_hit(&layout->walk, off, len);
    if (hit < layout->dirty)
        layout->dirty = hit;
    const uint64_t end = len < UINT64_MAX - off ? off + len : UINT64_MAX - 1;
    return text || layout->header_stale || layout->dirty != WALK_NONE ||
           walk_has_skipped(&layout->walk) || end >= layout->guess_from;
}

/* ---- raw ---- */

static uint64_t raw_plane_bytes(const struct raw_policy *raw)
{
    return (uint64_t)raw->width * raw->height * span_type_size(raw->type);
}

/* Planes from byte 0 on: as many as a file can have, or as many as this one has. What is left at
 * the end is no plane. */
static void raw_plan(struct layout *layout)
{
    const struct raw_policy *raw = layout->raw;
    struct spans *spans = &layout->walk.spans;
    uint64_t plane = raw_plane_bytes(raw);
    uint64_t end = layout->final ? layout->size : INT64_MAX;
    uint32_t shape;
    span_cut(spans, 0, 0);
    if (!plane || end > INT64_MAX || end / plane == 0)
        return;
    struct shape wanted = {.type = raw->type,
                           .big_endian = raw->big_endian,
                           .spp = 1,
                           .width = raw->width,
                           .rows = raw->height};
    if (span_shape(spans, wanted, &shape) == 0)
        span_add(spans, 0, shape, end / plane, 0); /* out of memory: all of it is bytes */
}

/* ---- TIFF ---- */

static bool all_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i])
            return false;
    return true;
}

static void set_kind(struct layout *layout, enum layout_kind kind, const struct tiff_header *header)
{
    struct walk *walk = &layout->walk;
    bool same = layout->kind == kind && walk->header.big == header->big &&
                walk->header.big_endian == header->big_endian &&
                walk->header.first == header->first;
    layout->kind = kind;
    layout->header_stale = false;
    if (!same)
        walk_restart(walk, header);
}

/* 0, WINDOW_ABSENT or a negative errno. */
static int read_header(struct layout *layout, struct source *source)
{
    uint8_t bytes[TIFF_BIG_HEADER_BYTES];
    struct tiff_header header = {0};
    int r = window_copy(source, bytes, TIFF_HEADER_BYTES, 0);
    int parsed = r ? -EINVAL : tiff_header_parse(bytes, TIFF_HEADER_BYTES, &header);
    if (parsed == -EAGAIN) {
        r = window_copy(source, bytes, TIFF_BIG_HEADER_BYTES, 0);
        parsed = r ? -EINVAL : tiff_header_parse(bytes, TIFF_BIG_HEADER_BYTES, &header);
    }
    if (r < 0)
        return r;
    enum layout_kind kind = parsed == 0 ? LAYOUT_TIFF : LAYOUT_OPAQUE;
    if (r == WINDOW_ABSENT || (r == 0 && !source->final && all_zero(bytes, TIFF_HEADER_BYTES)))
        kind = LAYOUT_UNKNOWN; /* a hole, until the header is written */
    set_kind(layout, kind, &header);
    layout->header_stale = r == WINDOW_ABSENT;
    return r == WINDOW_NEVER ? 0 : r;
}

/* Where a complete file ends, voxels end. Everything is planned anew when that cuts any. */
static void set_clip(struct walk *walk, uint64_t clip)
{
    uint64_t lower = clip < walk->clip ? clip : walk->clip;
    if (clip != walk->clip && walk->end > lower)
        walk_cut(walk, 0);
    walk->clip = clip;
}

int layout_update(struct layout *layout, layout_read_fn *read, void *ctx, uint64_t size, bool final,
                  struct layout_piece *want)
{
    struct walk *walk = &layout->walk;
    struct source source = {.read = read, .ctx = ctx, .size = size, .final = final};
    bool ends_elsewhere = final != layout->final || (final && size != layout->size);
    layout->size = size;
    layout->final = final;
    if (layout->kind == LAYOUT_RAW) {
        if (ends_elsewhere)
            raw_plan(layout);
        return 0;
    }
    guess_forget(walk);
    int r =
        layout->header_stale || layout->kind == LAYOUT_UNKNOWN ? read_header(layout, &source) : 0;
    if (r == 0 && layout->kind == LAYOUT_TIFF) {
        set_clip(walk, final && size < INT64_MAX ? size : INT64_MAX);
        if (layout->dirty != WALK_NONE)
            walk_cut(walk, layout->dirty);
        layout->dirty = WALK_NONE;
        r = walk_on(walk, &source);
    }
    layout->guess_from =
        final || layout->kind != LAYOUT_TIFF ? UINT64_MAX : guess_planes(walk, size);
    if (r > 0)
        *want = source.want;
    return r;
}

/* ---- answers ---- */

enum layout_kind layout_kind(const struct layout *layout)
{
    return layout->kind;
}

bool layout_unit_at(const struct layout *layout, uint64_t off, struct layout_unit *unit,
                    uint64_t *gap_end)
{
    if (!span_unit_at(&layout->walk.spans, off, unit, gap_end))
        return false;
    if (layout->final)
        unit->open = false;
    unit->guessed = guess_has(&layout->walk, unit);
    return true;
}

static void raw_info(const struct layout *layout, struct layout_info *info)
{
    const struct raw_policy *raw = layout->raw;
    uint64_t plane = raw_plane_bytes(raw);
    info->type = raw->type;
    info->big_endian = raw->big_endian;
    info->depth = plane ? layout->size / plane : 0;
    info->one_volume = info->depth > 0;
    info->height = raw->height;
    info->width = raw->width;
    info->spp = 1;
}

static void tiff_info(const struct walk *walk, struct layout_info *info)
{
    const struct shape *shape = walk_first_shape(walk);
    const struct description *description = &walk->description;
    info->channels = description->channels;
    info->slices = description->slices;
    info->frames = description->frames;
    info->voxel_x = description->voxel_x;
    info->voxel_y = description->voxel_y;
    info->voxel_z = description->voxel_z;
    info->pixel_hash = description->pixel_hash;
    info->no_light = walk->no_light;
    if (!shape)
        return;
    info->type = shape->type;
    info->big_endian = shape->big_endian;
    info->depth = shape->n_planes;
    info->height = shape->rows;
    info->width = shape->width / shape->spp;
    info->spp = shape->spp;
    info->one_volume = !walk->n_odd && shape->n_planes == walk->n_planes && shape->spp == 1 &&
                       shape->type != LAYOUT_BYTES;
}

void layout_info(const struct layout *layout, struct layout_info *info)
{
    *info = (struct layout_info){.type = LAYOUT_BYTES};
    if (layout->kind == LAYOUT_RAW)
        raw_info(layout, info);
    else if (layout->kind == LAYOUT_TIFF)
        tiff_info(&layout->walk, info);
}

uint64_t layout_volume_pieces(const struct layout *layout, uint64_t off, uint64_t len,
                              struct layout_piece *pieces, uint32_t max, uint32_t *n_pieces)
{
    struct layout_info info;
    *n_pieces = 0;
    layout_info(layout, &info);
    if (!info.one_volume)
        return 0;
    return span_pieces(&layout->walk.spans, off, len, pieces, max, n_pieces);
}
