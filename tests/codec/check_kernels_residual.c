/* The kernels of the interlaced predictor: every version against the scalar one, on random and on
 * nasty numbers, and the scalar one against itself there and back. */
#include "test.h"

#include "check_kernels.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

#define MOST  300 /* numbers in a row */
#define ROOM  (MOST + 80)
#define GUARD 0xA5A5u

enum kind { RANDOM, SMALL, ZEROS, ONES, EXTREMES, RARE, KINDS };

static uint16_t number(enum kind kind, uint64_t *seed)
{
    const uint64_t r = util_random(seed) >> 11;
    switch (kind) {
    case SMALL:
        return r & 7;
    case ZEROS:
        return 0;
    case ONES:
        return 0xffff;
    case EXTREMES:
        return (uint16_t[]){0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff}[r % 6];
    case RARE:
        return r % 97 ? r & 31 : (uint16_t)(r >> 8);
    default:
        return (uint16_t)r;
    }
}

static void fill(void *to, size_t n, enum kind kind, uint64_t seed)
{
    uint16_t *v = to;
    for (size_t i = 0; i < n; i++)
        v[i] = number(kind, &seed);
}

static void check(const void *want, const void *got, size_t len, const struct kernels *k,
                  const char *what, size_t n, unsigned kind)
{
    if (memcmp(want, got, len) != 0)
        fail_msg("%s of %s is wrong for %zu numbers of kind %u", what, k->name, n, kind);
}

static void check_columns(const struct kernels *k, size_t n, enum kind kind)
{
    uint16_t in[ROOM], merged[ROOM];
    int16_t even[2][ROOM], odd[2][ROOM];
    fill(in, ROOM, kind, n);
    memset(even, 0xA5, sizeof(even));
    memset(odd, 0xA5, sizeof(odd));
    memset(merged, 0xA5, sizeof(merged));
    kernels_scalar.part((const uint8_t *)in, n, 0x8000, even[0], odd[0]);
    k->part((const uint8_t *)in, n, 0x8000, even[1], odd[1]);
    check(even[0], even[1], sizeof(even[0]), k, "part", n, kind);
    check(odd[0], odd[1], sizeof(odd[0]), k, "part", n, kind);
    k->merge(even[1], odd[1], n, 0x8000, (uint8_t *)merged);
    check(in, merged, 2 * n, k, "merge", n, kind);
    for (size_t i = n; i < ROOM; i++)
        assert_int_equal(merged[i], GUARD);
}

static void check_part_and_merge(const struct kernels *k)
{
    for (size_t n = 0; n <= MOST; n += n < 70 ? 1 : 23) {
        for (unsigned kind = 0; kind < KINDS; kind++)
            check_columns(k, n, kind);
    }
}

static void check_prediction(const struct kernels *k, unsigned n_taps, unsigned near, size_t n,
                             enum kind kind)
{
    static int16_t rows[TAPS_MAX][1 + ROOM];
    int16_t x[ROOM], back[ROOM];
    uint16_t z[2][ROOM];
    struct taps taps = {
        .n = n_taps, .near = near, .bias = (int32_t)util_random(&(uint64_t){n + kind})};
    fill(rows, TAPS_MAX * (1 + ROOM), kind, n_taps);
    fill(taps.weight, TAPS_MAX, kind == SMALL ? SMALL : RANDOM, n + n_taps);
    fill(x, ROOM, kind, n);
    for (unsigned t = 0; t < n_taps; t++)
        taps.at[t] = t < 2 * near && t % 2 ? taps.at[t - 1] + 1 : rows[t] + 1 + t % 3;
    kernels_scalar.residual(&taps, x, n, z[0]);
    k->residual(&taps, x, n, z[1]);
    check(z[0], z[1], 2 * n, k, "residual", n, kind);
    k->restore(&taps, z[1], n, back);
    check(x, back, 2 * n, k, "restore", n, kind);
}

static void check_residual_and_restore(const struct kernels *k)
{
    for (unsigned taps = 2; taps <= TAPS_MAX; taps += 2) {
        for (size_t n = 0; n <= MOST; n += n < 35 ? 1 : 41) {
            for (unsigned near = 0; near <= taps / 2; near++)
                check_prediction(k, taps, near, n, (enum kind)((near + n) % KINDS));
            check_prediction(k, taps, taps / 4, n, EXTREMES);
        }
    }
}

