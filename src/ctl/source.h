/* A .sqy file as sqyctl reads it: one of ours, or one of sqeazy's own. */
#ifndef SQYFS_CTL_SOURCE_H
#define SQYFS_CTL_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "codec/sqy.h"
#include "image/tiffout.h"
#include "store/blob.h"

/* Of ours: whether its last checkpoint is the last that it ever had. */
enum source_end {
    SOURCE_WHOLE,
    SOURCE_TORN, /* yes, and an unfinished write or copy lies behind it */
    SOURCE_CUT,  /* no: the end is missing or damaged, and an older state comes to light */
};

struct source {
    int fd; /* of its own, whoever holds the blob */
    struct stat st;
    bool empty;        /* no byte of it written: an empty stack, nothing else is filled */
    struct blob *blob; /* NULL: sqeazy's own, header and tiff are then filled */
    enum source_end end;
    bool voxels_only; /* ours, taken for sqeazy's own: its tail may be cut off */
    bool header_lost; /* ours, with a damaged header: all that matters lies elsewhere */
    struct sqy_header header;
    struct tiffout tiff; /* the stack that it decodes to */
};

/* -EBADMSG: no blob, or damaged at its front. -EISDIR, -ESPIPE: not a regular file. */
int source_open(const char *path, struct source *out);
/* The same from an open descriptor, which is taken over on success. */
int source_open_fd(int fd, struct source *out);
/* One of ours without a checkpoint, as sqeazy sees it: in the upstream form the header alone tells
 * how to decode the voxels. -ENODATA: one of ours in another form, of which nothing can be told.
 * -EBADMSG: no blob, or its header is damaged too. */
int source_open_voxels(const char *path, struct source *out);
void source_close(struct source *source);

/* Whether it has lost every checkpoint but that of its birth, which says nothing. */
bool source_is_bare(const struct source *source);

/* Decodes all voxels of one of sqeazy's own; the caller frees. -EBADMSG for damage. */
int source_voxels(const struct source *source, void **voxels, uint64_t *bytes);

#endif
