/* The place in the tree where we mount: whether it can be, what is there, and how it is left. */
#ifndef SQYFS_FS_MOUNTPOINT_H
#define SQYFS_FS_MOUNTPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "fs/options.h"

/* 0, or a negative errno with one line in `why` that says what to do. Looks at store, mount point
 * and the system's means to mount. */
int mountpoint_check(const struct options *options, char *why, size_t why_len);

/* Whether some mount of ours writes to this store (an absolute path) where process `pid` is, which may
 * have a list of mounts of its own; 0: this process. */
bool mountpoint_writes_to(const char *store, pid_t pid);

/* Whether what is mounted at `path` is a mount of ours. */
bool mountpoint_is_ours(const char *path);

/* Read-ahead of the mount, which the kernel makes too small for files that are decoded. As root;
 * else nothing happens. */
void mountpoint_set_read_ahead(const char *path, unsigned kib);

/* Unmounts; `lazy`: even while it is in use. -EBUSY. */
int mountpoint_leave(const char *path, bool lazy);

#endif