/* Blocks in eight lanes, and in one from end to end. */
static void check_blocks(const struct kernels *k, size_t stride, size_t step, enum kind kind)
{
    enum { N = 5, NUMBERS = 8 * 64 };
    uint16_t z[NUMBERS], back[2][NUMBERS];
    uint32_t sum[2][N];
    uint8_t nibbles[2][32], planes[2][PLANES_ROOM];
    const struct lanes lanes = {z, stride, step};
    fill(z, NUMBERS, kind, step);
    for (unsigned n = 0; n <= N; n++) {
        memset(sum, 0xA5, sizeof(sum));
        kernels_scalar.sums(&lanes, N - n, n, sum[0]);
        k->sums(&lanes, N - n, n, sum[1]);
        check(sum[0], sum[1], sizeof(sum[0]), k, "sums", step, kind);
    }
    for (unsigned low = 0; low <= 16; low++) {
        for (unsigned b = 0; b < N; b++) {
            memset(back, 0, sizeof(back));
            fill(planes[0], sizeof(planes[0]) / 2, RANDOM, low + b);
            for (unsigned i = 0; i < 2; i++) {
                const struct kernels *by = i ? k : &kernels_scalar;
                by->join_low(planes[0], low, &(struct lanes){back[i], stride, step}, b);
            }
            check(back[0], back[1], sizeof(back[0]), k, "join_low", low, kind);
            if (low == 16)
                continue;
            uint64_t want = kernels_scalar.pack(&lanes, b, low, nibbles[0], planes[0]);
            uint64_t got = k->pack(&lanes, b, low, nibbles[1], planes[1]);
            assert_true(want == got);
            check(nibbles[0], nibbles[1], 32, k, "pack", low, kind);
            check(planes[0], planes[1], 8 * low, k, "pack", low, kind);
            got = k->unpack(nibbles[0], planes[0], low, &(struct lanes){back[1], stride, step}, b);
            assert_true(want == got);
            for (unsigned i = 0; i < BLOCK; i++) {
                if (!(want >> i & 1))
                    assert_int_equal(*lanes_at(&lanes, b, i),
                                     *lanes_at(&(struct lanes){back[1], stride, step}, b, i));
            }
        }
    }
}

static void check_all_blocks(const struct kernels *k)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        check_blocks(k, 64, 8, kind);
        check_blocks(k, 8, 64, kind);
    }
}

/* Every width of block, with few numbers that need all of it and with many. */
static void fill_wide(uint16_t *z, size_t n, unsigned width, unsigned rare, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned w = width && util_random(&seed) >> 11 & rare ? width - 1 : width;
        z[i] = (uint16_t)(util_random(&seed) >> 11 & ((1u << w) - 1));
    }
}

static size_t thicken_all(const struct kernels *k, const uint8_t *in, const uint8_t *class,
                          const struct lanes *to, size_t n)
{
    size_t at = 0;
    for (size_t b = 0; b < n; b++)
        at += k->thicken(in + at, class[b], to, b);
    return at;
}

static void check_thin_blocks(const struct kernels *k, size_t stride, size_t step, unsigned width,
                              unsigned rare)
{
    enum { N = 5, NUMBERS = 8 * 64 };
    static uint8_t coded[2][(N + 1) * THIN_ROOM];
    uint16_t z[NUMBERS], back[NUMBERS];
    uint8_t class[2][N];
    const struct lanes lanes = {z, stride, step}, to = {back, stride, step};
    fill_wide(z, NUMBERS, width, rare, width + stride);
    memset(class, 0xA5, sizeof(class));
    const size_t len = kernels_scalar.thin(&lanes, 0, N, class[0], coded[0]);
    assert_int_equal(k->thin(&lanes, 0, N, class[1], coded[1]), len);
    assert_in_range(len, 0, N * 8 * width);
    check(class[0], class[1], N, k, "classes of thin", width, rare);
    check(coded[0], coded[1], len, k, "thin", width, rare);
    memset(back, 0xA5, sizeof(back));
    assert_int_equal(thicken_all(k, coded[1], class[1], &to, N), len);
    for (unsigned b = 0; b < N; b++) {
        for (unsigned i = 0; i < BLOCK; i++)
            assert_int_equal(*lanes_at(&lanes, b, i), *lanes_at(&to, b, i));
    }
}

static void check_thin_and_thicken(const struct kernels *k)
{
    for (unsigned width = 0; width <= 16; width++) {
        for (unsigned rare = 0; rare < 256; rare = 2 * rare + 1) {
            check_thin_blocks(k, 64, 8, width, rare);
            check_thin_blocks(k, 8, 64, width, rare);
        }
    }
}

/* Whatever stands there, all versions make the same of it, or all refuse it. */
static void check_thicken_of_anything(const struct kernels *k)
{
    uint64_t seed = 1;
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned class = 0; class < THIN_CLASSES; class ++) {
            uint8_t in[THIN_ROOM];
            uint16_t z[2][BLOCK];
            if (class == THIN)
                continue; /* a thin plane of none */
            for (unsigned i = 0; i < THIN_ROOM; i++)
                in[i] = (uint8_t)(util_random(&seed) >> 11);
            const size_t want = kernels_scalar.thicken(in, class, &(struct lanes){z[0], 8, 64}, 0);
            const size_t got = k->thicken(in, class, &(struct lanes){z[1], 8, 64}, 0);
            assert_int_equal(want, got);
            if (want <= THIN_ROOM)
                check(z[0], z[1], sizeof(z[0]), k, "thicken", round, class);
            else
                assert_true(class > THIN && __builtin_popcount(in[0]) > (int)THIN_BYTES);
        }
    }
}

