#include "test.h"

#include "rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/blob.h"

/* Slower by far than a writer in memory; a spool that is soon full. */
#define SLOW  "zstd(level=9)"
#define SPOOL (16u << 20)

static struct rig slow_rig(const char *pipeline)
{
    return (struct rig){
        .config = {.pipeline = pipeline, .spool = SPOOL, .threads = 1, .chunk = 256 << 10}};
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
        nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    }
}

static void await_nothing_due(struct rig *rig)
{
    await(rig, "due_stacks", 0, 0);
    await(rig, "reencoding", 0, 0);
}

/* ---- stacks ---- */

struct picture {
    uint8_t *data;
    size_t len;
};

static struct picture picture(uint32_t planes)
{
    struct picture picture = {malloc(rig_tiff_bound(512, 512, planes)), 0};
    assert_non_null(picture.data);
    picture.len = rig_tiff(RIG_PAGES, 512, 512, planes, picture.data);
    return picture;
}

static void write_all(struct stack *stack, const struct picture *picture)
{
    for (size_t at = 0; at < picture->len; at += 1 << 20) {
        size_t n = picture->len - at < 1 << 20 ? picture->len - at : 1 << 20;
        rig_write(stack, picture->data + at, n, at);
    }
}

/* Written faster than it can be encoded, closed and stored. */
static void write_fast(struct rig *rig, const char *name, const struct picture *picture)
{
    struct stack *stack = rig_create(rig, name);
    write_all(stack, picture);
    stack_release(stack, true);
    stack_put(&stack);
    assert_int_equal(volume_drain(rig->volume), 0);
    assert_true(number(rig, "chunks_fast") + number(rig, "chunks_raw") > 0);
}

static void expect(struct rig *rig, const char *name, const struct picture *picture)
{
    struct stack *stack = rig_find(rig, name);
    rig_expect(stack, picture->data, picture->len);
    stack_put(&stack);
}

struct census {
    unsigned lower, voxels,
        other; /* chunks' extents: of lower rungs; of voxels; not by the pipeline */
};

/* Of a volume that is closed. */
static struct census count_chunks(const struct rig *rig, const char *name, const char *pipeline)
{
    struct census census = {0};
    struct blob *blob;
    struct blob_state state;
    struct blob_extent extent;
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", rig->path, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(blob_open(&io_system, fd, false, &blob), 0);
    blob_state(blob, &state);
    for (uint64_t at = 0; at < state.size; at = extent.claim.off + extent.claim.len) {
        assert_int_equal(blob_prepare(blob, at, 1), 0);
        assert_int_equal(blob_find(blob, at, &extent), 0);
        if (extent.hole)
            continue;
        const char *text = blob_pipeline_text(blob, extent.chunk.pipeline);
        bool voxels = extent.chunk.box.type != SQY_BYTES;
        census.lower += (extent.chunk.flags & BLOB_LOWER_RUNG) != 0;
        census.voxels += voxels;
        census.other += voxels && strncmp(text, pipeline, strlen(pipeline)) != 0;
    }
    blob_close(&blob);
    return census;
}

static void damage_first_lower(const struct rig *rig, const char *name)
{
    struct blob *blob;
    struct blob_extent extent = {.hole = true};
    char path[256];
    uint8_t byte;
    snprintf(path, sizeof(path), "%s/%s", rig->path, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC), rw = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(blob_open(&io_system, fd, false, &blob), 0);
    for (uint64_t at = 0; extent.hole || !(extent.chunk.flags & BLOB_LOWER_RUNG);
         at = extent.claim.off + extent.claim.len) {
        assert_int_equal(blob_prepare(blob, at, 1), 0);
        assert_int_equal(blob_find(blob, at, &extent), 0);
    }
    off_t middle = (off_t)(extent.chunk.coded_off + extent.chunk.coded_len / 2);
    assert_int_equal(pread(rw, &byte, 1, middle), 1);
    byte ^= 0xff;
    assert_int_equal(pwrite(rw, &byte, 1, middle), 1);
    close(rw);
    blob_close(&blob);
}

/* ---- tests ---- */

