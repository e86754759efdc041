/* Round trips of boxes of any shape and content, through every version of the kernels; the coded bytes
 * then damaged. The same ones each time; `test_codec_random SEED N` runs N others. */
#include "test.h"

#include "codec/kernels.h"
#include "codec/stage.h"
#include "util.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)1 << 20)

static uint64_t seed = 1;
static unsigned n_cases = 1500;

static uint64_t below(uint64_t n)
{
    return (util_random(&seed) >> 11) % n;
}

/* Small ones more often than large ones. */
static uint32_t length(unsigned most_bits)
{
    return (uint32_t)(1 + below(1ull << below(most_bits)));
}

static struct sqy_box random_box(void)
{
    static const enum sqy_type types[] = {SQY_UINT16, SQY_UINT16, SQY_UINT16,
                                          SQY_INT16,  SQY_UINT8,  SQY_INT8};
    struct sqy_box box;
    do {
        box = (struct sqy_box){.type = types[below(6)], .rows = length(9), .spp = 1};
        box.planes = below(3) ? 1 : length(4);
        if (!below(5))
            box.spp = (uint32_t)(1 + below(4));
        box.width = length(11) * box.spp + (below(50) ? 0 : 1);
    } while (sqy_box_bytes(&box) > MOST_BYTES);
    return box;
}

/* What voxels are made of. */
struct scene {
    unsigned kind, hot, shift;
    double base, noise, signal, x, y;
};

static struct scene random_scene(void)
{
    return (struct scene){
        .kind = (unsigned)below(8),
        .hot = below(3) ? 0 : (unsigned)(1 + below(1000)),
        .shift = below(4) ? 0 : (unsigned)below(12),
        .base = (double)below(60000),
        .noise = exp((double)below(1200) / 100),
        .signal = exp((double)below(1100) / 100),
        .x = (double)(1 + below(200)),
        .y = (double)(1 + below(50)),
    };
}

static double sum_of_noise(void)
{
    double v = -6;
    for (unsigned i = 0; i < 12; i++)
        v += (double)below(1 << 20) * 0x1p-20;
    return v;
}

static double voxel(const struct scene *s, size_t x, size_t y)
{
    if (s->hot && !below(s->hot))
        return 65535 - (double)below(3);
    switch (s->kind) {
    case 0:
        return s->base + s->noise * sum_of_noise();
    case 1:
        return s->base + s->signal * sin((double)x / s->x) * cos((double)y / s->y) +
               s->noise * sum_of_noise();
    case 2:
        return (double)below(65536);
    case 3:
        return s->base;
    case 4:
        return (double)x * s->x + (double)y * s->y;
    case 5:
        return below(50) ? s->base : (double)below(65536);
    case 6:
        return (x / (size_t)s->x) % 2 ? 0 : 65535;
    default:
        return below(2) ? 0 : 65535;
    }
}

static void fill(uint8_t *to, const struct sqy_box *box)
{
    const size_t size = sqy_type_size(box->type), n = sqy_box_bytes(box) / size;
    const struct scene scene = random_scene();
    for (size_t i = 0; i < n; i++) {
        const double v = voxel(&scene, i % box->width, i / box->width);
        const uint32_t bits = (uint32_t)(int64_t)v << scene.shift;
        for (size_t b = 0; b < size; b++)
            to[i * size + b] = (uint8_t)(bits >> 8 * b);
    }
}

static void check(const struct sqy_pipeline *p, struct sqy_ctx *ctx[2], unsigned number)
{
    const struct sqy_box box = random_box();
    const size_t len = sqy_box_bytes(&box), bound = sqy_encode_bound(p, &box);
    uint8_t *in = malloc(len), *out = malloc(len), *coded[2] = {malloc(bound), malloc(bound)};
    fill(in, &box);
    ssize_t got = sqy_encode(ctx[0], p, &box, in, coded[0], bound);
    ssize_t again = sqy_encode(ctx[1], p, &box, in, coded[1], bound);
    bool same = got > 0 && got == again && !memcmp(coded[0], coded[1], (size_t)got);
    bool back = same && sqy_decode(ctx[number % 2], p, &box, coded[0], (size_t)got, out) == 0 &&
                !memcmp(in, out, len);
    if (!same || !back)
        fail_msg("case %u, %s: %s: type %d, %u x %u x %u, spp %u", number, sqy_pipeline_short(p),
                 same ? "other voxels" : "other bytes", box.type, box.planes, box.rows, box.width,
                 box.spp);
    for (unsigned i = 0; i < 3; i++) {
        coded[0][below((uint64_t)got)] ^= (uint8_t)(1u << below(8));
        int r = sqy_decode(ctx[0], p, &box, coded[0], (size_t)got, out);
        assert_true(r == 0 || r == -EBADMSG);
        assert_int_equal(sqy_decode(ctx[1], p, &box, coded[0], (size_t)got, in), r);
        assert_true(r < 0 || !memcmp(in, out, len));
    }
    free(in);
    free(out);
    free(coded[0]);
    free(coded[1]);
}

static void test_random_boxes(void **state)
{
    (void)state;
    static const char *const texts[] = {"interlace", "context", "interlace(entropy=0)"};
    struct sqy_ctx *ctx[2] = {util_ctx(), util_ctx()};
    struct sqy_pipeline *p[3];
    ctx_use_kernels(ctx[1], &kernels_scalar);
    for (unsigned i = 0; i < 3; i++)
        p[i] = util_pipeline(texts[i]);
    for (unsigned i = 0; i < n_cases; i++)
        check(p[i % 3], ctx, i);
    for (unsigned i = 0; i < 3; i++)
        sqy_pipeline_free(&p[i]);
    for (unsigned i = 0; i < 2; i++)
        sqy_ctx_free(&ctx[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_boxes)};
    if (argc == 3) {
        seed = strtoull(argv[1], NULL, 10) | 1;
        n_cases = (unsigned)strtoul(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
