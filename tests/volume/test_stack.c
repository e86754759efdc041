/* Stacks written in the ways that writers have, without a mount: the bytes come back, now, after a
 * drain, after compaction and after the store is opened again. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"
#include "store/blob.h"
#include "store/names.h"

static bool in_store(const struct rig *rig, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", rig->path, name);
    return access(path, F_OK) == 0;
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

static uint64_t stored_bytes(struct stack *stack)
{
    struct stack_info info;
    assert_int_equal(stack_info(stack, &info), 0);
    return info.stored_bytes;
}

static void check_everywhere(struct rig *rig, struct stack *stack, const char *name,
                             const uint8_t *data, uint64_t len)
{
    rig_expect(stack, data, len);
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig->volume), 0);
    rig_expect(stack, data, len);
    stack_put(&stack);
    rig_close(rig);
    rig_open(rig);
    stack = rig_find(rig, name);
    rig_expect(stack, data, len);
    stack_put(&stack);
}

static void every_layout_written_forwards_is_stored_smaller(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(256, 200, 20));
    for (int kind = 0; kind < 3; kind++) {
        char name[16];
        snprintf(name, sizeof(name), "s%d.tif", kind);
        size_t len = rig_tiff((enum rig_tiff)kind, 256, 200, 20, data);
        struct stack *stack = rig_create(&rig, name);
        for (size_t at = 0; at < len; at += 65536)
            rig_write(stack, data + at, len - at < 65536 ? len - at : 65536, at);
        check_everywhere(&rig, stack, name, data, len);
        stack = rig_find(&rig, name);
        assert_true(stack_is_blob(stack));
        assert_string_equal(rig_state(stack), "stored");
        assert_true(stored_bytes(stack) < len * 3 / 5);
        stack_put(&stack);
    }
    free(data);
    rig_stop(&rig);
}

static void pieces_in_random_order_come_back(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(300, 211, 30));
    uint64_t seed = 7;
    for (int kind = 0; kind < 3; kind++) {
        char name[16];
        snprintf(name, sizeof(name), "r%d.tif", kind);
        size_t len = rig_tiff((enum rig_tiff)kind, 300, 211, 30, data), piece = 7001;
        size_t n = (len + piece - 1) / piece;
        size_t *order = malloc(n * sizeof(*order));
        for (size_t i = 0; i < n; i++)
            order[i] = i;
        for (size_t i = n; i-- > 1;) {
            size_t j = rig_random(&seed) % (i + 1), t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
        struct stack *stack = rig_create(&rig, name);
        for (size_t i = 0; i < n; i++) {
            size_t at = order[i] * piece;
            rig_write(stack, data + at, len - at < piece ? len - at : piece, at);
        }
        check_everywhere(&rig, stack, name, data, len);
        free(order);
    }
    free(data);
    rig_stop(&rig);
}

static void files_larger_than_the_spool_get_through_backwards(void **state)
{
    (void)state;
    struct rig rig = {.config = {.spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(1024, 1024, 32));
    size_t len = rig_tiff(RIG_IFDS_LAST, 1024, 1024, 32, data);
    struct stack *stack = rig_create(&rig, "large.tif");
    for (size_t end = len; end > 0;) {
        size_t at = end > 100000 ? end - 100000 : 0;
        rig_write(stack, data + at, end - at, at);
        end = at;
    }
    check_everywhere(&rig, stack, "large.tif", data, len);
    free(data);
    rig_stop(&rig);
}

static void what_is_no_image_lies_verbatim(void **state)
{
    (void)state;
    struct rig rig = {0};
    rig_start(&rig);
    const char *text = "not an image\n";
    struct stack *stack = rig_create(&rig, "notes.tif");
    rig_write(stack, text, strlen(text), 0);
    assert_string_equal(rig_state(stack), "plain");
    check_everywhere(&rig, stack, "notes.tif", (const uint8_t *)text, strlen(text));
    assert_true(in_store(&rig, "notes.tif"));
    assert_false(in_store(&rig, "notes.tif.sqy"));
    rig_stop(&rig);
}

static void a_users_own_sqy_is_a_blob_of_bytes(void **state)
{
    (void)state;
    struct rig rig = {0};
    rig_start(&rig);
    uint8_t data[5000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    struct stack *stack = rig_create(&rig, "mine.sqy");
    rig_write(stack, data, sizeof(data), 0);
    check_everywhere(&rig, stack, "mine.sqy", data, sizeof(data));
    assert_true(in_store(&rig, "mine.sqy.sqy"));
    rig_stop(&rig);
}

static void raw_volumes_go_by_policy(void **state)
{
    (void)state;
    struct raw_policy policy;
    char why[128];
    assert_int_equal(raw_policy_parse("*.raw:100x80", &policy, why, sizeof(why)), 0);
    struct rig rig = {.config = {.raw = &policy, .n_raw = 1, .chunk = 65536}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(100, 80, 50));
    size_t len = 100 * 80 * 2 * 50;
    rig_tiff(RIG_CONTIGUOUS, 100, 80, 50, data);
    struct stack *stack = rig_create(&rig, "volume.raw");
    rig_write(stack, data + 441, len, 0);
    check_everywhere(&rig, stack, "volume.raw", data + 441, len);
    stack = rig_find(&rig, "volume.raw");
    assert_true(stored_bytes(stack) < len * 2 / 3);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
    raw_policy_clear(&policy);
}

static void what_was_seen_of_a_file_before_it_changed_its_kind_is_not_shown(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    struct stat seen;
    struct stack *plain = rig_create(&rig, "notes");
    rig_write(plain, "the end", 7, 93); /* what it is has not been said yet */
    assert_int_equal(fstat(stack_fd(plain), &seen), 0);
    assert_int_equal(stack_fix_kind(plain), 0);
    assert_int_equal(stack_getattr(plain, &seen), 0);
    assert_int_equal(seen.st_size, 100);

    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    struct stack *stack = rig_create(&rig, "emptied.tif");
    rig_write(stack, data, len, 0);
    assert_int_equal(stack_fsync(stack), 0);
    assert_int_equal(fstat(stack_fd(stack), &seen), 0);
    assert_true(seen.st_size > 0);
    assert_int_equal(stack_truncate(stack, 0), 0);
    assert_int_equal(stack_getattr(stack, &seen), 0);
    assert_int_equal(seen.st_size, 0);
    stack_release(plain, true);
    stack_release(stack, true);
    stack_put(&plain);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void truncation_to_nothing_starts_anew(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 4));
    size_t len = rig_tiff(RIG_PAGES, 256, 256, 4, data);
    struct stack *stack = rig_create(&rig, "again.tif");
    rig_write(stack, data, len, 0);
    assert_int_equal(stack_fsync(stack), 0);
    assert_true(in_store(&rig, "again.tif.sqy"));
    assert_int_equal(stack_truncate(stack, 0), 0);
    rig_expect(stack, data, 0);
    assert_true(in_store(&rig, "again.tif"));
    rig_write(stack, "plain now", 9, 0);
    check_everywhere(&rig, stack, "again.tif", (const uint8_t *)"plain now", 9);
    assert_true(in_store(&rig, "again.tif"));
    free(data);
    rig_stop(&rig);
}

