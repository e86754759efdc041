#include "store/page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sum.h"
#include "store/frame.h"

#define PAGE_MAGIC 0x47505153u /* "SQPG" */
/* So few are written as they are: a zstd context costs a small stack more than they could save. */
#define PLAIN_RECORDS 8u

enum page_coding { CODING_PLAIN = 0, CODING_ZSTD = 1 };

#define KNOWN_FLAGS (BLOB_PROVISIONAL | BLOB_LOSSY | BLOB_LOWER_RUNG | BLOB_BIG_ENDIAN | BLOB_SPLIT)

void page_totals_add(struct page_totals *sum, const struct page_totals *more)
{
    sum->n += more->n;
    sum->live += more->live;
    sum->provisional += more->provisional;
    sum->mapped += more->mapped;
}

void page_totals_sub(struct page_totals *sum, const struct page_totals *less)
{
    sum->n -= less->n;
    sum->live -= less->live;
    sum->provisional -= less->provisional;
    sum->mapped -= less->mapped;
}

struct page_totals page_record_totals(const struct page_record *record)
{
    const struct blob_chunk *chunk = &record->chunk;
    uint64_t len = record->claim.len;
    bool again = chunk->flags & (BLOB_PROVISIONAL | BLOB_LOWER_RUNG);
    /* 32 bits times 28 bits: no overflow */
    uint64_t live = chunk->coded_len * len / sqy_box_bytes(&chunk->box);
    return (struct page_totals){
        .n = 1, .live = live, .provisional = again ? len : 0, .mapped = len};
}

static bool chunk_is_valid(const struct blob_chunk *chunk, uint32_t n_pipelines, uint64_t end)
{
    if (chunk->flags & ~(uint32_t)KNOWN_FLAGS || chunk->pipeline >= n_pipelines)
        return false;
    if (chunk->coded_len == 0 || chunk->coded_off < BLOB_HEADER_BYTES || chunk->coded_off >= end)
        return false;
    /* what coded_off says of a split chunk is where its parts are listed */
    return chunk->flags & BLOB_SPLIT || chunk->coded_len <= end - chunk->coded_off;
}

bool page_record_is_valid(const struct page_record *record, uint32_t n_pipelines, uint64_t end)
{
    const struct blob_claim *claim = &record->claim;
    size_t bytes = sqy_box_bytes(&record->chunk.box);
    if (bytes == 0 || bytes > BLOB_MAX_CHUNK)
        return false;
    if (claim->len == 0 || claim->len > bytes || claim->src > bytes - claim->len)
        return false;
    if (claim->off > INT64_MAX - claim->len)
        return false;
    return chunk_is_valid(&record->chunk, n_pipelines, end);
}

/* A field is stored as a column of its values, and a column byte by byte: all lowest bytes, then
 * all second ones, and so on. Offsets are stored as their distance from where the record before
 * ends. */
enum column {
    COL_GAP,
    COL_LEN,
    COL_SRC,
    COL_TYPE,
    COL_PLANES,
    COL_ROWS,
    COL_WIDTH,
    COL_SPP,
    COL_FLAGS,
    COL_PIPELINE,
    COL_CODED_GAP,
    COL_CODED_LEN,
    COL_CODED_SUM,
    COL_SERVED_SUM,
    N_COLUMNS,
};

static const uint8_t column_bytes[N_COLUMNS] = {8, 4, 4, 1, 4, 4, 4, 4, 4, 1, 8, 4, 8, 8};

static void record_to_values(const struct page_record *record, const struct page_record *before,
                             uint64_t value[N_COLUMNS])
{
    const struct blob_claim *claim = &record->claim;
    const struct blob_chunk *chunk = &record->chunk;
    uint64_t plain_end = before ? before->claim.off + before->claim.len : 0;
    uint64_t coded_end = before ? before->chunk.coded_off + before->chunk.coded_len : 0;

    value[COL_GAP] = claim->off - plain_end;
    value[COL_LEN] = claim->len;
    value[COL_SRC] = claim->src;
    value[COL_TYPE] = chunk->box.type;
    value[COL_PLANES] = chunk->box.planes;
    value[COL_ROWS] = chunk->box.rows;
    value[COL_WIDTH] = chunk->box.width;
    value[COL_SPP] = chunk->box.spp;
    value[COL_FLAGS] = chunk->flags;
    value[COL_PIPELINE] = chunk->pipeline;
    value[COL_CODED_GAP] = chunk->coded_off - coded_end;
    value[COL_CODED_LEN] = chunk->coded_len;
    value[COL_CODED_SUM] = chunk->coded_sum;
    value[COL_SERVED_SUM] = chunk->served_sum;
}

