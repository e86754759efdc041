#include "measure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS_AT_LEAST 2

struct lane {
    const struct peer *peer;
    void *state;
    const struct images *images;
    uint64_t coded_bytes;
    double encode[MEASURE_MAX_ROUNDS], decode[MEASURE_MAX_ROUNDS], spent;
};

struct buffers {
    uint8_t *coded;
    uint16_t *decoded;
    size_t coded_cap, decoded_cap;
};

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- rounds ---- */

static int code(struct lane *lane, const struct peer_image *image, struct buffers *buffers,
                struct measure *out)
{
    const struct peer *peer = lane->peer;
    double start = cpu_seconds();
    ssize_t len = peer->encode(peer, lane->state, image, buffers->coded, buffers->coded_cap);
    double encoded = cpu_seconds();
    if (len < 0)
        return (int)len;
    int r = peer->decode(peer, lane->state, buffers->coded, (size_t)len, image, buffers->decoded);
    double decoded = cpu_seconds();
    if (r < 0 || memcmp(buffers->decoded, image->voxels, image->bytes) != 0)
        out->exact = false;
    lane->encode[out->n_rounds] += encoded - start;
    lane->decode[out->n_rounds] += decoded - encoded;
    lane->coded_bytes += (size_t)len < image->bytes ? (size_t)len : image->bytes;
    return 0;
}

static void run_round(struct lane *lane, struct buffers *buffers, struct measure *out)
{
    lane->coded_bytes = 0;
    lane->encode[out->n_rounds] = lane->decode[out->n_rounds] = 0;
    for (size_t i = 0; i < lane->images->n && out->error == 0; i++) {
        memset(buffers->decoded, 0xa5, lane->images->list[i].bytes); /* what is left is seen */
        out->error = code(lane, &lane->images->list[i], buffers, out);
    }
    lane->spent += lane->encode[out->n_rounds] + lane->decode[out->n_rounds];
    out->n_rounds++;
}

/* In turns, so that what else the machine does meets all peers alike. */
static void run_rounds(struct lane *lanes, unsigned n, const struct measure_options *options,
                       struct buffers *buffers, struct measure *out)
{
    for (unsigned round = 0; round < options->rounds; round++)
        for (unsigned i = 0; i < n; i++)
            if (out[i].error == 0 && (round < ROUNDS_AT_LEAST || lanes[i].spent < options->seconds))
                run_round(&lanes[i], buffers, &out[i]);
}

/* ---- results ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(const double *sorted, unsigned n)
{
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

struct measure_speed measure_speed_of(double *seconds, unsigned n, double mb)
{
    qsort(seconds, n, sizeof(*seconds), by_value);
    return (struct measure_speed){mb / middle(seconds, n), mb / seconds[n - 1], mb / seconds[0]};
}

static void judge(struct lane *lane, size_t bytes, struct measure *out)
{
    if (out->error < 0)
        return;
    out->ratio = (double)bytes / (double)lane->coded_bytes;
    out->encode = measure_speed_of(lane->encode, out->n_rounds, (double)bytes / 1e6);
    out->decode = measure_speed_of(lane->decode, out->n_rounds, (double)bytes / 1e6);
}

static int open_lane(struct lane *lane, const struct volume *volume, struct buffers *buffers)
{
    const struct peer *peer = lane->peer;
    lane->images = peer->planes ? &volume->single : &volume->chunks;
    int r = peer->open != NULL ? peer->open(peer, &lane->state) : 0;
    for (size_t i = 0; i < lane->images->n && r == 0; i++) {
        const struct peer_image *image = &lane->images->list[i];
        size_t bound = peer->bound(peer, lane->state, image);
        buffers->coded_cap = bound > buffers->coded_cap ? bound : buffers->coded_cap;
        buffers->decoded_cap =
            image->bytes > buffers->decoded_cap ? image->bytes : buffers->decoded_cap;
    }
    return r;
}

int measure_volume(const struct volume *volume, const struct peer *const *peers, unsigned n_peers,
                   const struct measure_options *options, struct measure *out)
{
    struct lane *lanes = calloc(n_peers, sizeof(*lanes));
    struct buffers buffers = {.coded = NULL};
    if (lanes == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < n_peers; i++) {
        lanes[i].peer = peers[i];
        out[i] = (struct measure){.exact = true};
        out[i].error = open_lane(&lanes[i], volume, &buffers);
    }
    buffers.coded = calloc(1, buffers.coded_cap);
    buffers.decoded = malloc(buffers.decoded_cap);
    int r = buffers.coded != NULL && buffers.decoded != NULL ? 0 : -ENOMEM;
    if (r == 0)
        run_rounds(lanes, n_peers, options, &buffers, out);
    for (unsigned i = 0; i < n_peers; i++) {
        if (r == 0)
            judge(&lanes[i], planes_bytes(&volume->planes), &out[i]);
        if (lanes[i].state != NULL)
            peers[i]->close(lanes[i].state);
    }
    free(buffers.coded);
    free(buffers.decoded);
    free(lanes);
    return r;
}
