/* What sqyctl says to people: one line for an error, names that cannot upset a terminal. */
#ifndef SQYFS_CTL_SAY_H
#define SQYFS_CTL_SAY_H

#include <stddef.h>
#include <stdio.h>

/* "sqyctl: ..." on standard error; returns EXIT_FAILED. */
int say_failed(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The line for a file ("-", where `what` is "write": standard output) and a negative errno, with what can be done about it.
 * Returns EXIT_FAILED. */
int say_error(const char *what, const char *path, int error);

/* What is wrong and what can be done about it, for a negative errno. */
const char *say_advice(int error);

/* A path as printed: control characters and backslashes as \xNN. */
void say_path(FILE *file, const char *path);

/* Room for a path in a message, from quote(). */
#define SAY_PATH_MAX 1024

#endif