/* Wraps around where a hostile file says so; page_record_is_valid() and the order look at the
 * result. */
static void values_to_record(const uint64_t value[N_COLUMNS], const struct page_record *before,
                             struct page_record *record)
{
    uint64_t plain_end = before ? before->claim.off + before->claim.len : 0;
    uint64_t coded_end = before ? before->chunk.coded_off + before->chunk.coded_len : 0;

    *record = (struct page_record){
        .claim = {.off = plain_end + value[COL_GAP],
                  .len = value[COL_LEN],
                  .src = (uint32_t)value[COL_SRC]},
        .chunk = {.box = {.type = (enum sqy_type)value[COL_TYPE],
                          .planes = (uint32_t)value[COL_PLANES],
                          .rows = (uint32_t)value[COL_ROWS],
                          .width = (uint32_t)value[COL_WIDTH],
                          .spp = (uint32_t)value[COL_SPP]},
                  .flags = (uint32_t)value[COL_FLAGS],
                  .pipeline = (uint32_t)value[COL_PIPELINE],
                  .coded_off = coded_end + value[COL_CODED_GAP],
                  .coded_len = (uint32_t)value[COL_CODED_LEN],
                  .coded_sum = value[COL_CODED_SUM],
                  .served_sum = value[COL_SERVED_SUM]},
    };
}

static void columns_store(uint8_t *body, unsigned n, unsigned i, const uint64_t value[N_COLUMNS])
{
    for (unsigned c = 0; c < N_COLUMNS; c++)
        for (unsigned b = 0; b < column_bytes[c]; b++, body += n)
            body[i] = (uint8_t)(value[c] >> (8 * b));
}

static void columns_load(const uint8_t *body, unsigned n, unsigned i, uint64_t value[N_COLUMNS])
{
    for (unsigned c = 0; c < N_COLUMNS; c++) {
        value[c] = 0;
        for (unsigned b = 0; b < column_bytes[c]; b++, body += n)
            value[c] |= (uint64_t)body[i] << (8 * b);
    }
}

struct page_coder {
    struct sqy_ctx *ctx;
    struct sqy_pipeline *zstd;
    size_t packed_cap;
    uint8_t *packed;
    uint8_t body[PAGE_RECORDS * PAGE_RECORD_BYTES];
};

static struct sqy_box body_box(unsigned n)
{
    return (struct sqy_box){
        .type = SQY_BYTES, .planes = 1, .rows = 1, .width = n * PAGE_RECORD_BYTES, .spp = 1};
}

int page_coder_create(struct page_coder **out)
{
    struct page_coder *coder = calloc(1, sizeof(*coder));
    if (!coder)
        return -ENOMEM;
    *out = coder;
    return 0;
}

/* Only now: most blobs have one page of few records. */
static int need_zstd(struct page_coder *coder)
{
    if (coder->packed)
        return 0;
    int r = coder->ctx ? 0 : sqy_ctx_create(&coder->ctx);
    if (r >= 0 && !coder->zstd)
        r = sqy_pipeline_parse("zstd(level=1)", &coder->zstd, NULL);
    if (r < 0)
        return r;
    struct sqy_box box = body_box(PAGE_RECORDS);
    coder->packed_cap = sqy_encode_bound(coder->zstd, &box);
    coder->packed = malloc(coder->packed_cap);
    return coder->packed ? 0 : -ENOMEM;
}

void page_coder_destroy(struct page_coder **coder)
{
    if (!*coder)
        return;
    free((*coder)->packed);
    sqy_pipeline_free(&(*coder)->zstd);
    sqy_ctx_free(&(*coder)->ctx);
    free(*coder);
    *coder = NULL;
}

