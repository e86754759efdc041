#include "usage.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

double usage_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double seconds(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec * 1e-6;
}

static double client(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return seconds(&usage.ru_utime) + seconds(&usage.ru_stime);
}

static size_t read_text(const char *path, char *out, size_t room)
{
    FILE *file = fopen(path, "re");
    size_t n = file == NULL ? 0 : fread(out, 1, room - 1, file);
    out[n] = '\0';
    if (file != NULL)
        fclose(file);
    return n;
}

static double daemon_cpu(pid_t pid)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (pid == 0 || read_text(path, text, sizeof(text)) == 0)
        return 0;
    const char *name_end = strrchr(text, ')'); /* a name may hold anything */
    if (name_end == NULL ||
        sscanf(name_end + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu", &user,
               &system) != 2)
        return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double machine(void)
{
    char text[512];
    unsigned long long user = 0, nice = 0, system = 0, irq = 0, softirq = 0;
    if (read_text("/proc/stat", text, sizeof(text)) == 0 ||
        sscanf(text, "cpu %llu %llu %llu %*s %*s %llu %llu", &user, &nice, &system, &irq,
               &softirq) != 5)
        return 0;
    return (double)(user + nice + system + irq + softirq) / (double)sysconf(_SC_CLK_TCK);
}

struct usage usage_take(pid_t pid)
{
    return (struct usage){usage_now(), client(), daemon_cpu(pid), machine()};
}

struct usage usage_between(const struct usage *from, const struct usage *to)
{
    return (struct usage){to->wall - from->wall, to->client - from->client,
                          to->daemon - from->daemon, to->machine - from->machine};
}
