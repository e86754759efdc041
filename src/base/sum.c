#include "base/sum.h"

#include <xxhash.h>

uint64_t sum64(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}
