/* Messages for whoever runs sqyfs: syslog(3), and standard error in the foreground.
 *
 * One event, one line, logged where the context (file, chunk) is known. Thread safe. */
#ifndef SQYFS_BASE_LOG_H
#define SQYFS_BASE_LOG_H

#include <stdbool.h>

/* Call once, before threads start. `foreground` copies every line to standard error; `debug`
 * lets log_debug() through. `name` must outlive the process. */
void log_open(const char *name, bool foreground, bool debug);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
