/* A stack a path, in calls of `block` bytes. With a rate, plane i is there at i / rate and not before:
 * what a call takes too long makes the next plane late, as in a camera's ring of buffers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../tools/stackfile.h"
#include "stream.h"

struct film {
    struct stream_part *part;
    int fd;
};

static int film_append(void *ctx, const void *data, size_t len)
{
    struct film *film = ctx;
    const char *at = data;
    while (len > 0) {
        size_t block = len < film->part->stream->block ? len : film->part->stream->block;
        double start = usage_now();
        ssize_t n = write(film->fd, at, block);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n < 0)
            continue;
        latency_add(&film->part->calls, usage_now() - start);
        film->part->bytes += (uint64_t)n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static struct stackfile_spec spec_of(const struct stream_part *part)
{
    uint64_t plane = frames_plane_bytes(part->frames);
    return (struct stackfile_spec){
        .style = part->stream->tiff ? STACKFILE_CONTIGUOUS : STACKFILE_RAW,
        .width = part->frames->width,
        .height = part->frames->height,
        .depth = (uint32_t)((part->stream->bytes + plane - 1) / plane),
    };
}

/* BigTIFF where a classic one is too short. */
static int open_stack(const struct stackfile_sink *sink, struct stackfile_spec *spec,
                      struct stackfile **out)
{
    int r = stackfile_create(sink, spec, out);
    if (r != -EFBIG)
        return r;
    spec->big_tiff = true;
    return stackfile_create(sink, spec, out);
}

static void wait_until(double due)
{
    struct timespec t = {.tv_sec = (time_t)due};
    t.tv_nsec = (long)((due - (double)t.tv_sec) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        continue;
}

static void be_punctual(struct stream_part *part, double begin, uint32_t z)
{
    double due = begin + (double)z * (double)frames_plane_bytes(part->frames) / part->stream->rate;
    double now = usage_now();
    if (now < due)
        wait_until(due);
    else if (now - due > part->late)
        part->late = now - due;
}

static int film_planes(struct stream_part *part, const struct stackfile_sink *sink)
{
    struct stackfile_spec spec = spec_of(part);
    struct stackfile *file = NULL;
    int r = open_stack(sink, &spec, &file);
    if (r < 0)
        return r;
    double begin = usage_now();
    for (uint32_t z = 0; z < spec.depth && r >= 0; z++) {
        if (part->stream->rate > 0)
            be_punctual(part, begin, z);
        r = stackfile_plane(file, frames_at(part->frames, part->index, part->stream->n_paths, z));
    }
    int finished = stackfile_finish(&file);
    return r < 0 ? r : finished;
}

static void write_part(struct stream_part *part)
{
    struct film film = {part, open(part->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
    if (film.fd < 0) {
        part->error = -errno;
        return;
    }
    struct stackfile_sink sink = {.append = film_append, .ctx = &film};
    part->error = film_planes(part, &sink);
    part->accepted = usage_now();
    if (part->error == 0 && part->stream->sync && fsync(film.fd) < 0)
        part->error = -errno;
    if (close(film.fd) < 0 && part->error == 0)
        part->error = -errno;
}

int stream_write(const struct stream *stream)
{
    /* A plane may end in a shorter call, and so do a header and directories. */
    size_t n_calls = 3 * (size_t)(stream->bytes / stream->block) + 4096;
    return stream_run(stream, n_calls, true, write_part, NULL);
}

/* ---- the same again, compared ---- */

#define COMPARED_AT_ONCE (1u << 20)

static int film_compare(void *ctx, const void *data, size_t len)
{
    struct film *film = ctx;
    static _Thread_local char is[COMPARED_AT_ONCE];
    const char *want = data;
    while (len > 0) {
        ssize_t n = read(film->fd, is, len < sizeof(is) ? len : sizeof(is));
        if (n < 0)
            return -errno;
        if (n == 0 || memcmp(is, want, (size_t)n) != 0) {
            fprintf(stderr, "stream: %s: not what was written, from byte %llu on\n",
                    film->part->path, (unsigned long long)film->part->bytes);
            return -EBADMSG;
        }
        film->part->bytes += (uint64_t)n;
        want += n;
        len -= (size_t)n;
    }
    return 0;
}

static void check_part(struct stream_part *part)
{
    struct film film = {part, open(part->path, O_RDONLY | O_CLOEXEC)};
    if (film.fd < 0) {
        part->error = -errno;
        return;
    }
    struct stackfile_sink sink = {.append = film_compare, .ctx = &film};
    part->error = film_planes(part, &sink);
    char after;
    if (part->error == 0 && read(film.fd, &after, 1) != 0)
        part->error = -EFBIG;
    part->accepted = usage_now();
    close(film.fd);
}

int stream_check(const struct stream *stream)
{
    return stream_run(stream, 0, true, check_part, NULL);
}
