/* Closed stacks that are encoded anew, with loss, when nobody writes: when they may be, what they have lost, and
 * what is there after a kill at any step. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/le.h"
#include "rig.h"
#include "volume/archive_note.h"
#include "volume/pack.h"

#define LOSSY  "noise(q=1)->default"
#define WIDTH  200u
#define HEIGHT 120u
#define PLANES 24u

/* ---- what happens at a sync or a rename of the thread that archives ---- */

static atomic_uint steps;  /* before and after each such call */
static unsigned kill_at;   /* 0: never */
static unsigned fail_sync; /* the nth sync fails; 0: none */
static atomic_uint syncs;
static struct volume *_Atomic forbid_in; /* where all loss is forbidden at the next such call */

static bool is_archiving(void)
{
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof(name));
    return strcmp(name, "sqyfs-idle") == 0;
}

static void step(void)
{
    if (is_archiving() && atomic_fetch_add(&steps, 1) + 1 == kill_at)
        kill(getpid(), SIGKILL);
    struct volume *volume = is_archiving() ? forbid_in : NULL;
    if (volume != NULL) {
        forbid_in = NULL;
        assert_int_equal(volume_policy_set(volume, "lossless", "", "always"), 0);
    }
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    step();
    if (fail_sync != 0 && is_archiving() && atomic_fetch_add(&syncs, 1) + 1 == fail_sync) {
        errno = EIO;
        return -1;
    }
    int r = __real_fsync(fd);
    step();
    return r;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    step();
    int r = __real_fdatasync(fd);
    step();
    return r;
}

int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    step();
    int r = __real_renameat(from_dir, from, to_dir, to);
    step();
    return r;
}

/* ---- awaiting ---- */

static double number(struct rig *rig, const char *key)
{
    char *text = volume_stats_json(rig->volume), quoted[64];
    assert_non_null(text);
    snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    const char *at = strstr(text, quoted);
    assert_non_null(at);
    double value = strncmp(at + strlen(quoted), " true", 5) == 0 ? 1 : atof(at + strlen(quoted));
    free(text);
    return value;
}

