/* Coding of boxes: everything comes back, nothing is read or written out of bounds. Buffers are
 * exactly as large as promised, so that a sanitizer sees the first byte beyond. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <lz4frame.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

static const char *const pipelines[] = {
    "pass_through",
    "lz4",
    "lz4(accel=-3,blocksize_kb=64)",
    "lz4(accel=9,blocksize_kb=4096)",
    "lz4(accel=65536,blocksize_kb=64)",
    "lz4(accel=3,blocksize_kb=1000)",
    "lz4(accel=-65536)",
    "zstd",
    "zstd(level=-20)",
    "zstd(level=19)",
    "bitswap1",
    "bitshuffle",
    "shuffle",
    "bitswap1->lz4",
    "bitswap1->zstd",
    "bitswap1->pass_through",
    "bitshuffle->lz4",
    "bitshuffle->zstd",
    "bitshuffle(block_size=8)->zstd",
    "bitshuffle(block_size=24)->lz4",
    "bitshuffle(block_size=1000000)->zstd",
    "shuffle->lz4",
    "shuffle->zstd",
    "bitshuffle->bitswap1->lz4",
    "bitswap1->bitshuffle->lz4",
    "bitswap1->bitswap1->bitswap1->zstd",
    "shuffle->bitshuffle->shuffle->bitswap1",
    "delta",
    "delta(zigzag=1)->bitshuffle->zstd",
    "delta->delta(zigzag=1)->lz4",
    "interlace",
    "interlace(entropy=0)",
    "context",
    "bitshuffle->interlace",
#ifdef HAVE_BLOSC
    "blosc",
    "blosc(cname=zstd,clevel=9,shuffle=2)",
    "blosc(cname=blosclz,clevel=1,shuffle=0)",
    "delta->blosc(cname=zlib,clevel=0)",
    "bitswap1->blosc(cname=lz4hc)",
#endif
};

#define N_PIPELINES (sizeof(pipelines) / sizeof(pipelines[0]))
#define N_TYPES     12

static const size_t sizes[] = {1,  2,  3,   7,   8,   9,    15,   16,   17,   31,   32,   33,
                               61, 64, 127, 256, 997, 2048, 4095, 4096, 4097, 8191, 8200, 12301};

#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

static uint8_t *exact(size_t len)
{
    uint8_t *p = malloc(len ? len : 1);
    assert_non_null(p);
    return p;
}

static struct bytes encode(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                           const struct sqy_box *box, const uint8_t *in)
{
    const size_t bound = sqy_encode_bound(p, box);
    assert_true(bound > 0);
    uint8_t *room = exact(bound);
    ssize_t got = sqy_encode(ctx, p, box, in, room, bound);
    if (got <= 0)
        fail_msg("%s: %zd for %zu bytes", sqy_pipeline_short(p), got, sqy_box_bytes(box));
    struct bytes coded = {.data = exact((size_t)got), .len = (size_t)got};
    memcpy(coded.data, room, coded.len);
    free(room);
    return coded;
}

static void check_decodes(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                          const struct sqy_box *box, const struct bytes *coded, const uint8_t *want)
{
    const size_t len = sqy_box_bytes(box);
    uint8_t *out = exact(len);
    int r = sqy_decode(ctx, p, box, coded->data, coded->len, out);
    if (r < 0 || memcmp(out, want, len) != 0)
        fail_msg("%s: %d for %zu bytes of %s", sqy_pipeline_short(p), r, len,
                 sqy_type_name(box->type));
    free(out);
}

enum fill { FILL_ZERO, FILL_SAME, FILL_IMAGE, FILL_NOISE, N_FILLS };

static uint8_t *filled(enum sqy_type type, size_t n, enum fill fill)
{
    const size_t len = n * sqy_type_size(type);
    uint8_t *p = exact(len);
    memset(p, fill == FILL_SAME ? 0xC3 : 0, len);
    if (fill == FILL_IMAGE)
        util_image(p, type, n, n);
    else if (fill == FILL_NOISE)
        util_noise(p, len, n);
    return p;
}

static void check_round_trips(struct sqy_ctx *ctx, const struct sqy_pipeline *p, enum sqy_type type,
                              size_t n)
{
    const struct sqy_box box = {type, 1, 1, (uint32_t)n, 1};
    for (unsigned fill = 0; fill < N_FILLS; fill++) {
        uint8_t *in = filled(type, n, (enum fill)fill);
        struct bytes coded = encode(ctx, p, &box, in);
        check_decodes(ctx, p, &box, &coded, in);
        free(coded.data);
        free(in);
    }
}

static void test_every_pipeline_type_and_size(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx(); /* one for all, as a thread has */
    for (size_t i = 0; i < N_PIPELINES; i++) {
        struct sqy_pipeline *p = util_pipeline(pipelines[i]);
        for (unsigned type = 0; type < N_TYPES; type++) {
            for (size_t s = 0; s < N_SIZES; s++)
                check_round_trips(ctx, p, (enum sqy_type)type, sizes[s]);
        }
        sqy_pipeline_free(&p);
    }
    sqy_ctx_free(&ctx);
    assert_null(ctx);
    sqy_ctx_free(&ctx);
}

