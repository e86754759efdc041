/* Readers: what is decoded ahead of them, how often, and what they see of a stack that changes. */
#include "test.h"

#include "rig.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "volume/core.h"

#define PLANES  32u
#define PLANE   (256u * 256 * 2)
#define CHUNK   65536u
#define PIECE   65536u
#define VOXELS  441u /* where those of RIG_CONTIGUOUS begin */
#define BETWEEN (16 * PLANE)

struct shelf {
    struct rig rig;
    uint8_t *data;
    size_t len;
    struct stack *stack;
};

/* One settled stack of PLANES planes, two chunks each, mounted anew and open. */
static void shelf_start(struct shelf *shelf, uint64_t cache)
{
    *shelf = (struct shelf){.rig.config = {.chunk = CHUNK, .cache = cache}};
    rig_start(&shelf->rig);
    shelf->data = malloc(rig_tiff_bound(256, 256, PLANES));
    shelf->len = rig_tiff(RIG_CONTIGUOUS, 256, 256, PLANES, shelf->data);
    struct stack *stack = rig_create(&shelf->rig, "a.tif");
    rig_write(stack, shelf->data, shelf->len, 0);
    stack_release(stack, true);
    stack_put(&stack);
    rig_close(&shelf->rig);
    rig_open(&shelf->rig);
    shelf->stack = rig_find(&shelf->rig, "a.tif");
    assert_int_equal(stack_open(shelf->stack, false, -1), 0);
}

static void shelf_stop(struct shelf *shelf)
{
    stack_release(shelf->stack, false);
    stack_put(&shelf->stack);
    free(shelf->data);
    rig_stop(&shelf->rig);
}

