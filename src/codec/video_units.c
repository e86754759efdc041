/* Where access units end: before the first thing that a picture cannot hold once it has a slice.
 * Sources: H.264 7.4.1.2.3, H.265 7.4.2.4.4. */
#include "codec/video_decoder.h"

#include <string.h>

enum unit { UNIT_FIRST_SLICE, UNIT_SLICE, UNIT_BEFORE, UNIT_AFTER };

#define START     3    /* bytes of a start code */
#define FIRST_BIT 0x80 /* of a slice's header: it is the first of its picture */

/* The start code at or after `at`; `len` where there is none. */
static size_t find_start(const uint8_t *data, size_t len, size_t at)
{
    const uint8_t *found = at < len ? memmem(data + at, len - at, "\0\0\1", START) : NULL;
    return found ? (size_t)(found - data) : len;
}

static enum unit h264_unit(const uint8_t *unit, size_t len)
{
    const unsigned type = unit[0] & 31;
    if (type >= 1 && type <= 5)
        return len > 1 && unit[1] & FIRST_BIT ? UNIT_FIRST_SLICE : UNIT_SLICE;
    return (type >= 6 && type <= 9) || (type >= 14 && type <= 18) ? UNIT_BEFORE : UNIT_AFTER;
}

static enum unit hevc_unit(const uint8_t *unit, size_t len)
{
    const unsigned type = unit[0] >> 1 & 63;
    if (type < 32)
        return len > 2 && unit[2] & FIRST_BIT ? UNIT_FIRST_SLICE : UNIT_SLICE;
    return (type >= 36 && type <= 38) || type == 40 ? UNIT_AFTER : UNIT_BEFORE;
}

size_t video_unit_len(enum video_codec codec, const uint8_t *data, size_t len)
{
    bool has_slice = false;
    for (size_t at = find_start(data, len, 0); at + START < len;) {
        const uint8_t *unit = data + at + START;
        const size_t left = len - at - START;
        const enum unit is = codec == VIDEO_H264 ? h264_unit(unit, left) : hevc_unit(unit, left);
        if (has_slice && (is == UNIT_FIRST_SLICE || is == UNIT_BEFORE))
            return data[at - 1] ? at : at - 1; /* a start code may have one zero more */
        has_slice = has_slice || is == UNIT_FIRST_SLICE || is == UNIT_SLICE;
        at = find_start(data, len, at + START);
    }
    return len;
}

/* Up to High, not its descendants; HEVC's up to the range extensions, of which a decoder knows what it reads. */
static bool is_sps_for_gpu(enum video_codec codec, const uint8_t *unit, size_t len)
{
    if (codec == VIDEO_H264)
        return len > 1 && (unit[1] == 66 || unit[1] == 77 || unit[1] == 100);
    return len > 3 && (unit[3] & 31) <= 4;
}

bool video_gpu_reads(enum video_codec codec, const uint8_t *data, size_t len)
{
    bool any = false;
    for (size_t at = find_start(data, len, 0); at + START < len;
         at = find_start(data, len, at + START)) {
        const uint8_t *unit = data + at + START;
        const bool sps = codec == VIDEO_H264 ? (unit[0] & 31) == 7 : (unit[0] >> 1 & 63) == 33;
        if (sps && !is_sps_for_gpu(codec, unit, len - at - START))
            return false;
        any = any || sps;
    }
    return any;
}
