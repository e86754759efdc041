#include "codec/base64.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit_value(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* How many of the last characters are padding. */
static size_t padding(const char *text, size_t len)
{
    size_t n = 0;
    while (n < 2 && n < len && text[len - 1 - n] == '=')
        n++;
    return n;
}

int base64_decode(const char *text, size_t len, uint8_t **out, size_t *n)
{
    const size_t pad = padding(text, len);
    if (len % 4)
        return -EINVAL;
    uint8_t *bytes = malloc(len / 4 * 3 + 1);
    if (!bytes)
        return -ENOMEM;
    for (size_t i = 0; i < len; i += 4) {
        uint32_t group = 0;
        for (size_t k = i; k < i + 4; k++) {
            int value = k < len - pad ? digit_value(text[k]) : 0;
            if (value < 0) {
                free(bytes);
                return -EINVAL;
            }
            group = group << 6 | (uint32_t)value;
        }
        bytes[i / 4 * 3] = (uint8_t)(group >> 16);
        bytes[i / 4 * 3 + 1] = (uint8_t)(group >> 8);
        bytes[i / 4 * 3 + 2] = (uint8_t)group;
    }
    *out = bytes;
    *n = len / 4 * 3 - pad;
    return 0;
}

void base64_print(FILE *f, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;
        group |= i + 1 < n ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < n ? bytes[i + 2] : 0;
        fputc(digits[group >> 18], f);
        fputc(digits[group >> 12 & 63], f);
        fputc(i + 1 < n ? digits[group >> 6 & 63] : '=', f);
        fputc(i + 2 < n ? digits[group & 63] : '=', f);
    }
}