/* An application that saves with O_TRUNC over what was a text file. */
static void a_tiff_saved_over_a_plain_file_becomes_a_stack(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 4));
    size_t len = rig_tiff(RIG_PAGES, 256, 256, 4, data);
    struct stack *stack = rig_create(&rig, "save.tif");
    for (int round = 0; round < 2; round++) {
        rig_write(stack, "only text", 9, 0);
        assert_int_equal(stack_fsync(stack), 0);
        assert_true(in_store(&rig, "save.tif"));
        assert_int_equal(stack_truncate(stack, 0), 0);
        rig_expect(stack, data, 0);
        if (round > 0) {
            assert_int_equal(stack_fsync(stack), 0);
            rig_expect(stack, data, 0);
        }
    }
    rig_write(stack, data, len, 0);
    check_everywhere(&rig, stack, "save.tif", data, len);
    assert_true(in_store(&rig, "save.tif.sqy"));
    assert_false(in_store(&rig, "save.tif"));
    free(data);
    rig_stop(&rig);
}

static void a_hard_linked_plain_file_saved_over_stays_plain(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    struct stack *stack = rig_create(&rig, "save.tif");
    rig_write(stack, "only text", 9, 0);
    assert_int_equal(stack_fsync(stack), 0);
    char path[512], other[512];
    snprintf(path, sizeof(path), "%s/save.tif", rig.path);
    snprintf(other, sizeof(other), "%s/other", rig.path);
    assert_int_equal(link(path, other), 0);
    assert_int_equal(stack_truncate(stack, 0), 0);
    rig_write(stack, data, len, 0);
    check_everywhere(&rig, stack, "save.tif", data, len);
    assert_true(in_store(&rig, "save.tif"));
    assert_int_equal(unlink(other), 0);
    free(data);
    rig_stop(&rig);
}

