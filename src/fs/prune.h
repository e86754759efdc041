/* Keeps the number of descriptors, of which every inode holds one, below a limit: asks the kernel
 * to forget a part of the inodes, the ones that it looked up longest ago. From a thread of its own,
 * since the kernel may hold what the asking needs until a request is answered. */
#ifndef SQYFS_FS_PRUNE_H
#define SQYFS_FS_PRUNE_H

#include "fs/fs.h"

struct prune;

/* `limit`: the number of a descriptor. The session and the inodes outlive it. */
int prune_start(struct inode_table *inodes, struct fuse_session *session, int limit,
                struct prune **out);
void prune_stop(struct prune **prune);

#endif
