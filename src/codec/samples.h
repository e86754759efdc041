/* What the coders of samples of 8 and 16 bits have in common. Nobody outside codec/ includes this. */
#ifndef SQYFS_CODEC_SAMPLES_H
#define SQYFS_CODEC_SAMPLES_H

#include "codec/stage.h"

/* What makes the order of an unsigned type that of signed numbers, added bit by bit. */
static inline uint16_t samples_flip(const struct shape *shape)
{
    return shape->type == SQY_UINT16 ? 0x8000 : 0;
}

/* Low bits that are 0 in every sample of 16 bits. */
unsigned samples_common_zeros(const struct shape *shape, const uint8_t *in);

/* The box with each plane as one row, where rows have fewer than `narrow` voxels and these are whole:
 * what lies around such rows would be most of what there is. */
struct shape samples_join_rows(const struct shape *shape, size_t narrow);

#define SAMPLES_STORED 0 /* the mode of a box that is stored */
/* The box as it is, behind its mode; returns the length. And back: -EBADMSG. */
ssize_t samples_store(const struct shape *shape, const uint8_t *in, uint8_t *out);
int samples_restore(const struct shape *shape, const uint8_t *in, size_t len, uint8_t *out);

#endif
