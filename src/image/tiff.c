#include "image/tiff.h"

#include <errno.h>
#include <string.h>

#include "base/le.h"

enum tiff_type {
    TYPE_BYTE = 1,
    TYPE_ASCII = 2,
    TYPE_SHORT = 3,
    TYPE_LONG = 4,
    TYPE_RATIONAL = 5,
    TYPE_UNDEFINED = 7,
    TYPE_IFD = 13,
    TYPE_LONG8 = 16,
    TYPE_IFD8 = 18,
};

enum tiff_tag {
    TAG_WIDTH = 256,
    TAG_HEIGHT = 257,
    TAG_BITS = 258,
    TAG_COMPRESSION = 259,
    TAG_PHOTOMETRIC = 262,
    TAG_FILL_ORDER = 266,
    TAG_DESCRIPTION = 270,
    TAG_STRIP_OFFSETS = 273,
    TAG_SPP = 277,
    TAG_ROWS_PER_STRIP = 278,
    TAG_X_RESOLUTION = 282,
    TAG_Y_RESOLUTION = 283,
    TAG_PLANAR = 284,
    TAG_TILE_WIDTH = 322,
    TAG_TILE_HEIGHT = 323,
    TAG_TILE_OFFSETS = 324,
    TAG_SUBIFDS = 330,
    TAG_FORMAT = 339,
    TAG_SUBSAMPLING = 530,
};

static uint64_t load(bool big_endian, const uint8_t *p, uint32_t size)
{
    switch (size) {
    case 1:
        return *p;
    case 2:
        return big_endian ? be_load16(p) : le_load16(p);
    case 4:
        return big_endian ? be_load32(p) : le_load32(p);
    default:
        return big_endian ? be_load64(p) : le_load64(p);
    }
}

int tiff_header_parse(const uint8_t *bytes, size_t len, struct tiff_header *out)
{
    struct tiff_header header = {0};
    if (len < TIFF_HEADER_BYTES || bytes[0] != bytes[1] || (bytes[0] != 'I' && bytes[0] != 'M'))
        return -EINVAL;
    header.big_endian = bytes[0] == 'M';
    uint64_t magic = load(header.big_endian, bytes + 2, 2);
    if (magic == 42) {
        header.first = load(header.big_endian, bytes + 4, 4);
    } else if (magic == 43 && load(header.big_endian, bytes + 4, 2) == 8) {
        if (len < TIFF_BIG_HEADER_BYTES)
            return -EAGAIN;
        header.big = true;
        header.first = load(header.big_endian, bytes + 8, 8);
    } else {
        return -EINVAL;
    }
    *out = header;
    return 0;
}

uint32_t tiff_value_size(const struct tiff_field *field)
{
    switch (field->type) {
    case TYPE_BYTE:
        return 1;
    case TYPE_SHORT:
        return 2;
    case TYPE_LONG:
    case TYPE_IFD:
        return 4;
    case TYPE_LONG8:
    case TYPE_IFD8:
        return 8;
    default:
        return 0;
    }
}

/* Of all types that are of use here; 0 for the others. */
static uint32_t type_size(const struct tiff_field *field)
{
    if (field->type == TYPE_ASCII || field->type == TYPE_UNDEFINED)
        return 1;
    return field->type == TYPE_RATIONAL ? 8 : tiff_value_size(field);
}

/* ---- directory ---- */

struct entry {
    uint16_t tag;
    struct tiff_field field;
    uint64_t value; /* the first, of an integer that is stored in the entry */
    bool has_value;
};

static void entry_parse(const struct tiff_header *header, const uint8_t *p, uint64_t off,
                        struct entry *out)
{
    uint32_t word = header->big ? 8 : 4; /* bytes of a count, and of an offset */
    struct tiff_field *field = &out->field;
    out->tag = (uint16_t)load(header->big_endian, p, 2);
    field->type = (uint16_t)load(header->big_endian, p + 2, 2);
    field->count = load(header->big_endian, p + 4, word);
    uint32_t size = type_size(field), value_size = tiff_value_size(field);
    const uint8_t *value = p + 4 + word;
    bool inside = size && field->count <= word / size;
    field->off = inside ? off + 4 + word : load(header->big_endian, value, word);
    out->has_value = inside && value_size && field->count;
    out->value = out->has_value ? load(header->big_endian, value, value_size) : 0;
    if (!size)
        field->count = 0;
}

static void set32(uint32_t *to, const struct entry *entry)
{
    if (entry->has_value)
        *to = entry->value > UINT32_MAX ? UINT32_MAX : (uint32_t)entry->value;
}

