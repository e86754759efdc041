/* The kernels on bytes and bits, against their definition. */
#include "test.h"

#include "check_kernels.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

#define MOST  2048 /* bytes of a row before anything repeats */
#define GUARD 64   /* around every output: a kernel writes nothing else */

static const size_t lengths[] = {0,   1,   7,   8,   15,  16,  17,   24,   31,   32,   33,
                                 40,  48,  63,  64,  65,  96,  120,  127,  128,  248,  255,
                                 256, 257, 264, 504, 512, 520, 1000, 1024, 1040, 2040, 2048};

#define N_LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

struct arena {
    uint8_t in[8 * MOST], want[8 * MOST + 2 * GUARD], got[8 * MOST + 2 * GUARD];
};

static struct arena *arena_new(uint64_t seed)
{
    struct arena *a = malloc(sizeof(*a));
    assert_non_null(a);
    util_noise(a->in, sizeof(a->in), seed);
    memset(a->want, 0xA5, sizeof(a->want));
    memset(a->got, 0xA5, sizeof(a->got));
    return a;
}

static void arena_check(struct arena *a, const struct kernels *k, const char *what, size_t n)
{
    if (memcmp(a->want, a->got, sizeof(a->want)) != 0)
        fail_msg("%s of %s is wrong for %zu", what, k->name, n);
    free(a);
}

/* Byte j of sample i, where it belongs, both ways. */
static void check_deal(const struct kernels *k, size_t size, size_t n, bool back)
{
    void (*const deal[])(const uint8_t *, size_t, uint8_t *, size_t) = {k->deal2, k->deal4,
                                                                        k->deal8};
    void (*const gather[])(const uint8_t *, size_t, size_t, uint8_t *) = {k->gather2, k->gather4,
                                                                          k->gather8};
    const unsigned which = size == 2 ? 0 : size == 4 ? 1 : 2;
    const size_t stride = n + 5;
    struct arena *a = arena_new(n + size);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < size; j++) {
            if (back)
                a->want[GUARD + i * size + j] = a->in[j * stride + i];
            else
                a->want[GUARD + j * stride + i] = a->in[i * size + j];
        }
    }
    if (back)
        gather[which](a->in, stride, n, a->got + GUARD);
    else
        deal[which](a->in, n, a->got + GUARD, stride);
    arena_check(a, k, back ? "gather" : "deal", n * 10 + size);
}

static void check_deal_and_gather(const struct kernels *k)
{
    for (size_t l = 0; l < N_LENGTHS; l++) {
        for (size_t size = 2; size <= 8 && lengths[l] < MOST; size *= 2) {
            check_deal(k, size, lengths[l], false);
            check_deal(k, size, lengths[l], true);
        }
    }
}

static size_t flipped(size_t i, enum flip flip)
{
    return flip == FLIP_NONE ? i : i - i % flip + (flip - 1 - i % flip);
}

/* Bit b of byte i, where it belongs; `stride` may be negative. */
static void check_split(const struct kernels *k, size_t n, ptrdiff_t stride, enum flip flip,
                        bool back)
{
    struct arena *a = arena_new(n + (size_t)flip);
    const ptrdiff_t first = GUARD + (stride < 0 ? -7 * stride : 0);
    memset(a->want + GUARD, back ? 0 : 0xA5, back ? n : 0);
    for (size_t i = 0; i < n; i++) {
        size_t at = flipped(i, flip);
        for (int b = 0; b < 8; b++) {
            uint8_t *row = a->want + first + b * stride + at / 8;
            const uint8_t mask = (uint8_t)(1u << (at % 8));
            if (back)
                a->want[GUARD + i] |=
                    (uint8_t)((a->in[first - GUARD + b * stride + (ptrdiff_t)at / 8] >> (at % 8) &
                               1)
                              << b);
            else if (a->in[i] >> b & 1)
                *row |= mask;
            else
                *row &= (uint8_t)~mask;
        }
    }
    if (back)
        k->join(a->in + first - GUARD, stride, n, a->got + GUARD, flip);
    else
        k->split(a->in, n, a->got + first, stride, flip);
    arena_check(a, k, back ? "join" : "split", n);
}

static void check_split_and_join(const struct kernels *k)
{
    static const enum flip flips[] = {FLIP_NONE, FLIP_8, FLIP_16};
    for (size_t l = 0; l < N_LENGTHS; l++) {
        for (unsigned f = 0; f < 3; f++) {
            const size_t n = lengths[l];
            if (n % 8 || (flips[f] && n % flips[f]))
                continue;
            for (int back = 0; back < 2; back++) {
                check_split(k, n, (ptrdiff_t)n / 8, flips[f], back);
                check_split(k, n, (ptrdiff_t)n / 8 + 3, flips[f], back);
                check_split(k, n, -(ptrdiff_t)(n / 8), flips[f], back);
            }
        }
    }
}

const struct kernel_check check_kernels_bytes[] = {
    {"deal, gather", check_deal_and_gather},
    {"split, join", check_split_and_join},
    {NULL, NULL},
};

/* ---- timed ---- */

static void time_deal2(const struct kernels *k, struct timed_memory *m)
{
    k->deal2(m->in, TIMED_BYTES / 2, m->out, TIMED_BYTES / 2);
}

static void time_deal4(const struct kernels *k, struct timed_memory *m)
{
    k->deal4(m->in, TIMED_BYTES / 4, m->out, TIMED_BYTES / 4);
}

static void time_deal8(const struct kernels *k, struct timed_memory *m)
{
    k->deal8(m->in, TIMED_BYTES / 8, m->out, TIMED_BYTES / 8);
}

static void time_gather2(const struct kernels *k, struct timed_memory *m)
{
    k->gather2(m->in, TIMED_BYTES / 2, TIMED_BYTES / 2, m->out);
}

static void time_gather4(const struct kernels *k, struct timed_memory *m)
{
    k->gather4(m->in, TIMED_BYTES / 4, TIMED_BYTES / 4, m->out);
}

static void time_gather8(const struct kernels *k, struct timed_memory *m)
{
    k->gather8(m->in, TIMED_BYTES / 8, TIMED_BYTES / 8, m->out);
}

static void time_split(const struct kernels *k, struct timed_memory *m)
{
    k->split(m->in, TIMED_BYTES, m->out, TIMED_BYTES / 8, FLIP_NONE);
}

static void time_join(const struct kernels *k, struct timed_memory *m)
{
    k->join(m->in, TIMED_BYTES / 8, TIMED_BYTES, m->out, FLIP_NONE);
}

const struct kernel_timed time_kernels_bytes[] = {
    {"deal2", time_deal2},     {"deal4", time_deal4},     {"deal8", time_deal8},
    {"gather2", time_gather2}, {"gather4", time_gather4}, {"gather8", time_gather8},
    {"split", time_split},     {"join", time_join},       {NULL, NULL},
};
