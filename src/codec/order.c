#include "codec/order.h"
#include "base/le.h"

#include <errno.h>
#include <stdlib.h>

/* Base64 makes 11 characters of each, and a header has room for SQY_HEADER_MAX. */
#define ORDER_MAX_PIECES (SQY_HEADER_MAX / 12)

struct piece {
    uint64_t key, index;
};

uint64_t order_sum(const uint8_t *samples, size_t n, size_t size)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += size == 1 ? samples[i] : le_load16(samples + 2 * i);
    return sum;
}

static int compare(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

int order_learn(struct stage *stage, const uint64_t *keys, size_t n)
{
    if (n > ORDER_MAX_PIECES)
        return -ENOTSUP;
    struct piece *pieces = calloc(n, sizeof(*pieces));
    uint8_t *map = calloc(n, 8);
    if (!pieces || !map) {
        free(pieces);
        free(map);
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        pieces[i] = (struct piece){keys[i], i};
    qsort(pieces, n, sizeof(*pieces), compare);
    for (size_t i = 0; i < n; i++)
        le_store64(map + 8 * i, pieces[i].index);
    free(pieces);
    stage_set_bytes(stage, map, 8 * n);
    return 0;
}

int order_check(const struct stage *stage, size_t n)
{
    if (!stage->bytes || stage->n_bytes / 8 != n || stage->n_bytes % 8)
        return -EBADMSG;
    for (size_t i = 0; i < n; i++)
        if (le_load64(stage->bytes + 8 * i) >= n)
            return -EBADMSG;
    return 0;
}

size_t order_at(const struct stage *stage, size_t i)
{
    return (size_t)le_load64(stage->bytes + 8 * i);
}
