#include "codec/quantiser_weight.h"

#include <math.h>
#include <string.h>

#define OFFSET  "offset_"
#define POWER   "power"
#define DIGITS  "0123456789"
#define MAX_INT 1000 /* larger ones leave the range of float anyway */

/* sqeazy takes whatever integers it finds in the text. */
static unsigned find_integer(const char **text, unsigned otherwise)
{
    const char *at = *text + strcspn(*text, DIGITS);
    if (!*at)
        return otherwise;
    unsigned v = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        v = v > MAX_INT ? v : 10 * v + (unsigned)(*at - '0');
    *text = at;
    return v;
}

static bool parse(const char *text, struct quantiser_weight *out)
{
    out->by_offset = strncmp(text, OFFSET, strlen(OFFSET)) == 0;
    text += out->by_offset ? strlen(OFFSET) : 0;
    if (strncmp(text, POWER, strlen(POWER)) != 0 || !strpbrk(text, DIGITS))
        return false;
    const unsigned a = find_integer(&text, 0), b = find_integer(&text, 1);
    if (a > MAX_INT || b > MAX_INT || !b)
        return false;
    out->by_power = true;
    out->exponent = (float)a / (float)b;
    return true;
}

bool quantiser_weight_is_valid(const char *text)
{
    struct quantiser_weight ignored;
    return parse(text, &ignored);
}

void quantiser_weight_parse(const char *text, struct quantiser_weight *out)
{
    *out = (struct quantiser_weight){0};
    parse(text, out);
}

float quantiser_weight_at(const struct quantiser_weight *weight, size_t i, size_t first)
{
    if (!weight->by_power)
        return 1;
    if (!weight->by_offset)
        return powf((float)i, weight->exponent);
    return i < first ? 1 : powf((float)(i - first), weight->exponent);
}