/* As ext4 has it: also where the size stays and nothing is punched. */
static void fallocate_moves_both_times(void **state)
{
    (void)state;
    static const int modes[] = {FALLOC_FL_KEEP_SIZE, 0, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE};
    struct rig rig = {.config = {.chunk = 65536}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    for (int is_empty = 0; is_empty < 2; is_empty++) {
        struct stack *stack = rig_create(&rig, is_empty ? "empty.tif" : "full.tif");
        if (!is_empty)
            rig_write(stack, data, len, 0);
        assert_int_equal(stack_fsync(stack), 0);
        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
            struct stat before, after;
            if (is_empty && modes[i] == 0)
                continue; /* grows */
            assert_int_equal(fstat(stack_fd(stack), &before), 0);
            assert_int_equal(stack_getattr(stack, &before), 0);
            usleep(20000);
            assert_int_equal(stack_fallocate(stack, modes[i], len - 10, 10), 0);
            assert_int_equal(fstat(stack_fd(stack), &after), 0);
            assert_int_equal(stack_getattr(stack, &after), 0);
            assert_int_equal(after.st_size, before.st_size);
            assert_true(is_later(&after.st_mtim, &before.st_mtim));
            assert_true(is_later(&after.st_ctim, &before.st_ctim));
        }
        stack_release(stack, true);
        stack_put(&stack);
    }
    free(data);
    rig_stop(&rig);
}

static void an_edit_of_a_stored_stack_costs_one_chunk(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 30));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 256, 256, 30, data);
    struct stack *stack = rig_create(&rig, "edit.tif");
    rig_write(stack, data, len, 0);
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    uint64_t before = stored_bytes(stack);
    assert_int_equal(stack_open(stack, true, -1), 0);
    data[len / 2] ^= 1;
    rig_write(stack, &data[len / 2], 1, len / 2);
    check_everywhere(&rig, stack, "edit.tif", data, len);
    stack = rig_find(&rig, "edit.tif");
    assert_true(stored_bytes(stack) < before + 65536 + 4096);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void compaction_keeps_every_byte_and_the_time(void **state)
{
    (void)state;
    static const char *const pipelines[] = {"bitshuffle->zstd", "bitswap1->lz4", "lz4",
                                            "bitshuffle->lz4", "pass_through"};
    for (size_t p = 0; p < sizeof(pipelines) / sizeof(pipelines[0]); p++) {
        struct rig rig = {.config = {.chunk = 65536, .pipeline = pipelines[p]}};
        rig_start(&rig);
        uint8_t *data = malloc(rig_tiff_bound(101, 57, 40));
        for (int kind = 0; kind < 3; kind++) {
            char name[16];
            snprintf(name, sizeof(name), "c%d.tif", kind);
            size_t len = rig_tiff((enum rig_tiff)kind, 101, 57, 40, data);
            struct stack *stack = rig_create(&rig, name);
            rig_write(stack, data, len, 0);
            const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {1234567890, 987654321}};
            assert_int_equal(stack_utimens(stack, times), 0);
            assert_int_equal(stack_compact(stack), -EBUSY);
            stack_release(stack, true);
            assert_int_equal(stack_compact(stack), 0);
            rig_expect(stack, data, len);
            struct stat st;
            assert_int_equal(fstat(stack_fd(stack), &st), 0);
            assert_int_equal(st.st_mtim.tv_sec, 1234567890);
            assert_int_equal(stack_getattr(stack, &st), 0);
            assert_int_equal(st.st_mtim.tv_nsec, 987654321);
            assert_int_equal(stack_open(stack, true, -1), 0);
            data[500] ^= 4;
            rig_write(stack, &data[500], 1, 500);
            check_everywhere(&rig, stack, name, data, len);
        }
        free(data);
        rig_stop(&rig);
    }
}

