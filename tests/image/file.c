#include "file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sum.h"

int file_read(void *ctx, void *buf, uint32_t len, uint64_t off)
{
    struct file *file = ctx;
    file->n_reads++;
    if (file->error)
        return file->error;
    if (off >= file->len)
        return 0;
    if (len > file->len - off)
        len = (uint32_t)(file->len - off);
    uint32_t n = 0;
    while (n < len && (!file->present || file->present[off + n]))
        n++;
    memcpy(buf, file->data + off, n);
    return (int)n;
}

struct layout *file_layout(struct file *file, uint32_t target, const struct raw_policy *raw)
{
    struct layout *layout;
    struct layout_piece want;
    if (layout_create(target, raw, &layout) < 0)
        abort();
    layout_note(layout, 0, file->len);
    if (layout_update(layout, file_read, file, file->len, true, &want) != 0)
        abort();
    return layout;
}

static size_t type_size(enum layout_type type)
{
    static const uint8_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8};
    return sizes[type];
}

static bool same_unit(const struct layout_unit *a, const struct layout_unit *b)
{
    return a->type == b->type && a->big_endian == b->big_endian && a->open == b->open &&
           a->planes == b->planes && a->rows == b->rows && a->width == b->width &&
           a->spp == b->spp && a->n_pieces == b->n_pieces && a->bytes == b->bytes &&
           memcmp(a->pieces, b->pieces, a->n_pieces * sizeof(a->pieces[0])) == 0;
}

static const char *check_box(const struct layout_unit *unit, uint32_t target)
{
    if (!unit->planes || !unit->rows || !unit->width || !unit->spp || unit->width % unit->spp)
        return "a box with no extent, or with parts of voxels";
    unsigned __int128 bytes = (unsigned __int128)unit->planes * unit->rows * unit->width;
    if (bytes * type_size(unit->type) != unit->bytes)
        return "a unit whose bytes are not its box's";
    if (unit->bytes > 2 * (uint64_t)target + 8 * unit->spp)
        return "a unit too large";
    return NULL;
}

static const char *check_pieces(const struct layout_unit *unit, uint64_t limit, bool in_bounds)
{
    uint64_t sum = 0, end = 0;
    if (!unit->n_pieces || unit->n_pieces > LAYOUT_MAX_PIECES)
        return "a wrong number of pieces";
    for (uint32_t i = 0; i < unit->n_pieces; i++) {
        const struct layout_piece *piece = &unit->pieces[i];
        if (!piece->len || piece->off > INT64_MAX || piece->len > INT64_MAX - piece->off)
            return "a piece that is nowhere";
        if (i && piece->off <= end)
            return "pieces that overlap, do not rise, or should be one";
        end = piece->off + piece->len;
        sum += piece->len;
    }
    if (in_bounds && end > limit)
        return "a unit beyond the end of the file";
    return sum == unit->bytes ? NULL : "pieces that are not the unit's bytes";
}

/* The same unit whichever of its bytes is asked for: so units share no byte either. */
static const char *check_same(const struct layout *layout, const struct layout_unit *unit)
{
    uint32_t step = unit->n_pieces > 16 ? unit->n_pieces / 8 : 1;
    for (uint32_t i = 0; i < unit->n_pieces; i += step) {
        const struct layout_piece *piece = &unit->pieces[i];
        uint64_t offs[] = {piece->off, piece->off + piece->len / 2, piece->off + piece->len - 1};
        for (unsigned k = 0; k < 3; k++) {
            struct layout_unit other;
            uint64_t gap_end;
            if (!layout_unit_at(layout, offs[k], &other, &gap_end) || !same_unit(unit, &other))
                return "another unit for another of its bytes";
        }
    }
    return NULL;
}

static uint64_t piece_end(const struct layout_unit *unit, uint64_t off)
{
    for (uint32_t i = 0; i < unit->n_pieces; i++)
        if (off >= unit->pieces[i].off && off < unit->pieces[i].off + unit->pieces[i].len)
            return unit->pieces[i].off + unit->pieces[i].len;
    return 0;
}

