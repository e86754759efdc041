/* The life of a mount, from the command line's options to the last byte stored. */
#ifndef SQYFS_FS_SESSION_H
#define SQYFS_FS_SESSION_H

#include "fs/options.h"

/* Exit codes of sqyfs. */
enum { SESSION_OK = 0, SESSION_FAILED = 1, SESSION_USAGE = 2 };

/* Mounts and serves until it is unmounted; in the background it returns in the process that was
 * started as soon as the mount answers, and in the daemon at the end. Says on standard error why
 * not. Returns an exit code. */
int session_run(struct options *options);

#endif
