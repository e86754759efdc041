/* bitswap1: one plane for each bit, the most significant first; within an item of a plane the first
 * voxel is the most significant bit. Written in samples of the volume's type, so little-endian. */
#include "codec/bits.h"
#include "codec/stage.h"

#include <string.h>

/* Voxels that fill whole items of every plane; the rest follows as it is. */
static size_t bitswap1_whole(const struct shape *shape)
{
    return shape->n - shape->n % (8 * shape->size);
}

static size_t bitswap1_grain(const struct stage *stage, size_t size)
{
    (void)stage;
    return 8 * size;
}

static unsigned bitswap1_parts(const struct stage *stage, const struct shape *shape,
                               size_t part_len[SQY_MAX_PARTS])
{
    (void)stage;
    unsigned planes = 8 * (unsigned)shape->size;
    size_t whole = bitswap1_whole(shape);
    for (unsigned p = 0; p < planes; p++)
        part_len[p] = whole / 8;
    part_len[planes] = (shape->n - whole) * shape->size;
    return planes + 1;
}

static enum flip bitswap1_flip(const struct shape *shape)
{
    return shape->size == 1 ? FLIP_8 : FLIP_16;
}

static int bitswap1_apply(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                          const uint8_t *in, uint8_t *out)
{
    (void)stage;
    size_t whole = bitswap1_whole(shape), row = whole / 8, done = whole * shape->size;
    if (whole) /* the last row holds bit 0 */
        bits_split(ctx_kernels(ctx), shape->size, in, whole, out + done - row, -(ptrdiff_t)row,
                   bitswap1_flip(shape));
    memcpy(out + done, in + done, (shape->n - whole) * shape->size);
    return 0;
}

static int bitswap1_undo(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                         const uint8_t *in, uint8_t *out)
{
    (void)stage;
    size_t whole = bitswap1_whole(shape), row = whole / 8, done = whole * shape->size;
    if (whole)
        bits_join(ctx_kernels(ctx), shape->size, in + done - row, -(ptrdiff_t)row, whole, out,
                  bitswap1_flip(shape));
    memcpy(out + done, in + done, (shape->n - whole) * shape->size);
    return 0;
}

const struct stage_desc stage_desc_bitswap1 = {
    .name = "bitswap1",
    .about = "bit planes, the highest first",
    .class = STAGE_FILTER,
    .args = {{.name = "num_bits_per_plane", .min = 1, .max = 1, .def = 1}},
    .upstream = true,
    .sizes = 1 | 2,
    .grain = bitswap1_grain,
    .parts = bitswap1_parts,
    .apply = bitswap1_apply,
    .undo = bitswap1_undo,
};
