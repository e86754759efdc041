#include "fs/unmount.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/mountpoint.h"

#define STOP SIGUSR1 /* from unmount_stop() to the thread */

struct unmount {
    struct fuse_session *session;
    const char *mountpoint;
    void (*before)(void *ctx);
    void *ctx;
    atomic_bool left;
    pthread_t thread;
};

static void end_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, STOP);
}

void unmount_block_signals(void)
{
    sigset_t set;
    end_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Somebody still uses the mount. What the kernel holds dirty is fetched, the name goes, and then
 * the session ends under the hands of who is left. */
static void leave_busy(struct unmount *unmount)
{
    int fd = open(unmount->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        syncfs(fd);
    mountpoint_settle(unmount->mountpoint);
    int r = mountpoint_leave(unmount->mountpoint, true);
    if (r < 0)
        log_warn("%s: cannot be unmounted: %s", unmount->mountpoint, strerror(-r));
    atomic_store(&unmount->left, r == 0);
    fuse_session_exit(unmount->session);
    struct statfs st;
    if (fd >= 0)
        fstatfs(fd, &st); /* a request, by which the loop notices */
    if (fd >= 0)
        close(fd);
}

static void leave(struct unmount *unmount)
{
    unmount->before(unmount->ctx);
    int r = mountpoint_leave(unmount->mountpoint, false);
    if (r == 0) {
        atomic_store(&unmount->left, true);
        return;
    }
    log_info("%s: still in use, unmounting all the same", unmount->mountpoint);
    leave_busy(unmount);
}

static void *unmount_thread(void *arg)
{
    struct unmount *unmount = arg;
    sigset_t set;
    bool left = false;
    int signal_number = 0;
    pthread_setname_np(pthread_self(), "fs-unmount");
    end_signals(&set);
    while (signal_number != STOP) {
        if (sigwait(&set, &signal_number) != 0 || signal_number == STOP || left)
            continue;
        log_info("%s: %s, unmounting", unmount->mountpoint, strsignal(signal_number));
        left = true;
        leave(unmount);
    }
    return NULL;
}

bool unmount_has_left(struct unmount *unmount)
{
    return unmount != NULL && atomic_load(&unmount->left);
}

int unmount_start(struct fuse_session *session, const char *mountpoint, void (*before)(void *ctx),
                  void *ctx, struct unmount **out)
{
    struct unmount *unmount = malloc(sizeof(*unmount));
    if (unmount == NULL)
        return -ENOMEM;
    *unmount = (struct unmount){
        .session = session, .mountpoint = mountpoint, .before = before, .ctx = ctx};
    int r = pthread_create(&unmount->thread, NULL, unmount_thread, unmount);
    if (r != 0) {
        free(unmount);
        return -r;
    }
    *out = unmount;
    return 0;
}

void unmount_stop(struct unmount **unmount_p)
{
    struct unmount *unmount = *unmount_p;
    if (unmount == NULL)
        return;
    pthread_kill(unmount->thread, STOP);
    pthread_join(unmount->thread, NULL);
    free(unmount);
    *unmount_p = NULL;
}