static void holes_are_seen_and_read_as_zeros(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    rig_start(&rig);
    uint8_t *data = calloc(1, 3000000);
    memcpy(data, "II\x2a\0\0\0\0\0", 8);
    struct stack *stack = rig_create(&rig, "sparse.tif");
    rig_write(stack, data, 8, 0);
    assert_int_equal(stack_truncate(stack, 3000000), 0);
    memset(data + 2000000, 'x', 100);
    rig_write(stack, data + 2000000, 100, 2000000);
    assert_int_equal(stack_seek(stack, 100, SEEK_DATA), 100); /* all may be data to a writer */
    assert_int_equal(stack_seek(stack, 100, SEEK_HOLE), 3000000);
    stack_release(stack, true);
    assert_int_equal(stack_seek(stack, 8, SEEK_DATA), 2000000);
    assert_int_equal(stack_seek(stack, 0, SEEK_HOLE), 8);
    assert_int_equal(stack_seek(stack, 2000100, SEEK_DATA), -ENXIO);
    assert_int_equal(stack_fsync(stack), 0);
    assert_int_equal(stack_seek(stack, 8, SEEK_DATA), 2000000);
    assert_int_equal(
        stack_fallocate(stack, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2000050, 10), 0);
    memset(data + 2000050, 0, 10);
    assert_int_equal(stack_seek(stack, 2000000, SEEK_HOLE), 2000050);
    assert_int_equal(stack_open(stack, true, -1), 0);
    check_everywhere(&rig, stack, "sparse.tif", data, 3000000);
    free(data);
    rig_stop(&rig);
}

/* Each costs a run of the spool, of which a small one has 16384. */
static void holes_in_what_waits_may_be_many(void **state)
{
    (void)state;
    enum { HOLES = 17000, LEN = 3 * HOLES };
    struct rig rig = {.config = {.chunk = 4 << 20, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(1024, 1024, 1));
    rig_tiff(RIG_CONTIGUOUS, 1024, 1024, 1, data);
    struct stack *stack = rig_create(&rig, "torn.tif");
    rig_write(stack, data, LEN, 0); /* of a unit that is not complete */
    for (unsigned at = 1000; at < LEN; at += 3) {
        data[at] = 0;
        assert_int_equal(stack_fallocate(stack, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 1),
                         0);
    }
    check_everywhere(&rig, stack, "torn.tif", data, LEN);
    free(data);
    rig_stop(&rig);
}

static void a_sparse_stack_stays_sparse_when_compacted(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 4));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 256, 256, 4, data);
    struct stack *stack = rig_create(&rig, "wide.tif");
    rig_write(stack, data, len, 0);
    assert_int_equal(stack_truncate(stack, (uint64_t)1 << 59), 0);
    rig_write(stack, data, 100, (uint64_t)1 << 50);
    stack_release(stack, true);
    assert_int_equal(stack_compact(stack), 0); /* or it would never end */
    assert_true(stored_bytes(stack) < len);
    uint8_t buf[100];
    assert_int_equal(stack_open(stack, false, -1), 0);
    assert_int_equal(stack_read(stack, buf, 100, (uint64_t)1 << 50, true), 100);
    assert_memory_equal(buf, data, 100);
    stack_release(stack, false);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void a_blob_whose_end_is_missing_is_damaged_and_left_alone(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 4)), byte;
    size_t len = rig_tiff(RIG_CONTIGUOUS, 256, 256, 4, data);
    struct stack *stack = rig_create(&rig, "cut.tif");
    rig_write(stack, data, len, 0);
    stack_release(stack, true);
    stack_put(&stack);
    rig_close(&rig);
    char path[512];
    snprintf(path, sizeof(path), "%s/cut.tif.sqy", rig.path);
    struct stat before, after;
    assert_int_equal(stat(path, &before), 0);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, before.st_size - 50), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, before.st_size - 50), 1);
    close(fd);
    rig_open(&rig);
    stack = rig_find(&rig, "cut.tif");
    assert_int_equal(stack_open(stack, false, -1), -EIO);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
    assert_int_equal(stack_utimens(stack, times), -EIO);
    assert_int_equal(stack_truncate(stack, 5), -EIO);
    assert_string_equal(rig_state(stack), "damaged");
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    assert_int_equal(stack_open(stack, true, -1), 0); /* as with O_TRUNC */
    assert_int_equal(stack_truncate(stack, 0), 0);
    rig_write(stack, data, len, 0);
    check_everywhere(&rig, stack, "cut.tif", data, len);
    free(data);
    rig_stop(&rig);
}

