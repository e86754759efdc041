#include "image/window.h"

#include <assert.h>

void window_init(struct window *window, struct source *source)
{
    window->source = source;
    window->off = 0;
    window->len = 0;
}

/* Whether the range can be asked for at all. */
static int window_range(struct source *source, uint64_t off, uint64_t len)
{
    if (off > INT64_MAX || len > INT64_MAX - off)
        return WINDOW_NEVER;
    if (source->final && off + len > source->size)
        return WINDOW_NEVER;
    return 0;
}

static int absent(struct source *source, uint64_t off, uint64_t len)
{
    source->want = (struct layout_piece){off, len};
    return WINDOW_ABSENT;
}

int window_get(struct window *window, uint64_t off, uint32_t len, const uint8_t **bytes)
{
    assert(len && len <= WINDOW_BYTES);
    struct source *source = window->source;
    if (off >= window->off && off - window->off <= window->len &&
        len <= window->len - (off - window->off)) {
        *bytes = window->bytes + (off - window->off);
        return 0;
    }
    int r = window_range(source, off, len);
    if (r)
        return r;
    r = source->read(source->ctx, window->bytes, WINDOW_BYTES, off);
    if (r < 0) /* perhaps only what lies behind cannot be read */
        r = source->read(source->ctx, window->bytes, len, off);
    window->off = off;
    window->len = r < 0 ? 0 : (uint32_t)r;
    if (r < 0)
        return r;
    if ((uint32_t)r < len)
        return absent(source, off + (uint32_t)r, len - (uint32_t)r);
    *bytes = window->bytes;
    return 0;
}

int window_copy(struct source *source, void *buf, uint32_t len, uint64_t off)
{
    int r = window_range(source, off, len);
    if (r)
        return r;
    r = source->read(source->ctx, buf, len, off);
    if (r < 0)
        return r;
    return (uint32_t)r < len ? absent(source, off + (uint32_t)r, len - (uint32_t)r) : 0;
}
