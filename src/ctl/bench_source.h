/* A file of any kind as the plain bytes of a stack: a stack itself, a file in a mount, a blob. */
#ifndef SQYFS_CTL_BENCH_SOURCE_H
#define SQYFS_CTL_BENCH_SOURCE_H

#include <stdbool.h>

#include "ctl/source.h"
#include "volume/pack.h"

struct bench_source {
    struct pack_source plain; /* one thread reads; its context is this struct: do not move it */
    struct raw_policy raw; /* where has_raw: how the plain bytes are a volume; borrows its glob */
    bool has_raw;
    int fd;             /* of a plain file, else -1 */
    struct source blob; /* where fd is -1 */
    struct pack_reader *reader;
    void *voxels; /* of one of sqeazy's own, which cannot be read in pieces: all of them */
};

/* `raw` (may be NULL, is borrowed) is what the user says of the shape; a blob of a raw volume knows
 * it. 0 or a negative errno. */
int bench_source_open(const char *path, const struct raw_policy *raw, struct bench_source *out);
void bench_source_close(struct bench_source *source);

#endif
