/* Reads sqeazy's header: JSON whose objects may hold the same key several times (one "dim" for each
 * axis), so it is read event by event. Where a key that should be single comes again, the first
 * counts, as with sqeazy. */
#include "codec/header.h"
#include "codec/sqy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

enum key { KEY_NONE, KEY_PIPENAME, KEY_RAW, KEY_ENCODED, KEY_SQY, KEY_OURS };
enum sub_key { SUB_NONE, SUB_TYPE, SUB_SHAPE, SUB_BYTES, SUB_VERSION };

#define MAX_DEPTH                                                                                  \
    64 /* of nesting, in what others may have added: the parser's stack grows slowly */

struct reader {
    struct sqy_header *header;
    yajl_handle json;
    const char *text;
    unsigned depth; /* of containers around the next value */
    enum key key;   /* the last one at depth 1 */
    enum sub_key sub;
    bool has_type, has_bytes;
    size_t ours_from; /* just after our key */
    size_t root_end;  /* just after the outermost object; 0 while it is open */
    int error;
};

/* What yajl takes for blanks: two more than JSON does. */
static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Stops the parser: the negative errno is what sqy_header_parse() returns. */
static int stop(struct reader *r, int error)
{
    r->error = error;
    return 0;
}

/* A copy as a C string, once. A NUL inside is damage. */
static int keep_string(struct reader *r, const char **slot, const char *s, size_t len)
{
    if (*slot)
        return 1;
    if (memchr(s, 0, len))
        return stop(r, -EBADMSG);
    *slot = strndup(s, len);
    return *slot ? 1 : stop(r, -ENOMEM);
}

static bool parse_u64(const char *s, size_t len, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
            return false;
    }
    *out = v;
    return len > 0;
}

static int take_axis(struct reader *r, const char *s, size_t len)
{
    struct sqy_header *h = r->header;
    if (h->rank == SQY_MAX_RANK || !parse_u64(s, len, &h->shape[h->rank]))
        return stop(r, -EBADMSG);
    h->rank++;
    return 1;
}

static int take_sub(struct reader *r, const char *s, size_t len)
{
    switch (r->sub) {
    case SUB_TYPE:
        if (!r->has_type && sqy_type_parse(s, len, &r->header->type) < 0)
            return stop(r, -EBADMSG);
        r->has_type = true;
        return 1;
    case SUB_BYTES: /* a hint: nonsense is as good as none */
        if (!r->has_bytes && !parse_u64(s, len, &r->header->encoded_bytes))
            r->header->encoded_bytes = 0;
        r->has_bytes = true;
        return 1;
    case SUB_VERSION:
        return keep_string(r, &r->header->version, s, len);
    default:
        return 1;
    }
}

/* A value of ours has ended just here: keep its text as it stands. */
static int take_ours(struct reader *r)
{
    size_t from = r->ours_from, to = yajl_get_bytes_consumed(r->json);
    while (from < to && (is_blank(r->text[from]) || r->text[from] == ':'))
        from++;
    return keep_string(r, &r->header->ours, r->text + from, to - from);
}

static int value_ended(struct reader *r)
{
    return r->depth == 1 && r->key == KEY_OURS ? take_ours(r) : 1;
}

/* Strings and numbers alike: sqeazy writes strings and reads both. */
static int take_scalar(struct reader *r, const char *s, size_t len)
{
    if (r->depth == 0)
        return stop(r, -EBADMSG);
    if (r->depth == 1 && r->key == KEY_PIPENAME)
        return keep_string(r, &r->header->pipename, s, len);
    if (r->depth == 2 && r->sub != SUB_SHAPE)
        return take_sub(r, s, len);
    if (r->depth == 3 && r->sub == SUB_SHAPE)
        return take_axis(r, s, len);
    return value_ended(r);
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
    return take_scalar(ctx, (const char *)s, len);
}

static int on_number(void *ctx, const char *s, size_t len)
{
    return take_scalar(ctx, s, len);
}

static int on_other_scalar(struct reader *r)
{
    return r->depth ? value_ended(r) : stop(r, -EBADMSG);
}

static int on_null(void *ctx)
{
    return on_other_scalar(ctx);
}

static int on_boolean(void *ctx, int value)
{
    (void)value;
    return on_other_scalar(ctx);
}

static enum key find_key(const char *s, size_t len)
{
    static const char *const names[] = {
        [KEY_PIPENAME] = "pipename", [KEY_RAW] = "raw",        [KEY_ENCODED] = "encoded",
        [KEY_SQY] = "sqy",           [KEY_OURS] = HEADER_OURS,
    };
    for (unsigned i = 1; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == len && !memcmp(names[i], s, len))
            return (enum key)i;
    }
    return KEY_NONE;
}

