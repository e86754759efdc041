/* Files while they are being written: in whatever order the bytes come, the layout ends up as that
 * of the finished file, and its cost stays in proportion. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "image/layout.h"
#include "tiff_build.h"

#define TARGET (64u << 10)

/* A file under construction, and the finished one. */
struct writer {
    struct build build; /* finished */
    uint8_t *data, *present;
    struct file file;
    struct layout *layout;
    uint64_t random;
    uint64_t size;
    bool stopped; /* the last update was final */
};

static uint64_t random_below(struct writer *w, uint64_t n)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return n ? (w->random >> 33) % n : 0;
}

static void start_writing(struct writer *w, bool preallocated)
{
    w->data = calloc(w->build.len + 1, 1);
    w->present = calloc(w->build.len + 1, 1);
    assert_non_null(w->data);
    assert_non_null(w->present);
    w->file = (struct file){
        .data = w->data, .len = w->build.len, .present = preallocated ? NULL : w->present};
    w->size = preallocated ? w->build.len : 0;
    assert_int_equal(layout_create(TARGET, NULL, &w->layout), 0);
}

static void update(struct writer *w, bool final)
{
    struct layout_piece want = {UINT64_MAX, 0};
    int r = layout_update(w->layout, file_read, &w->file, w->size, final, &want);
    w->stopped = final;
    assert_in_range(r, 0, 1);
    if (final)
        assert_int_equal(r, 0);
    if (r == 1)
        assert_true(want.len > 0 && want.off < INT64_MAX);
}

/* Bytes of the finished file, or others, are written to [off, end); the layout is updated when it
 * says that it may learn something, or where the last update wanted more. */
static void write_bytes(struct writer *w, uint64_t off, uint64_t end, bool wrong)
{
    for (uint64_t i = off; i < end; i++) {
        w->data[i] = wrong ? (uint8_t)random_below(w, 256) : w->build.data[i];
        w->present[i] = 1;
    }
    if (end > w->size)
        w->size = end;
    if (layout_note(w->layout, off, end - off))
        update(w, false);
    const char *bad = file_check(w->layout, INT64_MAX, false, TARGET, 20, NULL);
    if (bad)
        fail_msg("%s", bad);
}

/* Without a last update: layout_note() must have said so wherever there was something to learn. */
static void assert_same_as_unfinished(const struct writer *w, struct file *whole)
{
    struct layout *once;
    struct layout_piece want;
    assert_int_equal(layout_create(TARGET, NULL, &once), 0);
    layout_note(once, 0, whole->len);
    assert_int_equal(layout_update(once, file_read, whole, whole->len, false, &want), 0);
    assert_true(file_digest(w->layout, w->build.len) == file_digest(once, w->build.len));
    layout_destroy(&once);
}

static void finish_writing(struct writer *w)
{
    struct file whole = {.data = w->build.data, .len = w->build.len};
    struct layout *once = file_layout(&whole, TARGET, NULL);
    assert_memory_equal(w->data, w->build.data, w->build.len);
    if (!w->stopped)
        assert_same_as_unfinished(w, &whole);
    update(w, true);
    assert_true(file_digest(w->layout, w->build.len) == file_digest(once, w->build.len));
    /* opened again and not touched: the same */
    update(w, false);
    update(w, true);
    assert_true(file_digest(w->layout, w->build.len) == file_digest(once, w->build.len));
    layout_destroy(&once);
    layout_destroy(&w->layout);
    free(w->data);
    free(w->present);
}

/* ---- the files ---- */