static void lower_rungs_are_left_when_nobody_writes(void **state)
{
    (void)state;
    struct rig rig = slow_rig(SLOW);
    struct picture a = picture(40);
    rig_start(&rig);
    write_fast(&rig, "a.tif", &a);
    expect(&rig, "a.tif", &a);
    struct stack *stack = rig_find(&rig, "a.tif");
    struct stat before, after;
    assert_int_equal(fstat(stack_fd(stack), &before), 0);
    assert_int_equal(stack_getattr(stack, &before), 0);
    await(&rig, "chunks_reencoded", 1, 1e9);
    await_nothing_due(&rig);
    assert_int_equal(fstat(stack_fd(stack), &after), 0);
    assert_int_equal(stack_getattr(stack, &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(after.st_mtim));
    assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof(after.st_ctim));
    stack_put(&stack);
    expect(&rig, "a.tif", &a);
    rig_close(&rig);
    struct census census = count_chunks(&rig, "a.tif.sqy", SLOW);
    assert_true(census.voxels >= 40);
    assert_int_equal(census.lower, 0);
    assert_int_equal(census.other, 0);
    rig_open(&rig);
    expect(&rig, "a.tif", &a);
    await_nothing_due(&rig);
    rig_stop(&rig);
    free(a.data);
}

static void a_writer_who_comes_back_is_not_kept_waiting(void **state)
{
    (void)state;
    struct rig rig = slow_rig(SLOW);
    struct picture a = picture(40), b = picture(2);
    rig_start(&rig);
    write_fast(&rig, "a.tif", &a);
    await(&rig, "chunks_reencoded", 1, 1e9);
    assert_int_equal(volume_drain(rig.volume), 0); /* stored is stored */
    assert_true(number(&rig, "due_stacks") > 0);
    struct stack *stack = rig_create(&rig, "b.tif");
    write_all(stack, &b);
    await(&rig, "reencoding", 0, 0);
    assert_true(number(&rig, "due_stacks") > 0);
    stack_release(stack, true);
    stack_put(&stack);
    double before = number(&rig, "chunks_reencoded");
    await(&rig, "chunks_reencoded", before + 1, 1e9); /* and then it goes on */
    rig_close(&rig);                                  /* in the middle of it, too */
    assert_true(count_chunks(&rig, "a.tif.sqy", SLOW).lower > 0);
    rig.config.pipeline = "lz4"; /* blobs keep theirs */
    rig_open(&rig);
    await(&rig, "due_stacks", 1, 1e9);
    await_nothing_due(&rig);
    expect(&rig, "a.tif", &a);
    expect(&rig, "b.tif", &b);
    rig_close(&rig);
    struct census census = count_chunks(&rig, "a.tif.sqy", SLOW);
    assert_int_equal(census.lower, 0);
    assert_int_equal(census.other, 0);
    rig_stop(&rig);
    free(a.data);
    free(b.data);
}

static void a_lost_index_finds_what_is_to_be_done_again(void **state)
{
    (void)state;
    struct rig rig = slow_rig(SLOW);
    struct picture a = picture(40);
    char path[256];
    rig_start(&rig);
    write_fast(&rig, "a.tif", &a);
    rig_close(&rig);
    snprintf(path, sizeof(path), "%s/.sqyfs/index.db", rig.path);
    assert_int_equal(unlink(path), 0);
    rig_open(&rig);
    await(&rig, "chunks_reencoded", 1, 1e9);
    await_nothing_due(&rig);
    expect(&rig, "a.tif", &a);
    rig_close(&rig);
    assert_int_equal(count_chunks(&rig, "a.tif.sqy", SLOW).lower, 0);
    rig_stop(&rig);
    free(a.data);
}

