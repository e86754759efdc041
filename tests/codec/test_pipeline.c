/* The grammar of pipelines, what a pipeline says about itself, and the types. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct good {
    const char *text, *full, *brief;
};

#define LZ4_FULL "lz4(accel=1,blocksize_kb=256,framestep_kb=256,n_chunks_of_input=0)"

static const struct good goods[] = {
    {"pass_through", "pass_through", "pass_through"},
    {"lz4", LZ4_FULL, "lz4"},
    {"lz4(accel=8)", "lz4(accel=8,blocksize_kb=256,framestep_kb=256,n_chunks_of_input=0)",
     "lz4(accel=8)"},
    {"lz4(accel=-5)", "lz4(accel=-5,blocksize_kb=256,framestep_kb=256,n_chunks_of_input=0)",
     "lz4(accel=-5)"},
    {LZ4_FULL, LZ4_FULL, "lz4"},
    {"lz4(n_chunks_of_input=4)", "lz4(accel=1,blocksize_kb=256,framestep_kb=0,n_chunks_of_input=4)",
     "lz4(n_chunks_of_input=4)"},
    {"lz4(framestep_kb=1024,blocksize_kb=1024)",
     "lz4(accel=1,blocksize_kb=1024,framestep_kb=1024,n_chunks_of_input=0)",
     "lz4(blocksize_kb=1024)"},
    {"lz4(framestep_kb=300)", "lz4(accel=1,blocksize_kb=256,framestep_kb=512,n_chunks_of_input=0)",
     "lz4(framestep_kb=512)"},
    {"lz4(blocksize_kb=1048575,framestep_kb=536870912)",
     "lz4(accel=1,blocksize_kb=1048575,framestep_kb=536870400,n_chunks_of_input=0)",
     "lz4(blocksize_kb=1048575,framestep_kb=536870400)"},
    {"bitswap1->lz4", "bitswap1(num_bits_per_plane=1)->" LZ4_FULL, "bitswap1->lz4"},
    {"bitshuffle->lz4", "bitshuffle(block_size=0)->" LZ4_FULL, "bitshuffle->lz4"},
    {"bitshuffle(block_size=64)->lz4", "bitshuffle(block_size=64)->" LZ4_FULL,
     "bitshuffle(block_size=64)->lz4"},
    {"zstd", "zstd(level=1)", "zstd"},
    {"zstd(level=-7)", "zstd(level=-7)", "zstd(level=-7)"},
    {"zstd(level=019)", "zstd(level=19)", "zstd(level=19)"},
    {"bitshuffle->zstd", "bitshuffle(block_size=0)->zstd(level=1)", "bitshuffle->zstd"},
    {"shuffle->zstd", "shuffle->zstd(level=1)", "shuffle->zstd"},
    {"bitswap1", "bitswap1(num_bits_per_plane=1)", "bitswap1"},
    {"bitshuffle", "bitshuffle(block_size=0)", "bitshuffle"},
    {"bitshuffle->shuffle", "bitshuffle(block_size=0)->shuffle", "bitshuffle->shuffle"},
    {"diff3x3x1->lz4", "diff3x3x1->" LZ4_FULL, "diff3x3x1->lz4"},
    {"raster_reorder->lz4", "raster_reorder->" LZ4_FULL, "raster_reorder->lz4"},
    {"raster_reorder(tile_size=8)", "raster_reorder(tile_size=8)", "raster_reorder(tile_size=8)"},
    {"zcurve_reorder->lz4", "zcurve_reorder(tile_size=2)->" LZ4_FULL, "zcurve_reorder->lz4"},
    {"frame_shuffle->lz4", "frame_shuffle(frame_chunk_size=1)->" LZ4_FULL, "frame_shuffle->lz4"},
    {"tile_shuffle", "tile_shuffle(tile_size=32)", "tile_shuffle"},
    {"remove_background", "remove_background(threshold=0)", "remove_background"},
    {"rmestbkrd->lz4", "rmestbkrd->" LZ4_FULL, "rmestbkrd->lz4"},
    {"rmbkrd_neighbor5x5x5", "rmbkrd_neighbor5x5x5(threshold=1,fraction=0.500000)",
     "rmbkrd_neighbor5x5x5"},
    {"rmbkrd_neighbor5x5x5(fraction=0.25,threshold=9)",
     "rmbkrd_neighbor5x5x5(threshold=9,fraction=0.250000)",
     "rmbkrd_neighbor5x5x5(threshold=9,fraction=0.250000)"},
    {"quantiser", "quantiser", "quantiser"},
    {"delta->zstd", "delta(zigzag=0)->zstd(level=1)", "delta->zstd"},
#ifdef HAVE_BLOSC
    {"blosc", "blosc(cname=lz4,clevel=5,shuffle=1)", "blosc"},
    {"delta(zigzag=1)->blosc(shuffle=2,cname=zstd)",
     "delta(zigzag=1)->blosc(cname=zstd,clevel=5,shuffle=2)",
     "delta(zigzag=1)->blosc(cname=zstd,shuffle=2)"},
#endif
#ifdef HAVE_VIDEO
    {"h264", "h264(preset=ultrafast,qp=0,threads=1)", "h264"},
    {"h264(preset=ultrafast,qp=0)", "h264(preset=ultrafast,qp=0,threads=1)", "h264"},
    {"h264(threads=1,gop=8,encoder=cpu)", "h264(preset=ultrafast,qp=0,threads=1)", "h264"},
    {"h264(threads=auto)", "h264(preset=ultrafast,qp=0,threads=1)", "h264"},
    {"h264(gop=16)", "h264(preset=ultrafast,qp=0,gop=16,threads=1)", "h264(gop=16)"},
    {"hevc", "hevc(,threads=1)", "hevc"},
    {"hevc(,threads=1)", "hevc(,threads=1)", "hevc"},
    {"hevc(,threads=2)", "hevc(,threads=2)", "hevc(threads=2)"},
    {"hevc(bits=12,crf=4,psy-rd=1.0,preset=fast,threads=1)",
     "hevc(crf=4,psy-rd=1.0,preset=fast,bits=12,threads=1)",
     "hevc(crf=4,psy-rd=1.0,preset=fast,bits=12)"},
    {"h264(nobody=knows,this=at:all)", "h264(nobody=knows,this=at:all,threads=1)",
     "h264(nobody=knows,this=at:all)"},
    {"quantiser->h264->lz4", "quantiser->h264(preset=ultrafast,qp=0,threads=1)->" LZ4_FULL,
     "quantiser->h264->lz4"},
#endif
    {"quantiser(weighting_function=power_3_1)->bitswap1->lz4",
     "quantiser(weighting_function=power_3_1)->bitswap1(num_bits_per_plane=1)->" LZ4_FULL,
     "quantiser(weighting_function=power_3_1)->bitswap1->lz4"},
};

static void test_both_spellings_of_what_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        struct sqy_pipeline *p = util_pipeline(goods[i].text);
        assert_string_equal(sqy_pipeline_text(p), goods[i].full);
        assert_string_equal(sqy_pipeline_short(p), goods[i].brief);
        struct sqy_pipeline *full = util_pipeline(sqy_pipeline_text(p));
        struct sqy_pipeline *brief = util_pipeline(sqy_pipeline_short(p));
        assert_string_equal(sqy_pipeline_text(full), goods[i].full);
        assert_string_equal(sqy_pipeline_text(brief), goods[i].full);
        sqy_pipeline_free(&p);
        sqy_pipeline_free(&full);
        sqy_pipeline_free(&brief);
        assert_null(p);
    }
}

/* What an encoder has learned stands in the full spelling only. */
static void test_what_was_learned(void **state)
{
    (void)state;
    static const struct good learned[] = {
        {"frame_shuffle(reorder_map=<VERBATIM>AQAAAAAAAAAAAAAAAAAAAA==</Verbatim>)",
         "frame_shuffle(frame_chunk_size=1,reorder_map=<verbatim>AQAAAAAAAAAAAAAAAAAAAA=="
         "</verbatim>)",
         "frame_shuffle"},
        {"quantiser(weighting_function=power_3_1,decode_lut_string=<verbatim>+/8=</verbatim>)",
         "quantiser(decode_lut_string=<verbatim>+/8=</verbatim>,weighting_function=power_3_1)",
         "quantiser(weighting_function=power_3_1)"},
        {"tile_shuffle(tile_size=7,reorder_map=<verbatim></verbatim>)->zstd",
         "tile_shuffle(tile_size=7,reorder_map=<verbatim></verbatim>)->zstd(level=1)",
         "tile_shuffle(tile_size=7)->zstd"},
    };
    for (size_t i = 0; i < sizeof(learned) / sizeof(learned[0]); i++) {
        struct sqy_pipeline *p = util_pipeline(learned[i].text);
        assert_string_equal(sqy_pipeline_text(p), learned[i].full);
        assert_string_equal(sqy_pipeline_short(p), learned[i].brief);
        sqy_pipeline_free(&p);
    }
}

