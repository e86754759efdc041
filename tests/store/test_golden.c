#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sum.h"
#include "store/blob.h"
#include "util.h"

/* Blobs of released format versions, which must open for ever with the same table and the same
 * bytes: NAME.sqy and what it says, NAME.txt, in tests/data/store.
 *
 *   test_store_golden --make FOLDER     writes a set of the present version */

static const char *const names[] = {"v1-empty",    "v1-small", "v1-pages",
                                    "v1-upstream", "v1-torn",  "v1-unsynced"};
#define N_NAMES (sizeof(names) / sizeof(names[0]))

/* ---- what a blob says, as text ---- */

static void dump_extent(FILE *out, struct blob *blob, const struct blob_extent *extent)
{
    const struct blob_chunk *c = &extent->chunk;
    uint8_t *coded = malloc(c->coded_len);
    fprintf(out, "%llu+%llu = %u of %s %ux%ux%u/%u at %llu+%u flags %u %s sums %016llx %016llx\n",
            (unsigned long long)extent->claim.off, (unsigned long long)extent->claim.len,
            extent->claim.src, sqy_type_name(c->box.type), c->box.planes, c->box.rows, c->box.width,
            c->box.spp, (unsigned long long)c->coded_off, c->coded_len, c->flags,
            blob_pipeline_text(blob, c->pipeline), (unsigned long long)c->coded_sum,
            (unsigned long long)c->served_sum);
    assert_int_equal(blob_read(blob, c, coded), 0);
    free(coded);
}

static void dump_head(FILE *out, struct blob *blob)
{
    struct blob_state state;
    struct blob_stats stats;
    struct blob_header header;
    blob_state(blob, &state);
    blob_stats(blob, &stats);
    blob_header(blob, &header);
    fprintf(out, "size %llu mtime %lld.%09ld meta '%s'\n", (unsigned long long)state.size,
            (long long)state.mtime.tv_sec, state.mtime.tv_nsec, state.meta);
    fprintf(out, "extents %llu mapped %llu live %llu provisional %llu checkpoints %llu\n",
            (unsigned long long)stats.n_extents, (unsigned long long)stats.mapped_bytes,
            (unsigned long long)stats.live_bytes, (unsigned long long)stats.provisional_bytes,
            (unsigned long long)stats.n_checkpoints);
    fprintf(out, "digest %016llx%s%s\n", (unsigned long long)stats.digest,
            stats.upstream ? " upstream" : "", stats.torn ? " torn" : "");
    fprintf(out, "header %s %s", header.pipename, sqy_type_name(header.type));
    for (unsigned i = 0; i < header.rank; i++)
        fprintf(out, " %llu", (unsigned long long)header.shape[i]);
    fputc('\n', out);
}

static char *dump(int fd)
{
    struct blob *blob;
    struct blob_extent extent;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    dump_head(out, blob);
    for (uint64_t off = 0; off < UINT64_MAX; off = extent.claim.off + extent.claim.len) {
        assert_int_equal(util_find(blob, off, &extent), 0);
        if (!extent.hole)
            dump_extent(out, blob, &extent);
    }
    blob_close(&blob);
    fclose(out);
    return text;
}

/* ---- making a set ---- */

static void write_typed(struct blob *blob, uint64_t off, enum sqy_type type, uint32_t flags,
                        const char *pipeline)
{
    uint8_t data[96];
    uint64_t random = off + 1;
    util_fill(&random, data, sizeof(data));
    struct blob_chunk chunk = {
        .box = {.type = type, .planes = 2, .rows = 3, .spp = 2},
        .flags = flags,
        .coded_len = sizeof(data),
        .coded_sum = sum64(data, sizeof(data)),
        .served_sum = random,
    };
    chunk.box.width = (uint32_t)(16 / sqy_type_size(type));
    struct blob_claim claim = {.off = off, .len = 96};
    assert_int_equal(blob_pipeline_id(blob, pipeline, &chunk.pipeline), 0);
    if (flags & BLOB_SPLIT) {
        struct blob_part parts[3];
        for (unsigned i = 0; i < 3; i++) {
            parts[i].len = 32;
            assert_int_equal(blob_append(blob, i == 1, data + 32 * i, 32, &parts[i].off), 0);
        }
        assert_int_equal(blob_append_parts(blob, parts, 3, &chunk.coded_off), 0);
    } else {
        assert_int_equal(blob_append(blob, off % 2, data, sizeof(data), &chunk.coded_off), 0);
    }
    assert_int_equal(util_commit(blob, &chunk, &claim, 1), 0);
}

