#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/le.h"
#include "base/sum.h"
#include "io_faulty.h"
#include "store/blob.h"
#include "store/checkpoint.h"
#include "util.h"

/* Which checkpoint counts: files that are torn, damaged, padded, cut, or written to mislead. */

static int keep(struct blob *blob)
{
    int fd = fcntl(blob_fd(blob), F_DUPFD_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

/* A blob whose byte i is `tag` at checkpoint `tag`; the file's length after each. */
#define N_POINTS 6u

static int make_blob(uint64_t ends[N_POINTS + 1], unsigned flags)
{
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    for (uint32_t tag = 1; tag <= N_POINTS; tag++) {
        uint8_t bytes[64];
        memset(bytes, (int)tag, sizeof(bytes));
        assert_int_equal(util_write(blob, 64 * tag, bytes, sizeof(bytes), 0), 0);
        assert_int_equal(util_checkpoint(blob, 64 * (tag + 1), tag, flags), 0);
        ends[tag] = util_size(fd);
    }
    ends[0] = BLOB_HEADER_BYTES;
    blob_close(&blob);
    return fd;
}

static void check_content(struct blob *blob, uint32_t tag)
{
    struct blob_state state;
    uint8_t bytes[64];
    assert_int_equal(util_tag(blob), tag);
    blob_state(blob, &state);
    assert_int_equal(state.size, tag ? 64 * (tag + 1) : 0);
    for (uint32_t i = 1; i <= N_POINTS; i++) {
        assert_int_equal(util_read(blob, 64 * i, bytes, 64), 0);
        assert_int_equal(bytes[0], i <= tag ? i : 0);
        assert_int_equal(bytes[63], i <= tag ? i : 0);
    }
}

static uint32_t tag_of(const struct io *io, int fd)
{
    struct blob *blob;
    assert_int_equal(util_open(io, fd, false, &blob), 0);
    uint32_t tag = util_tag(blob);
    check_content(blob, tag);
    blob_close(&blob);
    return tag;
}

/* A copy of a blob that was cut anywhere opens at the last checkpoint that is whole. */
static void test_every_length(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, 0);
    struct blob *blob;
    for (uint64_t len = ends[N_POINTS]; len >= ends[1]; len--) {
        assert_int_equal(ftruncate(fd, (off_t)len), 0);
        uint32_t expected = N_POINTS;
        while (ends[expected] > len)
            expected--;
        assert_int_equal(tag_of(&io_system, fd), expected);
    }
    assert_int_equal(ftruncate(fd, (off_t)ends[1] - 1), 0);
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    assert_int_equal(util_tag(blob), 0); /* the one from its birth */
    blob_close(&blob);
    close(fd);
}

static void test_every_byte_of_the_last_one(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, 0);
    uint8_t len[4];
    assert_int_equal(io_pread_exact(&io_system, fd, len, 4, ends[N_POINTS] - 8), 0);
    for (uint64_t off = ends[N_POINTS] - le_load32(len); off < ends[N_POINTS]; off++) {
        util_flip(fd, off);
        bool head = off - (ends[N_POINTS] - le_load32(len)) == 15;
        if (!head) /* its version: covered by the sum */
            assert_int_equal(tag_of(&io_system, fd), N_POINTS - 1);
        util_flip(fd, off);
    }
    assert_int_equal(tag_of(&io_system, fd), N_POINTS);
    close(fd);
}

/* Whatever byte is damaged, the blob opens, and what it serves is right or an error. */
static void test_every_byte(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, 0);
    for (uint64_t off = BLOB_HEADER_BYTES; off < ends[N_POINTS]; off++) {
        struct blob *blob;
        uint8_t byte;
        util_flip(fd, off);
        assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
        uint32_t tag = util_tag(blob);
        for (uint32_t i = 1; i <= tag; i++) {
            int r = util_read(blob, 64 * i + 5, &byte, 1);
            assert_true(r == -EBADMSG || (r == 0 && byte == i));
        }
        blob_close(&blob);
        util_flip(fd, off);
    }
    close(fd);
}

