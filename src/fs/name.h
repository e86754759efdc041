/* Names: lookup and all that makes, moves or removes them. */
#ifndef SQYFS_FS_NAME_H
#define SQYFS_FS_NAME_H

#include "fs/fs.h"

/* The inode of a name, with one more lookup on it; inode_forget() undoes it. */
int name_find(struct fs *fs, struct inode *dir, const char *name, struct inode **out);
/* The same of what has been opened; takes entry->fd. */
int name_adopt(struct fs *fs, struct inode *dir, const char *name, const struct tree_entry *entry,
               struct inode **out);
/* What the kernel is told of it. [waits] */
int name_entry(struct fs *fs, struct inode *inode, struct fuse_entry_param *out);

void name_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void name_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void name_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void name_readlink(fuse_req_t req, fuse_ino_t ino);
void name_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void name_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void name_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void name_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void name_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void name_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void name_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                 const char *new_name, unsigned flags);

#endif
