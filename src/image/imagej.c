#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "image/describe.h"

double describe_unit(const char *name, size_t len)
{
    static const struct {
        const char *name;
        double micrometres;
    } units[] = {
        {"micron", 1},   {"microns", 1},      {"micrometer", 1}, {"micrometre", 1},
        {"um", 1},       {"\xC2\xB5m", 1},    {"\xCE\xBCm", 1},  {"\xB5m", 1},
        {"\\u00B5m", 1}, {"\\u00b5m", 1},     {"nm", 1e-3},      {"nanometer", 1e-3},
        {"pm", 1e-6},    {"\xC3\x85", 1e-4},  {"mm", 1e3},       {"millimeter", 1e3},
        {"cm", 1e4},     {"centimeter", 1e4}, {"m", 1e6},        {"meter", 1e6},
        {"inch", 25400}, {"in", 25400},
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strlen(units[i].name) == len && memcmp(units[i].name, name, len) == 0)
            return units[i].micrometres;
    return 0;
}

/* The value of a line "key=value"; length 0 where there is none. */
static const char *line_value(const char *text, size_t len, const char *key, size_t *value_len)
{
    size_t key_len = strlen(key);
    const char *end = text + len;
    for (const char *line = text; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        if ((size_t)(stop - line) > key_len && memcmp(line, key, key_len) == 0 &&
            line[key_len] == '=') {
            const char *value = line + key_len + 1;
            *value_len = (size_t)(stop - value);
            while (*value_len && value[*value_len - 1] == '\r')
                --*value_len;
            return value;
        }
        line = stop + 1;
    }
    *value_len = 0;
    return end;
}

static double line_number(const char *text, size_t len, const char *key)
{
    char buf[32];
    size_t n;
    const char *value = line_value(text, len, key, &n);
    if (!n || n >= sizeof(buf))
        return 0;
    memcpy(buf, value, n);
    buf[n] = '\0';
    double number = strtod(buf, NULL);
    return isfinite(number) ? number : 0;
}

static uint32_t line_count(const char *text, size_t len, const char *key)
{
    double number = line_number(text, len, key);
    return number >= 1 && number <= UINT32_MAX ? (uint32_t)number : 0;
}

void imagej_parse(const char *text, size_t len, double x_resolution, double y_resolution,
                  struct description *out)
{
    size_t magic = strlen(IMAGEJ_MAGIC), unit_len;
    if (len <= magic || memcmp(text, IMAGEJ_MAGIC, magic) != 0)
        return;
    /* Micro-Manager leaves the version out, and has a directory for every plane. */
    uint32_t images = line_count(text, len, "images");
    out->n_contiguous = images && text[magic] != '\n' ? images : 1;
    out->channels = line_count(text, len, "channels");
    out->slices = line_count(text, len, "slices");
    out->frames = line_count(text, len, "frames");
    const char *unit = line_value(text, len, "unit", &unit_len);
    double micrometres = describe_unit(unit, unit_len);
    out->voxel_x = x_resolution > 0 ? micrometres / x_resolution : 0;
    out->voxel_y = y_resolution > 0 ? micrometres / y_resolution : 0;
    out->voxel_z = fabs(line_number(text, len, "spacing")) * micrometres;
}