/* Until what was started ahead of readers is decoded. */
static void wait_ahead(struct volume *volume)
{
    while (atomic_load(&volume->n_ahead) > 0)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static unsigned decoded(const struct shelf *shelf)
{
    return (unsigned)atomic_load(&shelf->rig.volume->counters.chunks_decoded);
}

static void expect_view(const struct stack_view *view, const uint8_t *data, size_t len)
{
    size_t done = 0;
    for (unsigned i = 0; i < view->n; i++) {
        assert_true(view->iov[i].iov_len <= len - done);
        assert_memory_equal(view->iov[i].iov_base, data + done, view->iov[i].iov_len);
        done += view->iov[i].iov_len;
    }
    assert_int_equal(done, len);
}

/* Reads one piece and compares it. */
static void look(struct shelf *shelf, struct stack_reader *reader, uint64_t off, size_t len)
{
    static uint8_t buf[2 * PLANE];
    struct stack_view view = {.buf = buf};
    if (off + len > shelf->len)
        len = shelf->len - off;
    assert_int_equal(stack_view(shelf->stack, reader, &view, len, off, true), len);
    expect_view(&view, shelf->data + off, len);
    stack_view_end(&view);
    wait_ahead(shelf->rig.volume);
    cache_check(shelf->rig.volume->cache);
}

static bool is_at_hand(struct shelf *shelf, uint64_t off)
{
    uint8_t byte;
    return stack_read(shelf->stack, &byte, 1, off, false) == 1;
}

static void a_reader_finds_decoded_what_comes_next(void **state)
{
    (void)state;
    struct shelf shelf;
    shelf_start(&shelf, 0);
    struct stack_reader up = {.to = 0};
    for (uint64_t at = 0; at < shelf.len; at += PIECE) {
        look(&shelf, &up, at, PIECE);
        uint64_t next = at + 2 * PIECE;
        if (at >= 8 * PIECE && next < shelf.len)
            assert_true(is_at_hand(&shelf, next));
    }
    unsigned once = decoded(&shelf);
    assert_true(once >= 2 * PLANES && once <= 2 * PLANES + 2);
    look(&shelf, &up, 0, PIECE);
    stack_reader_end(shelf.stack, &up);
    assert_int_equal(atomic_load(&shelf.rig.volume->n_readers), 0);
    shelf_stop(&shelf);
}

static void a_reader_on_its_way_back_finds_decoded_what_comes_next(void **state)
{
    (void)state;
    struct shelf shelf;
    shelf_start(&shelf, 0);
    struct stack_reader down = {.to = 0};
    for (uint64_t at = (shelf.len - 1) / PIECE * PIECE;; at -= PIECE) {
        look(&shelf, &down, at, PIECE);
        if (at <= shelf.len - 8 * PIECE && at >= PIECE)
            assert_true(is_at_hand(&shelf, at - PIECE));
        if (at == 0)
            break;
    }
    assert_true(decoded(&shelf) <= 2 * PLANES + 2);
    stack_reader_end(shelf.stack, &down);
    shelf_stop(&shelf);
}

static void two_readers_of_one_stack_do_not_defeat_each_other(void **state)
{
    (void)state;
    struct shelf shelf;
    shelf_start(&shelf, 0);
    struct stack_reader one = {.to = 0}, two = {.to = 0};
    for (uint64_t at = 0; at < BETWEEN; at += PIECE) {
        look(&shelf, &one, at, PIECE);
        look(&shelf, &two, BETWEEN + at, PIECE);
        if (at >= 8 * PIECE && at + 2 * PIECE < BETWEEN) {
            assert_true(is_at_hand(&shelf, at + 2 * PIECE));
            assert_true(is_at_hand(&shelf, BETWEEN + at + 2 * PIECE));
        }
    }
    stack_reader_end(shelf.stack, &one);
    stack_reader_end(shelf.stack, &two);
    shelf_stop(&shelf);
}

/* Of a cache of 20 chunks two readers have a quarter, in which nothing is decoded twice. */
static void two_readers_in_a_small_cache_have_each_chunk_decoded_once(void **state)
{
    (void)state;
    struct shelf shelf;
    shelf_start(&shelf, 20 * (CHUNK + 1024));
    struct stack_reader one = {.to = 0}, two = {.to = 0};
    for (uint64_t at = 0; at < BETWEEN; at += PIECE) {
        look(&shelf, &one, at, PIECE);
        look(&shelf, &two, BETWEEN + at, PIECE);
    }
    assert_true(decoded(&shelf) <= 2 * PLANES + 4);
    stack_reader_end(shelf.stack, &one);
    stack_reader_end(shelf.stack, &two);
    shelf_stop(&shelf);
}

static void a_cache_of_less_than_a_chunk_decodes_nothing_ahead(void **state)
{
    (void)state;
    struct shelf shelf;
    shelf_start(&shelf, CHUNK / 2);
    struct stack_reader up = {.to = 0};
    for (uint64_t at = VOXELS; at < shelf.len; at += PIECE)
        look(&shelf, &up, at, PIECE);
    assert_false(up.counted);
    stack_reader_end(shelf.stack, &up);
    shelf_stop(&shelf);
}

/* A cache of three: nothing is decoded ahead, and what a reader has passed goes first. */
static void a_chunk_stays_until_the_answer_it_is_part_of_is_given(void **state)
{
    (void)state;
    struct shelf shelf;
    static uint8_t buf[PIECE];
    struct stack_reader up = {.to = 0};
    shelf_start(&shelf, 3 * (CHUNK + 1024));
    uint64_t at = VOXELS;
    for (unsigned i = 0; i < 5; i++, at += PIECE)
        look(&shelf, &up, at, PIECE);
    look(&shelf, &up, at, PIECE / 2);
    struct stack_view view = {.buf = buf};
    at += PIECE / 2;
    assert_int_equal(stack_view(shelf.stack, &up, &view, PIECE, at, false), -EAGAIN);
    assert_int_equal(stack_read(shelf.stack, buf, 1, VOXELS + 20 * PIECE, true), 1);
    assert_true(is_at_hand(&shelf, at));
    look(&shelf, &up, at, PIECE);
    assert_int_equal(stack_read(shelf.stack, buf, 1, VOXELS + 21 * PIECE, true), 1);
    assert_false(is_at_hand(&shelf, at));
    stack_reader_end(shelf.stack, &up);
    shelf_stop(&shelf);
}

/* The first planes teach how long one is. */
static void a_plane_costs_a_plane(void **state)
{
    (void)state;
    enum { SLAB = 4 * PLANE }; /* what a real plane has in chunks */
    static const unsigned order[] = {3, 0, 6, 1, 5};
    struct shelf shelf;
    shelf_start(&shelf, 0);
    struct stack_reader reader = {.to = 0};
    unsigned before = 0;
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        before = decoded(&shelf);
        /* further apart than what still counts as going on */
        reader.from = reader.to > 0 ? reader.from + ((uint64_t)1 << 40) : 0;
        reader.to += reader.to > 0 ? (uint64_t)1 << 40 : 0;
        for (uint64_t at = 0; at < SLAB; at += PIECE)
            look(&shelf, &reader, VOXELS + order[i] * SLAB + at, PIECE);
        if (i > 0)
            assert_true(decoded(&shelf) - before <= SLAB / CHUNK + 1);
    }
    stack_reader_end(shelf.stack, &reader);
    shelf_stop(&shelf);
}