static void test_something_behind_it(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, 0);
    struct blob *blob;
    struct blob_stats stats;
    for (uint64_t more = 1; more < 20000000; more = more * 3 + 1) {
        assert_int_equal(ftruncate(fd, (off_t)(ends[N_POINTS] + more)), 0);
        assert_int_equal(tag_of(&io_system, fd), N_POINTS);
    }
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    blob_stats(blob, &stats);
    assert_true(stats.torn);
    assert_int_equal(stats.file_bytes, ends[N_POINTS]);
    assert_int_equal(util_size(fd), ends[N_POINTS]);
    blob_close(&blob);
    close(fd);
}

/* Across the borders of what is read at once. */
static void test_trailer_at_any_distance(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, 0);
    static const uint64_t near[] = {64u << 10, (64u << 10) + (4u << 20)};
    for (unsigned i = 0; i < 2; i++)
        for (uint64_t d = near[i] - 60; d < near[i] + 60; d++) {
            assert_int_equal(ftruncate(fd, (off_t)ends[N_POINTS]), 0);
            assert_int_equal(ftruncate(fd, (off_t)(ends[N_POINTS] + d)), 0);
            assert_int_equal(tag_of(&io_system, fd), N_POINTS);
        }
    close(fd);
}

/* ---- damage below a whole checkpoint ---- */

static uint64_t record_off(int fd, uint64_t end)
{
    uint8_t len[4];
    assert_int_equal(io_pread_exact(&io_system, fd, len, 4, end - 8), 0);
    return end - le_load32(len);
}

/* Two chains; the full record of the second is damaged. The state before it is served, and a writer
 * goes on behind what it cannot read instead of cutting it off. */