static void test_what_this_build_lacks(void **state)
{
    (void)state;
#ifndef HAVE_VIDEO
    static const char *const texts[] = {"quantiser->h264(preset=veryfast,crf=18)",
                                        "quantiser->hevc(,threads=1)"};
    for (size_t i = 0; i < 2; i++) {
        struct sqy_pipeline *video;
        struct sqy_error error = {0};
        assert_int_equal(sqy_pipeline_parse(texts[i], &video, &error), -ENOTSUP);
        assert_int_equal(error.position, 11);
        assert_non_null(strstr(error.message, "video"));
    }
#endif
#ifndef HAVE_BLOSC
    struct sqy_pipeline *p;
    struct sqy_error err = {0};
    assert_int_equal(sqy_pipeline_parse("shuffle->blosc(cname=lz4)", &p, &err), -ENOTSUP);
    assert_int_equal(err.position, 9);
    assert_non_null(strstr(err.message, "no blosc"));
#endif
}

struct bad {
    const char *text;
    size_t position;
    const char *message; /* part of it */
};

static const struct bad bads[] = {
    {"", 0, "expected the name of a stage"},
    {"gzip", 0, "no stage 'gzip'"},
    {"Lz4", 0, "no stage 'Lz4'"},
    {" lz4", 0, "expected the name of a stage"},
    {"lz4 ", 3, "expected '->' or the end"},
    {"lz4\n", 3, "expected '->' or the end"},
    {"bitswap1->", 10, "expected the name of a stage"},
    {"bitswap1>lz4", 8, "expected '->' or the end"},
#ifdef HAVE_VIDEO
    {"h264(", 5, "expected the name of an argument"},
    {"h264()", 5, "expected the name of an argument"},
    {"h264(qp=0", 9, "expected ',' or ')'"},
    {"h264(qp)", 7, "expected '='"},
    {"h264(qp=)", 8, "expected a value"},
    {"h264(gop=0)", 9, "gop takes an integer from 1 to 4096"},
    {"h264(bits=9)", 10, "bits takes a multiple of 2"},
    {"h264(bits=8x)", 10, "expected ',' or ')' after bits"},
    {"h264(encoder=gpu)", 13, "encoder takes auto cpu nvenc"},
    {"h264->zstd", 6, "nothing can follow h264"},
    {"h264->lz4->lz4", 11, "nothing can follow lz4"},
#endif
    {"bitswap1 -> lz4", 8, "expected '->' or the end"},
    {"->lz4", 0, "expected the name of a stage"},
    {"bitswap1->lz5", 10, "no stage 'lz5'"},
    {"bitswap1->lz4->lz4", 15, "nothing can follow lz4"},
    {"lz4->bitswap1", 5, "nothing can follow lz4"},
    {"pass_through->zstd", 14, "nothing can follow pass_through"},
    {"lz4()", 4, "name of an argument of lz4"},
    {"lz4(accel)", 9, "expected '=' after accel"},
    {"lz4(accel=)", 10, "accel takes an integer from -65536 to 65536"},
    {"lz4(accel=-)", 10, "accel takes an integer"},
    {"lz4(accel=+1)", 10, "accel takes an integer"},
    {"lz4(accel=65537)", 10, "accel takes an integer"},
    {"lz4(accel=-65537)", 10, "accel takes an integer"},
    {"lz4(accel=99999999999999999999999999999999)", 10, "accel takes an integer"},
    {"lz4(accel=-18446744073709551617)", 10, "accel takes an integer"},
    {"lz4(accel=0x1)", 11, "expected ',' or ')'"},
    {"lz4(accel=1.5)", 11, "expected ',' or ')'"},
    {"lz4(accel=1", 11, "expected ',' or ')'"},
    {"lz4(accel=1,", 12, "name of an argument of lz4"},
    {"lz4(accel=1,)", 12, "name of an argument of lz4"},
    {"lz4(,accel=1)", 4, "name of an argument of lz4"},
    {"lz4(accel=1,accel=2)", 12, "accel is given twice"},
    {"lz4(level=1)", 4, "lz4 has no argument 'level'"},
    {"lz4(acce=1)", 4, "lz4 has no argument 'acce'"},
    {"lz4(blocksize_kb=0)", 17, "blocksize_kb takes an integer from 1"},
    {"lz4(accel=1)x", 12, "expected '->' or the end"},
    {"bitshuffle(block_size=12)->lz4", 22, "block_size takes a multiple of 8"},
    {"bitshuffle(block_size=-8)->lz4", 22, "block_size takes an integer from 0"},
    {"bitswap1(num_bits_per_plane=2)->lz4", 28, "from 1 to 1"},
    {"pass_through(x=1)", 13, "pass_through has no argument 'x'"},
    {"zstd(level=23)", 11, "from -100 to 22"},
    {"raster_reorder(tile_size=0)->lz4", 25, "tile_size takes an integer from 1"},
    {"zcurve_reorder(tile_size=3)->lz4", 25, "tile_size takes a power of two"},
    {"zcurve_reorder(tile_size=256)->lz4", 25, "tile_size takes an integer from 2 to 128"},
    {"frame_shuffle(reorder_map=<verbatim>->,</verbatim>)->lz4", 26, "<verbatim>base64</verbatim>"},
    {"frame_shuffle(reorder_map=<verbatim>AAA=", 26, "<verbatim>base64</verbatim>"},
    {"frame_shuffle(reorder_map=<verbatim>AAA</verbatim>)", 26, "<verbatim>base64</verbatim>"},
    {"frame_shuffle(reorder_map=<verbatim>A===</verbatim>)", 26, "<verbatim>base64</verbatim>"},
    {"frame_shuffle(reorder_map=<verbatim>AA=A</verbatim>)", 26, "<verbatim>base64</verbatim>"},
    {"frame_shuffle(reorder_map=AAAA)", 26, "<verbatim>base64</verbatim>"},
    {"frame_shuffle(reorder_map=<verbatim></verbatim>,reorder_map=<verbatim></verbatim>)", 48,
     "reorder_map is given twice"},
    {"quantiser(decode_lut_path=/x)->lz4", 10, "quantiser has no argument 'decode_lut_path'"},
    {"quantiser(weighting_function=)->lz4", 29, "power_of_A_B or offset_power_of_A_B"},
    {"quantiser(weighting_function=log_2)->lz4", 29, "power_of_A_B or offset_power_of_A_B"},
    {"quantiser(weighting_function=power_of)->lz4", 29, "power_of_A_B or offset_power_of_A_B"},
    {"quantiser(weighting_function=power_1_0)->lz4", 29, "power_of_A_B or offset_power_of_A_B"},
    {"quantiser->quantiser->lz4", 11, "quantiser takes voxels, and those are codes here"},
    {"quantiser->rmestbkrd->lz4", 11, "rmestbkrd takes voxels, and those are codes here"},
    {"quantiser->lz4->bitswap1", 16, "nothing can follow lz4"},
    {"remove_background(threshold=65536)->lz4", 28, "threshold takes an integer from 0 to 65535"},
    {"rmbkrd_neighbor5x5x5(fraction=1.5)->lz4", 30, "fraction takes a number from 0 to 1"},
    {"rmbkrd_neighbor5x5x5(fraction=.5)->lz4", 30, "fraction takes a number from 0 to 1"},
    {"delta(zigzag=2)->lz4", 13, "zigzag takes an integer from 0 to 1"},
#ifdef HAVE_BLOSC
    {"blosc(cname=lzma)", 12, "cname takes blosclz lz4 lz4hc zlib zstd"},
    {"blosc(typesize=2)", 6, "blosc has no argument 'typesize'"},
    {"blosc(clevel=10)", 13, "clevel takes an integer from 0 to 9"},
#endif
    {"lz4(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=1)", 4,
     "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"},
};

