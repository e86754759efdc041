/* Classes of blocks of 64 residuals, with the entropy coder (blocks.h).
 *
 * Class 0: all are 0. Else class c = 1 + floor(2 log2(sum)). k low bits are stored as they are, so many
 * that what is above has a mean between sqrt(2) and 2 sqrt(2): a number from 0 to 14, or 15 for an
 * escape. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_CLASSES_H
#define SQYFS_CODEC_CLASSES_H

#include <stddef.h>
#include <stdint.h>

#define CLASS_MAX    44u /* 64 * 65535 squared is less than 2^44 */
#define CLASS_NOISY  14u /* the first of mean sqrt(2): from here on there are low bits to store */
#define CLASS_ESCAPE 15u

static inline unsigned class_of(uint32_t sum)
{
    return sum ? 64 - (unsigned)__builtin_clzll((uint64_t)sum * sum) : 0;
}

static inline unsigned class_bits(unsigned class)
{
    return class < CLASS_NOISY ? 0 : (class - CLASS_NOISY) / 2;
}

/* classes.c: bits, by entropy, that samples cost in windows of CLASS_WINDOW neighbours, in each of
 * which one class is taken. `left`: what exact predictions leave; they have `up` added before they are
 * rounded down. */
#define CLASS_WINDOW 32u
double classes_cost(const float *left, size_t n, float up);

#endif