static void test_broken_chain(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    uint64_t broken = 0;
    uint8_t bytes[300 * 64];
    /* enough pages for deltas to be worth it */
    for (uint32_t i = 0; i < 3000; i++) {
        memset(bytes, (int)i, 4);
        assert_int_equal(util_write(blob, 8 * i, bytes, 4, 0), 0);
    }
    for (uint32_t tag = 1; tag <= 7; tag++) {
        assert_int_equal(util_write(blob, 8 * tag, "edit", 4, 0), 0);
        assert_int_equal(util_checkpoint(blob, 24000, tag, tag == 5 ? BLOB_FULL : 0), 0);
        if (tag == 5)
            broken = record_off(fd, util_size(fd));
    }
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_int_equal(util_tag(blob), 7);
    blob_close(&blob);

    util_flip(fd, broken + 100);
    uint64_t size = util_size(fd);
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    assert_int_equal(util_tag(blob), 4);
    assert_int_equal(util_size(fd), size);
    assert_int_equal(util_read(blob, 8 * 4, bytes, 4), 0);
    assert_memory_equal(bytes, "edit", 4);
    assert_int_equal(util_write(blob, 8 * 20, "more", 4, 0), 0);
    assert_int_equal(util_checkpoint(blob, 24000, 10, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_int_equal(util_tag(blob), 10);
    assert_int_equal(util_read(blob, 8 * 20, bytes, 4), 0);
    assert_memory_equal(bytes, "more", 4);
    assert_int_equal(util_read(blob, 8 * 6, bytes, 4), 0);
    assert_int_equal(bytes[0], 6);
    blob_close(&blob);
    close(fd);
}

/* Two copies of a blob went their own ways; a record of one lies where the other's was. */
static void test_record_of_another_history(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fds[2];
    uint64_t off[2], size = 0;
    fds[0] = make_blob(ends, 0);
    struct blob *blob;
    uint8_t data[400];
    for (uint32_t i = 0; i < 2000; i++) {
        if (i == 0)
            assert_int_equal(util_open(&io_system, fds[0], true, &blob), 0);
        assert_int_equal(util_write(blob, 1000 + 8 * i, "more", 4, 0), 0);
    }
    assert_int_equal(util_checkpoint(blob, 20000, 50, BLOB_FULL), 0);
    blob_close(&blob);
    fds[1] = util_copy(fds[0]);
    for (unsigned k = 0; k < 2; k++) {
        assert_int_equal(util_open(&io_system, fds[k], true, &blob), 0);
        for (uint32_t tag = 60; tag < 62; tag++) {
            assert_int_equal(util_checkpoint(blob, 20000 + k, tag, 0), 0);
            if (tag == 60) {
                size = util_size(fds[k]);
                off[k] = record_off(fds[k], size);
            }
        }
        blob_close(&blob);
    }
    assert_int_equal(off[0], off[1]);
    size -= off[0];
    assert_true(size <= sizeof(data));
    assert_int_equal(io_pread_exact(&io_system, fds[1], data, size, off[1]), 0);
    util_poke(fds[0], off[0], data, size);
    assert_int_equal(util_open(&io_system, fds[0], false, &blob), 0);
    assert_int_equal(util_tag(blob), 60);
    struct blob_state at;
    blob_state(blob, &at);
    assert_int_equal(at.size, 20001);
    blob_close(&blob);
    close(fds[0]);
    close(fds[1]);
}

/* A damaged page costs what it holds and nothing else. */
static void test_damaged_page(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    uint8_t byte;
    for (uint32_t i = 0; i < 3000; i++)
        assert_int_equal(util_write(blob, 8 * i, "byte", 4, 0), 0);
    uint64_t pages = util_size(fd);
    assert_int_equal(util_checkpoint(blob, 24000, 1, 0), 0);
    blob_close(&blob);
    util_flip(fd, pages + 50);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_int_equal(util_read(blob, 0, &byte, 1), -EBADMSG);
    assert_int_equal(util_read(blob, 8 * 2999, &byte, 1), 0);
    assert_int_equal(byte, 'b');
    blob_close(&blob);
    /* what covers a damaged page does not need it */
    static uint8_t zeros[8 * 256];
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    assert_int_equal(blob_punch(blob, 0, 8 * 1000), -EAGAIN);
    assert_int_equal(util_punch(blob, 0, 8 * 256), 0);
    assert_int_equal(util_write(blob, 0, zeros, sizeof(zeros), 0), 0);
    assert_int_equal(util_checkpoint(blob, 24000, 2, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_int_equal(util_read(blob, 0, &byte, 1), 0);
    blob_close(&blob);
    close(fd);
}

/* A checkpoint that nobody has synced speaks of pages that may be missing. */
static void test_unsynced_pages_are_looked_at(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, BLOB_NO_SYNC);
    uint64_t page = 0;
    /* the last record says where its page is */
    uint64_t record = record_off(fd, ends[N_POINTS]);
    uint8_t data[400];
    assert_int_equal(io_pread_exact(&io_system, fd, data, ends[N_POINTS] - record, record), 0);
    uint32_t at = 168 + le_load32(data + 160) + le_load32(data + 100);
    page = le_load64(data + at + 8);
    assert_true(page > ends[N_POINTS - 1] && page < record);
    util_flip(fd, page + 20);
    assert_int_equal(tag_of(&io_system, fd), N_POINTS - 1);
    close(fd);
}

/* ---- the header ---- */

static void test_lost_header(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, 0);
    static const uint8_t zeros[BLOB_HEADER_BYTES];
    uint8_t kept[BLOB_HEADER_BYTES];
    struct blob *blob;
    struct blob_header header;
    assert_int_equal(io_pread_exact(&io_system, fd, kept, sizeof(kept), 0), 0);
    for (uint32_t lost = 1; lost <= BLOB_HEADER_BYTES; lost = lost * 2) {
        util_poke(fd, 0, zeros, lost);
        assert_int_equal(tag_of(&io_system, fd), N_POINTS);
        util_poke(fd, 0, kept, sizeof(kept));
    }
    util_poke(fd, 0, zeros, sizeof(zeros));
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    blob_header(blob, &header);
    assert_string_equal(header.pipename, "pass_through");
    assert_int_equal(util_write(blob, 64 * 3, "\7\7", 2, 0), 0);
    blob_close(&blob);
    /* the new one carries the old id: the checkpoints still count */
    assert_int_equal(tag_of(&io_system, fd), N_POINTS);
    struct sqy_header parsed;
    assert_int_equal(io_pread_exact(&io_system, fd, kept, sizeof(kept), 0), 0);
    assert_int_equal(sqy_header_parse(kept, sizeof(kept), &parsed), 0);
    assert_non_null(parsed.ours);
    sqy_header_free(&parsed);
    close(fd);
}

/* ---- foreign checkpoints ---- */

static void append_file(struct blob *blob, int fd)
{
    uint64_t size = util_size(fd), off;
    uint8_t *data = malloc(size);
    assert_int_equal(io_pread_exact(&io_system, fd, data, size, 0), 0);
    assert_int_equal(blob_append(blob, false, data, (uint32_t)size, &off), 0);
    free(data);
}

/* A user's own blob stored raw, an older copy of this very one, and this one's last checkpoint
 * again at another place: none of them counts. */
static void test_foreign_checkpoints(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1], off;
    int foreign = make_blob(ends, 0), fd = make_blob(ends, 0);
    int copy = util_copy(fd);
    struct blob *blob;
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    append_file(blob, foreign);
    append_file(blob, copy);
    assert_int_equal(ftruncate(copy, (off_t)ends[3]), 0);
    append_file(blob, copy);
    uint64_t record = record_off(fd, ends[5]);
    uint8_t data[400];
    assert_int_equal(io_pread_exact(&io_system, fd, data, ends[5] - record, record), 0);
    assert_int_equal(blob_append(blob, false, data, (uint32_t)(ends[5] - record), &off), 0);
    blob_close(&blob);
    assert_int_equal(tag_of(&io_system, fd), N_POINTS);
    assert_int_equal(tag_of(&io_system, foreign), N_POINTS);

    /* a whole foreign blob behind our header, every checkpoint at its own place */
    uint8_t header[BLOB_HEADER_BYTES];
    assert_int_equal(io_pread_exact(&io_system, fd, header, sizeof(header), 0), 0);
    util_poke(foreign, 0, header, sizeof(header));
    assert_int_equal(util_open(&io_system, foreign, false, &blob), -EBADMSG);
    assert_int_equal(util_open(&io_system, foreign, true, &blob), -EBADMSG);
    close(fd);
    close(copy);
    close(foreign);
}

/* ---- files written to mislead ---- */

struct counting_io {
    struct io io; /* first member */
    uint64_t n_read;
};

static ssize_t counting_pread(const struct io *io, int fd, void *buf, size_t len, uint64_t off)
{
    ((struct counting_io *)(uintptr_t)io)->n_read += len;
    return io_system.pread(&io_system, fd, buf, len, off);
}

static void write_trailer(uint8_t *at, const uint8_t *id, uint64_t off, uint32_t len)
{
    le_store64(at, 12345);
    memcpy(at + 8, CHECKPOINT_TRAILER_MAGIC, 8);
    memcpy(at + 16, id, 16);
    le_store64(at + 32, off);
    le_store32(at + 40, len);
    le_store32(at + 44, (uint32_t)sum64(at, 44));
}

enum flood { FLOOD_MAGIC, FLOOD_TRAILERS, FLOOD_MARKS };

/* Fills the tail of a blob with what looks like checkpoints; returns the bytes read to open it. */
static uint64_t flooded(enum flood flood, uint64_t tail)
{
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, 0);
    uint8_t id[16], *data = calloc(1, tail);
    assert_int_equal(io_pread_exact(&io_system, fd, id, 16, ends[N_POINTS] - 32), 0);
    for (uint64_t i = 0; i + 80 <= tail; i += flood == FLOOD_MAGIC   ? 8
                                              : flood == FLOOD_MARKS ? 80
                                                                     : 48) {
        uint64_t at = ends[N_POINTS] + i;
        if (flood == FLOOD_MAGIC) {
            memcpy(data + i, CHECKPOINT_TRAILER_MAGIC, 8);
        } else if (flood == FLOOD_TRAILERS) {
            uint64_t len = at + 48 - BLOB_HEADER_BYTES;
            len = len < CHECKPOINT_MAX_BYTES ? len : CHECKPOINT_MAX_BYTES;
            write_trailer(data + i, id, at + 48 - len, (uint32_t)len);
        } else {
            struct checkpoint_mark mark = {.last = at - 80, .pending = at - 160};
            checkpoint_mark_write(&mark, id, at, data + i);
        }
    }
    util_poke(fd, ends[N_POINTS], data, tail);
    free(data);
    struct counting_io io = {.io = io_system};
    io.io.pread = counting_pread;
    struct blob *blob;
    int r = util_open(&io.io, fd, false, &blob);
    assert_true(r == 0 || r == -EBADMSG);
    if (r == 0) {
        check_content(blob, N_POINTS);
        blob_close(&blob);
    }
    close(fd);
    return io.n_read;
}

