/* bitshuffle: the bit transposition of kiyo-masui/bitshuffle, in blocks; the least significant bit
 * and the first voxel first. */
#include "codec/bits.h"
#include "codec/stage.h"

#include <string.h>

#define BLOCK_BYTES 8192 /* where the argument is 0 */
#define BLOCK_MIN   128  /* samples */

enum { ARG_BLOCK_SIZE };

static size_t bitshuffle_block(const struct stage *stage, size_t size)
{
    size_t block = (size_t)stage->arg[ARG_BLOCK_SIZE];
    if (!block)
        block = BLOCK_BYTES / size;
    return stage->arg[ARG_BLOCK_SIZE] || block > BLOCK_MIN ? block : BLOCK_MIN;
}

static int bitshuffle_apply(struct sqy_ctx *ctx, const struct stage *stage,
                            const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    const size_t block = bitshuffle_block(stage, shape->size), whole = shape->n - shape->n % 8;
    for (size_t at = 0; at < whole; at += block) {
        size_t n = whole - at < block ? whole - at : block;
        bits_split(ctx_kernels(ctx), shape->size, in + at * shape->size, n, out + at * shape->size,
                   (ptrdiff_t)(n / 8), FLIP_NONE);
    }
    memcpy(out + whole * shape->size, in + whole * shape->size, (shape->n - whole) * shape->size);
    return 0;
}

static int bitshuffle_undo(struct sqy_ctx *ctx, const struct stage *stage,
                           const struct shape *shape, const uint8_t *in, uint8_t *out)
{
    const size_t block = bitshuffle_block(stage, shape->size), whole = shape->n - shape->n % 8;
    for (size_t at = 0; at < whole; at += block) {
        size_t n = whole - at < block ? whole - at : block;
        bits_join(ctx_kernels(ctx), shape->size, in + at * shape->size, (ptrdiff_t)(n / 8), n,
                  out + at * shape->size, FLIP_NONE);
    }
    memcpy(out + whole * shape->size, in + whole * shape->size, (shape->n - whole) * shape->size);
    return 0;
}

const struct stage_desc stage_desc_bitshuffle = {
    .name = "bitshuffle",
    .about = "bits of blocks of samples, sorted by weight",
    .class = STAGE_FILTER,
    .args = {{.name = "block_size", .min = 0, .max = 1 << 30, .def = 0, .multiple_of = 8}},
    .upstream = true,
    .sizes = 1 | 2 | 4 | 8,
    .grain = bitshuffle_block,
    .apply = bitshuffle_apply,
    .undo = bitshuffle_undo,
};
