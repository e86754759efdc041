/* Any coded bytes. A blob's whole file where the input begins like one; else a box: byte 0 chooses
 * the pipeline, byte 1 the type (low nibble) and how the box is folded (high), bytes 2 and 3
 * (little-endian) the samples less one, the rest is coded. */
#include "codec/sqy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_BYTES ((size_t)1 << 20) /* of a decoded volume */
#define TALL       64u               /* rows that fall into bands */

static const char *const pipelines[] = {
    "pass_through",
    "lz4",
    "zstd",
    "bitswap1",
    "bitshuffle",
    "shuffle",
    "bitswap1->lz4",
    "bitswap1->zstd",
    "bitshuffle->lz4",
    "bitshuffle->zstd",
    "shuffle->lz4",
    "shuffle->zstd",
    "bitshuffle(block_size=64)->lz4",
    "bitshuffle->bitswap1->lz4",
    /* on whole volumes */
    "diff3x3x1",
    "raster_reorder->lz4",
    "raster_reorder(tile_size=3)",
    "zcurve_reorder(tile_size=4)",
    "frame_shuffle(reorder_map=<verbatim>AQAAAAAAAAAAAAAAAAAAAA==</verbatim>)",
    "tile_shuffle(tile_size=8,reorder_map=<verbatim>AQAAAAAAAAAAAAAAAAAAAA==</verbatim>)",
    "frame_shuffle->bitswap1->lz4",
    "tile_shuffle(tile_size=5)",
    "remove_background->lz4",
    "rmestbkrd",
    "quantiser->bitswap1->lz4",
    "delta",
    "delta(zigzag=1)->zstd",
    "interlace",
    "interlace(entropy=0)",
    "context",
    "noise(q=1,offset=100,gain=0.5,read=1.6)",
    "noise(q=2,offset=32868,gain=2.173913,read=3)->interlace",
#ifdef HAVE_BLOSC
    "blosc",
    "bitshuffle->blosc(cname=zstd,shuffle=2)",
#endif
};

#define N_PIPELINES (sizeof(pipelines) / sizeof(pipelines[0]))

static void must(bool true_thing)
{
    if (!true_thing)
        abort();
}

static size_t volume_bytes(const struct sqy_header *h)
{
    size_t n = sqy_type_size(h->type);
    for (unsigned i = 0; i < h->rank; i++) {
        if (__builtin_mul_overflow(n, h->shape[i], &n))
            return 0;
    }
    return n;
}

static void decode_blob(struct sqy_ctx *ctx, const uint8_t *data, size_t size)
{
    struct sqy_header h;
    if (sqy_header_parse(data, size, &h) < 0)
        return;
    const size_t len = volume_bytes(&h);
    uint8_t *out = malloc(len <= MOST_BYTES ? len + 1 : 1);
    must(out);
    int r = sqy_decode_volume(ctx, &h, data + h.header_bytes, size - h.header_bytes, out,
                              len <= MOST_BYTES ? len : 0);
    must(r == 0 || r == -EBADMSG || r == -ENOTSUP || r == -EINVAL);
    free(out);
    sqy_header_free(&h);
}

/* What is encoded as a whole decodes with the pipeline that says so, and encodes to no more. */
static void check_whole(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                        const struct sqy_box *box, const uint8_t *voxels)
{
    const size_t len = sqy_box_bytes(box), bound = sqy_encode_bound(p, box);
    struct sqy_pipeline *used = NULL;
    uint8_t *coded = malloc(bound + 1), *out = malloc(len);
    must(coded && out);
    ssize_t got = sqy_encode_volume(ctx, p, box, voxels, coded, bound, &used);
    must(got == -ENOTSUP || (got > 0 && (size_t)got <= bound));
    if (got > 0) {
        must(sqy_decode(ctx, used, box, coded, (size_t)got, out) == 0);
        must(!sqy_pipeline_is_lossless(p) || !memcmp(out, voxels, len));
    }
    sqy_pipeline_free(&used);
    free(coded);
    free(out);
}

/* The decoded bytes are as good as any to try the way back with. */
static void check_way_back(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                           const struct sqy_box *box, const uint8_t *voxels)
{
    check_whole(ctx, p, box, voxels);
    if (sqy_pipeline_needs_volume(p))
        return;
    const size_t len = sqy_box_bytes(box), bound = sqy_encode_bound(p, box);
    uint8_t *coded = malloc(bound), *out = malloc(len);
    must(coded && out);
    ssize_t got = sqy_encode_lossy(ctx, p, box, voxels, coded, bound);
    must(got > 0 && (size_t)got <= bound);
    must(sqy_decode(ctx, p, box, coded, (size_t)got, out) == 0);
    must(!memcmp(out, voxels, len)); /* lossy ones, too: these voxels have lost it already */
    free(coded);
    free(out);
}

/* One row, or folded into planes and rows of the high nibble's bits: of TALL times as many rows where
 * the low nibble is 12 or more, of the types 1 to 4. */
static struct sqy_box box_of(const uint8_t *data)
{
    const uint32_t n = 1 + ((uint32_t)data[2] | (uint32_t)data[3] << 8);
    const bool tall = (data[1] & 15) >= 12;
    const uint32_t planes = 1u << (data[1] >> 4 & 3);
    const uint32_t rows = (1u << (data[1] >> 6)) * (tall ? TALL : 1);
    const enum sqy_type type = (enum sqy_type)((data[1] & 15) % 12 + tall);
    return (struct sqy_box){type, planes, rows, n / planes / rows ? n / planes / rows : 1, 1};
}

/* Voxels, where the input decodes to none. */
static uint8_t *fill(uint8_t *out, size_t len, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < len; i++)
        out[i] = data[i % size];
    return out;
}

static void decode_box(struct sqy_ctx *ctx, const uint8_t *data, size_t size)
{
    struct sqy_pipeline *p = NULL;
    if (size < 4)
        return;
    const struct sqy_box box = box_of(data);
    must(sqy_pipeline_parse(pipelines[data[0] % N_PIPELINES], &p, NULL) == 0);
    uint8_t *out = malloc(sqy_box_bytes(&box));
    must(out);
    int r = sqy_decode(ctx, p, &box, data + 4, size - 4, out);
    must(r == 0 || r == -EBADMSG || (r == -ENOTSUP && !sqy_pipeline_is_lossless(p)));
    if (r == 0)
        check_way_back(ctx, p, &box, out);
    else if (r == -ENOTSUP && !sqy_pipeline_needs_volume(p))
        must(!sqy_encode_bound(p, &box));
    else if (sqy_pipeline_needs_volume(p))
        check_whole(ctx, p, &box, fill(out, sqy_box_bytes(&box), data, size));
    free(out);
    sqy_pipeline_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sqy_ctx *ctx; /* kept: what one input leaves in it must not harm the next */
    must(ctx || sqy_ctx_create(&ctx) == 0);
    if (size && (data[0] == '{' || data[0] == ' '))
        decode_blob(ctx, data, size);
    else
        decode_box(ctx, data, size);
    return 0;
}
