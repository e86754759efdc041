/* JSON on standard output. Names in a filesystem are bytes: what is no UTF-8 is shown with U+FFFD
 * in place of each wrong byte, and a second key KEY_hex has the very bytes. */
#ifndef SQYFS_CTL_JSON_H
#define SQYFS_CTL_JSON_H

#include <stdbool.h>
#include <stdint.h>

struct json;

struct json *json_open(void); /* NULL: out of memory */
/* Prints what is there, ends with a newline and frees. */
void json_close(struct json **json);

void json_map(struct json *json);
void json_map_end(struct json *json);
void json_list(struct json *json);
void json_list_end(struct json *json);

/* `key` NULL: an element of a list. */
void json_key(struct json *json, const char *key);
void json_text(struct json *json, const char *key, const char *text);
void json_number(struct json *json, const char *key, uint64_t value);
void json_real(struct json *json, const char *key, double value);
void json_bool(struct json *json, const char *key, bool value);
/* 16 digits, as text: JSON's numbers do not hold 64 bits everywhere. */
void json_hex(struct json *json, const char *key, uint64_t value);
/* Seconds since 1970 with nine decimals. */
struct timespec;
void json_time(struct json *json, const char *key, const struct timespec *time);

#endif
