/* raw=GLOB:WIDTHxHEIGHT[:TYPE[:be]]. A glob may hold colons: fields are taken from the right. */
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/layout.h"

static const char *const type_names[] = {
    [LAYOUT_UINT8] = "uint8",     [LAYOUT_INT8] = "int8",       [LAYOUT_UINT16] = "uint16",
    [LAYOUT_INT16] = "int16",     [LAYOUT_UINT32] = "uint32",   [LAYOUT_INT32] = "int32",
    [LAYOUT_UINT64] = "uint64",   [LAYOUT_INT64] = "int64",     [LAYOUT_FLOAT16] = "float16",
    [LAYOUT_FLOAT32] = "float32", [LAYOUT_FLOAT64] = "float64",
};

static bool parse_type(const char *text, size_t len, enum layout_type *type)
{
    for (size_t i = LAYOUT_UINT8; i < sizeof(type_names) / sizeof(type_names[0]); i++) {
        if (strlen(type_names[i]) == len && memcmp(type_names[i], text, len) == 0) {
            *type = (enum layout_type)i;
            return true;
        }
    }
    return false;
}

static const char *parse_extent(const char *p, const char *end, uint32_t *out)
{
    uint64_t n = 0;
    const char *start = p;
    for (; p < end && *p >= '0' && *p <= '9' && n <= UINT32_MAX; p++)
        n = 10 * n + (uint64_t)(*p - '0');
    if (p == start || n == 0 || n > UINT32_MAX)
        return NULL;
    *out = (uint32_t)n;
    return p;
}

static bool parse_size(const char *text, size_t len, struct raw_policy *out)
{
    const char *end = text + len;
    const char *p = parse_extent(text, end, &out->width);
    if (!p || p == end || *p != 'x')
        return false;
    return parse_extent(p + 1, end, &out->height) == end;
}

/* Cuts the last field off text[0 .. *len): returns where it starts, or NULL where there is no
 * colon. */
static const char *last_field(const char *text, size_t *len, size_t *field_len)
{
    const char *colon = memrchr(text, ':', *len);
    if (!colon)
        return NULL;
    *field_len = *len - (size_t)(colon + 1 - text);
    *len = (size_t)(colon - text);
    return colon + 1;
}

static int refuse(const char *text, const char *reason, char *why, size_t why_len)
{
    snprintf(why, why_len, "raw=%.200s: %s", text, reason);
    return -EINVAL;
}

int raw_policy_parse(const char *text, struct raw_policy *out, char *why, size_t why_len)
{
    static const char form[] = "expected GLOB:WIDTHxHEIGHT[:TYPE[:be]]";
    struct raw_policy policy = {.type = LAYOUT_UINT16};
    size_t len = strlen(text), n = 0;
    const char *field = last_field(text, &len, &n);
    if (field && n == 2 && memcmp(field, "be", 2) == 0) {
        policy.big_endian = true;
        field = last_field(text, &len, &n);
        if (field && !parse_type(field, n, &policy.type))
            return refuse(text, "a TYPE must stand before \":be\"", why, why_len);
        field = field ? last_field(text, &len, &n) : NULL;
    } else if (field && parse_type(field, n, &policy.type)) {
        field = last_field(text, &len, &n);
    }
    if (!field || !parse_size(field, n, &policy))
        return refuse(text, form, why, why_len);
    if (len == 0)
        return refuse(text, "the GLOB is empty", why, why_len);
    if (policy.width > (1u << 30) || policy.height > (1u << 30)) /* a plane fits 63 bits */
        return refuse(text, "WIDTH and HEIGHT may be at most 2^30", why, why_len);
    policy.glob = strndup(text, len);
    if (!policy.glob)
        return refuse(text, "out of memory", why, why_len);
    *out = policy;
    return 0;
}

void raw_policy_clear(struct raw_policy *policy)
{
    free(policy->glob);
    *policy = (struct raw_policy){0};
}

bool raw_policy_matches(const struct raw_policy *policy, const char *name)
{
    return fnmatch(policy->glob, name, 0) == 0;
}
