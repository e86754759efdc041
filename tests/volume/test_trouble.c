/* Disks that fill up and fail, copies taken at any moment, many hands at once. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"
#include "store/blob_impl.h"
#include "volume/core.h"

/* ---- a disk that says no ---- */

struct sick_io {
    struct io io;
    atomic_int error;       /* what writing and syncing return; 0: well */
    atomic_int fsync_error; /* the same of names and plain files */
    atomic_uint n_fsyncs;
    atomic_ullong bad_off; /* a read there fails; 0: none does */
};

static int sick(const struct io *io)
{
    return atomic_load(&((struct sick_io *)(uintptr_t)io)->error);
}

static ssize_t sick_pread(const struct io *io, int fd, void *buf, size_t len, uint64_t off)
{
    uint64_t bad_off = atomic_load(&((struct sick_io *)(uintptr_t)io)->bad_off);
    if (bad_off != 0 && off == bad_off)
        return -EIO;
    return io_system.pread(&io_system, fd, buf, len, off);
}

static ssize_t sick_pwrite(const struct io *io, int fd, const void *buf, size_t len, uint64_t off)
{
    int error = sick(io);
    return error < 0 ? error : io_system.pwrite(&io_system, fd, buf, len, off);
}

static int sick_fdatasync(const struct io *io, int fd)
{
    int error = sick(io);
    return error < 0 ? error : io_system.fdatasync(&io_system, fd);
}

static int sick_ftruncate(const struct io *io, int fd, uint64_t size)
{
    int error = sick(io);
    return error < 0 ? error : io_system.ftruncate(&io_system, fd, size);
}

static int sick_fsync(const struct io *io, int fd)
{
    struct sick_io *sick = (struct sick_io *)(uintptr_t)io;
    atomic_fetch_add(&sick->n_fsyncs, 1);
    int error = atomic_load(&sick->fsync_error);
    return error < 0 ? error : io_system.fsync(&io_system, fd);
}

static void start_sick(struct rig *rig, struct sick_io *sick)
{
    *sick = (struct sick_io){.io = io_system};
    sick->io.pread = sick_pread;
    sick->io.pwrite = sick_pwrite;
    sick->io.fdatasync = sick_fdatasync;
    sick->io.ftruncate = sick_ftruncate;
    sick->io.fsync = sick_fsync;
    rig_start(rig);
    rig->volume->io = &sick->io;
}

static void a_full_disk_loses_nothing_that_was_accepted(void **state)
{
    (void)state;
    static const int errors[] = {-ENOSPC, -EIO, -EDQUOT};
    for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
        struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
        struct sick_io sick;
        start_sick(&rig, &sick);
        uint8_t *data = malloc(rig_tiff_bound(256, 256, 20));
        size_t len = rig_tiff(RIG_CONTIGUOUS, 256, 256, 20, data);
        struct stack *stack = rig_create(&rig, "full.tif");
        rig_write(stack, data, len / 2, 0);
        assert_int_equal(stack_fsync(stack), 0);
        atomic_store(&sick.error, errors[e]);
        rig_write(stack, data + len / 2, len - len / 2, len / 2);
        assert_int_equal(stack_fsync(stack), errors[e]);
        rig_expect(stack, data, len);
        stack_release(stack, true);
        assert_int_equal(volume_drain(rig.volume), errors[e]);
        rig_expect(stack, data, len);
        atomic_store(&sick.error, 0);
        assert_int_equal(volume_drain(rig.volume), 0);
        stack_put(&stack);
        rig_close(&rig);
        rig_open(&rig);
        stack = rig_find(&rig, "full.tif");
        rig_expect(stack, data, len);
        stack_put(&stack);
        free(data);
        rig_stop(&rig);
    }
}

