/* Finished files: what lies where, and how it is cut. */
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "image/layout.h"
#include "tiff_build.h"

#define TARGET (64u << 10)

struct fixture {
    struct build build;
    struct file file;
    struct layout *layout;
    struct layout_info info;
};

static void open_fixture(struct fixture *f)
{
    f->file = (struct file){.data = f->build.data, .len = f->build.len};
    f->layout = file_layout(&f->file, TARGET, NULL);
    layout_info(f->layout, &f->info);
    const char *wrong = file_check(f->layout, f->build.len, true, TARGET, UINT64_MAX, NULL);
    if (wrong)
        fail_msg("%s", wrong);
}

static void close_fixture(struct fixture *f)
{
    layout_destroy(&f->layout);
    build_free(&f->build);
}

/* Units from offset 0 on, by their first pieces. */
static unsigned count_units(const struct layout *layout, uint64_t limit, struct layout_unit *last)
{
    unsigned n = 0;
    uint64_t next;
    struct layout_unit unit;
    for (uint64_t off = 0; off < limit; off = next) {
        if (!layout_unit_at(layout, off, &unit, &next))
            continue;
        next = off + 1;
        for (uint32_t i = 0; i < unit.n_pieces; i++)
            if (off >= unit.pieces[i].off && off < unit.pieces[i].off + unit.pieces[i].len)
                next = unit.pieces[i].off + unit.pieces[i].len;
        if (off == unit.pieces[0].off) {
            n++;
            *last = unit;
        }
    }
    return n;
}

static struct layout_unit unit_at(const struct layout *layout, uint64_t off)
{
    struct layout_unit unit;
    uint64_t gap_end;
    assert_true(layout_unit_at(layout, off, &unit, &gap_end));
    return unit;
}

static void assert_volume(const struct fixture *f, uint64_t depth, uint64_t height, uint64_t width)
{
    assert_true(f->info.one_volume);
    assert_int_equal(f->info.depth, depth);
    assert_int_equal(f->info.height, height);
    assert_int_equal(f->info.width, width);
}

static const bool orders[4][2] = {{false, false}, {false, true}, {true, false}, {true, true}};

static void pages_of_every_byte_order_and_size(void **state)
{
    (void)state;
    for (unsigned o = 0; o < 4; o++) {
        for (unsigned first = 0; first < 2; first++) {
            struct fixture f;
            build_start(&f.build, orders[o][0], orders[o][1]);
            for (unsigned i = 0; i < 5; i++)
                build_page(&f.build,
                           &(struct build_page){.width = 31, .height = 20, .ifd_first = first},
                           true);
            open_fixture(&f);
            assert_volume(&f, 5, 20, 31);
            assert_int_equal(f.info.type, LAYOUT_UINT16);
            assert_int_equal(f.info.big_endian, orders[o][1]);
            struct layout_unit unit;
            assert_int_equal(count_units(f.layout, f.build.len, &unit), 1);
            assert_int_equal(unit.planes, 5);
            assert_int_equal(unit.rows, 20);
            assert_int_equal(unit.width, 31);
            assert_int_equal(unit.n_pieces, 5);
            assert_false(unit.open);
            close_fixture(&f);
        }
    }
}

static void types(void **state)
{
    (void)state;
    static const struct {
        unsigned bits, format;
        enum layout_type type;
    } cases[] = {
        {8, 1, LAYOUT_UINT8},  {8, 2, LAYOUT_INT8},     {16, 1, LAYOUT_UINT16},
        {16, 2, LAYOUT_INT16}, {16, 3, LAYOUT_FLOAT16}, {32, 1, LAYOUT_UINT32},
        {32, 2, LAYOUT_INT32}, {32, 3, LAYOUT_FLOAT32}, {64, 1, LAYOUT_UINT64},
        {64, 2, LAYOUT_INT64}, {64, 3, LAYOUT_FLOAT64}, {16, 4, LAYOUT_UINT16},
        {8, 3, LAYOUT_BYTES},  {24, 1, LAYOUT_BYTES},   {16, 5, LAYOUT_BYTES},
        {32, 6, LAYOUT_BYTES}, {128, 3, LAYOUT_BYTES},  {16, 99, LAYOUT_BYTES},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct layout_unit unit;
        build_start(&f.build, false, false);
        build_page(&f.build,
                   &(struct build_page){
                       .width = 10, .height = 10, .bits = cases[i].bits, .format = cases[i].format},
                   true);
        open_fixture(&f);
        unsigned n = count_units(f.layout, f.build.len, &unit);
        assert_int_equal(n, cases[i].type != LAYOUT_BYTES);
        assert_int_equal(f.info.one_volume, n);
        if (n)
            assert_int_equal(unit.type, cases[i].type);
        close_fixture(&f);
    }
}

