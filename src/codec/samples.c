#include "codec/samples.h"

#include <errno.h>
#include <string.h>

#include "base/le.h"

unsigned samples_common_zeros(const struct shape *shape, const uint8_t *in)
{
    uint16_t any = 0;
    if (shape->size != 2)
        return 0;
    for (size_t i = 0; i < shape->n && !(any & 1); i++)
        any |= le_load16(in + 2 * i);
    return any ? (unsigned)__builtin_ctz(any) : 0;
}

struct shape samples_join_rows(const struct shape *shape, size_t narrow)
{
    struct shape joined = *shape;
    if (shape->width / shape->spp < narrow && shape->width % shape->spp == 0) {
        joined.width *= shape->rows;
        joined.rows = 1;
    }
    return joined;
}

ssize_t samples_store(const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    const size_t len = shape->n * shape->size;
    out[0] = SAMPLES_STORED;
    memcpy(out + 1, in, len);
    return (ssize_t)(1 + len);
}

int samples_restore(const struct shape *shape, const uint8_t *in, size_t len, uint8_t *out)
{
    if (len != 1 + shape->n * shape->size)
        return -EBADMSG;
    memcpy(out, in + 1, len - 1);
    return 0;
}
