/* A store's lock: the mount that writes holds it, from before it looks at the store until all is
 * stored. It says in the file which process it is, and on which host, so that
 * others can tell. Gone with the process,
 * however it ends. */
#ifndef SQYFS_VOLUME_LOCK_H
#define SQYFS_VOLUME_LOCK_H

#include <sys/types.h>

/* Takes the lock in STORE/.sqyfs (`state_fd`, borrowed). -EBUSY where another process has it. */
int lock_take(int state_fd, int *lock_fd);
/* Harmless where *lock_fd is -1, which it is afterwards. */
void lock_release(int *lock_fd);

/* The process that has it, by what it wrote; 0 where that is not known: nothing written, a process
 * of another host or container, or one that has died. */
pid_t lock_holder(int state_fd);

#endif
