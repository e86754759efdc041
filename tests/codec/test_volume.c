/* Payloads of whole volumes: boxes laid out in sqeazy's order, and a decoder of it written from the
 * format's description alone, plain and slow, to check them with. */
#include "test.h"

#include "codec/sqy.h"
#include "util.h"

#include <errno.h>
#include <lz4.h>
#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the reference ---- */

/* All frames, one after the other. */
static struct bytes reference_frames(const struct bytes *payload, size_t len)
{
    struct bytes out = {.data = malloc(len + 1)};
    LZ4F_dctx *d;
    assert_false(LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)));
    for (size_t from = 0; from < payload->len;) {
        size_t n_in = payload->len - from, n_out = len + 1 - out.len;
        size_t r =
            LZ4F_decompress(d, out.data + out.len, &n_out, payload->data + from, &n_in, NULL);
        assert_false(LZ4F_isError(r));
        assert_true(n_in || n_out);
        from += n_in;
        out.len += n_out;
    }
    LZ4F_freeDecompressionContext(d);
    assert_int_equal(out.len, len);
    return out;
}

static unsigned get_item(const uint8_t *data, size_t i, size_t size)
{
    return size == 1 ? data[i] : (unsigned)data[2 * i] | (unsigned)data[2 * i + 1] << 8;
}

static void set_bit(uint8_t *data, size_t i, size_t size, unsigned bit)
{
    data[i * size + bit / 8] |= (uint8_t)(1u << (bit % 8));
}

/* Item i, bit b lies in item (P-1-b) * L + i / P, bit P-1 - i mod P. */
static void reference_bitswap1(const uint8_t *in, size_t n, size_t size, uint8_t *out)
{
    const size_t planes = 8 * size, whole = n - n % planes, length = whole / planes;
    memset(out, 0, whole * size);
    for (size_t i = 0; i < whole; i++) {
        for (unsigned b = 0; b < planes; b++) {
            unsigned item = get_item(in, (planes - 1 - b) * length + i / planes, size);
            if (item >> (planes - 1 - i % planes) & 1)
                set_bit(out, i, size, b);
        }
    }
    memcpy(out + whole * size, in + whole * size, (n - whole) * size);
}

/* In each block row r holds bit r mod 8 of byte r div 8 of every item, item j at bit j mod 8. */
static void reference_bitshuffle(const uint8_t *in, size_t n, size_t size, size_t block,
                                 uint8_t *out)
{
    const size_t whole = n - n % 8;
    memset(out, 0, whole * size);
    for (size_t start = 0; start < whole; start += block) {
        size_t k = whole - start < block ? whole - start : block;
        for (size_t j = 0; j < k; j++) {
            for (unsigned r = 0; r < 8 * size; r++) {
                if (in[start * size + r * (k / 8) + j / 8] >> (j % 8) & 1)
                    set_bit(out, start + j, size, r);
            }
        }
    }
    memcpy(out + whole * size, in + whole * size, (n - whole) * size);
}

static void reference_unfilter(const char *pipeline, const uint8_t *in, size_t n, size_t size,
                               uint8_t *out)
{
    if (!strncmp(pipeline, "bitswap1", 8))
        reference_bitswap1(in, n, size, out);
    else if (!strncmp(pipeline, "bitshuffle(block_size=64)", 25))
        reference_bitshuffle(in, n, size, 64, out);
    else if (!strncmp(pipeline, "bitshuffle", 10))
        reference_bitshuffle(in, n, size, 8192 / size, out);
    else
        memcpy(out, in, n * size);
}

/* ---- laying out ---- */

static struct sqy_header header_of(char *pipename, enum sqy_type type, uint64_t z, uint64_t y,
                                   uint64_t x)
{
    return (struct sqy_header){.pipename = pipename, .type = type, .rank = 3, .shape = {z, y, x}};
}