static void large_planes_are_cut_evenly_in_rows(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, false);
    for (unsigned i = 0; i < 2; i++)
        build_page(&f.build, &(struct build_page){.width = 512, .height = 301}, true);
    open_fixture(&f);
    assert_volume(&f, 2, 301, 512);
    struct layout_unit unit = unit_at(f.layout, 8);
    assert_int_equal(unit.planes, 1);
    assert_int_equal(unit.rows, 61); /* 301 KiB at 64 KiB: five parts */
    struct layout_unit last;
    assert_int_equal(count_units(f.layout, f.build.len, &last), 10);
    assert_int_equal(last.rows, 301 - 4 * 61);
    close_fixture(&f);
}

static void long_rows_are_cut(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, false);
    build_page(&f.build, &(struct build_page){.width = 100001, .height = 2, .spp = 3}, true);
    open_fixture(&f);
    struct layout_unit unit;
    assert_int_equal(count_units(f.layout, f.build.len, &unit), 2 * 9);
    assert_int_equal(unit.rows, 1);
    assert_int_equal(unit.spp, 3);
    assert_false(f.info.one_volume);
    close_fixture(&f);
}

static void touching_strips_are_one_plane(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, true);
    build_page(&f.build, &(struct build_page){.width = 20, .height = 33, .rows_per_strip = 4},
               true);
    open_fixture(&f);
    assert_volume(&f, 1, 33, 20);
    struct layout_unit unit = unit_at(f.layout, 8);
    assert_int_equal(unit.n_pieces, 1);
    assert_int_equal(unit.rows, 33);
    close_fixture(&f);
}

static void padded_strips_are_pieces_of_their_plane(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, false);
    build_page(&f.build,
               &(struct build_page){.width = 20, .height = 33, .rows_per_strip = 4, .gap = 2},
               true);
    open_fixture(&f);
    assert_volume(&f, 1, 33, 20);
    struct layout_unit unit = unit_at(f.layout, 8);
    assert_int_equal(unit.planes, 1);
    assert_int_equal(unit.rows, 33);
    assert_int_equal(unit.n_pieces, 9);
    assert_int_equal(unit.pieces[8].len, 40);
    struct layout_piece pieces[9];
    uint32_t n;
    assert_int_equal(layout_volume_pieces(f.layout, 100, 1000, pieces, 9, &n), 1000);
    assert_int_equal(pieces[0].off, 8 + 100);
    assert_int_equal(pieces[0].len, 60);
    assert_int_equal(pieces[1].off, 8 + 160 + 2);
    close_fixture(&f);
}

static void reversed_strips_are_grouped_and_keep_their_order(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, false);
    build_page(
        &f.build,
        &(struct build_page){.width = 20, .height = 32, .rows_per_strip = 4, .reverse = true},
        true);
    open_fixture(&f);
    assert_volume(&f, 1, 32, 20);
    struct layout_unit unit = unit_at(f.layout, 8);
    assert_int_equal(unit.planes, 8);
    assert_int_equal(unit.rows, 4);
    assert_int_equal(unit.n_pieces, 1);
    struct layout_piece pieces[8];
    uint32_t n;
    assert_int_equal(layout_volume_pieces(f.layout, 0, 320, pieces, 8, &n), 320);
    assert_int_equal(n, 2);
    assert_int_equal(pieces[0].off, 8 + 7 * 160); /* row 0 comes last in the file */
    assert_int_equal(pieces[1].off, 8 + 6 * 160);
    close_fixture(&f);
}

static void separate_samples_are_planes(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, false);
    build_page(&f.build,
               &(struct build_page){
                   .width = 20, .height = 32, .spp = 3, .planar = 2, .rows_per_strip = 10},
               true);
    open_fixture(&f);
    assert_volume(&f, 3, 32, 20);
    assert_int_equal(unit_at(f.layout, 8).planes, 3);
    close_fixture(&f);
}

