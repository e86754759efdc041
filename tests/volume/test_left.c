/* What a killed mount has left, made step by step, and what the next one makes of it. */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rig.h"
#include "volume/core.h"

#define LEN 300000u

static uint8_t data[LEN];

static int start(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    rig->config = (struct volume_config){.chunk = 65536, .spool = 16 << 20, .threads = 2};
    rig_start(rig);
    rig_close(rig);
    memset(data, 'a', LEN);
    memcpy(data, "II*\0\377\377\0\0", 8);
    *state = rig;
    return 0;
}

static int stop(void **state)
{
    rig_stop(*state);
    free(*state);
    return 0;
}

/* Killed: nothing is closed, and no sanitizer asks what is left. */
static void in_killed_mount(struct rig *rig, void (*fn)(struct rig *rig))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        rig_open(rig);
        fn(rig);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static int try_open(struct rig *rig, char why[256])
{
    rig->config.store = rig->path;
    int r = volume_open(&rig->config, why, 256, &rig->volume);
    return r;
}

static void in_store(const struct rig *rig, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", rig->path, name);
}

static void write_stack(struct rig *rig)
{
    rig_write(rig_create(rig, "a.tif"), data, LEN, 0);
}

static void expect(struct rig *rig, const char *name, const uint8_t *bytes, uint64_t len)
{
    rig_open(rig);
    struct stack *stack = rig_find(rig, name);
    rig_expect(stack, bytes, len);
    stack_put(&stack);
    rig_close(rig);
}

/* ---- files that are gone ---- */

static void make_file(const struct rig *rig, const char *name)
{
    char path[PATH_MAX];
    in_store(rig, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    close(fd);
}

/* Those of .sqyfs/lost-* that have the bytes. */
static int count_lost(const struct rig *rig)
{
    char path[PATH_MAX + 300], dir[PATH_MAX];
    static uint8_t buf[LEN + 1];
    int n = 0;
    in_store(rig, ".sqyfs", dir);
    DIR *list = opendir(dir);
    assert_non_null(list);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        int fd = strncmp(entry->d_name, "lost-", 5) == 0 ? open(path, O_RDONLY) : -1;
        if (fd < 0)
            continue;
        n += read(fd, buf, sizeof(buf)) == LEN && memcmp(buf, data, LEN) == 0;
        close(fd);
    }
    closedir(list);
    return n;
}

static void what_is_gone_is_kept_under_a_name_that_is_free(void **state)
{
    struct rig *rig = *state;
    char name[64], path[PATH_MAX];
    in_killed_mount(rig, write_stack);
    in_store(rig, "a.tif.sqy", path);
    assert_int_equal(unlink(path), 0);
    for (unsigned s = 0; s < 20; s++) { /* two takeovers may begin within a second */
        snprintf(name, sizeof(name), ".sqyfs/lost-%08llx-0", (unsigned long long)time(NULL) + s);
        make_file(rig, name);
    }
    rig_open(rig);
    rig_close(rig);
    assert_int_equal(count_lost(rig), 1);
}

static void write_and_remove(struct rig *rig)
{
    struct tree *tree = volume_tree(rig->volume);
    struct stack *stack = rig_create(rig, "a.tif");
    rig_write(stack, data, LEN, 0);
    assert_int_equal(tree_unlink(tree, tree_root(tree), "a.tif"), 0);
    stack_lost_name(rig->volume, stack_fd(stack));
    rig_write(stack, data, LEN, LEN);
}

static void store_and_lose(struct rig *rig)
{
    char path[PATH_MAX];
    struct stack *stack = rig_create(rig, "a.tif");
    rig_write(stack, data, LEN, 0);
    assert_int_equal(stack_fsync(stack), 0);
    in_store(rig, "a.tif.sqy", path);
    assert_int_equal(unlink(path), 0);
    rig_write(stack, data, LEN, 0);
}

static void what_was_written_to_a_file_that_somebody_removed_in_the_store_is_kept(void **state)
{
    struct rig *rig = *state;
    in_killed_mount(rig, store_and_lose);
    rig_open(rig);
    rig_close(rig);
    assert_int_equal(count_lost(rig), 1);
}

static void what_was_removed_in_the_mount_is_not_kept(void **state)
{
    struct rig *rig = *state;
    char path[PATH_MAX];
    in_killed_mount(rig, write_and_remove);
    rig_open(rig);
    rig_close(rig);
    in_store(rig, ".sqyfs", path);
    DIR *list = opendir(path);
    assert_non_null(list);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;)
        assert_true(strncmp(entry->d_name, "lost-", 5) != 0);
    closedir(list);
}

enum { N_MANY = 60 };

