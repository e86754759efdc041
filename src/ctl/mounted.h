/* The mount's side of sqyctl: attributes of files and directories in a mount. */
#ifndef SQYFS_CTL_MOUNTED_H
#define SQYFS_CTL_MOUNTED_H

#include <stdbool.h>

/* The value of user.sqyfs.NAME as text; the caller frees. -ENODATA where it is not there, which is
 * what files outside mounts and other filesystems give. */
int mounted_get(const char *path, const char *name, char **value);

/* Whether the path lies in a mount (its file or directory has attributes of ours). */
bool mounted_is_file(const char *path);
bool mounted_is_root(const char *path);

/* Sets user.sqyfs.command; returns when the mount has done it. */
int mounted_command(const char *path, const char *command);

#endif
