#include "frames.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROWS_A_ROUND 37u /* the rows move by so many; coprime to the usual heights */

static int read_all(int fd, uint8_t *to, size_t len)
{
    while (len > 0) {
        ssize_t n = read(fd, to, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EIO;
        if (n > 0) {
            to += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int load(int fd, struct frames *frames)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    size_t plane = frames_plane_bytes(frames);
    if (plane == 0 || (uint64_t)st.st_size < plane || (uint64_t)st.st_size / plane > UINT32_MAX)
        return -EINVAL;
    frames->n = (uint32_t)((uint64_t)st.st_size / plane);
    frames->mapped = plane * (frames->n + 1ull) + frames->skew;
    void *at =
        mmap(NULL, frames->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return -errno;
    frames->bytes = at;
    uint8_t *planes = frames->bytes + frames->skew;
    int r = read_all(fd, planes, plane * frames->n);
    if (r == 0)
        memcpy(planes + plane * frames->n, planes, plane);
    return r;
}

int frames_load(const char *text, unsigned skew, struct frames *out)
{
    *out = (struct frames){.skew = skew};
    const char *shape = strrchr(text, ':');
    char path[PATH_MAX], after;
    if (shape == NULL || (size_t)(shape - text) >= sizeof(path) ||
        sscanf(shape, ":%ux%u%c", &out->width, &out->height, &after) != 2)
        return -EINVAL;
    memcpy(path, text, (size_t)(shape - text));
    path[shape - text] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = load(fd, out);
    close(fd);
    if (r < 0)
        frames_unload(out);
    return r;
}

void frames_unload(struct frames *frames)
{
    if (frames->bytes != NULL)
        munmap(frames->bytes, frames->mapped);
    frames->bytes = NULL;
}

uint16_t *frames_at(const struct frames *frames, unsigned camera, unsigned n_cameras, uint64_t i)
{
    uint64_t at = i + (uint64_t)camera * frames->n / n_cameras;
    uint64_t row = at / frames->n * ROWS_A_ROUND % frames->height;
    uint8_t *plane = frames->bytes + frames->skew + at % frames->n * frames_plane_bytes(frames);
    return (uint16_t *)(void *)(plane + row * frames->width * 2);
}
