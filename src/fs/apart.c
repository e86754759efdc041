#include "fs/apart.h"

#include <errno.h>
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_FD 3 /* after the standard ones */

static void close_all(long limit)
{
    if (close_range(FIRST_FD, UINT_MAX, 0) == 0)
        return;
    for (long fd = FIRST_FD; fd < limit; fd++) /* a kernel older than 5.9 */
        close((int)fd);
}

int apart_run(int (*fn)(void *ctx), void *ctx)
{
    long limit = sysconf(_SC_OPEN_MAX);
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0) {
        close_all(limit);
        _exit(-fn(ctx));
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}