static void test_floods(void **state)
{
    (void)state;
    uint64_t tail = 24u << 20;
    /* less of these: the address sanitizer looks at a whole window for each */
    assert_true(flooded(FLOOD_MAGIC, 1u << 20) < 2u << 20);
    assert_true(flooded(FLOOD_TRAILERS, tail) < (400u << 20));
    assert_true(flooded(FLOOD_MARKS, tail) < (400u << 20));
}

static void test_endless_hole(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, 0);
    struct counting_io io = {.io = io_system};
    io.io.pread = counting_pread;
    struct blob *blob;
    /* a header that is not ours, and much of nothing */
    util_poke(fd, 0, "x", 1);
    assert_int_equal(ftruncate(fd, (off_t)1 << 50), 0);
    assert_int_equal(util_open(&io.io, fd, false, &blob), -EBADMSG);
    assert_true(io.n_read < (300u << 20));
    close(fd);
}

/* Marks lead to the last checkpoint from gigabytes behind it. */
static void test_marks(void **state)
{
    (void)state;
    struct blob *blob = util_create(&io_system);
    int fd = keep(blob);
    uint64_t off;
    static uint8_t chunk[1u << 20];
    assert_int_equal(util_write(blob, 64, "\1", 1, 0), 0);
    assert_int_equal(util_checkpoint(blob, 128, 1, 0), 0);
    for (unsigned i = 0; i < 70; i++)
        assert_int_equal(blob_append(blob, false, chunk, sizeof(chunk), &off), 0);
    blob_close(&blob);

    struct counting_io io = {.io = io_system};
    io.io.pread = counting_pread;
    assert_int_equal(util_open(&io.io, fd, false, &blob), 0);
    assert_int_equal(util_tag(blob), 1);
    assert_true(io.n_read < (24u << 20));
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    assert_int_equal(util_tag(blob), 1);
    blob_close(&blob);
    assert_true(util_size(fd) < 10000);
    close(fd);
}

