#include "store/origin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/sqy.h"
#include "store/blob.h"

#define OUR_KEY "\"sqyfs\""

/* Our header ends within BLOB_HEADER_BYTES: a longer one, as maps make it, is sqeazy's, unless ours
 * has lost its end. */
static bool is_foreign_header(const void *data, size_t len)
{
    struct sqy_header header = {0};
    int r = sqy_header_parse(data, len, &header);
    bool foreign = r == 0 && header.ours == NULL;
    sqy_header_free(&header);
    if (r == -EAGAIN && len == BLOB_HEADER_BYTES)
        foreign = memmem(data, len, OUR_KEY, strlen(OUR_KEY)) == NULL;
    return foreign;
}

static int has_foreign_header(int fd)
{
    uint8_t data[BLOB_HEADER_BYTES];
    ssize_t n;
    do {
        n = pread(fd, data, sizeof(data), 0);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n > 0 && is_foreign_header(data, (size_t)n);
}

static bool may_have_header(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_size > 0;
}

static int open_and_look(int dir_fd, const char *path, int flags)
{
    int fd = openat(dir_fd, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | flags);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    int r = has_foreign_header(fd);
    close(fd);
    return r;
}

static int take(int r)
{
    return r < 0 && r != -EMFILE && r != -ENFILE && r != -ENOMEM ? 0 : r;
}

int origin_check(int dir_fd, const char *name)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || errno == ENAMETOOLONG ? 0 : -errno;
    return may_have_header(&st) ? open_and_look(dir_fd, name, O_NOFOLLOW) : 0;
}

int origin_is_foreign(int dir_fd, const char *name)
{
    return take(origin_check(dir_fd, name));
}

int origin_is_foreign_fd(int fd)
{
    struct stat st;
    char link[32];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (fstat(fd, &st) < 0 || !may_have_header(&st))
        return 0;
    return take(open_and_look(AT_FDCWD, link, 0));
}
