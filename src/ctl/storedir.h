/* A store's directory, seen from outside a mount. */
#ifndef SQYFS_CTL_STOREDIR_H
#define SQYFS_CTL_STOREDIR_H

#include <stdbool.h>
#include <stddef.h>

#define STOREDIR_STATE ".sqyfs"
#define STOREDIR_INDEX ".sqyfs/index.db"

/* The store that has `path` (a file or directory) somewhere below it: the nearest directory upwards
 * with a .sqyfs in it. An O_PATH descriptor, or -ENOENT. */
int storedir_find(const char *path);

/* Takes the store's lock as a mount does, and keeps it until the descriptor is closed: -EBUSY where
 * a mount has it. -ENOENT where the store has no lock file (it was never mounted for writing). */
int storedir_lock(int store_fd);

/* Whether a mount that writes has it now. */
bool storedir_is_mounted(int store_fd);

#endif
