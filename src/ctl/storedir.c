#include "ctl/storedir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_if_store(const char *dir)
{
    struct stat st;
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstatat(fd, STOREDIR_STATE, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return fd;
    close(fd);
    return -ENOENT;
}

int storedir_find(const char *path)
{
    char *dir = realpath(path, NULL);
    if (dir == NULL)
        return -errno;
    int fd = open_if_store(dir);
    while (fd < 0 && strcmp(dir, "/") != 0) {
        char *slash = strrchr(dir, '/');
        slash[slash == dir] = '\0';
        fd = open_if_store(dir);
    }
    free(dir);
    return fd < 0 ? -ENOENT : fd;
}

static int lock(int store_fd, int how)
{
    int fd = openat(store_fd, STOREDIR_STATE "/lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (flock(fd, how | LOCK_NB) == 0)
        return fd;
    int r = errno == EWOULDBLOCK ? -EBUSY : -errno;
    close(fd);
    return r;
}

int storedir_lock(int store_fd)
{
    return lock(store_fd, LOCK_EX);
}

bool storedir_is_mounted(int store_fd)
{
    int fd = lock(store_fd, LOCK_SH);
    if (fd >= 0)
        close(fd);
    return fd == -EBUSY;
}
