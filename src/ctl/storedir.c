#include "ctl/storedir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/quote.h"
#include "ctl/mounted.h"
#include "ctl/say.h"

static bool has_kind(int dir_fd, const char *name, mode_t kind)
{
    struct stat st;
    return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & S_IFMT) == kind;
}

bool storedir_is_store(int dir_fd)
{
    return has_kind(dir_fd, STOREDIR_STATE, S_IFDIR) || has_kind(dir_fd, STOREDIR_POLICY, S_IFREG);
}

static int open_if_store(const char *dir)
{
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (has_kind(fd, STOREDIR_STATE, S_IFDIR))
        return fd;
    close(fd);
    return -ENOENT;
}

/* From /a/b to /a; false from the root. */
static bool go_up(char *dir)
{
    if (strcmp(dir, "/") == 0)
        return false;
    char *slash = strrchr(dir, '/');
    slash[slash == dir] = '\0';
    return true;
}

int storedir_find(const char *path)
{
    char *dir = realpath(path, NULL);
    if (dir == NULL)
        return -errno;
    int fd;
    do
        fd = open_if_store(dir);
    while (fd < 0 && go_up(dir));
    free(dir);
    return fd < 0 ? -ENOENT : fd;
}

static bool is_store_or_mount(const char *dir)
{
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool is = fd >= 0 && storedir_is_store(fd);
    if (fd >= 0)
        close(fd);
    return is || mounted_is_root(dir);
}

static bool any_upwards(const char *path, bool (*is)(const char *dir))
{
    char *dir = realpath(path, NULL);
    if (dir == NULL)
        return false;
    bool found;
    do
        found = is(dir);
    while (!found && go_up(dir));
    free(dir);
    return found;
}

bool storedir_is_inside(const char *dir)
{
    return any_upwards(dir, is_store_or_mount);
}

bool storedir_is_in_mount(const char *dir)
{
    return any_upwards(dir, mounted_is_root);
}

int storedir_say_none(const char *dir)
{
    char quoted[SAY_PATH_MAX];
    return say_failed("%s is no store: it has no blob, no " STOREDIR_STATE
                      " and no " STOREDIR_POLICY
                      "; give the directory that is mounted with sqyfs, or a copy of it",
                      quote(dir, quoted, sizeof(quoted)));
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
