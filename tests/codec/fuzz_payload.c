/* Any coded bytes. A blob's whole file where the input begins like one; else a box: byte 0 chooses
 * the pipeline, byte 1 the type (% 12), rows (/ 12 % 10) and planes (/ 120), these less one, bytes 2
 * and 3 (little-endian) the samples of a row less one, the rest is coded. */
#include "codec/sqy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_BYTES ((size_t)1 << 20) /* of a decoded volume */

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
    "interlace",
    "interlace(entropy=0)",
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

/* The decoded bytes are as good as any to try the way back with. */
static void check_way_back(struct sqy_ctx *ctx, const struct sqy_pipeline *p,
                           const struct sqy_box *box, const uint8_t *voxels)
{
    const size_t len = sqy_box_bytes(box), bound = sqy_encode_bound(p, box);
    uint8_t *coded = malloc(bound), *out = malloc(len);
    must(coded && out);
    ssize_t got = sqy_encode(ctx, p, box, voxels, coded, bound);
    must(got > 0 && (size_t)got <= bound);
    must(sqy_decode(ctx, p, box, coded, (size_t)got, out) == 0);
    must(!memcmp(out, voxels, len));
    free(coded);
    free(out);
}

static void decode_box(struct sqy_ctx *ctx, const uint8_t *data, size_t size)
{
    struct sqy_pipeline *p = NULL;
    if (size < 4)
        return;
    const struct sqy_box box = {(enum sqy_type)(data[1] % 12), 1 + data[1] / 120u,
                                1 + data[1] / 12u % 10,
                                1 + ((uint32_t)data[2] | (uint32_t)data[3] << 8), 1};
    must(sqy_pipeline_parse(pipelines[data[0] % N_PIPELINES], &p, NULL) == 0);
    uint8_t *out = malloc(sqy_box_bytes(&box));
    must(out);
    int r = sqy_decode(ctx, p, &box, data + 4, size - 4, out);
    must(r == 0 || r == -EBADMSG);
    if (r == 0)
        check_way_back(ctx, p, &box, out);
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
