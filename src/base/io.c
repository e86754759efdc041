#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static ssize_t system_pread(const struct io *io, int fd, void *buf, size_t len, uint64_t off)
{
    (void)io;
    ssize_t r;
    do {
        r = pread(fd, buf, len, (off_t)off);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

static ssize_t system_pwrite(const struct io *io, int fd, const void *buf, size_t len, uint64_t off)
{
    (void)io;
    ssize_t r;
    do {
        r = pwrite(fd, buf, len, (off_t)off);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

static int system_fdatasync(const struct io *io, int fd)
{
    (void)io;
    int r;
    do {
        r = fdatasync(fd);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static int system_ftruncate(const struct io *io, int fd, uint64_t size)
{
    (void)io;
    int r;
    do {
        r = ftruncate(fd, (off_t)size);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static int system_fsync(const struct io *io, int fd)
{
    (void)io;
    int r;
    do {
        r = fsync(fd);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static int system_rename(const struct io *io, int from_dir, const char *from, int to_dir,
                         const char *to, unsigned flags)
{
    (void)io;
    int r =
        flags ? renameat2(from_dir, from, to_dir, to, flags) : renameat(from_dir, from, to_dir, to);
    return r < 0 ? -errno : 0;
}

static void system_writeback(const struct io *io, int fd, uint64_t off, uint64_t len)
{
    (void)io;
    sync_file_range(fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

const struct io io_system = {
    .pread = system_pread,
    .pwrite = system_pwrite,
    .fdatasync = system_fdatasync,
    .ftruncate = system_ftruncate,
    .fsync = system_fsync,
    .rename = system_rename,
    .writeback = system_writeback,
};

ssize_t io_pread_full(const struct io *io, int fd, void *buf, size_t len, uint64_t off)
{
    size_t done = 0;
    while (done < len) {
        ssize_t r = io->pread(io, fd, (char *)buf + done, len - done, off + done);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

int io_pread_exact(const struct io *io, int fd, void *buf, size_t len, uint64_t off)
{
    ssize_t r = io_pread_full(io, fd, buf, len, off);
    if (r < 0)
        return (int)r;
    return (size_t)r == len ? 0 : -ENODATA;
}

int io_pwrite_full(const struct io *io, int fd, const void *buf, size_t len, uint64_t off)
{
    size_t done = 0;
    while (done < len) {
        ssize_t r = io->pwrite(io, fd, (const char *)buf + done, len - done, off + done);
        if (r < 0)
            return (int)r;
        if (r == 0)
            return -EIO;
        done += (size_t)r;
    }
    return 0;
}
