#include "fs/unmount.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/channel.h"
#include "fs/mountpoint.h"

#define STOP SIGUSR1 /* from unmount_stop() to the thread */

struct unmount {
    struct fuse_session *session;
    const char *mountpoint;
    struct unmount_hooks hooks;
    atomic_bool left, loop_ended;
    pthread_t thread, loop;
};

static void end_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, STOP);
}

static void ignore(int number)
{
    (void)number;
}

void unmount_block_signals(void)
{
    sigset_t set;
    struct sigaction interrupt = {.sa_handler = ignore}; /* no SA_RESTART */
    sigaction(CHANNEL_NUDGE, &interrupt, NULL);
    end_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD,
           SIG_DFL); /* whoever started us may not have cared for children; we wait for ours */
}

static void end_loop(struct unmount *unmount)
{
    fuse_session_exit(unmount->session);
    while (!atomic_load(&unmount->loop_ended)) {
        pthread_kill(unmount->loop, CHANNEL_NUDGE);
        nanosleep(&(struct timespec){.tv_nsec = CHANNEL_NUDGE_MS * 1000000l}, NULL);
    }
}

/* Somebody still uses the mount: what the kernel holds dirty is fetched, and the name goes. */
static void leave_busy(struct unmount *unmount)
{
    log_info("%s: still in use, unmounting all the same", unmount->mountpoint);
    unmount->hooks.flush(unmount->hooks.ctx);
    int r = mountpoint_leave(unmount->mountpoint, true);
    if (r < 0)
        log_warn("%s: cannot be unmounted: %s", unmount->mountpoint, strerror(-r));
    atomic_store(&unmount->left, r == 0);
}

/* After an unmount the loop ends when nobody is left, and otherwise under the hands of who is. */
static void leave(struct unmount *unmount)
{
    unmount->hooks.before(unmount->hooks.ctx);
    if (!mountpoint_is_ours(unmount->mountpoint)) {
        atomic_store(&unmount->left, true); /* somebody else has, lazily */
    } else if (mountpoint_leave(unmount->mountpoint, false) == 0) {
        atomic_store(&unmount->left, true);
        return;
    } else {
        leave_busy(unmount);
    }
    end_loop(unmount);
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

void unmount_loop_ended(struct unmount *unmount)
{
    if (unmount != NULL)
        atomic_store(&unmount->loop_ended, true);
}

bool unmount_has_left(struct unmount *unmount)
{
    return unmount != NULL && atomic_load(&unmount->left);
}

int unmount_start(struct fuse_session *session, const char *mountpoint,
                  const struct unmount_hooks *hooks, struct unmount **out)
{
    struct unmount *unmount = malloc(sizeof(*unmount));
    if (unmount == NULL)
        return -ENOMEM;
    *unmount = (struct unmount){
        .session = session, .mountpoint = mountpoint, .hooks = *hooks, .loop = pthread_self()};
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
