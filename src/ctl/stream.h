/* The video that a blob holds, for players: the coded bytes of its groups of planes, one after the other. */
#ifndef SQYFS_CTL_STREAM_H
#define SQYFS_CTL_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "store/blob.h"

typedef int stream_put_fn(void *ctx, const void *data, size_t len, uint64_t off);

/* Bytes come in order. -ENOTSUP where a chunk of voxels is no video, or none is; *plain_off is then where it lies. */
int stream_write(struct blob *blob, stream_put_fn *put, void *ctx, uint64_t *plain_off);

#endif