static void await(struct rig *rig, const char *key, double at_least, double at_most)
{
    for (;;) {
        double is = number(rig, key);
        if (is >= at_least && is <= at_most)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

static void await_all(struct rig *rig)
{
    do {
        await(rig, "archive_due", 0, 0);
        await(rig, "archiving", 0, 0);
    } while (number(rig, "archive_due") > 0);
}

/* ---- stacks ---- */

struct picture {
    uint8_t *data;
    size_t len, voxels; /* where they begin */
};

/* What a camera sees of a ramp of light: offset 100, 2 counts a photo-electron, read noise of 3. */
static struct picture picture(uint64_t seed)
{
    const size_t n = (size_t)WIDTH * HEIGHT * PLANES;
    struct picture picture = {malloc(rig_tiff_bound(WIDTH, HEIGHT, PLANES)), 0, 0};
    assert_non_null(picture.data);
    picture.len = rig_tiff(RIG_CONTIGUOUS, WIDTH, HEIGHT, PLANES, picture.data);
    picture.voxels = picture.len - 2 * n;
    for (size_t i = 0; i < n; i++) {
        double normal = -6, electrons = (double)(i % WIDTH) * 10;
        for (unsigned k = 0; k < 12; k++)
            normal += (double)(rig_random(&seed) & 0xffff) / 65536;
        double value = 100 + 2 * electrons + normal * sqrt(4 * electrons + 9);
        le_store16(picture.data + picture.voxels + 2 * i, (uint16_t)(value > 0 ? value : 0));
    }
    return picture;
}

static void store(struct rig *rig, const char *name, const struct picture *picture)
{
    struct stack *stack = rig_create(rig, name);
    rig_write(stack, picture->data, picture->len, 0);
    stack_release(stack, true);
    stack_put(&stack);
    assert_int_equal(volume_drain(rig->volume), 0);
}

static void read_all(struct rig *rig, const char *name, uint8_t *buf, size_t len)
{
    struct stack *stack = rig_find(rig, name);
    assert_int_equal(stack_open(stack, false, -1), 0);
    assert_int_equal(stack_read(stack, buf, len, 0, true), len);
    stack_release(stack, false);
    stack_put(&stack);
}

static void quality(struct rig *rig, const char *name, struct stack_info *info)
{
    struct stack *stack = rig_find(rig, name);
    assert_int_equal(stack_info(stack, info), 0);
    stack_put(&stack);
}

/* Bytes that are no voxels are as they were; voxels have lost what the text says. */
static void expect_lossy(struct rig *rig, const char *name, const struct picture *picture)
{
    struct stack_info info;
    struct sqy_noise noise;
    uint8_t *now = malloc(picture->len);
    assert_non_null(now);
    read_all(rig, name, now, picture->len);
    quality(rig, name, &info);
    assert_memory_equal(now, picture->data, picture->voxels);
    unsigned max_error = 0;
    double squares = 0, sigma_squares = 0, max_sigma = 0;
    const char *at = strstr(info.quality, "noise=offset:");
    assert_non_null(at);
    assert_int_equal(
        sscanf(at, "noise=offset:%lf,gain:%lf,read:%lf", &noise.offset, &noise.gain, &noise.read),
        3);
    for (size_t i = picture->voxels; i < picture->len; i += 2) {
        int was = le_load16(picture->data + i), error = abs(was - le_load16(now + i));
        double sigma = error / sqy_noise_sigma(&noise, was);
        max_error = (unsigned)error > max_error ? (unsigned)error : max_error;
        max_sigma = sigma > max_sigma ? sigma : max_sigma;
        squares += (double)error * error;
        sigma_squares += sigma * sigma;
    }
    size_t n = (picture->len - picture->voxels) / 2;
    unsigned told;
    double told_sigma, told_rms, told_rms_sigma;
    at = strstr(info.quality, "max_error=");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "max_error=%u max_sigma=%lf rms=%lf rms_sigma=%lf", &told,
                            &told_sigma, &told_rms, &told_rms_sigma),
                     4);
    assert_true(max_error > 0);
    assert_int_equal(told, max_error);
    assert_true(fabs(told_sigma - max_sigma) < 1e-3 && max_sigma <= 1);
    assert_true(fabs(told_rms - sqrt(squares / (double)n)) < 1e-3);
    assert_true(fabs(told_rms_sigma - sqrt(sigma_squares / (double)n)) < 1e-3);
    free(now);
}

static void expect_exact(struct rig *rig, const char *name, const struct picture *picture)
{
    struct stack_info info;
    struct stack *stack = rig_find(rig, name);
    rig_expect(stack, picture->data, picture->len);
    stack_put(&stack);
    quality(rig, name, &info);
    assert_string_equal(info.quality, "lossless");
}

/* ---- tests ---- */