/* The kernel reads ahead, too: one request behind each plane. */
static void what_the_kernel_reads_behind_a_plane_costs_only_itself(void **state)
{
    (void)state;
    enum { SLAB = 4 * PLANE };
    static const unsigned order[] = {3, 0, 6, 1, 5, 2};
    struct shelf shelf;
    shelf_start(&shelf, 0);
    struct stack_reader reader = {.to = 0};
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        unsigned before = decoded(&shelf);
        uint64_t far = reader.to > 0 ? (uint64_t)1 << 40 : 0;
        reader.from += far, reader.to += far, reader.last_request += far;
        for (uint64_t at = 0; at <= SLAB; at += PIECE)
            look(&shelf, &reader, VOXELS + order[i] * SLAB + at, PIECE);
        if (i > 0)
            assert_true(decoded(&shelf) - before <= SLAB / CHUNK + 1);
    }
    stack_reader_end(shelf.stack, &reader);
    shelf_stop(&shelf);
}

struct gate {
    struct work work;
    sem_t *entered, *go;
};

static void gate_run(struct work *work)
{
    struct gate *gate = (struct gate *)work;
    sem_post(gate->entered);
    sem_wait(gate->go);
}

/* Encoders that are busy with something long. */
struct busy {
    unsigned n;
    sem_t entered, go;
    struct gate gates[64];
};

static void busy_begin(struct busy *busy, struct volume *volume)
{
    busy->n = volume->config.threads;
    assert_true(busy->n <= 64);
    sem_init(&busy->entered, 0, 0);
    sem_init(&busy->go, 0, 0);
    for (unsigned i = 0; i < busy->n; i++) {
        busy->gates[i] = (struct gate){{gate_run, NULL}, &busy->entered, &busy->go};
        workq_push(volume->encoders, &busy->gates[i].work);
    }
    for (unsigned i = 0; i < busy->n; i++)
        sem_wait(&busy->entered);
}

static void busy_end(struct busy *busy, struct volume *volume)
{
    for (unsigned i = 0; i < busy->n; i++)
        sem_post(&busy->go);
    wait_ahead(volume);
}

/* When the encoders are no more. */
static void busy_clear(struct busy *busy)
{
    sem_destroy(&busy->entered);
    sem_destroy(&busy->go);
}

static void read_through(struct shelf *shelf, struct stack_reader *reader, uint64_t from,
                         uint64_t to)
{
    static uint8_t buf[PIECE];
    for (uint64_t at = from; at < to; at += PIECE) {
        struct stack_view view = {.buf = buf};
        assert_int_equal(stack_view(shelf->stack, reader, &view, PIECE, at, true), PIECE);
        expect_view(&view, shelf->data + at, PIECE);
        stack_view_end(&view);
    }
}

/* A reader is quicker than the encoders, and what it has passed goes. */
static void what_a_reader_has_decoded_itself_is_not_decoded_again(void **state)
{
    (void)state;
    struct shelf shelf;
    struct busy busy;
    struct stack_reader reader = {.to = 0};
    shelf_start(&shelf, 16 * (CHUNK + 1024));
    busy_begin(&busy, shelf.rig.volume);
    uint64_t end = shelf.len / PIECE * PIECE;
    read_through(&shelf, &reader, 0, end - PIECE);
    assert_true(atomic_load(&shelf.rig.volume->n_ahead) > 0);
    read_through(&shelf, &reader, end - PIECE, end);
    read_through(&shelf, &reader, shelf.len - PIECE, shelf.len);
    unsigned once = decoded(&shelf);
    assert_true(once <= 2 * PLANES + 2);
    busy_end(&busy, shelf.rig.volume);
    assert_int_equal(decoded(&shelf), once);
    stack_reader_end(shelf.stack, &reader);
    shelf_stop(&shelf);
    busy_clear(&busy);
}

