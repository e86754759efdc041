/* The frames in a blob that are not coded chunks: skippable frames of LZ4 and zstd, so that
 * decoders of both read over them. */
#ifndef SQYFS_STORE_FRAME_H
#define SQYFS_STORE_FRAME_H

#include <stdint.h>

#include "base/le.h"

#define FRAME_HEAD_BYTES 8u /* magic, then the bytes that follow; both 32 bits */

enum frame_magic {                           /* stored: never renumber */
                   FRAME_CHUNK = 0x184D2A50, /* a wrapped chunk */
                   FRAME_PARTS = 0x184D2A51,
                   FRAME_PAGE = 0x184D2A52,
                   FRAME_CHECKPOINT = 0x184D2A53,
                   FRAME_MARK = 0x184D2A54,
};

static inline void frame_head(void *out, enum frame_magic magic, uint32_t payload)
{
    le_store32(out, magic);
    le_store32((char *)out + 4, payload);
}

#endif
