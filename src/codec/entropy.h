/* What an ideal code would take. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_ENTROPY_H
#define SQYFS_CODEC_ENTROPY_H

#include <math.h>
#include <stdint.h>

/* Bits of all symbols, of which there are count[s] of each, 2^32 - 1 in all at most. */
static inline double entropy_bits(const uint32_t *count, unsigned n_symbols)
{
    uint32_t all = 0;
    double bits = 0;
    for (unsigned s = 0; s < n_symbols; s++) {
        if (count[s] > 1)
            bits -= count[s] * (double)log2f((float)count[s]);
        all += count[s];
    }
    return all ? bits + all * (double)log2f((float)all) : 0;
}

#endif
