/* A file a plane, as many programs keep their time series; and what it takes to look at them all. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../tools/stackfile.h"
#include "stream.h"

void stream_name(const char *folder, unsigned i, char *out, size_t room)
{
    snprintf(out, room, "%s/t%06u.tif", folder, i);
}

static int write_file(struct stream_part *part, unsigned i)
{
    char path[4096];
    stream_name(part->path, i, path, sizeof(path));
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    struct stackfile_sink sink = stackfile_to(&fd);
    struct stackfile_spec spec = {STACKFILE_CONTIGUOUS, .width = part->frames->width,
                                  .height = part->frames->height, .depth = 1};
    struct stackfile *file = NULL;
    int r = stackfile_create(&sink, &spec, &file);
    if (r == 0)
        r = stackfile_plane(file, frames_at(part->frames, part->index, part->stream->n_paths, i));
    int finished = stackfile_finish(&file);
    r = r < 0 ? r : finished;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    part->bytes += frames_plane_bytes(part->frames);
    return r;
}

static int sync_filesystem(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = syncfs(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static void many_part(struct stream_part *part)
{
    for (unsigned i = 0; i < part->stream->count && part->error == 0; i++) {
        double start = usage_now();
        part->error = write_file(part, i);
        latency_add(&part->calls, usage_now() - start);
    }
    part->accepted = usage_now();
    if (part->error == 0 && part->stream->sync)
        part->error = sync_filesystem(part->path);
}

int stream_many(const struct stream *stream)
{
    return stream_run(stream, stream->count, true, many_part, NULL);
}

static void stat_part(struct stream_part *part)
{
    char path[4096];
    struct stat st;
    unsigned *order = stream_shuffled(part->stream->count);
    part->error = order == NULL ? -ENOMEM : 0;
    for (unsigned i = 0; i < part->stream->count && part->error == 0; i++) {
        stream_name(part->path, order[i], path, sizeof(path));
        double start = usage_now();
        if (stat(path, &st) < 0)
            part->error = -errno;
        latency_add(&part->calls, usage_now() - start);
    }
    part->accepted = usage_now();
    free(order);
}

int stream_stat(const struct stream *stream)
{
    return stream_run(stream, stream->count, false, stat_part, NULL);
}
