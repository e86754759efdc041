#include "ctl/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "base/now.h"

#define WRITER_WATCH_MS 8000 /* a mount that writes makes a checkpoint every five seconds */
#define WRITER_LOOK_MS  100

/* The kernel gives a lease for reading where nobody has the file open for writing. It is handed back
 * at once; that somebody opens the file between the two must not end us (SIGIO). 1, 0, or a
 * negative errno where it does not tell. */
static int ask_kernel(int fd)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGIO, &ignore, &before);
    int r = fcntl(fd, F_SETLEASE, F_RDLCK) == 0 ? 0 : errno == EAGAIN ? 1 : -errno;
    if (r == 0)
        fcntl(fd, F_SETLEASE, F_UNLCK);
    sigaction(SIGIO, &before, NULL);
    return r;
}

static bool differs(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec || a->tv_nsec != b->tv_nsec;
}

static bool has_changed(int fd, const struct stat *before)
{
    struct stat now;
    return fstat(fd, &now) < 0 || now.st_size != before->st_size ||
           differs(&now.st_mtim, &before->st_mtim) || differs(&now.st_ctim, &before->st_ctim);
}

static bool watch(int fd)
{
    struct stat before;
    int64_t until = now_ms() + WRITER_WATCH_MS;
    bool changed = fstat(fd, &before) < 0;
    while (!changed && now_ms() < until) {
        nanosleep(&(struct timespec){.tv_nsec = WRITER_LOOK_MS * 1000000l}, NULL);
        changed = has_changed(fd, &before);
    }
    return changed;
}

bool writer_is_there(int fd)
{
    int r = ask_kernel(fd);
    return r < 0 ? watch(fd) : r == 1;
}
