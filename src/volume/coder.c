#include "volume/coder.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sum.h"
#include "volume/receipt.h"

/* Pipelines parsed and kept; a blob rarely names more than three. */
#define CODER_PARSED 8
#define CACHE_LINE   64u
#define CODER_LARGE  (16u << 20) /* bytes of a box */
#define CODER_SLACK  (1u << 20)  /* bytes that a coded chunk may have besides four times its own */
#define CODER_FINER  12u         /* halvings of what is lost, after which nothing is */

/* The fast rung: of all lossless pipelines the one that encodes camera data fastest, at twice the speed of
 * the next, and the one for samples that it does not take. */
#define CODER_FAST      "interlace(entropy=0)"
#define CODER_FAST_WIDE "bitshuffle->lz4"

/* Of bytes that are no voxels, fewer are never stored raw to save time. */
#define CODER_FEW (64u << 10)

struct buffer {
    void *data;
    size_t cap;
};

struct coder {
    struct sqy_ctx *ctx;
    struct buffer plain, swapped, coded, decoded;
    size_t largest; /* box since it was trimmed */
    struct sqy_pipeline *bytes, *fast, *fast_wide, *stored;
    struct sqy_pipeline *finer; /* what coder_encode_lossy() has come to, the last time */
    struct {
        char *text;
        struct sqy_pipeline *pipeline;
    } parsed[CODER_PARSED];
    unsigned next_parsed;
};

/* The kernel copies three times as fast to where a cache line begins as to where malloc() puts large blocks.
 */
static void *buffer_reserve(struct buffer *buffer, size_t len)
{
    if (buffer->cap >= len)
        return buffer->data;
    free(buffer->data);
    buffer->data = NULL;
    buffer->cap = 0;
    if (len <= PTRDIFF_MAX - CACHE_LINE)
        buffer->data = aligned_alloc(CACHE_LINE, (len / CACHE_LINE + 1) * CACHE_LINE);
    if (buffer->data != NULL)
        buffer->cap = len;
    return buffer->data;
}

static void tell(void *arg, const char *line)
{
    (void)arg;
    log_warn("%s", line);
}

int coder_create(struct coder **out)
{
    struct coder *coder = calloc(1, sizeof(*coder));
    if (coder == NULL)
        return -ENOMEM;
    int r = sqy_ctx_create(&coder->ctx);
    if (r >= 0)
        sqy_ctx_on_notice(coder->ctx, tell, NULL);
    if (r >= 0)
        r = sqy_pipeline_parse("zstd(level=1)", &coder->bytes, NULL);
    if (r >= 0)
        r = sqy_pipeline_parse(CODER_FAST, &coder->fast, NULL);
    if (r >= 0)
        r = sqy_pipeline_parse(CODER_FAST_WIDE, &coder->fast_wide, NULL);
    if (r >= 0)
        r = sqy_pipeline_parse("pass_through", &coder->stored, NULL);
    if (r < 0) {
        coder_destroy(&coder);
        return r;
    }
    *out = coder;
    return 0;
}

void coder_on_notice(struct coder *coder, void (*notice)(void *arg, const char *line), void *arg)
{
    sqy_ctx_on_notice(coder->ctx, notice, arg);
}

void coder_destroy(struct coder **coder_p)
{
    struct coder *coder = *coder_p;
    if (coder == NULL)
        return;
    sqy_ctx_free(&coder->ctx);
    sqy_pipeline_free(&coder->bytes);
    sqy_pipeline_free(&coder->fast);
    sqy_pipeline_free(&coder->fast_wide);
    sqy_pipeline_free(&coder->stored);
    sqy_pipeline_free(&coder->finer);
    for (unsigned i = 0; i < CODER_PARSED; i++) {
        free(coder->parsed[i].text);
        sqy_pipeline_free(&coder->parsed[i].pipeline);
    }
    free(coder->plain.data);
    free(coder->swapped.data);
    free(coder->coded.data);
    free(coder->decoded.data);
    free(coder);
    *coder_p = NULL;
}

static void note_size(struct coder *coder, size_t len)
{
    coder->largest = len > coder->largest ? len : coder->largest;
}

void coder_trim(struct coder *coder)
{
    struct buffer *buffers[] = {&coder->plain, &coder->swapped, &coder->coded, &coder->decoded};
    if (coder->largest <= CODER_LARGE)
        return;
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
        free(buffers[i]->data);
        *buffers[i] = (struct buffer){NULL, 0};
    }
    sqy_ctx_trim(coder->ctx);
    coder->largest = 0;
}

