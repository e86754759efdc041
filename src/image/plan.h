/* The image of one TIFF directory -> slabs of voxels. */
#ifndef SQYFS_IMAGE_PLAN_H
#define SQYFS_IMAGE_PLAN_H

#include "image/span.h"
#include "image/tiff.h"

/* Directory entries and strips that bring nothing (overlapping, absent) in one file, beyond what
 * any honest file has: directories may share arrays of millions of strips, so the time would not be
 * bounded by the file's length. */
#define PLAN_MAX_WASTE (1u << 22)

struct plan {
    struct spans *spans;
    const struct tiff_header *header;
    struct window *window;
    uint64_t clip;         /* voxels end here: the size of a complete file, else INT64_MAX */
    uint64_t n_contiguous; /* planes that follow one another from this image's offset on */

    uint32_t shape;       /* of a whole plane; SPAN_NONE where the directory has no image */
    uint64_t n_planes;    /* that voxels were found of */
    bool odd;             /* not simply whole planes: compressed, tiled, incomplete ... */
    uint64_t first;       /* offset of the first strip or tile; 0 where there is none */
    uint64_t plane_bytes; /* of one plane that lies in one piece, else 0 */
    uint64_t n_offsets;   /* offsets that were used */
    uint64_t end;         /* of all voxels, not clipped */
    uint32_t waste;       /* grows */
};

/* Adds the image's slabs to plan->spans and fills in the rest of *plan. 0, WINDOW_ABSENT,
 * WINDOW_NEVER, -ENOMEM, -E2BIG, or what reading gave; slabs may then have been added. */
int plan_image(struct plan *plan, const struct tiff_ifd *ifd);

#endif
