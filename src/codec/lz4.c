/* lz4: LZ4 frames as sqeazy writes them: linked blocks, no checksums, no content size. Written
 * block by block, because liblz4's own frame writer allocates memory for every frame. */
#include "base/le.h"
#include "codec/stage.h"

#include <errno.h>
#include <limits.h>
#include <lz4.h>
#include <lz4frame.h>
#include <lz4hc.h>
#include <stdlib.h>
#include <string.h>

enum { ARG_ACCEL, ARG_BLOCKSIZE_KB, ARG_FRAMESTEP_KB, ARG_N_CHUNKS };

#define FRAMESTEP_MAX        (1 << 29) /* what it is rounded to must parse again */
#define FRAME_MAGIC          0x184D2204u
#define SKIPPABLE_MAGIC      0x184D2A50u /* and the 15 after it */
#define SKIPPABLE_MAGIC_MASK 0xFFFFFFF0u
#define BLOCK_IS_STORED      0x80000000u
#define FRAME_HEAD           7
#define FRAME_END            4

/* The block sizes a frame can have; the nearest to what is asked for is taken. */
struct block_size {
    uint32_t kb;
    uint8_t descriptor[3]; /* flags, block size, and their checksum */
};

static const struct block_size block_sizes[] = {
    {64, {0x40, 0x40, 0xC0}},
    {256, {0x40, 0x50, 0x77}},
    {1024, {0x40, 0x60, 0x96}},
    {4096, {0x40, 0x70, 0xDF}},
};

struct lz4_state {
    LZ4_stream_t *fast;
    LZ4_streamHC_t *high; /* made when first asked for */
    LZ4F_dctx *decompressor;
};

static void lz4_free_state(void *p)
{
    struct lz4_state *state = p;
    LZ4_freeStream(state->fast);
    LZ4_freeStreamHC(state->high);
    LZ4F_freeDecompressionContext(state->decompressor);
    free(state);
}

static struct lz4_state *lz4_state(struct sqy_ctx *ctx, const struct stage *stage)
{
    void **slot = ctx_state(ctx, stage->desc);
    if (*slot)
        return *slot;
    struct lz4_state *state = calloc(1, sizeof(*state));
    if (!state)
        return NULL;
    state->fast = LZ4_createStream();
    if (!state->fast ||
        LZ4F_isError(LZ4F_createDecompressionContext(&state->decompressor, LZ4F_VERSION))) {
        lz4_free_state(state);
        return NULL;
    }
    *slot = state;
    return state;
}

/* sqeazy cuts its input into so many chunks, or else at steps of whole blocks. */
static void lz4_normalise(struct stage *stage)
{
    int64_t block = stage->arg[ARG_BLOCKSIZE_KB], step = stage->arg[ARG_FRAMESTEP_KB];
    if (stage->arg[ARG_N_CHUNKS])
        step = 0;
    else if (step % block)
        step += (step > FRAMESTEP_MAX - block ? 0 : block) - step % block;
    stage->arg[ARG_FRAMESTEP_KB] = (int32_t)step;
}

static const struct block_size *lz4_block_size(const struct stage *stage)
{
    uint32_t kb = (uint32_t)stage->arg[ARG_BLOCKSIZE_KB];
    unsigned i = 0;
    while (i < 3 && kb >= (block_sizes[i].kb + block_sizes[i + 1].kb) / 2)
        i++;
    return &block_sizes[i];
}

/* A frame of stored blocks, and room for the last one to grow before it is seen not to shrink. */
static size_t lz4_bound(const struct stage *stage, size_t len)
{
    const size_t block = (size_t)lz4_block_size(stage)->kb << 10;
    if (len > SSIZE_MAX / 2)
        return 0;
    return FRAME_HEAD + len + 4 * (len / block + 1) + FRAME_END +
           (size_t)LZ4_compressBound((int)block) - block;
}

/* sqeazy hands `accel` on as liblz4's compression level: from 3 on the slow compressor. */
static bool lz4_is_high(const struct stage *stage)
{
    return stage->arg[ARG_ACCEL] >= LZ4HC_CLEVEL_MIN;
}

static int lz4_begin(struct lz4_state *state, const struct stage *stage)
{
    if (!lz4_is_high(stage)) {
        LZ4_resetStream_fast(state->fast);
        return 0;
    }
    if (!state->high)
        state->high = LZ4_createStreamHC();
    if (!state->high)
        return -ENOMEM;
    LZ4_resetStreamHC_fast(state->high, stage->arg[ARG_ACCEL]);
    return 0;
}

/* One block, which may refer to those before it; stored where it does not shrink. Its bytes with
 * the length in front. */
