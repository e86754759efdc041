/* The video sinks: what they promise of sizes, depths and settings. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum fill { NOISE, BLOBS, FLAT, EDGES, FILLS };

/* Samples of so many bits. */
static void fill_samples(uint8_t *out, const struct sqy_box *box, unsigned bits, enum fill fill)
{
    const size_t size = sqy_type_size(box->type), n = sqy_box_bytes(box) / size;
    const uint32_t most = (1u << bits) - 1;
    uint64_t random = 1 + bits;
    for (size_t i = 0; i < n; i++) {
        const size_t x = i % box->width, y = i / box->width % box->rows;
        uint64_t v = util_random(&random);
        if (fill == BLOBS)
            v = most / 8 + (x / 5 % 7 + y / 3 % 5) * (most / 16) + v % (most / 32);
        else if (fill == FLAT)
            v = most / 3;
        else if (fill == EDGES)
            v = (x ^ y) & 1 ? most : 0;
        v &= most;
        memcpy(out + i * size, &v, size);
    }
}

/* Encodes and decodes; returns the coded bytes or what went wrong. */
static ssize_t there_and_back(struct sqy_ctx *ctx, const char *text, const struct sqy_box *box,
                              const uint8_t *in, uint8_t *out)
{
    struct sqy_pipeline *p = util_pipeline(text);
    const size_t cap = sqy_encode_bound(p, box);
    uint8_t *coded = malloc(cap + 1);
    ssize_t len = sqy_encode_lossy(ctx, p, box, in, coded, cap);
    if (len > 0) {
        int r = sqy_decode(ctx, p, box, coded, (size_t)len, out);
        if (r < 0)
            fail_msg("%s: %d, not decoded", text, r);
    }
    free(coded);
    sqy_pipeline_free(&p);
    return len;
}

static const struct sqy_box sizes[] = {
    {0, 8, 64, 64, 1},  {0, 3, 37, 29, 1},  {0, 1, 1, 1, 1},     {0, 2, 2, 2, 1},
    {0, 9, 65, 130, 1}, {0, 1, 1, 4099, 1}, {0, 2, 301, 3, 1},   {0, 4, 17, 15, 1},
    {0, 1, 63, 64, 1},  {0, 5, 8, 16, 1},   {0, 1, 2, 16384, 1},
};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void check_exact(struct sqy_ctx *ctx, const char *text, enum sqy_type type, unsigned bits)
{
    for (size_t s = 0; s < N_SIZES; s++) {
        for (enum fill fill = 0; fill < FILLS; fill++) {
            struct sqy_box box = sizes[s];
            box.type = type;
            const size_t len = sqy_box_bytes(&box);
            uint8_t *in = malloc(len), *out = malloc(len);
            fill_samples(in, &box, bits, fill);
            ssize_t got = there_and_back(ctx, text, &box, in, out);
            if (got <= 0 || memcmp(in, out, len) != 0)
                fail_msg("%s, %u bits, %ux%ux%u, fill %d: %zd, or not exact", text, bits,
                         box.planes, box.rows, box.width, fill, got);
            free(in);
            free(out);
        }
    }
}

static void test_lossless_settings_are_exact(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    check_exact(ctx, "h264", SQY_UINT8, 8);
    check_exact(ctx, "hevc", SQY_UINT8, 8);
    check_exact(ctx, "h264(bits=8)", SQY_UINT16, 8);
    check_exact(ctx, "h264(bits=10)", SQY_UINT16, 10);
    check_exact(ctx, "h264(bits=10)", SQY_UINT8, 8);
    check_exact(ctx, "hevc(bits=8)", SQY_INT16, 8);
    check_exact(ctx, "hevc(bits=10)", SQY_UINT16, 10);
    check_exact(ctx, "hevc(bits=12)", SQY_UINT16, 12);
    check_exact(ctx, "h264(preset=veryfast,qp=0,bits=10)", SQY_UINT16, 10);
    check_exact(ctx, "hevc(preset=superfast,lossless=1,bits=12)", SQY_UINT16, 12);
    sqy_ctx_free(&ctx);
}

