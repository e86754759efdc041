#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/blob.h"
#include "util.h"

/* Writers, each with its own part of the plain file, while checkpoints are taken, readers open the
 * file, and hardly any table page stays in memory. */

#define N_WRITERS 4u
#define PART      6000u
#define N_ROUNDS  4000u

struct shared {
    struct blob *blob;
    int fd;
    atomic_uint n_running;
    atomic_bool failed;
};

struct writer {
    struct shared *shared;
    uint64_t random, from;
    uint8_t bytes[PART];
    pthread_t thread;
};

/* cmocka's assertions belong to the main thread. */
static void expect(struct shared *shared, bool good)
{
    if (!good)
        atomic_store(&shared->failed, true);
}

static void write_one(struct writer *w)
{
    uint8_t data[64];
    uint32_t len = 1 + (uint32_t)util_below(&w->random, 12);
    uint64_t at = util_below(&w->random, PART - len);
    util_fill(&w->random, data, len);
    expect(w->shared, util_write(w->shared->blob, w->from + at, data, len, 0) == 0);
    memcpy(w->bytes + at, data, len);
}

static void check_some(struct writer *w)
{
    uint8_t got[100];
    uint64_t at = util_below(&w->random, PART - sizeof(got));
    expect(w->shared, util_read(w->shared->blob, w->from + at, got, sizeof(got)) == 0);
    expect(w->shared, memcmp(got, w->bytes + at, sizeof(got)) == 0);
}

static void *write_all(void *arg)
{
    struct writer *w = arg;
    for (unsigned i = 0; i < N_ROUNDS; i++) {
        write_one(w);
        if (i % 16 == 0)
            check_some(w);
        if (i % 100 == 99) {
            uint64_t at = util_below(&w->random, PART - 50);
            expect(w->shared, util_punch(w->shared->blob, w->from + at, 50) == 0);
            memset(w->bytes + at, 0, 50);
        }
    }
    atomic_fetch_sub(&w->shared->n_running, 1);
    return NULL;
}

static void *checkpoint_all(void *arg)
{
    struct shared *s = arg;
    for (uint32_t tag = 1; atomic_load(&s->n_running) > 0; tag++) {
        unsigned flags = tag % 7 ? 0 : BLOB_FULL;
        expect(s, util_checkpoint(s->blob, N_WRITERS * PART, tag, flags) == 0);
        struct blob_stats stats;
        blob_stats(s->blob, &stats);
        expect(s, stats.n_checkpoints == tag);
    }
    return NULL;
}

/* Whatever checkpoint a reader finds, all that it speaks of is there. */
static void *read_all(void *arg)
{
    struct shared *s = arg;
    uint8_t got[N_WRITERS * PART];
    while (atomic_load(&s->n_running) > 0) {
        struct blob *blob;
        int r = util_open(&io_system, s->fd, false, &blob);
        expect(s, r == 0);
        if (r < 0)
            break;
        blob_limit_pages(blob, 3);
        expect(s, util_read(blob, 0, got, sizeof(got)) == 0);
        blob_close(&blob);
    }
    return NULL;
}

static void test_all_at_once(void **state)
{
    (void)state;
    static struct writer writers[N_WRITERS];
    struct shared s = {.blob = util_create(&io_system)};
    pthread_t checkpointer, reader;
    atomic_store(&s.n_running, N_WRITERS);
    s.fd = fcntl(blob_fd(s.blob), F_DUPFD_CLOEXEC, 0);
    blob_limit_pages(s.blob, 2);
    blob_limit_kept(s.blob, 4000);
    /* something to open, for the reader */
    assert_int_equal(util_write(s.blob, 0, "\0", 1, 0), 0);
    for (unsigned i = 0; i < N_WRITERS; i++) {
        writers[i] = (struct writer){.shared = &s, .random = i, .from = i * PART};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_all, &writers[i]), 0);
    }
    assert_int_equal(pthread_create(&checkpointer, NULL, checkpoint_all, &s), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_all, &s), 0);
    for (unsigned i = 0; i < N_WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    pthread_join(checkpointer, NULL);
    pthread_join(reader, NULL);
    assert_false(atomic_load(&s.failed));

    assert_int_equal(util_checkpoint(s.blob, N_WRITERS * PART, 1000000, 0), 0);
    blob_close(&s.blob);
    assert_int_equal(util_open(&io_system, s.fd, true, &s.blob), 0);
    for (unsigned i = 0; i < N_WRITERS; i++) {
        uint8_t got[PART];
        assert_int_equal(util_read(s.blob, writers[i].from, got, PART), 0);
        assert_memory_equal(got, writers[i].bytes, PART);
    }
    blob_close(&s.blob);
    close(s.fd);
}

/* The first append of several at once: one birth, one live header, nothing before them. */
static void *append_one(void *arg)
{
    struct shared *s = arg;
    uint64_t off;
    expect(s, blob_append(s->blob, false, "x", 1, &off) == 0);
    return NULL;
}

static void test_first_appends_at_once(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        struct shared s = {.blob = util_create(&io_system)};
        struct blob_header header;
        struct blob_stats stats;
        pthread_t threads[4];
        blob_header(s.blob, &header);
        header.upstream = true;
        assert_int_equal(blob_write_header(s.blob, &header), 0);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, append_one, &s), 0);
        for (unsigned i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        assert_false(atomic_load(&s.failed));
        blob_stats(s.blob, &stats);
        assert_false(stats.upstream);
        assert_int_equal(stats.file_bytes, BLOB_HEADER_BYTES + 216 + 4);
        blob_close(&s.blob);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_first_appends_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