static ssize_t pack(struct page_coder *coder, unsigned n)
{
    struct sqy_box box = body_box(n);
    int r = need_zstd(coder);
    return r < 0 ? r
                 : sqy_encode(coder->ctx, coder->zstd, &box, coder->body, coder->packed,
                              coder->packed_cap);
}

ssize_t page_write(struct page_coder *coder, const struct page_record *records, unsigned n,
                   uint8_t frame[PAGE_MAX_BYTES])
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t value[N_COLUMNS];
        record_to_values(&records[i], i ? &records[i - 1] : NULL, value);
        columns_store(coder->body, n, i, value);
    }
    size_t len = n * PAGE_RECORD_BYTES;
    const uint8_t *body = coder->body;
    enum page_coding coding = CODING_PLAIN;

    ssize_t packed = n > PLAIN_RECORDS ? pack(coder, n) : 0;
    if (packed == -ENOMEM)
        return packed;
    if (packed > 0 && (size_t)packed < len) {
        len = (size_t)packed;
        body = coder->packed;
        coding = CODING_ZSTD;
    }
    frame_head(frame, FRAME_PAGE, (uint32_t)(PAGE_HEAD_BYTES - FRAME_HEAD_BYTES + len));
    le_store32(frame + 8, PAGE_MAGIC);
    le_store16(frame + 12, (uint16_t)n);
    le_store16(frame + 14, (uint16_t)coding);
    memcpy(frame + PAGE_HEAD_BYTES, body, len);
    return (ssize_t)(PAGE_HEAD_BYTES + len);
}

/* Finds the columns: in the frame itself or unpacked into the coder. */
static int open_body(struct page_coder *coder, const uint8_t *frame, const struct page_ref *ref,
                     const uint8_t **body)
{
    if (ref->len <= PAGE_HEAD_BYTES || ref->len > PAGE_MAX_BYTES || ref->totals.n == 0 ||
        ref->totals.n > PAGE_RECORDS)
        return -EBADMSG;
    if (sum64(frame, ref->len) != ref->sum)
        return -EBADMSG;
    if (le_load32(frame) != FRAME_PAGE || le_load32(frame + 4) != ref->len - FRAME_HEAD_BYTES ||
        le_load32(frame + 8) != PAGE_MAGIC || le_load16(frame + 12) != ref->totals.n)
        return -EBADMSG;

    int r;
    size_t len = ref->len - PAGE_HEAD_BYTES;
    struct sqy_box box = body_box((unsigned)ref->totals.n);
    switch (le_load16(frame + 14)) {
    case CODING_PLAIN:
        *body = frame + PAGE_HEAD_BYTES;
        return len == box.width ? 0 : -EBADMSG;
    case CODING_ZSTD:
        *body = coder->body;
        r = need_zstd(coder);
        return r < 0 ? r
                     : sqy_decode(coder->ctx, coder->zstd, &box, frame + PAGE_HEAD_BYTES, len,
                                  coder->body);
    default:
        return -EBADMSG;
    }
}

int page_parse(struct page_coder *coder, const void *frame, const struct page_ref *ref,
               uint64_t high, uint32_t n_pipelines, struct page_record records[PAGE_RECORDS])
{
    const uint8_t *body;
    int r = open_body(coder, frame, ref, &body);
    if (r < 0)
        return r;

    unsigned n = (unsigned)ref->totals.n;
    struct page_totals totals = {0};
    uint64_t plain_end = ref->low;
    for (unsigned i = 0; i < n; i++) {
        uint64_t value[N_COLUMNS];
        columns_load(body, n, i, value);
        values_to_record(value, i ? &records[i - 1] : NULL, &records[i]);
        if (!page_record_is_valid(&records[i], n_pipelines, ref->off) ||
            records[i].claim.off < plain_end)
            return -EBADMSG;
        plain_end = records[i].claim.off + records[i].claim.len;
        struct page_totals one = page_record_totals(&records[i]);
        page_totals_add(&totals, &one);
    }
    if (plain_end > high || memcmp(&totals, &ref->totals, sizeof(totals)) != 0)
        return -EBADMSG;
    return 0;
}
