#include "codec/samples.h"

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
