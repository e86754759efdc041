/* A line of CSV each `count` ms until the daemon is gone: seconds, then kB of memory, then numbers. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "stream.h"

static const char *const fields[] = {"VmHWM:", "VmRSS:", "RssAnon:", "RssShmem:", "Threads:"};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static int read_status(pid_t pid, unsigned long *values)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    unsigned n = 0;
    while (fgets(line, sizeof(line), file) != NULL)
        for (size_t i = 0; i < N_FIELDS; i++)
            if (strncmp(line, fields[i], strlen(fields[i])) == 0)
                n += sscanf(line + strlen(fields[i]), "%lu", &values[i]) == 1;
    fclose(file);
    return n == N_FIELDS ? 0 : -ESRCH; /* a zombie has no memory */
}

static unsigned count_descriptors(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    unsigned n = 0;
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.';
    if (dir != NULL)
        closedir(dir);
    return n;
}

int stream_watch(const struct stream *stream)
{
    unsigned long values[N_FIELDS];
    unsigned every = stream->count > 0 ? stream->count : 200;
    struct timespec pause = {every / 1000, (long)(every % 1000) * 1000000};
    double begin = usage_now();
    printf("seconds,VmHWM,VmRSS,RssAnon,RssShmem,threads,descriptors\n");
    while (read_status(stream->daemon, values) == 0) {
        printf("%.2f,%lu,%lu,%lu,%lu,%lu,%u\n", usage_now() - begin, values[0], values[1],
               values[2], values[3], values[4], count_descriptors(stream->daemon));
        fflush(stdout);
        nanosleep(&pause, NULL);
    }
    return 0;
}
