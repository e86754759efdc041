/* Durable, then out of the page cache: without drop_caches, which is everybody's. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "stream.h"

#define FOLDERS_OPEN 16

static int forget_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)ftw;
    if (kind != FTW_F || !S_ISREG(st->st_mode))
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0; /* gone, or nobody's to read */
    if (fsync(fd) == 0)
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    return 0;
}

int stream_forget(const struct stream *stream)
{
    for (unsigned i = 0; i < stream->n_paths; i++)
        if (nftw(stream->paths[i], forget_one, FOLDERS_OPEN, FTW_PHYS | FTW_MOUNT) < 0)
            return -errno;
    return 0;
}