static void write_many(struct rig *rig)
{
    char name[16];
    for (unsigned i = 0; i < N_MANY; i++) {
        snprintf(name, sizeof(name), "%u.tif", i);
        rig_write(rig_create(rig, name), data, LEN / 10, 0);
    }
}

static void a_lack_of_descriptors_makes_no_file_a_lost_one(void **state)
{
    struct rig *rig = *state;
    struct rlimit limit, few;
    char why[256], name[16];
    in_killed_mount(rig, write_many);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    few = (struct rlimit){N_MANY - 10, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_true(try_open(rig, why) < 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    rig_open(rig);
    for (unsigned i = 0; i < N_MANY; i++) {
        snprintf(name, sizeof(name), "%u.tif", i);
        struct stack *stack = rig_find(rig, name);
        rig_expect(stack, data, LEN / 10);
        stack_put(&stack);
    }
    rig_close(rig);
}

/* ---- whose spool it is ---- */

static void a_copy_of_the_store_leaves_the_spool_to_the_store(void **state)
{
    struct rig *rig = *state, copy = *rig;
    char command[512], why[256], link[PATH_MAX];
    in_killed_mount(rig, write_stack);
    snprintf(copy.path, sizeof(copy.path), "%.80s-copy", rig->path);
    snprintf(command, sizeof(command), "cp -a '%s' '%s'", rig->path, copy.path);
    assert_int_equal(system(command), 0);
    assert_int_equal(try_open(&copy, why), -EXDEV);
    in_store(&copy, ".sqyfs/spool", link);
    assert_int_equal(unlink(link), 0);
    rig_open(&copy);
    rig_stop(&copy);
    expect(rig, "a.tif", data, LEN);
}

static void spool_path(const struct rig *rig, char path[PATH_MAX])
{
    char link[PATH_MAX];
    in_store(rig, ".sqyfs/spool", link);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    assert_true(n > 0);
    path[n] = '\0';
}

static void another_users_spool_is_not_passed_over(void **state)
{
    struct rig *rig = *state;
    char path[PATH_MAX], why[256];
    if (geteuid() != 0)
        skip();
    in_killed_mount(rig, write_stack);
    spool_path(rig, path);
    assert_int_equal(chown(path, 12345, 12345), 0);
    assert_int_equal(try_open(rig, why), -EACCES);
    assert_int_equal(chown(path, 0, 0), 0);
    expect(rig, "a.tif", data, LEN);
}

static void a_spool_on_a_disk_does_not_outlive_the_machine(void **state)
{
    struct rig *rig = *state;
    struct statfs fs;
    char path[PATH_MAX];
    assert_int_equal(statfs(rig->path, &fs), 0);
    if (fs.f_type == TMPFS_MAGIC)
        skip();
    char dir[PATH_MAX];
    in_store(rig, ".sqyfs", dir);
    rig->config.spooldir = dir;
    in_killed_mount(rig, write_stack);
    spool_path(rig, path);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "another boot", 12, 28), 12);
    close(fd);
    rig_open(rig);
    rig_close(rig);
    assert_int_equal(access(path, F_OK), -1);
    rig->config.spooldir = NULL;
}

static void a_spool_that_somebody_removes_is_seen_to_be_gone(void **state)
{
    struct rig *rig = *state;
    char path[PATH_MAX];
    rig_open(rig);
    spool_path(rig, path);
    assert_true(atomic_load(&rig->volume->spool_survives));
    assert_int_equal(unlink(path), 0);
    while (atomic_load(&rig->volume->spool_survives))
        volume_kick(rig->volume);
    struct stack *stack = rig_create(rig, "a.tif");
    rig_write(stack, data, LEN, 0);
    stack_release(stack, true);
    stack_put(&stack);
    rig_close(rig);
    expect(rig, "a.tif", data, LEN);
}

/* ---- what lies behind the size ---- */

static void store_it_and_begin_to_cut(struct rig *rig)
{
    struct stack *stack = rig_create(rig, "a.tif");
    rig_write(stack, data, LEN, 0);
    assert_int_equal(stack_fsync(stack), 0);
    pthread_mutex_lock(&stack->lock);
    assert_int_equal(journal_open(stack), 0);
    journal_size(stack, 1000);
}

static void make_it_longer(struct rig *rig)
{
    struct stack *stack = rig_find(rig, "a.tif");
    assert_int_equal(stack_open(stack, true, -1), 0);
    assert_int_equal(stack_truncate(stack, LEN), 0);
}

static void what_was_cut_off_does_not_come_back_after_two_kills(void **state)
{
    struct rig *rig = *state;
    in_killed_mount(rig, store_it_and_begin_to_cut);
    in_killed_mount(rig, make_it_longer);
    memset(data + 1000, 0, LEN - 1000);
    expect(rig, "a.tif", data, LEN);
}

