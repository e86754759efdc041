/* Ending on a signal: a thread waits for SIGTERM, SIGINT and SIGHUP and unmounts, while the session
 * goes on serving what the kernel still has to write. */
#ifndef SQYFS_FS_UNMOUNT_H
#define SQYFS_FS_UNMOUNT_H

#include "fs/fs.h"

struct unmount;

/* Call first, before any thread: the signals wait from now on, for the life of the process. */
void unmount_block_signals(void);

int unmount_start(struct fuse_session *session, const char *mountpoint, struct unmount **out);
void unmount_stop(struct unmount **unmount);

#endif
