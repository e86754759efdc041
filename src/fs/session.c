#include "fs/session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/apart.h"
#include "fs/channel.h"
#include "fs/claim.h"
#include "fs/fs.h"
#include "fs/mountpoint.h"
#include "fs/ops.h"
#include "fs/prune.h"
#include "fs/start.h"
#include "fs/unmount.h"

#define READ_AHEAD_KIB (BUFFER_BYTES >> 10)

struct session {
    struct options *options;
    struct fuse_session *fuse;
    struct fs *fs; /* &fs is the operations' user data */
    struct channel *channel;
    _Atomic(struct prune *) prune;
    struct start start;
    int max_fds;
};

/* ---- what others say on standard error ---- */

/* libfuse and fusermount3 tell their errors there. Returns a file that collects them; put_stderr()
 * gives the last line. */
static int divert_stderr(int *saved)
{
    int file = memfd_create("sqyfs-stderr", MFD_CLOEXEC);
    *saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (file >= 0 && *saved >= 0)
        dup2(file, STDERR_FILENO);
    return file;
}

static void put_stderr(int file, int saved, char *last, size_t len)
{
    char text[2048];
    fflush(stderr);
    if (saved >= 0) {
        dup2(saved, STDERR_FILENO);
        close(saved);
    }
    ssize_t n = file >= 0 ? pread(file, text, sizeof(text) - 1, 0) : 0;
    close(file);
    text[n > 0 ? n : 0] = '\0';
    last[0] = '\0';
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        const char *said = strncmp(line, "fuse: ", 6) == 0           ? line + 6
                           : strncmp(line, "fusermount3: ", 13) == 0 ? line + 13
                                                                     : line;
        if (*said != '\0')
            snprintf(last, len, "%s", said);
    }
}

static int new_fuse_session(struct session *session)
{
    char said[512];
    int saved, file = divert_stderr(&saved);
    session->fuse =
        fuse_session_new(&session->options->fuse, &ops_table, sizeof(ops_table), &session->fs);
    put_stderr(file, saved, said, sizeof(said));
    if (session->fuse != NULL)
        return 0;
    char why[1024];
    snprintf(why, sizeof(why), "%s; usage: " OPTIONS_USAGE "; sqyfs --help lists the options",
             said);
    start_say(why);
    return -EINVAL;
}

static int mount_session(struct session *session, char *why, size_t why_len)
{
    char said[512];
    int saved, file = divert_stderr(&saved);
    int r = fuse_session_mount(session->fuse, session->options->mountpoint);
    put_stderr(file, saved, said, sizeof(said));
    if (r != 0)
        snprintf(why, why_len, "cannot mount at %s: %s", session->options->mountpoint_given, said);
    return r != 0 ? -EIO : 0;
}

static void raise_limits(struct session *session)
{
    struct rlimit limit;
    session->max_fds = 1024;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        getrlimit(RLIMIT_NOFILE, &limit);
    session->max_fds = limit.rlim_cur < INT_MAX ? (int)limit.rlim_cur : INT_MAX;
}

/* ---- serving ---- */

static int ask(void *ctx)
{
    const char *mountpoint = ctx;
    struct statfs st;
    return statfs(mountpoint, &st) < 0 ? -errno : 0;
}

/* The first request that we ask of ourselves is answered when the kernel and the loop are through
 * with their greetings, or fails when the mount is gone. */
static void *ready_thread(void *arg)
{
    struct session *session = arg;
    char *mountpoint = session->options->mountpoint;
    int r = apart_run(ask, mountpoint);
    if (r < 0) {
        char why[512];
        snprintf(why, sizeof(why), "%s does not answer: %s", mountpoint, strerror(-r));
        start_failed(&session->start, why);
        return NULL;
    }
    mountpoint_set_read_ahead(mountpoint, READ_AHEAD_KIB);
    log_info("%s: mounted at %s", session->options->store, mountpoint);
    start_ready(&session->start);
    return NULL;
}

/* The pruning ends while requests are still served: the kernel may make it wait for one. Called by
 * whoever comes first, a signal or the end of the loop. */
static void end_pruning(void *ctx)
{
    struct session *session = ctx;
    struct prune *prune = atomic_exchange(&session->prune, NULL);
    prune_stop(&prune);
}

struct flush_list {
    size_t n;
    char **paths;
    int *errors; /* shared with the process that does it */
};