static void test_what_is_wrong_and_where(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
        struct sqy_pipeline *p = (void *)0x1;
        struct sqy_error err = {.position = 12345};
        assert_int_equal(sqy_pipeline_parse(bads[i].text, &p, &err), -EINVAL);
        if (err.position != bads[i].position || !strstr(err.message, bads[i].message))
            fail_msg("'%s': at %zu '%s', not at %zu '%s'", bads[i].text, err.position, err.message,
                     bads[i].position, bads[i].message);
        assert_ptr_equal(p, (void *)0x1);
        assert_int_equal(sqy_pipeline_parse(bads[i].text, &p, NULL), -EINVAL);
    }
}

static void test_too_many_stages(void **state)
{
    (void)state;
    char text[17 * 12 + 1] = "";
    struct sqy_pipeline *p;
    for (unsigned n = 1; n <= 16; n++) {
        strcat(text, n > 1 ? "->bitshuffle" : "bitshuffle");
        assert_int_equal(sqy_pipeline_parse(text, &p, NULL), 0);
        sqy_pipeline_free(&p);
    }
    strcat(text, "->zstd");
    struct sqy_error err;
    assert_int_equal(sqy_pipeline_parse(text, &p, &err), -EINVAL);
    assert_int_equal(err.position, strlen(text) - strlen("zstd"));
}