static const char *check_volume(const struct layout *layout, uint64_t voxels)
{
    struct layout_info info;
    struct layout_piece pieces[7];
    uint32_t n;
    layout_info(layout, &info);
    if (!info.one_volume)
        return layout_volume_pieces(layout, 0, 1, pieces, 7, &n) || n ? "pieces of no volume"
                                                                      : NULL;
    unsigned __int128 bytes =
        (unsigned __int128)info.depth * info.height * info.width * type_size(info.type);
    if (bytes != voxels)
        return "a volume that is not all units";
    uint64_t at = 0;
    for (unsigned i = 0; i < 1000 && at < voxels; i++) {
        uint64_t got = layout_volume_pieces(layout, at, voxels - at, pieces, 7, &n), sum = 0;
        for (uint32_t k = 0; k < n; k++)
            sum += pieces[k].len;
        if (!got || got != sum || (got < voxels - at && n < 7))
            return "pieces of a volume that end early";
        at += got;
    }
    return layout_volume_pieces(layout, voxels, 1, pieces, 7, &n) ? "a volume that goes on" : NULL;
}

const char *file_check(const struct layout *layout, uint64_t limit, bool in_bounds, uint32_t target,
                       uint64_t max_units, uint64_t *voxels)
{
    struct layout_unit unit;
    uint64_t next, sum = 0, off = 0;
    const char *wrong = NULL;
    while (!wrong && off < limit && max_units--) {
        if (!layout_unit_at(layout, off, &unit, &next)) {
            if (next <= off)
                return "a gap that ends before it starts";
            off = next;
            continue;
        }
        next = piece_end(&unit, off);
        if (next <= off)
            return "a unit without the byte asked for";
        wrong = check_box(&unit, target);
        if (!wrong)
            wrong = check_pieces(&unit, limit, in_bounds);
        if (!wrong)
            wrong = check_same(layout, &unit);
        sum += next - off;
        off = next;
    }
    if (voxels)
        *voxels = sum;
    if (!wrong && in_bounds && off >= limit)
        wrong = check_volume(layout, sum);
    return wrong;
}

static uint64_t mix(uint64_t digest, uint64_t value)
{
    uint64_t both[2] = {digest, value};
    return sum64(both, sizeof(both));
}

static uint64_t mix_info(const struct layout *layout, uint64_t digest)
{
    struct layout_info info;
    char text[400];
    layout_info(layout, &info);
    snprintf(text, sizeof(text), "%d %d %d %d %llu %llu %llu %u %u %u %u %a %a %a %d",
             (int)layout_kind(layout), (int)info.type, info.big_endian, info.one_volume,
             (unsigned long long)info.depth, (unsigned long long)info.height,
             (unsigned long long)info.width, info.spp, info.channels, info.slices, info.frames,
             info.voxel_x, info.voxel_y, info.voxel_z, info.pixel_hash);
    return mix(digest, sum64(text, strlen(text)));
}

uint64_t file_digest(const struct layout *layout, uint64_t limit)
{
    struct layout_unit unit;
    struct layout_piece piece;
    uint64_t next, digest = mix_info(layout, 0);
    for (uint64_t off = 0; off < limit; off = next) {
        if (!layout_unit_at(layout, off, &unit, &next)) {
            digest = mix(digest, next);
            continue;
        }
        next = piece_end(&unit, off);
        uint64_t box[] = {unit.type,  unit.big_endian, unit.open,  unit.planes,  unit.rows,
                          unit.width, unit.spp,        unit.bytes, unit.n_pieces};
        digest = mix(digest, sum64(box, sizeof(box)));
        digest = mix(digest, sum64(unit.pieces, unit.n_pieces * sizeof(unit.pieces[0])));
    }
    uint32_t n;
    for (uint64_t at = 0, got;
         (got = layout_volume_pieces(layout, at, UINT64_MAX / 2, &piece, 1, &n)); at += got)
        digest = mix(mix(digest, piece.off), piece.len);
    return digest;
}