/* Part 0 of every box, part 1 of every box, ... Boxes start at random multiples of the grain. */
static struct bytes lay_out(struct sqy_ctx *ctx, const struct sqy_pipeline *p, enum sqy_type type,
                            const uint8_t *voxels, size_t n, uint64_t *seed)
{
    const size_t grain = sqy_pipeline_grain(p, type), size = sqy_type_size(type);
    const size_t cap = n * size * 2 + 1000000;
    struct bytes part[SQY_MAX_PARTS] = {{0}}, all = {0};
    uint8_t *room = malloc(cap);
    unsigned n_parts = 0;
    for (size_t at = 0, len; at < n; at += len) {
        size_t part_len[SQY_MAX_PARTS], most = n / grain / 3 + 1;
        len = grain * (1 + util_random(seed) % most);
        len = len < n - at ? len : n - at;
        const struct sqy_box box = {type, 1, 1, (uint32_t)len, 1};
        ssize_t got =
            sqy_encode_parts(ctx, p, &box, voxels + at * size, room, cap, part_len, &n_parts);
        assert_true(got > 0);
        const uint8_t *from = room;
        for (unsigned i = 0; i < n_parts; i++) {
            part[i].data = realloc(part[i].data, part[i].len + part_len[i] + 1);
            memcpy(part[i].data + part[i].len, from, part_len[i]);
            part[i].len += part_len[i];
            from += part_len[i];
        }
    }
    all.data = room;
    for (unsigned i = 0; i < n_parts; i++) {
        memcpy(all.data + all.len, part[i].data, part[i].len);
        all.len += part[i].len;
        free(part[i].data);
    }
    return all;
}

static void check_upstream_form(const char *text, enum sqy_type type, uint64_t z, uint64_t y,
                                uint64_t x)
{
    struct sqy_ctx *ctx = util_ctx();
    struct sqy_pipeline *p = util_pipeline(text);
    const size_t n = z * y * x, size = sqy_type_size(type), len = n * size;
    uint64_t seed = n;
    uint8_t *voxels = malloc(len), *out = malloc(len), *checked = malloc(len);
    char *pipename = strdup(sqy_pipeline_text(p));
    const struct sqy_header h = header_of(pipename, type, z, y, x);
    assert_true(sqy_pipeline_is_upstream(p, type));
    util_image(voxels, type, n, n);

    struct bytes payload = lay_out(ctx, p, type, voxels, n, &seed);
    assert_int_equal(sqy_decode_volume(ctx, &h, payload.data, payload.len, out, len), 0);
    assert_memory_equal(out, voxels, len);
    struct bytes filtered = reference_frames(&payload, len);
    reference_unfilter(pipename, filtered.data, n, size, checked);
    assert_memory_equal(checked, voxels, len);

    free(filtered.data);
    free(payload.data);
    free(pipename);
    free(voxels);
    free(out);
    free(checked);
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
}

static void test_boxes_make_an_upstream_payload(void **state)
{
    (void)state;
    static const char *const texts[] = {"lz4", "bitswap1->lz4", "bitshuffle->lz4",
                                        "bitshuffle(block_size=64)->lz4",
                                        "bitswap1->lz4(blocksize_kb=64,accel=4)"};
    static const enum sqy_type types[] = {SQY_UINT8, SQY_UINT16, SQY_INT16, SQY_INT8};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        for (size_t t = 0; t < 4; t++) {
            check_upstream_form(texts[i], types[t], 11, 29, 37);
            check_upstream_form(texts[i], types[t], 4, 64, 64);
            check_upstream_form(texts[i], types[t], 1, 1, 1);
            check_upstream_form(texts[i], types[t], 1, 1, 16);
            check_upstream_form(texts[i], types[t], 1, 3, 5);
            check_upstream_form(texts[i], types[t], 3, 101, 211);
        }
    }
}

/* ---- what a payload may look like besides ---- */

