/* A blob's first BLOB_HEADER_BYTES: sqeazy's header with our key in it. No I/O. */
#ifndef SQYFS_STORE_HEADING_H
#define SQYFS_STORE_HEADING_H

#include <stddef.h>
#include <stdint.h>

#include "store/blob.h"
#include "store/checkpoint.h"

#define HEADING_VERSION 1         /* of the blob format; a reader refuses higher ones */
#define HEADING_LIVE    "sqyfs->" /* before the pipename of a blob that sqeazy must not read */

/* -ENOSPC where it does not fit, -EINVAL where the header makes no sense. */
int heading_write(const struct blob_header *header, const uint8_t id[CHECKPOINT_ID_BYTES],
                  uint64_t encoded_bytes, uint8_t out[BLOB_HEADER_BYTES]);

/* Parses the front of a file; *pipename is owned by the caller, out->pipename points to it.
 * -EAGAIN: more bytes wanted; -EMEDIUMTYPE: sqeazy's, without our key; -ENOTSUP: a newer version;
 * -EBADMSG. */
int heading_parse(const uint8_t *data, size_t len, struct blob_header *out, char **pipename,
                  uint8_t id[CHECKPOINT_ID_BYTES]);

#endif
