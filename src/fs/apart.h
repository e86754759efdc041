/* Calls on our own mount, made by a process that holds nothing of ours. */
#ifndef SQYFS_FS_APART_H
#define SQYFS_FS_APART_H

/* Runs fn(ctx) in a child process without our descriptors, waits for it, and returns what it
 * returned: 0 or a negative errno. The child is a fork of a process with threads, so `fn` may only
 * make system calls; what it writes is seen here only where the memory is shared.
 *
 * A thread that waits for an answer of its own process cannot be killed, and keeps the device open,
 * so the kernel would wait for the answer for ever: a daemon killed meanwhile would never end, its
 * users hang, and the store stay locked. */
int apart_run(int (*fn)(void *ctx), void *ctx);

#endif