static void build_pages(struct build *b, unsigned kind)
{
    static const char imagej[] = "ImageJ=1.53t\nimages=6\nslices=6\nunit=um\nspacing=2\n";
    static const char ome[] = "<OME><Image><Pixels SizeC=\"2\" SizeZ=\"3\" PhysicalSizeX=\".5\"/>"
                              "</Image></OME>";
    struct build_page page = {.width = 50, .height = 40, .ifd_first = kind & 1};
    build_start(b, kind & 2, kind & 4);
    switch (kind >> 3) {
    case 1: /* strips, some apart, and a pyramid */
        page.rows_per_strip = 7;
        page.gap = 3;
        break;
    case 2:
        page.reverse = true;
        page.rows_per_strip = 8;
        break;
    case 3:
        page.tile_width = page.tile_height = 16;
        break;
    case 4:
        page.description = ome;
        break;
    case 5: /* planes without directories */
        page.description = imagej;
        build_page(b, &page, true);
        build_bytes(b, NULL, 5 * 50 * 40 * 2);
        return;
    case 8: /* the other directories behind all voxels */
        page.ifd_first = true;
        build_page(b, &page, true);
        page.at = b->len - 50 * 40 * 2;
        build_bytes(b, NULL, 5 * 50 * 40 * 2);
        for (unsigned i = 1; i < 6; i++) {
            page.at += 50 * 40 * 2;
            build_page(b, &page, true);
        }
        return;
    case 6: /* directories contradict the description */
        page.description = imagej;
        break;
    default:
        break;
    }
    for (unsigned i = 0; i < 6; i++) {
        uint64_t sub = 0;
        struct build_page small = {.width = 20, .height = 10, .ifd_first = kind & 1};
        if (kind >> 3 == 1)
            sub = build_page(b, &small, false);
        page.subs = sub ? &sub : NULL;
        page.n_subs = sub != 0;
        page.bits = kind >> 3 == 7 && i == 3 ? 8 : 16;
        build_page(b, &page, true);
        page.description = kind >> 3 == 6 ? page.description : NULL;
    }
}

#define N_KINDS 72u

static void each_kind(void (*fn)(struct writer *w, unsigned kind))
{
    for (unsigned kind = 0; kind < N_KINDS; kind++) {
        struct writer w = {.random = kind};
        build_pages(&w.build, kind);
        fn(&w, kind);
        build_free(&w.build);
    }
}

/* ---- the orders ---- */

static void write_forwards(struct writer *w, unsigned kind)
{
    static const unsigned steps[] = {1, 7, 512, 8192};
    for (unsigned s = kind % 8 ? 1 : 0; s < 4; s++) {
        start_writing(w, false);
        for (uint64_t off = 0; off < w->build.len; off += steps[s]) {
            uint64_t end = off + steps[s];
            write_bytes(w, off, end < w->build.len ? end : w->build.len, false);
        }
        finish_writing(w);
    }
}

static void forwards(void **state)
{
    (void)state;
    each_kind(write_forwards);
}

static void write_backwards(struct writer *w, unsigned kind)
{
    (void)kind;
    start_writing(w, false);
    for (uint64_t end = w->build.len; end;) {
        uint64_t n = 1 + random_below(w, 700);
        uint64_t off = n < end ? end - n : 0;
        write_bytes(w, off, end, false);
        end = off;
    }
    finish_writing(w);
}

static void backwards(void **state)
{
    (void)state;
    each_kind(write_backwards);
}

/* Blocks in random order, some of them wrong at first; absent bytes are holes or zeros. */
static void write_shuffled(struct writer *w, unsigned kind)
{
    for (unsigned round = 0; round < 12; round++) {
        uint64_t block = 1 + random_below(w, round % 2 ? 5000 : 300);
        uint64_t n = (w->build.len + block - 1) / block;
        uint64_t *order = calloc(n, sizeof(*order));
        assert_non_null(order);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t k = random_below(w, i + 1);
            order[i] = order[k];
            order[k] = i;
        }
        start_writing(w, (round + kind) % 3 == 0);
        for (unsigned pass = round % 4 ? 1 : 0; pass < 2; pass++) {
            for (uint64_t i = 0; i < n; i++) {
                uint64_t end = (order[i] + 1) * block;
                write_bytes(w, order[i] * block, end < w->build.len ? end : w->build.len,
                            pass == 0 && random_below(w, 3) == 0);
            }
        }
        finish_writing(w);
        free(order);
    }
}

static void shuffled(void **state)
{
    (void)state;
    each_kind(write_shuffled);
}

