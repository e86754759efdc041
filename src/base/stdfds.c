#include "base/stdfds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void stdfds_fill(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int stdfds_flush(void)
{
    if (fflush(stdout) != 0)
        return -errno;
    return ferror(stdout) != 0 ? -EIO : 0;
}