struct sample {
    struct sqy_ctx *ctx;
    struct sqy_header header;
    uint8_t *voxels, *out;
    size_t len;
    struct bytes payload; /* with 64 bytes of room in front and behind */
};

static void sample_make(struct sample *s, char *pipename)
{
    struct sqy_pipeline *p = util_pipeline(pipename);
    const struct sqy_box box = {SQY_UINT16, 3, 7, 41, 1};
    const size_t bound = sqy_encode_bound(p, &box);
    s->ctx = util_ctx();
    s->header = header_of(pipename, SQY_UINT16, 3, 7, 41);
    s->len = sqy_box_bytes(&box);
    s->voxels = malloc(s->len);
    s->out = malloc(s->len);
    util_image(s->voxels, box.type, s->len / 2, 3);
    s->payload.data = (uint8_t *)calloc(1, bound + 128) + 64;
    s->payload.len = (size_t)sqy_encode(s->ctx, p, &box, s->voxels, s->payload.data, bound);
    sqy_pipeline_free(&p);
}

static void sample_free(struct sample *s)
{
    free(s->payload.data - 64);
    free(s->voxels);
    free(s->out);
    sqy_ctx_free(&s->ctx);
}

static int sample_decode(struct sample *s, size_t before, size_t len)
{
    memset(s->out, 0xEE, s->len);
    int r = sqy_decode_volume(s->ctx, &s->header, s->payload.data - before, before + len, s->out,
                              s->len);
    if (r == 0)
        assert_memory_equal(s->out, s->voxels, s->len);
    return r;
}

static void test_what_may_stand_around_a_payload(void **state)
{
    (void)state;
    static char names[][32] = {"bitswap1->lz4", "lz4", "pass_through", "bitshuffle"};
    static const uint8_t skippable[12] = {0x5A, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 'a', 'b', 'c', 'd'};
    for (unsigned i = 0; i < 4; i++) {
        struct sample s;
        sample_make(&s, names[i]);
        assert_int_equal(sample_decode(&s, 0, s.payload.len), 0);
        assert_int_equal(sample_decode(&s, 0, s.payload.len + 1), 0); /* zeros */
        assert_int_equal(sample_decode(&s, 0, s.payload.len + 64), 0);
        s.payload.data[s.payload.len + 5] = 1;
        assert_int_equal(sample_decode(&s, 0, s.payload.len + 64), -EBADMSG);
        assert_int_equal(sample_decode(&s, 0, s.payload.len + 5), 0);
        assert_int_equal(sample_decode(&s, 0, s.payload.len - 1), -EBADMSG);
        assert_int_equal(sample_decode(&s, 0, 0), -EBADMSG);
        if (strstr(names[i], "lz4")) {
            memcpy(s.payload.data - 12, skippable, 12);
            memcpy(s.payload.data + s.payload.len, skippable, 12);
            assert_int_equal(sample_decode(&s, 12, s.payload.len + 12), 0);
            assert_int_equal(sample_decode(&s, 12, s.payload.len + 20), 0);
            assert_int_equal(sample_decode(&s, 0, s.payload.len + 7), -EBADMSG);
        }
        sample_free(&s);
    }
}