static const struct {
    const char *text;
    const char *message; /* part of it; NULL: it is right */
    size_t position;
} arguments[] = {
    {"h264", NULL, 0},
    {"hevc", NULL, 0},
    {"noise->lz4", NULL, 0},
    {"h264(preset=veryfast,crf=18,tune=psnr)", NULL, 0},
    {"h264(qp=20,subme=2,me=hex,no-deblock=1)", NULL, 0}, /* x264's own */
    {"hevc(preset=fast,crf=20,psy-rd=1.0,rd=3)", NULL, 0},
    {"h264(crf=7.5,bframes=2,b-adapt=1,b-pyramid=none,ref=3,rc-lookahead=10,scenecut=0,aq-mode=1,"
     "aq-strength=0.8,no-mbtree=1,psy=1,psy-rd=1.0:0.0)",
     NULL, 0},
    {"h264(crf=7,ipratio=1.3,pbratio=1.2,qcomp=0.6,trellis=1,merange=16,deblock=-1:-1,cabac=0,"
     "weightp=1,no-weightb=1,mixed-refs=1,8x8dct=1,partitions=all,fast-pskip=0,dct-decimate=0)",
     NULL, 0},
    {"h264(qp=20,coder=cavlc)", NULL, 0},
    {"hevc(qp=20,bframes=2,b-adapt=1,b-pyramid=1,ref=3,rc-lookahead=10,scenecut=0,aq-mode=1,"
     "aq-strength=0.8,no-cutree=1,psy-rdoq=1.0,rdoq-level=1,me=hex,merange=16,subme=2)",
     NULL, 0},
    {"hevc(qp=20,deblock=-1:-1,weightp=1,weightb=1,ctu=32,min-cu-size=8,max-tu-size=16,"
     "tu-intra-depth=2,tu-inter-depth=2,max-merge=2,limit-refs=1,limit-modes=1,rect=1,amp=1)",
     NULL, 0},
    {"hevc(qp=20,early-skip=1,fast-intra=1,b-intra=1,no-sao=1,no-signhide=1,no-deblock=1,"
     "no-strong-intra-smoothing=1,ipratio=1.3,pbratio=1.2,qcomp=0.6)",
     NULL, 0},
    {"h264(qp=0,bits=10,threads=4,gop=16,encoder=auto)", NULL, 0},
    {"h264(preset=quick)", "x264 does not take preset=quick", 5},
    {"h264(preset=fast,qp=nine)", "x264 does not take qp=nine", 17},
    {"h264(preset=fast,qp=100)", "x264 does not take qp=100", 17},
    {"h264(sharpness=1)", "x264 has no argument 'sharpness'", 5},
    {"h264(subme=much)", "x264 does not take subme=much", 5},
    {"quantiser->hevc(lossless=1,foo=1)", "x265 has no argument 'foo'", 27},
    {"hevc(preset=quick)", "x265 does not take preset=quick", 5},
    {"hevc(tune=sharp)", "x265 does not take tune=sharp", 5},
    {"hevc(profile=best)", "x265 does not take profile=best", 5},
    {"hevc(crf=x)", "x265 does not take crf=x", 5},
    {"hevc(csv=out)", "x265 has no argument 'csv' that may be given here", 5},
    {"hevc(csv=out,crf=1)", "'csv'", 5},
    {"hevc(crf=1,no-open_gop=1)", "'no-open_gop'", 11},
    {"hevc(--crf=1)", "'--crf'", 5},
    {"hevc(noamp=1)", "'noamp'", 5}, /* other spellings */
    {"h264(no8x8dct=1)", "'no8x8dct'", 5},
    {"h264(rc_lookahead=1)", "'rc_lookahead'", 5},
    {"h264(QP=1)", "'QP'", 5},
    {"hevc(no-lossless=0)", "'no-lossless'", 5},
    {"h264(no-qp=1)", "'no-qp'", 5},
    {"h264(no-no-deblock=1)", "'no-no-deblock'", 5},
    {"h264(lossless=1)", "'lossless'", 5},
    {"hevc(8x8dct=1)", "'8x8dct'", 5},
    {"h264(b=1000)", "'b'", 5},
    {"h264(bitrate=1000)", "'bitrate'", 5},
    {"h264(stats=x)", "'stats'", 5},
    {"h264(passlogfile=x)", "'passlogfile'", 5},
    {"h264(dump-yuv=x)", "'dump-yuv'", 5},
    {"h264(annexb=0)", "'annexb'", 5},
    {"h264(asm=2147483647)", "'asm'", 5},
    {"h264(psnr=1)", "'psnr'", 5},
    {"h264(x264-params=stats)", "'x264-params'", 5},
    {"hevc(slices=2)", "'slices'", 5},
    {"hevc(frame-dup=1)", "'frame-dup'", 5},
    {"hevc(ctu-info=1)", "'ctu-info'", 5},
    {"h264(aq-strength=nan)", "x264 does not take aq-strength=nan", 5},
    {"hevc(psy-rd=-inf)", "x265 does not take psy-rd=-inf", 5},
    {"h264(partitions=a/b)", "x264 does not take partitions=a/b", 5},
    {"h264(crf=1e1)", "x264 does not take crf=1e1", 5},
    {"h264(qp=0,crf=20)", "crf and qp are two ways", 10},
    {"hevc(crf=1,crf=2)", "crf is given twice", 5},
    {"h264(profile=baseline,qp=0)", "does not take these arguments together", 0},
    {"h264(bits=12)", "bits of h264 is 8 or 10", 27},
};

