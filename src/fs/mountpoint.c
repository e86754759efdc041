#include "fs/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/apart.h"

#define OUR_TYPE "fuse.sqyfs"

/* ---- the kernel's list of mounts ---- */

struct mount_entry {
    unsigned major, minor;
    char *path, *type, *source; /* inside the line */
    bool read_only;
};

/* \040 and the like. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; to++) {
        unsigned code;
        if (from[0] == '\\' && sscanf(from + 1, "%3o", &code) == 1 && strnlen(from, 4) == 4) {
            *to = (char)code;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* A line of mountinfo, proc(5): id parent major:minor root PATH options [tags] - TYPE SOURCE
 * options */
static bool parse_line(char *line, struct mount_entry *out)
{
    char *end = strstr(line, " - ");
    int path_at = 0;
    if (end == NULL ||
        sscanf(line, "%*s %*s %u:%u %*s %n", &out->major, &out->minor, &path_at) < 2 ||
        path_at == 0)
        return false;
    char *rest = line + path_at;
    out->path = strsep(&rest, " ");
    out->read_only =
        rest != NULL && strncmp(rest, "ro", 2) == 0 && (rest[2] == ',' || rest[2] == ' ');
    rest = end + 3;
    out->type = strsep(&rest, " ");
    out->source = strsep(&rest, " ");
    if (out->source == NULL)
        return false;
    unescape(out->path);
    unescape(out->source);
    return true;
}

/* The last mount at `path`, or the last of ours that writes to `source`, whichever is not NULL, that
 * the process sees; 0: this one. */
static bool find_mount(pid_t pid, const char *path, const char *source, struct mount_entry *out,
                       char **line)
{
    char list[64] = "/proc/self/mountinfo";
    if (pid > 0)
        snprintf(list, sizeof(list), "/proc/%ld/mountinfo", (long)pid);
    FILE *file = fopen(list, "re");
    size_t room = 0;
    bool found = false;
    char *one = NULL;
    *line = NULL;
    while (file != NULL && getline(&one, &room, file) > 0) {
        struct mount_entry entry;
        if (!parse_line(one, &entry))
            continue;
        bool is = path != NULL ? strcmp(entry.path, path) == 0
                               : strcmp(entry.type, OUR_TYPE) == 0 &&
                                     strcmp(entry.source, source) == 0 && !entry.read_only;
        if (!is)
            continue;
        free(*line);
        *line = one;
        one = NULL;
        room = 0;
        *out = entry;
        found = true;
    }
    free(one);
    if (file != NULL)
        fclose(file);
    return found;
}

bool mountpoint_writes_to(const char *store, pid_t pid)
{
    struct mount_entry entry;
    char *line;
    bool found = find_mount(pid, NULL, store, &entry, &line);
    free(line);
    return found;
}

bool mountpoint_is_ours(const char *path)
{
    struct mount_entry entry;
    char *line;
    bool ours = find_mount(0, path, NULL, &entry, &line) && strcmp(entry.type, OUR_TYPE) == 0;
    free(line);
    return ours;
}

/* ---- before ---- */

__attribute__((format(printf, 4, 5))) static int refuse(char *why, size_t why_len, int error,
                                                        const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, why_len, fmt, ap);
    va_end(ap);
    return error;
}

static int check_store(const struct options *o, char *why, size_t why_len)
{
    const char *given = o->store_given;
    struct stat st;
    if (stat(given, &st) == 0 && o->store != NULL)
        return S_ISDIR(st.st_mode)
                   ? 0
                   : refuse(why, why_len, -ENOTDIR, "%s is not a directory: a store is one", given);
    int error = -errno;
    if (error == -ENOENT)
        return refuse(why, why_len, error,
                      "there is no store %s: make an empty directory for a new one", given);
    return refuse(why, why_len, error, "store %s: %s", given, strerror(-error));
}

static bool is_below(const char *path, const char *top)
{
    size_t len = strlen(top);
    return strncmp(path, top, len) == 0 && (path[len] == '/' || path[len] == '\0' || len == 1);
}

static int check_empty(const struct options *o, char *why, size_t why_len)
{
    const char *given = o->mountpoint_given;
    DIR *dir = opendir(o->mountpoint);
    if (dir == NULL)
        return refuse(why, why_len, -errno, "mount point %s: %s", given, strerror(errno));
    unsigned n = 0;
    while (n <= 2 && readdir(dir) != NULL)
        n++;
    closedir(dir);
    if (n > 2 && !o->nonempty)
        return refuse(why, why_len, -ENOTEMPTY,
                      "mount point %s is not empty: take another directory, or -o nonempty to hide "
                      "what is in it",
                      given);
    return 0;
}