/* As versions before 0.5.2 wrote it. */
static void test_a_bare_block_is_read(void **state)
{
    (void)state;
    struct sqy_ctx *ctx = util_ctx();
    char pipename[] = "lz4", swapped[] = "bitswap1(num_bits_per_plane=1)->lz4";
    struct sqy_header h = header_of(pipename, SQY_UINT8, 5, 60, 70);
    uint8_t voxels[21000], block[LZ4_COMPRESSBOUND(21000)], out[21000], filtered[21000];
    util_image(voxels, SQY_UINT8, sizeof(voxels), 9);
    int len = LZ4_compress_default((char *)voxels, (char *)block, sizeof(voxels), sizeof(block));
    assert_int_equal(sqy_decode_volume(ctx, &h, block, (size_t)len, out, sizeof(out)), 0);
    assert_memory_equal(out, voxels, sizeof(out));
    for (int cut = 0; cut < len; cut++)
        assert_int_equal(sqy_decode_volume(ctx, &h, block, (size_t)cut, out, sizeof(out)),
                         -EBADMSG);

    h.pipename = swapped;
    assert_int_equal(sqy_decode_volume(ctx, &h, block, (size_t)len, out, sizeof(out)), 0);
    reference_bitswap1(voxels, sizeof(voxels), 1, filtered);
    assert_memory_equal(out, filtered, sizeof(out));

    /* of a box it is damage */
    struct sqy_pipeline *p = util_pipeline(pipename);
    const struct sqy_box box = {SQY_UINT8, 5, 60, 70, 1};
    assert_int_equal(sqy_decode(ctx, p, &box, block, (size_t)len, out), -EBADMSG);
    sqy_pipeline_free(&p);
    sqy_ctx_free(&ctx);
}

static void test_shapes(void **state)
{
    (void)state;
    static char pipename[] = "bitshuffle->zstd";
    struct sample s;
    sample_make(&s, pipename);
    const struct sqy_header good[] = {
        {.rank = 1, .shape = {861}},
        {.rank = 2, .shape = {21, 41}},
        {.rank = 4, .shape = {1, 3, 7, 41}},
        {.rank = 8, .shape = {1, 1, 3, 1, 1, 7, 41, 1}},
    };
    for (size_t i = 0; i < 4; i++) {
        s.header.rank = good[i].rank;
        memcpy(s.header.shape, good[i].shape, sizeof(s.header.shape));
        assert_int_equal(sample_decode(&s, 0, s.payload.len), 0);
    }
    const struct sqy_header bad[] = {
        {.rank = 0},
        {.rank = 9, .shape = {1, 1, 1, 1, 1, 3, 7, 41}},
        {.rank = 3, .shape = {0, 7, 41}},
        {.rank = 3, .shape = {3, 7, 0}},
        {.rank = 3, .shape = {UINT64_MAX, UINT64_MAX, 2}},
        {.rank = 1, .shape = {UINT64_MAX}},
        {.rank = 1, .shape = {UINT64_MAX / 2}},
        {.rank = 8, .shape = {65536, 65536, 65536, 65536, 3, 7, 41, 1}},
    };
    for (size_t i = 0; i < 8; i++) {
        s.header.rank = bad[i].rank;
        memcpy(s.header.shape, bad[i].shape, sizeof(s.header.shape));
        assert_int_equal(sample_decode(&s, 0, s.payload.len), -EBADMSG);
    }
    sample_free(&s);
}

static void test_what_the_caller_got_wrong(void **state)
{
    (void)state;
    static char pipename[] = "bitswap1->lz4", unknown[] = "quantizer->lz4", live[] = "sqyfs->lz4";
    struct sample s;
    sample_make(&s, pipename);
    const size_t len = s.len;
    s.len = len - 1;
    assert_int_equal(sample_decode(&s, 0, s.payload.len), -EINVAL);
    s.len = 0;
    assert_int_equal(sample_decode(&s, 0, s.payload.len), -EINVAL);
    s.len = len;
    s.header.pipename = unknown;
    assert_int_equal(sample_decode(&s, 0, s.payload.len), -ENOTSUP);
    s.header.pipename = live;
    assert_int_equal(sample_decode(&s, 0, s.payload.len), -ENOTSUP);
    s.header.pipename = pipename;
    s.header.type = (enum sqy_type)77;
    assert_int_equal(sample_decode(&s, 0, s.payload.len), -EBADMSG);
    sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boxes_make_an_upstream_payload),
        cmocka_unit_test(test_what_may_stand_around_a_payload),
        cmocka_unit_test(test_a_bare_block_is_read),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_what_the_caller_got_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
