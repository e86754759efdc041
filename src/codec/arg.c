#include "codec/arg.h"
#include "codec/base64.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#define WORD_CHARS     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"
#define VERBATIM       "<verbatim>" /* either case is read, as in sqeazy */
#define VERBATIM_END   "</verbatim>"
#define MILLION        1000000
#define MILLION_DIGITS 6

/* Leaves *out outside min..max where there is no such number. Returns the characters read. */
static size_t read_integer(const struct stage_arg *arg, const char *text, int64_t *out)
{
    bool negative = text[0] == '-';
    size_t at = negative;
    int64_t v = 0;
    for (; text[at] >= '0' && text[at] <= '9'; at++)
        v = v > INT32_MAX ? v : 10 * v + (text[at] - '0');
    *out = at == (size_t)negative ? (int64_t)arg->max + 1 : negative ? -v : v;
    return at;
}

static int parse_integer(const struct stage_arg *arg, const char *text, int32_t *out, size_t *len,
                         char *why)
{
    int64_t v;
    *len = read_integer(arg, text, &v);
    if (v < arg->min || v > arg->max)
        snprintf(why, ARG_WHY_MAX, "%s takes an integer from %d to %d", arg->name, (int)arg->min,
                 (int)arg->max);
    else if (arg->multiple_of && v % arg->multiple_of)
        snprintf(why, ARG_WHY_MAX, "%s takes a multiple of %d", arg->name, (int)arg->multiple_of);
    else if (arg->power_of_two && (v & (v - 1)))
        snprintf(why, ARG_WHY_MAX, "%s takes a power of two", arg->name);
    else
        *out = (int32_t)v;
    return *why ? -EINVAL : 0;
}

/* Digits, perhaps a point and more digits; those beyond the last that is kept are dropped. */
static int parse_decimal(const struct stage_arg *arg, unsigned digits, const char *text,
                         int32_t *out, size_t *len, char *why)
{
    size_t whole = strspn(text, "0123456789");
    size_t more = text[whole] == '.' ? strspn(text + whole + 1, "0123456789") : 0;
    int64_t v = 0;
    for (size_t i = 0; i < whole; i++)
        v = v > INT32_MAX ? v : 10 * v + (text[i] - '0');
    for (size_t i = 0; i < digits; i++)
        v = v > INT32_MAX ? v : 10 * v + (i < more ? text[whole + 1 + i] - '0' : 0);
    *len = whole + (text[whole] == '.') + more;
    if (!whole || v < arg->min || v > arg->max) {
        snprintf(why, ARG_WHY_MAX, "%s takes a number from %g to %g", arg->name,
                 arg->min / pow(10, digits), arg->max / pow(10, digits));
        return -EINVAL;
    }
    *out = (int32_t)v;
    return 0;
}

static int parse_word(const struct stage_arg *arg, const char *text, int32_t *out, size_t *len,
                      char *why)
{
    *len = strspn(text, WORD_CHARS);
    for (int32_t i = 0; arg->words[i]; i++) {
        if (strlen(arg->words[i]) == *len && !memcmp(arg->words[i], text, *len)) {
            *out = i;
            return 0;
        }
    }
    int at = snprintf(why, ARG_WHY_MAX, "%s takes", arg->name);
    for (int32_t i = 0; arg->words[i] && at > 0 && at < ARG_WHY_MAX; i++)
        at += snprintf(why + at, (size_t)(ARG_WHY_MAX - at), " %s", arg->words[i]);
    return -EINVAL;
}

static int parse_text(const struct stage_arg *arg, const char *text, char word[STAGE_WORD_MAX],
                      size_t *len, char *why)
{
    char copy[STAGE_WORD_MAX];
    *len = strspn(text, WORD_CHARS);
    snprintf(copy, sizeof(copy), "%.*s", (int)(*len < STAGE_WORD_MAX ? *len : 0), text);
    if (!copy[0] || !arg->valid(copy)) {
        snprintf(why, ARG_WHY_MAX, "%s takes %s", arg->name, arg->wanted);
        return -EINVAL;
    }
    memcpy(word, copy, sizeof(copy));
    return 0;
}