static void tiles_are_planes_padding_included(void **state)
{
    (void)state;
    for (unsigned planar = 1; planar <= 2; planar++) {
        struct fixture f;
        struct layout_unit unit;
        build_start(&f.build, true, false);
        build_page(&f.build,
                   &(struct build_page){.width = 100,
                                        .height = 50,
                                        .spp = 3,
                                        .planar = planar,
                                        .tile_width = 64,
                                        .tile_height = 32},
                   true);
        open_fixture(&f);
        assert_false(f.info.one_volume);
        assert_int_equal(f.info.width, 100);
        assert_int_equal(f.info.height, 50);
        unit = unit_at(f.layout, 16);
        assert_int_equal(unit.rows, 32);
        assert_int_equal(unit.width, planar == 1 ? 192 : 64);
        assert_int_equal(unit.spp, planar == 1 ? 3 : 1);
        uint64_t voxels;
        file_check(f.layout, f.build.len, true, TARGET, UINT64_MAX, &voxels);
        assert_int_equal(voxels, 4 * 3 * 64 * 32 * 2);
        close_fixture(&f);
    }
}

static void one_tile_of_the_whole_plane_is_a_volume(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, true, false);
    build_page(&f.build,
               &(struct build_page){.width = 64, .height = 32, .tile_width = 64, .tile_height = 32},
               true);
    open_fixture(&f);
    assert_volume(&f, 1, 32, 64);
    close_fixture(&f);
}

static void pyramid_in_sub_directories(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t subs[4][3];
    build_start(&f.build, true, false);
    for (unsigned p = 0; p < 3; p++) {
        for (unsigned s = 0; s < 2; s++)
            subs[p][s] = build_page(
                &f.build, &(struct build_page){.width = 32u >> s, .height = 32u >> s}, false);
        subs[p][2] = subs[p][0]; /* named twice: followed once */
        build_page(&f.build,
                   &(struct build_page){.width = 64, .height = 64, .subs = subs[p], .n_subs = 3},
                   true);
    }
    open_fixture(&f);
    assert_int_equal(f.info.depth, 3);
    assert_int_equal(f.info.width, 64);
    assert_false(f.info.one_volume);
    uint64_t voxels;
    file_check(f.layout, f.build.len, true, TARGET, UINT64_MAX, &voxels);
    assert_int_equal(voxels, 3 * 2 * (64 * 64 + 32 * 32 + 16 * 16));
    close_fixture(&f);
}

static void compressed_pages_are_opaque(void **state)
{
    (void)state;
    struct fixture f;
    struct layout_unit unit;
    build_start(&f.build, false, false);
    build_page(&f.build, &(struct build_page){.width = 64, .height = 64}, true);
    build_page(&f.build, &(struct build_page){.width = 64, .height = 64, .compression = 5}, true);
    open_fixture(&f);
    assert_false(f.info.one_volume);
    assert_int_equal(count_units(f.layout, f.build.len, &unit), 1);
    assert_int_equal(unit.bytes, 64 * 64 * 2);
    close_fixture(&f);
}

static void mixed_pages(void **state)
{
    (void)state;
    struct fixture f;
    struct layout_unit unit;
    build_start(&f.build, false, false);
    for (unsigned i = 0; i < 9; i++)
        build_page(&f.build, &(struct build_page){.width = i % 3 ? 64 : 50, .height = 64}, true);
    open_fixture(&f);
    assert_false(f.info.one_volume);
    assert_int_equal(count_units(f.layout, f.build.len, &unit), 6);
    assert_int_equal(f.info.depth, 3);
    assert_int_equal(f.info.width, 50);
    close_fixture(&f);
}

/* ImageJ: one directory, N planes; N more directories at the end say the same, or there are none.
 */
static void build_imagej(struct build *build, unsigned n, unsigned more, unsigned odd,
                         const char *text)
{
    struct build_page page = {.width = 30, .height = 20, .ifd_first = true, .description = text};
    build_start(build, false, true);
    build_bytes(build, NULL, odd);
    build_page(build, &page, true);
    size_t first = build->len - 30 * 20 * 2;
    build_bytes(build, NULL, (n - 1) * 30 * 20 * (size_t)2);
    for (unsigned i = 1; i < more; i++) {
        uint64_t off = first + i * 30 * 20 * (uint64_t)2;
        struct build_tag tags[] = {
            {256, BUILD_LONG, 1, NULL, NULL, 30},  {257, BUILD_LONG, 1, NULL, NULL, 20},
            {258, BUILD_SHORT, 1, NULL, NULL, 16}, {273, BUILD_LONG, 1, NULL, NULL, off},
            {278, BUILD_SHORT, 1, NULL, NULL, 20}, {279, BUILD_LONG, 1, NULL, NULL, 1200},
        };
        build_ifd(build, tags, 6, true);
    }
}

