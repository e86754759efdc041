/* Stacks whose directories, but for the first one, come after all voxels: planes are cut before
 * anything tells of them, and as they will be in the end. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "image/layout.h"
#include "tiff_build.h"

#define TARGET (64u << 10)
#define N      20u /* planes */
#define WIDTH  100u
#define HEIGHT 90u
#define PLANE  (WIDTH * HEIGHT * 2u)

/* Returns where the first plane lies. */
static uint64_t build_stack(struct build *b)
{
    struct build_page page = {.width = WIDTH, .height = HEIGHT, .ifd_first = true};
    build_start(b, false, false);
    build_page(b, &page, true);
    const uint64_t first = b->len - PLANE;
    build_bytes(b, NULL, (N - 1) * PLANE);
    for (uint64_t i = 1; i < N; i++) {
        page.at = first + i * PLANE;
        build_page(b, &page, true);
    }
    return first;
}

/* A layout of the first `len` bytes, told of in steps. */
static struct layout *layout_of(const struct build *b, uint64_t len)
{
    struct layout *layout;
    struct layout_piece want;
    assert_int_equal(layout_create(TARGET, NULL, &layout), 0);
    for (uint64_t at = 0, end; at < len; at = end) {
        end = at + 5000 < len ? at + 5000 : len;
        struct file file = {.data = b->data, .len = end};
        if (layout_note(layout, at, end - at))
            assert_in_range(layout_update(layout, file_read, &file, end, false, &want), 0, 1);
    }
    return layout;
}

/* Every unit that lies before `end` is as in the finished file; the very last one may be open. */
static void assert_cut_as_in_the_end(struct build *b, struct layout *layout, uint64_t first,
                                     uint64_t end)
{
    struct file whole = {.data = b->data, .len = b->len};
    struct layout *finished = file_layout(&whole, TARGET, NULL);
    struct layout_unit unit, in_the_end;
    uint64_t gap_end;
    for (uint64_t at = first; at < end;) {
        assert_true(layout_unit_at(finished, at, &in_the_end, &gap_end));
        at = in_the_end.pieces[0].off + in_the_end.bytes;
        if (at > end)
            break;
        assert_true(layout_unit_at(layout, at - 1, &unit, &gap_end));
        assert_true(!unit.open || at == first + N * PLANE);
        assert_int_equal(unit.planes, in_the_end.planes);
        assert_int_equal(unit.rows, in_the_end.rows);
        assert_int_equal(unit.n_pieces, 1);
        assert_memory_equal(&unit.pieces[0], &in_the_end.pieces[0], sizeof(unit.pieces[0]));
    }
    layout_destroy(&finished);
}

static void planes_are_cut_before_their_directories(void **state)
{
    (void)state;
    struct build b;
    const uint64_t first = build_stack(&b);
    for (unsigned n = 2; n <= N; n += 3) {
        struct layout *layout = layout_of(&b, first + n * PLANE);
        assert_cut_as_in_the_end(&b, layout, first, first + n * PLANE);
        layout_destroy(&layout);
    }
    build_free(&b);
}

/* The first directory's link is written at the end: then it takes three planes to believe in. */
static void without_a_link(void **state)
{
    (void)state;
    struct build b;
    struct layout_unit unit;
    uint64_t gap_end;
    const uint64_t first = build_stack(&b);
    struct build open = b;
    open.data = malloc(b.len);
    memcpy(open.data, b.data, b.len);
    for (size_t link = 8 + 2; link < first; link++) { /* the only word that points behind all */
        uint32_t word;
        memcpy(&word, open.data + link, sizeof(word));
        if (word == first + N * PLANE)
            memset(open.data + link, 0, sizeof(word));
    }
    struct layout *layout = layout_of(&open, first + 3 * PLANE - 5000);
    assert_false(layout_unit_at(layout, first + PLANE, &unit, &gap_end));
    layout_destroy(&layout);
    layout = layout_of(&open, first + 8 * PLANE);
    assert_cut_as_in_the_end(&b, layout, first, first + 8 * PLANE);
    layout_destroy(&layout);
    free(open.data);
    build_free(&b);
}

static void nothing_is_guessed_where_directories_stand_between(void **state)
{
    (void)state;
    for (unsigned ifd_first = 0; ifd_first < 2; ifd_first++) {
        struct build b;
        struct layout_unit unit;
        uint64_t gap_end;
        struct build_page page = {.width = WIDTH, .height = HEIGHT, .ifd_first = ifd_first};
        build_start(&b, false, false);
        build_page(&b, &page, true);
        const uint64_t end = b.len;
        for (unsigned i = 1; i < N; i++)
            build_page(&b, &page, true);
        struct layout *layout = layout_of(&b, end + 6);
        assert_false(layout_unit_at(layout, end, &unit, &gap_end));
        assert_false(layout_unit_at(layout, end + PLANE, &unit, &gap_end));
        layout_destroy(&layout);
        build_free(&b);
    }
}

/* What a file of `size` bytes, of which only the header is there, says of byte `off`. */
static bool header_says(uint64_t first, uint64_t size, bool final, uint64_t off,
                        struct layout_unit *unit)
{
    uint8_t header[16] = {'I', 'I', 43, 0, 8};
    struct file file = {.data = header, .len = sizeof(header)};
    struct layout *layout;
    struct layout_piece want;
    uint64_t gap_end;
    memcpy(header + 8, &first, sizeof(first)); /* tests run on little-endian machines */
    assert_int_equal(layout_create(TARGET, NULL, &layout), 0);
    layout_note(layout, 0, sizeof(header));
    assert_in_range(layout_update(layout, file_read, &file, sizeof(header), false, &want), 0, 1);
    layout_note(layout, sizeof(header), size - sizeof(header));
    assert_in_range(layout_update(layout, file_read, &file, size, final, &want), 0, 1);
    bool says = layout_unit_at(layout, off, unit, &gap_end);
    layout_destroy(&layout);
    return says;
}

/* Rows cannot be guessed, samples can. */
static void where_all_directories_come_last_bytes_are_samples(void **state)
{
    (void)state;
    const uint64_t size = 64u << 20, end = 1u << 30;
    struct layout_unit unit;
    for (uint64_t first = 0; first <= end; first += end) {
        assert_true(header_says(first, size, false, 16 + 5 * TARGET + 3, &unit));
        assert_true(unit.guessed && !unit.open);
        assert_int_equal(unit.type, LAYOUT_UINT16);
        assert_int_equal(unit.bytes, TARGET);
        assert_int_equal(unit.pieces[0].off, 16 + 5 * TARGET);
        assert_false(header_says(first, 1u << 20, false, 16, &unit)); /* it may come yet */
        assert_false(header_says(first, size, true, 16, &unit));
    }
    assert_false(header_says(end, size, false, end - 5, &unit)); /* a unit would reach into it */
    assert_false(header_says(UINT64_MAX, size, false, 16, &unit));
    assert_false(header_says(4096, size, false, 16, &unit));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planes_are_cut_before_their_directories),
        cmocka_unit_test(without_a_link),
        cmocka_unit_test(where_all_directories_come_last_bytes_are_samples),
        cmocka_unit_test(nothing_is_guessed_where_directories_stand_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