void coder_stop_when(struct coder *coder, bool (*stop)(void *arg), void *arg)
{
    sqy_ctx_stop_when(coder->ctx, stop, arg);
}

void *coder_plain(struct coder *coder, size_t len)
{
    return buffer_reserve(&coder->plain, len);
}

static const void *to_little_endian(struct coder *coder, const struct sqy_box *box, size_t len,
                                    const void *plain)
{
    void *swapped = buffer_reserve(&coder->swapped, len);
    if (swapped != NULL)
        sqy_swap(swapped, plain, len, sqy_type_size(box->type));
    return swapped;
}

static ssize_t encode_with(struct coder *coder, const struct sqy_pipeline *pipeline,
                           const struct sqy_box *box, const void *in, bool parts, struct coded *out)
{
    size_t cap = sqy_encode_bound(pipeline, box);
    void *coded = buffer_reserve(&coder->coded, cap);
    if (cap == 0 || coded == NULL)
        return cap == 0 ? -EINVAL : -ENOMEM;
    out->bytes = coded;
    out->pipeline = sqy_pipeline_text(pipeline);
    out->n_parts = 1;
    if (parts)
        return sqy_encode_parts(coder->ctx, pipeline, box, in, coded, cap, out->part_len,
                                &out->n_parts);
    return sqy_encode(coder->ctx, pipeline, box, in, coded, cap);
}

static bool same(const struct sqy_pipeline *a, const struct sqy_pipeline *b)
{
    return strcmp(sqy_pipeline_text(a), sqy_pipeline_text(b)) == 0;
}

const struct sqy_pipeline *coder_rung(const struct coder *coder, enum ladder_rung rung,
                                      const struct sqy_pipeline *target, const struct sqy_box *box)
{
    if (rung == LADDER_TARGET || same(target, coder->stored) ||
        (box->type == SQY_BYTES && box->width < CODER_FEW))
        return target;
    if (rung == LADDER_RAW || box->type == SQY_BYTES) /* nothing fast gains on bytes of a camera */
        return coder->stored;
    const struct sqy_pipeline *fast = sqy_type_size(box->type) > 2 ? coder->fast_wide : coder->fast;
    return same(target, fast) ? target : fast;
}

int coder_encode(struct coder *coder, const struct sqy_pipeline *pipeline,
                 const struct sqy_box *box, bool big_endian, bool strict, const void *plain,
                 struct coded *out)
{
    size_t len = sqy_box_bytes(box);
    if (len == 0 || len > BLOB_MAX_CHUNK)
        return -EINVAL;
    note_size(coder, len);
    memset(out, 0, sizeof(*out));
    bool voxels = box->type != SQY_BYTES;
    const void *in = plain;
    if (voxels && big_endian && sqy_type_size(box->type) > 1) {
        in = to_little_endian(coder, box, len, plain);
        if (in == NULL)
            return -ENOMEM;
        out->chunk.flags |= BLOB_BIG_ENDIAN;
    }
    const struct sqy_pipeline *used = voxels || pipeline == coder->stored ? pipeline : coder->bytes;
    ssize_t coded = encode_with(coder, used, box, in, strict && voxels, out);
    if (strict && voxels && coded < 0)
        return (int)coded;
    if (!(strict && voxels) && (coded < 0 || (size_t)coded >= len)) {
        used = coder->stored;
        coded = encode_with(coder, used, box, in, false, out);
        if (coded < 0)
            return (int)coded;
    }
    out->wrap = !voxels || sqy_pipeline_carriage(used) == SQY_CARRIAGE_NONE;
    out->chunk.box = *box;
    out->chunk.coded_len = (uint32_t)coded;
    out->chunk.coded_sum = sum64(out->bytes, (size_t)coded);
    out->chunk.served_sum = sum64(plain, len);
    return 0;
}

/* ---- with loss ---- */