static void test_wrong_arguments_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++) {
        struct sqy_error err = {0};
        struct sqy_pipeline *p;
        if (sqy_pipeline_parse(arguments[i].text, &p, &err) == -ENOTSUP)
            continue; /* another stage is not there yet */
        int r = sqy_pipeline_check_encoder(p, &err);
        if (!arguments[i].message && r < 0)
            fail_msg("%s: %d, %s", arguments[i].text, r, err.message);
        if (arguments[i].message && (r != -EINVAL || !strstr(err.message, arguments[i].message) ||
                                     err.position != arguments[i].position))
            fail_msg("%s: %d, %zu: %s", arguments[i].text, r, err.position, err.message);
        sqy_pipeline_free(&p);
    }
}

/* What sqeazy makes of uint16: exact where a block of 4 x 2 spans no more than a byte. */
static void test_blocks_of_minima(void **state)
{
    (void)state;
    static const char *const texts[] = {"h264", "hevc"};
    struct sqy_ctx *ctx = util_ctx();
    for (size_t s = 0; s < 2 * N_SIZES; s++) {
        struct sqy_box box = sizes[s / 2];
        box.type = s % 2 ? SQY_UINT16 : SQY_INT16;
        const size_t len = sqy_box_bytes(&box);
        uint16_t *in = malloc(len), *out = malloc(len);
        uint64_t random = 1;
        for (size_t i = 0; i < len / 2; i++)
            in[i] = (uint16_t)(30000 + i % box.width + (util_random(&random) & 127));
        if (there_and_back(ctx, texts[s % 2], &box, (uint8_t *)in, (uint8_t *)out) <= 0 ||
            memcmp(in, out, len) != 0)
            fail_msg("%s, %ux%ux%u: not exact", texts[s % 2], box.planes, box.rows, box.width);
        free(in);
        free(out);
    }
    sqy_ctx_free(&ctx);
}

static uint32_t worst_error(const uint16_t *a, const uint16_t *b, size_t n)
{
    uint32_t worst = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t error = (uint32_t)abs(a[i] - b[i]);
        worst = error > worst ? error : worst;
    }
    return worst;
}

