#include "store/checkpoint.h"

#include <errno.h>
#include <string.h>

#include "base/le.h"
#include "base/sum.h"
#include "store/frame.h"

#define KIND_BYTES      8u
#define KIND_CHECKPOINT "sqyfsCP1" /* the last byte is the record's version */
#define KIND_MARK       "sqyfsMK1"

#define FIXED_BYTES 168u
#define REF_BYTES   56u

enum { FLAG_META = 1, FLAG_UNSYNCED = 2 };

_Static_assert(FIXED_BYTES + CHECKPOINT_TRAILER_BYTES == CHECKPOINT_EMPTY_BYTES, "sizes differ");

static void trailer_write(uint8_t *frame, size_t len, const uint8_t *id, uint64_t off)
{
    uint8_t *at = frame + len - CHECKPOINT_TRAILER_BYTES;
    le_store64(at, sum64(frame, len - CHECKPOINT_TRAILER_BYTES));
    memcpy(at + CHECKPOINT_TRAILER_MAGIC_AT, CHECKPOINT_TRAILER_MAGIC, 8);
    memcpy(at + 16, id, CHECKPOINT_ID_BYTES);
    le_store64(at + 32, off);
    le_store32(at + 40, (uint32_t)len);
    le_store32(at + 44, (uint32_t)sum64(at, 44));
}

int checkpoint_trailer_parse(const uint8_t data[CHECKPOINT_TRAILER_BYTES],
                             struct checkpoint_trailer *out)
{
    if (memcmp(data + CHECKPOINT_TRAILER_MAGIC_AT, CHECKPOINT_TRAILER_MAGIC, 8) != 0 ||
        le_load32(data + 44) != (uint32_t)sum64(data, 44))
        return -EBADMSG;
    out->sum = le_load64(data);
    memcpy(out->id, data + 16, CHECKPOINT_ID_BYTES);
    out->off = le_load64(data + 32);
    out->len = le_load32(data + 40);
    if (out->len < CHECKPOINT_MARK_BYTES || out->len > CHECKPOINT_MAX_BYTES ||
        out->off < BLOB_HEADER_BYTES || out->off > (uint64_t)INT64_MAX - out->len)
        return -EBADMSG;
    return 0;
}

bool checkpoint_frame_is_whole(const uint8_t *frame, const struct checkpoint_trailer *trailer)
{
    return le_load32(frame + 4) == trailer->len - FRAME_HEAD_BYTES &&
           sum64(frame, trailer->len - CHECKPOINT_TRAILER_BYTES) == trailer->sum;
}

void checkpoint_mark_write(const struct checkpoint_mark *mark,
                           const uint8_t id[CHECKPOINT_ID_BYTES], uint64_t off,
                           uint8_t frame[CHECKPOINT_MARK_BYTES])
{
    frame_head(frame, FRAME_MARK, CHECKPOINT_MARK_BYTES - FRAME_HEAD_BYTES);
    memcpy(frame + 8, KIND_MARK, KIND_BYTES);
    le_store64(frame + 16, mark->last);
    le_store64(frame + 24, mark->pending);
    trailer_write(frame, CHECKPOINT_MARK_BYTES, id, off);
}

int checkpoint_mark_parse(const uint8_t *frame, const struct checkpoint_trailer *trailer,
                          struct checkpoint_mark *out)
{
    if (trailer->len != CHECKPOINT_MARK_BYTES || le_load32(frame) != FRAME_MARK ||
        memcmp(frame + 8, KIND_MARK, KIND_BYTES) != 0)
        return -EBADMSG;
    out->last = le_load64(frame + 16);
    out->pending = le_load64(frame + 24);
    return out->last < trailer->off && out->pending < trailer->off ? 0 : -EBADMSG;
}

static uint64_t texts_bytes(const struct checkpoint *c)
{
    uint64_t n = 0;
    for (uint32_t i = c->first_pipeline; i < c->n_pipelines; i++)
        n += CHECKPOINT_TEXT_BYTES(strlen(c->pipelines[i]));
    return n;
}

size_t checkpoint_bytes(const struct checkpoint *c)
{
    uint64_t bytes = FIXED_BYTES + texts_bytes(c) + c->meta_len + (uint64_t)c->n_refs * REF_BYTES +
                     (uint64_t)c->n_removed * 8 + CHECKPOINT_TRAILER_BYTES;
    return bytes <= CHECKPOINT_MAX_BYTES ? (size_t)bytes : 0;
}