/* A voxel that is served must be one that was measured: the sums are of what decoding gives. */
static int measure(struct coder *coder, const struct coder_loss *loss,
                   const struct sqy_pipeline *pipeline, const struct sqy_box *box, const void *in,
                   ssize_t coded, struct coded *out)
{
    size_t len = sqy_box_bytes(box);
    void *decoded = buffer_reserve(&coder->decoded, len);
    if (decoded == NULL)
        return -ENOMEM;
    int r = sqy_decode(coder->ctx, pipeline, box, coder->coded.data, (size_t)coded, decoded);
    if (r < 0)
        return r;
    r = sqy_receipt_measure(box, in, decoded, loss->noise, &out->receipt);
    if (r >= 0 && (out->receipt.max_error == 0) != (memcmp(in, decoded, len) == 0))
        r = -EIO;
    return r;
}

/* The chunk is what coder->coded and coder->decoded have. */
static void finish_lossy(struct coder *coder, const struct sqy_pipeline *pipeline, bool big_endian,
                         size_t coded, struct coded *out)
{
    struct blob_chunk *chunk = &out->chunk;
    size_t len = sqy_box_bytes(&chunk->box);
    out->pipeline = sqy_pipeline_text(pipeline);
    out->bytes = coder->coded.data;
    out->n_parts = 1;
    out->wrap = sqy_pipeline_carriage(pipeline) == SQY_CARRIAGE_NONE;
    if (out->receipt.max_error > 0) {
        receipt_write(&out->receipt, pipeline, (uint8_t *)coder->coded.data + coded);
        coded += RECEIPT_BYTES;
        chunk->flags |= BLOB_LOSSY;
        out->wrap = true;
    }
    if (big_endian && sqy_type_size(chunk->box.type) > 1) {
        sqy_swap(coder->decoded.data, coder->decoded.data, len, sqy_type_size(chunk->box.type));
        chunk->flags |= BLOB_BIG_ENDIAN;
    }
    chunk->coded_len = (uint32_t)coded;
    chunk->coded_sum = sum64(out->bytes, coded);
    chunk->served_sum = sum64(coder->decoded.data, len);
}

/* With this very pipeline. 1; 0 where it loses too much, gains nothing on `most` bytes or cannot. */
static int try_lossy(struct coder *coder, const struct coder_loss *loss,
                     const struct sqy_pipeline *pipeline, bool big_endian, const void *in,
                     uint32_t most, bool *too_much, struct coded *out)
{
    const struct sqy_box box = out->chunk.box;
    size_t cap = sqy_encode_bound(pipeline, &box);
    *too_much = false;
    if (cap == 0 || cap > UINT32_MAX - RECEIPT_BYTES)
        return 0;
    if (buffer_reserve(&coder->coded, cap + RECEIPT_BYTES) == NULL)
        return -ENOMEM;
    ssize_t coded = sqy_encode_lossy(coder->ctx, pipeline, &box, in, coder->coded.data, cap);
    if (coded == -ENOMEM || coded == -ECANCELED)
        return (int)coded;
    if (coded < 0 || (size_t)coded + RECEIPT_BYTES >= most)
        return 0;
    int r = measure(coder, loss, pipeline, &box, in, coded, out);
    if (r < 0)
        return r == -ENOMEM || r == -ECANCELED ? r : 0;
    *too_much = !archive_bound_kept(&loss->bound, &out->receipt);
    if (*too_much)
        return 0;
    finish_lossy(coder, pipeline, big_endian, (size_t)coded, out);
    return 1;
}

static int encode_in_bound(struct coder *coder, const struct coder_loss *loss, bool big_endian,
                           const void *in, uint32_t most, struct coded *out)
{
    const struct sqy_pipeline *pipeline = loss->pipeline;
    bool too_much = true;
    int r = 0;
    for (unsigned i = 0; r == 0 && too_much && i < CODER_FINER; i++) {
        struct sqy_pipeline *finer = NULL;
        r = try_lossy(coder, loss, pipeline, big_endian, in, most, &too_much, out);
        if (r != 0 || !too_much)
            break;
        r = sqy_pipeline_finer(pipeline, &finer);
        if (r < 0)
            return r == -ENOMEM ? r : 0;
        sqy_pipeline_free(&coder->finer);
        pipeline = coder->finer = finer;
    }
    return r;
}

int coder_encode_lossy(struct coder *coder, const struct coder_loss *loss,
                       const struct sqy_box *box, bool big_endian, const void *plain,
                       struct coded *out)
{
    int r = coder_encode(coder, loss->lossless, box, big_endian, false, plain, out);
    if (r < 0 || box->type == SQY_BYTES)
        return r;
    const void *in = out->chunk.flags & BLOB_BIG_ENDIAN ? coder->swapped.data : plain;
    uint32_t most = out->chunk.coded_len;
    struct coded lossy = {.chunk = {.box = *box}};
    r = encode_in_bound(coder, loss, big_endian, in, most, &lossy);
    if (r > 0)
        *out = lossy;
    else if (r == 0) /* what was coded first is overwritten */
        r = coder_encode(coder, loss->lossless, box, big_endian, false, plain, out);
    return r < 0 ? r : 0;
}

