#include "tiff_build.h"

#include <stdlib.h>
#include <string.h>

static void room(struct build *build, size_t more)
{
    if (build->len + more <= build->cap)
        return;
    build->cap = 2 * (build->len + more) + 4096;
    build->data = realloc(build->data, build->cap);
    if (!build->data)
        abort();
}

void build_patch(struct build *build, size_t at, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        build->data[at + (build->big_endian ? size - 1 - i : i)] = (uint8_t)(value >> (8 * i));
}

void build_put(struct build *build, uint64_t value, unsigned size)
{
    room(build, size);
    build_patch(build, build->len, value, size);
    build->len += size;
}

size_t build_bytes(struct build *build, const void *bytes, size_t len)
{
    size_t at = build->len;
    room(build, len);
    if (bytes)
        memcpy(build->data + at, bytes, len);
    else
        memset(build->data + at, 0, len);
    build->len += len;
    return at;
}

void build_start(struct build *build, bool big, bool big_endian)
{
    *build = (struct build){.big = big, .big_endian = big_endian};
    build_bytes(build, big_endian ? "MM" : "II", 2);
    build_put(build, big ? 43 : 42, 2);
    if (big) {
        build_put(build, 8, 2);
        build_put(build, 0, 2);
    }
    build->link = build->len;
    build_put(build, 0, big ? 8 : 4);
}

void build_free(struct build *build)
{
    free(build->data);
    *build = (struct build){0};
}

static unsigned size_of(unsigned type)
{
    switch (type) {
    case BUILD_SHORT:
        return 2;
    case BUILD_LONG:
    case BUILD_IFD:
        return 4;
    case BUILD_RATIONAL:
    case BUILD_LONG8:
        return 8;
    default:
        return 1;
    }
}

static void put_values(struct build *build, size_t at, const struct build_tag *tag)
{
    unsigned size = size_of(tag->type);
    if (tag->bytes) {
        memcpy(build->data + at, tag->bytes, tag->count * size);
        return;
    }
    for (uint64_t i = 0; i < tag->count; i++)
        build_patch(build, at + i * size, tag->values ? tag->values[i] : tag->one, size);
}

size_t build_ifd(struct build *build, const struct build_tag *tags, unsigned n, bool link)
{
    unsigned word = build->big ? 8 : 4, entry = build->big ? 20 : 12;
    if (build->len % 2)
        build_put(build, 0, 1);
    size_t at = build->len, first = at + (build->big ? 8 : 2);
    build_bytes(build, NULL, first - at + n * (size_t)entry + word);
    build_patch(build, at, n, build->big ? 8 : 2);
    for (unsigned i = 0; i < n; i++) {
        size_t e = first + i * (size_t)entry, bytes = size_of(tags[i].type) * tags[i].count;
        build_patch(build, e, tags[i].tag, 2);
        build_patch(build, e + 2, tags[i].type, 2);
        build_patch(build, e + 4, tags[i].count, word);
        size_t values = e + 4 + word;
        if (bytes > word) {
            values = build_bytes(build, NULL, bytes + bytes % 2);
            build_patch(build, e + 4 + word, values, word);
        }
        put_values(build, values, &tags[i]);
    }
    if (link) {
        build_patch(build, build->link, at, word);
        build->link = first + n * (size_t)entry;
    }
    return at;
}

static uint32_t or_else(uint32_t value, uint32_t usual)
{
    return value ? value : usual;
}

/* Strips or tiles: how many, and the bytes of number `i`. */
struct cells {
    uint64_t n, per_plane;
    uint64_t row_bytes;
    uint32_t height, rows;
    bool tiled;
};

static struct cells cells_of(const struct build_page *page)
{
    uint32_t spp = or_else(page->spp, 1), planes = page->planar == 2 ? spp : 1;
    uint64_t voxel = or_else(page->bits, 16) / 8 * (page->planar == 2 ? 1 : spp);
    struct cells cells = {.height = page->height, .tiled = page->tile_width > 0};
    if (cells.tiled) {
        cells.rows = page->tile_height;
        cells.row_bytes = page->tile_width * voxel;
        uint64_t across = (page->width + page->tile_width - 1) / page->tile_width;
        cells.per_plane = across * ((page->height + page->tile_height - 1) / page->tile_height);
    } else {
        cells.rows = or_else(page->rows_per_strip, page->height);
        cells.row_bytes = page->width * voxel;
        cells.per_plane = (page->height + cells.rows - 1) / cells.rows;
    }
    cells.n = cells.per_plane * planes;
    return cells;
}