static void fixed_write(const struct checkpoint *c, uint8_t *at, size_t len)
{
    frame_head(at, FRAME_CHECKPOINT, (uint32_t)(len - FRAME_HEAD_BYTES));
    memcpy(at + 8, KIND_CHECKPOINT, KIND_BYTES);
    memcpy(at + 16, c->id, CHECKPOINT_ID_BYTES);
    le_store64(at + 32, c->off);
    le_store64(at + 40, c->prev);
    le_store64(at + 48, c->prev_sum);
    le_store64(at + 56, c->seq);
    le_store32(at + 64, c->chain);
    le_store32(at + 68, (c->meta ? FLAG_META : 0) | (c->unsynced ? FLAG_UNSYNCED : 0));
    le_store64(at + 72, c->size);
    le_store64(at + 80, (uint64_t)c->mtime.tv_sec);
    le_store32(at + 88, (uint32_t)c->mtime.tv_nsec);
    le_store32(at + 92, c->n_pipelines);
    le_store32(at + 96, c->first_pipeline);
    le_store32(at + 100, c->meta_len);
    le_store64(at + 104, c->totals.live);
    le_store64(at + 112, c->totals.provisional);
    le_store64(at + 120, c->totals.mapped);
    le_store64(at + 128, c->totals.n);
    le_store64(at + 136, c->digest);
    le_store64(at + 144, c->n_pages);
    le_store32(at + 152, c->n_refs);
    le_store32(at + 156, c->n_removed);
    le_store32(at + 160, (uint32_t)texts_bytes(c));
    le_store32(at + 164, 0);
}

static void ref_write(const struct page_ref *ref, uint8_t *at)
{
    le_store64(at, ref->low);
    le_store64(at + 8, ref->off);
    le_store32(at + 16, ref->len);
    le_store32(at + 20, (uint32_t)ref->totals.n);
    le_store64(at + 24, ref->sum);
    le_store64(at + 32, ref->totals.live);
    le_store64(at + 40, ref->totals.provisional);
    le_store64(at + 48, ref->totals.mapped);
}

uint64_t checkpoint_write(const struct checkpoint *c, uint8_t *frame, size_t len)
{
    fixed_write(c, frame, len);
    uint8_t *at = frame + FIXED_BYTES;
    for (uint32_t i = c->first_pipeline; i < c->n_pipelines; i++) {
        size_t n = strlen(c->pipelines[i]);
        le_store32(at, (uint32_t)n);
        memcpy(at + 4, c->pipelines[i], n);
        at += 4 + n;
    }
    if (c->meta_len > 0)
        memcpy(at, c->meta, c->meta_len);
    at += c->meta_len;
    for (uint32_t i = 0; i < c->n_refs; i++, at += REF_BYTES)
        ref_write(&c->refs[i], at);
    for (uint32_t i = 0; i < c->n_removed; i++, at += 8)
        le_store64(at, c->removed[i]);
    trailer_write(frame, len, c->id, c->off);
    return le_load64(at);
}

static void fixed_parse(const uint8_t *at, struct checkpoint *c)
{
    memcpy(c->id, at + 16, CHECKPOINT_ID_BYTES);
    c->off = le_load64(at + 32);
    c->prev = le_load64(at + 40);
    c->prev_sum = le_load64(at + 48);
    c->seq = le_load64(at + 56);
    c->chain = le_load32(at + 64);
    c->size = le_load64(at + 72);
    c->mtime.tv_sec = (time_t)le_load64(at + 80);
    c->mtime.tv_nsec = le_load32(at + 88);
    c->n_pipelines = le_load32(at + 92);
    c->first_pipeline = le_load32(at + 96);
    c->meta_len = le_load32(at + 100);
    c->totals.live = le_load64(at + 104);
    c->totals.provisional = le_load64(at + 112);
    c->totals.mapped = le_load64(at + 120);
    c->totals.n = le_load64(at + 128);
    c->digest = le_load64(at + 136);
    c->n_pages = le_load64(at + 144);
    c->n_refs = le_load32(at + 152);
    c->n_removed = le_load32(at + 156);
    c->texts_len = le_load32(at + 160);
}

static bool fixed_is_valid(const struct checkpoint *c, uint32_t flags, uint32_t reserved)
{
    if (flags & ~(uint32_t)(FLAG_META | FLAG_UNSYNCED) || reserved != 0 ||
        (!(flags & FLAG_META) && c->meta_len != 0))
        return false;
    if (c->prev >= c->off || c->size > INT64_MAX || c->mtime.tv_nsec > CHECKPOINT_MAX_NSEC)
        return false;
    if (c->chain > CHECKPOINT_MAX_CHAIN || c->meta_len >= BLOB_MAX_META)
        return false;
    if (c->n_pipelines > BLOB_MAX_PIPELINES || c->first_pipeline > c->n_pipelines ||
        c->texts_len > CHECKPOINT_MAX_TEXTS)
        return false;
    if (c->chain == 0)
        return c->first_pipeline == 0 && c->n_removed == 0 && c->n_pages == c->n_refs &&
               (flags & FLAG_META);
    return c->prev != 0;
}

