/* Regular files: create, open, read, write, and the rest that a file handle can do. */
#ifndef SQYFS_FS_FILE_H
#define SQYFS_FS_FILE_H

#include "fs/channel.h"

void file_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                 struct fuse_file_info *fi);
void file_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void file_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void file_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void file_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
/* The bytes are in *payload, a buffer of fs->buffers. Keeps it where it puts another one in its
 * place. */
void file_write(const struct channel_write *write, void **payload);
void file_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void file_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                    struct fuse_file_info *fi);
void file_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);

#endif
