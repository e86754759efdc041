/* Laying coded chunks down in a canonical blob, in the order in which they come.
 *
 * Pipelines that encode a box in parts (bitswap1->lz4: one part a bit plane) need part 0 of every
 * chunk first. Their coded bytes wait in a scratch file until all voxels are known. Only pack.c
 * includes it. */
#ifndef SQYFS_VOLUME_PACK_LAY_H
#define SQYFS_VOLUME_PACK_LAY_H

#include <stddef.h>
#include <stdint.h>

#include "store/blob.h"
#include "volume/coder.h"

struct pack_waiting;

struct pack_lay {
    const struct io *io;
    struct blob *blob; /* borrowed; NULL until the caller has made one */
    int scratch_fd;
    uint64_t scratch_end;
    struct pack_waiting *waiting;
    size_t n_waiting, cap_waiting;
};

/* The scratch file is an unnamed one beside the result `fd`, where there is room for a result. */
int pack_lay_open(const struct io *io, int fd, struct pack_lay *lay);
void pack_lay_close(struct pack_lay *lay);

/* One chunk, whose decoded bytes are those of the claims. In one part it is laid down and entered
 * into the table, in several it waits. */
int pack_lay_chunk(struct pack_lay *lay, const struct coded *coded, const struct blob_claim *claims,
                   uint32_t n_claims);

/* The voxels are complete: what waits is laid down, every chunk's part 0, then every part 1, ... */
int pack_lay_parts(struct pack_lay *lay);

/* Nothing waits any more: the blob is begun anew, or done with. */
void pack_lay_forget(struct pack_lay *lay);

#endif
