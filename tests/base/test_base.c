#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/copy.h"
#include "base/io.h"
#include "base/le.h"
#include "base/now.h"
#include "base/quote.h"
#include "base/size.h"
#include "base/sum.h"
#include "base/workq.h"

static void size_reads_what_people_write(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},        {"4096", 4096},          {"64K", 65536}, {"1.5G", 1610612736},
                {"2m", 2097152}, {"1TiB", 1099511627776}, {"3kb", 3072}};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t bytes = 1;
        assert_int_equal(size_parse(good[i].text, &bytes), 0);
        assert_int_equal(bytes, good[i].bytes);
    }
}

static void size_refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "-1",           "K", "1X", "1KK", "nan",
                                      "inf", "99999999999G", " 1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t bytes;
        assert_int_equal(size_parse(bad[i], &bytes), -EINVAL);
    }
}

static void size_prints(void **state)
{
    (void)state;
    char buf[32];
    assert_string_equal(size_format(1023, buf, sizeof(buf)), "1023 B");
    assert_string_equal(size_format(1536, buf, sizeof(buf)), "1.50 KiB");
    assert_string_equal(size_format(UINT64_MAX, buf, sizeof(buf)), "16.00 EiB");
}

static void byte_order_is_explicit(void **state)
{
    (void)state;
    const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal(le_load16(bytes), 0x0201);
    assert_int_equal(be_load16(bytes), 0x0102);
    assert_int_equal(le_load32(bytes), 0x04030201);
    assert_int_equal(be_load64(bytes), 0x0102030405060708);
}

static void checksum_is_the_one_in_the_format(void **state)
{
    (void)state;
    assert_true(sum64("", 0) == 0x2d06800538d394c2u);
}

struct counted {
    struct work work;
    atomic_int *ran;
};

static void count_run(struct work *work)
{
    atomic_fetch_add(((struct counted *)work)->ran, 1);
    free(work);
}

static void workq_runs_everything_before_it_goes(void **state)
{
    (void)state;
    struct workq *queue;
    atomic_int ran = 0;
    assert_int_equal(workq_create("test", 3, &queue), 0);
    for (int i = 0; i < 1000; i++) {
        struct counted *job = malloc(sizeof(*job));
        *job = (struct counted){{count_run, NULL}, &ran};
        workq_push(queue, &job->work);
    }
    workq_destroy(&queue);
    assert_null(queue);
    assert_int_equal(ran, 1000);
}

struct ordered {
    struct work work;
    int number, *next;
};

static void order_run(struct work *work)
{
    struct ordered *job = (struct ordered *)work;
    if (*job->next == job->number)
        (*job->next)++;
}

static void workq_of_one_thread_keeps_order(void **state)
{
    (void)state;
    struct workq *queue;
    struct ordered jobs[100];
    int next = 0;
    assert_int_equal(workq_create("test", 1, &queue), 0);
    for (int i = 0; i < 100; i++) {
        jobs[i] = (struct ordered){{order_run, NULL}, i, &next};
        workq_push(queue, &jobs[i].work);
    }
    workq_destroy(&queue);
    assert_int_equal(next, 100);
}

struct gate {
    struct work work;
    sem_t entered, go;
};

static void gate_run(struct work *work)
{
    struct gate *gate = (struct gate *)work;
    sem_post(&gate->entered);
    sem_wait(&gate->go);
}

static void urgent_work_goes_before_what_is_not(void **state)
{
    (void)state;
    static const int order[] = {2, 3, 0, 1, 4}; /* in which they are pushed below */
    struct workq *queue;
    struct gate gate = {.work = {gate_run, NULL}};
    struct ordered jobs[5];
    int next = 0;
    sem_init(&gate.entered, 0, 0);
    sem_init(&gate.go, 0, 0);
    assert_int_equal(workq_create("test", 1, &queue), 0);
    workq_push(queue, &gate.work);
    sem_wait(&gate.entered);
    for (int i = 0; i < 5; i++) {
        jobs[i] = (struct ordered){{order_run, NULL}, order[i], &next};
        if (order[i] < 2)
            workq_push_urgent(queue, &jobs[i].work);
        else
            workq_push(queue, &jobs[i].work);
    }
    assert_int_equal(workq_depth(queue), 5);
    sem_post(&gate.go);
    workq_destroy(&queue);
    assert_int_equal(next, 5);
    sem_destroy(&gate.entered);
    sem_destroy(&gate.go);
}

/* A disk that gives and takes one byte at a time. */
static ssize_t slow_pread(const struct io *io, int fd, void *buf, size_t len, uint64_t off)
{
    return io_system.pread(io, fd, buf, len > 0 ? 1 : 0, off);
}

