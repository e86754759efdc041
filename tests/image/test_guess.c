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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planes_are_cut_before_their_directories),
        cmocka_unit_test(without_a_link),
        cmocka_unit_test(nothing_is_guessed_where_directories_stand_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
