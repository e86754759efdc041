/* Copies of bytes that nobody will want for a while. */
#ifndef SQYFS_BASE_COPY_H
#define SQYFS_BASE_COPY_H

#include <stddef.h>

/* As memcpy(3), past the processor's caches where it has a way: what lies there stays, and the memory that is
 * overwritten is not read first. Twice as fast as memcpy() where `to` is in no cache, and for who reads it soon
 * twice as slow. Others see all of it before what the caller stores next. */
void copy_past_caches(void *to, const void *from, size_t len);

#endif