static int check_mountpoint(const struct options *o, char *why, size_t why_len)
{
    const char *given = o->mountpoint_given;
    struct stat st;
    struct statfs fs;
    /* The kernel may know the attributes of a dead mount for a while; statfs(2) always asks. */
    if (stat(given, &st) < 0 || statfs(given, &fs) < 0 || o->mountpoint == NULL) {
        int error = -errno;
        if (error == -ENOTCONN)
            return refuse(why, why_len, error,
                          "at %s is a mount whose process has died: run fusermount3 -u %s first",
                          given, given);
        if (error == -ENOENT)
            return refuse(why, why_len, error, "there is no mount point %s: make that directory",
                          given);
        return refuse(why, why_len, error, "mount point %s: %s", given, strerror(-error));
    }
    if (!S_ISDIR(st.st_mode))
        return refuse(why, why_len, -ENOTDIR, "mount point %s is not a directory", given);
    if (mountpoint_is_ours(o->mountpoint))
        return refuse(why, why_len, -EBUSY,
                      "at %s is a sqyfs mount already: run fusermount3 -u %s first", given, given);
    if (is_below(o->mountpoint, o->store))
        return refuse(why, why_len, -EINVAL,
                      "mount point %s lies in the store: take a directory outside", given);
    return check_empty(o, why, why_len);
}

static bool in_path(const char *program)
{
    const char *path = getenv("PATH");
    char *copy = strdup(path != NULL ? path : "/usr/bin:/bin"), *rest = copy, *dir;
    bool found = false;
    while (!found && rest != NULL && (dir = strsep(&rest, ":")) != NULL) {
        char full[PATH_MAX];
        snprintf(full, sizeof(full), "%s/%s", dir, program);
        found = access(full, X_OK) == 0;
    }
    free(copy);
    return found;
}

static int check_fuse(char *why, size_t why_len)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    int error = fd < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    if (error == -ENOENT || error == -ENODEV || error == -ENXIO)
        return refuse(
            why, why_len, error,
            "no /dev/fuse: load the kernel's module (modprobe fuse), or let the container "
            "have the device");
    if (error < 0)
        return refuse(why, why_len, error, "/dev/fuse: %s: ask the administrator for access",
                      strerror(-error));
    if (geteuid() != 0 && !in_path("fusermount3"))
        return refuse(why, why_len, -ENOENT,
                      "no fusermount3, which mounts for ordinary users: install the package fuse3");
    return 0;
}

int mountpoint_check(const struct options *options, char *why, size_t why_len)
{
    int r = check_store(options, why, why_len);
    if (r == 0)
        r = check_mountpoint(options, why, why_len);
    return r == 0 ? check_fuse(why, why_len) : r;
}

/* ---- while it is mounted ---- */

void mountpoint_set_read_ahead(const char *path, unsigned kib)
{
    struct mount_entry entry;
    char *line;
    if (find_mount(0, path, NULL, &entry, &line)) {
        char setting[64];
        snprintf(setting, sizeof(setting), "/sys/class/bdi/%u:%u/read_ahead_kb", entry.major,
                 entry.minor);
        FILE *file = fopen(setting, "we");
        if (file != NULL) {
            fprintf(file, "%u\n", kib);
            fclose(file);
        }
    }
    free(line);
}

/* ---- after ---- */

extern char **environ;

static int run_fusermount(const char *path, bool lazy)
{
    char *const argv[] = {(char[]){"fusermount3"},
                          (char[]){"-u"},
                          (char[]){"-q"},
                          lazy ? (char[]){"-z"} : (char[]){"--"},
                          strdup(path),
                          NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t child;
    int status, r = posix_spawnp(&child, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    free(argv[4]);
    if (r != 0)
        return -r;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

struct leaving {
    const char *path;
    int flags;
};

static int leave(void *ctx)
{
    const struct leaving *leaving = ctx;
    return umount2(leaving->path, leaving->flags) < 0 ? -errno : 0;
}

int mountpoint_leave(const char *path, bool lazy)
{
    if (geteuid() != 0)
        return run_fusermount(path, lazy);
    return apart_run(leave, &(struct leaving){path, (lazy ? MNT_DETACH : 0) | UMOUNT_NOFOLLOW});
}
