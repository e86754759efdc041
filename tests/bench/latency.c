#include "latency.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int latency_create(size_t room, struct latency *out)
{
    *out = (struct latency){.ms = malloc((room + 1) * sizeof(*out->ms)), .room = room};
    if (out->ms == NULL)
        return -ENOMEM;
    memset(out->ms, 0xff, (room + 1) * sizeof(*out->ms));
    return 0;
}

void latency_destroy(struct latency *latency)
{
    free(latency->ms);
    *latency = (struct latency){.ms = NULL};
}

void latency_add(struct latency *latency, double seconds)
{
    if (latency->n < latency->room)
        latency->ms[latency->n++] = (float)(seconds * 1e3);
}

static int compare(const void *a, const void *b)
{
    const float *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int latency_join(const struct latency *series, unsigned n, struct latency *out)
{
    size_t total = 0;
    for (unsigned i = 0; i < n; i++)
        total += series[i].n;
    int r = latency_create(total, out);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < n; i++) {
        memcpy(out->ms + out->n, series[i].ms, series[i].n * sizeof(*out->ms));
        out->n += series[i].n;
    }
    qsort(out->ms, out->n, sizeof(*out->ms), compare);
    return 0;
}

double latency_at(const struct latency *sorted, double share)
{
    if (sorted->n == 0)
        return 0;
    size_t at = (size_t)(share * (double)sorted->n);
    return (double)sorted->ms[at < sorted->n ? at : sorted->n - 1];
}