static void make_small(struct blob *blob)
{
    for (enum sqy_type type = SQY_BYTES; type <= SQY_FLOAT64; type++)
        write_typed(blob, 100 * type, type, type % 5,
                    "bitswap1(num_bits_per_plane=1)->zstd(level=1)");
    write_typed(blob, 2001, SQY_UINT16, BLOB_SPLIT | BLOB_BIG_ENDIAN, "pass_through");
    assert_int_equal(util_checkpoint(blob, 3000, 7, 0), 0);
    assert_int_equal(util_punch(blob, 130, 900), 0);
    write_typed(blob, 440, SQY_UINT8, BLOB_LOSSY, "zstd(level=3)");
    assert_int_equal(util_checkpoint(blob, 2050, 8, 0), 0);
}

static void make_pages(struct blob *blob)
{
    uint64_t random = 4;
    uint8_t data[8];
    for (uint32_t i = 0; i < 900; i++) {
        util_fill(&random, data, sizeof(data));
        assert_int_equal(util_write(blob, 10 * i, data, 1 + i % 8, 0), 0);
    }
    assert_int_equal(util_checkpoint(blob, 9000, 1, 0), 0);
    for (uint32_t tag = 2; tag < 4; tag++) {
        assert_int_equal(util_write(blob, 3000 + tag, "x", 1, 0), 0);
        assert_int_equal(util_checkpoint(blob, 9000, tag, 0), 0);
    }
    assert_int_equal(util_punch(blob, 2000, 4000), 0);
    assert_int_equal(util_checkpoint(blob, 9000, 4, 0), 0);
}

static void make_upstream(struct blob *blob)
{
    struct blob_header header;
    assert_int_equal(util_write(blob, 0, "abcdef", 6, 0), 0);
    assert_int_equal(util_checkpoint(blob, 6, 1, BLOB_FULL), 0);
    blob_header(blob, &header);
    header.upstream = true;
    assert_int_equal(blob_write_header(blob, &header), 0);
}

static void make_torn(struct blob *blob)
{
    uint64_t off;
    make_small(blob);
    assert_int_equal(blob_append(blob, false, "not yet committed", 17, &off), 0);
}

static void make_unsynced(struct blob *blob)
{
    assert_int_equal(util_write(blob, 5, "abc", 3, BLOB_LOWER_RUNG), 0);
    assert_int_equal(util_checkpoint(blob, 9, 3, BLOB_NO_SYNC), 0);
}

static void make_empty(struct blob *blob)
{
    (void)blob;
}

static void make_set(const char *folder)
{
    static void (*const makers[])(struct blob *) = {make_empty,    make_small, make_pages,
                                                    make_upstream, make_torn,  make_unsynced};
    for (unsigned i = 0; i < N_NAMES; i++) {
        char path[4096];
        struct blob *blob = util_create(&io_system);
        makers[i](blob);
        int fd = fcntl(blob_fd(blob), F_DUPFD_CLOEXEC, 0);
        blob_close(&blob);
        uint64_t size = util_size(fd);
        uint8_t *data = malloc(size);
        assert_int_equal(io_pread_exact(&io_system, fd, data, size, 0), 0);
        snprintf(path, sizeof(path), "%s/%s.sqy", folder, names[i]);
        int out = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        assert_true(out >= 0);
        util_poke(out, 0, data, size);
        close(out);
        free(data);
        char *text = dump(fd);
        snprintf(path, sizeof(path), "%s/%s.txt", folder, names[i]);
        FILE *file = fopen(path, "wx");
        assert_non_null(file);
        fputs(text, file);
        fclose(file);
        free(text);
        close(fd);
    }
}

/* ---- looking at it ---- */

static const char *folder(void)
{
    const char *data = getenv("SQYFS_TEST_DATA");
    return data ? data : "tests/data";
}

static char *read_text(const char *path)
{
    char *text = calloc(1, 1u << 20);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, (1u << 20) - 1, file) > 0);
    fclose(file);
    return text;
}

static void test_golden(void **state)
{
    (void)state;
    for (unsigned i = 0; i < N_NAMES; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/store/%s.sqy", folder(), names[i]);
        int fd = open(path, O_RDONLY);
        assert_true(fd >= 0);
        snprintf(path, sizeof(path), "%s/store/%s.txt", folder(), names[i]);
        char *expected = read_text(path), *got = dump(fd);
        assert_string_equal(got, expected);
        free(expected);
        free(got);

        /* and a writer goes on with it */
        int copy = util_copy(fd);
        struct blob *blob;
        uint8_t bytes[3];
        assert_int_equal(util_open(&io_system, copy, true, &blob), 0);
        assert_int_equal(util_write(blob, 1, "new", 3, 0), 0);
        assert_int_equal(util_checkpoint(blob, 3000, 99, 0), 0);
        blob_close(&blob);
        assert_int_equal(util_open(&io_system, copy, false, &blob), 0);
        assert_int_equal(util_read(blob, 1, bytes, 3), 0);
        assert_memory_equal(bytes, "new", 3);
        blob_close(&blob);
        close(copy);
        close(fd);
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--make") == 0) {
        make_set(argv[2]);
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
