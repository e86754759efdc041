/* Two streams: tokens of known frequencies (a range variant of asymmetric numeral systems), and bits
 * as they are. Frequencies are in 1/32768. Nobody outside codec/ includes this.
 *
 * There are two states, so that tokens of two lanes can be taken at once; they share the words. The
 * decoder of tokens meets them in the order in which they were given, so the encoder keeps them
 * and codes them backwards. A reader that runs over its end reads zeros and says so. */
#ifndef SQYFS_CODEC_ARITH_H
#define SQYFS_CODEC_ARITH_H

#include "base/le.h"

#include <stdbool.h>
#include <stddef.h>

#define ARITH_SCALE 15
#define ARITH_LANES 2u
#define ARITH_LEAST (1u << 16) /* the state is this at first, and never below */

/* ---- bits, the lowest first ---- */

struct bit_writer {
    uint8_t *at, *end;
    uint64_t bits;
    unsigned n;
    bool full;
};

/* The low `n` bits of `v`, 32 at most; nothing above them may be set. */
static inline void bit_put(struct bit_writer *w, uint32_t v, unsigned n)
{
    w->bits |= (uint64_t)v << w->n;
    w->n += n;
    if (w->n < 32)
        return;
    if (w->end - w->at < 4) {
        w->full = true;
    } else {
        le_store32(w->at, (uint32_t)w->bits);
        w->at += 4;
    }
    w->bits >>= 32;
    w->n -= 32;
}

/* What is left, up to a whole byte. */
static inline void bit_flush(struct bit_writer *w)
{
    for (; w->n; w->n = w->n > 8 ? w->n - 8 : 0, w->bits >>= 8) {
        if (w->at == w->end) {
            w->full = true;
            return;
        }
        *w->at++ = (uint8_t)w->bits;
    }
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
    return start | frequency << 16 | (uint32_t)lane << 31;
}

/* Codes the `n` packed tokens of a list (stored little-endian) in place, from its end down to *at:
 * the states, then words. Returns the bytes from there to the end. `list` is 4 * n + 8 bytes. */
static inline size_t arith_encode(uint8_t *list, size_t n, uint8_t **at)
{
    uint8_t *const end = list + 4 * n + 4 * ARITH_LANES, *to = end;
    uint32_t states[ARITH_LANES] = {ARITH_LEAST, ARITH_LEAST};
    for (size_t i = n; i-- > 0;) {
        const uint32_t packed = le_load32(list + 4 * i);
        const uint32_t start = packed & 0xffff, frequency = packed >> 16 & 0x7fff;
        uint32_t x = states[packed >> 31];
        if (x >= (uint64_t)frequency << (32 - ARITH_SCALE)) {
            to -= 2;
            le_store16(to, (uint16_t)x);
            x >>= 16;
        }
        states[packed >> 31] = (x / frequency << ARITH_SCALE) + x % frequency + start;
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

/* False where there are no states. */
static inline bool arith_begin(struct arith_reader *r, const uint8_t *in, size_t len)
{
    if (len < 4 * ARITH_LANES)
        return false;
    *r = (struct arith_reader){.at = in + 4 * ARITH_LANES, .end = in + len};
    for (unsigned lane = 0; lane < ARITH_LANES; lane++)
        r->x[lane] = le_load32(in + 4 * lane);
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
