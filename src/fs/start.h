/* Becoming a daemon: the process that was started returns when the mount answers, or with the
 * reason why it does not. */
#ifndef SQYFS_FS_START_H
#define SQYFS_FS_START_H

#include <stdbool.h>

struct start {
    int pipe; /* to the process that waits; -1 in the foreground */
    bool foreground;
    bool told;
};

/* One line on standard error. */
void start_say(const char *text);

/* In the foreground nothing happens. Else true in the process that was started, which is to exit
 * with *code (having said why); false in the one that goes on. */
bool start_fork(bool foreground, struct start *start, int *code);

/* Whether somebody still waits to hear of it; always in the foreground. */
bool start_is_awaited(const struct start *start);

/* Once, from any thread: the mount answers; standard streams are left. */
void start_ready(struct start *start);

/* Instead: one line without a full stop or line feed. Nothing happens after start_ready(). */
void start_failed(struct start *start, const char *why);

#endif
