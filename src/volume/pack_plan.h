/* Which chunks a canonical blob has, and in which order they lie: in sqeazy's form runs of the
 * volume's voxels, cut at the pipeline's grain, else the layout's units; then whatever is no voxel.
 * Only pack.c includes it. */
#ifndef SQYFS_VOLUME_PACK_PLAN_H
#define SQYFS_VOLUME_PACK_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/sqy.h"
#include "image/layout.h"
#include "volume/pack.h"

/* Claims one chunk may have: a table entry each, so more would cost more than the chunk. */
#define PACK_MAX_CLAIMS 4096u

enum pack_stage { PACK_VOLUME, PACK_UNITS, PACK_BYTES, PACK_DONE };

struct pack_plan {
    const struct layout *layout;      /* borrowed */
    const struct pack_source *source; /* borrowed */
    struct layout_info info;
    uint64_t size, volume_bytes;
    uint32_t target, grain_bytes;
    bool upstream; /* the blob is to be in sqeazy's form */
    enum pack_stage stage;
    uint64_t at;
    int error; /* of the source, asked where its data lie */
};

struct pack_chunk {
    struct sqy_box box;
    bool big_endian;
    uint32_t n_pieces;
    struct layout_piece pieces[PACK_MAX_CLAIMS];
};

/* From the beginning. Sqeazy's form is chosen where pipeline and stack allow it, and `upstream`
 * does. `target`: bytes of a chunk. */
void pack_plan_start(struct pack_plan *plan, const struct layout *layout,
                     const struct pack_source *source, const struct sqy_pipeline *pipeline,
                     uint32_t target, bool upstream);

/* 1 with the next chunk, 0 at the end, -EAGAIN where sqeazy's form has to be given up: start again
 * without it; or the source's error. */
int pack_plan_next(struct pack_plan *plan, struct pack_chunk *chunk);

#endif