static int flush_all(void *ctx)
{
    const struct flush_list *list = ctx;
    for (size_t i = 0; i < list->n; i++) {
        int fd = open(list->paths[i], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (fsync(fd) < 0)
            list->errors[i] = errno;
        close(fd);
    }
    return 0;
}

/* Where a file that is being written lies in the mount; NULL where it has no name there. */
static char *path_in_mount(const struct session *session, int fd)
{
    char visible[PATH_MAX], *path;
    if (tree_path(session->fs->tree, fd, visible, sizeof(visible)) < 0 ||
        asprintf(&path, "%s/%s", session->options->mountpoint, visible) < 0)
        return NULL;
    return path;
}

static void flush_listed(struct flush_list *list)
{
    size_t bytes = (list->n + 1) * sizeof(list->errors[0]);
    list->errors = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int r = list->errors != MAP_FAILED ? apart_run(flush_all, list) : -errno;
    if (r < 0)
        log_error("what is mapped cannot be flushed: %s", strerror(-r));
    for (size_t i = 0; i < list->n && list->errors != MAP_FAILED; i++)
        if (list->errors[i] != 0)
            log_error("%s: %s", list->paths[i], strerror(list->errors[i]));
    if (list->errors != MAP_FAILED)
        munmap(list->errors, bytes);
}

/* Pages of a mapping that is still there. syncfs(2) does not wait until such a filesystem has them,
 * fsync(2) does; what is not open has none, since closing sends them. */
static void flush_writers(void *ctx)
{
    struct session *session = ctx;
    int *fds;
    size_t n = handle_writers(session->fs->handles, &fds);
    struct flush_list list = {.paths = calloc(n + 1, sizeof(*list.paths))};
    for (size_t i = 0; i < n; i++) {
        char *path = list.paths != NULL ? path_in_mount(session, fds[i]) : NULL;
        close(fds[i]);
        if (path != NULL)
            list.paths[list.n++] = path;
    }
    free(fds);
    if (list.n > 0)
        flush_listed(&list);
    for (size_t i = 0; i < list.n; i++)
        free(list.paths[i]);
    free(list.paths);
}

/* What still waits for an answer gets an error now. The session's descriptor must not be closed
 * yet: late answers would go to whatever file gets its number. A pipe without a reader takes its
 * place, which is for libfuse, too, what the device is after an unmount. */
static void end_connection(const struct session *session)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return;
    close(ends[0]);
    dup3(ends[1], fuse_session_fd(session->fuse), O_CLOEXEC);
    close(ends[1]);
}

static int serve(struct session *session)
{
    struct prune *prune = NULL;
    struct unmount *unmount = NULL;
    const struct unmount_hooks hooks = {end_pruning, flush_writers, session};
    pthread_t ready;
    bool asks = false;
    int r = channel_create(session->fuse, session->fs, &session->channel);
    if (r == 0)
        r = prune_start(session->fs->inodes, session->fuse, session->max_fds / 4 * 3, &prune);
    atomic_store(&session->prune, prune);
    if (r == 0)
        r = unmount_start(session->fuse, session->options->mountpoint, &hooks, &unmount);
    if (r == 0)
        r = -pthread_create(&ready, NULL, ready_thread, session);
    if (r == 0) {
        asks = true;
        r = channel_run(session->channel);
    }
    unmount_loop_ended(unmount);
    end_pruning(session);
    if (r < 0 && !unmount_has_left(unmount))
        mountpoint_leave(session->options->mountpoint, true);
    end_connection(session);
    unmount_stop(&unmount);
    if (asks)
        pthread_join(ready, NULL);
    if (r < 0)
        log_error("%s: %s", session->options->mountpoint, strerror(-r));
    return r;
}

/* From an open volume to its end; `volume` is handed back for closing. */
static int mount_and_serve(struct session *session, struct volume **volume, char *why,
                           size_t why_len)
{
    int r = fs_create(*volume, &session->fs);
    if (r < 0) {
        snprintf(why, why_len, "%s", strerror(-r));
        return r;
    }
    r = mount_session(session, why, why_len);
    bool mounted = r == 0;
    if (mounted) {
        r = serve(session);
        if (r < 0)
            snprintf(why, why_len, "%s", strerror(-r));
    }
    *volume = fs_destroy(&session->fs);
    channel_destroy(&session->channel);
    if (mounted)
        fuse_session_unmount(session->fuse); /* has been; this frees what it remembers */
    return r;
}

/* The process that serves. */
static int run(struct session *session)
{
    const struct options *options = session->options;
    char why[1024] = "";
    struct volume *volume;
    unmount_block_signals();
    log_open("sqyfs", options->foreground, options->debug);
    raise_limits(session);
    umask(0); /* the caller's counts, see owner.h */
    int r = claim_volume(options, &session->start, CLAIM_WAIT_MS, why, sizeof(why), &volume);
    if (r < 0) {
        start_failed(&session->start, why);
        return SESSION_FAILED;
    }
    if (chdir("/") < 0)
        log_warn("chdir: %s", strerror(errno));
    r = mount_and_serve(session, &volume, why, sizeof(why));
    if (r < 0)
        start_failed(&session->start, why);
    int stored = volume_close(&volume);
    if (stored < 0)
        log_error("%s: not everything could be stored: %s", options->store, strerror(-stored));
    else
        log_info("%s: unmounted, everything is stored", options->store);
    return r < 0 || stored < 0 ? SESSION_FAILED : SESSION_OK;
}

int session_run(struct options *options)
{
    struct session session = {.options = options};
    char why[1024];
    int code;
    if (new_fuse_session(&session) < 0)
        return SESSION_USAGE;
    if (mountpoint_check(options, why, sizeof(why)) < 0) {
        start_say(why);
        code = SESSION_FAILED;
    } else if (!start_fork(options->foreground, &session.start, &code))
        code = run(&session);
    fuse_session_destroy(session.fuse);
    return code;
}