static uint64_t cell_bytes(const struct cells *cells, uint64_t i)
{
    uint64_t rows = cells->rows;
    if (!cells->tiled && (i % cells->per_plane + 1) * rows > cells->height)
        rows = cells->height - i % cells->per_plane * rows;
    return rows * cells->row_bytes;
}

static void put_voxels(struct build *build, const struct build_page *page, uint64_t *offsets)
{
    struct cells cells = cells_of(page);
    uint8_t value = page->fill;
    for (uint64_t k = 0; k < cells.n; k++) {
        uint64_t i = page->reverse ? cells.n - 1 - k : k;
        uint64_t bytes = cell_bytes(&cells, i);
        offsets[i] = build_bytes(build, NULL, bytes);
        for (uint64_t b = 0; b < bytes; b++)
            build->data[offsets[i] + b] = value++;
        if (page->gap)
            build_bytes(build, NULL, page->gap);
    }
}

struct tags {
    struct build_tag list[24];
    unsigned n;
};

static void add(struct tags *tags, uint16_t tag, uint16_t type, uint64_t count,
                const uint64_t *values, uint64_t one)
{
    tags->list[tags->n++] = (struct build_tag){tag, type, count, values, NULL, one};
}

static size_t put_ifd(struct build *build, const struct build_page *page, const uint64_t *offsets,
                      bool link)
{
    struct cells cells = cells_of(page);
    uint32_t spp = or_else(page->spp, 1);
    uint16_t wide = build->big ? BUILD_LONG8 : BUILD_LONG;
    struct tags tags = {.n = 0};
    uint64_t *counts = calloc(cells.n, sizeof(*counts));
    if (!counts)
        abort();
    for (uint64_t i = 0; i < cells.n; i++)
        counts[i] = cell_bytes(&cells, i);
    add(&tags, 256, BUILD_LONG, 1, NULL, page->width);
    add(&tags, 257, BUILD_LONG, 1, NULL, page->height);
    add(&tags, 258, BUILD_SHORT, spp, NULL, or_else(page->bits, 16));
    add(&tags, 259, BUILD_SHORT, 1, NULL, or_else(page->compression, 1));
    add(&tags, 262, BUILD_SHORT, 1, NULL, 1);
    if (page->description) {
        tags.list[tags.n++] = (struct build_tag){
            270, BUILD_ASCII, strlen(page->description) + 1, NULL, page->description, 0};
    }
    if (!cells.tiled)
        add(&tags, 273, wide, cells.n, offsets, 0);
    add(&tags, 277, BUILD_SHORT, 1, NULL, spp);
    if (!cells.tiled) {
        add(&tags, 278, BUILD_LONG, 1, NULL, cells.rows);
        if (!page->no_byte_counts)
            add(&tags, 279, BUILD_LONG, cells.n, counts, 0);
    }
    add(&tags, 284, BUILD_SHORT, 1, NULL, or_else(page->planar, 1));
    if (cells.tiled) {
        add(&tags, 322, BUILD_LONG, 1, NULL, page->tile_width);
        add(&tags, 323, BUILD_LONG, 1, NULL, page->tile_height);
        add(&tags, 324, wide, cells.n, offsets, 0);
        add(&tags, 325, BUILD_LONG, cells.n, counts, 0);
    }
    if (page->n_subs)
        add(&tags, 330, wide, page->n_subs, page->subs, 0);
    add(&tags, 339, BUILD_SHORT, spp, NULL, or_else(page->format, 1));
    size_t at = build_ifd(build, tags.list, tags.n, link);
    free(counts);
    return at;
}

size_t build_page(struct build *build, const struct build_page *page, bool link)
{
    struct cells cells = cells_of(page);
    uint64_t *offsets = calloc(cells.n, sizeof(*offsets));
    if (!offsets)
        abort();
    size_t at;
    if (page->at) {
        for (uint64_t i = 0; i < cells.n; i++)
            offsets[i] = i ? offsets[i - 1] + cell_bytes(&cells, i - 1) : page->at;
        at = put_ifd(build, page, offsets, link);
    } else if (page->ifd_first) {
        struct build rest; /* written once to learn its length, then again with the offsets */
        size_t len = build->len, old_link = build->link;
        put_ifd(build, page, offsets, link);
        put_voxels(build, page, offsets);
        rest = *build;
        build->len = len;
        build->link = old_link;
        at = put_ifd(build, page, offsets, link);
        build->len = rest.len;
    } else {
        put_voxels(build, page, offsets);
        at = put_ifd(build, page, offsets, link);
    }
    free(offsets);
    return at;
}