static void imagej_planes_without_directories(void **state)
{
    (void)state;
    static const unsigned more[] = {0, 1, 7};
    for (unsigned i = 0; i < 3; i++) {
        struct fixture f;
        build_imagej(&f.build, 7, more[i], 33,
                     "ImageJ=1.53t\nimages=7\nchannels=1\nslices=7\nunit=micron\nspacing=0.5\n");
        open_fixture(&f);
        assert_volume(&f, 7, 20, 30);
        assert_int_equal(f.info.slices, 7);
        assert_true(f.info.voxel_z == 0.5);
        struct layout_unit unit;
        assert_int_equal(count_units(f.layout, f.build.len, &unit), 1);
        assert_int_equal(unit.planes, 7);
        assert_int_equal(unit.n_pieces, 1);
        close_fixture(&f);
    }
}

static void imagej_promises_more_than_there_is(void **state)
{
    (void)state;
    static const char *const texts[] = {"ImageJ=1.53t\nimages=9\n",
                                        "ImageJ=1.53t\nimages=4294967295\n",
                                        "ImageJ=1.53t\nimages=1e9\n"};
    for (unsigned i = 0; i < 3; i++) {
        struct fixture f;
        build_imagej(&f.build, 7, 0, 1, texts[i]);
        open_fixture(&f);
        assert_volume(&f, 7, 20, 30);
        close_fixture(&f);
    }
}

/* Micro-Manager says "images=" too, but its planes have directories between them; so do copies made
 * by programs that keep the description. */
static void directories_contradict_imagej(void **state)
{
    (void)state;
    static const char *const texts[] = {"ImageJ=\nimages=6\n", "ImageJ=1.53t\nimages=6\n"};
    for (unsigned i = 0; i < 2; i++) {
        struct fixture f;
        build_start(&f.build, false, false);
        for (unsigned p = 0; p < 6; p++)
            build_page(
                &f.build,
                &(struct build_page){
                    .width = 30, .height = 20, .ifd_first = i, .description = p ? NULL : texts[i]},
                true);
        open_fixture(&f);
        assert_volume(&f, 6, 20, 30);
        assert_int_equal(unit_at(f.layout, f.build.len - 500).n_pieces, 6);
        close_fixture(&f);
    }
}

static void ome_says_how_it_is_meant(void **state)
{
    (void)state;
    static const char text[] =
        "<?xml version=\"1.0\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\">"
        "<Image ID=\"Image:0\"><Pixels ID=\"Pixels:0\" DimensionOrder=\"XYCZT\" Type=\"uint16\" "
        "SizeX=\"30\" SizeY=\"20\" SizeC=\"2\" SizeZ=\"3\" SizeT=\"4\" PhysicalSizeX=\"0.25\" "
        "PhysicalSizeY=\"250\" PhysicalSizeYUnit=\"nm\" PhysicalSizeZ=\"0.002\" "
        "PhysicalSizeZUnit=\"mm\"><Plane "
        "TheZ=\"0\"><HashSHA1>00</HashSHA1></Plane></Pixels></Image>"
        "<Image><Pixels SizeC=\"9\"/></Image></OME>";
    struct fixture f;
    build_start(&f.build, false, false);
    build_page(&f.build, &(struct build_page){.width = 30, .height = 20, .description = text},
               true);
    open_fixture(&f);
    assert_int_equal(f.info.channels, 2);
    assert_int_equal(f.info.slices, 3);
    assert_int_equal(f.info.frames, 4);
    assert_true(f.info.voxel_x == 0.25);
    assert_true(f.info.voxel_y == 0.25);
    assert_true(f.info.voxel_z == 2);
    assert_true(f.info.pixel_hash);
    close_fixture(&f);
}

static void entities_do_not_blow_up(void **state)
{
    (void)state;
    static const char text[] =
        "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]>"
        "<OME><Pixels SizeC=\"2\">&b;</Pixels></OME>";
    struct fixture f;
    build_start(&f.build, false, false);
    build_page(&f.build, &(struct build_page){.width = 30, .height = 20, .description = text},
               true);
    open_fixture(&f);
    assert_int_equal(f.info.channels, 0);
    assert_volume(&f, 1, 20, 30);
    close_fixture(&f);
}

