/* Where voxels lie, and how they are cut into units.
 *
 * A slab is a run of whole rows of one plane, or of one tile, that lies in one piece: most often a
 * whole plane. Slabs are numbered in the order in which they were added, which is the volume's
 * order. A span is a run of equal slabs that touch each other in the file: a stack of N contiguous
 * planes is one span.
 *
 * A series is a run of equal slabs, by number, whose offsets only rise or only fall. Small ones are
 * grouped into units by their place in the series: that depends on nothing that is added later, but
 * for the last group of the last series. Large ones are cut into rows.
 *
 * Spans never overlap. Adding is O(log n); span_cut() takes the most recent ones away again. */
#ifndef SQYFS_IMAGE_SPAN_H
#define SQYFS_IMAGE_SPAN_H

#include "image/array.h"
#include "image/layout.h"

#define SPAN_NONE UINT32_MAX

struct shape {
    enum layout_type type;
    bool big_endian;
    uint32_t spp;
    uint32_t width; /* samples, interleaved ones counted */
    uint32_t rows;
    uint64_t row_bytes;
    uint64_t n_planes; /* whoever counts planes of this shape keeps the number here */
};

struct span {
    uint64_t off;
    uint64_t slab, n_slabs; /* number of the first; how many */
    uint64_t before;        /* voxel bytes of all earlier spans */
    uint32_t shape;
    uint32_t row;         /* of its plane, that each slab starts with */
    uint32_t left, right; /* tree by offset */
};

struct series {
    uint64_t slab, n_slabs;
    uint64_t n_joined; /* that many at its start continue one another as rows of one plane */
    uint32_t shape;
    uint32_t per_unit;
    bool falling;
    bool short_end; /* the last slab has fewer rows than the others: nothing may follow it */
};

struct spans {
    uint32_t target;
    struct memory *memory;
    struct span *spans;
    struct series *series;
    struct shape *shapes;
    uint32_t n, cap, n_series, cap_series, n_shapes, cap_shapes;
    uint32_t root;
    uint64_t seed;
    uint64_t end; /* of the last span by offset */
};

size_t span_type_size(enum layout_type type);

void span_init(struct spans *spans, uint32_t target, struct memory *memory);
void span_clear(struct spans *spans);

/* Finds or makes a shape; row_bytes and n_planes need not be set. 0, -ENOMEM or -E2BIG. */
int span_shape(struct spans *spans, struct shape shape, uint32_t *index);

enum span_claim {
    SPAN_FREE,  /* nobody's */
    SPAN_TAKEN, /* all of it lies in one span */
    SPAN_CLASH, /* part of it does, or several have it */
};
enum span_claim span_claim(const struct spans *spans, uint64_t off, uint64_t len);

/* Adds `n` touching slabs of a shape; their bytes must be free and end below 2^63. */
int span_add(struct spans *spans, uint64_t off, uint32_t shape, uint64_t n, uint32_t row);

/* How many slabs there are. */
uint64_t span_count(const struct spans *spans);
/* Takes away all slabs from number `n_slabs`, and all shapes from index `n_shapes`, on. */
void span_cut(struct spans *spans, uint64_t n_slabs, uint32_t n_shapes);

static inline const struct shape *span_shape_of(const struct spans *spans, uint32_t i)
{
    return &spans->shapes[spans->spans[i].shape];
}

static inline uint64_t span_slab_bytes(const struct shape *shape)
{
    return shape->rows * shape->row_bytes;
}

static inline uint64_t span_end(const struct spans *spans, uint32_t i)
{
    return spans->spans[i].off + spans->spans[i].n_slabs * span_slab_bytes(span_shape_of(spans, i));
}

/* The last span that starts at or before `off`, and the first that starts after it; SPAN_NONE. */
void span_around(const struct spans *spans, uint64_t off, uint32_t *at, uint32_t *after);

/* As layout_unit_at() and layout_volume_pieces() (span_cutting.c). */
bool span_unit_at(const struct spans *spans, uint64_t off, struct layout_unit *unit,
                  uint64_t *gap_end);
uint64_t span_pieces(const struct spans *spans, uint64_t off, uint64_t len,
                     struct layout_piece *pieces, uint32_t max, uint32_t *n_pieces);

#endif
