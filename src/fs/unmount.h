/* Ending on a signal: a thread waits for SIGTERM, SIGINT and SIGHUP and unmounts, while the session
 * goes on serving what the kernel still has to write. */
#ifndef SQYFS_FS_UNMOUNT_H
#define SQYFS_FS_UNMOUNT_H

#include "fs/fs.h"

struct unmount;

/* Call first, before any thread: the signals wait from now on, for the life of the process. */
void unmount_block_signals(void);

/* The calling thread is the one that will run the session's loop. `before` is called, once, before
 * anything is unmounted; `flush` before a mount that is in use is. */
struct unmount_hooks {
    void (*before)(void *ctx);
    void (*flush)(void *ctx);
    void *ctx;
};
int unmount_start(struct fuse_session *session, const char *mountpoint,
                  const struct unmount_hooks *hooks, struct unmount **out);
/* The thread that started it has left the session's loop. */
void unmount_loop_ended(struct unmount *unmount);
/* Whether the mount point has been left: nothing of ours is there any more. */
bool unmount_has_left(struct unmount *unmount);
/* The connection to the kernel must be gone: the thread may be waiting for an answer from it. */
void unmount_stop(struct unmount **unmount);

#endif
