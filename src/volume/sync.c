/* Checkpoints made durable: the blob's own two syncs, the name of a new blob, and the time put back
 * that appending has moved. Runs in the caller's thread, a tender or a request's worker: the
 * filesystem joins what several of them sync at a time. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* Background appends must not move the visible mtime: the backing file shows what the checkpoint
 * says. */
static void restore_mtime(int fd, const struct timespec *mtime)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, *mtime};
    if (futimens(fd, times) < 0)
        log_debug("cannot set the time of a blob: %s", strerror(errno));
}

/* The directory that has the blob's name, so that a power cut does not take a new file's name away.
 */
static int sync_directory(const struct io *io, int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return -errno;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return 0;
    slash[slash == path] = '\0';
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return errno == ENOENT ? 0 : -errno;
    int r = io->fsync(io, dir);
    close(dir);
    return r;
}

int sync_checkpoint(struct volume *volume, struct blobref *ref, const struct blob_state *state,
                    unsigned flags, const struct blob_header *header, bool sync_name)
{
    int r = blob_checkpoint(ref->blob, state, flags);
    /* Only now: the header says how much there is, and a blob that has less is taken for cut off.
     */
    if (r >= 0 && header != NULL)
        r = blob_write_header(ref->blob, header);
    if (r < 0)
        return r;
    restore_mtime(blob_fd(ref->blob), &state->mtime);
    atomic_fetch_add(&volume->counters.checkpoints, 1);
    return sync_name ? sync_directory(volume->io, blob_fd(ref->blob)) : 0;
}