/* Every directory is wrong at first, each in its own way, and is put right later. */
static void write_with_wrong_directories(struct writer *w, unsigned kind)
{
    for (unsigned round = 0; round < 20; round++) {
        start_writing(w, kind & 1);
        write_bytes(w, 0, w->build.len, false);
        for (unsigned i = 0; i < 8; i++) {
            uint64_t at = random_below(w, w->build.len - 8);
            if (round % 2 && i < 4) /* where directories are in these files: near small numbers */
                while (at > 12 && !(w->build.data[at] == 1 && w->build.data[at + 1] < 80))
                    at--;
            uint64_t n = 1 + random_below(w, 8);
            write_bytes(w, at, at + n, true);
            if (random_below(w, 3) == 0)
                update(w, random_below(w, 2));
            if (random_below(w, 2))
                write_bytes(w, at, at + n, false);
        }
        write_bytes(w, 0, w->build.len / 2, false);
        write_bytes(w, w->build.len / 2, w->build.len, false);
        finish_writing(w);
    }
}

static void wrong_directories(void **state)
{
    (void)state;
    each_kind(write_with_wrong_directories);
}

/* Cut off, closed, opened and written to the end. */
static void write_and_cut(struct writer *w, unsigned kind)
{
    (void)kind;
    for (unsigned round = 0; round < 10; round++) {
        uint64_t cut = random_below(w, w->build.len);
        start_writing(w, false);
        write_bytes(w, 0, w->build.len, false);
        update(w, round % 2);
        memset(w->present + cut, 0, w->build.len - cut);
        memset(w->data + cut, 0, w->build.len - cut);
        w->size = cut;
        layout_note(w->layout, cut, UINT64_MAX - cut);
        update(w, round % 3);
        uint8_t *rest = w->build.data;
        struct file cut_file = {.data = rest, .len = cut};
        struct layout *once = file_layout(&cut_file, TARGET, NULL);
        update(w, true);
        assert_true(file_digest(w->layout, cut) == file_digest(once, cut));
        layout_destroy(&once);
        write_bytes(w, cut, w->build.len, false);
        finish_writing(w);
    }
}

static void cut_and_continued(void **state)
{
    (void)state;
    each_kind(write_and_cut);
}

/* ---- habits of particular programs ---- */

/* libtiff: voxels, directory, then the previous one's link. What is closed stays as it is. */
static void units_that_are_closed_stay(void **state)
{
    (void)state;
    enum { PAGES = 60 };
    struct writer w = {.random = 1};
    size_t ifds[PAGES];
    build_start(&w.build, false, false);
    for (unsigned i = 0; i < PAGES; i++)
        ifds[i] = build_page(&w.build, &(struct build_page){.width = 80, .height = 80}, true);
    uint8_t *links = malloc(w.build.len);
    assert_non_null(links);
    memcpy(links, w.build.data, w.build.len);
    start_writing(&w, false);
    struct layout_unit closed[PAGES];
    unsigned n_closed = 0;
    write_bytes(&w, 0, 8, false);
    for (unsigned i = 0; i < PAGES; i++) {
        size_t from = i ? ifds[i - 1] + 200 : 8;
        size_t to = i + 1 < PAGES ? ifds[i] + 200 : w.build.len;
        write_bytes(&w, from < to ? from : to, to, false);
        if (i)
            write_bytes(&w, ifds[i - 1], ifds[i - 1] + 200, false);
        struct layout_unit unit;
        uint64_t gap_end;
        for (unsigned k = 0; k < n_closed; k++) {
            assert_true(layout_unit_at(w.layout, closed[k].pieces[0].off, &unit, &gap_end));
            assert_int_equal(unit.n_pieces, closed[k].n_pieces);
            assert_false(unit.open);
        }
        uint64_t last = ifds[i] - 100;
        assert_true(layout_unit_at(w.layout, last, &unit, &gap_end));
        assert_int_equal(unit.planes, i % 5 + 1); /* five of 12,800 bytes in 64 KiB */
        assert_int_equal(unit.open, unit.planes < 5);
        if (!unit.open)
            closed[n_closed++] = unit;
    }
    assert_int_equal(n_closed, PAGES / 5);
    finish_writing(&w);
    build_free(&w.build);
    free(links);
}