static void wrong_or_absent_byte_counts_do_not_matter(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, false);
    build_page(&f.build,
               &(struct build_page){
                   .width = 30, .height = 20, .rows_per_strip = 3, .no_byte_counts = true},
               true);
    open_fixture(&f);
    assert_volume(&f, 1, 20, 30);
    close_fixture(&f);
}

static void first_claim_wins(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, false);
    build_bytes(&f.build, NULL, 4000);
    static const uint64_t offs[] = {8, 2000, 1000, 8, 2004};
    for (unsigned i = 0; i < 5; i++) { /* 1200 bytes each: third, fourth and fifth come too late */
        struct build_tag tags[] = {
            {256, BUILD_LONG, 1, NULL, NULL, 30},
            {257, BUILD_LONG, 1, NULL, NULL, 20},
            {258, BUILD_SHORT, 1, NULL, NULL, 16},
            {273, BUILD_LONG, 1, NULL, NULL, offs[i]},
        };
        build_ifd(&f.build, tags, 4, true);
    }
    open_fixture(&f);
    assert_int_equal(f.info.depth, 2);
    assert_false(f.info.one_volume);
    assert_int_equal(unit_at(f.layout, 8).bytes, 2400);
    uint64_t voxels;
    file_check(f.layout, f.build.len, true, TARGET, UINT64_MAX, &voxels);
    assert_int_equal(voxels, 2400);
    close_fixture(&f);
}

/* The second directory's first strip is the first one's; its second strip is its own. */
static void half_a_plane_is_no_volume(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, false);
    build_bytes(&f.build, NULL, 4000);
    static const uint64_t offs[2][2] = {{8, 1008}, {8, 2008}};
    for (unsigned i = 0; i < 2; i++) {
        struct build_tag tags[] = {
            {256, BUILD_LONG, 1, NULL, NULL, 30},  {257, BUILD_LONG, 1, NULL, NULL, 20},
            {258, BUILD_SHORT, 1, NULL, NULL, 16}, {273, BUILD_LONG, 2, offs[i], NULL, 0},
            {278, BUILD_LONG, 1, NULL, NULL, 10},
        };
        build_ifd(&f.build, tags, 5, true);
    }
    open_fixture(&f);
    assert_false(f.info.one_volume);
    uint64_t voxels;
    file_check(f.layout, f.build.len, true, TARGET, UINT64_MAX, &voxels);
    assert_int_equal(voxels, 1800);
    close_fixture(&f);
}

static void truncated_files_keep_whole_rows(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, false);
    build_page(&f.build, &(struct build_page){.width = 30, .height = 20, .ifd_first = true}, true);
    size_t full = f.build.len;
    for (size_t cut = 0; cut <= 1200; cut += 7) {
        f.build.len = full - cut;
        open_fixture(&f);
        uint64_t voxels, rows = (1200 - cut) / 60;
        file_check(f.layout, f.build.len, true, TARGET, UINT64_MAX, &voxels);
        assert_int_equal(voxels, rows * 60);
        assert_int_equal(f.info.one_volume, cut == 0);
        layout_destroy(&f.layout);
    }
    build_free(&f.build);
}

/* ---- hostile ---- */

static void loops_end(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t sub = 0;
    build_start(&f.build, false, false);
    size_t a = build_page(&f.build, &(struct build_page){.width = 5, .height = 5}, true);
    sub = a;
    build_page(&f.build, &(struct build_page){.width = 5, .height = 5, .subs = &sub, .n_subs = 1},
               true);
    build_patch(&f.build, f.build.link, a, 4);
    open_fixture(&f);
    assert_volume(&f, 2, 5, 5);
    close_fixture(&f);
}

/* A directory that is its own SubIFD's SubIFD ... and one in a row of a thousand depths. */
static void deep_nesting_ends(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t sub = 0;
    build_start(&f.build, false, false);
    for (unsigned i = 0; i < 1000; i++) {
        struct build_page page = {.width = 2, .height = 2, .subs = &sub, .n_subs = i ? 1 : 0};
        sub = build_page(&f.build, &page, i == 999);
    }
    open_fixture(&f);
    assert_true(f.info.depth >= 2 && f.info.depth < 20);
    close_fixture(&f);
}