static size_t lz4_put_block(struct lz4_state *state, const struct stage *stage, const uint8_t *in,
                            size_t len, uint8_t *out, size_t cap)
{
    const int32_t level = stage->arg[ARG_ACCEL];
    const char *src = (const char *)in;
    char *dst = (char *)out + 4;
    int room = cap - 4 > INT_MAX ? INT_MAX : (int)(cap - 4);
    int got = lz4_is_high(stage) ? LZ4_compress_HC_continue(state->high, src, dst, (int)len, room)
                                 : LZ4_compress_fast_continue(state->fast, src, dst, (int)len, room,
                                                              level < 0 ? 1 - level : 1);
    if (got > 0 && (size_t)got < len) {
        le_store32(out, (uint32_t)got);
        return 4 + (size_t)got;
    }
    le_store32(out, (uint32_t)len | BLOCK_IS_STORED);
    memcpy(dst, in, len);
    return 4 + len;
}

static ssize_t lz4_encode(struct sqy_ctx *ctx, const struct stage *stage, const uint8_t *in,
                          size_t len, uint8_t *out, size_t cap)
{
    const struct block_size *size = lz4_block_size(stage);
    const size_t block = (size_t)size->kb << 10;
    struct lz4_state *state = lz4_state(ctx, stage);
    if (!state)
        return -ENOMEM;
    if (cap < lz4_bound(stage, len))
        return -ENOSPC;
    int r = lz4_begin(state, stage);
    if (r < 0)
        return r;
    le_store32(out, FRAME_MAGIC);
    memcpy(out + 4, size->descriptor, 3);
    size_t used = FRAME_HEAD;
    for (size_t at = 0; at < len; at += block) {
        size_t n = len - at < block ? len - at : block;
        used += lz4_put_block(state, stage, in + at, n, out + used, cap - used);
    }
    le_store32(out + used, 0);
    return (ssize_t)(used + FRAME_END);
}

static bool lz4_is_frame(const struct stage_coded *in)
{
    if (in->len < 4)
        return false;
    uint32_t magic = le_load32(in->data);
    return magic == FRAME_MAGIC || (magic & SKIPPABLE_MAGIC_MASK) == SKIPPABLE_MAGIC;
}

/* What sqeazy wrote before 0.5.2: one block for everything, without a frame. */
static int lz4_decode_block(const struct stage_coded *in, uint8_t *out, size_t len)
{
    if (in->len > INT_MAX || len > INT_MAX)
        return -EBADMSG;
    int got = LZ4_decompress_safe((const char *)in->data, (char *)out, (int)in->len, (int)len);
    return got >= 0 && (size_t)got == len ? 0 : -EBADMSG;
}

static int lz4_decode(struct sqy_ctx *ctx, const struct stage *stage, const struct stage_coded *in,
                      uint8_t *out, size_t len)
{
    const LZ4F_decompressOptions_t options = {.stableDst = 1};
    const struct lz4_state *state = lz4_state(ctx, stage);
    if (!state)
        return -ENOMEM;
    if (in->whole && !lz4_is_frame(in))
        return lz4_decode_block(in, out, len);
    LZ4F_resetDecompressionContext(state->decompressor);
    size_t from = 0, to = 0, wanted = 0; /* 0 wanted: between two frames */
    while (from < in->len) {
        if (!wanted && to == len && stage_only_zeros(in, from))
            break;
        size_t n_in = in->len - from, n_out = len - to;
        wanted = LZ4F_decompress(state->decompressor, out + to, &n_out, in->data + from, &n_in,
                                 &options);
        if (LZ4F_isError(wanted) || (!n_in && !n_out))
            return -EBADMSG;
        from += n_in;
        to += n_out;
    }
    return !wanted && to == len ? 0 : -EBADMSG;
}

const struct stage_desc stage_desc_lz4 = {
    .name = "lz4",
    .about = "LZ4 frames",
    .class = STAGE_SINK,
    .args =
        {
            [ARG_ACCEL] = {.name = "accel", .min = -65536, .max = 65536, .def = 1},
            [ARG_BLOCKSIZE_KB] = {.name = "blocksize_kb", .min = 1, .max = 1 << 20, .def = 256},
            [ARG_FRAMESTEP_KB] =
                {.name = "framestep_kb", .min = 0, .max = FRAMESTEP_MAX, .def = 256},
            [ARG_N_CHUNKS] = {.name = "n_chunks_of_input", .min = 0, .max = 1 << 30, .def = 0},
        },
    .upstream = true,
    .normalise = lz4_normalise,
    .carriage = SQY_CARRIAGE_LZ4,
    .bound = lz4_bound,
    .encode = lz4_encode,
    .decode = lz4_decode,
    .free_state = lz4_free_state,
};