/* As large as chunks are, several LZ4 and zstd blocks long, and at odd addresses. */
static void test_large_boxes_at_odd_addresses(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    const struct sqy_box box = {SQY_UINT16, 3, 201, 999, 3};
    const size_t len = sqy_box_bytes(&box);
    uint8_t *in = exact(len + 1), *out = exact(len + 3);
    util_image(in + 1, SQY_UINT16, len / 2, 5);
    for (size_t i = 0; i < N_PIPELINES; i++) {
        struct sqy_pipeline *p = util_pipeline(pipelines[i]);
        const size_t bound = sqy_encode_bound(p, &box);
        uint8_t *coded = exact(bound + 5);
        ssize_t got = sqy_encode(ctx, p, &box, in + 1, coded + 5, bound);
        assert_true(got > 0);
        assert_int_equal(sqy_decode(ctx, p, &box, coded + 5, (size_t)got, out + 3), 0);
        assert_memory_equal(in + 1, out + 3, len);
        free(coded);
        sqy_pipeline_free(&p);
    }
    free(in);
    free(out);
    sqy_ctx_free(&ctx);
}

/* What the filters do by type: decoders rely on it for ever. */
static void test_what_stands_in_for_a_filter(void **state)
{
    (void)state;
    static const char *const same[][3] = {
        /* type, pipeline, does the same as */
        {"bytes", "bitswap1", "pass_through"},
        {"bytes", "shuffle->bitshuffle", "pass_through"},
        {"uint8", "shuffle", "pass_through"},
        {"float32", "bitswap1", "shuffle"},
        {"uint32", "bitswap1->lz4", "shuffle->lz4"},
        {"float64", "bitswap1->bitswap1->zstd", "shuffle->zstd"},
        {"int64", "bitshuffle->bitswap1", "bitshuffle->shuffle"},
        {"bytes", "delta->lz4", "lz4"},
    };
    struct sqy_ctx *ctx = util_ctx();
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        struct sqy_box box = {.planes = 1, .rows = 1, .width = 1001, .spp = 1};
        assert_int_equal(sqy_type_parse(same[i][0], strlen(same[i][0]), &box.type), 0);
        uint8_t *in = filled(box.type, box.width, FILL_NOISE);
        struct sqy_pipeline *a = util_pipeline(same[i][1]), *b = util_pipeline(same[i][2]);
        struct bytes x = encode(ctx, a, &box, in), y = encode(ctx, b, &box, in);
        assert_int_equal(x.len, y.len);
        assert_memory_equal(x.data, y.data, x.len);
        free(x.data);
        free(y.data);
        free(in);
        sqy_pipeline_free(&a);
        sqy_pipeline_free(&b);
    }
    sqy_ctx_free(&ctx);
}

static void test_too_little_room(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    const struct sqy_box box = {SQY_UINT16, 1, 1, 5000, 1};
    for (unsigned fill = 0; fill < N_FILLS; fill++) {
        uint8_t *in = filled(SQY_UINT16, 5000, (enum fill)fill);
        for (size_t i = 0; i < N_PIPELINES; i++) {
            struct sqy_pipeline *p = util_pipeline(pipelines[i]);
            const size_t bound = sqy_encode_bound(p, &box);
            const size_t caps[] = {0, 1, 7, 100, bound / 17, bound / 2, bound - 1};
            for (size_t c = 0; c < sizeof(caps) / sizeof(caps[0]); c++) {
                uint8_t *room = exact(caps[c]);
                ssize_t got = sqy_encode(ctx, p, &box, in, room, caps[c]);
                assert_true(got == -ENOSPC || (got > 0 && (size_t)got <= caps[c]));
                free(room);
            }
            sqy_pipeline_free(&p);
        }
        free(in);
    }
    sqy_ctx_free(&ctx);
}