static int parse_bytes(const struct stage_arg *arg, const char *text, struct stage *stage,
                       size_t *len, char *why)
{
    const size_t open = strlen(VERBATIM), close = strlen(VERBATIM_END);
    uint8_t *bytes;
    size_t n;
    *len = 0;
    if (!strncasecmp(text, VERBATIM, open)) {
        size_t inside = strcspn(text + open, "<");
        if (!strncasecmp(text + open + inside, VERBATIM_END, close)) {
            *len = open + inside + close;
            int r = base64_decode(text + open, inside, &bytes, &n);
            if (r == 0)
                stage_set_bytes(stage, bytes, n);
            if (r != -EINVAL)
                return r;
        }
    }
    snprintf(why, ARG_WHY_MAX, "%s takes " VERBATIM "base64" VERBATIM_END, arg->name);
    return -EINVAL;
}

int arg_parse(struct stage *stage, unsigned i, const char *text, size_t *len, char why[ARG_WHY_MAX])
{
    const struct stage_arg *arg = &stage->desc->args[i];
    why[0] = 0;
    switch (arg->kind) {
    case STAGE_ARG_MILLIONTHS:
        return parse_decimal(arg, MILLION_DIGITS, text, &stage->arg[i], len, why);
    case STAGE_ARG_DECIMAL:
        return parse_decimal(arg, arg->digits, text, &stage->arg[i], len, why);
    case STAGE_ARG_WORD:
        return parse_word(arg, text, &stage->arg[i], len, why);
    case STAGE_ARG_TEXT:
        return parse_text(arg, text, stage->word, len, why);
    case STAGE_ARG_BYTES:
        return parse_bytes(arg, text, stage, len, why);
    default:
        return parse_integer(arg, text, &stage->arg[i], len, why);
    }
}

bool arg_has_value(const struct stage *stage, unsigned i)
{
    const struct stage_arg *arg = &stage->desc->args[i];
    if (arg->kind == STAGE_ARG_TEXT)
        return stage->word[0];
    if (arg->kind == STAGE_ARG_BYTES)
        return stage->bytes;
    return (arg->kind != STAGE_ARG_INTEGER && arg->kind != STAGE_ARG_DECIMAL) ||
           stage->arg[i] >= arg->min;
}

static void print_decimal(unsigned v, unsigned digits, FILE *f)
{
    unsigned one = 1;
    for (; digits && v % 10 == 0; digits--)
        v /= 10;
    for (unsigned i = 0; i < digits; i++)
        one *= 10;
    fprintf(f, "%u", v / one);
    if (digits)
        fprintf(f, ".%0*u", (int)digits, v % one);
}

void arg_print(const struct stage *stage, unsigned i, FILE *f)
{
    const struct stage_arg *arg = &stage->desc->args[i];
    const int v = (int)stage->arg[i];
    fprintf(f, "%s=", arg->name);
    if (arg->kind == STAGE_ARG_MILLIONTHS) {
        fprintf(f, "%d.%06d", v / MILLION, v % MILLION);
    } else if (arg->kind == STAGE_ARG_DECIMAL) {
        print_decimal((unsigned)v, arg->digits, f);
    } else if (arg->kind == STAGE_ARG_WORD) {
        fputs(arg->words[v], f);
    } else if (arg->kind == STAGE_ARG_TEXT) {
        fputs(stage->word, f);
    } else if (arg->kind == STAGE_ARG_BYTES) {
        fputs(VERBATIM, f);
        base64_print(f, stage->bytes, stage->n_bytes);
        fputs(VERBATIM_END, f);
    } else {
        fprintf(f, "%d", v);
    }
}