/* Steps of 256 in chroma and differences modulo 256 bear no loss: an error was one of up to 65535. */
static void test_loss_spares_blocks_of_minima(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned bits;
        uint32_t worst;
        bool refused; /* too many bits */
    } rows[] = {
        {"h264(preset=medium,qp=20)", 10, 40, false},
        {"h264(qp=20)", 8, 40, false},
        {"hevc(preset=ultrafast,qp=10)", 12, 200, false},
        {"hevc(preset=ultrafast,qp=10)", 8, 40, false},
        {"hevc", 12, 0, false},
        {"h264", 10, 0, false},
        {"h264", 8, 0, false},
        {"h264(qp=20)", 11, 0, true},
        {"hevc(qp=20)", 13, 0, true},
        {"h264", 16, 0, true},
    };
    const struct sqy_box box = {SQY_UINT16, 4, 66, 97, 1};
    const size_t len = sqy_box_bytes(&box), cap = 1u << 20;
    uint16_t *in = malloc(len), *out = malloc(len);
    uint8_t *coded = malloc(cap);
    struct sqy_ctx *ctx = util_ctx();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sqy_pipeline *p = util_pipeline(rows[i].text), *used = NULL;
        const bool lossy = rows[i].worst || strchr(rows[i].text, '(');
        fill_samples((uint8_t *)in, &box, rows[i].bits, lossy ? BLOBS : NOISE);
        const ssize_t got = there_and_back(ctx, rows[i].text, &box, (uint8_t *)in, (uint8_t *)out);
        if (rows[i].refused ? got != -ENOTSUP
                            : got <= 0 || worst_error(in, out, len / 2) > rows[i].worst)
            fail_msg("%s, %u bits: %zd, %u off", rows[i].text, rows[i].bits, got,
                     worst_error(in, out, len / 2));
        const ssize_t volume = sqy_encode_volume(ctx, p, &box, in, coded, cap, &used);
        if (!lossy && rows[i].bits == 8 ? volume <= 0 : volume != -ENOTSUP)
            fail_msg("%s, %u bits: a volume: %zd", rows[i].text, rows[i].bits, volume);
        sqy_pipeline_free(&used);
        sqy_pipeline_free(&p);
    }
    sqy_ctx_free(&ctx);
    free(in);
    free(out);
    free(coded);
}

static void test_pictures_of_several_slices(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT8, 3, 256, 64, 1};
    const size_t len = sqy_box_bytes(&box);
    struct sqy_ctx *ctx = util_ctx();
    uint8_t *in = malloc(len), *out = malloc(len);
    fill_samples(in, &box, 8, NOISE);
    assert_true(there_and_back(ctx, "h264(tune=zerolatency,qp=0,threads=2)", &box, in, out) > 0);
    assert_memory_equal(in, out, len);
    free(in);
    free(out);
    sqy_ctx_free(&ctx);
}

/* The same planes give the same bytes, whatever the context has coded before. */
static void test_bytes_depend_on_the_planes_alone(void **state)
{
    (void)state;
    static const char *const texts[] = {"h264", "hevc", "h264(preset=superfast,qp=18,bits=10)",
                                        "hevc(preset=ultrafast,qp=10,bits=12)"};
    const struct sqy_box box = {SQY_UINT16, 8, 66, 98, 1};
    const size_t len = sqy_box_bytes(&box);
    uint8_t *in = malloc(len), *other = malloc(len);
    fill_samples(in, &box, 9, BLOBS);
    fill_samples(other, &box, 9, NOISE);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sqy_pipeline *p = util_pipeline(texts[i]);
        struct sqy_ctx *ctx = util_ctx();
        const size_t cap = sqy_encode_bound(p, &box);
        uint8_t *a = malloc(cap), *b = malloc(cap);
        ssize_t first = sqy_encode_lossy(ctx, p, &box, in, a, cap);
        assert_true(first > 0);
        assert_true(sqy_encode_lossy(ctx, p, &box, other, b, cap) > 0);
        assert_int_equal(sqy_encode_lossy(ctx, p, &box, in, b, cap), first);
        assert_memory_equal(a, b, (size_t)first);
        assert_int_equal(sqy_encode_lossy(ctx, p, &box, in, b, (size_t)first / 2), -ENOSPC);
        assert_int_equal(sqy_encode_lossy(ctx, p, &box, in, b, cap), first);
        assert_memory_equal(a, b, (size_t)first);
        free(a);
        free(b);
        sqy_ctx_free(&ctx);
        sqy_pipeline_free(&p);
    }
    free(in);
    free(other);
}

static bool stop_at_third(void *arg)
{
    return ++*(unsigned *)arg == 3;
}

static void test_encoding_stops_between_planes(void **state)
{
    (void)state;
    const struct sqy_box box = {SQY_UINT8, 8, 64, 64, 1};
    struct sqy_pipeline *p = util_pipeline("h264");
    struct sqy_ctx *ctx = util_ctx();
    const size_t cap = sqy_encode_bound(p, &box), len = sqy_box_bytes(&box);
    uint8_t *in = calloc(1, len), *out = malloc(cap);
    unsigned asked = 0;
    sqy_ctx_stop_when(ctx, stop_at_third, &asked);
    assert_int_equal(sqy_encode_lossy(ctx, p, &box, in, out, cap), -ECANCELED);
    assert_int_equal(asked, 3);
    sqy_ctx_stop_when(ctx, NULL, NULL);
    assert_true(sqy_encode_lossy(ctx, p, &box, in, out, cap) > 0);
    free(in);
    free(out);
    sqy_ctx_free(&ctx);
    sqy_pipeline_free(&p);
}

