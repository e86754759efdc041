/* Buffers for the bytes of one request. They are kept and used again: the first touch of fresh
 * memory costs more than the copy into it. Thread safe. */
#ifndef SQYFS_FS_BUFFER_H
#define SQYFS_FS_BUFFER_H

#include <stddef.h>

#define BUFFER_BYTES (1u << 20) /* the largest request, max_read and max_write */

struct buffer_pool;

int buffer_pool_create(struct buffer_pool **out);
/* All have been given back. */
void buffer_pool_destroy(struct buffer_pool **pool);

/* BUFFER_BYTES of memory; NULL where there is none left. */
void *buffer_take(struct buffer_pool *pool);
void buffer_give(struct buffer_pool *pool, void *buffer);

#endif
