/* Reading a growing file in small pieces, through the layout's callback. */
#ifndef SQYFS_IMAGE_WINDOW_H
#define SQYFS_IMAGE_WINDOW_H

#include "image/layout.h"

#define WINDOW_BYTES 4096u

/* Results beside 0 and a negative errno. */
enum {
    WINDOW_ABSENT = 1, /* not there yet: source.want says what */
    WINDOW_NEVER = 2,  /* past the end of a file that is complete */
};

struct source {
    layout_read_fn *read;
    void *ctx;
    uint64_t size;
    bool final;
    struct layout_piece want; /* of the last WINDOW_ABSENT */
};

/* What was last read in one place; good as long as the file does not change. */
struct window {
    struct source *source;
    uint64_t off;
    uint32_t len;
    uint8_t bytes[WINDOW_BYTES];
};

void window_init(struct window *window, struct source *source);

/* `len` (at most WINDOW_BYTES) bytes at `off`, valid until the next call. */
int window_get(struct window *window, uint64_t off, uint32_t len, const uint8_t **bytes);

/* Copies any number of bytes, past the window. */
int window_copy(struct source *source, void *buf, uint32_t len, uint64_t off);

#endif
