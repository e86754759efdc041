/* lz4: LZ4 frames, as sqeazy writes them. */
#include "base/le.h"
#include "codec/stage.h"

#include <errno.h>
#include <limits.h>
#include <lz4.h>
#include <lz4frame.h>
#include <stdlib.h>

enum { ARG_ACCEL, ARG_BLOCKSIZE_KB, ARG_FRAMESTEP_KB, ARG_N_CHUNKS };

#define FRAMESTEP_MAX        (1 << 29) /* what it is rounded to must parse again */
#define FRAME_MAGIC          0x184D2204u
#define SKIPPABLE_MAGIC      0x184D2A50u /* and the 15 after it */
#define SKIPPABLE_MAGIC_MASK 0xFFFFFFF0u

struct lz4_state {
    LZ4F_cctx *compressor;
    LZ4F_dctx *decompressor;
};

static void lz4_free_state(void *p)
{
    struct lz4_state *state = p;
    LZ4F_freeCompressionContext(state->compressor);
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
    if (LZ4F_isError(LZ4F_createCompressionContext(&state->compressor, LZ4F_VERSION)) ||
        LZ4F_isError(LZ4F_createDecompressionContext(&state->decompressor, LZ4F_VERSION))) {
        lz4_free_state(state);
        return NULL;
    }
    *slot = state;
    return state;
}

/* The nearest of the four sizes a frame can have. */
static LZ4F_blockSizeID_t lz4_block_id(const struct stage *stage)
{
    int32_t kb = stage->arg[ARG_BLOCKSIZE_KB];
    if (kb < (64 + 256) / 2)
        return LZ4F_max64KB;
    if (kb < (256 + 1024) / 2)
        return LZ4F_max256KB;
    return kb < (1024 + 4096) / 2 ? LZ4F_max1MB : LZ4F_max4MB;
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

static LZ4F_preferences_t lz4_preferences(const struct stage *stage)
{
    return (LZ4F_preferences_t){
        .frameInfo = {.blockSizeID = lz4_block_id(stage), .blockMode = LZ4F_blockLinked},
        .compressionLevel = stage->arg[ARG_ACCEL],
        .autoFlush = 1, /* the whole input is given at once: nothing to collect */
    };
}

static size_t lz4_bound(const struct stage *stage, size_t len)
{
    const LZ4F_preferences_t prefs = lz4_preferences(stage);
    if (len > SSIZE_MAX / 2)
        return 0;
    return LZ4F_HEADER_SIZE_MAX + LZ4F_compressBound(len, &prefs);
}

static ssize_t lz4_encode(struct sqy_ctx *ctx, const struct stage *stage, const uint8_t *in,
                          size_t len, uint8_t *out, size_t cap)
{
    const LZ4F_preferences_t prefs = lz4_preferences(stage);
    const LZ4F_compressOptions_t options = {.stableSrc = 1};
    const struct lz4_state *state = lz4_state(ctx, stage);
    if (!state)
        return -ENOMEM;
    if (cap < lz4_bound(stage, len))
        return -ENOSPC;
    /* With that much room there is nothing left to fail but an allocation. */
    size_t head = LZ4F_compressBegin(state->compressor, out, cap, &prefs);
    if (LZ4F_isError(head))
        return -ENOMEM;
    size_t body = LZ4F_compressUpdate(state->compressor, out + head, cap - head, in, len, &options);
    if (LZ4F_isError(body))
        return -ENOMEM;
    size_t used = head + body;
    size_t tail = LZ4F_compressEnd(state->compressor, out + used, cap - used, &options);
    return LZ4F_isError(tail) ? -ENOMEM : (ssize_t)(used + tail);
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