/* ---- parts and frames ---- */

static void test_parts(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    static const struct {
        const char *pipeline;
        enum sqy_type type;
        uint32_t width;
        unsigned n_parts;
        bool planes, rest; /* parts that hold something */
    } rows[] = {
        {"bitswap1->lz4", SQY_UINT16, 1600, 17, true, false},
        {"bitswap1->lz4", SQY_UINT16, 1615, 17, true, true},
        {"bitswap1->lz4", SQY_UINT16, 15, 17, false, true},
        {"bitswap1->lz4", SQY_UINT8, 1603, 9, true, true},
        {"bitswap1->lz4", SQY_INT8, 8, 9, true, false},
        {"bitswap1->lz4", SQY_FLOAT32, 1603, 1, true, false},
        {"bitswap1->lz4", SQY_BYTES, 1603, 1, true, false},
        {"bitshuffle->lz4", SQY_UINT16, 1603, 1, true, false},
        {"lz4", SQY_UINT8, 1603, 1, true, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sqy_pipeline *p = util_pipeline(rows[i].pipeline);
        const struct sqy_box box = {rows[i].type, 1, 1, rows[i].width, 1};
        uint8_t *in = filled(box.type, box.width, FILL_IMAGE);
        const size_t bound = sqy_encode_bound(p, &box);
        uint8_t *room = exact(bound);
        size_t part_len[SQY_MAX_PARTS], total = 0;
        unsigned n_parts = 0;
        ssize_t got = sqy_encode_parts(ctx, p, &box, in, room, bound, part_len, &n_parts);
        assert_int_equal(n_parts, rows[i].n_parts);
        for (unsigned k = 0; k < n_parts; k++) {
            bool is_rest = n_parts > 1 && k + 1 == n_parts;
            assert_int_equal(part_len[k] > 0, is_rest ? rows[i].rest : rows[i].planes);
            total += part_len[k];
        }
        assert_int_equal(got, total);
        struct bytes coded = encode(ctx, p, &box, in), parts = {room, total};
        assert_int_equal(coded.len, total);
        assert_memory_equal(coded.data, room, total);
        check_decodes(ctx, p, &box, &parts, in);
        free(coded.data);
        free(room);
        free(in);
        sqy_pipeline_free(&p);
    }
    sqy_ctx_free(&ctx);
}

static size_t put_lz4(uint8_t *out, size_t cap, const uint8_t *in, size_t len, uint64_t *seed)
{
    LZ4F_preferences_t prefs = {0};
    uint64_t dice = util_random(seed);
    prefs.frameInfo.contentSize = dice & 1 ? len : 0;
    prefs.frameInfo.contentChecksumFlag = dice & 2 ? LZ4F_contentChecksumEnabled : 0;
    prefs.frameInfo.blockChecksumFlag = dice & 4 ? LZ4F_blockChecksumEnabled : 0;
    prefs.frameInfo.blockMode = dice & 8 ? LZ4F_blockIndependent : LZ4F_blockLinked;
    prefs.frameInfo.blockSizeID = (LZ4F_blockSizeID_t)(4 + (dice >> 8) % 4);
    size_t got = LZ4F_compressFrame(out, cap, in, len, &prefs);
    assert_false(LZ4F_isError(got));
    return got;
}

static size_t put_zstd(uint8_t *out, size_t cap, const uint8_t *in, size_t len, uint64_t *seed)
{
    size_t got = ZSTD_compress(out, cap, in, len, (int)(util_random(seed) % 5) - 1);
    assert_false(ZSTD_isError(got));
    return got;
}

static size_t put_skippable(uint8_t *out, uint64_t *seed)
{
    const size_t len = util_random(seed) % 40;
    const uint8_t head[8] = {(uint8_t)(0x50 + util_random(seed) % 16), 0x2A, 0x4D, 0x18,
                             (uint8_t)len};
    memcpy(out, head, 8);
    util_noise(out + 8, len, len);
    return 8 + len;
}

/* Any frames that hold the filtered bytes will do, and others that are to be skipped between them.
 */
static struct bytes cut_anyhow(const uint8_t *filtered, size_t len, bool zstd, uint64_t *seed)
{
    const size_t cap = 2 * len + 100000;
    struct bytes b = {.data = exact(cap)};
    for (size_t at = 0, n; at < len; at += n) {
        n = 1 + util_random(seed) % (len / 3 + 1);
        n = n < len - at ? n : len - at;
        if (util_random(seed) % 2)
            b.len += put_skippable(b.data + b.len, seed);
        b.len += zstd ? put_zstd(b.data + b.len, cap - b.len, filtered + at, n, seed)
                      : put_lz4(b.data + b.len, cap - b.len, filtered + at, n, seed);
    }
    b.len += put_skippable(b.data + b.len, seed);
    return b;
}

static void check_any_frames(const char *filter, const char *sink, uint32_t width, uint64_t seed)
{
    struct sqy_ctx *ctx = util_ctx();
    const struct sqy_box box = {SQY_UINT16, 1, 1, width, 1};
    struct sqy_pipeline *bare = util_pipeline(filter);
    struct sqy_pipeline *full = util_pipeline(util_path("%s->%s", filter, sink));
    uint8_t *in = filled(box.type, box.width, seed % 2 ? FILL_IMAGE : FILL_NOISE);
    struct bytes filtered = encode(ctx, bare, &box, in);
    struct bytes coded = cut_anyhow(filtered.data, filtered.len, !strcmp(sink, "zstd"), &seed);
    check_decodes(ctx, full, &box, &coded, in);
    free(coded.data);
    free(filtered.data);
    free(in);
    sqy_pipeline_free(&bare);
    sqy_pipeline_free(&full);
    sqy_ctx_free(&ctx);
}

static void test_any_split_into_frames_decodes(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 24; seed++) {
        check_any_frames("bitswap1", "lz4", 5000, seed);
        check_any_frames("bitswap1", "zstd", 5000, seed);
        check_any_frames("bitshuffle", "lz4", 200003, seed);
        check_any_frames("bitshuffle", "zstd", 33, seed);
    }
}