/* 100,000 pages, an update after each: every page is read a few times, not 100,000 times. */
static void cost_of_a_page_does_not_grow(void **state)
{
    (void)state;
    enum { PAGES = 100000, STEP = 300 };
    struct build b;
    struct layout *layout;
    struct layout_piece want;
    size_t done = 0;
    build_start(&b, true, false);
    assert_int_equal(layout_create(TARGET, NULL, &layout), 0);
    struct file file = {.data = NULL};
    for (unsigned i = 0; i < PAGES; i++) {
        size_t link = b.link;
        build_page(&b, &(struct build_page){.width = 4, .height = 2}, true);
        file.data = b.data;
        file.len = b.len;
        layout_note(layout, done, b.len - done);
        assert_int_equal(layout_update(layout, file_read, &file, b.len, false, &want), 0);
        layout_note(layout, link, 8);
        assert_int_equal(layout_update(layout, file_read, &file, b.len, false, &want), 0);
        done = b.len;
    }
    assert_true(file.n_reads < 20 * PAGES);
    struct layout_info info;
    layout_info(layout, &info);
    assert_int_equal(info.depth, PAGES);
    assert_true(info.one_volume);
    uint64_t reads = file.n_reads;
    assert_false(layout_note(layout, 1ull << 40, 1 << 20)); /* voxels: nothing to learn */
    assert_int_equal(layout_update(layout, file_read, &file, b.len, true, &want), 0);
    assert_true(file.n_reads <= reads + 2);
    layout_destroy(&layout);
    build_free(&b);
}

/* Directories first, all their strips unknown (zeros), then one strip after the other patched in.
 */
static void offsets_patched_one_by_one(void **state)
{
    (void)state;
    struct writer w = {.random = 7};
    uint64_t offs[16];
    build_start(&w.build, false, false);
    struct build_tag tags[] = {
        {256, BUILD_LONG, 1, NULL, NULL, 40},  {257, BUILD_LONG, 1, NULL, NULL, 16},
        {258, BUILD_SHORT, 1, NULL, NULL, 16}, {273, BUILD_LONG, 16, offs, NULL, 0},
        {278, BUILD_LONG, 1, NULL, NULL, 1},
    };
    for (unsigned i = 0; i < 16; i++)
        offs[i] = 4096 + 100 * i;
    size_t ifd = build_ifd(&w.build, tags, 5, true);
    build_bytes(&w.build, NULL, 8192 - w.build.len);
    start_writing(&w, true);
    size_t array = ifd + 2 + 5 * 12 + 4;
    write_bytes(&w, 0, array, false);
    for (unsigned i = 0; i < 16; i++) {
        struct layout_info info;
        write_bytes(&w, offs[i], offs[i] + 80, false);
        write_bytes(&w, array + 4 * i, array + 4 * i + 4, false);
        layout_info(w.layout, &info);
        assert_int_equal(info.depth, 1);
        assert_int_equal(info.one_volume, i == 15);
    }
    finish_writing(&w);
    build_free(&w.build);
}

/* Micro-Manager, NDTiff: a file of zeros, written from the front, each link ahead of its directory.
 */
static void links_into_a_hole(void **state)
{
    (void)state;
    struct writer w = {.random = 3};
    build_start(&w.build, false, false);
    for (unsigned i = 0; i < 20; i++)
        build_page(&w.build, &(struct build_page){.width = 30, .height = 30, .ifd_first = true},
                   true);
    start_writing(&w, true);
    update(&w, false);
    assert_int_equal(layout_kind(w.layout), LAYOUT_UNKNOWN);
    for (uint64_t off = 0; off < w.build.len; off += 1000) {
        uint64_t end = off + 1000 < w.build.len ? off + 1000 : w.build.len;
        write_bytes(&w, off, end, false);
        struct layout_info info;
        layout_info(w.layout, &info);
        assert_true(info.depth + 2 >= end / 2000 && info.depth <= end / 1900 + 1);
    }
    finish_writing(&w);
    build_free(&w.build);
}

static void voxels_before_anything_else(void **state)
{
    (void)state;
    struct writer w = {.random = 3};
    struct layout_unit unit;
    uint64_t gap_end;
    build_start(&w.build, true, true);
    build_page(&w.build, &(struct build_page){.width = 30, .height = 30}, true);
    start_writing(&w, false);
    write_bytes(&w, 16, w.build.len, false);
    assert_int_equal(layout_kind(w.layout), LAYOUT_UNKNOWN);
    assert_false(layout_unit_at(w.layout, 16, &unit, &gap_end));
    write_bytes(&w, 0, 16, false);
    assert_int_equal(layout_kind(w.layout), LAYOUT_TIFF);
    assert_true(layout_unit_at(w.layout, 16, &unit, &gap_end));
    finish_writing(&w);
    build_free(&w.build);
}

