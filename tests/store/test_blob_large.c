#include "test.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/blob.h"
#include "util.h"

/* A blob of a terabyte, written with a checkpoint every two gigabytes (2 s at 1 GB/s). Chunks are
 * not really written: the file is sparse, tables and checkpoints are the only bytes in it. They are
 * small, as each is copied (store/kept.h), and what this measures does not depend on it. */

#define CHUNK      (1u << 20)
#define CODED      (40u << 10)
#define N_CHUNKS   (1u << 20)
#define PER_POINT  2048u
#define N_RESIDENT 64u

struct sparse_io {
    struct io io; /* first member */
    uint64_t n_tables, n_read, n_sync;
};

static ssize_t sparse_pwrite(const struct io *io, int fd, const void *buf, size_t len, uint64_t off)
{
    struct sparse_io *s = (struct sparse_io *)(uintptr_t)io;
    if (len != CODED) {
        s->n_tables += len;
        return io_system.pwrite(&io_system, fd, buf, len, off);
    }
    if (off + len > util_size(fd))
        io_system.ftruncate(&io_system, fd, off + len);
    return (ssize_t)len;
}

static ssize_t sparse_pread(const struct io *io, int fd, void *buf, size_t len, uint64_t off)
{
    struct sparse_io *s = (struct sparse_io *)(uintptr_t)io;
    s->n_read += len;
    return io_system.pread(&io_system, fd, buf, len, off);
}

static int sparse_fdatasync(const struct io *io, int fd)
{
    (void)fd;
    ((struct sparse_io *)(uintptr_t)io)->n_sync++;
    return 0;
}

static void sparse_init(struct sparse_io *s)
{
    *s = (struct sparse_io){.io = io_system};
    s->io.pwrite = sparse_pwrite;
    s->io.pread = sparse_pread;
    s->io.fdatasync = sparse_fdatasync;
}

static void write_chunk(struct blob *blob, const void *coded, uint64_t i, uint64_t *random)
{
    struct blob_chunk chunk = {
        .box = {.type = SQY_UINT16, .planes = 1, .rows = 256, .width = 2048, .spp = 1},
        .coded_len = CODED - (uint32_t)util_below(random, 5000),
        .coded_sum = util_random(random),
        .served_sum = util_random(random),
    };
    struct blob_claim claim = {.off = 441 + i * CHUNK, .len = CHUNK};
    assert_int_equal(
        blob_pipeline_id(blob, "bitshuffle(block_size=0)->zstd(level=1)", &chunk.pipeline), 0);
    assert_int_equal(blob_append(blob, false, coded, CODED, &chunk.coded_off), 0);
    assert_int_equal(util_commit(blob, &chunk, &claim, 1), 0);
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void test_terabyte(void **state)
{
    (void)state;
    struct sparse_io io;
    sparse_init(&io);
    struct blob *blob = util_create(&io.io);
    blob_limit_pages(blob, N_RESIDENT);
    void *coded = calloc(1, CODED);
    uint64_t random = 1, before = heap_bytes(), most = 0;
    for (uint64_t i = 0; i < N_CHUNKS; i++) {
        write_chunk(blob, coded, i, &random);
        if (i % PER_POINT == PER_POINT - 1) {
            assert_int_equal(util_checkpoint(blob, 441 + (i + 1) * CHUNK, (uint32_t)i, 0), 0);
            most = heap_bytes() - before > most ? heap_bytes() - before : most;
        }
    }
    assert_int_equal(util_checkpoint(blob, 441 + (uint64_t)N_CHUNKS * CHUNK, 5, BLOB_FULL), 0);

    struct blob_stats stats, again;
    blob_stats(blob, &stats);
    assert_int_equal(stats.n_extents, N_CHUNKS);
    assert_int_equal(stats.mapped_bytes, (uint64_t)N_CHUNKS * CHUNK);
    print_message("tables and checkpoints: %.1f MB, memory: %.1f MB\n", (double)io.n_tables / 1e6,
                  (double)most / 1e6);
    assert_true(io.n_tables < 60000000);
    assert_true(most < 8000000);

    int fd = dup(blob_fd(blob));
    blob_close(&blob);
    io.n_read = 0;
    assert_int_equal(util_open(&io.io, fd, false, &blob), 0);
    print_message("opening it reads %.0f kB\n", (double)io.n_read / 1e3);
    assert_true(io.n_read < 1000000);
    blob_stats(blob, &again);
    assert_int_equal(again.n_extents, N_CHUNKS);
    assert_int_equal(again.digest, stats.digest);

    io.n_read = 0;
    struct blob_extent extent;
    assert_int_equal(util_find(blob, 700000000000u, &extent), 0);
    assert_int_equal(extent.claim.len, CHUNK);
    assert_int_equal(extent.claim.off, 441 + (700000000000u - 441) / CHUNK * CHUNK);
    assert_true(io.n_read < 20000);
    blob_close(&blob);

    /* all of it truncated away: without loading it */
    assert_int_equal(util_open(&io.io, fd, true, &blob), 0);
    io.n_read = 0;
    assert_int_equal(blob_punch(blob, 0, UINT64_MAX), 0);
    assert_int_equal(util_checkpoint(blob, 0, 6, 0), 0);
    assert_int_equal(io.n_read, 0);
    blob_stats(blob, &stats);
    assert_int_equal(stats.n_extents, 0);
    assert_int_equal(stats.live_bytes, 0);
    blob_close(&blob);
    close(fd);
    free(coded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_terabyte)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