static void a_closed_stack_loses_what_it_may_and_tells(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(1);
    struct stat before, after;
    rig_start(&rig);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
    store(&rig, "a.tif", &a);
    struct stack *stack = rig_find(&rig, "a.tif");
    assert_int_equal(fstat(stack_fd(stack), &before), 0);
    assert_int_equal(stack_getattr(stack, &before), 0);
    await(&rig, "stacks_archived", 1, 1);
    assert_int_equal(fstat(stack_fd(stack), &after), 0);
    assert_int_equal(stack_getattr(stack, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(after.st_mtim));
    assert_true(after.st_ctim.tv_sec > before.st_ctim.tv_sec);
    assert_true(stack_pages_are_stale(stack));
    stack_put(&stack);
    expect_lossy(&rig, "a.tif", &a);
    rig_close(&rig);
    rig_open(&rig);
    expect_lossy(&rig, "a.tif", &a);
    rig_stop(&rig);
    free(a.data);
}

static void what_has_lost_something_is_never_encoded_again(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(2);
    char path[256];
    rig_start(&rig);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
    store(&rig, "a.tif", &a);
    await(&rig, "stacks_archived", 1, 1);
    uint8_t *once = malloc(a.len), *twice = malloc(a.len);
    assert_true(once != NULL && twice != NULL);
    read_all(&rig, "a.tif", once, a.len);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", "noise(q=4)->default"), 0);
    await(&rig, "stacks_not_archived", 1, 1);
    await_all(&rig);
    rig_close(&rig);
    snprintf(path, sizeof(path), "%s/.sqyfs/index.db", rig.path); /* the blob knows */
    assert_int_equal(unlink(path), 0);
    rig_open(&rig);
    await(&rig, "stacks_not_archived", 1, 1);
    struct stack *stack = rig_find(&rig, "a.tif");
    assert_int_equal(stack_compact(stack), -ENOTSUP);
    stack_put(&stack);
    read_all(&rig, "a.tif", twice, a.len);
    assert_memory_equal(once, twice, a.len);
    expect_lossy(&rig, "a.tif", &a);
    assert_int_equal(number(&rig, "stacks_archived"), 0);
    rig_stop(&rig);
    free(once);
    free(twice);
    free(a.data);
}

/* All of its chunks are stored anew by that, with bytes that have lost something before. */
static void an_edit_is_exact_and_the_stack_stays_known_as_lossy(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(3);
    struct stack_info info;
    rig_start(&rig);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
    store(&rig, "a.tif", &a);
    await(&rig, "stacks_archived", 1, 1);
    uint8_t *now = malloc(a.len), *later = malloc(a.len);
    assert_true(now != NULL && later != NULL);
    read_all(&rig, "a.tif", now, a.len);
    struct stack *stack = rig_find(&rig, "a.tif");
    assert_int_equal(stack_open(stack, true, -1), 0);
    for (size_t at = a.voxels; at + 100 < a.len; at += WIDTH * HEIGHT) {
        memset(now + at, 7, 3);
        rig_write(stack, now + at, 3, at);
    }
    stack_release(stack, true);
    stack_put(&stack);
    assert_int_equal(volume_drain(rig.volume), 0);
    quality(&rig, "a.tif", &info);
    assert_non_null(strstr(info.quality, "edited=yes"));
    await(&rig, "stacks_not_archived", 1, 1);
    await_all(&rig);
    read_all(&rig, "a.tif", later, a.len);
    assert_memory_equal(now, later, a.len);
    assert_int_equal(number(&rig, "stacks_archived"), 1);
    rig_stop(&rig);
    free(now);
    free(later);
    free(a.data);
}

static void lossless_always_is_obeyed(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(4);
    rig_start(&rig);
    assert_int_equal(volume_policy_set(rig.volume, "lossless", "", "mostly"), -EINVAL);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
    assert_int_equal(volume_policy_set(rig.volume, "lossless", "", "always"), 0);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "d", LOSSY), -EPERM);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "d", "context"), 0);
    assert_int_equal(volume_policy_set(rig.volume, "pipeline", "", LOSSY), -EINVAL);
    store(&rig, "a.tif", &a);
    await_all(&rig);
    assert_int_equal(number(&rig, "stacks_archived"), 0);
    expect_exact(&rig, "a.tif", &a);
    rig_stop(&rig);
    free(a.data);
}

static void what_is_forbidden_while_it_is_done_is_not_done(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(4);
    rig_start(&rig);
    store(&rig, "a.tif", &a);
    await_all(&rig);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
    forbid_in = rig.volume;
    while (forbid_in != NULL)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    await_all(&rig);
    assert_int_equal(number(&rig, "stacks_archived"), 0);
    expect_exact(&rig, "a.tif", &a);
    rig_stop(&rig);
    free(a.data);
}

static void a_hole_of_a_petabyte_holds_nobody_up(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(4);
    rig_start(&rig);
    store(&rig, "a.tif", &a);
    struct stack *stack = rig_find(&rig, "a.tif");
    assert_int_equal(stack_open(stack, true, -1), 0);
    assert_int_equal(stack_truncate(stack, (uint64_t)1 << 50), 0);
    stack_release(stack, true);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
    await(&rig, "stacks_not_archived", 1, 1);
    assert_int_equal(stack_open(stack, true, -1), 0);
    stack_release(stack, true);
    stack_put(&stack);
    rig_stop(&rig);
    free(a.data);
}

