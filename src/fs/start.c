#include "fs/start.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/quote.h"

#define READY '\n' /* no reason begins with it */

void start_say(const char *text)
{
    char quoted[4096];
    fprintf(stderr, "sqyfs: %s\n", quote(text, quoted, sizeof(quoted)));
}

static int wait_for_child(int fd)
{
    char text[2048];
    size_t len = 0;
    ssize_t n;
    while (len < sizeof(text) - 1) {
        n = read(fd, text + len, sizeof(text) - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
        if (text[0] == READY)
            return 0;
    }
    text[len] = '\0';
    start_say(len > 0 ? text : "ended while starting: see the system's log");
    return 1;
}

bool start_fork(bool foreground, struct start *start, int *code)
{
    *start = (struct start){.pipe = -1, .foreground = foreground};
    if (foreground)
        return false;
    int ends[2];
    *code = 1;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        perror("sqyfs: pipe");
        return true;
    }
    pid_t child = fork();
    if (child < 0) {
        perror("sqyfs: fork");
        return true;
    }
    if (child > 0) {
        close(ends[1]);
        *code = wait_for_child(ends[0]);
        return true;
    }
    close(ends[0]);
    start->pipe = ends[1];
    setsid();
    return false;
}

bool start_is_awaited(const struct start *start)
{
    struct pollfd end = {.fd = start->pipe};
    return start->pipe < 0 || poll(&end, 1, 0) < 1 || !(end.revents & POLLERR);
}

static void tell(struct start *start, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(start->pipe, text, len);
        if (n < 0 && errno != EINTR)
            break; /* nobody waits any more */
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    close(start->pipe);
    start->pipe = -1;
}

void start_ready(struct start *start)
{
    if (start->told)
        return;
    start->told = true;
    if (start->foreground)
        return;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        for (int fd = 0; fd <= 2; fd++)
            dup2(null, fd);
        close(null);
    }
    tell(start, (const char[]){READY}, 1);
}

void start_failed(struct start *start, const char *why)
{
    if (start->told)
        return;
    start->told = true;
    if (start->foreground)
        start_say(why);
    else
        tell(start, why, strlen(why));
}