static enum sub_key find_sub_key(const struct reader *r, const char *s, size_t len)
{
    if (r->key == KEY_RAW && len == 4 && !memcmp(s, "type", 4))
        return SUB_TYPE;
    if (r->key == KEY_RAW && len == 5 && !memcmp(s, "shape", 5))
        return r->header->rank ? SUB_NONE : SUB_SHAPE;
    if (r->key == KEY_ENCODED && len == 5 && !memcmp(s, "bytes", 5))
        return SUB_BYTES;
    if (r->key == KEY_SQY && len == 7 && !memcmp(s, "version", 7))
        return SUB_VERSION;
    return SUB_NONE;
}

static int on_key(void *ctx, const unsigned char *s, size_t len)
{
    struct reader *r = ctx;
    if (r->depth == 1) {
        r->key = find_key((const char *)s, len);
        r->sub = SUB_NONE;
        r->ours_from = yajl_get_bytes_consumed(r->json);
    } else if (r->depth == 2) {
        r->sub = find_sub_key(r, (const char *)s, len);
    }
    return 1;
}

static int on_open(struct reader *r)
{
    return r->depth++ < MAX_DEPTH ? 1 : stop(r, -EBADMSG);
}

static int on_close(struct reader *r)
{
    r->depth--;
    if (r->depth < 2)
        r->sub = SUB_NONE;
    if (!r->depth)
        r->root_end = yajl_get_bytes_consumed(r->json);
    return value_ended(r);
}

static int on_map(void *ctx)
{
    return on_open(ctx);
}

static int on_map_end(void *ctx)
{
    return on_close(ctx);
}

static int on_array(void *ctx)
{
    struct reader *r = ctx;
    return r->depth ? on_open(r) : stop(r, -EBADMSG);
}

static int on_array_end(void *ctx)
{
    return on_close(ctx);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_map,
    .yajl_map_key = on_key,
    .yajl_end_map = on_map_end,
    .yajl_start_array = on_array,
    .yajl_end_array = on_array_end,
};

/* The JSON text, or the beginning of one where not `all` of it is there. It has to be an object and
 * blanks: the parser is not asked to finish, as it would then hand out values cut off by the end.
 */
static int parse_json(struct reader *r, size_t len, bool all)
{
    r->json = yajl_alloc(&callbacks, NULL, r);
    if (!r->json)
        return -ENOMEM;
    yajl_config(r->json, yajl_dont_validate_strings, 1); /* keys of others may be in any encoding */
    yajl_status status = yajl_parse(r->json, (const unsigned char *)r->text, len);
    yajl_free(r->json);
    if (status == yajl_status_client_canceled)
        return r->error;
    if (status != yajl_status_ok || (all && !r->root_end))
        return -EBADMSG;
    for (size_t i = r->root_end; r->root_end && i < len; i++) {
        if (!is_blank(r->text[i]))
            return -EBADMSG;
    }
    return 0;
}

static bool complete(const struct reader *r)
{
    return r->header->pipename && r->has_type && r->header->rank;
}

/* A header that does not end within its first `len` bytes: could it still become one? */
static int parse_beginning(struct reader *r, size_t len)
{
    if (len == SQY_HEADER_MAX)
        return -EBADMSG;
    size_t tail = len < HEADER_END_LEN - 1 ? len : HEADER_END_LEN - 1;
    while (tail && memcmp(r->text + len - tail, HEADER_END, tail) != 0)
        tail--;
    int e = parse_json(r, len - tail, false);
    return e < 0 ? e : -EAGAIN;
}

int sqy_header_parse(const void *data, size_t len, struct sqy_header *out)
{
    struct sqy_header header = {0};
    struct reader r = {.header = &header, .text = data};
    if (len > SQY_HEADER_MAX)
        len = SQY_HEADER_MAX;
    const char *end = memmem(data, len, HEADER_END, HEADER_END_LEN);
    int e = end ? parse_json(&r, (size_t)(end - r.text), true) : parse_beginning(&r, len);
    if (!e && !complete(&r))
        e = -EBADMSG;
    if (e < 0) {
        sqy_header_free(&header);
        return e;
    }
    header.header_bytes = (size_t)(end - r.text) + HEADER_END_LEN;
    *out = header;
    return 0;
}

void sqy_header_free(struct sqy_header *header)
{
    free((void *)(uintptr_t)header->pipename);
    free((void *)(uintptr_t)header->ours);
    free((void *)(uintptr_t)header->version);
    *header = (struct sqy_header){0};
}