static size_t grain(const char *text, enum sqy_type type)
{
    struct sqy_pipeline *p = util_pipeline(text);
    size_t g = sqy_pipeline_grain(p, type);
    sqy_pipeline_free(&p);
    return g;
}

static void test_grain(void **state)
{
    (void)state;
    assert_int_equal(grain("lz4", SQY_UINT16), 1);
    assert_int_equal(grain("zstd", SQY_FLOAT64), 1);
    assert_int_equal(grain("pass_through", SQY_BYTES), 1);
    assert_int_equal(grain("bitswap1->lz4", SQY_UINT16), 16);
    assert_int_equal(grain("bitswap1->lz4", SQY_UINT8), 8);
    assert_int_equal(grain("bitswap1->lz4", SQY_BYTES), 1);   /* not filtered */
    assert_int_equal(grain("bitswap1->lz4", SQY_FLOAT32), 0); /* shuffled */
    assert_int_equal(grain("bitshuffle->lz4", SQY_INT16), 4096);
    assert_int_equal(grain("bitshuffle->zstd", SQY_UINT8), 8192);
    assert_int_equal(grain("bitshuffle->zstd", SQY_FLOAT32), 2048);
    assert_int_equal(grain("bitshuffle->zstd", SQY_UINT64), 1024);
    assert_int_equal(grain("bitshuffle(block_size=64)", SQY_UINT8), 64);
    assert_int_equal(grain("shuffle->zstd", SQY_UINT32), 0);
    assert_int_equal(grain("shuffle->zstd", SQY_UINT8), 1);
    assert_int_equal(grain("bitshuffle(block_size=24)->bitswap1->lz4", SQY_UINT16), 48);
    assert_int_equal(grain("bitswap1->bitshuffle->lz4", SQY_UINT16), 0);
    assert_int_equal(grain("bitswap1->bitswap1->lz4", SQY_UINT16), 0);
    assert_int_equal(grain("remove_background->bitswap1->lz4", SQY_UINT16), 16);
    assert_int_equal(grain("delta->lz4", SQY_UINT16), 0);
    assert_int_equal(grain("diff3x3x1->lz4", SQY_UINT16), 0);
    assert_int_equal(grain("raster_reorder->lz4", SQY_UINT16), 0);
    assert_int_equal(grain("zcurve_reorder->lz4", SQY_UINT8), 0);
    assert_int_equal(grain("tile_shuffle->lz4", SQY_UINT8), 0);
    assert_int_equal(grain("frame_shuffle->lz4", SQY_UINT8), 0);
    assert_int_equal(grain("rmestbkrd->lz4", SQY_UINT8), 0);
    assert_int_equal(grain("quantiser->lz4", SQY_UINT16), 0);
    assert_int_equal(grain("quantiser->lz4", SQY_FLOAT32), 0);
}

