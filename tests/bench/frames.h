/* The camera's memory: planes of a generated stack, repeated for as long as somebody films. Each time
 * the stack comes round its rows have moved, so that no plane is the same bytes at the same place
 * twice and statistics stay; the bytes are shown where they lie, nothing is copied. */
#ifndef SQYFS_BENCH_FRAMES_H
#define SQYFS_BENCH_FRAMES_H

#include <stddef.h>
#include <stdint.h>

struct frames {
    uint8_t *bytes; /* owned: the planes, and the first one once more */
    size_t mapped;
    uint32_t width, height, n;
    unsigned skew; /* where in a page of memory planes begin */
};

static inline size_t frames_plane_bytes(const struct frames *frames)
{
    return (size_t)frames->width * frames->height * 2;
}

/* `text`: FILE.raw:WIDTHxHEIGHT, 16-bit. 0, or a negative errno. */
int frames_load(const char *text, unsigned skew, struct frames *out);
void frames_unload(struct frames *frames);

/* Plane i of camera `camera` of `n_cameras`; to be read only. */
uint16_t *frames_at(const struct frames *frames, unsigned camera, unsigned n_cameras, uint64_t i);

#endif
