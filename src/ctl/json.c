#include "ctl/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <yajl/yajl_gen.h>

struct json {
    yajl_gen gen;
};

static void print(void *ctx, const char *text, size_t len)
{
    (void)ctx;
    fwrite(text, 1, len, stdout); /* errors are asked for at exit */
}

struct json *json_open(void)
{
    struct json *json = calloc(1, sizeof(*json));
    if (json == NULL)
        return NULL;
    json->gen = yajl_gen_alloc(NULL);
    if (json->gen == NULL) {
        free(json);
        return NULL;
    }
    yajl_gen_config(json->gen, yajl_gen_beautify, 1);
    yajl_gen_config(json->gen, yajl_gen_indent_string, "  ");
    yajl_gen_config(json->gen, yajl_gen_print_callback, print, NULL);
    return json;
}

void json_close(struct json **json)
{
    if (*json == NULL)
        return;
    yajl_gen_free((*json)->gen);
    free(*json);
    *json = NULL;
}

void json_map(struct json *json)
{
    yajl_gen_map_open(json->gen);
}

void json_map_end(struct json *json)
{
    yajl_gen_map_close(json->gen);
}

void json_list(struct json *json)
{
    yajl_gen_array_open(json->gen);
}

void json_list_end(struct json *json)
{
    yajl_gen_array_close(json->gen);
}

static void put_string(struct json *json, const char *text, size_t len)
{
    yajl_gen_string(json->gen, (const unsigned char *)text, len);
}

void json_key(struct json *json, const char *key)
{
    if (key != NULL)
        put_string(json, key, strlen(key));
}

/* Bytes of the UTF-8 character at `text` (shortest form, no surrogates, at most U+10FFFF); 0: none.
 */
static size_t utf8_len(const unsigned char *text)
{
    unsigned char c = text[0];
    if (c < 0x80)
        return 1;
    size_t len = c >= 0xc2 && c <= 0xdf   ? 2
                 : (c & 0xf0) == 0xe0     ? 3
                 : c >= 0xf0 && c <= 0xf4 ? 4
                                          : 0;
    for (size_t i = 1; i < len; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] > 0x9f) ||
        (c == 0xf0 && text[1] < 0x90) || (c == 0xf4 && text[1] > 0x8f))
        return 0;
    return len;
}

/* `out` has room for three times the text. Returns its length; *exact: nothing was replaced. */
static size_t repair(const char *text, char *out, bool *exact)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t at = 0;
    *exact = true;
    while (*c != '\0') {
        size_t len = utf8_len(c);
        if (len == 0) {
            memcpy(out + at, "\xef\xbf\xbd", 3);
            at += 3;
            c++;
            *exact = false;
        } else {
            memcpy(out + at, c, len);
            at += len;
            c += len;
        }
    }
    return at;
}

static void put_bytes(struct json *json, const char *key, const char *text, char *room)
{
    char name[64];
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        snprintf(room + 2 * i, 3, "%02x", (unsigned char)text[i]);
    snprintf(name, sizeof(name), "%s_hex", key);
    json_key(json, name);
    put_string(json, room, 2 * len);
}

void json_text(struct json *json, const char *key, const char *text)
{
    char *room = malloc(strlen(text) * 3 + 1);
    bool exact = true;
    size_t len = room != NULL ? repair(text, room, &exact) : 0;
    json_key(json, key);
    put_string(json, room != NULL ? room : "", len);
    if (!exact && key != NULL)
        put_bytes(json, key, text, room);
    free(room);
}

static void put_number(struct json *json, const char *key, const char *text)
{
    json_key(json, key);
    yajl_gen_number(json->gen, text, strlen(text));
}

void json_number(struct json *json, const char *key, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    put_number(json, key, text);
}

/* What JSON has no number for (infinity from a hostile file) is null. */
void json_real(struct json *json, const char *key, double value)
{
    char text[40];
    if (value - value != 0) {
        json_key(json, key);
        yajl_gen_null(json->gen);
        return;
    }
    snprintf(text, sizeof(text), "%.17g", value);
    for (unsigned digits = 6; digits < 17; digits++) { /* the shortest that is exact */
        char shorter[40];
        snprintf(shorter, sizeof(shorter), "%.*g", (int)digits, value);
        if (strtod(shorter, NULL) == value) {
            strcpy(text, shorter);
            break;
        }
    }
    put_number(json, key, text);
}

void json_bool(struct json *json, const char *key, bool value)
{
    json_key(json, key);
    yajl_gen_bool(json->gen, value);
}

void json_hex(struct json *json, const char *key, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%016" PRIx64, value);
    json_key(json, key);
    put_string(json, text, strlen(text));
}

void json_time(struct json *json, const char *key, const struct timespec *time)
{
    char text[64];
    int64_t sec = time->tv_sec, nsec = time->tv_nsec;
    if (sec < 0 && nsec > 0) { /* -0.25 is kept as -1 s + 0.75 s */
        sec++;
        nsec = 1000000000 - nsec;
        snprintf(text, sizeof(text), "-%" PRId64 ".%09" PRId64, -sec, nsec);
    } else {
        snprintf(text, sizeof(text), "%" PRId64 ".%09" PRId64, sec, nsec);
    }
    put_number(json, key, text);
}