/* Closed by both, it would be another file's the second time. */
static void a_descriptor_that_a_stack_did_not_take_stays_open(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    rig_start(&rig);
    char path[512];
    snprintf(path, sizeof(path), "%s/broken.tif.sqy", rig.path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(pwrite(fd, "no blob at all", 14, 0), 14);
    struct stack *stack = rig_find(&rig, "broken.tif");
    assert_int_equal(stack_open(stack, false, fd), -EIO);
    assert_int_equal(close(fd), 0);
    stack_put(&stack);
    rig_stop(&rig);
}

static void what_becomes_plain_late_keeps_its_time(void **state)
{
    (void)state;
    struct rig rig = {0};
    rig_start(&rig);
    struct stack *stack = rig_create(&rig, "late.bin");
    rig_write(stack, "x", 1, 5000);
    struct stat shown, later;
    assert_int_equal(fstat(stack_fd(stack), &shown), 0);
    assert_int_equal(stack_getattr(stack, &shown), 0);
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    assert_string_equal(rig_state(stack), "plain");
    assert_int_equal(fstat(stack_fd(stack), &later), 0);
    assert_int_equal(stack_getattr(stack, &later), 0);
    assert_memory_equal(&shown.st_mtim, &later.st_mtim, sizeof(shown.st_mtim));
    stack_put(&stack);
    rig_stop(&rig);
}

/* So many that they do not rest for long: each is stored without being asked for. */
static void a_crowd_of_small_files_settles_by_itself(void **state)
{
    (void)state;
    enum { CROWD = 100 };
    struct rig rig = {.config = {.chunk = 65536}};
    struct stack *stacks[CROWD];
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(40, 40, 1));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 40, 40, 1, data);
    for (unsigned i = 0; i < CROWD; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%03u.tif", i);
        stacks[i] = rig_create(&rig, name);
        rig_write(stacks[i], data, len, 0);
        stack_release(stacks[i], true);
    }
    for (unsigned i = 0; i < CROWD; i++) {
        while (strcmp(rig_state(stacks[i]), "stored") != 0)
            usleep(5000);
        rig_expect(stacks[i], data, len);
        stack_put(&stacks[i]);
    }
    free(data);
    rig_stop(&rig);
}

static void fsync_and_close_is_settled_too(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(200, 200, 7));
    size_t len = rig_tiff(RIG_IFDS_LAST, 200, 200, 7, data);
    struct stack *stack = rig_create(&rig, "synced.tif");
    rig_write(stack, data, len / 2, 0);
    assert_int_equal(stack_fsync(stack), 0); /* all of it provisional */
    rig_write(stack, data + len / 2, len - len / 2, len / 2);
    assert_int_equal(stack_fsync(stack), 0);
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    int fd = stack_fd(stack);
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    struct blob *blob;
    struct blob_header header;
    assert_int_equal(blob_open(&io_system, open(link, O_RDONLY), false, &blob), 0);
    blob_header(blob, &header);
    assert_int_equal(header.rank, 3);
    assert_int_equal(header.shape[0], 7);
    for (uint64_t at = 8; at < 200 * 200 * 7 * 2;) {
        struct blob_extent extent;
        assert_int_equal(blob_prepare(blob, at, 1), 0);
        assert_int_equal(blob_find(blob, at, &extent), 0);
        assert_int_equal(extent.chunk.flags & BLOB_PROVISIONAL, 0);
        at = extent.claim.off + extent.claim.len;
    }
    blob_close(&blob);
    rig_expect(stack, data, len);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static uint64_t chunks_encoded(const struct rig *rig)
{
    char *stats = volume_stats_json(rig->volume);
    assert_non_null(stats);
    const char *at = strstr(stats, "chunks_encoded");
    assert_non_null(at);
    const uint64_t n = strtoull(strchr(at, ':') + 1, NULL, 10);
    free(stats);
    return n;
}