/* ---- damage ---- */

/* Fails, or fills `out` with something: what a flipped bit makes of it cannot be known without a
 * checksum, and that is somebody else's. */
static int decode_damaged(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                          const struct sqy_box *box, const uint8_t *data, size_t len)
{
    uint8_t *in = exact(len), *out = exact(sqy_box_bytes(box));
    memcpy(in, data, len);
    int r = sqy_decode(ctx, p, box, in, len, out);
    if (r != 0 && r != -EBADMSG)
        fail_msg("%s: %d for damage", sqy_pipeline_short(p), r);
    free(in);
    free(out);
    return r;
}

static void check_wrong_lengths(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                                const struct sqy_box *box, const struct bytes *coded)
{
    uint8_t *longer = calloc(1, coded->len + 16);
    memcpy(longer, coded->data, coded->len);
    for (size_t len = 0; len < coded->len + 16; len++) {
        if (len != coded->len && decode_damaged(ctx, p, box, longer, len) == 0)
            fail_msg("%s: %zu bytes instead of %zu are enough", sqy_pipeline_short(p), len,
                     coded->len);
    }
    free(longer);
}

static void check_other_boxes(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                              const struct sqy_box *box, const struct bytes *coded)
{
    for (int more = -1; more <= 1; more += 2) {
        struct sqy_box other = *box;
        other.width += (uint32_t)more;
        if (decode_damaged(ctx, p, &other, coded->data, coded->len) == 0)
            fail_msg("%s: fills a box of another size", sqy_pipeline_short(p));
    }
}

static void check_flips(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                        const struct sqy_box *box, const struct bytes *coded)
{
    uint64_t seed = coded->len;
    for (unsigned i = 0; i < 400; i++) {
        struct bytes hit = {.data = exact(coded->len), .len = coded->len};
        memcpy(hit.data, coded->data, coded->len);
        for (unsigned k = 0; k <= i % 3; k++)
            hit.data[util_random(&seed) % (i % 2 ? coded->len : coded->len / 8 + 1)] ^=
                (uint8_t)(1u << util_random(&seed) % 8);
        decode_damaged(ctx, p, box, hit.data, hit.len);
        free(hit.data);
    }
}

