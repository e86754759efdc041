/* Extended attributes. Those of our own are made up here and not listed, so that a copy of a file's
 * attributes does not carry them on:
 *
 *   user.sqyfs.state, .pipeline, .ratio, .stored_bytes   of a file, read only
 *   user.sqyfs.pipeline                                  of a directory: its policy
 *   user.sqyfs.stats                                     of the root, read only: JSON
 *   user.sqyfs.command                                   write only: "drain" to the root, "compact"
 * to a file; answered when it is done
 *
 * All others, ACLs included, are the backing file's. */
#ifndef SQYFS_FS_XATTR_H
#define SQYFS_FS_XATTR_H

#include "fs/fs.h"

void xattr_get(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void xattr_set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
               int flags);
void xattr_list(fuse_req_t req, fuse_ino_t ino, size_t size);
void xattr_remove(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
