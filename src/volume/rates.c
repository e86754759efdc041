#include "volume/rates.h"

#include <string.h>

void rates_init(struct rates *rates)
{
    memset(rates, 0, sizeof(*rates));
    pthread_mutex_init(&rates->lock, NULL);
}

void rates_destroy(struct rates *rates)
{
    pthread_mutex_destroy(&rates->lock);
}

bool rates_look(struct rates *rates, const struct rates_look *look)
{
    pthread_mutex_lock(&rates->lock);
    bool due = rates->n == 0 || look->ms - rates->looks[rates->last].ms >= RATES_LOOK_MS;
    if (due) {
        rates->last = (rates->last + 1) % RATES_LOOKS;
        rates->looks[rates->last] = *look;
        rates->n += rates->n < RATES_LOOKS;
    }
    pthread_mutex_unlock(&rates->lock);
    return due;
}

/* The youngest look that is a span older than the last one, or the oldest. */
static const struct rates_look *before_last(const struct rates *rates)
{
    const struct rates_look *last = &rates->looks[rates->last], *look = last;
    for (unsigned i = 1; i < rates->n && last->ms - look->ms < RATES_SPAN_MS; i++)
        look = &rates->looks[(rates->last + RATES_LOOKS - i) % RATES_LOOKS];
    return look;
}

void rates_get(struct rates *rates, double per_second[RATES_COUNTERS])
{
    memset(per_second, 0, RATES_COUNTERS * sizeof(*per_second));
    pthread_mutex_lock(&rates->lock);
    const struct rates_look *last = &rates->looks[rates->last], *first = before_last(rates);
    for (unsigned i = 0; i < RATES_COUNTERS && last->ms > first->ms; i++)
        per_second[i] =
            (double)(last->count[i] - first->count[i]) * 1000 / (double)(last->ms - first->ms);
    pthread_mutex_unlock(&rates->lock);
}
