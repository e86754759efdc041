#include "base/le.h"
#include "codec/sqy.h"

#include <errno.h>

struct type_row {
    const char *name;
    uint8_t size;
    char letter; /* what sqeazy before 0.7.1 wrote: the Itanium ABI's name; 0: it had none */
    char other_letter;
};

static const struct type_row types[] = {
    [SQY_BYTES] = {"bytes", 1, 0, 0},     [SQY_UINT8] = {"uint8", 1, 'h', 0},
    [SQY_INT8] = {"int8", 1, 'a', 'c'},   [SQY_UINT16] = {"uint16", 2, 't', 0},
    [SQY_INT16] = {"int16", 2, 's', 0},   [SQY_UINT32] = {"uint32", 4, 0, 0},
    [SQY_INT32] = {"int32", 4, 0, 0},     [SQY_UINT64] = {"uint64", 8, 0, 0},
    [SQY_INT64] = {"int64", 8, 0, 0},     [SQY_FLOAT16] = {"float16", 2, 0, 0},
    [SQY_FLOAT32] = {"float32", 4, 0, 0}, [SQY_FLOAT64] = {"float64", 8, 0, 0},
};

#define N_TYPES (sizeof(types) / sizeof(types[0]))

static const struct type_row *type_row(enum sqy_type type)
{
    unsigned i = (unsigned)type;
    return i < N_TYPES ? &types[i] : NULL;
}

size_t sqy_type_size(enum sqy_type type)
{
    const struct type_row *row = type_row(type);
    return row ? row->size : 0;
}

const char *sqy_type_name(enum sqy_type type)
{
    const struct type_row *row = type_row(type);
    return row ? row->name : NULL;
}

int sqy_type_parse(const char *name, size_t len, enum sqy_type *type)
{
    for (unsigned i = 0; i < N_TYPES; i++) {
        const struct type_row *row = &types[i];
        bool letter =
            len == 1 && name[0] && (name[0] == row->letter || name[0] == row->other_letter);
        if (letter || (strlen(row->name) == len && !memcmp(row->name, name, len))) {
            *type = (enum sqy_type)i;
            return 0;
        }
    }
    return -EINVAL;
}

void sqy_swap(void *dst, const void *src, size_t len, size_t size)
{
    uint8_t *d = dst;
    const uint8_t *s = src;
    size_t whole = size ? len - len % size : 0;
    if (size == 2) {
        for (size_t i = 0; i < whole; i += 2)
            le_store16(d + i, be_load16(s + i));
    } else if (size == 4) {
        for (size_t i = 0; i < whole; i += 4)
            le_store32(d + i, be_load32(s + i));
    } else if (size == 8) {
        for (size_t i = 0; i < whole; i += 8)
            le_store64(d + i, be_load64(s + i));
    } else {
        whole = 0;
    }
    if (d != s)
        memmove(d + whole, s + whole, len - whole);
}