static void test_what_cannot_be_coded_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum sqy_type type;
        uint32_t width;
        unsigned bits;
    } rows[] = {
        {"h264(bits=8)", SQY_UINT16, 64, 9},  {"h264(bits=10)", SQY_UINT16, 64, 11},
        {"h264(bits=12)", SQY_UINT16, 64, 8}, {"hevc(bits=12)", SQY_UINT16, 64, 13},
        {"h264", SQY_FLOAT32, 64, 8},         {"h264", SQY_FLOAT16, 64, 8},
        {"hevc", SQY_UINT8, 16385, 8},        {"hevc(foo=1)", SQY_UINT8, 64, 8},
        {"hevc(csv=file)", SQY_UINT8, 64, 8}, {"h264->lz4", SQY_UINT8, 64, 8},
    };
    struct sqy_ctx *ctx = util_ctx();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct sqy_box box = {rows[i].type, 1, 32, rows[i].width, 1};
        uint8_t *in = malloc(sqy_box_bytes(&box)), *out = malloc(1u << 20);
        fill_samples(in, &box, rows[i].bits, NOISE);
        struct sqy_pipeline *p = util_pipeline(rows[i].text);
        ssize_t got = sqy_encode_lossy(ctx, p, &box, in, out, 1u << 20);
        if (got != -ENOTSUP)
            fail_msg("%s, %u bits: %zd, not refused", rows[i].text, rows[i].bits, got);
        sqy_pipeline_free(&p);
        free(in);
        free(out);
    }
    sqy_ctx_free(&ctx);
}

/* The planes behind those that are wanted are not even looked at. */
static void test_rows_need_their_planes_only(void **state)
{
    (void)state;
    static const char *const texts[] = {"h264", "hevc", "h264(preset=medium,qp=0)",
                                        "hevc(preset=medium,lossless=1)"};
    const struct sqy_box box = {SQY_UINT8, 8, 70, 90, 1};
    const size_t len = sqy_box_bytes(&box), plane = 70 * 90;
    uint8_t *in = malloc(len), *out = malloc(len);
    fill_samples(in, &box, 8, BLOBS);
    struct sqy_ctx *ctx = util_ctx();
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sqy_pipeline *p = util_pipeline(texts[i]);
        const size_t cap = sqy_encode_bound(p, &box);
        uint8_t *coded = malloc(cap);
        ssize_t got = sqy_encode_lossy(ctx, p, &box, in, coded, cap);
        assert_true(got > 0);
        for (size_t z = 0; z < 8; z++) {
            int r = sqy_decode_rows(ctx, p, &box, coded, (size_t)got, z * 70 + 1, 69, out);
            if (r < 0 || memcmp(out, in + z * plane + 90, 69 * 90) != 0)
                fail_msg("%s: plane %zu: %d", texts[i], z, r);
        }
        if (i < 2) {
            memset(coded + got / 2, 0xa5, (size_t)got - (size_t)got / 2);
            assert_int_equal(sqy_decode_rows(ctx, p, &box, coded, (size_t)got, 0, 70, out), 0);
            assert_memory_equal(out, in, plane);
            assert_int_equal(sqy_decode(ctx, p, &box, coded, (size_t)got, out), -EBADMSG);
        }
        free(coded);
        sqy_pipeline_free(&p);
    }
    free(in);
    free(out);
    sqy_ctx_free(&ctx);
}