/* Voxels [from, to) lie in chunks of planes so wide, none of which is to be cut again. */
static void expect_cut(struct stack *stack, uint64_t from, uint64_t to, uint32_t width)
{
    char link[64];
    struct blob *blob;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", stack_fd(stack));
    assert_int_equal(blob_open(&io_system, open(link, O_RDONLY), false, &blob), 0);
    for (uint64_t at = from; at < to;) {
        struct blob_extent extent;
        assert_int_equal(blob_prepare(blob, at, 1), 0);
        assert_int_equal(blob_find(blob, at, &extent), 0);
        assert_int_equal(extent.chunk.flags & BLOB_PROVISIONAL, 0);
        assert_int_equal(extent.chunk.box.type, SQY_UINT16);
        assert_int_equal(extent.chunk.box.width, width);
        at = extent.claim.off + extent.claim.len;
    }
    blob_close(&blob);
}

/* Returns how many chunks were encoded before it was closed, and after. */
static void write_first_one_first(enum rig_tiff kind, uint64_t first, uint64_t encoded[2])
{
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(256, 200, 20));
    size_t len = rig_tiff(kind, 256, 200, 20, data);
    struct stack *stack = rig_create(&rig, "guessed.tif");
    for (size_t at = 0; at < len; at += 65536)
        rig_write(stack, data + at, len - at < 65536 ? len - at : 65536, at);
    assert_int_equal(stack_fsync(stack), 0);
    encoded[0] = chunks_encoded(&rig);
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    encoded[1] = chunks_encoded(&rig);
    expect_cut(stack, first, first + 20 * 256 * 200 * 2, 256);
    rig_expect(stack, data, len);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void a_wrong_guess_is_cut_again(void **state)
{
    (void)state;
    uint64_t encoded[2];
    write_first_one_first(RIG_THUMBNAIL, 200 + 64 * 64 * 2, encoded);
    assert_true(encoded[1] > encoded[0] + 20);
}

static void a_right_guess_is_encoded_once(void **state)
{
    (void)state;
    uint64_t encoded[2];
    write_first_one_first(RIG_ONE_FIRST, 200 + 256 * 200 * 2, encoded);
    assert_in_range(encoded[1], encoded[0], encoded[0] + 2); /* the directories' bytes */
}

/* As far as a guess goes there are more units than can ever be looked through. */
static void a_far_write_behind_a_guess_takes_no_time(void **state)
{
    (void)state;
    enum { FAR = 50 };
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(128, 128, 1));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 128, 128, 1, data);
    alarm(120);
    struct stack *stack = rig_create(&rig, "far.tif");
    rig_write(stack, data, len, 0);
    rig_write(stack, "x", 1, len);
    rig_write(stack, "y", 1, 1ull << FAR);
    stack_release(stack, true);
    stack_put(&stack);
    stack = rig_create(&rig, "truncated.tif");
    assert_int_equal(stack_truncate(stack, 1ull << FAR), 0);
    rig_write(stack, data, len, 0);
    stack_release(stack, true);
    stack_put(&stack);
    assert_int_equal(volume_drain(rig.volume), 0);
    alarm(0);
    free(data);
    rig_stop(&rig);
}

#define STORM_MAX 700000

struct storm {
    struct rig rig;
    struct stack *stack;
    uint8_t *data;
    uint64_t size, seed;
    uint8_t buf[100000];
};

static void storm_write(struct storm *storm)
{
    uint64_t off = rig_random(&storm->seed) % STORM_MAX;
    uint64_t len = rig_random(&storm->seed) % (rig_random(&storm->seed) % 4 ? 3000 : 90000) + 1;
    if (len > STORM_MAX - off)
        len = STORM_MAX - off;
    for (uint64_t i = 0; i < len; i++)
        storm->buf[i] = (uint8_t)(rig_random(&storm->seed) & 15);
    if (off < 8 && rig_random(&storm->seed) % 2)
        memcpy(storm->buf, &"II\x2a\0\x08\0\0\0"[off], 8 - off < len ? 8 - off : len);
    rig_write(storm->stack, storm->buf, len, off);
    memcpy(storm->data + off, storm->buf, len);
    if (off + len > storm->size)
        storm->size = off + len;
}

static void storm_truncate(struct storm *storm)
{
    uint64_t size = rig_random(&storm->seed) % 12 == 0 ? 0 : rig_random(&storm->seed) % STORM_MAX;
    assert_int_equal(stack_truncate(storm->stack, size), 0);
    if (size < storm->size)
        memset(storm->data + size, 0, storm->size - size);
    storm->size = size;
}

