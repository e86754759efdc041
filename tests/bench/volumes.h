/* What is measured: a volume, cut into the chunks of a mount and into planes. */
#ifndef SQYFS_BENCH_VOLUMES_H
#define SQYFS_BENCH_VOLUMES_H

#include "peer.h"
#include "planes.h"

struct images {
    struct peer_image *list;
    size_t n;
};

struct volume {
    const char *name;
    struct planes planes;
    double noise_limit;   /* the ratio that the noise allows; 0: not known */
    struct images chunks; /* about 1 MiB each, as image/layout cuts them */
    struct images single; /* planes, one by one */
};

/* Cuts it every `n_planes` planes. The caller frees out->list, also after an error. 0 or -ENOMEM. */
int volume_cut(const struct volume *volume, uint32_t n_planes, struct images *out);

/* Called for each volume in turn; it is freed afterwards. < 0 ends the walk. */
typedef int volumes_fn(void *ctx, const struct volume *volume);

/* `text`: FILE.tif, FILE.npy, FILE.raw:WIDTHxHEIGHT[:NOISE_LIMIT], or a folder, of which files of one
 * shape that follow one another are one volume. What is passed over is named on standard output.
 * What fn returned, or a negative errno. */
int volumes_each(const char *text, volumes_fn *fn, void *ctx);

#endif