/* Another name would keep the old bytes; when it is gone, it is done. */
static void several_names_are_not_remembered(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(4);
    char from[256], to[256];
    rig_start(&rig);
    store(&rig, "a.tif", &a);
    store(&rig, "b.tif", &a);
    snprintf(from, sizeof(from), "%s/a.tif.sqy", rig.path);
    snprintf(to, sizeof(to), "%s/.sqyfs/other", rig.path);
    assert_int_equal(link(from, to), 0);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
    await(&rig, "stacks_archived", 1, 1); /* after it */
    expect_exact(&rig, "a.tif", &a);
    assert_int_equal(number(&rig, "stacks_not_archived"), 0);
    assert_int_equal(unlink(to), 0);
    await(&rig, "stacks_archived", 2, 2);
    rig_stop(&rig);
    free(a.data);
}

/* What is written after that was never encoded with loss. */
static void what_is_emptied_has_lost_nothing(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(4);
    rig_start(&rig);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
    store(&rig, "a.tif", &a);
    await(&rig, "stacks_archived", 1, 1);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", "none"), 0);
    struct stack *stack = rig_find(&rig, "a.tif");
    assert_int_equal(stack_open(stack, true, -1), 0);
    assert_int_equal(stack_truncate(stack, 0), 0);
    rig_write(stack, a.data, a.len, 0);
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    assert_int_equal(stack_compact(stack), 0);
    stack_put(&stack);
    expect_exact(&rig, "a.tif", &a);
    rig_stop(&rig);
    free(a.data);
}

/* Numbers of colours: between two of them lies nothing. */
static void a_palette_is_left_alone(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(4);
    bool found = false;
    for (size_t at = 8; at + 12 <= a.voxels && !found; at++) {
        found = le_load16(a.data + at) == 262 && le_load16(a.data + at + 2) == 3;
        if (found)
            le_store16(a.data + at + 8, 3);
    }
    assert_true(found);
    rig_start(&rig);
    store(&rig, "a.tif", &a);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
    await(&rig, "stacks_not_archived", 1, 1);
    expect_exact(&rig, "a.tif", &a);
    rig_stop(&rig);
    free(a.data);
}

static void a_lossless_archive_keeps_every_byte(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1, .pipeline = "lz4"}};
    struct picture a = picture(5);
    struct stack_info info;
    rig_start(&rig);
    store(&rig, "a.tif", &a);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", "context"), 0);
    await(&rig, "stacks_archived", 1, 1);
    expect_exact(&rig, "a.tif", &a);
    quality(&rig, "a.tif", &info);
    assert_string_equal(info.pipeline, "context");
    rig_close(&rig);
    rig_open(&rig);
    await_all(&rig);
    assert_int_equal(number(&rig, "stacks_archived") + number(&rig, "stacks_not_archived"), 0);
    rig_stop(&rig);
    free(a.data);
}

static void a_bound_that_nothing_keeps_ends_lossless(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(6);
    rig_start(&rig);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY " max_error=0.01"), 0);
    store(&rig, "a.tif", &a);
    await_all(&rig);
    expect_exact(&rig, "a.tif", &a);
    rig_stop(&rig);
    free(a.data);
}

static void who_opens_it_ends_it_and_finds_one_state(void **state)
{
    (void)state;
    struct rig rig = {.config = {.threads = 1}};
    struct picture a = picture(7);
    uint8_t *first = malloc(a.len), *second = malloc(a.len);
    assert_true(first != NULL && second != NULL);
    rig_start(&rig);
    assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
    store(&rig, "a.tif", &a);
    await(&rig, "archiving", 1, 1);
    struct stack *stack = rig_find(&rig, "a.tif");
    assert_int_equal(stack_open(stack, true, -1), 0);
    assert_int_equal(stack_read(stack, first, a.len, 0, true), a.len);
    first[a.voxels + 5] ^= 1;
    rig_write(stack, first + a.voxels + 5, 1, a.voxels + 5);
    await(&rig, "archiving", 0, 0);
    assert_int_equal(stack_read(stack, second, a.len, 0, true), a.len);
    assert_memory_equal(first, second, a.len);
    stack_release(stack, true);
    stack_put(&stack);
    rig_stop(&rig);
    free(first);
    free(second);
    free(a.data);
}

