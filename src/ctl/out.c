#include "ctl/out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "store/names.h"

#define OUT_TRIES 100 /* names tried before giving up: one is enough but for a miracle */

static int open_stream(int fd, struct out *out)
{
    if (fd < 0)
        return -errno;
    out->fd = fd;
    return 0;
}

static int open_parent(const char *path, struct out *out)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    if (path[0] == '\0')
        return -ENOENT;
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EISDIR;
    size_t dir_len = slash == path ? 1 : (size_t)(name - path);
    char *dir = slash != NULL ? strndup(path, dir_len) : strdup(".");
    out->name = strdup(name);
    if (dir == NULL || out->name == NULL) {
        free(dir);
        return -ENOMEM;
    }
    out->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = out->dir_fd < 0 ? -errno : 0;
    free(dir);
    return r;
}

/* In a mount a name that ends in .sqy is stored in another way than others, and a file cannot be
 * renamed from the one kind to the other. */
static int make_temp_name(const char *name, char temp[32])
{
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    snprintf(temp, 32, ".sqyctl-%016llx%s", (unsigned long long)random,
             names_has_suffix(name) ? NAMES_SUFFIX : "");
    return 0;
}

/* A temporary name has to be taken away again when the user interrupts: the signals are held back.
 */
static void block_signals(struct out *out)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGPIPE);
    out->blocked = pthread_sigmask(SIG_BLOCK, &set, &out->old_signals) == 0;
}

static int open_named(mode_t mode, struct out *out)
{
    block_signals(out);
    for (unsigned i = 0; i < OUT_TRIES; i++) {
        int r = make_temp_name(out->name, out->temp);
        if (r < 0)
            return r;
        out->fd = openat(out->dir_fd, out->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (out->fd >= 0 || errno != EEXIST)
            break;
    }
    int r = out->fd < 0 ? -errno : 0;
    if (r < 0)
        out->temp[0] = '\0';
    return r;
}

static int open_regular(const char *path, const struct stat *like, struct out *out)
{
    int r = open_parent(path, out);
    if (r < 0)
        return r;
    mode_t mode = like != NULL ? like->st_mode & 0666 : 0666;
    out->regular = true;
    out->fd = openat(out->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (out->fd < 0)
        return open_named(mode, out);
    return 0;
}

int out_open(const char *path, const struct stat *like, struct out *out)
{
    memset(out, 0, sizeof(*out));
    out->fd = out->dir_fd = -1;
    if (strcmp(path, "-") == 0)
        return open_stream(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0), out);
    char *target = NULL;
    struct stat link;
    out->existed = stat(path, &out->old) == 0;
    if (!out->existed && lstat(path, &link) == 0) /* not to be replaced, and there is no target */
        return -ELOOP;
    if (out->existed && S_ISDIR(out->old.st_mode))
        return -EISDIR;
    if (out->existed && !S_ISREG(out->old.st_mode))
        return open_stream(open(path, O_WRONLY | O_CLOEXEC), out);
    if (out->existed) { /* a symbolic link stays one */
        target = realpath(path, NULL);
        if (target == NULL)
            return -errno;
    }
    int r = open_regular(target != NULL ? target : path, like, out);
    free(target);
    if (r < 0)
        out_close(out);
    return r;
}

bool out_interrupted(const struct out *out)
{
    sigset_t pending;
    return out->blocked && sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) ||
            sigismember(&pending, SIGHUP));
}

static int give_name(struct out *out)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", out->fd);
    for (unsigned i = 0; i < OUT_TRIES; i++) {
        int r = make_temp_name(out->name, out->temp);
        if (r < 0)
            return r;
        if (linkat(AT_FDCWD, link, out->dir_fd, out->temp, AT_SYMLINK_FOLLOW) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    int r = -errno;
    out->temp[0] = '\0';
    return r;
}

/* What is replaced keeps its permissions, and its owner where the caller may give it. */
static int take_over(struct out *out)
{
    if (!out->existed)
        return 0;
    if (fchown(out->fd, out->old.st_uid, out->old.st_gid) < 0 && errno != EPERM)
        return -errno;
    return fchmod(out->fd, out->old.st_mode & 0777) < 0 ? -errno : 0;
}

static int publish(struct out *out, const struct timespec *mtime)
{
    int r = take_over(out);
    if (r < 0)
        return r;
    if (mtime != NULL) {
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, *mtime};
        if (futimens(out->fd, times) < 0)
            return -errno;
    }
    if (fsync(out->fd) < 0)
        return -errno;
    if (!out->blocked)
        block_signals(out);
    if (out->temp[0] == '\0')
        r = give_name(out);
    if (r == 0 && renameat(out->dir_fd, out->temp, out->dir_fd, out->name) < 0)
        r = -errno;
    if (r < 0)
        return r;
    out->temp[0] = '\0';
    return fsync(out->dir_fd) < 0 && errno != EINVAL ? -errno : 0;
}

int out_commit(struct out *out, const struct timespec *mtime)
{
    int r = 0;
    if (out->regular)
        r = publish(out, mtime);
    else if (close(out->fd) < 0)
        r = -errno;
    if (!out->regular)
        out->fd = -1;
    out_close(out);
    return r;
}

void out_close(struct out *out)
{
    if (out->temp[0] != '\0')
        unlinkat(out->dir_fd, out->temp, 0);
    out->temp[0] = '\0';
    if (out->fd >= 0)
        close(out->fd);
    if (out->dir_fd >= 0)
        close(out->dir_fd);
    free(out->name);
    out->fd = out->dir_fd = -1;
    out->name = NULL;
    if (out->blocked)
        pthread_sigmask(SIG_SETMASK, &out->old_signals, NULL);
    out->blocked = false;
}
