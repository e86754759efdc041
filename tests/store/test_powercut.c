#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_faulty.h"
#include "store/blob.h"
#include "util.h"

/* The power fails after write 1, 2, 3 ... of a script of everything that writes to a blob, with and
 * without a disk that fails now and then before. Whatever of the unsynced is on the disk then, the
 * blob opens with the bytes of the last good checkpoint, or of one that was tried after it, and
 * goes on from there. */

#define PLAIN      2048u
#define N_STEPS    70u
#define N_IMAGES   4u
#define MAX_STATES 128u

struct state {
    uint32_t tag;
    uint64_t size;
    uint8_t bytes[PLAIN];
};

struct script {
    struct io_faulty io;
    struct blob *blob;
    int fd;
    uint64_t random;
    struct state now;
    /* [0]: the last good checkpoint (tag 0: none yet); behind it those tried since */
    struct state states[MAX_STATES];
    unsigned n_states;
    uint32_t tag;
    unsigned n_settled; /* failed syncs before the last good checkpoint */
};

static void note_state(struct script *s)
{
    assert_true(s->n_states < MAX_STATES);
    s->now.tag = s->tag;
    s->states[s->n_states++] = s->now;
}

static const struct state *find_state(const struct script *s, uint32_t tag)
{
    for (unsigned i = 0; i < s->n_states; i++)
        if (s->states[i].tag == tag)
            return &s->states[i];
    return NULL;
}

/* ---- steps: each either does what it says or fails and has done nothing ---- */

static void step_write(struct script *s)
{
    uint8_t data[300];
    uint32_t len = 1 + (uint32_t)util_below(&s->random, util_below(&s->random, 4) ? 40 : 300);
    uint64_t off = util_below(&s->random, PLAIN - len);
    util_fill(&s->random, data, len);
    if (util_write(s->blob, off, data, len, 0) < 0)
        return;
    memcpy(s->now.bytes + off, data, len);
    if (off + len > s->now.size)
        s->now.size = off + len;
}

/* A chunk in parts, as bit planes are stored. */
static void step_write_split(struct script *s)
{
    uint8_t data[200];
    struct blob_chunk chunk;
    struct blob_part parts[4];
    uint64_t off = util_below(&s->random, PLAIN - sizeof(data));
    util_fill(&s->random, data, sizeof(data));
    for (unsigned i = 0; i < 4; i++) {
        parts[i].len = 50;
        if (blob_append(s->blob, false, data + 50 * i, 50, &parts[i].off) < 0)
            return;
    }
    if (util_append(s->blob, data, sizeof(data), BLOB_SPLIT, &chunk) < 0 ||
        blob_append_parts(s->blob, parts, 4, &chunk.coded_off) < 0)
        return;
    struct blob_claim claim = {.off = off, .len = sizeof(data)};
    if (util_commit(s->blob, &chunk, &claim, 1) < 0)
        return;
    memcpy(s->now.bytes + off, data, sizeof(data));
    if (off + sizeof(data) > s->now.size)
        s->now.size = off + sizeof(data);
}

static void step_punch(struct script *s)
{
    uint64_t off = util_below(&s->random, PLAIN), len = util_below(&s->random, PLAIN - off);
    if (util_punch(s->blob, off, len) >= 0)
        memset(s->now.bytes + off, 0, len);
}

static void step_checkpoint(struct script *s)
{
    s->tag++;
    note_state(s);
    unsigned flags = util_below(&s->random, 4) ? 0 : BLOB_FULL;
    if (util_checkpoint(s->blob, s->now.size, s->tag, flags) < 0)
        return;
    s->states[0] = s->states[s->n_states - 1];
    s->n_states = 1;
    s->n_settled = s->io.n_failed[IO_FDATASYNC];
}

/* As for closed blobs in groups: the caller syncs, before and after. */
static void step_checkpoint_in_group(struct script *s)
{
    if (s->io.io.fdatasync(&s->io.io, s->fd) < 0) {
        blob_sync_failed(s->blob);
        return;
    }
    s->tag++;
    note_state(s);
    if (util_checkpoint(s->blob, s->now.size, s->tag, BLOB_NO_SYNC) < 0)
        return;
    if (s->io.io.fdatasync(&s->io.io, s->fd) < 0) {
        blob_sync_failed(s->blob);
        return;
    }
    s->states[0] = s->states[s->n_states - 1];
    s->n_states = 1;
    s->n_settled = s->io.n_failed[IO_FDATASYNC];
}

static void step_header(struct script *s)
{
    struct blob_header header;
    blob_header(s->blob, &header);
    header.upstream = util_below(&s->random, 2);
    header.shape[0] = util_below(&s->random, 1u << 20);
    blob_write_header(s->blob, &header);
}

/* What was not checkpointed is gone; a checkpoint that failed may count all the same. After a
 * failed sync only the blob that met it knows what is in doubt: it goes on until a checkpoint
 * succeeds. */
static void step_reopen(struct script *s)
{
    if (s->n_settled != s->io.n_failed[IO_FDATASYNC])
        return;
    blob_close(&s->blob);
    if (util_open(&s->io.io, s->fd, true, &s->blob) < 0) {
        io_faulty_heal(&s->io);
        if (io_faulty_is_cut(&s->io) || util_open(&s->io.io, s->fd, true, &s->blob) < 0)
            return;
    }
    blob_limit_pages(s->blob, 1);
    const struct state *found = find_state(s, util_tag(s->blob));
    assert_non_null(found);
    s->now = *found;
}