/* Or a block of small numbers would pass for one of zeros. */
static void check_a_sum_is_zero_only_where_all_is(const struct kernels *k)
{
    for (unsigned i = 0; i < BLOCK; i++) {
        uint16_t z[BLOCK] = {0};
        uint32_t sum;
        const struct lanes lanes = {z, 8, 64};
        z[i] = 1;
        k->sums(&lanes, 0, 1, &sum);
        assert_int_equal(sum, 1);
    }
}

const struct kernel_check check_kernels_residual[] = {
    {"part, merge", check_part_and_merge},
    {"residual, restore", check_residual_and_restore},
    {"sums, join_low, pack, unpack", check_all_blocks},
    {"thin, thicken", check_thin_and_thicken},
    {"thicken of anything", check_thicken_of_anything},
    {"sums of next to nothing", check_a_sum_is_zero_only_where_all_is},
    {NULL, NULL},
};

/* ---- timed ---- */

#define TIMED (TIMED_BYTES / 2)
#define HALF  (TIMED / 2)

static void time_part(const struct kernels *k, struct timed_memory *m)
{
    int16_t *even = (int16_t *)(void *)m->out;
    k->part(m->in, TIMED, 0x8000, even, even + HALF);
}

static void time_merge(const struct kernels *k, struct timed_memory *m)
{
    const int16_t *even = (const int16_t *)(const void *)m->in;
    k->merge(even, even + HALF, TIMED, 0x8000, m->out);
}

/* As an even column sees them; rows of a fourth of the samples: all stay in the cache. */
static struct taps timed_taps(const struct timed_memory *m)
{
    const int16_t *e = (const int16_t *)(const void *)m->in + 32, *o = e + TIMED / 4 + 96;
    return (struct taps){.at = {e, e + 1, o - 1, o, o + 63, o + 64, e - 1, e + 64},
                         .weight = {900, 100, 200, 200, 50, 50, 100, 300},
                         .n = 8,
                         .near = 3,
                         .bias = 1024};
}

static void time_residual(const struct kernels *k, struct timed_memory *m)
{
    const struct taps taps = timed_taps(m);
    for (unsigned i = 0; i < 4; i++)
        k->residual(&taps, (const int16_t *)(const void *)m->in, TIMED / 4,
                    (uint16_t *)(void *)m->out);
}

static void time_restore(const struct kernels *k, struct timed_memory *m)
{
    const struct taps taps = timed_taps(m);
    for (unsigned i = 0; i < 4; i++)
        k->restore(&taps, m->numbers, TIMED / 4, (int16_t *)(void *)m->out);
}

static struct lanes timed_lanes(void *numbers)
{
    return (struct lanes){numbers, TIMED / LANES + 32, LANES};
}

static void time_sums(const struct kernels *k, struct timed_memory *m)
{
    const struct lanes lanes = timed_lanes(m->numbers);
    k->sums(&lanes, 0, TIMED / BLOCK, m->sum);
}

/* Low bits as many as in life: they change from block to block. */
static unsigned low_of(unsigned block)
{
    return 2 + (block * 7 % 5 + 1) / 2;
}

static void time_pack(const struct kernels *k, struct timed_memory *m)
{
    const struct lanes lanes = timed_lanes(m->numbers);
    uint8_t *planes = m->out + TIMED_BYTES + 512;
    for (unsigned b = 0; b < TIMED / BLOCK; planes += 8 * low_of(b), b++)
        k->pack(&lanes, b, low_of(b), m->out + 32 * b, planes);
}

static void time_unpack(const struct kernels *k, struct timed_memory *m)
{
    const struct lanes lanes = timed_lanes(m->out);
    const uint8_t *planes = m->in + TIMED_BYTES / 2;
    for (unsigned b = 0; b < TIMED / BLOCK; planes += 8 * low_of(b), b++)
        k->unpack(m->in + 32 * b, planes, low_of(b), &lanes, b);
}

static void time_join_low(const struct kernels *k, struct timed_memory *m)
{
    const struct lanes lanes = timed_lanes(m->out);
    for (unsigned b = 0; b < TIMED / BLOCK; b++)
        k->join_low(m->in + 64 * b, low_of(b) + 4, &lanes, b);
}

static void time_thin(const struct kernels *k, struct timed_memory *m)
{
    const struct lanes lanes = timed_lanes(m->numbers);
    uint8_t class[64], *to = m->out;
    for (unsigned b = 0; b < TIMED / BLOCK; b += 64)
        to += k->thin(&lanes, b, 64, class, to);
}

static void time_thicken(const struct kernels *k, struct timed_memory *m)
{
    const struct lanes lanes = timed_lanes(m->out);
    for (unsigned b = 0; b < TIMED / BLOCK; b++)
        k->thicken(m->in + 64 * b, low_of(b) + 4 + (b % 4 ? THIN : 0), &lanes, b);
}

const struct kernel_timed time_kernels_residual[] = {
    {"part", time_part},
    {"merge", time_merge},
    {"residual", time_residual},
    {"restore", time_restore},
    {"sums", time_sums},
    {"pack", time_pack},
    {"unpack", time_unpack},
    {"join_low", time_join_low},
    {"thin", time_thin},
    {"thicken", time_thicken},
    {NULL, NULL},
};
