/* Attributes: getattr, setattr, statfs. */
#ifndef SQYFS_FS_ATTR_H
#define SQYFS_FS_ATTR_H

#include "fs/fs.h"

/* What stat(2) in the mount says. [waits] */
int attr_read(struct inode *inode, struct stat *st);
/* The same from memory, or -EAGAIN. */
int attr_try(struct inode *inode, struct stat *st);

/* Takes the set-user-id bit, and the set-group-id bit where it means that, before a change of
 * content by `uid`, who may not keep them unless 0. */
void attr_kill_bits(uid_t uid, struct inode *inode);

void attr_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void attr_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                  struct fuse_file_info *fi);
void attr_statfs(fuse_req_t req, fuse_ino_t ino);

#endif
