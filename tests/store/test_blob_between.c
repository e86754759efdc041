#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/blob.h"
#include "util.h"

/* What happens to a blob while one of its calls is waiting for the disk: the disk calls back. */

struct calling_io {
    struct io io; /* first member */
    void (*before_write)(struct calling_io *io, size_t len);
    void (*before_sync)(struct calling_io *io);
    int sync_error;
    void *ctx;
    bool inside;
};

static ssize_t calling_pwrite(const struct io *io, int fd, const void *buf, size_t len,
                              uint64_t off)
{
    struct calling_io *c = (struct calling_io *)(uintptr_t)io;
    if (c->before_write && !c->inside) {
        c->inside = true;
        c->before_write(c, len);
        c->inside = false;
    }
    return io_system.pwrite(&io_system, fd, buf, len, off);
}

static int calling_fdatasync(const struct io *io, int fd)
{
    struct calling_io *c = (struct calling_io *)(uintptr_t)io;
    (void)fd;
    if (c->before_sync && !c->inside) {
        c->inside = true;
        c->before_sync(c);
        c->inside = false;
    }
    return c->sync_error;
}

static void calling_init(struct calling_io *c)
{
    *c = (struct calling_io){.io = io_system};
    c->io.pwrite = calling_pwrite;
    c->io.fdatasync = calling_fdatasync;
}