static void set16(uint16_t *to, const struct entry *entry)
{
    if (entry->has_value)
        *to = entry->value > UINT16_MAX ? UINT16_MAX : (uint16_t)entry->value;
}

static void ifd_take_number(struct tiff_ifd *ifd, const struct entry *entry)
{
    switch (entry->tag) {
    case TAG_WIDTH:
        set32(&ifd->width, entry);
        break;
    case TAG_HEIGHT:
        set32(&ifd->height, entry);
        break;
    case TAG_COMPRESSION:
        set16(&ifd->compression, entry);
        break;
    case TAG_PHOTOMETRIC:
        set16(&ifd->photometric, entry);
        break;
    case TAG_FILL_ORDER:
        set16(&ifd->fill_order, entry);
        break;
    case TAG_SPP:
        set32(&ifd->spp, entry);
        break;
    case TAG_ROWS_PER_STRIP:
        set32(&ifd->rows_per_strip, entry);
        break;
    case TAG_PLANAR:
        set16(&ifd->planar, entry);
        break;
    case TAG_TILE_WIDTH:
        set32(&ifd->tile_width, entry);
        break;
    case TAG_TILE_HEIGHT:
        set32(&ifd->tile_height, entry);
        break;
    default:
        break;
    }
}

static void ifd_take_field(struct tiff_ifd *ifd, const struct entry *entry)
{
    switch (entry->tag) {
    case TAG_BITS:
        ifd->bits = entry->field;
        break;
    case TAG_FORMAT:
        ifd->format = entry->field;
        break;
    case TAG_STRIP_OFFSETS:
        if (!ifd->tiled)
            ifd->offsets = entry->field;
        break;
    case TAG_TILE_OFFSETS:
        ifd->offsets = entry->field;
        ifd->tiled = true;
        break;
    case TAG_SUBIFDS:
        ifd->subifds = entry->field;
        break;
    case TAG_SUBSAMPLING:
        ifd->subsampling = entry->field;
        break;
    case TAG_DESCRIPTION:
        ifd->description = entry->field;
        break;
    case TAG_X_RESOLUTION:
        ifd->x_resolution = entry->field;
        break;
    case TAG_Y_RESOLUTION:
        ifd->y_resolution = entry->field;
        break;
    default:
        ifd_take_number(ifd, entry);
    }
}

static void ifd_defaults(struct tiff_ifd *ifd, uint64_t off)
{
    *ifd = (struct tiff_ifd){
        .off = off,
        .spp = 1,
        .rows_per_strip = UINT32_MAX,
        .compression = 1,
        .planar = 1,
        .fill_order = 1,
    };
}

int tiff_ifd_read(const struct tiff_header *header, struct window *window, uint64_t off,
                  struct tiff_ifd *out)
{
    uint32_t count_size = header->big ? 8 : 2, entry_size = header->big ? 20 : 12;
    uint32_t link_size = header->big ? 8 : 4;
    const uint8_t *p;
    ifd_defaults(out, off);
    out->len = count_size;
    int r = window_get(window, off, count_size, &p);
    if (r)
        return r;
    uint64_t n = load(header->big_endian, p, count_size);
    if (n == 0 || n > UINT16_MAX)
        return -EINVAL;
    out->n_entries = (uint32_t)n;
    out->len = count_size + n * entry_size + link_size;
    r = window_get(window, off + out->len - link_size, link_size, &p);
    if (r)
        return r;
    out->next = load(header->big_endian, p, link_size);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = off + count_size + i * entry_size;
        r = window_get(window, at, entry_size, &p);
        if (r)
            return r;
        struct entry entry;
        entry_parse(header, p, at, &entry);
        ifd_take_field(out, &entry);
    }
    return 0;
}

int tiff_value(const struct tiff_header *header, struct window *window,
               const struct tiff_field *field, uint64_t i, uint64_t *value)
{
    uint32_t size = tiff_value_size(field);
    const uint8_t *p;
    if (!size || i >= field->count || i > INT64_MAX / size || i * size > UINT64_MAX - field->off)
        return WINDOW_NEVER;
    int r = window_get(window, field->off + i * size, size, &p);
    if (r)
        return r;
    *value = load(header->big_endian, p, size);
    return 0;
}

double tiff_rational(const struct tiff_header *header, const uint8_t bytes[8])
{
    uint64_t a = load(header->big_endian, bytes, 4), b = load(header->big_endian, bytes + 4, 4);
    return b ? (double)a / (double)b : 0;
}
