/* Coders measured side by side. A peer is a coder with its settings; each library has a file of its
 * own that gives its peers, and a row in peer_table.c. */
#ifndef SQYFS_BENCH_PEER_H
#define SQYFS_BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Voxels of 16 bits in C order: a chunk of a volume, or a plane. */
struct peer_image {
    const uint16_t *voxels;
    uint32_t planes, rows, width;
    size_t bytes;
};

struct peer {
    const char *name; /* NULL ends a list */
    bool planes;      /* an image coder: it gets whole planes */
    int level, filter;
    const char *text; /* the file's own */
    /* One thread uses a state; NULL functions: none is needed. 0 or a negative errno. */
    int (*open)(const struct peer *peer, void **state);
    void (*close)(void *state);
    /* Room that encode() may need. */
    size_t (*bound)(const struct peer *peer, void *state, const struct peer_image *image);
    /* Coded bytes, or a negative errno. */
    ssize_t (*encode)(const struct peer *peer, void *state, const struct peer_image *image,
                      void *out, size_t cap);
    /* Fills out[0 .. image->bytes); of the image only the shape is looked at. */
    int (*decode)(const struct peer *peer, void *state, const void *coded, size_t len,
                  const struct peer_image *image, uint16_t *out);
};

struct peer_family {
    const char *name;
    const char *package;      /* of Debian */
    const struct peer *peers; /* NULL where it was not there when this was built */
};

extern const struct peer_family peer_families[]; /* a NULL name ends it */

/* A pipeline of libsqy as a peer. */
struct peer peer_sqy_of(const char *pipeline);

extern const struct peer peers_sqy[];
extern const struct peer peers_zstd[];
extern const struct peer peers_lz4[];
extern const struct peer peers_blosc[];
extern const struct peer peers_delta[];
extern const struct peer peers_deflate[];
extern const struct peer peers_jpegls[];
extern const struct peer peers_htj2k[];
extern const struct peer peers_bzip2[];

#ifdef __cplusplus
}
#endif

#endif
