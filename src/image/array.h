/* Growing arrays that share one limit of memory. */
#ifndef SQYFS_IMAGE_ARRAY_H
#define SQYFS_IMAGE_ARRAY_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct memory {
    size_t used, limit; /* bytes */
};

/* Room for one more than `n` elements: returns the array, moved or not, or NULL with *error -ENOMEM
 * or -E2BIG (the limit) and `array` as it was. */
static inline void *array_room(void *array, uint32_t *cap, uint32_t n, size_t elem,
                               struct memory *memory, int *error)
{
    if (n < *cap)
        return array;
    size_t grown = *cap < 16 ? 16 : *cap + *cap / 2u;
    size_t more = (grown - *cap) * elem;
    if (grown > UINT32_MAX / 2 || memory->used > memory->limit ||
        more > memory->limit - memory->used) {
        *error = -E2BIG;
        return NULL;
    }
    void *moved = realloc(array, grown * elem);
    if (!moved) {
        *error = -ENOMEM;
        return NULL;
    }
    memory->used += more;
    *cap = (uint32_t)grown;
    return moved;
}

#endif