static bool upstream(const char *text, enum sqy_type type)
{
    struct sqy_pipeline *p = util_pipeline(text);
    bool is = sqy_pipeline_is_upstream(p, type);
    sqy_pipeline_free(&p);
    return is;
}

static enum sqy_carriage carriage(const char *text)
{
    struct sqy_pipeline *p = util_pipeline(text);
    enum sqy_carriage c = sqy_pipeline_carriage(p);
    sqy_pipeline_free(&p);
    return c;
}

static void test_upstream_and_carriage(void **state)
{
    (void)state;
    assert_true(upstream("lz4", SQY_UINT8));
    assert_true(upstream("bitswap1->lz4", SQY_UINT16));
    assert_true(upstream("bitshuffle->lz4", SQY_INT16));
    assert_false(upstream("lz4", SQY_FLOAT16));
    assert_false(upstream("lz4", SQY_UINT32));
    assert_false(upstream("lz4", SQY_BYTES));
    assert_false(upstream("zstd", SQY_UINT16));
    assert_false(upstream("bitshuffle->zstd", SQY_UINT16));
    assert_false(upstream("shuffle->lz4", SQY_UINT16));
    assert_false(upstream("pass_through", SQY_UINT16));
    assert_false(upstream("bitswap1", SQY_UINT16));
    assert_int_equal(carriage("lz4"), SQY_CARRIAGE_LZ4);
    assert_int_equal(carriage("bitshuffle->zstd"), SQY_CARRIAGE_ZSTD);
    assert_int_equal(carriage("pass_through"), SQY_CARRIAGE_NONE);
    assert_int_equal(carriage("bitswap1"), SQY_CARRIAGE_NONE);
}

