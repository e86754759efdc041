#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int size_parse(const char *text, uint64_t *bytes)
{
    static const char units[] = "BKMGTP";
    if (!isdigit((unsigned char)text[0]))
        return -EINVAL;
    char *end;
    double value = strtod(text, &end);
    int power = 0;
    if (*end != '\0') {
        const char *unit = strchr(units, toupper((unsigned char)*end));
        if (unit == NULL)
            return -EINVAL;
        power = (int)(unit - units);
        end++;
        if (power > 0 && (*end == 'i' || *end == 'I'))
            end++;
        if (power > 0 && (*end == 'b' || *end == 'B'))
            end++;
    }
    if (*end != '\0')
        return -EINVAL;
    for (int i = 0; i < power; i++)
        value *= 1024;
    if (!(value < 9.2e18))
        return -EINVAL;
    *bytes = (uint64_t)value;
    return 0;
}

char *size_format(uint64_t bytes, char *buf, size_t len)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    snprintf(buf, len, unit == 0 ? "%.0f %s" : "%.2f %s", value, units[unit]);
    return buf;
}
