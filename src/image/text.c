#include "image/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/layout.h"

struct text text_of(const struct tiff_ifd *ifd)
{
    struct text text = {ifd->description, ifd->x_resolution, ifd->y_resolution};
    if (text.field.count > LAYOUT_MAX_TEXT)
        text.field.count = LAYOUT_MAX_TEXT;
    return text;
}

static bool same_field(const struct tiff_field *a, const struct tiff_field *b)
{
    return a->off == b->off && a->count == b->count && a->type == b->type;
}

bool text_same(const struct text *a, const struct text *b)
{
    return same_field(&a->field, &b->field) && same_field(&a->x_resolution, &b->x_resolution) &&
           same_field(&a->y_resolution, &b->y_resolution);
}

static bool touches(const struct tiff_field *field, uint64_t bytes, uint64_t off, uint64_t len)
{
    uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
    return field->count && field->off < end && (off <= field->off || off - field->off < bytes);
}

bool text_touches(const struct text *text, uint64_t off, uint64_t len)
{
    return touches(&text->field, text->field.count, off, len) ||
           touches(&text->x_resolution, 8, off, len) || touches(&text->y_resolution, 8, off, len);
}

static int read_resolution(const struct tiff_header *header, struct source *source,
                           const struct tiff_field *field, double *out)
{
    uint8_t bytes[8];
    *out = 0;
    if (field->count != 1 || field->type != 5)
        return 0;
    int r = window_copy(source, bytes, sizeof(bytes), field->off);
    if (r == 0)
        *out = tiff_rational(header, bytes);
    return r == WINDOW_NEVER ? 0 : r;
}

static int read_imagej(const struct text *text, const struct tiff_header *header,
                       struct source *source, char *buf, struct description *out)
{
    uint32_t len =
        text->field.count < IMAGEJ_MAX_TEXT ? (uint32_t)text->field.count : IMAGEJ_MAX_TEXT;
    double x, y;
    int r = read_resolution(header, source, &text->x_resolution, &x);
    if (r == 0)
        r = read_resolution(header, source, &text->y_resolution, &y);
    if (r == 0)
        r = window_copy(source, buf, len, text->field.off);
    if (r == 0)
        imagej_parse(buf, strnlen(buf, len), x, y, out);
    return r;
}

static int read_ome(const struct text *text, struct source *source, char *buf,
                    struct description *out)
{
    struct ome *ome = ome_create(out);
    if (!ome)
        return -ENOMEM;
    int r = 0;
    for (uint64_t at = 0; r == 0 && at < text->field.count;) {
        uint64_t left = text->field.count - at;
        uint32_t len = left < IMAGEJ_MAX_TEXT ? (uint32_t)left : IMAGEJ_MAX_TEXT;
        r = window_copy(source, buf, len, text->field.off + at);
        if (r == 0 && !ome_feed(ome, buf, strnlen(buf, len)))
            break;
        at += len;
    }
    ome_destroy(&ome);
    return r;
}

static int read_any(const struct text *text, const struct tiff_header *header,
                    struct source *source, char *buf, struct description *out)
{
    uint32_t first = text->field.count < 16 ? (uint32_t)text->field.count : 16;
    if (!first)
        return 0;
    /* its end first: it is not read again and again while it is being written */
    int r = window_copy(source, buf, 1, text->field.off + (text->field.count - 1));
    if (r == 0)
        r = window_copy(source, buf, first, text->field.off);
    if (r)
        return r;
    if (first > strlen(IMAGEJ_MAGIC) && memcmp(buf, IMAGEJ_MAGIC, strlen(IMAGEJ_MAGIC)) == 0)
        return read_imagej(text, header, source, buf, out);
    if (buf[0] == '<' || memcmp(buf, "\xEF\xBB\xBF<", first < 4 ? first : 4) == 0)
        return read_ome(text, source, buf, out);
    return 0;
}

int text_read(const struct text *text, const struct tiff_header *header, struct source *source,
              struct description *out)
{
    if (text->field.off > INT64_MAX)
        return 0;
    char *buf = malloc(IMAGEJ_MAX_TEXT);
    if (!buf)
        return -ENOMEM;
    int r = read_any(text, header, source, buf, out);
    free(buf);
    return r;
}
