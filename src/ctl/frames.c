/* After LZ4's frame format description 1.6. */
#include "ctl/frames.h"

#include "base/le.h"

#define LZ4_MAGIC        0x184D2204u
#define SKIPPABLE_MAGIC  0x184D2A50u /* to 5F */
#define FLAG_BLOCK_SUM   0x10u
#define FLAG_SIZE        0x08u
#define FLAG_SUM         0x04u
#define FLAG_DICTIONARY  0x01u
#define BLOCK_STORED     0x80000000u
#define DESCRIPTOR_BYTES 7u /* magic, flags, block size, checksum */

/* The frame's length, or 0 where it does not end within `len` bytes. */
static size_t lz4_frame(const uint8_t *data, size_t len)
{
    if (len < DESCRIPTOR_BYTES)
        return 0;
    unsigned flags = data[4];
    size_t at = DESCRIPTOR_BYTES + (flags & FLAG_SIZE ? 8 : 0) + (flags & FLAG_DICTIONARY ? 4 : 0);
    while (at <= len && len - at >= 4) {
        uint32_t block = le_load32(data + at) & ~BLOCK_STORED;
        at += 4;
        if (block == 0) {
            at += flags & FLAG_SUM ? 4 : 0;
            return at <= len ? at : 0;
        }
        at += (size_t)block + (flags & FLAG_BLOCK_SUM ? 4 : 0);
    }
    return 0;
}

static size_t frame(const uint8_t *data, size_t len)
{
    if (len < 8)
        return 0;
    uint32_t magic = le_load32(data);
    size_t bytes = 8 + (size_t)le_load32(data + 4);
    if ((magic & ~0xFu) == SKIPPABLE_MAGIC)
        return bytes <= len ? bytes : 0;
    return magic == LZ4_MAGIC ? lz4_frame(data, len) : 0;
}

size_t frames_whole(const uint8_t *data, size_t len)
{
    size_t at = 0, n;
    while ((n = frame(data + at, len - at)) > 0)
        at += n;
    return at;
}
