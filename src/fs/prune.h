/* Keeps the number of inodes, each of which holds a descriptor, below a limit: asks the kernel to
 * forget the ones that it looked up longest ago. From a thread of its own, since the kernel may
 * hold what the asking needs until a request is answered. */
#ifndef SQYFS_FS_PRUNE_H
#define SQYFS_FS_PRUNE_H

#include "fs/fs.h"

struct prune;

/* `limit` descriptors. The session and the inodes outlive it. */
int prune_start(struct inode_table *inodes, struct fuse_session *session, size_t limit,
                struct prune **out);
void prune_stop(struct prune **prune);

#endif
