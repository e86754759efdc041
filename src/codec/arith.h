/* Two streams: tokens of known frequencies (a range variant of asymmetric numeral systems), and bits
 * as they are. Frequencies are in 1/32768. Nobody outside codec/ includes this.
 *
 * Each lane has a state, so that tokens of all can be taken at once; they share the words. The
 * decoder of tokens meets them in the order in which they were given, so the encoder keeps them
 * and codes them backwards. A reader that runs over its end reads zeros and says so. */
#ifndef SQYFS_CODEC_ARITH_H
#define SQYFS_CODEC_ARITH_H

#include "base/le.h"

#include <stdbool.h>
#include <stddef.h>

#define ARITH_SCALE 15
#define ARITH_LANES 4u
#define ARITH_LEAST (1u << 16) /* the state is this at first, and never below */

/* ---- bits, the lowest first ---- */

struct bit_writer {
    uint8_t *at, *end;
    uint64_t bits;
    unsigned n;
    bool full;
};

/* The low `n` bits of `v`, 56 at most; nothing above them may be set. */
static inline void bit_put(struct bit_writer *w, uint64_t v, unsigned n)
{
    w->bits |= v << w->n;
    w->n += n;
    if (w->end - w->at >= 8) {
        le_store64(w->at, w->bits);
        w->at += w->n / 8;
        w->bits >>= w->n & 0x38;
        w->n &= 7;
        return;
    }
    for (; w->n >= 8; w->n -= 8, w->bits >>= 8) {
        if (w->at < w->end)
            *w->at++ = (uint8_t)w->bits;
        else
            w->full = true;
    }
}

/* What is left, as a whole byte. */
static inline void bit_flush(struct bit_writer *w)
{
    bit_put(w, 0, (8 - w->n) & 7);
}

struct bit_reader {
    const uint8_t *at, *end;
    uint64_t bits;
    unsigned n;
    bool over;
};

static inline void bit_refill(struct bit_reader *r)
{
    if (r->end - r->at >= 8) {
        r->bits |= le_load64(r->at) << r->n;
        r->at += (63 - r->n) / 8;
        r->n |= 56;
        return;
    }
    while (r->n <= 56 && r->at < r->end) {
        r->bits |= (uint64_t)*r->at++ << r->n;
        r->n += 8;
    }
}

/* `n` is 32 at most. */
static inline uint32_t bit_get(struct bit_reader *r, unsigned n)
{
    if (r->n < n) {
        bit_refill(r);
        if (r->n < n) {
            r->over = true;
            return 0;
        }
    }
    const uint32_t v = (uint32_t)(r->bits & ((1ull << n) - 1));
    r->bits >>= n;
    r->n -= n;
    return v;
}

/* Whether all is read, and the rest of the last byte is 0. */
static inline bool bit_ended(const struct bit_reader *r)
{
    const uint64_t rest = r->bits & ((1ull << r->n) - 1);
    return !r->over && r->at == r->end && r->n < 8 && !rest;
}

/* ---- tokens ---- */

/* A token in the encoder's list: the start of its range, its frequency, and which state codes it. */
static inline uint32_t arith_pack(uint32_t start, uint32_t frequency, unsigned lane)
{
    return start | frequency << ARITH_SCALE | (uint32_t)lane << 2 * ARITH_SCALE;
}

/* Codes the `n` packed tokens of a list (stored little-endian) in place, from its end down to *at:
 * the states, then words. Returns the bytes from there to the end. `list` is 4 * (n + ARITH_LANES)
 * bytes. */
static inline size_t arith_encode(uint8_t *list, size_t n, uint8_t **at)
{
    uint8_t *const end = list + 4 * (n + ARITH_LANES), *to = end;
    const uint32_t mask = (1u << ARITH_SCALE) - 1;
    uint32_t states[ARITH_LANES];
    for (unsigned lane = 0; lane < ARITH_LANES; lane++)
        states[lane] = ARITH_LEAST;
    for (size_t i = n; i-- > 0;) {
        const uint32_t packed = le_load32(list + 4 * i), lane = packed >> 2 * ARITH_SCALE;
        const uint32_t start = packed & mask, frequency = packed >> ARITH_SCALE & mask;
        uint32_t x = states[lane];
        const bool high = x >> (32 - ARITH_SCALE) >= frequency;
        le_store16(to - 2, (uint16_t)x); /* overwritten where it is not to be kept: no branch */
        to -= high ? 2 : 0;
        x >>= high ? 16 : 0;
        states[lane] = (x / frequency << ARITH_SCALE) + x % frequency + start;
    }
    for (unsigned lane = ARITH_LANES; lane-- > 0;) {
        to -= 4;
        le_store32(to, states[lane]);
    }
    *at = to;
    return (size_t)(end - to);
}

struct arith_reader {
    const uint8_t *at, *end;
    uint32_t x[ARITH_LANES];
    bool over;
};

/* Of `n_lanes` lanes. False where there are no states. */
static inline bool arith_begin(struct arith_reader *r, const uint8_t *in, size_t len,
                               unsigned n_lanes)
{
    if (len < 4 * n_lanes)
        return false;
    *r = (struct arith_reader){.at = in + 4 * n_lanes, .end = in + len};
    for (unsigned lane = 0; lane < ARITH_LANES; lane++)
        r->x[lane] = lane < n_lanes ? le_load32(in + 4 * lane) : ARITH_LEAST;
    return true;
}

static inline uint32_t arith_slot(const struct arith_reader *r, unsigned lane)
{
    return r->x[lane] & ((1u << ARITH_SCALE) - 1);
}

/* Takes the token out whose range the slot lies in. */
static inline void arith_take(struct arith_reader *r, unsigned lane, uint32_t start,
                              uint32_t frequency)
{
    const uint32_t x = frequency * (r->x[lane] >> ARITH_SCALE) + arith_slot(r, lane) - start;
    const bool low = x < ARITH_LEAST;
    uint32_t word = 0;
    if (r->end - r->at >= 2)
        word = le_load16(r->at);
    else
        r->over |= low;
    const uint32_t mask = 0 - (uint32_t)low; /* which it is cannot be guessed: no branch */
    r->x[lane] = x << (mask & 16) | (word & mask);
    r->at += mask & 2;
}

static inline bool arith_ended(const struct arith_reader *r)
{
    bool begun = false;
    for (unsigned lane = 0; lane < ARITH_LANES; lane++)
        begun |= r->x[lane] != ARITH_LEAST;
    return !begun && !r->over && r->at == r->end;
}

#endif