static void counts_without_end_cost_nothing(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, UINT32_MAX, 1ull << 32, 1ull << 61, UINT64_MAX};
    static const uint16_t tags_hit[] = {258, 270, 273, 279, 282, 330, 339};
    for (unsigned c = 0; c < 6; c++) {
        for (unsigned t = 0; t < 7; t++) {
            struct fixture f;
            build_start(&f.build, true, false);
            struct build_tag tags[] = {
                {256, BUILD_LONG, 1, NULL, NULL, UINT32_MAX},
                {257, BUILD_LONG, 1, NULL, NULL, UINT32_MAX},
                {258, BUILD_SHORT, 1, NULL, NULL, 16},
                {270, BUILD_ASCII, 1, NULL, "x", 0},
                {273, BUILD_LONG8, 1, NULL, NULL, 16},
                {277, BUILD_SHORT, 1, NULL, NULL, 1},
                {278, BUILD_LONG, 1, NULL, NULL, 1},
                {279, BUILD_LONG8, 1, NULL, NULL, 8},
                {282, BUILD_RATIONAL, 1, NULL, "12345678", 0},
                {330, BUILD_LONG8, 1, NULL, NULL, 0},
                {339, BUILD_SHORT, 1, NULL, NULL, 1},
            };
            size_t at = build_ifd(&f.build, tags, 11, true);
            for (unsigned i = 0; i < 11; i++)
                if (tags[i].tag == tags_hit[t])
                    build_patch(&f.build, at + 8 + i * 20 + 4, counts[c], 8);
            open_fixture(&f);
            assert_true(f.file.n_reads < 100);
            close_fixture(&f);
        }
    }
}

/* A million strips of one byte each in one directory, apart from each other; then 200 directories
 * that have the same array. */
static void million_strips(void **state)
{
    (void)state;
    enum { STRIPS = 1000000 };
    struct fixture f;
    uint64_t *offs = calloc(STRIPS, sizeof(*offs));
    assert_non_null(offs);
    build_start(&f.build, true, false);
    size_t voxels = build_bytes(&f.build, NULL, 2 * STRIPS);
    for (uint64_t i = 0; i < STRIPS; i++)
        offs[i] = voxels + 2 * (STRIPS - 1 - i);
    struct build_tag tags[] = {
        {256, BUILD_LONG, 1, NULL, NULL, 1},  {257, BUILD_LONG, 1, NULL, NULL, STRIPS},
        {258, BUILD_SHORT, 1, NULL, NULL, 8}, {273, BUILD_LONG8, STRIPS, offs, NULL, 0},
        {278, BUILD_LONG, 1, NULL, NULL, 1},
    };
    size_t at = build_ifd(&f.build, tags, 5, true);
    size_t array = at + 8 + 5 * 20 + 8;
    for (unsigned i = 0; i < 200; i++) {
        struct build_tag none[] = {
            tags[0], tags[1], tags[2], {273, BUILD_LONG8, 1, NULL, NULL, array}, tags[4]};
        size_t ifd = build_ifd(&f.build, none, 5, true);
        build_patch(&f.build, ifd + 8 + 3 * 20 + 4, STRIPS, 8);
    }
    f.file = (struct file){.data = f.build.data, .len = f.build.len};
    f.layout = file_layout(&f.file, TARGET, NULL);
    assert_null(file_check(f.layout, f.build.len, true, TARGET, 5000, NULL));
    struct layout_unit unit = unit_at(f.layout, offs[0]);
    assert_int_equal(unit.n_pieces, LAYOUT_MAX_PIECES);
    assert_true(f.file.n_reads < 200000); /* most of the 200 were not looked through */
    close_fixture(&f);
    free(offs);
}