/* However many are free: the others are left to who reads and who answers. */
static void no_more_encoders_than_are_meant_to_decode_ahead(void **state)
{
    (void)state;
    struct shelf shelf;
    struct busy busy;
    struct stack_reader reader = {.to = 0};
    shelf_start(&shelf, 0);
    struct volume *volume = shelf.rig.volume;
    volume->ahead_turns_most = 1;
    busy_begin(&busy, volume);
    read_through(&shelf, &reader, 0, 4 * PLANE);
    assert_true(atomic_load(&volume->n_ahead) > 1);
    assert_int_equal(volume->ahead_turns, 1);
    assert_int_equal(workq_depth(volume->encoders), 1);
    busy_end(&busy, volume);
    assert_null(volume->ahead);
    look(&shelf, &reader, 4 * PLANE, PIECE);
    stack_reader_end(shelf.stack, &reader);
    shelf_stop(&shelf);
    busy_clear(&busy);
}

static void who_jumps_does_not_wait_for_what_it_wanted_before(void **state)
{
    (void)state;
    struct shelf shelf;
    struct busy busy;
    struct stack_reader reader = {.to = 0};
    shelf_start(&shelf, 0);
    busy_begin(&busy, shelf.rig.volume);
    read_through(&shelf, &reader, 0, 4 * PLANE);
    assert_true(atomic_load(&shelf.rig.volume->n_ahead) > 0);
    reader.from += (uint64_t)1 << 40, reader.to += (uint64_t)1 << 40;
    reader.last_request += (uint64_t)1 << 40;
    read_through(&shelf, &reader, 20 * PLANE, 20 * PLANE + PIECE);
    assert_int_equal(atomic_load(&shelf.rig.volume->n_ahead), 0);
    stack_reader_end(shelf.stack, &reader);
    busy_end(&busy, shelf.rig.volume);
    shelf_stop(&shelf);
    busy_clear(&busy);
}

static void what_is_shown_stays_while_a_writer_replaces_it(void **state)
{
    (void)state;
    struct shelf shelf;
    static uint8_t buf[PLANE];
    uint64_t at = VOXELS + 3 * PLANE;
    shelf_start(&shelf, 0);
    uint8_t *next = malloc(PLANE);
    for (size_t i = 0; i < PLANE; i++)
        next[i] = shelf.data[at + i] ^ 0x5a;
    struct stack_reader reader = {.to = 0};
    struct stack_view old = {.buf = buf};
    assert_int_equal(stack_view(shelf.stack, &reader, &old, PLANE, at, true), PLANE);
    assert_true(old.n_held > 0);
    assert_int_equal(stack_open(shelf.stack, true, -1), 0);
    rig_write(shelf.stack, next, PLANE, at);
    expect_view(&old, shelf.data + at, PLANE);
    memcpy(shelf.data + at, next, PLANE);
    look(&shelf, &reader, at, PLANE);
    stack_release(shelf.stack, true);
    assert_int_equal(volume_drain(shelf.rig.volume), 0);
    for (size_t i = 0; i < PLANE; i++)
        next[i] ^= 0x5a;
    expect_view(&old, next, PLANE);
    stack_view_end(&old);
    for (uint64_t from = 0; from < shelf.len; from += PIECE)
        look(&shelf, &reader, from, PIECE);
    stack_reader_end(shelf.stack, &reader);
    free(next);
    shelf_stop(&shelf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_finds_decoded_what_comes_next),
        cmocka_unit_test(a_reader_on_its_way_back_finds_decoded_what_comes_next),
        cmocka_unit_test(two_readers_of_one_stack_do_not_defeat_each_other),
        cmocka_unit_test(two_readers_in_a_small_cache_have_each_chunk_decoded_once),
        cmocka_unit_test(a_cache_of_less_than_a_chunk_decodes_nothing_ahead),
        cmocka_unit_test(a_chunk_stays_until_the_answer_it_is_part_of_is_given),
        cmocka_unit_test(a_plane_costs_a_plane),
        cmocka_unit_test(what_the_kernel_reads_behind_a_plane_costs_only_itself),
        cmocka_unit_test(what_a_reader_has_decoded_itself_is_not_decoded_again),
        cmocka_unit_test(no_more_encoders_than_are_meant_to_decode_ahead),
        cmocka_unit_test(who_jumps_does_not_wait_for_what_it_wanted_before),
        cmocka_unit_test(what_is_shown_stays_while_a_writer_replaces_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