/* What may code chunks, and what is sqeazy's. */
static void test_what_a_pipeline_is_fit_for(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool lossless, needs_volume, is_sqeazy, is_upstream; /* of uint16 */
    } rows[] = {
        {"bitswap1->lz4", true, false, true, true},
        {"bitswap1", true, false, true, false},
        {"shuffle->zstd", true, false, false, false},
        {"delta->zstd", true, false, false, false},
        {"zcurve_reorder->lz4", true, true, true, true},
        {"raster_reorder->lz4", true, true, true, true},
        {"frame_shuffle->bitswap1->lz4", true, true, true, true},
        {"tile_shuffle->zstd", true, true, false, false},
        {"diff3x3x1->lz4", true, true, true, false},
        {"remove_background(threshold=1)->lz4", false, true, true, true},
        {"rmestbkrd->lz4", false, true, true, true},
        {"rmbkrd_neighbor5x5x5->lz4", false, true, true, true},
        {"quantiser->lz4", false, true, true, false},
        {"quantiser->zstd", false, true, false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sqy_pipeline *p = util_pipeline(rows[i].text);
        if (sqy_pipeline_is_lossless(p) != rows[i].lossless ||
            sqy_pipeline_needs_volume(p) != rows[i].needs_volume ||
            sqy_pipeline_is_sqeazy(p, SQY_UINT16) != rows[i].is_sqeazy ||
            sqy_pipeline_is_upstream(p, SQY_UINT16) != rows[i].is_upstream ||
            sqy_pipeline_is_sqeazy(p, SQY_FLOAT32))
            fail_msg("%s: is not what it should be", rows[i].text);
        sqy_pipeline_free(&p);
    }
}

