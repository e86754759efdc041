/* Whole files of sqeazy's own, decoded once and kept within bounds. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "codec/sqy.h"
#include "volume/scratch.h"

struct place {
    char dir[64];
    struct scratch_pool *pool;
};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    strcpy(place->dir, "/tmp/sqyfs-scratch-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    int dir_fd = open(place->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(scratch_pool_create(&io_system, dir_fd, &place->pool), 0);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    scratch_pool_destroy(&place->pool);
    assert_int_equal(rmdir(place->dir), 0); /* nothing is left in it */
    free(place);
    return 0;
}

/* A nameless file of sqeazy's: planes x 1024 x 1024 bytes, of which the first of each row counts. */
static int make_file(uint32_t planes, size_t cut)
{
    struct sqy_box box = {SQY_UINT8, planes, 1024, 1024, 1};
    struct sqy_pipeline *pipeline, *used;
    struct sqy_ctx *ctx;
    uint8_t *voxels = calloc(planes, 1 << 20);
    for (size_t row = 0; row < (size_t)planes * 1024; row++)
        voxels[row * 1024] = (uint8_t)(row % 251);
    assert_int_equal(sqy_pipeline_parse("lz4", &pipeline, NULL), 0);
    assert_int_equal(sqy_ctx_create(&ctx), 0);
    size_t cap = sqy_encode_bound(pipeline, &box);
    uint8_t *coded = malloc(cap), text[4096];
    ssize_t len = sqy_encode_volume(ctx, pipeline, &box, voxels, coded, cap, &used);
    assert_true(len > 0);
    char *name = strdup(sqy_pipeline_text(used));
    struct sqy_header header = {.pipename = name,
                                .type = SQY_UINT8,
                                .rank = 3,
                                .shape = {planes, 1024, 1024},
                                .encoded_bytes = (uint64_t)len};
    ssize_t head = sqy_header_write(&header, 0, text, sizeof(text));
    assert_true(head > 0);
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, (size_t)head), head);
    assert_int_equal(io_pwrite_full(&io_system, fd, coded, (size_t)len - cut, (uint64_t)head), 0);
    sqy_pipeline_free(&used);
    sqy_pipeline_free(&pipeline);
    sqy_ctx_free(&ctx);
    free(name);
    free(coded);
    free(voxels);
    return fd;
}

static struct scratch *get(struct place *place, int fd)
{
    struct scratch *scratch;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(scratch_get(place->pool, own, &scratch), 0);
    return scratch;
}

static void check_rows(struct place *place, struct scratch *scratch)
{
    const struct tiffout *plan = scratch_plan(scratch);
    uint64_t rows = plan->depth * plan->height;
    uint8_t row[1024];
    for (uint64_t i = 0; i < rows; i += rows / 97) {
        ssize_t n = scratch_read(place->pool, scratch, row, sizeof(row),
                                 plan->voxels_off + i * sizeof(row), true);
        assert_int_equal(n, sizeof(row));
        assert_int_equal(row[0], i % 251);
        assert_int_equal(row[1], 0);
    }
}

static void it_is_kept_for_a_while(void **state)
{
    struct place *place = *state;
    uint8_t byte;
    int fd = make_file(2, 0);
    struct scratch *scratch = get(place, fd), *first = scratch;
    assert_string_equal(scratch_pipeline(scratch), "lz4");
    uint64_t off = scratch_plan(scratch)->voxels_off;
    assert_int_equal(scratch_read(place->pool, scratch, &byte, 1, 0, false), 1);
    assert_int_equal(byte, 'I');
    assert_int_equal(scratch_read(place->pool, scratch, &byte, 1, off, false), -EAGAIN);
    assert_false(scratch_is_ready(place->pool, scratch));
    check_rows(place, scratch);
    assert_true(scratch_is_ready(place->pool, scratch));
    scratch_put(place->pool, &scratch);
    assert_null(scratch);
    scratch_tick(place->pool);
    scratch = get(place, fd);
    assert_ptr_equal(scratch, first);
    assert_int_equal(scratch_read(place->pool, scratch, &byte, 1, off, false), 1);
    scratch_put(place->pool, &scratch);
    close(fd);
}

