#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/le.h"
#include "base/sum.h"
#include "io_faulty.h"
#include "store/blob.h"
#include "util.h"

static int keep(struct blob *blob)
{
    int fd = fcntl(blob_fd(blob), F_DUPFD_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static void parse_header(int fd, struct sqy_header *header)
{
    uint8_t data[BLOB_HEADER_BYTES];
    assert_int_equal(io_pread_exact(&io_system, fd, data, sizeof(data), 0), 0);
    assert_int_equal(sqy_header_parse(data, sizeof(data), header), 0);
    assert_int_equal(header->header_bytes, BLOB_HEADER_BYTES);
}

static void assert_plain(struct blob *blob, uint64_t off, const void *expected, size_t len)
{
    uint8_t got[4096];
    assert_true(len <= sizeof(got));
    assert_int_equal(util_read(blob, off, got, len), 0);
    assert_memory_equal(got, expected, len);
}

/* ---- making, opening ---- */

static void test_empty(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    struct blob_state at;
    struct blob_stats stats;
    struct blob_extent extent;
    assert_int_equal(util_size(fd), BLOB_HEADER_BYTES);
    blob_close(&blob);
    for (int writable = 0; writable < 2; writable++) {
        assert_int_equal(util_open(&io_system, fd, writable, &blob), 0);
        blob_state(blob, &at);
        assert_int_equal(at.size, 0);
        assert_string_equal(at.meta, "");
        blob_stats(blob, &stats);
        assert_int_equal(stats.n_checkpoints, 0);
        assert_false(stats.torn);
        assert_int_equal(blob_find(blob, 17, &extent), 0);
        assert_true(extent.hole);
        assert_int_equal(extent.claim.off, 0);
        assert_int_equal(extent.claim.len, UINT64_MAX);
        blob_close(&blob);
    }
    close(fd);
}

static void test_what_is_no_blob(void **state)
{
    (void)state;
    struct blob *blob = NULL;
    struct blob_header header = {.pipename = "lz4", .type = SQY_BYTES};
    int fd = util_file();
    assert_int_equal(blob_open(&io_system, fd, true, &blob), -EBADMSG);
    util_poke(fd, 0, "x", 1);
    assert_int_equal(blob_create(&io_system, fd, &header, &blob), -EEXIST);
    assert_int_equal(blob_open(&io_system, fd, true, &blob), -EBADMSG);
    assert_int_equal(util_size(fd), 1);
    static const uint8_t zeros[100000];
    util_poke(fd, 0, zeros, sizeof(zeros));
    assert_int_equal(blob_open(&io_system, fd, true, &blob), -EBADMSG);
    assert_int_equal(util_size(fd), sizeof(zeros));
    assert_null(blob);
    close(fd);
}

/* The header is ours, there are bytes, and no checkpoint among them. */
static void test_no_checkpoint_at_all(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    blob_close(&blob);
    static const uint8_t zeros[300000];
    util_poke(fd, BLOB_HEADER_BYTES, zeros, sizeof(zeros));
    assert_int_equal(util_open(&io_system, fd, false, &blob), -EBADMSG);
    assert_int_equal(util_open(&io_system, fd, true, &blob), -EBADMSG);
    assert_int_equal(util_size(fd), BLOB_HEADER_BYTES + sizeof(zeros));
    close(fd);
}

static void test_killed_before_the_first_checkpoint(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    struct blob_stats stats;
    assert_int_equal(util_write(blob, 0, "abc", 3, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    blob_stats(blob, &stats);
    assert_true(stats.torn);
    assert_int_equal(stats.n_extents, 0);
    blob_close(&blob);
    uint64_t before = util_size(fd);
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    assert_true(util_size(fd) < before);
    assert_int_equal(util_write(blob, 0, "def", 3, 0), 0);
    assert_int_equal(util_checkpoint(blob, 3, 1, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_plain(blob, 0, "def", 3);
    blob_stats(blob, &stats);
    assert_int_equal(stats.n_checkpoints, 1);
    blob_close(&blob);
    close(fd);
}

static void test_state_comes_back(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    char *meta = malloc(BLOB_MAX_META + 1);
    memset(meta, 'm', BLOB_MAX_META);
    meta[BLOB_MAX_META] = 0;
    struct blob_state at = {.size = INT64_MAX, .mtime = {-3, 999999999}, .meta = meta}, back;
    assert_int_equal(blob_checkpoint(blob, &at, 0), -EINVAL);
    meta[BLOB_MAX_META - 1] = 0;
    at.size++;
    assert_int_equal(blob_checkpoint(blob, &at, 0), -EINVAL);
    at.size--;
    at.mtime.tv_nsec = 1000000000;
    assert_int_equal(blob_checkpoint(blob, &at, 0), -EINVAL);
    at.mtime.tv_nsec--;
    assert_int_equal(blob_checkpoint(blob, &at, 0), 0);
    /* one that leaves meta as it is, built on the first */
    at.size = 77;
    assert_int_equal(blob_checkpoint(blob, &at, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    blob_state(blob, &back);
    assert_int_equal(back.size, 77);
    assert_int_equal(back.mtime.tv_sec, -3);
    assert_int_equal(back.mtime.tv_nsec, 999999999);
    assert_string_equal(back.meta, meta);
    /* the state that was handed out may be handed in */
    back.size = 78;
    assert_int_equal(blob_checkpoint(blob, &back, 0), 0);
    blob_close(&blob);
    close(fd);
    free(meta);
}

static void test_read_only(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    struct blob_header header;
    struct blob_chunk chunk = {0};
    struct blob_part part = {0};
    struct blob_claim claim = {.len = 1};
    uint64_t off;
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_int_equal(blob_append(blob, false, "a", 1, &off), -EROFS);
    assert_int_equal(blob_append_parts(blob, &part, 1, &off), -EROFS);
    assert_int_equal(blob_commit(blob, &chunk, &claim, 1), -EROFS);
    assert_int_equal(blob_punch(blob, 0, 1), -EROFS);
    assert_int_equal(util_checkpoint(blob, 0, 1, 0), -EROFS);
    blob_header(blob, &header);
    assert_int_equal(blob_write_header(blob, &header), -EROFS);
    assert_int_equal(util_size(fd), BLOB_HEADER_BYTES);
    blob_close(&blob);
    close(fd);
}

/* ---- headers ---- */

static void test_header_live_and_upstream(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    struct sqy_header parsed;
    struct blob_header header;
    parse_header(fd, &parsed);
    assert_int_equal(strncmp(parsed.pipename, "sqyfs->lz4(", 11), 0);
    assert_int_equal(parsed.rank, 3);
    sqy_header_free(&parsed);

    assert_int_equal(util_write(blob, 0, "0123", 4, 0), 0);
    assert_int_equal(util_checkpoint(blob, 4, 1, 0), 0);
    blob_header(blob, &header);
    header.upstream = true;
    assert_int_equal(blob_write_header(blob, &header), 0);
    parse_header(fd, &parsed);
    assert_int_equal(strncmp(parsed.pipename, "lz4(", 4), 0);
    assert_int_equal(parsed.encoded_bytes, util_size(fd) - BLOB_HEADER_BYTES);
    sqy_header_free(&parsed);
    blob_close(&blob);

    /* what does not touch the bytes leaves the form */
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    assert_int_equal(util_checkpoint(blob, 4, 2, BLOB_FULL), 0);
    blob_header(blob, &header);
    assert_true(header.upstream);
    assert_int_equal(strncmp(header.pipename, "lz4(", 4), 0);
    assert_int_equal(header.shape[2], 4);
    /* a hole does */
    assert_int_equal(blob_punch(blob, 1, 1), 0);
    assert_int_equal(util_checkpoint(blob, 4, 3, 0), 0);
    parse_header(fd, &parsed);
    assert_int_equal(strncmp(parsed.pipename, "sqyfs->", 7), 0);
    sqy_header_free(&parsed);
    blob_close(&blob);
    close(fd);
}

/* The live header is on the disk before the first byte that sqeazy would misread. */
static void test_append_leaves_upstream_form_first(void **state)
{
    (void)state;
    struct io_faulty io;
    io_faulty_init(&io);
    struct blob *blob = util_create(&io.io);
    int fd = keep(blob);
    struct blob_header header;
    struct blob_stats stats;
    struct sqy_header parsed;
    uint64_t off;
    assert_int_equal(util_checkpoint(blob, 0, 1, 0), 0);
    blob_header(blob, &header);
    header.upstream = true;
    assert_int_equal(blob_write_header(blob, &header), 0);
    uint64_t size = util_size(fd);

    io_faulty_fail(&io, IO_PWRITE, 1, ENOSPC, false);
    assert_int_equal(blob_append(blob, false, "a", 1, &off), -ENOSPC);
    io_faulty_heal(&io);
    parse_header(fd, &parsed);
    io_faulty_fail(&io, IO_FDATASYNC, 1, EIO, false);
    assert_int_equal(blob_append(blob, false, "a", 1, &off), -EIO);
    blob_stats(blob, &stats);
    assert_true(stats.upstream);
    assert_int_equal(util_size(fd), size);
    unsigned n_sync = io.n[IO_FDATASYNC];
    assert_int_equal(blob_append(blob, false, "a", 1, &off), 0);
    assert_int_equal(io.n[IO_FDATASYNC], n_sync + 1);
    assert_int_equal(blob_append(blob, false, "a", 1, &off), 0);
    assert_int_equal(io.n[IO_FDATASYNC], n_sync + 1);
    blob_stats(blob, &stats);
    assert_false(stats.upstream);
    sqy_header_free(&parsed);
    blob_close(&blob);
    close(fd);
    io_faulty_clear(&io);
}

static void test_header_bytes_and_long_names(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    struct blob_header header = {.pipename = "lz4", .type = SQY_BYTES}, back;
    assert_int_equal(blob_write_header(blob, &header), 0);
    blob_header(blob, &back);
    assert_int_equal(back.type, SQY_UINT8);
    assert_int_equal(back.rank, 1);
    char *name = malloc(5000);
    memset(name, 'x', 4999);
    name[4999] = 0;
    header.pipename = name;
    assert_int_equal(blob_write_header(blob, &header), -ENOSPC);
    header.pipename = "lz4";
    header.rank = SQY_MAX_RANK + 1;
    assert_int_equal(blob_write_header(blob, &header), -EINVAL);
    int fd = keep(blob);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    blob_header(blob, &back);
    assert_string_equal(back.pipename, "lz4");
    assert_int_equal(back.type, SQY_UINT8);
    blob_close(&blob);
    close(fd);
    free(name);
}

static void poke_header(int fd, const char *from, const char *to)
{
    char data[BLOB_HEADER_BYTES];
    assert_int_equal(io_pread_exact(&io_system, fd, data, sizeof(data), 0), 0);
    char *at = memmem(data, sizeof(data), from, strlen(from));
    assert_non_null(at);
    util_poke(fd, (uint64_t)(at - data), to, strlen(to));
}

static void test_versions(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    assert_int_equal(util_write(blob, 0, "abc", 3, 0), 0);
    assert_int_equal(util_checkpoint(blob, 3, 1, 0), 0);
    assert_int_equal(util_checkpoint(blob, 3, 2, 0), 0);
    blob_close(&blob);
    uint64_t size = util_size(fd);
    poke_header(fd, "\"version\":1", "\"version\":2");
    assert_int_equal(util_open(&io_system, fd, false, &blob), -ENOTSUP);
    assert_int_equal(util_open(&io_system, fd, true, &blob), -ENOTSUP);
    poke_header(fd, "\"version\":2", "\"version\":0");
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0); /* a lost header */
    blob_close(&blob);
    poke_header(fd, "\"version\":0", "\"version\":1");
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    blob_close(&blob);

    /* a checkpoint of a newer kind, right in all else: what came before it does not count any more
     */
    uint8_t *data = malloc(size);
    assert_int_equal(io_pread_exact(&io_system, fd, data, size, 0), 0);
    uint32_t len = le_load32(data + size - 8);
    data[size - len + 15]++;
    util_resign(data, size);
    util_poke(fd, 0, data, size);
    assert_int_equal(util_open(&io_system, fd, false, &blob), -ENOTSUP);
    assert_int_equal(util_open(&io_system, fd, true, &blob), -ENOTSUP);
    free(data);
    close(fd);
}

static void test_sqeazys_own(void **state)
{
    (void)state;
    struct blob *blob;
    for (size_t len = 10; len < 3000000; len = len * 3 + 7) {
        char *name = malloc(len + 1);
        memset(name, 'x', len);
        name[len] = 0;
        struct sqy_header header = {.pipename = name, .type = SQY_UINT8, .rank = 1, .shape = {5}};
        ssize_t bytes = sqy_header_write(&header, 0, NULL, 0);
        assert_true(bytes > 0);
        uint8_t *data = malloc((size_t)bytes);
        assert_int_equal(sqy_header_write(&header, 0, data, (size_t)bytes), bytes);
        int fd = util_file();
        util_poke(fd, 0, data, (size_t)bytes);
        util_poke(fd, (uint64_t)bytes, "12345", 5);
        assert_int_equal(util_open(&io_system, fd, false, &blob), -EMEDIUMTYPE);
        close(fd);
        free(data);
        free(name);
    }
}

/* ---- table ---- */

static void test_commits_that_make_no_sense(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    struct blob_chunk good, bad;
    uint8_t data[100] = {0};
    assert_int_equal(util_append(blob, data, 100, 0, &good), 0);
    struct blob_claim claim = {.off = 10, .len = 100};
    struct blob_claim twice[] = {{.off = 10, .len = 20}, {.off = 29, .len = 2, .src = 20}};
    struct blob_claim twice_back[] = {{.off = 29, .len = 2, .src = 20}, {.off = 10, .len = 20}};
    struct blob_claim bad_claims[] = {
        {.off = 10, .len = 101},
        {.off = 10, .len = 100, .src = 1},
        {.off = 10, .len = 0},
        {.off = INT64_MAX - 98, .len = 100},
        {.off = 10, .len = UINT64_MAX},
        {.off = UINT64_MAX, .len = 2},
        {.off = 0, .len = 1, .src = 100},
        {.off = 0, .len = 1, .src = UINT32_MAX},
    };
    for (unsigned i = 0; i < sizeof(bad_claims) / sizeof(bad_claims[0]); i++)
        assert_int_equal(blob_commit(blob, &good, &bad_claims[i], 1), -EINVAL);
    assert_int_equal(blob_commit(blob, &good, twice, 2), -EINVAL);
    assert_int_equal(blob_commit(blob, &good, twice_back, 2), -EINVAL);

#define BAD(field, value)                                                                          \
    do {                                                                                           \
        bad = good;                                                                                \
        bad.field = value;                                                                         \
        assert_int_equal(blob_commit(blob, &bad, &claim, 1), -EINVAL);                             \
    } while (0)
    BAD(box.type, 99);
    BAD(box.rows, 0);
    BAD(box.planes, BLOB_MAX_CHUNK);
    BAD(box.spp, 0);
    BAD(pipeline, 1);
    BAD(flags, 32);
    BAD(coded_len, 0);
    BAD(coded_len, 102);
    BAD(coded_off, 0);
    BAD(coded_off, UINT64_MAX - 50);
    BAD(coded_off, good.coded_off + 1);
#undef BAD
    struct blob_stats stats;
    blob_stats(blob, &stats);
    assert_int_equal(stats.n_extents, 0);
    assert_int_equal(blob_commit(blob, &good, &claim, 1), 0);
    assert_int_equal(blob_commit(blob, &good, &claim, 0), 0);
    blob_stats(blob, &stats);
    assert_int_equal(stats.n_extents, 1);
    assert_int_equal(stats.live_bytes, 100);
    blob_close(&blob);
}

static void test_edges_of_the_plain_file(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    struct blob_extent extent;
    uint64_t last = INT64_MAX - 3u;
    assert_int_equal(util_write(blob, last, "end", 3, 0), 0);
    assert_int_equal(util_write(blob, 0, "start", 5, 0), 0);
    assert_plain(blob, last, "end", 3);
    assert_int_equal(blob_find(blob, 5, &extent), 0);
    assert_true(extent.hole && extent.claim.off == 5 && extent.claim.len == last - 5);
    assert_int_equal(blob_find(blob, UINT64_MAX, &extent), 0);
    assert_true(extent.hole && extent.claim.off == last + 3);
    assert_int_equal(blob_punch(blob, UINT64_MAX, UINT64_MAX), 0);
    assert_int_equal(blob_punch(blob, 3, 0), 0);
    assert_int_equal(blob_prepare(blob, UINT64_MAX, UINT64_MAX), 0);
    assert_int_equal(blob_prepare(blob, 0, 0), 0);
    assert_plain(blob, 0, "start", 5);
    assert_int_equal(blob_punch(blob, 2, UINT64_MAX), 0);
    assert_plain(blob, 0, "st\0\0", 4);
    blob_close(&blob);
}

/* Extents behind the size: a reader does not see them, the next writer drops them. */
static void test_behind_the_size(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    struct blob_extent extent;
    struct blob_stats stats;
    assert_int_equal(util_write(blob, 0, "0123456789", 10, 0), 0);
    assert_int_equal(util_write(blob, 20, "9876543210", 10, 0), 0);
    assert_plain(blob, 20, "9876543210", 10); /* the writer may be growing */
    assert_int_equal(util_checkpoint(blob, 4, 1, 0), 0);
    blob_close(&blob);

    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_plain(blob, 0, "0123\0\0", 6);
    assert_plain(blob, 20, "\0\0", 2);
    assert_int_equal(util_find(blob, 0, &extent), 0);
    assert_int_equal(extent.claim.len, 4);
    assert_int_equal(util_find(blob, 4, &extent), 0);
    assert_true(extent.hole && extent.claim.len == UINT64_MAX - 4);
    blob_close(&blob);

    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    blob_stats(blob, &stats);
    assert_int_equal(stats.n_extents, 1);
    assert_int_equal(stats.mapped_bytes, 4);
    assert_int_equal(util_checkpoint(blob, 40, 2, 0), 0);
    assert_plain(blob, 0, "0123\0\0", 6);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_plain(blob, 20, "\0\0", 2);
    blob_close(&blob);
    close(fd);
}

/* A commit far and wide over a table that does not fit memory asks for the pages it needs, and no
 * others. */
static void test_commit_far_and_wide(void **state)
{
    (void)state;
    struct io_faulty io;
    io_faulty_init(&io);
    struct blob *blob = util_create(&io.io);
    struct blob_chunk chunk;
    uint8_t data[300] = {1};
    struct blob_claim claims[30];
    for (uint32_t i = 0; i < 30 * 256; i++)
        assert_int_equal(util_write(blob, 8 * i, "byte", 4, 0), 0);
    assert_int_equal(util_checkpoint(blob, 8 * 30 * 256, 1, 0), 0);
    blob_limit_pages(blob, 2);
    assert_int_equal(util_append(blob, data, 300, 0, &chunk), 0);
    for (uint32_t i = 0; i < 30; i++)
        claims[i] = (struct blob_claim){.off = 8 * 256 * i + 100, .len = 2, .src = 10 * i};
    unsigned n = io.n[IO_PREAD];
    int r, tries = 0;
    while ((r = blob_commit(blob, &chunk, claims, 30)) == -EAGAIN) {
        assert_true(++tries < 3);
        assert_int_equal(blob_prepare(blob, 0, 8 * 30 * 256), 0);
    }
    assert_int_equal(r, 0);
    assert_true(io.n[IO_PREAD] - n <= 30);
    /* nobody has failed for want of a page: the range is loaded as far as it fits */
    assert_int_equal(util_checkpoint(blob, 8 * 30 * 256, 2, 0), 0);
    n = io.n[IO_PREAD];
    assert_int_equal(blob_prepare(blob, 0, 8 * 30 * 256), 0);
    assert_true(io.n[IO_PREAD] - n >= 1 && io.n[IO_PREAD] - n <= 4);
    blob_close(&blob);
    io_faulty_clear(&io);
}

static void test_pipelines(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    char *text = malloc(80000);
    uint32_t id, again;
    memset(text, 'p', 79999);
    text[79999] = 0;
    assert_int_equal(blob_pipeline_id(blob, text, &id), -ENOSPC);
    text[65536] = 0;
    assert_int_equal(blob_pipeline_id(blob, text, &id), 0);
    assert_int_equal(blob_pipeline_id(blob, text, &again), 0);
    assert_int_equal(id, again);
    assert_int_equal(util_checkpoint(blob, 0, 1, 0), 0);
    for (unsigned i = 1; i < BLOB_MAX_PIPELINES; i++) {
        char name[20];
        snprintf(name, sizeof(name), "zstd(level=%u)", i);
        assert_int_equal(blob_pipeline_id(blob, name, &id), 0);
        assert_int_equal(id, i);
        if (i == 100)
            assert_int_equal(util_checkpoint(blob, 0, i, 0), 0);
    }
    assert_int_equal(blob_pipeline_id(blob, "one more", &id), -ENOSPC);
    assert_null(blob_pipeline_text(blob, BLOB_MAX_PIPELINES));
    assert_int_equal(util_checkpoint(blob, 0, 300, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_string_equal(blob_pipeline_text(blob, 0), text);
    assert_string_equal(blob_pipeline_text(blob, 254), "zstd(level=254)");
    blob_close(&blob);
    close(fd);
    free(text);
}

/* ---- chunks ---- */

static void test_wrapped_chunks_are_skippable(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    uint8_t *data = calloc(1, 100000), head[8];
    uint64_t off;
    for (uint32_t len = 1; len < 100000; len = len * 5) {
        assert_int_equal(blob_append(blob, true, data, len, &off), 0);
        assert_int_equal(io_pread_exact(&io_system, blob_fd(blob), head, 8, off - 8), 0);
        assert_int_equal(le_load32(head), 0x184D2A50);
        assert_int_equal(le_load32(head + 4), len);
    }
    assert_int_equal(blob_append(blob, true, data, 0, &off), -EINVAL);
    free(data);
    blob_close(&blob);
}

static void test_damaged_chunks(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    struct blob_chunk chunk;
    uint8_t data[100] = {1, 2, 3}, got[101];
    assert_int_equal(util_append(blob, data, 100, 0, &chunk), 0);
    assert_int_equal(blob_read(blob, &chunk, got), 0);
    util_flip(blob_fd(blob), chunk.coded_off + 99);
    assert_int_equal(blob_read(blob, &chunk, got), -EBADMSG);
    util_flip(blob_fd(blob), chunk.coded_off + 99);
    assert_int_equal(blob_read(blob, &chunk, got), 0);
    chunk.coded_len = 101;
    assert_int_equal(blob_read(blob, &chunk, got), -EBADMSG);
    chunk.coded_off = INT64_MAX - 200;
    assert_int_equal(blob_read(blob, &chunk, got), -EBADMSG);
    blob_close(&blob);
}

static void test_parts(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    struct blob_chunk chunk;
    struct blob_part parts[65] = {0};
    uint8_t data[64], got[64];
    for (unsigned i = 0; i < 64; i++) {
        data[i] = (uint8_t)(i * 7);
        assert_int_equal(blob_append(blob, i % 2, &data[i], 1, &parts[i].off), 0);
        parts[i].len = 1;
    }
    uint64_t off;
    assert_int_equal(blob_append_parts(blob, parts, 0, &off), -EINVAL);
    assert_int_equal(blob_append_parts(blob, parts, 65, &off), -EINVAL);
    assert_int_equal(util_append(blob, data, 64, BLOB_SPLIT, &chunk), 0);
    assert_int_equal(blob_read(blob, &chunk, got), -EBADMSG);
    assert_int_equal(blob_append_parts(blob, parts, 64, &chunk.coded_off), 0);
    assert_int_equal(blob_read(blob, &chunk, got), 0);
    assert_memory_equal(got, data, 64);
    struct blob_chunk wrong = chunk;
    wrong.coded_len = 63;
    assert_int_equal(blob_read(blob, &wrong, got), -EBADMSG);
    for (uint64_t i = 0; i < 16 + 12 * 64 + 8; i++) {
        util_flip(blob_fd(blob), chunk.coded_off + i);
        assert_int_equal(blob_read(blob, &chunk, got), -EBADMSG);
        util_flip(blob_fd(blob), chunk.coded_off + i);
    }
    assert_int_equal(blob_append_parts(blob, parts, 1, &off), 0);
    chunk.coded_off = off;
    chunk.coded_len = 1;
    chunk.coded_sum = sum64(data, 1);
    assert_int_equal(blob_read(blob, &chunk, got), 0);
    blob_close(&blob);
}

/* ---- checkpoints ---- */

static void test_nothing_is_written_for_nothing(void **state)
{
    (void)state;
    struct io_faulty io;
    io_faulty_init(&io);
    struct blob *blob = util_create(&io.io);
    assert_int_equal(util_write(blob, 0, "abc", 3, 0), 0);
    assert_int_equal(util_checkpoint(blob, 3, 1, BLOB_NO_SYNC), 0);
    assert_int_equal(io.n[IO_FDATASYNC], 0);
    unsigned n = io.n[IO_PWRITE];
    /* still owes a sync */
    assert_int_equal(util_checkpoint(blob, 3, 1, 0), 0);
    assert_int_equal(io.n[IO_FDATASYNC], 1);
    assert_int_equal(util_checkpoint(blob, 3, 1, 0), 0);
    assert_int_equal(util_checkpoint(blob, 3, 1, BLOB_FULL), 0);
    assert_int_equal(io.n[IO_FDATASYNC], 1);
    assert_int_equal(io.n[IO_PWRITE], n);
    /* time alone is a change; a full directory is written over a chain, once */
    for (uint32_t tag = 3; tag < 9; tag++)
        assert_int_equal(util_checkpoint(blob, 3, tag, 0), 0);
    n = io.n[IO_PWRITE];
    assert_int_equal(util_checkpoint(blob, 3, 8, BLOB_FULL), 0);
    assert_true(io.n[IO_PWRITE] - n <= 1);
    n = io.n[IO_PWRITE];
    assert_int_equal(util_checkpoint(blob, 3, 8, BLOB_FULL), 0);
    assert_int_equal(io.n[IO_PWRITE], n);
    blob_close(&blob);
    io_faulty_clear(&io);
}

static void test_full_disk(void **state)
{
    (void)state;
    struct io_faulty io;
    io_faulty_init(&io);
    struct blob *blob = util_create(&io.io);
    int fd = keep(blob);
    struct blob_stats before, after;
    uint64_t off;
    static uint8_t data[50000];
    assert_int_equal(util_write(blob, 0, "abc", 3, 0), 0);
    blob_stats(blob, &before);
    io_faulty_tear(&io, 1, 20000, ENOSPC);
    assert_int_equal(blob_append(blob, false, data, sizeof(data), &off), -ENOSPC);
    io_faulty_tear(&io, 1, 20000, ENOSPC);
    assert_int_equal(blob_append(blob, true, data, sizeof(data), &off), -ENOSPC);
    blob_stats(blob, &after);
    assert_int_equal(after.file_bytes, before.file_bytes);
    assert_int_equal(after.n_extents, before.n_extents);
    assert_int_equal(after.live_bytes, before.live_bytes);
    for (unsigned nth = 1; nth <= 2; nth++) {
        io_faulty_tear(&io, nth, 10, ENOSPC);
        assert_int_equal(util_checkpoint(blob, 3, 1, 0), -ENOSPC);
        blob_stats(blob, &after);
        assert_int_equal(after.n_checkpoints, 0);
    }
    /* a short count is no error */
    io_faulty_tear(&io, 1, SIZE_MAX, 0);
    assert_int_equal(util_write(blob, 3, data, sizeof(data), 0), 0);
    io_faulty_heal(&io);
    assert_int_equal(util_checkpoint(blob, 3 + sizeof(data), 2, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_plain(blob, 0, "abc\0\0", 5);
    blob_stats(blob, &after);
    assert_int_equal(after.mapped_bytes, 3 + sizeof(data));
    blob_close(&blob);
    close(fd);
    io_faulty_clear(&io);
}

static void expect_whole(int fd)
{
    struct blob *blob;
    struct blob_stats stats;
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    blob_stats(blob, &stats);
    assert_false(stats.torn);
    assert_plain(blob, 0, "abc", 3);
    blob_close(&blob);
}

/* Of an append that failed, and of a chunk that was never committed. */
static void test_a_full_checkpoint_ends_the_file(void **state)
{
    (void)state;
    struct io_faulty io;
    io_faulty_init(&io);
    struct blob *blob = util_create(&io.io);
    int fd = keep(blob);
    uint64_t off;
    static uint8_t data[50000];
    assert_int_equal(util_write(blob, 0, "abc", 3, 0), 0);
    assert_int_equal(util_checkpoint(blob, 3, 1, BLOB_FULL), 0);
    uint64_t size = util_size(fd);
    io_faulty_tear(&io, 1, 20000, ENOSPC);
    assert_int_equal(blob_append(blob, false, data, sizeof(data), &off), -ENOSPC);
    assert_true(util_size(fd) > size);
    assert_int_equal(util_checkpoint(blob, 3, 1, BLOB_FULL), 0);
    assert_int_equal(util_size(fd), size);
    expect_whole(fd);
    assert_int_equal(blob_append(blob, false, data, sizeof(data), &off), 0);
    io_faulty_fail(&io, IO_PWRITE, 1, ENOSPC, true);
    assert_int_equal(util_checkpoint(blob, 3, 1, BLOB_FULL), 0); /* nothing is lost by it */
    io_faulty_heal(&io);
    assert_int_equal(util_checkpoint(blob, 3, 1, 0), 0);
    assert_int_equal(util_size(fd), size + sizeof(data));
    assert_int_equal(util_checkpoint(blob, 3, 1, BLOB_FULL), 0);
    expect_whole(fd);
    io_faulty_tear(&io, 1, 20000, ENOSPC);
    assert_int_equal(blob_append(blob, false, data, sizeof(data), &off), -ENOSPC);
    assert_int_equal(util_checkpoint(blob, 3, 2, BLOB_FULL), 0);
    expect_whole(fd);
    blob_close(&blob);
    close(fd);
    io_faulty_clear(&io);
}

/* A chunk that was not kept, and that the disk has lost and the page cache too, costs itself alone:
 * the checkpoint is written, and tells of it once. */
static void test_a_lost_chunk_costs_only_itself(void **state)
{
    (void)state;
    struct io_faulty io;
    io_faulty_init(&io);
    struct blob *blob = util_create(&io.io);
    blob_limit_kept(blob, 0);
    int fd = keep(blob);
    struct blob_chunk chunk;
    struct blob_claim claim = {.off = 0, .len = 3};
    uint8_t got[3];
    assert_int_equal(util_append(blob, "abc", 3, 0, &chunk), 0);
    assert_int_equal(blob_commit(blob, &chunk, &claim, 1), 0);
    assert_int_equal(util_write(blob, 3, "def", 3, 0), 0);
    io_faulty_fail(&io, IO_FDATASYNC, 1, EIO, false);
    assert_int_equal(util_checkpoint(blob, 6, 1, 0), -EIO);
    util_flip(fd, chunk.coded_off);
    assert_int_equal(util_checkpoint(blob, 6, 2, 0), -EIO);
    assert_int_equal(util_checkpoint(blob, 6, 3, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io.io, fd, true, &blob), 0);
    assert_int_equal(util_tag(blob), 3);
    assert_plain(blob, 3, "def", 3);
    assert_int_equal(util_read(blob, 0, got, 3), -EBADMSG);
    assert_int_equal(util_write(blob, 0, "abc", 3, 0), 0);
    assert_int_equal(util_checkpoint(blob, 6, 4, 0), 0);
    assert_plain(blob, 0, "abcdef", 6);
    blob_close(&blob);
    close(fd);
    io_faulty_clear(&io);
}

static void start_forgetful(struct io_faulty *io, struct blob **blob, int *fd)
{
    io_faulty_init(io);
    *blob = util_create(&io->io);
    *fd = keep(*blob);
    io_faulty_record(io, *fd, 1);
    io->forgets = true;
}

/* XFS and NFS: what could not be written back is gone from the page cache too. */
static void test_a_failed_sync_that_drops_its_pages_loses_nothing(void **state)
{
    (void)state;
    struct io_faulty io;
    struct blob *blob;
    int fd;
    start_forgetful(&io, &blob, &fd);
    static uint8_t data[3000], more[2000];
    memset(data, 'd', sizeof(data));
    memset(more, 'm', sizeof(more));
    struct blob_extent before, after;
    assert_int_equal(util_write(blob, 0, data, sizeof(data), 0), 0);
    assert_int_equal(util_checkpoint(blob, 3000, 1, 0), 0);
    assert_int_equal(util_write(blob, 3000, more, sizeof(more), 0), 0);
    assert_int_equal(util_write(blob, 5000, data, 2999, 0), 0);
    assert_int_equal(util_find(blob, 3000, &before), 0);
    for (uint32_t i = 0; i < 6; i++) {
        io_faulty_fail(&io, IO_FDATASYNC, 1 + i % 2, EIO, false);
        assert_int_equal(util_checkpoint(blob, 7999, 2 + i, 0), -EIO);
        assert_plain(blob, 3000, more, sizeof(more)); /* also before it is written again */
        assert_plain(blob, 5000, data, 2999);
        assert_int_equal(util_write(blob, 100 * i, more, 100, 0), 0);
    }
    assert_int_equal(util_checkpoint(blob, 7999, 100, 0), 0);
    assert_int_equal(util_find(blob, 3000, &after), 0);
    assert_true(after.chunk.coded_off > before.chunk.coded_off); /* not where it was lost */
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_int_equal(util_tag(blob), 100);
    assert_plain(blob, 0, more, 600);
    assert_plain(blob, 600, data, 2400);
    assert_plain(blob, 3000, more, sizeof(more));
    assert_plain(blob, 5000, data, 2999);
    blob_close(&blob);
    close(fd);
    io_faulty_clear(&io);
}

/* A chunk that no table had when the sync failed. */
static void test_what_was_not_committed_when_a_sync_failed_is_kept(void **state)
{
    (void)state;
    struct io_faulty io;
    struct blob *blob;
    int fd;
    start_forgetful(&io, &blob, &fd);
    struct blob_chunk chunk;
    struct blob_claim claim = {.off = 3, .len = 3};
    assert_int_equal(util_write(blob, 0, "abc", 3, 0), 0);
    assert_int_equal(util_append(blob, "def", 3, 0, &chunk), 0);
    io_faulty_fail(&io, IO_FDATASYNC, 1, EIO, false);
    assert_int_equal(util_checkpoint(blob, 3, 1, 0), -EIO);
    assert_int_equal(util_checkpoint(blob, 3, 2, 0), 0);
    assert_int_equal(blob_commit(blob, &chunk, &claim, 1), 0);
    assert_int_equal(util_checkpoint(blob, 6, 3, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_plain(blob, 0, "abcdef", 6);
    blob_close(&blob);
    close(fd);
    io_faulty_clear(&io);
}

/* What is kept has a bound: a sync makes room, and while it cannot nothing more is taken. */
static void test_what_is_kept_is_bounded(void **state)
{
    (void)state;
    struct io_faulty io;
    struct blob *blob;
    int fd, r;
    uint32_t off, end;
    start_forgetful(&io, &blob, &fd);
    blob_limit_kept(blob, 4000);
    static uint8_t data[1000];
    memset(data, 'd', sizeof(data));
    for (off = 0; off < 10000; off += 1000)
        assert_int_equal(util_write(blob, off, data, sizeof(data), 0), 0);
    assert_int_equal(io.n[IO_FDATASYNC], 4);
    io_faulty_fail(&io, IO_FDATASYNC, 1, ENOSPC, true);
    for (r = 0; r == 0; off += r == 0 ? 1000 : 0)
        r = util_write(blob, off, data, sizeof(data), 0);
    assert_int_equal(r, -ENOSPC);
    for (r = 0; r == 0; off += r == 0 ? 1000 : 0)
        r = util_write(blob, off, data, sizeof(data), 0);
    assert_int_equal(r, -EIO);
    end = off;
    assert_true(end <= 14000);
    assert_int_equal(util_checkpoint(blob, end, 1, 0), -ENOSPC);
    io_faulty_heal(&io);
    assert_int_equal(util_checkpoint(blob, end, 2, 0), 0);
    assert_int_equal(util_write(blob, end, data, sizeof(data), 0), 0);
    assert_int_equal(util_checkpoint(blob, end + 1000, 3, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    for (off = 0; off < end + 1000; off += 1000)
        assert_plain(blob, off, data, sizeof(data));
    blob_close(&blob);
    close(fd);
    io_faulty_clear(&io);
}

/* Parts that are older than the failed sync, and listed after it. */
static void test_a_lost_part_is_told(void **state)
{
    (void)state;
    struct io_faulty io;
    io_faulty_init(&io);
    struct blob *blob = util_create(&io.io);
    blob_limit_kept(blob, 0);
    struct blob_chunk chunk;
    struct blob_part part = {.len = 3};
    struct blob_claim claim = {.off = 0, .len = 3};
    assert_int_equal(util_append(blob, "abc", 3, BLOB_SPLIT, &chunk), 0);
    part.off = chunk.coded_off;
    io_faulty_fail(&io, IO_FDATASYNC, 1, EIO, false);
    assert_int_equal(util_checkpoint(blob, 3, 1, 0), -EIO);
    assert_int_equal(blob_append_parts(blob, &part, 1, &chunk.coded_off), 0);
    assert_int_equal(blob_commit(blob, &chunk, &claim, 1), 0);
    util_flip(blob_fd(blob), part.off);
    assert_int_equal(util_checkpoint(blob, 3, 2, 0), -EIO);
    util_flip(blob_fd(blob), part.off);
    assert_int_equal(util_checkpoint(blob, 3, 3, 0), 0);
    blob_close(&blob);
    io_faulty_clear(&io);
}

/* Pages that a failed sync has lost are written again, also those that have left memory. */
static void test_lost_pages_are_written_again(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    uint8_t byte;
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(util_write(blob, 8 * i, "byte", 4, 0), 0);
    uint64_t from = util_size(fd);
    assert_int_equal(util_checkpoint(blob, 8000, 1, BLOB_NO_SYNC), 0);
    uint64_t to = util_size(fd);
    blob_limit_pages(blob, 1);
    blob_sync_failed(blob);
    assert_int_equal(util_checkpoint(blob, 8000, 2, 0), 0);
    for (; from < to; from++)
        util_flip(fd, from);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_int_equal(util_tag(blob), 2);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(util_read(blob, 8 * i, &byte, 1), 0);
    blob_close(&blob);
    close(fd);
}

static void test_live_bytes(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    struct blob_stats stats;
    uint8_t data[1000] = {0};
    assert_int_equal(util_write(blob, 0, data, 1000, BLOB_PROVISIONAL), 0);
    assert_int_equal(util_write(blob, 500, data, 100, 0), 0);
    blob_stats(blob, &stats);
    assert_int_equal(stats.n_extents, 3);
    assert_int_equal(stats.live_bytes, 1000);
    assert_int_equal(stats.provisional_bytes, 900);
    assert_int_equal(stats.mapped_bytes, 1000);
    assert_true(stats.file_bytes >= BLOB_HEADER_BYTES + 1100);
    assert_int_equal(blob_punch(blob, 0, 550), 0);
    blob_stats(blob, &stats);
    assert_int_equal(stats.live_bytes, 450);
    blob_close(&blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_what_is_no_blob),
        cmocka_unit_test(test_no_checkpoint_at_all),
        cmocka_unit_test(test_killed_before_the_first_checkpoint),
        cmocka_unit_test(test_state_comes_back),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_header_live_and_upstream),
        cmocka_unit_test(test_append_leaves_upstream_form_first),
        cmocka_unit_test(test_header_bytes_and_long_names),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_sqeazys_own),
        cmocka_unit_test(test_commits_that_make_no_sense),
        cmocka_unit_test(test_edges_of_the_plain_file),
        cmocka_unit_test(test_behind_the_size),
        cmocka_unit_test(test_commit_far_and_wide),
        cmocka_unit_test(test_pipelines),
        cmocka_unit_test(test_wrapped_chunks_are_skippable),
        cmocka_unit_test(test_damaged_chunks),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_nothing_is_written_for_nothing),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_a_full_checkpoint_ends_the_file),
        cmocka_unit_test(test_a_lost_chunk_costs_only_itself),
        cmocka_unit_test(test_a_failed_sync_that_drops_its_pages_loses_nothing),
        cmocka_unit_test(test_what_was_not_committed_when_a_sync_failed_is_kept),
        cmocka_unit_test(test_what_is_kept_is_bounded),
        cmocka_unit_test(test_a_lost_part_is_told),
        cmocka_unit_test(test_lost_pages_are_written_again),
        cmocka_unit_test(test_live_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