static void a_sync_that_fails_leaves_the_original(void **state)
{
    (void)state;
    struct picture a = picture(8);
    for (unsigned nth = 1; nth <= 2; nth++) {
        struct rig rig = {.config = {.threads = 1}};
        rig_start(&rig);
        store(&rig, "a.tif", &a);
        await_all(&rig);
        atomic_store(&syncs, 0);
        fail_sync = nth;
        assert_int_equal(volume_policy_set(rig.volume, "archive", "", LOSSY), 0);
        while (atomic_load(&syncs) < nth)
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        await(&rig, "archiving", 0, 0);
        expect_exact(&rig, "a.tif", &a);
        fail_sync = 0;
        await(&rig, "stacks_archived", 1, 1); /* and then it is tried again */
        expect_lossy(&rig, "a.tif", &a);
        rig_stop(&rig);
    }
    free(a.data);
}

/* ---- kills ---- */

static void write_policy(const struct rig *rig)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/.sqyfs-policy", rig->path);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fprintf(file, "archive\t" LOSSY "\t\n");
    fclose(file);
}

/* In a process of its own; 0: it came to an end. */
static int archive_and_die(const struct rig *prepared, unsigned at)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rig rig = *prepared;
        atomic_store(&steps, 0);
        rig_open(&rig);
        kill_at = at; /* nobody archives for the first two seconds */
        await(&rig, "stacks_archived", 1, 1);
        rig_close(&rig);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        assert_int_equal(WTERMSIG(status), SIGKILL);
    return WIFSIGNALED(status) ? 1 : 0;
}

static void a_kill_at_any_step_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    struct picture a = picture(9);
    unsigned n_old = 0, n_new = 0;
    for (unsigned at = 1, killed = 1; killed; at++) {
        struct rig rig = {.config = {.threads = 1}};
        struct stack_info info;
        rig_start(&rig);
        store(&rig, "a.tif", &a);
        rig_close(&rig);
        write_policy(&rig);
        killed = (unsigned)archive_and_die(&rig, at);
        rig_open(&rig);
        quality(&rig, "a.tif", &info);
        if (strcmp(info.quality, "lossless") == 0) {
            expect_exact(&rig, "a.tif", &a);
            n_old++;
        } else {
            expect_lossy(&rig, "a.tif", &a);
            n_new++;
        }
        assert_true(killed || n_new > 0);
        rig_stop(&rig);
    }
    assert_true(n_old > 1 && n_new > 1);
    free(a.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_stack_loses_what_it_may_and_tells),
        cmocka_unit_test(what_has_lost_something_is_never_encoded_again),
        cmocka_unit_test(an_edit_is_exact_and_the_stack_stays_known_as_lossy),
        cmocka_unit_test(lossless_always_is_obeyed),
        cmocka_unit_test(what_is_forbidden_while_it_is_done_is_not_done),
        cmocka_unit_test(a_hole_of_a_petabyte_holds_nobody_up),
        cmocka_unit_test(several_names_are_not_remembered),
        cmocka_unit_test(what_is_emptied_has_lost_nothing),
        cmocka_unit_test(a_palette_is_left_alone),
        cmocka_unit_test(a_lossless_archive_keeps_every_byte),
        cmocka_unit_test(a_bound_that_nothing_keeps_ends_lossless),
        cmocka_unit_test(who_opens_it_ends_it_and_finds_one_state),
        cmocka_unit_test(a_sync_that_fails_leaves_the_original),
        cmocka_unit_test(a_kill_at_any_step_leaves_the_old_or_the_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
