/* rmestbkrd: a threshold estimated at the faces of the volume is taken off: the least of four 99 %
 * quantiles. sqeazy looks at part of a plane only where that is larger than the processor's cache,
 * so that its result depends on the machine; here it is always all of it. */
#include "base/le.h"
#include "codec/background.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define N_VALUES (UINT16_MAX + 1)
#define SHARE    0.99f

struct histogram {
    uint32_t count[N_VALUES];
    size_t n;
};

static void count(struct histogram *h, const struct shape *shape, const uint8_t *in, size_t from,
                  size_t n)
{
    for (size_t i = from; i < from + n; i++)
        h->count[shape->size == 1 ? in[i] : le_load16(in + 2 * i)]++;
    h->n += n;
}

/* Between the first value up to which there is more than the share, and the one before it. */
static unsigned quantile(const struct histogram *h)
{
    size_t seen = 0;
    unsigned m = 0;
    while (m < N_VALUES - 1 && (float)(seen += h->count[m]) / (float)h->n <= SHARE)
        m++;
    if (m == 0)
        return 0;
    const float here = (float)h->count[m], before = (float)h->count[m - 1];
    return here + before > 0
               ? (unsigned)((here * (float)m + before * (float)(m - 1)) / (here + before))
               : m;
}

/* The first or the last plane. */
static unsigned of_plane(struct histogram *h, const struct shape *shape, const uint8_t *in,
                         uint64_t z)
{
    const size_t plane = (size_t)(shape->rows * shape->width);
    memset(h, 0, sizeof(*h));
    count(h, shape, in, (size_t)z * plane, plane);
    return quantile(h);
}

/* One row of three planes. */
static unsigned of_rows(struct histogram *h, const struct shape *shape, const uint8_t *in,
                        uint64_t y)
{
    const uint64_t planes[3] = {1, shape->planes / 2, shape->planes - 2};
    memset(h, 0, sizeof(*h));
    for (unsigned i = 0; i < 3; i++)
        count(h, shape, in, (size_t)((planes[i] * shape->rows + y) * shape->width),
              (size_t)shape->width);
    return quantile(h);
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static int rmestbkrd_apply(struct sqy_ctx *ctx, const struct stage *stage,
                           const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    (void)ctx;
    (void)stage;
    if (shape->planes < 3 || shape->rows * shape->width > UINT32_MAX / 3)
        return -ENOTSUP; /* there is no second plane from either end; or it cannot be counted */
    struct histogram *h = malloc(sizeof(*h));
    if (!h)
        return -ENOMEM;
    unsigned t = of_plane(h, shape, in, 0);
    t = least(t, of_plane(h, shape, in, shape->planes - 1));
    t = least(t, of_rows(h, shape, in, 0));
    t = least(t, of_rows(h, shape, in, shape->rows - 1));
    free(h);
    background_subtract(shape, t, in, out);
    return 0;
}

const struct stage_desc stage_desc_rmestbkrd = {
    .name = "rmestbkrd",
    .about = "subtracts an estimated background",
    .class = STAGE_FILTER,
    .upstream = true,
    .sizes = 1 | 2,
    .whole_volume = true,
    .lossy = true,
    .head_only = true,
    .apply = rmestbkrd_apply,
    .undo = background_undo,
};