static bool texts_are_valid(const struct checkpoint *c)
{
    uint32_t at = 0, len;
    for (uint32_t i = c->first_pipeline; i < c->n_pipelines; i++) {
        const char *text = checkpoint_text(c, &at, &len);
        if (!text || len > CHECKPOINT_MAX_TEXT || memchr(text, 0, len))
            return false;
    }
    return at == c->texts_len;
}

static bool refs_are_valid(const struct checkpoint *c)
{
    struct page_ref before = {0};
    for (uint32_t i = 0; i < c->n_refs; i++) {
        struct page_ref ref = checkpoint_ref(c, i);
        if (i > 0 && ref.low <= before.low)
            return false;
        if (ref.low > INT64_MAX || ref.totals.n == 0 || ref.totals.n > PAGE_RECORDS ||
            ref.len <= PAGE_HEAD_BYTES || ref.len > PAGE_MAX_BYTES)
            return false;
        if (ref.off < BLOB_HEADER_BYTES || ref.off > c->off || ref.len > c->off - ref.off)
            return false;
        before = ref;
    }
    return true;
}

int checkpoint_parse(const uint8_t *frame, const struct checkpoint_trailer *trailer,
                     struct checkpoint *out)
{
    struct checkpoint c = {0};
    if (le_load32(frame) != FRAME_CHECKPOINT || memcmp(frame + 8, KIND_CHECKPOINT, KIND_BYTES - 1))
        return -EBADMSG;
    if (frame[8 + KIND_BYTES - 1] != (uint8_t)KIND_CHECKPOINT[KIND_BYTES - 1])
        return -ENOTSUP;
    if (trailer->len < FIXED_BYTES + CHECKPOINT_TRAILER_BYTES)
        return -EBADMSG;
    fixed_parse(frame, &c);
    if (memcmp(c.id, trailer->id, sizeof(c.id)) != 0 || c.off != trailer->off ||
        !fixed_is_valid(&c, le_load32(frame + 68), le_load32(frame + 164)))
        return -EBADMSG;
    uint64_t bytes = (uint64_t)FIXED_BYTES + c.texts_len + c.meta_len +
                     (uint64_t)c.n_refs * REF_BYTES + (uint64_t)c.n_removed * 8 +
                     CHECKPOINT_TRAILER_BYTES;
    if (bytes != trailer->len)
        return -EBADMSG;

    c.unsynced = le_load32(frame + 68) & FLAG_UNSYNCED;
    c.texts_at = frame + FIXED_BYTES;
    if (le_load32(frame + 68) & FLAG_META)
        c.meta = (const char *)c.texts_at + c.texts_len;
    c.refs_at = c.texts_at + c.texts_len + c.meta_len;
    c.removed_at = c.refs_at + (size_t)c.n_refs * REF_BYTES;
    if (!texts_are_valid(&c) || !refs_are_valid(&c) ||
        (c.meta_len > 0 && memchr(c.meta, 0, c.meta_len)))
        return -EBADMSG;
    *out = c;
    return 0;
}

struct page_ref checkpoint_ref(const struct checkpoint *c, uint32_t i)
{
    const uint8_t *at = c->refs_at + (size_t)i * REF_BYTES;
    return (struct page_ref){
        .low = le_load64(at),
        .off = le_load64(at + 8),
        .len = le_load32(at + 16),
        .sum = le_load64(at + 24),
        .totals = {.n = le_load32(at + 20),
                   .live = le_load64(at + 32),
                   .provisional = le_load64(at + 40),
                   .mapped = le_load64(at + 48)},
    };
}

uint64_t checkpoint_removed(const struct checkpoint *c, uint32_t i)
{
    return le_load64(c->removed_at + (size_t)i * 8);
}

const char *checkpoint_text(const struct checkpoint *c, uint32_t *at, uint32_t *len)
{
    if (c->texts_len - *at < 4)
        return NULL;
    *len = le_load32(c->texts_at + *at);
    *at += 4;
    if (*len > c->texts_len - *at)
        return NULL;
    const char *text = (const char *)c->texts_at + *at;
    *at += *len;
    return text;
}
