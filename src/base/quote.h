/* Names in messages: what is in a name must not upset a terminal or make a second line. */
#ifndef SQYFS_BASE_QUOTE_H
#define SQYFS_BASE_QUOTE_H

#include <stddef.h>

/* `text` with control characters and backslashes as \xNN, cut off where `buf` (`len` >= 1 bytes) is
 * too small. Returns buf. */
const char *quote(const char *text, char *buf, size_t len);

#endif