struct reader {
    struct place *place;
    struct scratch *scratch;
    pthread_t thread;
};

static void *read_all(void *arg)
{
    struct reader *reader = arg;
    check_rows(reader->place, reader->scratch);
    return NULL;
}

static void readers_share_one(void **state)
{
    struct place *place = *state;
    struct reader readers[8];
    int fd = make_file(16, 0);
    for (unsigned i = 0; i < 8; i++) {
        readers[i] = (struct reader){.place = place, .scratch = get(place, fd)};
        assert_ptr_equal(readers[i].scratch, readers[0].scratch);
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_all, &readers[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(readers[i].thread, NULL);
        scratch_put(place->pool, &readers[i].scratch);
    }
    close(fd);
}

static void damage_is_told_once(void **state)
{
    struct place *place = *state;
    uint8_t byte;
    int fd = make_file(2, 100);
    for (unsigned opened = 0; opened < 2; opened++) {
        struct scratch *scratch = get(place, fd);
        assert_int_equal(scratch_read(place->pool, scratch, &byte, 1, 99, true), -EBADMSG);
        assert_int_equal(scratch_read(place->pool, scratch, &byte, 1, 99, true), -EIO);
        assert_int_equal(scratch_read(place->pool, scratch, &byte, 1, 99, false), -EIO);
        assert_int_equal(scratch_read(place->pool, scratch, &byte, 1, 0, true), 1);
        scratch_put(place->pool, &scratch);
    }
    struct scratch *none;
    int other = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(scratch_get(place->pool, other, &none), -EBADMSG);
    close(other);
    close(fd);
}

/* Above the bound of memory a temporary file is taken, or it fails where there is no place for one. */
static void large_ones_overflow_to_the_disk(void **state)
{
    struct place *place = *state;
    struct statvfs room;
    uint8_t byte;
    const uint32_t planes = (uint32_t)(SCRATCH_MEMORY >> 20) + 8;
    int fd = make_file(planes, 0);
    struct scratch_pool *diskless;
    struct scratch *scratch;
    assert_int_equal(scratch_pool_create(&io_system, -1, &diskless), 0);
    assert_int_equal(scratch_get(diskless, fcntl(fd, F_DUPFD_CLOEXEC, 0), &scratch), 0);
    assert_int_equal(scratch_read(diskless, scratch, &byte, 1, 99, true), -ENOSPC);
    assert_int_equal(scratch_read(diskless, scratch, &byte, 1, 99, true), -EIO);
    scratch_put(diskless, &scratch);
    scratch_pool_destroy(&diskless);
    assert_int_equal(statvfs(place->dir, &room), 0);
    if ((uint64_t)room.f_bavail * room.f_frsize > SCRATCH_SPARE + 2 * SCRATCH_MEMORY) {
        scratch = get(place, fd);
        check_rows(place, scratch);
        scratch_put(place->pool, &scratch);
    }
    close(fd);
}

/* What nobody uses makes room for another. */
static void idle_ones_give_way(void **state)
{
    struct place *place = *state;
    const uint32_t planes = (uint32_t)(SCRATCH_MEMORY >> 20) * 2 / 3;
    int a_fd = make_file(planes, 0), b_fd = make_file(planes + 1, 0);
    struct scratch *a = get(place, a_fd);
    check_rows(place, a);
    scratch_put(place->pool, &a);
    struct scratch *b = get(place, b_fd);
    check_rows(place, b);
    a = get(place, a_fd);
    assert_false(scratch_is_ready(place->pool, a));
    scratch_put(place->pool, &a);
    scratch_put(place->pool, &b);
    close(a_fd);
    close(b_fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_is_kept_for_a_while),          TEST(readers_share_one),  TEST(damage_is_told_once),
        TEST(large_ones_overflow_to_the_disk), TEST(idle_ones_give_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
