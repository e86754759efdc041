/* A store's directory, seen from outside a mount. */
#ifndef SQYFS_CTL_STOREDIR_H
#define SQYFS_CTL_STOREDIR_H

#include <stdbool.h>
#include <stddef.h>

#define STOREDIR_STATE  ".sqyfs"
#define STOREDIR_POLICY ".sqyfs-policy"
#define STOREDIR_INDEX  ".sqyfs/index.db"

/* Whether the directory is a store, be it empty: it has a .sqyfs, or, where a backup left that out,
 * a policy file. One that has neither may still be a store's copy, if blobs are in it. */
bool storedir_is_store(int dir_fd);

/* Whether a store or a mount has the directory somewhere below it, or it is one. */
bool storedir_is_inside(const char *dir);

/* Whether it is a directory of a mount, where what lies in the store is not to be seen. */
bool storedir_is_in_mount(const char *dir);

/* Says that a directory in which no blob was found is no store. Returns EXIT_FAILED. */
int storedir_say_none(const char *dir);

/* The store that has `path` (a file or directory) somewhere below it: the nearest directory upwards
 * with a .sqyfs in it. An O_PATH descriptor, or -ENOENT. */
int storedir_find(const char *path);

/* Takes the store's lock as a mount does, and keeps it until the descriptor is closed: -EBUSY where
 * a mount has it. -ENOENT where the store has no lock file (it was never mounted for writing). */
int storedir_lock(int store_fd);

/* Whether a mount that writes has it now. */
bool storedir_is_mounted(int store_fd);

#endif
