/* rmbkrd_neighbor5x5x5: voxels among dark neighbours are darkened. sqeazy leaves the others
 * unwritten and reads past the volume, so that nobody can write what it writes: read only. */
#include "codec/background.h"

enum { ARG_THRESHOLD, ARG_FRACTION };

const struct stage_desc stage_desc_rmbkrd_neighbor5x5x5 = {
    .name = "rmbkrd_neighbor5x5x5",
    .about = "sets to 0 what has dark neighbours",
    .class = STAGE_FILTER,
    .args =
        {
            [ARG_THRESHOLD] = {.name = "threshold", .min = 0, .max = UINT16_MAX, .def = 1},
            [ARG_FRACTION] = {.name = "fraction",
                              .min = 0,
                              .max = 1000000,
                              .def = 500000,
                              .kind = STAGE_ARG_MILLIONTHS},
        },
    .upstream = true,
    .sizes = 1 | 2,
    .whole_volume = true,
    .lossy = true,
    .head_only = true,
    .undo = background_undo,
};
