/* stream: writes and reads as microscopes and their programs do, timed. One file a subcommand. */
#ifndef SQYFS_BENCH_STREAM_H
#define SQYFS_BENCH_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "frames.h"
#include "latency.h"
#include "usage.h"

#define STREAM_MAX_PATHS 16u

struct stream {
    const char *said;   /* JSON fields that the report begins with */
    const char *frames; /* as frames_load() takes it */
    const char *mode;   /* of read */
    const char *then;   /* a command whose end belongs to the measured time */
    uint64_t bytes;     /* a path */
    uint64_t warm;      /* bytes of memory touched beforehand */
    size_t block;       /* of each call */
    size_t plane;       /* of read: what comes at random, or last first */
    double rate;        /* bytes a second and path, at fixed times; 0: as fast as can be */
    unsigned count, skew;
    pid_t daemon; /* whose CPU time is told; 0: none */
    bool tiff, sync;
    char *paths[STREAM_MAX_PATHS];
    unsigned n_paths;
};

/* What one path's thread does and leaves. */
struct stream_part {
    const struct stream *stream;
    const struct frames *frames; /* or NULL */
    const char *path;
    unsigned index;
    struct latency calls;
    uint64_t bytes;
    double accepted; /* when the last call before any fsync came back */
    double late;     /* seconds behind the camera's time, at most */
    int error;
};

typedef void stream_part_fn(struct stream_part *part);
typedef void stream_more_fn(const struct stream_part *parts, unsigned n); /* prints JSON fields */

/* Runs fn for every path, each in a thread, and `then`; reports, and frees. `n_calls`: a path's at
 * most. `more` may be NULL. 0 or a negative errno. */
int stream_run(const struct stream *stream, size_t n_calls, bool with_frames, stream_part_fn *fn,
               stream_more_fn *more);

/* Subcommands: 0 or a negative errno. */
int stream_write(const struct stream *stream);   /* one file a path */
int stream_check(const struct stream *stream);   /* it holds what write wrote */
int stream_libtiff(const struct stream *stream); /* one file a path, by libtiff in strips */
int stream_many(const struct stream *stream);    /* `count` files of one plane in a folder */
int stream_stat(const struct stream *stream);    /* of what many wrote, in no order */
int stream_read(const struct stream *stream);
int stream_forget(const struct stream *stream); /* files and trees out of the page cache */
int stream_watch(const struct stream *stream);  /* the daemon's memory, a line each `count` ms */

/* Every number below n once, in an order that is the same each time; free(). NULL: out of memory. */
unsigned *stream_shuffled(unsigned n);

/* The name of file i of stream_many(). */
void stream_name(const char *folder, unsigned i, char *out, size_t room);

#endif