static void test_finer_ends_without_loss(void **state)
{
    (void)state;
    static const char *const chains[][6] = {
        {"h264(preset=fast,qp=14)", "h264(preset=fast,qp=8)", "h264(preset=fast,qp=2)",
         "h264(preset=fast,qp=0)", NULL},
        {"h264(tune=psnr)", "h264(tune=psnr,crf=17)", "h264(tune=psnr,crf=11)",
         "h264(tune=psnr,crf=5)", "h264(tune=psnr,qp=0)", NULL},
        {"hevc(crf=7.5,rd=2)", "hevc(rd=2,crf=1.5)", "hevc(rd=2,lossless=1)", NULL},
        {"h264", NULL},
    };
    for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
        struct sqy_pipeline *p = util_pipeline(chains[i][0]), *finer;
        for (size_t j = 1; chains[i][j]; j++) {
            assert_int_equal(sqy_pipeline_finer(p, &finer), 0);
            assert_string_equal(sqy_pipeline_short(finer), chains[i][j]);
            sqy_pipeline_free(&p);
            p = finer;
        }
        assert_int_equal(sqy_pipeline_finer(p, &finer), -ENOENT);
        sqy_pipeline_free(&p);
    }
    struct sqy_pipeline *p = util_pipeline("hevc(gop=5)");
    assert_int_equal(sqy_pipeline_group(p), 5);
    assert_false(sqy_pipeline_is_lossless(p));
    assert_false(sqy_pipeline_needs_volume(p));
    sqy_pipeline_free(&p);
}

/* Where the point is a comma crf=7.5 is no other. */
static void test_numbers_need_no_locale(void **state)
{
    (void)state;
    struct sqy_pipeline *p = util_pipeline("h264(crf=7.5)"), *finer;
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8"))
        print_message("there is no locale to try\n");
    assert_int_equal(sqy_pipeline_check_encoder(p, NULL), 0);
    assert_int_equal(sqy_pipeline_finer(p, &finer), 0);
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(sqy_pipeline_short(finer), "h264(crf=1.5)");
    sqy_pipeline_free(&p);
    sqy_pipeline_free(&finer);
}

/* Memory that ends with the bytes, for a sanitizer to see what is read behind them. */
static int decode_copy(struct sqy_ctx *ctx, const struct sqy_pipeline *p, const struct sqy_box *box,
                       const uint8_t *coded, size_t len, uint8_t *out)
{
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, coded, len);
    int r = sqy_decode(ctx, p, box, copy, len, out);
    free(copy);
    return r;
}

#define DAMAGE_STEP 5 /* bytes */

static void check_damage(struct sqy_ctx *ctx, const char *text, enum sqy_type type, unsigned bits)
{
    const struct sqy_box box = {type, 3, 34, 30, 1};
    const size_t len = sqy_box_bytes(&box);
    struct sqy_pipeline *p = util_pipeline(text);
    const size_t cap = sqy_encode_bound(p, &box);
    uint8_t *in = malloc(len), *out = malloc(len), *coded = malloc(cap + 8);
    fill_samples(in, &box, bits, BLOBS);
    const ssize_t got = sqy_encode_lossy(ctx, p, &box, in, coded, cap);
    assert_true(got > 0);
    const size_t n = (size_t)got;
    for (size_t i = 0; i < n; i += DAMAGE_STEP) {
        int r = decode_copy(ctx, p, &box, coded, i, out);
        if (r != -EBADMSG && (r != 0 || i < n / 2)) /* the end of a picture's bits may be guessed */
            fail_msg("%s: %zu of %zu bytes: %d", text, i, n, r);
        coded[i] ^= (uint8_t)(1u << i / DAMAGE_STEP % 8);
        r = decode_copy(ctx, p, &box, coded, n, out);
        if (r != 0 && r != -EBADMSG)
            fail_msg("%s: byte %zu of %zu changed: %d", text, i, n, r);
        coded[i] ^= (uint8_t)(1u << i / DAMAGE_STEP % 8);
    }
    memset(coded + n, 0, 8);
    assert_int_equal(decode_copy(ctx, p, &box, coded, n + 8, out), -EBADMSG);
    memcpy(coded + n, "\0\0\0\1\6\1\1\1", 8);
    assert_int_equal(decode_copy(ctx, p, &box, coded, n + 8, out), -EBADMSG);
    assert_int_equal(decode_copy(ctx, p, &box, coded, n, out), 0);
    free(in);
    free(out);
    free(coded);
    sqy_pipeline_free(&p);
}

static void test_damage_is_an_error(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    check_damage(ctx, "h264", SQY_UINT8, 8);
    check_damage(ctx, "hevc(preset=ultrafast,qp=16)", SQY_UINT8, 8);
    check_damage(ctx, "h264(preset=medium,qp=20,bits=10)", SQY_UINT16, 10);
    check_damage(ctx, "hevc(preset=medium,qp=20,bits=12)", SQY_UINT16, 12);
    sqy_ctx_free(&ctx);
}

