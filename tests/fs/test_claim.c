/* A store whose lock somebody else has: waiting for it, and giving up. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/now.h"
#include "fs/claim.h"

#define FOR_EVER_MS 60000

static char store[] = "/tmp/sqyfs-claim-XXXXXX";
static struct options options = {.foreground = true,
                                 .store = store,
                                 .store_given = store,
                                 .config = {.store = store, .threads = 1, .spool = 16u << 20}};
static const struct start foreground = {.pipe = -1, .foreground = true};

static int setup(void **state)
{
    char path[PATH_MAX];
    (void)state;
    if (mkdtemp(store) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/.sqyfs", store);
    return mkdir(path, 0700);
}

static int teardown(void **state)
{
    char command[PATH_MAX];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", store);
    return system(command);
}

/* A process that has the lock until it is killed, or for `ms` where that is not 0. */
static pid_t hold_lock(unsigned ms, bool says_who)
{
    int ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/.sqyfs/lock", store);
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        char host[256] = "";
        gethostname(host, sizeof(host) - 1);
        if (flock(fd, LOCK_EX) < 0 ||
            (says_who && dprintf(fd, "%d %s\n", (int)getpid(), host) < 0) ||
            write(ends[1], "x", 1) != 1)
            _exit(1);
        if (ms == 0)
            pause();
        usleep(ms * 1000);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    close(ends[1]);
    return child;
}

static void end(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void a_lock_that_goes_is_waited_for(void **state)
{
    (void)state;
    char why[1024];
    struct volume *volume;
    pid_t child = hold_lock(400, true);
    int64_t begun = now_ms();
    assert_int_equal(claim_volume(&options, &foreground, FOR_EVER_MS, why, sizeof(why), &volume),
                     0);
    assert_true(now_ms() - begun >= 300);
    assert_int_equal(volume_holder(store), getpid());
    assert_int_equal(volume_close(&volume), 0);
    assert_int_equal(volume_holder(store), 0);
    end(child);
}

static void a_lock_that_stays_is_given_up(void **state)
{
    (void)state;
    for (unsigned says_who = 0; says_who < 2; says_who++) {
        char why[1024], number[32];
        struct volume *volume;
        pid_t child = hold_lock(0, says_who);
        int64_t begun = now_ms();
        assert_int_equal(claim_volume(&options, &foreground, 300, why, sizeof(why), &volume),
                         -EBUSY);
        assert_true(now_ms() - begun >= 300 && now_ms() - begun < 10000);
        snprintf(number, sizeof(number), "process %d;", (int)child);
        assert_int_equal(strstr(why, number) != NULL, says_who);
        assert_non_null(strstr(why, "in vain"));
        assert_non_null(strstr(why, "-o ro"));
        assert_null(strchr(why, '\n'));
        end(child);
    }
}

static void a_signal_ends_the_waiting(void **state)
{
    (void)state;
    char why[1024];
    struct volume *volume;
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    pid_t child = hold_lock(0, true);
    raise(SIGTERM);
    int64_t begun = now_ms();
    assert_int_equal(claim_volume(&options, &foreground, FOR_EVER_MS, why, sizeof(why), &volume),
                     -EBUSY);
    assert_true(now_ms() - begun < 10000);
    assert_non_null(strstr(why, "interrupted"));
    int number;
    assert_int_equal(sigwait(&term, &number), 0);
    end(child);
}

static void nobody_waiting_ends_the_waiting(void **state)
{
    (void)state;
    char why[1024];
    struct volume *volume;
    int ends[2];
    pid_t child = hold_lock(0, true); /* which must not have the pipe */
    assert_int_equal(pipe(ends), 0);
    struct start daemon = {.pipe = ends[1]};
    assert_true(start_is_awaited(&daemon));
    close(ends[0]);
    assert_false(start_is_awaited(&daemon));
    assert_int_equal(claim_volume(&options, &daemon, FOR_EVER_MS, why, sizeof(why), &volume),
                     -EBUSY);
    close(ends[1]);
    end(child);
}

/* Its process has died, or is of another host, or it is no number. */
static void a_number_that_means_nothing_is_nobody(void **state)
{
    (void)state;
    char path[PATH_MAX], host[256] = "", lines[4][512];
    snprintf(path, sizeof(path), "%s/.sqyfs/lock", store);
    gethostname(host, sizeof(host) - 1);
    snprintf(lines[0], sizeof(lines[0]), "1 %s\n", host);
    snprintf(lines[1], sizeof(lines[1]), "999999999999 %s\n", host);
    snprintf(lines[2], sizeof(lines[2]), "%d elsewhere\n", (int)getpid());
    snprintf(lines[3], sizeof(lines[3]), "%d", (int)getpid());
    for (unsigned i = 0; i < 7; i++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(i < 4 ? lines[i] : i == 4 ? "" : i == 5 ? "x\n" : "-5 x\n", file);
        fclose(file);
        assert_int_equal(volume_holder(store), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_that_goes_is_waited_for),
        cmocka_unit_test(a_lock_that_stays_is_given_up),
        cmocka_unit_test(a_signal_ends_the_waiting),
        cmocka_unit_test(nobody_waiting_ends_the_waiting),
        cmocka_unit_test(a_number_that_means_nothing_is_nobody),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