static void run_step(struct script *s)
{
    static void (*const steps[])(struct script *) = {
        step_write,      step_write,  step_write,      step_write_split,
        step_checkpoint, step_punch,  step_checkpoint, step_write,
        step_reopen,     step_header, step_write,      step_checkpoint_in_group,
    };
    uint64_t next = util_random(&s->random), kept = s->random;
    steps[next % 12](s);
    /* what follows is the same whether or not this one failed */
    s->random = kept;
}

/* ---- checking ---- */

static void check_bytes(struct blob *blob, const struct state *expected)
{
    static uint8_t got[PLAIN];
    struct blob_state state;
    blob_state(blob, &state);
    assert_int_equal(state.size, expected->size);
    assert_int_equal(util_read(blob, 0, got, PLAIN), 0);
    assert_memory_equal(got, expected->bytes, PLAIN);
}

static void check_goes_on(int fd, const struct state *from)
{
    struct blob *blob;
    struct state now = *from;
    assert_int_equal(util_open(&io_system, fd, true, &blob), 0);
    check_bytes(blob, &now);
    memset(now.bytes + 100, 7, 60);
    now.size = now.size > 160 ? now.size : 160;
    assert_int_equal(util_write(blob, 100, now.bytes + 100, 60, 0), 0);
    assert_int_equal(util_checkpoint(blob, now.size, 100000, 0), 0);
    blob_close(&blob);
    assert_int_equal(util_open(&io_system, fd, false, &blob), 0);
    assert_int_equal(util_tag(blob), 100000);
    check_bytes(blob, &now);
    blob_close(&blob);
}

static void check_image(const struct script *s, int fd)
{
    struct blob *blob;
    int r = util_open(&io_system, fd, false, &blob);
    if (s->states[0].tag == 0 && r == -EBADMSG)
        return; /* cut before anything was ever synced */
    assert_int_equal(r, 0);
    const struct state *found = find_state(s, util_tag(blob));
    assert_non_null(found);
    check_bytes(blob, found);
    blob_close(&blob);
    check_goes_on(fd, found);
}

/* ---- runs ---- */

struct fault {
    enum io_faulty_call call;
    unsigned nth; /* 0: no fault */
    int error;
    bool forgets; /* a failed sync takes its pages from the cache, and little is kept */
};

/* Returns whether the script came to its end before the power was cut. */
static bool run(uint64_t seed, unsigned cut_after, struct fault fault)
{
    static struct script s;
    s = (struct script){.random = seed, .n_states = 1};
    io_faulty_init(&s.io);
    struct blob_header header = {.pipename = "lz4", .type = SQY_BYTES};
    s.fd = util_file();
    io_faulty_record(&s.io, s.fd, seed);
    s.io.cut_after = cut_after;
    s.io.forgets = fault.forgets;
    if (fault.nth > 0)
        io_faulty_fail(&s.io, fault.call, fault.nth, fault.error, false);

    int own = fcntl(s.fd, F_DUPFD_CLOEXEC, 0);
    int r = blob_create(&s.io.io, own, &header, &s.blob);
    if (r < 0)
        close(own);
    else if (fault.forgets)
        blob_limit_kept(s.blob, 1500);
    for (unsigned i = 0; s.blob && i < N_STEPS && !io_faulty_is_cut(&s.io); i++)
        run_step(&s);
    bool complete = !io_faulty_is_cut(&s.io);
    blob_close(&s.blob);
    for (unsigned i = 0; i < N_IMAGES; i++) {
        int image = util_file();
        io_faulty_crash_image(&s.io, seed + i, image);
        check_image(&s, image);
        close(image);
    }
    close(s.fd);
    io_faulty_clear(&s.io);
    return complete;
}

static void test_every_write(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        unsigned n = 1;
        while (!run(seed, n, (struct fault){0}))
            n++;
        assert_true(n > 50);
    }
}

static void test_every_write_after_a_failed_sync(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++)
        for (unsigned nth = 1; nth <= 16; nth++)
            for (unsigned n = 1; !run(seed, n, (struct fault){IO_FDATASYNC, nth, EIO, false});
                 n += 2)
                ;
}

static void test_every_write_after_a_failed_sync_that_drops_its_pages(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++)
        for (unsigned nth = 1; nth <= 16; nth++)
            for (unsigned n = 1; !run(seed, n, (struct fault){IO_FDATASYNC, nth, EIO, true});
                 n += 2)
                ;
}

static void test_every_write_after_a_full_disk(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 80; nth += 2)
        for (unsigned n = nth; !run(nth, n, (struct fault){IO_PWRITE, nth, ENOSPC, false}); n += 5)
            ;
}

static void test_no_cut_but_every_call_fails_once(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 120; nth++) {
        run(nth, 0, (struct fault){IO_PWRITE, nth, EIO, false});
        run(nth, 0, (struct fault){IO_FDATASYNC, nth % 30 + 1, EIO, false});
        run(nth, 0, (struct fault){IO_FDATASYNC, nth % 30 + 1, EIO, true});
        run(nth, 0, (struct fault){IO_FTRUNCATE, nth % 6 + 1, EIO, false});
        run(nth, 0, (struct fault){IO_PREAD, nth, EIO, false});
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_write),
        cmocka_unit_test(test_every_write_after_a_failed_sync),
        cmocka_unit_test(test_every_write_after_a_failed_sync_that_drops_its_pages),
        cmocka_unit_test(test_every_write_after_a_full_disk),
        cmocka_unit_test(test_no_cut_but_every_call_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