/* As the checkpoint of a file that is just growing has it. */
static void store_it_with_a_smaller_size(struct rig *rig)
{
    struct stack *stack = rig_create(rig, "a.tif");
    rig_write(stack, data, LEN, 0);
    assert_int_equal(stack_fsync(stack), 0);
    struct blob_state state = {.size = 1000, .mtime = stack->mtime, .meta = ""};
    assert_int_equal(blob_checkpoint(stack->blob->blob, &state, 0), 0);
}

static void what_a_power_cut_took_does_not_come_back_after_a_kill(void **state)
{
    struct rig *rig = *state;
    char path[PATH_MAX];
    in_killed_mount(rig, store_it_with_a_smaller_size);
    spool_path(rig, path);
    assert_int_equal(unlink(path), 0);
    in_killed_mount(rig, make_it_longer);
    memset(data + 1000, 0, LEN - 1000);
    expect(rig, "a.tif", data, LEN);
}

/* ---- a log that is full ---- */

/* Somebody else's log takes every page that it may have. */
static void take_all_pages(struct rig *rig)
{
    const uint8_t id[SPOOL_LOG_ID_BYTES] = {1};
    const struct blob_chunk chunk = {.coded_len = 1};
    const struct spool_file file = {.ino = 1};
    struct blob_claim claims[160] = {0};
    struct spool_log *log = spool_log_open(rig->volume->spool, &file);
    assert_non_null(log);
    while (spool_log_commit(rig->volume->spool, log, id, &chunk, "x", claims, 160) == 0)
        ;
}

#define PUNCHED   64u
#define N_PUNCHED (LEN / PUNCHED / 2)

static void punch_with_a_full_log(struct rig *rig)
{
    struct stack *stack = rig_create(rig, "a.tif");
    rig_write(stack, data, LEN, 0);
    assert_int_equal(stack_fsync(stack), 0);
    take_all_pages(rig);
    for (unsigned i = 1; i < N_PUNCHED; i++)
        assert_int_equal(stack_fallocate(stack, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                         i * 2 * PUNCHED, PUNCHED),
                         0);
}

static void a_full_log_forgets_no_punch(void **state)
{
    struct rig *rig = *state;
    in_killed_mount(rig, punch_with_a_full_log);
    for (unsigned i = 1; i < N_PUNCHED; i++)
        memset(data + i * 2 * PUNCHED, 0, PUNCHED);
    expect(rig, "a.tif", data, LEN);
}

static void a_full_log_leaves_nothing_in_the_spool_of_an_ended_mount(void **state)
{
    struct rig *rig = *state;
    char path[PATH_MAX];
    rig_open(rig);
    take_all_pages(rig);
    spool_path(rig, path);
    struct stack *stack =
        rig_create(rig, "a.raw.sqy"); /* more chunks than a page has entries for */
    for (unsigned i = 0; i < 100; i++)
        rig_write(stack, data, 65536, i * 65536ull);
    stack_release(stack, true);
    stack_put(&stack);
    rig_close(rig);
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_gone_is_kept_under_a_name_that_is_free, start,
                                        stop),
        cmocka_unit_test_setup_teardown(what_was_removed_in_the_mount_is_not_kept, start, stop),
        cmocka_unit_test_setup_teardown(
            what_was_written_to_a_file_that_somebody_removed_in_the_store_is_kept, start, stop),
        cmocka_unit_test_setup_teardown(a_lack_of_descriptors_makes_no_file_a_lost_one, start,
                                        stop),
        cmocka_unit_test_setup_teardown(a_copy_of_the_store_leaves_the_spool_to_the_store, start,
                                        stop),
        cmocka_unit_test_setup_teardown(another_users_spool_is_not_passed_over, start, stop),
        cmocka_unit_test_setup_teardown(a_spool_on_a_disk_does_not_outlive_the_machine, start,
                                        stop),
        cmocka_unit_test_setup_teardown(a_spool_that_somebody_removes_is_seen_to_be_gone, start,
                                        stop),
        cmocka_unit_test_setup_teardown(what_was_cut_off_does_not_come_back_after_two_kills, start,
                                        stop),
        cmocka_unit_test_setup_teardown(what_a_power_cut_took_does_not_come_back_after_a_kill,
                                        start, stop),
        cmocka_unit_test_setup_teardown(a_full_log_forgets_no_punch, start, stop),
        cmocka_unit_test_setup_teardown(a_full_log_leaves_nothing_in_the_spool_of_an_ended_mount,
                                        start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