/* ---- disks ---- */

/* A disk that cannot be read is no reason for a writer to take an older state. */
static void test_read_errors(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, 0);
    struct io_faulty io;
    struct blob *blob;
    io_faulty_init(&io);
    for (unsigned nth = 1; nth < 20; nth++) {
        io_faulty_heal(&io);
        io_faulty_fail(&io, IO_PREAD, nth, EIO, false);
        unsigned before = io.n_failed[IO_PREAD];
        int r = util_open(&io.io, fd, true, &blob);
        if (io.n_failed[IO_PREAD] == before) {
            assert_true(nth > 3);
            assert_int_equal(r, 0);
            blob_close(&blob);
            break;
        }
        assert_int_equal(r, -EIO);
        io_faulty_fail(&io, IO_PREAD, nth, ESTALE, false);
        assert_int_equal(util_open(&io.io, fd, true, &blob), -ESTALE);
        assert_int_equal(util_size(fd), ends[N_POINTS]);
    }
    assert_int_equal(tag_of(&io_system, fd), N_POINTS);
    /* a reader takes what it can get */
    io_faulty_heal(&io);
    io_faulty_fail(&io, IO_PREAD, 3, EIO, false);
    uint32_t tag = tag_of(&io.io, fd);
    assert_int_equal(tag, N_POINTS - 1);
    close(fd);
    io_faulty_clear(&io);
}

static void test_truncation_that_fails(void **state)
{
    (void)state;
    uint64_t ends[N_POINTS + 1];
    int fd = make_blob(ends, 0);
    struct io_faulty io;
    struct blob *blob;
    io_faulty_init(&io);
    util_poke(fd, ends[N_POINTS], "junk", 4);
    io_faulty_fail(&io, IO_FTRUNCATE, 1, EIO, false);
    assert_int_equal(util_open(&io.io, fd, true, &blob), -EIO);
    assert_int_equal(util_open(&io.io, fd, true, &blob), 0);
    check_content(blob, N_POINTS);
    blob_close(&blob);
    close(fd);
    io_faulty_clear(&io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_every_byte_of_the_last_one),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_something_behind_it),
        cmocka_unit_test(test_trailer_at_any_distance),
        cmocka_unit_test(test_broken_chain),
        cmocka_unit_test(test_record_of_another_history),
        cmocka_unit_test(test_damaged_page),
        cmocka_unit_test(test_unsynced_pages_are_looked_at),
        cmocka_unit_test(test_lost_header),
        cmocka_unit_test(test_foreign_checkpoints),
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_endless_hole),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_read_errors),
        cmocka_unit_test(test_truncation_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