static void test_types(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8};
    static const char letters[] = "thsac";
    static const enum sqy_type meant[] = {SQY_UINT16, SQY_UINT8, SQY_INT16, SQY_INT8, SQY_INT8};
    enum sqy_type type;
    for (unsigned i = 0; i < 12; i++) {
        const char *name = sqy_type_name((enum sqy_type)i);
        assert_int_equal(sqy_type_size((enum sqy_type)i), sizes[i]);
        assert_int_equal(sqy_type_parse(name, strlen(name), &type), 0);
        assert_int_equal(type, i);
        assert_int_equal(sqy_type_parse(name, strlen(name) - 1, &type), -EINVAL);
    }
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(sqy_type_parse(letters + i, 1, &type), 0);
        assert_int_equal(type, meant[i]);
    }
    assert_int_equal(sqy_type_size((enum sqy_type)12), 0);
    assert_int_equal(sqy_type_size((enum sqy_type) - 1), 0);
    assert_null(sqy_type_name((enum sqy_type)12));
    assert_int_equal(sqy_type_parse("", 0, &type), -EINVAL);
    assert_int_equal(sqy_type_parse("\0", 1, &type), -EINVAL);
    assert_int_equal(sqy_type_parse("uint16 ", 7, &type), -EINVAL);
}

static void test_boxes(void **state)
{
    (void)state;
    const struct sqy_box good = {SQY_UINT16, 3, 5, 7, 1}, rgb = {SQY_UINT8, 1, 2, 9, 3};
    const struct sqy_box bad[] = {
        {SQY_UINT16, 0, 5, 7, 1},
        {SQY_UINT16, 3, 0, 7, 1},
        {SQY_UINT16, 3, 5, 0, 1},
        {SQY_UINT16, 3, 5, 7, 0},
        {SQY_UINT16, 3, 5, 7, 8},
        {(enum sqy_type)12, 3, 5, 7, 1},
        {SQY_UINT16, UINT32_MAX, UINT32_MAX, UINT32_MAX, 1},
        {SQY_UINT64, UINT32_MAX, UINT32_MAX, 1, 1},
        {SQY_UINT8, UINT32_MAX, UINT32_MAX, 1, 1}, /* more than SSIZE_MAX */
    };
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *p = util_pipeline("bitshuffle->zstd");
    uint8_t some[8] = {0};
    assert_int_equal(sqy_box_bytes(&good), 210);
    assert_int_equal(sqy_box_bytes(&rgb), 18);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(sqy_box_bytes(&bad[i]), 0);
        assert_int_equal(sqy_encode_bound(p, &bad[i]), 0);
        assert_int_equal(sqy_encode(ctx, p, &bad[i], some, some, sizeof(some)), -EINVAL);
        assert_int_equal(sqy_decode(ctx, p, &bad[i], some, sizeof(some), some), -EINVAL);
    }
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
}

static void test_swap(void **state)
{
    (void)state;
    const uint8_t in[11] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const uint8_t by2[11] = {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 10};
    const uint8_t by4[11] = {3, 2, 1, 0, 7, 6, 5, 4, 8, 9, 10};
    const uint8_t by8[11] = {7, 6, 5, 4, 3, 2, 1, 0, 8, 9, 10};
    const uint8_t *want[] = {in, by2, by4, by8};
    for (unsigned i = 0; i < 4; i++) {
        uint8_t out[11];
        sqy_swap(out, in, 11, (size_t)1 << i);
        assert_memory_equal(out, want[i], 11);
        sqy_swap(out, out, 11, (size_t)1 << i);
        assert_memory_equal(out, in, 11);
    }
    uint8_t out[11];
    sqy_swap(out, in, 11, 3); /* no size of a sample: copied */
    assert_memory_equal(out, in, 11);
    sqy_swap(out, in, 0, 2);
    assert_memory_equal(out, in, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_spellings_of_what_is_right),
        cmocka_unit_test(test_what_was_learned),
        cmocka_unit_test(test_what_this_build_lacks),
        cmocka_unit_test(test_what_is_wrong_and_where),
        cmocka_unit_test(test_too_many_stages),
        cmocka_unit_test(test_grain),
        cmocka_unit_test(test_upstream_and_carriage),
        cmocka_unit_test(test_what_a_pipeline_is_fit_for),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_boxes),
        cmocka_unit_test(test_swap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
