/* All plain bytes of a blob, decoded on every core and handed over in order, with every checksum on
 * the way verified. */
#ifndef SQYFS_CTL_SWEEP_H
#define SQYFS_CTL_SWEEP_H

#include <stdint.h>

#include "store/blob.h"

#define SWEEP_BYTES (16u << 20) /* a piece; memory is two of them a thread */

/* Ranges listed of one piece; beyond them the rest of the piece counts as damaged. */
#define SWEEP_MAX_BAD 64

struct sweep_range {
    uint64_t off, len;
};

struct sweep_piece {
    uint64_t off;
    uint32_t len;
    const uint8_t *data; /* zeros where damaged */
    unsigned n_bad;
    struct sweep_range bad[SWEEP_MAX_BAD]; /* ascending, in the file's offsets */
};

/* Called by the calling thread; != 0 ends the sweep. */
typedef int sweep_fn(void *ctx, const struct sweep_piece *piece);

/* `threads` 0: one a core. Returns what fn returned, 0, or a negative errno that is not about
 * damage. */
int sweep_blob(struct blob *blob, unsigned threads, sweep_fn *fn, void *ctx);

/* The same for any bytes: `read` fills buf[0 .. len) or returns a negative errno, -EBADMSG or -EIO
 * for damage somewhere in them. Pieces that fail are read again in small steps. One thread. */
typedef int sweep_read_fn(void *ctx, void *buf, uint32_t len, uint64_t off);
int sweep_bytes(sweep_read_fn *read, void *read_ctx, uint64_t size, sweep_fn *fn, void *ctx);

#endif
