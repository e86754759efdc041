#include "fs/claim.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/now.h"
#include "fs/mountpoint.h"

#define POLL_MS 100
#define TELL_MS 1000 /* a mount that had little to store is gone before anybody is told */

static bool is_mounted(const char *store, pid_t holder)
{
    return mountpoint_writes_to(store, 0) || (holder > 0 && mountpoint_writes_to(store, holder));
}

static void tell(const struct options *options, int64_t wait_ms, pid_t holder)
{
    char text[1024], who[64] = "whoever holds its lock";
    if (holder > 0)
        snprintf(who, sizeof(who), "its last mount (process %ld)", (long)holder);
    log_info("%s: waiting for %s", options->store, who); /* to standard error in the foreground */
    if (options->foreground)
        return;
    snprintf(text, sizeof(text), "%s: waiting up to %lld s for %s to finish storing",
             options->store_given, (long long)(wait_ms / 1000), who);
    start_say(text);
}

static bool is_ending(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1 ||
            sigismember(&pending, SIGHUP) == 1);
}

static bool is_wanted(const struct start *start)
{
    return !is_ending() && start_is_awaited(start);
}

static void say_interrupted(char *why, size_t why_len)
{
    snprintf(why, why_len, "interrupted while the store was locked; nothing is mounted");
}

int claim_volume(const struct options *options, const struct start *start, int64_t wait_ms,
                 char *why, size_t why_len, struct volume **out)
{
    int64_t begun = now_ms();
    bool told = false;
    int r;
    while ((r = volume_open(&options->config, why, why_len, out)) == -EBUSY) {
        pid_t holder = volume_holder(options->store);
        if (is_mounted(options->store, holder))
            return r;
        int64_t waited = now_ms() - begun;
        if (!told && waited >= TELL_MS) {
            tell(options, wait_ms, holder);
            told = true;
        }
        if (!is_wanted(start)) {
            say_interrupted(why, why_len);
            return r;
        }
        if (waited >= wait_ms) {
            size_t len = strlen(why);
            snprintf(why + len, why_len - len, " (it was waited for in vain)");
            return r;
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000l}, NULL);
    }
    if (r == 0 && !is_wanted(start)) {
        volume_close(out);
        say_interrupted(why, why_len);
        r = -EINTR;
    }
    return r;
}