static void test_damage_is_noticed_or_harmless(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    for (size_t i = 0; i < N_PIPELINES; i++) {
        struct sqy_pipeline *p = util_pipeline(pipelines[i]);
        for (unsigned fill = FILL_IMAGE; fill < N_FILLS; fill++) {
            const struct sqy_box box = {SQY_UINT16, 1, 1, 1003, 1};
            uint8_t *in = filled(box.type, box.width, (enum fill)fill);
            struct bytes coded = encode(ctx, p, &box, in);
            check_wrong_lengths(ctx, p, &box, &coded);
            check_other_boxes(ctx, p, &box, &coded);
            check_flips(ctx, p, &box, &coded);
            check_decodes(ctx, p, &box, &coded, in); /* the context has not suffered */
            free(coded.data);
            free(in);
        }
        sqy_pipeline_free(&p);
    }
    sqy_ctx_free(&ctx);
}

/* A few coded bytes that claim to hold far more than the box: no more than the box is ever written.
 */
static void test_a_bomb_is_refused(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    const struct sqy_box big = {SQY_UINT8, 1, 4096, 4096, 1}, small = {SQY_UINT8, 1, 1, 100, 1};
    uint8_t *zeros = calloc(1, sqy_box_bytes(&big));
    static const char *const sinks[] = {"lz4", "zstd", "bitswap1->lz4", "bitshuffle->zstd"};
    for (size_t i = 0; i < 4; i++) {
        struct sqy_pipeline *p = util_pipeline(sinks[i]);
        struct bytes coded = encode(ctx, p, &big, zeros);
        assert_int_equal(decode_damaged(ctx, p, &small, coded.data, coded.len), -EBADMSG);
        free(coded.data);
        sqy_pipeline_free(&p);
    }
    free(zeros);
    sqy_ctx_free(&ctx);
}

/* ---- threads ---- */

struct worker {
    pthread_t thread;
    const struct sqy_pipeline *pipeline; /* shared */
    uint64_t seed;
    bool good;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct sqy_ctx *ctx = NULL;
    const struct sqy_box box = {SQY_UINT16, 1, 1, 20011, 1};
    const size_t len = sqy_box_bytes(&box), bound = sqy_encode_bound(w->pipeline, &box);
    uint8_t *in = malloc(len), *out = malloc(len), *coded = malloc(bound);
    w->good = sqy_ctx_create(&ctx) == 0;
    for (unsigned i = 0; i < 20 && w->good; i++) {
        util_image(in, box.type, box.width, w->seed + i);
        ssize_t got = sqy_encode(ctx, w->pipeline, &box, in, coded, bound);
        w->good = got > 0 && sqy_decode(ctx, w->pipeline, &box, coded, (size_t)got, out) == 0 &&
                  !memcmp(in, out, len);
    }
    sqy_ctx_free(&ctx);
    free(in);
    free(out);
    free(coded);
    return NULL;
}

static void test_threads_share_a_pipeline(void **state)
{
    (void)state;
    static const char *const texts[] = {"bitswap1->lz4", "bitshuffle->zstd",
                                        "shuffle->bitshuffle->lz4"};
    for (size_t t = 0; t < 3; t++) {
        struct sqy_pipeline *p = util_pipeline(texts[t]);
        struct worker workers[4];
        for (unsigned i = 0; i < 4; i++) {
            workers[i] = (struct worker){.pipeline = p, .seed = 1000 * i};
            assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
        }
        for (unsigned i = 0; i < 4; i++) {
            pthread_join(workers[i].thread, NULL);
            assert_true(workers[i].good);
        }
        sqy_pipeline_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pipeline_type_and_size),
        cmocka_unit_test(test_large_boxes_at_odd_addresses),
        cmocka_unit_test(test_what_stands_in_for_a_filter),
        cmocka_unit_test(test_too_little_room),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_any_split_into_frames_decodes),
        cmocka_unit_test(test_damage_is_noticed_or_harmless),
        cmocka_unit_test(test_a_bomb_is_refused),
        cmocka_unit_test(test_threads_share_a_pipeline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