/* A new blob is durable when its name is: until then fsync says so, and it is tried again. */
static void a_name_that_cannot_be_synced_is_told_and_tried_again(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    struct sick_io sick;
    start_sick(&rig, &sick);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    struct stack *stack = rig_create(&rig, "named.tif");
    rig_write(stack, data, len, 0);
    atomic_store(&sick.fsync_error, -EIO);
    for (unsigned n = 1; n < 4; n++) {
        assert_int_equal(stack_fsync(stack), -EIO);
        assert_true(atomic_load(&sick.n_fsyncs) >= n);
    }
    atomic_store(&sick.fsync_error, 0);
    unsigned before = atomic_load(&sick.n_fsyncs);
    assert_int_equal(stack_fsync(stack), 0);
    assert_int_equal(atomic_load(&sick.n_fsyncs), before + 1);
    rig_write(stack, "x", 1, len - 1);
    data[len - 1] = 'x';
    assert_int_equal(stack_fsync(stack), 0); /* it has its name */
    assert_int_equal(atomic_load(&sick.n_fsyncs), before + 1);
    rig_expect(stack, data, len);
    stack_release(stack, true);
    stack_put(&stack);
    stack = rig_create(&rig, "notes.txt");
    rig_write(stack, "only text", 9, 0);
    assert_int_equal(stack_fsync(stack), 0);
    atomic_store(&sick.fsync_error, -EIO);
    assert_int_equal(stack_fsync(stack), -EIO);
    atomic_store(&sick.fsync_error, 0);
    assert_int_equal(stack_fsync(stack), 0);
    stack_release(stack, true);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void a_spool_full_behind_a_full_disk_is_told_to_the_writer(void **state)
{
    (void)state;
    struct rig rig = {.config = {.spool = 16 << 20}};
    struct sick_io sick;
    start_sick(&rig, &sick);
    uint8_t *data = calloc(1, 1 << 20);
    memcpy(data, "II\x2a\0\x08\0\0\0", 8);
    struct stack *stack = rig_create(&rig, "stuck.tif");
    rig_write(stack, data, 1 << 20, 0);
    atomic_store(&sick.error, -ENOSPC);
    ssize_t r = 0;
    for (uint64_t at = 1 << 20; r >= 0 && at < 40 << 20; at += 1 << 20)
        r = stack_write(stack, data, 1 << 20, at, true);
    assert_int_equal(r, -ENOSPC);
    atomic_store(&sick.error, 0);
    rig_write(stack, data, 1 << 20, 50 << 20);
    stack_release(stack, true);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void runs_that_others_hold_behind_a_failing_disk_are_told_to_the_writer(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    struct sick_io sick;
    start_sick(&rig, &sick);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    struct stack *torn = rig_create(&rig, "torn.tif"), *other = rig_create(&rig, "other.tif");
    rig_write(torn, data, len, 0);
    assert_int_equal(stack_fsync(torn), 0);
    atomic_store(&sick.error, -EIO);
    uint64_t at = 1 << 20;
    while (stack_write(torn, "x", 1, at, false) == 1)
        at += 2;
    assert_int_equal(stack_write(other, data, len, 0, true), -EIO);
    atomic_store(&sick.error, 0);
    rig_write(other, data, len, 0);
    stack_release(other, true);
    stack_release(torn, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    rig_expect(other, data, len);
    stack_put(&other);
    stack_put(&torn);
    free(data);
    rig_stop(&rig);
}

static void logs_that_others_hold_behind_a_failing_disk_are_told_to_the_writer(void **state)
{
    (void)state;
    enum { MOST = 5000 }; /* a small spool has fewer logs */
    static struct stack *stacks[MOST];
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    struct sick_io sick;
    start_sick(&rig, &sick);
    atomic_store(&sick.error, -EIO);
    unsigned n = 0;
    do {
        char name[32];
        assert_true(n < MOST);
        snprintf(name, sizeof(name), "%u.tif", n);
        stacks[n] = rig_create(&rig, name);
    } while (stack_write(stacks[n++], "II", 2, 0, true) == 2);
    assert_int_equal(stack_write(stacks[n - 1], "II", 2, 0, true), -EIO);
    atomic_store(&sick.error, 0);
    rig_write(stacks[n - 1], "II", 2, 0);
    while (n-- > 0) {
        stack_release(stacks[n], true);
        stack_put(&stacks[n]);
    }
    rig_stop(&rig);
}

static void an_error_of_what_is_encoded_again_is_not_its_writers(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    struct sick_io sick;
    start_sick(&rig, &sick);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 4));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 256, 256, 4, data);
    struct stack *stack = rig_create(&rig, "both.tif");
    rig_write(stack, data, len, 0);
    assert_int_equal(stack_fsync(stack), 0);
    struct blob_extent extent;
    atomic_store(&sick.error, -EIO);
    pthread_mutex_lock(&stack->lock);
    assert_int_equal(blob_find(stack->blob->blob, 441, &extent), 0);
    assert_int_equal(job_start(stack, JOB_AGAIN, &extent.chunk.box, false, 0, &extent.claim, 1), 0);
    job_wait(stack, stack->last_job);
    assert_int_equal(stack->again_error, -EIO);
    pthread_mutex_unlock(&stack->lock);
    assert_int_equal(stack_error(stack), 0);
    rig_write(stack, data, len, 0);
    assert_int_equal(stack_fsync(stack), -EIO);
    assert_int_equal(stack_error(stack), -EIO);
    atomic_store(&sick.error, 0);
    assert_int_equal(stack_fsync(stack), 0);
    stack_release(stack, true);
    rig_expect(stack, data, len);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void a_blob_that_cannot_be_begun_is_begun_later(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    struct sick_io sick;
    start_sick(&rig, &sick);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    struct stack *stack = rig_create(&rig, "late.tif");
    atomic_store(&sick.error, -ENOSPC);
    assert_int_equal(stack_write(stack, data, len, 0, true), -ENOSPC);
    atomic_store(&sick.error, 0);
    rig_write(stack, data, len, 0);
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    rig_expect(stack, data, len);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

/* Where the table's page of a plain byte lies in its blob. */
static uint64_t page_of(const struct rig *rig, const char *name, uint64_t off)
{
    char path[sizeof(rig->path) + 32];
    struct blob *blob;
    struct page_ref ref;
    uint64_t high;
    snprintf(path, sizeof(path), "%s/%s", rig->path, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(blob_open(&io_system, fd, false, &blob), 0);
    assert_true(table_missing(blob->table, off, off + 1, false, &ref, &high));
    blob_close(&blob);
    return ref.off;
}

/* A part of the table that cannot be read is no hole: the rewritten blob would have zeros from there on. */
static void a_rewrite_of_what_cannot_be_read_leaves_the_file_as_it_is(void **state)
{
    (void)state;
    enum { PIECES = 1500, STEP = 8192 };
    struct rig rig = {.config = {.chunk = 65536, .spool = 64 << 20}};
    struct sick_io sick;
    start_sick(&rig, &sick);
    uint8_t *data = calloc(PIECES, STEP);
    struct stack *stack = rig_create(&rig, "far.sqy");
    for (size_t i = 0; i < PIECES; i++) {
        data[i * STEP] = (uint8_t)(1 + i % 255);
        rig_write(stack, data + i * STEP, 1, i * STEP);
    }
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    atomic_store(&sick.bad_off, page_of(&rig, "far.sqy.sqy", PIECES / 2 * STEP));
    assert_int_equal(stack_compact(stack), -EIO);
    atomic_store(&sick.bad_off, 0);
    rig_expect(stack, data, (PIECES - 1) * STEP + 1);
    assert_int_equal(stack_compact(stack), 0);
    rig_expect(stack, data, (PIECES - 1) * STEP + 1);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

/* ---- copies of a living store ---- */

static void a_copy_at_any_moment_has_all_that_was_synced(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 40));
    size_t len = rig_tiff(RIG_PAGES, 256, 256, 40, data), synced = 0;
    struct stack *stack = rig_create(&rig, "growing.tif");
    uint64_t seed = 3;
    for (size_t at = 0; at < len;) {
        size_t n = rig_random(&seed) % 200000 + 1;
        if (n > len - at)
            n = len - at;
        rig_write(stack, data + at, n, at);
        at += n;
        if (rig_random(&seed) % 4 == 0) {
            assert_int_equal(stack_fsync(stack), 0);
            synced = at;
        }
        struct rig copy = {.config = {.read_only = true}};
        snprintf(copy.path, sizeof(copy.path), "%.80s-copy", rig.path);
        char command[512];
        snprintf(command, sizeof(command),
                 "mkdir '%s' && tar -C '%s' --exclude=./.sqyfs -cf - . | tar -C '%s' -xf -",
                 copy.path, rig.path, copy.path);
        assert_int_equal(system(command), 0);
        rig_open(&copy);
        struct stack *there = rig_find(&copy, "growing.tif");
        struct stat st;
        assert_int_equal(fstat(stack_fd(there), &st), 0);
        assert_int_equal(stack_getattr(there, &st), 0);
        assert_true((size_t)st.st_size >= synced && (size_t)st.st_size <= at);
        rig_expect(there, data, (uint64_t)st.st_size);
        stack_put(&there);
        rig_stop(&copy);
    }
    stack_release(stack, true);
    stack_put(&stack);
    rig_stop(&rig);
    free(data);
}

/* ---- many hands ---- */

struct hand {
    struct rig *rig;
    unsigned number;
    atomic_bool *stop;
};

static void *write_and_check(void *arg)
{
    struct hand *hand = arg;
    uint8_t *data = malloc(rig_tiff_bound(200, 150, 12));
    for (unsigned round = 0; round < 4; round++) {
        char name[32];
        snprintf(name, sizeof(name), "hand%u-%u.tif", hand->number, round);
        size_t len = rig_tiff((enum rig_tiff)(round % 3), 200, 150, 12, data);
        struct stack *stack = rig_create(hand->rig, name);
        for (size_t at = 0; at < len; at += 50000)
            rig_write(stack, data + at, len - at < 50000 ? len - at : 50000, at);
        rig_expect(stack, data, len);
        if (round % 2)
            assert_int_equal(stack_fsync(stack), 0);
        stack_release(stack, true);
        rig_expect(stack, data, len);
        if (round == 3) {
            int r = stack_compact(stack);
            assert_true(r == 0 || r == -EBUSY);
        }
        rig_expect(stack, data, len);
        stack_put(&stack);
    }
    free(data);
    return NULL;
}

static void *drain_all_the_time(void *arg)
{
    struct hand *hand = arg;
    while (!atomic_load(hand->stop)) {
        assert_int_equal(volume_drain(hand->rig->volume), 0);
        char *stats = volume_stats_json(hand->rig->volume);
        assert_non_null(stats);
        free(stats);
    }
    return NULL;
}

static void many_writers_do_not_disturb_each_other(void **state)
{
    (void)state;
    enum { HANDS = 6 };
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20, .cache = 1 << 20}};
    rig_start(&rig);
    struct hand hands[HANDS + 1];
    pthread_t threads[HANDS + 1];
    atomic_bool stop = false;
    for (unsigned i = 0; i <= HANDS; i++) {
        hands[i] = (struct hand){&rig, i, &stop};
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i < HANDS ? write_and_check : drain_all_the_time,
                                        &hands[i]),
                         0);
    }
    for (unsigned i = 0; i < HANDS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    pthread_join(threads[HANDS], NULL);
    rig_stop(&rig);
}

