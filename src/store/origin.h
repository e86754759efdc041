/* Whose a file of the store is: ours, or sqeazy's own that somebody put there ("foreign": a sqeazy
 * header without our key). Reads the first bytes of the file, so it is asked only where a name
 * depends on it (store/names.h). */
#ifndef SQYFS_STORE_ORIGIN_H
#define SQYFS_STORE_ORIGIN_H

#include <stdbool.h>

/* False also for what is no regular file, is not there, is empty, or cannot be read. */
bool origin_is_foreign(int dir_fd, const char *name);
/* The same of an open file; O_PATH will do. */
bool origin_is_foreign_fd(int fd);

#endif
