#include "store/parts.h"

#include <errno.h>

#include "base/le.h"
#include "base/sum.h"
#include "store/frame.h"

#define PARTS_MAGIC 0x54505153u /* "SQPT" */

size_t parts_write(const struct blob_part *parts, unsigned n, uint8_t frame[PARTS_MAX_BYTES])
{
    size_t len = PARTS_BYTES(n);
    frame_head(frame, FRAME_PARTS, (uint32_t)len - FRAME_HEAD_BYTES);
    le_store32(frame + 8, PARTS_MAGIC);
    le_store32(frame + 12, n);
    uint8_t *at = frame + PARTS_HEAD_BYTES;
    for (unsigned i = 0; i < n; i++, at += PARTS_ENTRY_BYTES) {
        le_store64(at, parts[i].off);
        le_store32(at + 8, parts[i].len);
    }
    le_store64(at, sum64(frame, len - 8));
    return len;
}

/* The number of parts in a frame that is whole, or -EBADMSG. */
static int parse_head(const uint8_t *data, size_t len)
{
    if (len < PARTS_HEAD_BYTES || le_load32(data) != FRAME_PARTS ||
        le_load32(data + 8) != PARTS_MAGIC)
        return -EBADMSG;
    uint32_t n = le_load32(data + 12);
    if (n == 0 || n > PARTS_MAX || len < PARTS_BYTES(n))
        return -EBADMSG;
    size_t bytes = PARTS_BYTES(n);
    if (le_load32(data + 4) != bytes - FRAME_HEAD_BYTES ||
        le_load64(data + bytes - 8) != sum64(data, bytes - 8))
        return -EBADMSG;
    return (int)n;
}

int parts_parse(const uint8_t *data, size_t len, const struct blob_chunk *chunk,
                struct blob_part parts[PARTS_MAX])
{
    int n = parse_head(data, len);
    uint64_t total = 0;
    const uint8_t *at = data + PARTS_HEAD_BYTES;
    for (int i = 0; i < n; i++, at += PARTS_ENTRY_BYTES) {
        parts[i].off = le_load64(at);
        parts[i].len = le_load32(at + 8);
        if (parts[i].off < BLOB_HEADER_BYTES || parts[i].off > chunk->coded_off ||
            parts[i].len > chunk->coded_off - parts[i].off)
            return -EBADMSG;
        total += parts[i].len;
    }
    return n < 0 || total == chunk->coded_len ? n : -EBADMSG;
}