static ssize_t slow_pwrite(const struct io *io, int fd, const void *buf, size_t len, uint64_t off)
{
    return io_system.pwrite(io, fd, buf, len > 0 ? 1 : 0, off);
}

static void short_reads_and_writes_are_continued(void **state)
{
    (void)state;
    const struct io slow = {.pread = slow_pread, .pwrite = slow_pwrite};
    char name[] = "/tmp/sqyfs-io-XXXXXX", buf[16];
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(io_pwrite_full(&slow, fd, "hello world", 11, 3), 0);
    assert_int_equal(io_pread_full(&slow, fd, buf, sizeof(buf), 3), 11);
    assert_memory_equal(buf, "hello world", 11);
    assert_int_equal(io_pread_exact(&slow, fd, buf, 12, 3), -ENODATA);
    assert_int_equal(io_pread_exact(&slow, fd, buf, 11, 3), 0);
    close(fd);
    assert_int_equal(io_pwrite_full(&slow, fd, "x", 1, 0), -EBADF);
}

static void quoted_names_are_one_line(void **state)
{
    (void)state;
    char buf[64];
    assert_string_equal(quote("a\nb\\c\x1b[0m\x7f caf\xc3\xa9", buf, sizeof(buf)),
                        "a\\x0ab\\x5cc\\x1b[0m\\x7f caf\xc3\xa9");
    assert_string_equal(quote("", buf, 1), "");
    for (size_t len = 1; len < sizeof(buf); len++) { /* cut off, but never within an escape */
        memset(buf, '!', sizeof(buf));
        size_t n = strlen(quote("\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n", buf, len));
        assert_true(n < len && n % 4 == 0);
        assert_true(buf[len] == '!');
    }
}

static void clocks_count_in_their_units(void **state)
{
    (void)state;
    int64_t before_ms = now_ms();
    time_t before = time(NULL);
    assert_in_range(now_real().tv_sec, before, before + 5);
    for (int64_t ms = 0; ms < 5000; ms += 999) {
        struct timespec from, later = now_later(CLOCK_MONOTONIC, ms);
        clock_gettime(CLOCK_MONOTONIC, &from);
        int64_t ns = (later.tv_sec - from.tv_sec) * 1000000000 + (later.tv_nsec - from.tv_nsec);
        assert_in_range(later.tv_nsec, 0, 999999999);
        assert_true(ns <= ms * 1000000 && ns > (ms - 1000) * 1000000);
    }
    assert_in_range(now_ms() - before_ms, 0, 5000);
}

/* A signal comes while every other sync waits, as on network filesystems. */
static bool interrupted;

static int interrupt(void)
{
    interrupted = !interrupted;
    errno = EINTR;
    return interrupted ? -1 : 0;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    return interrupt() < 0 ? -1 : __real_fdatasync(fd);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    return interrupt() < 0 ? -1 : __real_fsync(fd);
}

static void a_sync_goes_on_after_a_signal(void **state)
{
    (void)state;
    char name[] = "/tmp/sqyfs-io-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(io_system.fdatasync(&io_system, fd), 0);
    assert_int_equal(io_system.fsync(&io_system, fd), 0);
    assert_false(interrupted);
    close(fd);
}

static void a_copy_past_caches_is_one_from_anywhere_to_anywhere(void **state)
{
    (void)state;
    enum { ROOM = 400, MOST = 260, GUARD = 0xee };
    uint8_t from[ROOM], to[ROOM];
    for (unsigned i = 0; i < ROOM; i++)
        from[i] = (uint8_t)(i * 7 + i / 256);
    for (unsigned at = 0; at < 130; at++) {
        for (unsigned len = 0; len < MOST; len++) {
            memset(to, GUARD, sizeof(to));
            copy_past_caches(to + at, from + at % 5, len);
            assert_memory_equal(to + at, from + at % 5, len);
            for (unsigned i = 0; i < ROOM; i++)
                assert_true((i >= at && i < at + len) || to[i] == GUARD);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_reads_what_people_write),
        cmocka_unit_test(size_refuses_what_is_none),
        cmocka_unit_test(size_prints),
        cmocka_unit_test(byte_order_is_explicit),
        cmocka_unit_test(checksum_is_the_one_in_the_format),
        cmocka_unit_test(workq_runs_everything_before_it_goes),
        cmocka_unit_test(workq_of_one_thread_keeps_order),
        cmocka_unit_test(urgent_work_goes_before_what_is_not),
        cmocka_unit_test(quoted_names_are_one_line),
        cmocka_unit_test(clocks_count_in_their_units),
        cmocka_unit_test(short_reads_and_writes_are_continued),
        cmocka_unit_test(a_sync_goes_on_after_a_signal),
        cmocka_unit_test(a_copy_past_caches_is_one_from_anywhere_to_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
