/* h264 and hevc: sqeazy's video sinks, known by name. */
#include "codec/stage.h"

#define MISSING "video (h264, hevc) cannot be coded by this version"

const struct stage_desc stage_desc_h264 = {
    .name = "h264",
    .class = STAGE_SINK,
    .upstream = true,
    .missing = MISSING,
};

const struct stage_desc stage_desc_hevc = {
    .name = "hevc",
    .class = STAGE_SINK,
    .upstream = true,
    .missing = MISSING,
};
