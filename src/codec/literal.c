#include "codec/literal.h"

#include <errno.h>
#include <string.h>

#include "codec/bits.h"
#include "codec/entropy.h"

/* Literal bytes are tried where the coded ones are so many times fewer than the box's, for then
 * repetitions may count for more than noise does; or where they seem to be fewer yet, by this part. Codes
 * of a quantiser are so few with noise alone. */
#define SMALL     8u
#define WORTH     16u
#define WINDOW    64u /* samples of a row, or of two */
#define N_WINDOWS 37u /* a prime number: each at another column of its row */
#define N_SAMPLES (N_WINDOWS * WINDOW)

/* About how many literal bytes there will be, from a sample; 0 where it is too small to tell: trying
 * takes no time then. */
static size_t estimate(const struct shape *shape, const uint8_t *in)
{
    uint32_t count[2][256] = {{0}}, same[2] = {0}; /* by byte; not and as the sample before */
    double bits = 0;
    const size_t size = shape->size;
    if (size > 2 || shape->n < WINDOW)
        return SIZE_MAX;
    const size_t apart = (shape->n - WINDOW) / N_WINDOWS * size;
    for (const uint8_t *at = in, *end = in + N_WINDOWS * apart; at < end; at += apart) {
        for (size_t i = 0; i < WINDOW * size; i += size) {
            for (size_t b = 0; b < size; b++)
                count[b][at[i + b]]++;
            same[!memcmp(at + i, at + (i ? i - size : 0), size)]++;
        }
    }
    for (size_t b = 0; b < size; b++)
        bits += entropy_bits(count[b], 256) / N_SAMPLES;
    /* as if a flag said which samples repeat the one before, and the others stood there alone */
    const double runs = (entropy_bits(same, 2) + bits * same[0]) / N_SAMPLES;
    return (size_t)((runs < bits ? runs : bits) / 8 * (double)shape->n);
}

ssize_t literal_instead(struct sqy_ctx *ctx, const struct shape *shape, const uint8_t *in,
                        uint8_t *out, size_t len, uint8_t mode)
{
    const struct stage *zstd = stage_zstd();
    const size_t bytes = shape->n * shape->size, bound = zstd->desc->bound(zstd, bytes);
    if ((shape->codes || len >= bytes / SMALL) && estimate(shape, in) >= len - len / WORTH)
        return (ssize_t)len;
    uint8_t *shuffled = bound ? ctx_scratch(ctx, 2, bytes + bound) : NULL;
    if (!shuffled)
        return -ENOMEM;
    bits_deal(ctx_kernels(ctx), shape->size, in, shape->n, shuffled, shape->n);
    ssize_t got = zstd->desc->encode(ctx, zstd, shuffled, bytes, shuffled + bytes, bound);
    if (got < 0)
        return got;
    if ((size_t)got >= len - 1)
        return (ssize_t)len;
    out[0] = mode;
    memcpy(out + 1, shuffled + bytes, (size_t)got);
    return 1 + got;
}

int literal_decode(struct sqy_ctx *ctx, const struct shape *shape, const uint8_t *in, size_t len,
                   uint8_t *out)
{
    const struct stage *zstd = stage_zstd();
    const struct stage_coded coded = {.data = in, .len = len};
    const size_t bytes = shape->n * shape->size;
    uint8_t *shuffled = ctx_scratch(ctx, 2, bytes);
    if (!shuffled)
        return -ENOMEM;
    int r = zstd->desc->decode(ctx, zstd, &coded, shuffled, bytes);
    if (r >= 0)
        bits_gather(ctx_kernels(ctx), shape->size, shuffled, shape->n, shape->n, out);
    return r;
}