/* A stream of larger pictures than the box may have is not begun. */
static void test_pictures_of_another_size(void **state)
{
    (void)state;
    static const char *const texts[] = {"h264", "hevc"};
    const struct sqy_box large = {SQY_UINT8, 2, 1024, 1024, 1}, box = {SQY_UINT8, 2, 70, 80, 1};
    const struct sqy_box more = {SQY_UINT8, 3, 1024, 1024, 1},
                         fewer = {SQY_UINT8, 1, 1024, 1024, 1};
    uint8_t *in = calloc(1, sqy_box_bytes(&large)), *out = malloc(sqy_box_bytes(&more));
    for (size_t i = 0; i < 2; i++) {
        struct sqy_ctx *ctx = util_ctx();
        struct sqy_pipeline *p = util_pipeline(texts[i]);
        const size_t cap = sqy_encode_bound(p, &large);
        uint8_t *coded = malloc(cap);
        ssize_t got = sqy_encode_lossy(ctx, p, &large, in, coded, cap);
        assert_true(got > 0);
        assert_int_equal(sqy_decode(ctx, p, &box, coded, (size_t)got, out), -EBADMSG);
        assert_int_equal(sqy_decode(ctx, p, &more, coded, (size_t)got, out), -EBADMSG);
        assert_int_equal(sqy_decode(ctx, p, &fewer, coded, (size_t)got, out), -EBADMSG);
        assert_int_equal(sqy_decode(ctx, p, &large, coded, (size_t)got, out), 0);
        free(coded);
        sqy_pipeline_free(&p);
        sqy_ctx_free(&ctx);
    }
    free(in);
    free(out);
}

/* As sqeazy's files have them: several groups, and zeros may follow. */
static void test_whole_volumes(void **state)
{
    (void)state;
    static const char *const texts[] = {"h264", "hevc", "quantiser->h264(gop=4)", "quantiser->hevc",
                                        "quantiser->h264(preset=medium,qp=0)"};
    const struct sqy_box box = {SQY_UINT16, 21, 33, 47, 1};
    const size_t len = sqy_box_bytes(&box);
    uint8_t *in = malloc(len), *out = malloc(len);
    fill_samples(in, &box, 7, BLOBS);
    struct sqy_ctx *ctx = util_ctx();
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct sqy_pipeline *p = util_pipeline(texts[i]), *used;
        const size_t cap = sqy_encode_bound(p, &box);
        uint8_t *coded = calloc(1, cap + 16);
        ssize_t got = sqy_encode_volume(ctx, p, &box, in, coded, cap, &used);
        assert_true(got > 0);
        struct sqy_header header = {.pipename = sqy_pipeline_text(used),
                                    .type = box.type,
                                    .rank = 3,
                                    .shape = {box.planes, box.rows, box.width}};
        assert_int_equal(sqy_decode_volume(ctx, &header, coded, (size_t)got + 16, out, len), 0);
        assert_memory_equal(in, out, len);
        free(coded);
        sqy_pipeline_free(&p);
        sqy_pipeline_free(&used);
    }
    free(in);
    free(out);
    sqy_ctx_free(&ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lossless_settings_are_exact),
        cmocka_unit_test(test_wrong_arguments_are_named),
        cmocka_unit_test(test_blocks_of_minima),
        cmocka_unit_test(test_loss_spares_blocks_of_minima),
        cmocka_unit_test(test_numbers_need_no_locale),
        cmocka_unit_test(test_pictures_of_several_slices),
        cmocka_unit_test(test_bytes_depend_on_the_planes_alone),
        cmocka_unit_test(test_encoding_stops_between_planes),
        cmocka_unit_test(test_what_cannot_be_coded_is_refused),
        cmocka_unit_test(test_rows_need_their_planes_only),
        cmocka_unit_test(test_finer_ends_without_loss),
        cmocka_unit_test(test_damage_is_an_error),
        cmocka_unit_test(test_pictures_of_another_size),
        cmocka_unit_test(test_whole_volumes),
    };
#ifndef HAVE_VIDEO
    puts("skipped: this build has no video");
    return 77;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