static void *flip_bytes(void *arg)
{
    struct stack *stack = arg;
    for (unsigned i = 0; i < 300; i++) {
        uint8_t byte = (uint8_t)i;
        assert_int_equal(stack_write(stack, &byte, 1, 70000 + i * 211 % 60000, true), 1);
    }
    return NULL;
}

static void fsync_ends_however_busy_the_writer_is(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 4));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 256, 256, 4, data);
    struct stack *stack = rig_create(&rig, "busy.tif");
    rig_write(stack, data, len, 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, flip_bytes, stack), 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(stack_fsync(stack), 0);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < 300; i++)
        data[70000 + i * 211 % 60000] = (uint8_t)i;
    rig_expect(stack, data, len);
    stack_release(stack, true);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_loses_nothing_that_was_accepted),
        cmocka_unit_test(a_name_that_cannot_be_synced_is_told_and_tried_again),
        cmocka_unit_test(a_spool_full_behind_a_full_disk_is_told_to_the_writer),
        cmocka_unit_test(runs_that_others_hold_behind_a_failing_disk_are_told_to_the_writer),
        cmocka_unit_test(logs_that_others_hold_behind_a_failing_disk_are_told_to_the_writer),
        cmocka_unit_test(an_error_of_what_is_encoded_again_is_not_its_writers),
        cmocka_unit_test(a_blob_that_cannot_be_begun_is_begun_later),
        cmocka_unit_test(a_rewrite_of_what_cannot_be_read_leaves_the_file_as_it_is),
        cmocka_unit_test(a_copy_at_any_moment_has_all_that_was_synced),
        cmocka_unit_test(many_writers_do_not_disturb_each_other),
        cmocka_unit_test(fsync_ends_however_busy_the_writer_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