static void what_was_edited_and_cut_off_is_encoded_again_too(void **state)
{
    (void)state;
    struct rig rig = slow_rig(SLOW);
    struct picture a = picture(40);
    uint64_t seed = 5;
    rig_start(&rig);
    write_fast(&rig, "a.tif", &a);
    struct stack *stack = rig_find(&rig, "a.tif");
    assert_int_equal(stack_open(stack, true, -1), 0);
    for (unsigned i = 0; i < 200; i++) {
        size_t len = 1 + rig_random(&seed) % 3000, off = rig_random(&seed) % (a.len - len);
        memset(a.data + off, (int)i, len);
        rig_write(stack, a.data + off, len, off);
        if (i % 50 == 0)
            assert_int_equal(stack_fsync(stack), 0);
    }
    a.len -= 700001;
    assert_int_equal(stack_truncate(stack, a.len), 0);
    stack_release(stack, true);
    stack_put(&stack);
    assert_int_equal(volume_drain(rig.volume), 0);
    await(&rig, "chunks_reencoded", 1, 1e9);
    await_nothing_due(&rig);
    expect(&rig, "a.tif", &a);
    rig_close(&rig);
    assert_int_equal(count_chunks(&rig, "a.tif.sqy", SLOW).lower, 0);
    rig_open(&rig);
    expect(&rig, "a.tif", &a);
    rig_stop(&rig);
    free(a.data);
}

static void damage_keeps_no_other_chunk_from_it(void **state)
{
    (void)state;
    struct rig rig = slow_rig(SLOW);
    struct picture a = picture(40);
    rig_start(&rig);
    write_fast(&rig, "a.tif", &a);
    rig_close(&rig);
    damage_first_lower(&rig, "a.tif.sqy");
    unsigned lower = count_chunks(&rig, "a.tif.sqy", SLOW).lower;
    assert_true(lower > 1);
    rig_open(&rig);
    await(&rig, "chunks_reencoded", lower - 1, lower);
    await(&rig, "checksum_errors", 1, 1e9);
    await(&rig, "reencoding", 0, 0);
    rig_close(&rig);
    assert_int_equal(count_chunks(&rig, "a.tif.sqy", SLOW).lower, 1);
    rig_stop(&rig);
    free(a.data);
}

/* Bytes that are no voxels are all flushed at once. */
static void bytes_that_were_stored_raw_are_compressed_again(void **state)
{
    (void)state;
    struct rig rig = slow_rig(SLOW);
    struct picture text = {malloc(SPOOL - (1 << 20)), SPOOL - (1 << 20)};
    struct census census;
    assert_non_null(text.data);
    for (size_t i = 0; i < text.len; i++)
        text.data[i] = (uint8_t)("any text "[i % 9] + i / 100000 % 5);
    rig_start(&rig);
    write_fast(&rig, "own.sqy", &text);
    await(&rig, "chunks_reencoded", 1, 1e9);
    await_nothing_due(&rig);
    expect(&rig, "own.sqy", &text);
    struct stack_info info;
    struct stack *stack = rig_find(&rig, "own.sqy");
    assert_int_equal(stack_info(stack, &info), 0);
    assert_true(info.ratio > 10); /* compacted, too */
    stack_put(&stack);
    rig_close(&rig);
    census = count_chunks(&rig, "own.sqy.sqy", "");
    assert_int_equal(census.lower, 0);
    rig_stop(&rig);
    free(text.data);
}

/* sqyctl compact, while its chunks are encoded anew. */
static void a_rewrite_that_is_asked_for_takes_it_over(void **state)
{
    (void)state;
    struct rig rig = slow_rig(SLOW);
    struct picture a = picture(40);
    rig_start(&rig);
    write_fast(&rig, "a.tif", &a);
    await(&rig, "chunks_reencoded", 1, 1e9);
    struct stack *stack = rig_find(&rig, "a.tif");
    assert_int_equal(stack_compact(stack), 0);
    stack_put(&stack);
    await_nothing_due(&rig);
    expect(&rig, "a.tif", &a);
    rig_close(&rig);
    assert_int_equal(count_chunks(&rig, "a.tif.sqy", SLOW).lower, 0);
    rig_stop(&rig);
    free(a.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lower_rungs_are_left_when_nobody_writes),
        cmocka_unit_test(a_writer_who_comes_back_is_not_kept_waiting),
        cmocka_unit_test(a_lost_index_finds_what_is_to_be_done_again),
        cmocka_unit_test(what_was_edited_and_cut_off_is_encoded_again_too),
        cmocka_unit_test(damage_keeps_no_other_chunk_from_it),
        cmocka_unit_test(bytes_that_were_stored_raw_are_compressed_again),
        cmocka_unit_test(a_rewrite_that_is_asked_for_takes_it_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
