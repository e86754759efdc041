/* Blobs for tests: chunks whose coded bytes are the plain bytes, so that a blob can be compared
 * with an array of bytes without any codec. */
#ifndef SQYFS_TESTS_STORE_UTIL_H
#define SQYFS_TESTS_STORE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/blob.h"

/* Deterministic; the state is the seed. */
uint64_t util_random(uint64_t *state);
uint64_t util_below(uint64_t *state, uint64_t n);
void util_fill(uint64_t *state, void *buf, size_t len);

/* An empty file without a name. */
int util_file(void);
int util_copy(int fd);
uint64_t util_size(int fd);
void util_poke(int fd, uint64_t off, const void *data, size_t len);
void util_flip(int fd, uint64_t off);

/* A new blob in a new file, closed with the blob. */
struct blob *util_create(const struct io *io);
/* Opens a descriptor of its own to the same file. */
int util_open(const struct io *io, int fd, bool writable, struct blob **out);

/* Appends the bytes as one chunk and fills in `chunk`. */
int util_append(struct blob *blob, const void *data, uint32_t len, uint32_t flags,
                struct blob_chunk *chunk);
/* Commits, loading pages as needed. */
int util_commit(struct blob *blob, const struct blob_chunk *chunk, const struct blob_claim *claims,
                unsigned n);
int util_punch(struct blob *blob, uint64_t off, uint64_t len);
int util_find(struct blob *blob, uint64_t off, struct blob_extent *out);
/* Append and commit: plain [off, off+len) = data. */
int util_write(struct blob *blob, uint64_t off, const void *data, uint32_t len, uint32_t flags);
/* Plain bytes out of the table, zeros for holes. */
int util_read(struct blob *blob, uint64_t off, void *buf, size_t len);
/* Checkpoint with a size, and an mtime and meta made from `tag`. */
int util_checkpoint(struct blob *blob, uint64_t size, uint32_t tag, unsigned flags);
/* The tag of the last one; 0 where there was none. */
uint32_t util_tag(struct blob *blob);

/* Makes the checksums of all checkpoints (and of the pages that they point to) right again, so that
 * what was changed in them is looked at and not just found to be changed. */
void util_resign(uint8_t *data, size_t len);

#endif