static void storm_punch(struct storm *storm)
{
    uint64_t off = rig_random(&storm->seed) % STORM_MAX;
    uint64_t len = rig_random(&storm->seed) % 60000 + 1;
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    assert_int_equal(stack_fallocate(storm->stack, mode, off, len), 0);
    if (off < storm->size)
        memset(storm->data + off, 0, len < storm->size - off ? len : storm->size - off);
}

static void storm_reopen(struct storm *storm)
{
    stack_release(storm->stack, true);
    if (rig_random(&storm->seed) % 3 == 0)
        assert_int_equal(volume_drain(storm->rig.volume), 0);
    if (rig_random(&storm->seed) % 4 == 0) {
        stack_put(&storm->stack);
        rig_close(&storm->rig);
        rig_open(&storm->rig);
        storm->stack = rig_find(&storm->rig, "storm.tif");
    } else if (rig_random(&storm->seed) % 3 == 0) {
        int r = stack_compact(storm->stack);
        assert_true(r == 0 || r == -EINVAL || r == -EBUSY);
    }
    assert_int_equal(stack_open(storm->stack, true, -1), 0);
}

static void random_operations_match_an_array(void **state)
{
    (void)state;
    struct storm *storm = calloc(1, sizeof(*storm));
    storm->data = calloc(1, STORM_MAX);
    storm->seed = 42;
    storm->rig.config = (struct volume_config){.chunk = 65536, .spool = 16 << 20};
    rig_start(&storm->rig);
    storm->stack = rig_create(&storm->rig, "storm.tif");
    size_t len = rig_tiff(RIG_PAGES, 128, 128, 16, storm->data);
    rig_write(storm->stack, storm->data, len, 0);
    storm->size = len;
    for (int step = 0; step < 600; step++) {
        switch (rig_random(&storm->seed) % 16) {
        case 0:
            storm_truncate(storm);
            break;
        case 1:
            storm_punch(storm);
            break;
        case 2:
            storm_reopen(storm);
            break;
        case 3:
            assert_int_equal(stack_fsync(storm->stack), 0);
            break;
        default:
            storm_write(storm);
        }
        if (step % 10 == 0)
            rig_expect(storm->stack, storm->data, storm->size);
    }
    rig_expect(storm->stack, storm->data, storm->size);
    stack_release(storm->stack, true);
    stack_put(&storm->stack);
    rig_stop(&storm->rig);
    free(storm->data);
    free(storm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_written_forwards_is_stored_smaller),
        cmocka_unit_test(pieces_in_random_order_come_back),
        cmocka_unit_test(files_larger_than_the_spool_get_through_backwards),
        cmocka_unit_test(what_is_no_image_lies_verbatim),
        cmocka_unit_test(a_users_own_sqy_is_a_blob_of_bytes),
        cmocka_unit_test(raw_volumes_go_by_policy),
        cmocka_unit_test(truncation_to_nothing_starts_anew),
        cmocka_unit_test(what_was_seen_of_a_file_before_it_changed_its_kind_is_not_shown),
        cmocka_unit_test(a_tiff_saved_over_a_plain_file_becomes_a_stack),
        cmocka_unit_test(a_hard_linked_plain_file_saved_over_stays_plain),
        cmocka_unit_test(fallocate_moves_both_times),
        cmocka_unit_test(an_edit_of_a_stored_stack_costs_one_chunk),
        cmocka_unit_test(compaction_keeps_every_byte_and_the_time),
        cmocka_unit_test(holes_are_seen_and_read_as_zeros),
        cmocka_unit_test(holes_in_what_waits_may_be_many),
        cmocka_unit_test(a_sparse_stack_stays_sparse_when_compacted),
        cmocka_unit_test(a_blob_whose_end_is_missing_is_damaged_and_left_alone),
        cmocka_unit_test(a_descriptor_that_a_stack_did_not_take_stays_open),
        cmocka_unit_test(what_becomes_plain_late_keeps_its_time),
        cmocka_unit_test(a_crowd_of_small_files_settles_by_itself),
        cmocka_unit_test(fsync_and_close_is_settled_too),
        cmocka_unit_test(a_wrong_guess_is_cut_again),
        cmocka_unit_test(a_right_guess_is_encoded_once),
        cmocka_unit_test(a_far_write_behind_a_guess_takes_no_time),
        cmocka_unit_test(random_operations_match_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
