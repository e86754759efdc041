/* How fast counters go up at present: looked at now and then, by a thread that has time for it, so that
 * whoever counts pays nothing. Thread safe, one leaf lock inside. */
#ifndef SQYFS_VOLUME_RATES_H
#define SQYFS_VOLUME_RATES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define RATES_SPAN_MS 5000 /* "at present": over so long, or a little longer */
#define RATES_LOOK_MS 400  /* looks that come sooner are not kept */
#define RATES_LOOKS   16u  /* the span in looks, and some */

enum rates_counter {
    RATES_WRITTEN, /* bytes, by applications */
    RATES_READ,
    RATES_ENCODED, /* plain bytes */
    RATES_STORED,  /* what they became */
    RATES_DECODED,
    RATES_COUNTERS
};

struct rates_look {
    int64_t ms;
    uint64_t count[RATES_COUNTERS];
};

struct rates {
    pthread_mutex_t lock; /* guards all below */
    struct rates_look looks[RATES_LOOKS];
    unsigned n, last;
};

void rates_init(struct rates *rates);
void rates_destroy(struct rates *rates);
/* False where it came too soon. */
bool rates_look(struct rates *rates, const struct rates_look *look);
/* By the second; 0 before there have been two looks. */
void rates_get(struct rates *rates, double per_second[RATES_COUNTERS]);

#endif
