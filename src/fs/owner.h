/* What is created belongs to who asked for it: mode, owner and group of new objects. */
#ifndef SQYFS_FS_OWNER_H
#define SQYFS_FS_OWNER_H

#include "fs/fs.h"

/* Mode to create with in `dir_fd`: the caller's umask counts unless the directory has a default
 * ACL. */
mode_t owner_mode(fuse_req_t req, int dir_fd, mode_t mode);

/* Gives the object behind `fd` (any kind of descriptor), just created in `dir_fd`, to the caller.
 */
int owner_give(fuse_req_t req, int dir_fd, int fd);

#endif
