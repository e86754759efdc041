/* Readers: one a path, all at once.
 *   sequential  from the first byte to the last    descending  the last plane first
 *   planes      at most `count` planes at random   mmap        sequential, through a mapping */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stream.h"

struct reader {
    struct stream_part *part;
    int fd;
    uint64_t size;
    char *buffer; /* of `block` bytes, or of a plane */
};

/* One call's worth: len bytes at offset, in as many calls as the kernel makes of it. */
static int read_at(struct reader *reader, uint64_t offset, size_t len)
{
    double start = usage_now();
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(reader->fd, reader->buffer + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EIO;
        done += n > 0 ? (size_t)n : 0;
    }
    latency_add(&reader->part->calls, usage_now() - start);
    reader->part->bytes += len;
    return 0;
}

static int read_range(struct reader *reader, uint64_t offset, uint64_t end)
{
    int r = 0;
    size_t block = reader->part->stream->block;
    for (; offset < end && r == 0; offset += block)
        r = read_at(reader, offset, end - offset < block ? (size_t)(end - offset) : block);
    return r;
}

static int read_sequential(struct reader *reader)
{
    return read_range(reader, 0, reader->size);
}

static int read_descending(struct reader *reader)
{
    uint64_t plane = reader->part->stream->plane;
    int r = 0;
    for (uint64_t z = reader->size / plane; z-- > 0 && r == 0;)
        r = read_range(reader, z * plane, (z + 1) * plane);
    return r;
}

/* In turns one of the first half and one of the second, none twice, so that a cost that grows with z
 * shows: calls of even numbers are near ones. */
static int read_planes(struct reader *reader)
{
    uint64_t plane = reader->part->stream->plane;
    unsigned half = (unsigned)(reader->size / plane / 2);
    unsigned *order = stream_shuffled(half);
    int r = order == NULL ? -ENOMEM : 0;
    for (unsigned i = 0; i < reader->part->stream->count && i < 2 * half && r == 0; i++)
        r = read_at(reader, (order[i / 2] + (i % 2 ? half : 0)) * plane, plane);
    free(order);
    return r;
}

static double median_of(const struct latency *calls, size_t first)
{
    struct latency some, sorted;
    if (latency_create(calls->n, &some) < 0)
        return 0;
    for (size_t i = first; i < calls->n; i += 2)
        latency_add(&some, (double)calls->ms[i] * 1e-3);
    double median = latency_join(&some, 1, &sorted) < 0 ? 0 : latency_at(&sorted, 0.5);
    latency_destroy(&sorted);
    latency_destroy(&some);
    return median;
}

static void tell_near_and_far(const struct stream_part *parts, unsigned n)
{
    if (n == 1)
        printf("\"near_ms\": %.4f, \"far_ms\": %.4f, ", median_of(&parts->calls, 0),
               median_of(&parts->calls, 1));
}

static int read_mapped(struct reader *reader)
{
    char *at = mmap(NULL, reader->size, PROT_READ, MAP_SHARED, reader->fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    size_t block = reader->part->stream->block;
    for (uint64_t offset = 0; offset < reader->size; offset += block) {
        uint64_t left = reader->size - offset;
        double start = usage_now();
        memcpy(reader->buffer, at + offset, left < block ? (size_t)left : block);
        latency_add(&reader->part->calls, usage_now() - start);
    }
    reader->part->bytes = reader->size;
    return munmap(at, reader->size) < 0 ? -errno : 0;
}

static const struct mode {
    const char *name;
    int (*run)(struct reader *reader);
} modes[] = {
    {"sequential", read_sequential},
    {"descending", read_descending},
    {"planes", read_planes},
    {"mmap", read_mapped},
};

static const struct mode *mode_of(const char *name)
{
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    return NULL;
}

static int read_open(struct reader *reader)
{
    const struct stream *stream = reader->part->stream;
    struct stat st;
    if (fstat(reader->fd, &st) < 0)
        return -errno;
    reader->size = (uint64_t)st.st_size;
    size_t room = stream->block > stream->plane ? stream->block : stream->plane;
    void *page;
    if (posix_memalign(&page, 4096, room + stream->skew) != 0)
        return -ENOMEM;
    memset(page, 1, room + stream->skew);
    reader->buffer = (char *)page + stream->skew;
    int r = mode_of(stream->mode)->run(reader);
    free(page);
    return r;
}

static void read_part(struct stream_part *part)
{
    struct reader reader = {.part = part, .fd = open(part->path, O_RDONLY | O_CLOEXEC)};
    if (reader.fd < 0) {
        part->error = -errno;
        return;
    }
    part->error = read_open(&reader);
    part->accepted = usage_now();
    close(reader.fd);
}

int stream_read(const struct stream *stream)
{
    uint64_t longest = 0;
    for (unsigned i = 0; i < stream->n_paths; i++) {
        struct stat st;
        if (stat(stream->paths[i], &st) < 0)
            return -errno;
        longest = (uint64_t)st.st_size > longest ? (uint64_t)st.st_size : longest;
    }
    if (mode_of(stream->mode) == NULL)
        return -EINVAL;
    size_t n_calls = (size_t)(longest / stream->block) + stream->count;
    n_calls += (size_t)(longest / stream->plane);
    bool planes = strcmp(stream->mode, "planes") == 0;
    return stream_run(stream, n_calls, false, read_part, planes ? tell_near_and_far : NULL);
}