static int pipeline_by_text(struct coder *coder, const char *text,
                            const struct sqy_pipeline **pipeline)
{
    for (unsigned i = 0; i < CODER_PARSED; i++) {
        if (coder->parsed[i].text != NULL && strcmp(coder->parsed[i].text, text) == 0) {
            *pipeline = coder->parsed[i].pipeline;
            return 0;
        }
    }
    struct sqy_pipeline *parsed;
    int r = sqy_pipeline_parse(text, &parsed, NULL);
    if (r < 0)
        return r == -EINVAL ? -EBADMSG : r;
    char *copy = strdup(text);
    if (copy == NULL) {
        sqy_pipeline_free(&parsed);
        return -ENOMEM;
    }
    unsigned slot = coder->next_parsed++ % CODER_PARSED;
    free(coder->parsed[slot].text);
    sqy_pipeline_free(&coder->parsed[slot].pipeline);
    coder->parsed[slot].text = copy;
    coder->parsed[slot].pipeline = parsed;
    *pipeline = parsed;
    return 0;
}

/* The coded bytes, and of them the length that is the sink's; *receipt (or NULL) of a lossy chunk. */
static int read_coded(struct coder *coder, struct blob *blob, const struct blob_chunk *chunk,
                      const struct sqy_pipeline *pipeline, size_t *len, struct sqy_receipt *receipt)
{
    const bool lossy = chunk->flags & BLOB_LOSSY;
    struct sqy_receipt own;
    size_t tail = lossy ? RECEIPT_BYTES : 0;
    if (chunk->coded_len <= tail ||
        chunk->coded_len > 4 * (uint64_t)sqy_box_bytes(&chunk->box) + CODER_SLACK ||
        chunk->coded_len - tail > sqy_encode_bound(pipeline, &chunk->box))
        return -EBADMSG;
    uint8_t *coded = buffer_reserve(&coder->coded, chunk->coded_len);
    if (coded == NULL)
        return -ENOMEM;
    int r = blob_read(blob, chunk, coded);
    if (r < 0)
        return r;
    *len = chunk->coded_len - tail;
    r = lossy ? receipt_parse(coded + *len, receipt != NULL ? receipt : &own) : 0;
    return r;
}

static int pipeline_of(struct coder *coder, struct blob *blob, const struct blob_chunk *chunk,
                       const struct sqy_pipeline **pipeline)
{
    size_t len = sqy_box_bytes(&chunk->box);
    const char *text = blob_pipeline_text(blob, chunk->pipeline);
    if (len == 0 || len > BLOB_MAX_CHUNK || text == NULL)
        return -EBADMSG;
    note_size(coder, len);
    return pipeline_by_text(coder, text, pipeline);
}

int coder_receipt(struct coder *coder, struct blob *blob, const struct blob_chunk *chunk,
                  struct sqy_receipt *out)
{
    const struct sqy_pipeline *pipeline;
    size_t len;
    int r = chunk->flags & BLOB_LOSSY ? pipeline_of(coder, blob, chunk, &pipeline) : -EBADMSG;
    return r < 0 ? r : read_coded(coder, blob, chunk, pipeline, &len, out);
}

int coder_decode(struct coder *coder, struct blob *blob, const struct blob_chunk *chunk, void *out)
{
    const struct sqy_pipeline *pipeline;
    size_t len = sqy_box_bytes(&chunk->box), coded_len;
    int r = pipeline_of(coder, blob, chunk, &pipeline);
    if (r >= 0)
        r = read_coded(coder, blob, chunk, pipeline, &coded_len, NULL);
    if (r < 0)
        return r;
    r = sqy_decode(coder->ctx, pipeline, &chunk->box, coder->coded.data, coded_len, out);
    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    if (chunk->flags & BLOB_BIG_ENDIAN)
        sqy_swap(out, out, len, sqy_type_size(chunk->box.type));
    return sum64(out, len) == chunk->served_sum ? 0 : -EBADMSG;
}
