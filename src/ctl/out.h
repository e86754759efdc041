/* A file that appears whole or not at all: written without a name, or under a temporary one, beside
 * its place, and renamed over what was there when it is complete and durable.
 *
 * "-" is standard output; an existing pipe or device is written to as it is. */
#ifndef SQYFS_CTL_OUT_H
#define SQYFS_CTL_OUT_H

#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>

struct out {
    int fd;       /* read-write where `regular` */
    bool regular; /* false: only sequential writes */
    int dir_fd;
    char *name;    /* in dir_fd */
    char temp[32]; /* "" while it has no name */
    bool blocked;  /* signals wait, to be asked for by out_interrupted() */
    bool existed;
    struct stat old;
    sigset_t old_signals;
};

/* `like`: a file whose permissions a new file takes over, or NULL. 0 or a negative errno. */
int out_open(const char *path, const struct stat *like, struct out *out);

/* Whether the user wants this to end: asked now and then by long work. */
bool out_interrupted(const struct out *out);

/* fsync, rename, fsync of the directory. `mtime` may be NULL. On error the file is dropped. */
int out_commit(struct out *out, const struct timespec *mtime);

/* Drops the file. Harmless after out_commit(). */
void out_close(struct out *out);

#endif
