/* The list of a BLOB_SPLIT chunk's coded runs, from and to memory. No I/O. Layout: FORMAT.md,
 * "Parts". */
#ifndef SQYFS_STORE_PARTS_H
#define SQYFS_STORE_PARTS_H

#include <stddef.h>
#include <stdint.h>

#include "store/blob.h"

#define PARTS_MAX         64u /* of a chunk: the bit planes of the widest sample; a reader refuses more */
#define PARTS_HEAD_BYTES  16u /* frame head, magic, number */
#define PARTS_ENTRY_BYTES 12u /* offset, length */
#define PARTS_BYTES(n)    (PARTS_HEAD_BYTES + PARTS_ENTRY_BYTES * (n) + 8u)
#define PARTS_MAX_BYTES   PARTS_BYTES(PARTS_MAX)

/* Writes the frame of 1 .. PARTS_MAX parts and returns its length. */
size_t parts_write(const struct blob_part *parts, unsigned n, uint8_t frame[PARTS_MAX_BYTES]);

/* Parses the frame that begins data[0 .. len), which may go on behind it, as what `chunk` refers
 * to. Returns the number of parts, which add up to the coded length and lie between the header and
 * the list, or -EBADMSG. */
int parts_parse(const uint8_t *data, size_t len, const struct blob_chunk *chunk,
                struct blob_part parts[PARTS_MAX]);

#endif