/* The directory is there, its voxels are not yet: they are planned all the same. */
static void voxels_beyond_the_present_end_are_planned(void **state)
{
    (void)state;
    struct writer w = {.random = 3};
    struct layout_unit unit;
    uint64_t gap_end;
    build_start(&w.build, false, false);
    build_page(&w.build, &(struct build_page){.width = 300, .height = 300, .ifd_first = true},
               true);
    start_writing(&w, false);
    write_bytes(&w, 0, 300, false);
    assert_true(layout_unit_at(w.layout, w.build.len - 1, &unit, &gap_end));
    write_bytes(&w, 300, w.build.len, false);
    finish_writing(&w);
    build_free(&w.build);
}

/* The second directory first contradicts "images=", then is put right, and the other way round. */
static void contradiction_comes_and_goes(void **state)
{
    (void)state;
    static const char text[] = "ImageJ=1.53t\nimages=3\n";
    struct writer w = {.random = 3};
    build_start(&w.build, false, false);
    build_page(
        &w.build,
        &(struct build_page){.width = 30, .height = 30, .ifd_first = true, .description = text},
        true);
    uint64_t second = w.build.len;
    build_bytes(&w.build, NULL, 2 * 1800 + 100);
    struct build_tag tags[] = {
        {256, BUILD_LONG, 1, NULL, NULL, 30},
        {257, BUILD_LONG, 1, NULL, NULL, 30},
        {258, BUILD_SHORT, 1, NULL, NULL, 16},
        {273, BUILD_LONG, 1, NULL, NULL, second},
    };
    size_t ifd = build_ifd(&w.build, tags, 4, true), strip = ifd + 2 + 3 * 12 + 8;
    struct layout_info info;
    for (unsigned round = 0; round < 2; round++) {
        start_writing(&w, false);
        build_patch(&w.build, strip, round ? second : second + 90, 4);
        write_bytes(&w, 0, w.build.len, false);
        layout_info(w.layout, &info);
        assert_int_equal(info.depth, round ? 3 : 2);
        build_patch(&w.build, strip, round ? second + 90 : second, 4);
        write_bytes(&w, strip, strip + 4, false);
        layout_info(w.layout, &info);
        assert_int_equal(info.depth, round ? 2 : 3);
        finish_writing(&w);
    }
    build_free(&w.build);
}

/* The description comes last (OME-XML at close), into room that was left for it. */
static void description_comes_last(void **state)
{
    (void)state;
    static const char *const texts[] = {"<OME><Pixels SizeZ=\"4\"/></OME>",
                                        "ImageJ=1.53t\nimages=2\nslices=4\n"};
    for (unsigned i = 0; i < 4; i++) {
        struct writer w = {.random = 3};
        const char *text = texts[i % 2];
        build_start(&w.build, false, false);
        build_page(&w.build, &(struct build_page){.width = 30, .height = 30, .description = text},
                   true);
        size_t at = 8 + 1800;
        while (memcmp(w.build.data + at, text, strlen(text)) != 0)
            at++;
        start_writing(&w, i / 2);
        write_bytes(&w, 0, at, false);
        write_bytes(&w, at + strlen(text) + 1, w.build.len, false);
        struct layout_info info;
        layout_info(w.layout, &info);
        assert_int_equal(info.depth, 1); /* does not wait for it */
        assert_int_equal(info.slices, 0);
        write_bytes(&w, at, at + strlen(text) + 1, false);
        layout_info(w.layout, &info);
        assert_int_equal(info.slices, 4);
        finish_writing(&w);
        build_free(&w.build);
    }
}

