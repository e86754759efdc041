#include "base/quote.h"

#include <stdio.h>

#define ESCAPED 4u /* bytes of \xNN */

const char *quote(const char *text, char *buf, size_t len)
{
    size_t at = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0' && len - at > ESCAPED;
         c++) {
        if (*c < 0x20 || *c == 0x7f || *c == '\\')
            at += (size_t)snprintf(buf + at, len - at, "\\x%02x", *c);
        else
            buf[at++] = (char)*c;
    }
    buf[at] = '\0';
    return buf;
}