static int keep(struct blob *blob)
{
    int fd = fcntl(blob_fd(blob), F_DUPFD_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

/* ---- a mark written while a checkpoint is on its way ---- */

static void append_much(struct calling_io *c)
{
    static uint8_t data[1u << 20];
    uint64_t off;
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(blob_append(c->ctx, false, data, sizeof(data), &off), 0);
}

static void test_mark_names_the_pending_one(void **state)
{
    (void)state;
    struct calling_io io;
    calling_init(&io);
    struct blob *blob = util_create(&io.io);
    int fd = keep(blob);
    assert_int_equal(util_write(blob, 0, "a", 1, 0), 0);
    assert_int_equal(util_checkpoint(blob, 1, 1, 0), 0);
    io.ctx = blob;
    io.before_sync = append_much;
    assert_int_equal(util_checkpoint(blob, 1, 2, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_int_equal(util_tag(blob), 2);
    blob_close(&blob);
    close(fd);
}

/* ---- an append that a sync overtakes ---- */

struct overtaken {
    struct blob *blob;
    unsigned n_syncs;
};

static void checkpoint_before(struct calling_io *c, size_t len)
{
    struct overtaken *o = c->ctx;
    if (len != 101)
        return;
    assert_int_equal(util_checkpoint(o->blob, 500, 10 + o->n_syncs++, 0), 0);
}

/* A chunk that was reserved before a good sync, but written after it, is in doubt when the next one
 * fails. */
static void test_sync_overtakes_an_append(void **state)
{
    (void)state;
    struct calling_io io;
    calling_init(&io);
    struct blob *blob = util_create(&io.io);
    blob_limit_kept(blob, 0);
    struct overtaken o = {.blob = blob};
    struct blob_chunk chunk;
    struct blob_claim claim = {.off = 100, .len = 101};
    uint8_t data[101] = {1};
    io.ctx = &o;
    assert_int_equal(util_write(blob, 0, "a", 1, 0), 0);
    io.before_write = checkpoint_before;
    chunk = (struct blob_chunk){0};
    uint64_t off;
    assert_int_equal(blob_append(blob, false, data, sizeof(data), &off), 0);
    io.before_write = NULL;
    assert_int_equal(o.n_syncs, 1);

    assert_int_equal(util_append(blob, data, sizeof(data), 0, &chunk), 0);
    chunk.coded_off = off;
    assert_int_equal(blob_commit(blob, &chunk, &claim, 1), 0);
    io.sync_error = -EIO;
    assert_int_equal(util_checkpoint(blob, 500, 20, 0), -EIO);
    io.sync_error = 0;
    util_flip(blob_fd(blob), off);
    assert_int_equal(util_checkpoint(blob, 500, 21, 0), -EIO);
    util_flip(blob_fd(blob), off);
    assert_int_equal(util_checkpoint(blob, 500, 22, 0), 0);
    blob_close(&blob);
}

/* ---- a caller's sync that fails while a checkpoint is on its way ---- */

static void tell_failure(struct calling_io *c)
{
    blob_sync_failed(c->ctx);
}

static void test_failure_told_meanwhile(void **state)
{
    (void)state;
    struct calling_io io;
    calling_init(&io);
    struct blob *blob = util_create(&io.io);
    int fd = keep(blob);
    io.ctx = blob;
    assert_int_equal(util_write(blob, 0, "a", 1, 0), 0);
    io.before_sync = tell_failure;
    assert_int_equal(util_checkpoint(blob, 1, 1, 0), -EIO);
    io.before_sync = NULL;
    assert_int_equal(util_checkpoint(blob, 1, 2, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_int_equal(util_tag(blob), 2);
    blob_close(&blob);
    close(fd);
}

/* ---- the table changes while it is being written ---- */

#define PLAIN 8000u

struct model {
    struct calling_io io;
    struct blob *blob;
    int fd;
    uint64_t random;
    uint8_t now[PLAIN];
};

static void change_table(struct calling_io *c)
{
    struct model *m = c->ctx;
    uint8_t data[8];
    for (unsigned i = 0; i < 40; i++) {
        uint64_t off = util_below(&m->random, PLAIN - 1500);
        uint32_t len = 1 + (uint32_t)util_below(&m->random, 8);
        if (i % 13 == 12) {
            assert_int_equal(util_punch(m->blob, off, 1500), 0);
            memset(m->now + off, 0, 1500);
            continue;
        }
        util_fill(&m->random, data, len);
        assert_int_equal(util_write(m->blob, off, data, len, 0), 0);
        memcpy(m->now + off, data, len);
    }
}

static void change_before_write(struct calling_io *c, size_t len)
{
    if (len > 200 && len != BLOB_HEADER_BYTES) /* the header goes before the snapshot */
        change_table(c);
}

static void check(struct model *m, const uint8_t *expected)
{
    uint8_t got[PLAIN];
    struct blob *blob;
    assert_int_equal(util_open(&io_system, m->fd, false, &blob), 0);
    assert_int_equal(util_read(blob, 0, got, PLAIN), 0);
    assert_memory_equal(got, expected, PLAIN);
    blob_close(&blob);
}

static void fill(struct model *m)
{
    for (uint32_t off = 0; off < PLAIN; off += 4) {
        assert_int_equal(util_write(m->blob, off, "fill", 3, 0), 0);
        memcpy(m->now + off, "fil", 3);
    }
}

static void test_table_changes_meanwhile(void **state)
{
    (void)state;
    struct model m = {.random = 1};
    uint8_t before[PLAIN];
    calling_init(&m.io);
    m.io.ctx = &m;
    m.blob = util_create(&m.io.io);
    m.fd = keep(m.blob);
    blob_limit_pages(m.blob, 1);
    for (uint32_t tag = 1; tag <= 150; tag++) {
        if (tag % 10 == 1)
            fill(&m);
        memcpy(before, m.now, PLAIN);
        m.io.before_sync = tag % 2 ? change_table : NULL;
        m.io.before_write = tag % 3 ? change_before_write : NULL;
        m.io.sync_error = tag % 5 == 4 ? -EIO : 0;
        int r = util_checkpoint(m.blob, PLAIN, tag, tag % 4 ? 0 : BLOB_FULL);
        m.io.before_sync = NULL;
        m.io.before_write = NULL;
        assert_int_equal(r, m.io.sync_error);
        if (r == 0)
            check(&m, before);
        m.io.sync_error = 0;
        if (tag % 7 == 0) {
            assert_int_equal(util_checkpoint(m.blob, PLAIN, 1000 + tag, 0), 0);
            check(&m, m.now);
        }
    }
    blob_close(&m.blob);
    close(m.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mark_names_the_pending_one),
        cmocka_unit_test(test_sync_overtakes_an_append),
        cmocka_unit_test(test_failure_told_meanwhile),
        cmocka_unit_test(test_table_changes_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