/* A stored file is opened: bytes are fetched as they are wanted, without being written. */
static void wanted_pieces_are_fetched(void **state)
{
    (void)state;
    struct writer w = {.random = 3};
    build_pages(&w.build, 4 << 3);
    start_writing(&w, false);
    memcpy(w.data, w.build.data, w.build.len);
    w.size = w.build.len;
    layout_note(w.layout, 0, UINT64_MAX);
    struct layout_piece want;
    unsigned n = 0;
    while (layout_update(w.layout, file_read, &w.file, w.size, n % 2, &want) == 1) {
        assert_true(want.len > 0 && want.off < w.size && want.len <= w.size - want.off);
        assert_false(w.present[want.off]);
        memset(w.present + want.off, 1, want.len);
        assert_true(++n < 300);
    }
    struct layout_info info;
    layout_info(w.layout, &info);
    assert_int_equal(info.slices, 3); /* of the description, too */
    assert_int_equal(info.depth, 6);
    w.stopped = true;
    finish_writing(&w);
    build_free(&w.build);
}

static void description_goes_with_its_directory(void **state)
{
    (void)state;
    struct writer w = {.random = 3};
    build_pages(&w.build, 4 << 3);
    uint32_t first;
    memcpy(&first, w.build.data + 4, 4);
    start_writing(&w, false);
    write_bytes(&w, 0, w.build.len, false);
    w.build.data[first] = w.build.data[first + 1] = 0; /* a directory without entries is none */
    write_bytes(&w, first, first + 2, false);
    struct layout_info info;
    layout_info(w.layout, &info);
    assert_int_equal(info.depth, 0);
    assert_int_equal(info.slices, 0);
    finish_writing(&w);
    build_free(&w.build);
}

/* A new description at the end, and the directory with it (tiffset): all is parsed anew. */
static void directory_moved_to_the_end(void **state)
{
    (void)state;
    struct writer w = {.random = 3};
    build_start(&w.build, false, false);
    size_t link = w.build.link;
    for (unsigned i = 0; i < 3; i++)
        build_page(&w.build, &(struct build_page){.width = 30, .height = 30}, true);
    size_t old_len = w.build.len;
    struct build_tag tags[] = {
        {256, BUILD_LONG, 1, NULL, NULL, 30},
        {257, BUILD_LONG, 1, NULL, NULL, 30},
        {258, BUILD_SHORT, 1, NULL, NULL, 16},
        {270, BUILD_ASCII, 36, NULL, "ImageJ=1.53t\nimages=1\nchannels=1\n\0\0", 0},
        {273, BUILD_LONG, 1, NULL, NULL, 8},
    };
    uint32_t first;
    memcpy(&first, w.build.data + link, 4);
    uint32_t next;
    memcpy(&next, w.build.data + first + 2 + 12 * w.build.data[first], 4);
    size_t moved = build_ifd(&w.build, tags, 5, false);
    uint8_t *new_head = malloc(8);
    assert_non_null(new_head);
    build_patch(&w.build, moved + 2 + 5 * 12, next, 4);
    memcpy(new_head, w.build.data, 8);
    start_writing(&w, false);
    write_bytes(&w, 0, old_len, false);
    update(&w, true);
    write_bytes(&w, old_len, w.build.len, false);
    build_patch(&w.build, link, moved, 4);
    write_bytes(&w, 4, 8, false);
    struct layout_info info;
    layout_info(w.layout, &info);
    assert_int_equal(info.channels, 1);
    assert_int_equal(info.depth, 3);
    finish_writing(&w);
    build_free(&w.build);
    free(new_head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forwards),
        cmocka_unit_test(backwards),
        cmocka_unit_test(shuffled),
        cmocka_unit_test(wrong_directories),
        cmocka_unit_test(cut_and_continued),
        cmocka_unit_test(units_that_are_closed_stay),
        cmocka_unit_test(cost_of_a_page_does_not_grow),
        cmocka_unit_test(offsets_patched_one_by_one),
        cmocka_unit_test(links_into_a_hole),
        cmocka_unit_test(voxels_before_anything_else),
        cmocka_unit_test(voxels_beyond_the_present_end_are_planned),
        cmocka_unit_test(contradiction_comes_and_goes),
        cmocka_unit_test(description_comes_last),
        cmocka_unit_test(wanted_pieces_are_fetched),
        cmocka_unit_test(description_goes_with_its_directory),
        cmocka_unit_test(directory_moved_to_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