static void spans_stop_at_the_limit_of_memory(void **state)
{
    (void)state;
    enum { STRIPS = 1 << 20, PAGES = 8 };
    struct fixture f;
    uint64_t *offs = calloc(STRIPS, sizeof(*offs));
    assert_non_null(offs);
    build_start(&f.build, true, false);
    for (uint64_t p = 0; p < PAGES; p++) { /* voxels a file could have, but for its length */
        for (uint64_t i = 0; i < STRIPS; i++)
            offs[i] = (1ull << 40) + p * (1ull << 30) + 3 * i;
        struct build_tag tags[] = {
            {256, BUILD_LONG, 1, NULL, NULL, 1},  {257, BUILD_LONG, 1, NULL, NULL, STRIPS},
            {258, BUILD_SHORT, 1, NULL, NULL, 8}, {273, BUILD_LONG8, STRIPS, offs, NULL, 0},
            {278, BUILD_LONG, 1, NULL, NULL, 1},
        };
        build_ifd(&f.build, tags, 5, true);
    }
    f.file = (struct file){.data = f.build.data, .len = f.build.len};
    struct layout_piece want;
    assert_int_equal(layout_create(TARGET, NULL, &f.layout), 0);
    layout_note(f.layout, 0, f.build.len);
    assert_int_equal(layout_update(f.layout, file_read, &f.file, f.build.len, false, &want), 0);
    struct layout_unit unit;
    uint64_t gap_end;
    assert_true(layout_unit_at(f.layout, 1ull << 40, &unit, &gap_end));
    assert_false(layout_unit_at(f.layout, (1ull << 40) + 7 * (1ull << 30), &unit, &gap_end));
    close_fixture(&f);
    free(offs);
}

static void garbage_is_no_image(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "I", "II", "II*", "hello world, no TIFF", "II*\0\0\0\0", "MM\0*\xFF\xFF\xFF\xFF"};
    static const size_t lens[] = {0, 1, 2, 3, 20, 8, 8};
    for (unsigned i = 0; i < 7; i++) {
        struct file file = {.data = (const uint8_t *)texts[i], .len = lens[i]};
        struct layout *layout = file_layout(&file, TARGET, NULL);
        struct layout_unit unit;
        uint64_t gap_end;
        assert_int_equal(layout_kind(layout), i < 5 ? LAYOUT_OPAQUE : LAYOUT_TIFF);
        assert_false(layout_unit_at(layout, 0, &unit, &gap_end));
        assert_true(gap_end == UINT64_MAX);
        layout_destroy(&layout);
        layout_destroy(&layout);
    }
}

static void errors_of_the_callback_pass_through(void **state)
{
    (void)state;
    struct fixture f;
    build_start(&f.build, false, false);
    build_page(&f.build, &(struct build_page){.width = 30, .height = 20}, true);
    struct file file = {.data = f.build.data, .len = f.build.len, .error = -EIO};
    struct layout_piece want;
    assert_int_equal(layout_create(TARGET, NULL, &f.layout), 0);
    layout_note(f.layout, 0, f.build.len);
    assert_int_equal(layout_update(f.layout, file_read, &file, file.len, true, &want), -EIO);
    file.error = 0;
    assert_int_equal(layout_update(f.layout, file_read, &file, file.len, true, &want), 0);
    assert_true(unit_at(f.layout, 100).bytes == 1200);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_every_byte_order_and_size),
        cmocka_unit_test(types),
        cmocka_unit_test(large_planes_are_cut_evenly_in_rows),
        cmocka_unit_test(long_rows_are_cut),
        cmocka_unit_test(touching_strips_are_one_plane),
        cmocka_unit_test(padded_strips_are_pieces_of_their_plane),
        cmocka_unit_test(reversed_strips_are_grouped_and_keep_their_order),
        cmocka_unit_test(separate_samples_are_planes),
        cmocka_unit_test(tiles_are_planes_padding_included),
        cmocka_unit_test(one_tile_of_the_whole_plane_is_a_volume),
        cmocka_unit_test(pyramid_in_sub_directories),
        cmocka_unit_test(compressed_pages_are_opaque),
        cmocka_unit_test(mixed_pages),
        cmocka_unit_test(imagej_planes_without_directories),
        cmocka_unit_test(imagej_promises_more_than_there_is),
        cmocka_unit_test(directories_contradict_imagej),
        cmocka_unit_test(ome_says_how_it_is_meant),
        cmocka_unit_test(entities_do_not_blow_up),
        cmocka_unit_test(wrong_or_absent_byte_counts_do_not_matter),
        cmocka_unit_test(first_claim_wins),
        cmocka_unit_test(half_a_plane_is_no_volume),
        cmocka_unit_test(truncated_files_keep_whole_rows),
        cmocka_unit_test(loops_end),
        cmocka_unit_test(deep_nesting_ends),
        cmocka_unit_test(counts_without_end_cost_nothing),
        cmocka_unit_test(million_strips),
        cmocka_unit_test(spans_stop_at_the_limit_of_memory),
        cmocka_unit_test(garbage_is_no_image),
        cmocka_unit_test(errors_of_the_callback_pass_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
