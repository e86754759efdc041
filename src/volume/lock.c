#include "volume/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/io.h"
#include "volume/volume.h"

#define LOCK_FILE "lock"
#define WHO_BYTES (HOST_NAME_MAX + 32)

/* "1234 host": a number means nothing elsewhere. */
static int who_text(pid_t pid, char *buf, size_t len)
{
    char host[HOST_NAME_MAX + 1] = "";
    gethostname(host, sizeof(host) - 1);
    return snprintf(buf, len, "%ld %s\n", (long)pid, host);
}

/* That it is not said costs no more than a name in a message. */
static void say_who(int fd)
{
    char text[WHO_BYTES];
    int len = who_text(getpid(), text, sizeof(text));
    if (ftruncate(fd, 0) == 0)
        io_pwrite_full(&io_system, fd, text, (size_t)len, 0);
}

int lock_take(int state_fd, int *lock_fd)
{
    int fd = openat(state_fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int r = errno == EWOULDBLOCK ? -EBUSY : -errno;
        close(fd);
        return r;
    }
    say_who(fd);
    *lock_fd = fd;
    return 0;
}

void lock_release(int *lock_fd)
{
    if (*lock_fd < 0)
        return;
    int r = ftruncate(*lock_fd, 0);
    (void)r; /* a number that stays is seen to be nobody's any more */
    close(*lock_fd);
    *lock_fd = -1;
}

static ssize_t read_text(int dir_fd, const char *path, char *buf, size_t len)
{
    int fd = openat(dir_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd >= 0 ? io_pread_full(&io_system, fd, buf, len - 1, 0) : -errno;
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = '\0';
    return n;
}

/* Numbers are given again: only one that runs the program that we are counts. */
static bool is_of_our_kind(pid_t pid)
{
    char path[64], theirs[64], ours[64];
    snprintf(path, sizeof(path), "/proc/%ld/comm", (long)pid);
    return read_text(AT_FDCWD, path, theirs, sizeof(theirs)) > 0 &&
           read_text(AT_FDCWD, "/proc/self/comm", ours, sizeof(ours)) > 0 &&
           strcmp(theirs, ours) == 0;
}

pid_t lock_holder(int state_fd)
{
    char text[WHO_BYTES], same[WHO_BYTES];
    if (read_text(state_fd, LOCK_FILE, text, sizeof(text)) <= 0)
        return 0;
    long pid = strtol(text, NULL, 10);
    if (pid <= 0 || pid > INT_MAX)
        return 0;
    who_text((pid_t)pid, same, sizeof(same));
    return strcmp(text, same) == 0 && is_of_our_kind((pid_t)pid) ? (pid_t)pid : 0;
}

pid_t volume_holder(const char *store)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/.sqyfs", store) >= (int)sizeof(path))
        return 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    pid_t holder = fd >= 0 ? lock_holder(fd) : 0;
    if (fd >= 0)
        close(fd);
    return holder;
}
