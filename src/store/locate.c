/* A search goes window by window towards the front, through the trailers in a window from the last
 * to the first. A trailer costs a comparison; only one that is whole, ours by id and at its own
 * offset has its frame read. What it leads to (a mark's checkpoints, a chain, the previous
 * checkpoint of a broken one) is read too. All these reads draw on one budget, so that trailers
 * that lie cannot make it long. */
#include "store/locate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "base/sum.h"
#include "store/frame.h"

#define WINDOW_FIRST  (64u << 10)    /* bytes: a checkpoint that ends the file, in one read */
#define WINDOW        (4u << 20)     /* bytes: what a search reads at a time after that */
#define BUDGET_MIN    (256ull << 20) /* two chains as long as they may be */
#define BUDGET_MAX    (1ull << 30)
#define BUDGET_READ   4096u /* the least a read is counted as */
#define OUT_OF_BUDGET (-EOVERFLOW)
/* A directory put together is counted as this part of its bytes, once a checkpoint has come to nothing:
 * a chain is as much work for each record as its full one is long. */
#define BUDGET_WORK 8u

struct search {
    const struct locate_file *file;
    const uint8_t *id;
    uint64_t budget;
    uint64_t below; /* checkpoints from here on are known to rest on damage */
    bool passed_over;
};

/* A checkpoint in memory. */
struct loaded {
    uint8_t *frame;
    uint32_t len;
    uint64_t sum;
    struct checkpoint checkpoint;
};

static void loaded_clear(struct loaded *loaded)
{
    free(loaded->frame);
    *loaded = (struct loaded){0};
}

void located_clear(struct located *located)
{
    directory_clear(&located->directory);
    for (uint32_t i = 0; i < located->n_pipelines; i++)
        free(located->pipelines[i]);
    free(located->meta);
    *located = (struct located){0};
}

/* What only says that this place holds no checkpoint. Everything else ends the search: taking an
 * older state because of it could cost the newer one. */
static bool is_damage(int r)
{
    return r == -EBADMSG || r == -ENODATA;
}

static int read_at(struct search *s, void *buf, size_t len, uint64_t off)
{
    uint64_t cost = len > BUDGET_READ ? len : BUDGET_READ;
    if (cost > s->budget)
        return OUT_OF_BUDGET;
    s->budget -= cost;
    int r = io_pread_exact(s->file->io, s->file->fd, buf, len, off);
    return r == -EIO && s->file->skip_bad_sectors ? -EBADMSG : r;
}

static bool is_ours(const struct search *s, const struct checkpoint_trailer *trailer, uint64_t at)
{
    return trailer->off + trailer->len == at + CHECKPOINT_TRAILER_BYTES &&
           (!s->id || memcmp(trailer->id, s->id, CHECKPOINT_ID_BYTES) == 0);
}

/* Reads the frame that a trailer speaks of and checks its sum. */
static int read_frame(struct search *s, const struct checkpoint_trailer *trailer, uint8_t **frame)
{
    if (trailer->len > s->budget)
        return OUT_OF_BUDGET;
    uint8_t *data = malloc(trailer->len);
    if (!data)
        return -ENOMEM;
    int r = read_at(s, data, trailer->len, trailer->off);
    if (r >= 0 && !checkpoint_frame_is_whole(data, trailer))
        r = -EBADMSG;
    if (r < 0) {
        free(data);
        return r;
    }
    *frame = data;
    return 0;
}

static int parse_loaded(const struct checkpoint_trailer *trailer, uint8_t *frame,
                        struct loaded *out)
{
    *out = (struct loaded){.frame = frame, .len = trailer->len, .sum = trailer->sum};
    int r = checkpoint_parse(frame, trailer, &out->checkpoint);
    if (r < 0)
        loaded_clear(out);
    return r;
}

/* Loads the checkpoint whose frame starts at `off`. */
static int load_at(struct search *s, uint64_t off, struct loaded *out)
{
    uint8_t head[FRAME_HEAD_BYTES], tail[CHECKPOINT_TRAILER_BYTES], *frame;
    struct checkpoint_trailer trailer;
    if (off < BLOB_HEADER_BYTES || off > s->file->bytes)
        return -EBADMSG;
    int r = read_at(s, head, sizeof(head), off);
    if (r < 0)
        return r;
    uint64_t len = (uint64_t)le_load32(head + 4) + FRAME_HEAD_BYTES;
    if (le_load32(head) != FRAME_CHECKPOINT || len > CHECKPOINT_MAX_BYTES ||
        len < CHECKPOINT_TRAILER_BYTES)
        return -EBADMSG;
    uint64_t at = off + len - CHECKPOINT_TRAILER_BYTES;
    r = read_at(s, tail, sizeof(tail), at);
    if (r < 0)
        return r;
    if (checkpoint_trailer_parse(tail, &trailer) < 0 || trailer.off != off ||
        !is_ours(s, &trailer, at))
        return -EBADMSG;
    r = read_frame(s, &trailer, &frame);
    return r < 0 ? r : parse_loaded(&trailer, frame, out);
}

struct chain {
    struct loaded records[CHECKPOINT_MAX_CHAIN + 1]; /* newest first */
    uint32_t n;
    uint64_t bytes;
};

static void chain_clear(struct chain *chain)
{
    for (uint32_t i = 0; i < chain->n; i++)
        loaded_clear(&chain->records[i]);
    chain->n = 0;
}

static bool follows(const struct loaded *before, const struct loaded *after)
{
    const struct checkpoint *b = &before->checkpoint, *a = &after->checkpoint;
    return before->sum == a->prev_sum && b->chain + 1 == a->chain && b->seq < a->seq &&
           b->off + before->len <= a->off && b->n_pipelines == a->first_pipeline &&
           memcmp(b->id, a->id, sizeof(a->id)) == 0;
}

/* Loads the records below chain->records[0] down to a full one. */
static int load_chain(struct search *s, struct chain *chain)
{
    for (;;) {
        struct loaded *last = &chain->records[chain->n - 1];
        if (last->checkpoint.chain == 0)
            return 0;
        chain->bytes += last->len;
        if (chain->n > CHECKPOINT_MAX_CHAIN || chain->bytes > CHECKPOINT_MAX_CHAIN_BYTES)
            return -EBADMSG;
        struct loaded *next = &chain->records[chain->n];
        int r = load_at(s, last->checkpoint.prev, next);
        if (r < 0)
            return r;
        chain->n++;
        if (!follows(next, last))
            return -EBADMSG;
    }
}

static int take_texts(const struct checkpoint *c, struct located *out)
{
    uint32_t at = 0, len;
    for (uint32_t i = c->first_pipeline; i < c->n_pipelines; i++) {
        const char *text = checkpoint_text(c, &at, &len);
        out->pipelines[i] = strndup(text, len);
        if (!out->pipelines[i])
            return -ENOMEM;
        out->n_pipelines = i + 1;
    }
    return 0;
}

static int pay_for_work(struct search *s, uint64_t n_refs)
{
    uint64_t cost = n_refs * sizeof(struct page_ref) / BUDGET_WORK;
    if (!s->passed_over)
        return 0;
    if (cost > s->budget)
        return OUT_OF_BUDGET;
    s->budget -= cost;
    return 0;
}

static int take_record(struct search *s, const struct checkpoint *c, struct located *out)
{
    int r = pay_for_work(s, out->directory.n + c->n_refs);
    if (r >= 0)
        r = take_texts(c, out);
    if (r < 0)
        return r;
    if (c->meta) {
        free(out->meta);
        out->meta = strndup(c->meta, c->meta_len);
        if (!out->meta)
            return -ENOMEM;
    }
    return directory_apply(&out->directory, c);
}

static int take_chain(struct search *s, const struct chain *chain, struct located *out)
{
    for (uint32_t i = chain->n; i-- > 0;) {
        int r = take_record(s, &chain->records[i].checkpoint, out);
        if (r < 0)
            return r;
    }
    const struct loaded *newest = &chain->records[0];
    const struct checkpoint *c = &newest->checkpoint;
    memcpy(out->id, c->id, sizeof(out->id));
    out->off = c->off;
    out->end = c->off + newest->len;
    out->sum = newest->sum;
    out->seq = c->seq;
    out->size = c->size;
    out->digest = c->digest;
    out->chain = c->chain;
    out->chain_bytes = chain->bytes;
    out->mtime = c->mtime;
    out->totals = c->totals;

    uint64_t digest;
    int r = directory_digest(out->directory.refs, out->directory.n, &digest);
    if (r >= 0 && digest != c->digest)
        r = -EBADMSG;
    return r;
}

/* Whether the pages that came with a record are there, where the record does not vouch for it. */
static int check_pages(struct search *s, const struct checkpoint *c)
{
    uint8_t frame[PAGE_MAX_BYTES];
    for (uint32_t i = 0; c->unsynced && i < c->n_refs; i++) {
        struct page_ref ref = checkpoint_ref(c, i);
        if (ref.off < c->prev)
            continue;
        int r = read_at(s, frame, ref.len, ref.off);
        if (r < 0)
            return r;
        if (sum64(frame, ref.len) != ref.sum)
            return -EBADMSG;
    }
    return 0;
}

/* Takes what a checkpoint describes; it is consumed. On damage *next is the one to try instead. */
static int take(struct search *s, struct loaded *newest, struct located *out, uint64_t *next)
{
    struct chain *chain = calloc(1, sizeof(*chain));
    if (!chain) {
        loaded_clear(newest);
        return -ENOMEM;
    }
    chain->records[0] = *newest;
    chain->n = 1;
    *newest = (struct loaded){0};
    *next = chain->records[0].checkpoint.prev;
    int r = load_chain(s, chain);
    if (r >= 0) {
        r = take_chain(s, chain, out);
        if (r >= 0)
            r = check_pages(s, &chain->records[0].checkpoint);
    } else {
        /* all of these rest on the last one, or on what could not be loaded below it */
        s->below = chain->records[chain->n - 1].checkpoint.off;
        *next = chain->n > 1 ? s->below : 0;
    }
    chain_clear(chain);
    free(chain);
    if (r < 0)
        located_clear(out);
    return r;
}

/* A checkpoint, and where what it rests on is damaged an earlier one. Consumed. */
static int take_or_earlier(struct search *s, struct loaded *newest, struct located *out)
{
    struct loaded candidate = *newest;
    *newest = (struct loaded){0};
    for (;;) {
        uint64_t next;
        int r = take(s, &candidate, out, &next);
        if (r >= 0 || !is_damage(r))
            return r;
        s->passed_over = true;
        r = next ? load_at(s, next, &candidate) : -EBADMSG;
        if (r < 0)
            return r;
    }
}

static int take_at(struct search *s, uint64_t off, struct located *out)
{
    struct loaded candidate;
    int r = off ? load_at(s, off, &candidate) : -EBADMSG;
    return r < 0 ? r : take_or_earlier(s, &candidate, out);
}

/* 0: found; damage: there is nothing in this one. */
static int try_trailer(struct search *s, const uint8_t *data, uint64_t at, struct located *out)
{
    struct checkpoint_trailer trailer;
    struct checkpoint_mark mark;
    struct loaded candidate;
    uint8_t *frame;
    int r = checkpoint_trailer_parse(data, &trailer);
    if (r < 0 || !is_ours(s, &trailer, at))
        return -EBADMSG;
    r = read_frame(s, &trailer, &frame);
    if (r < 0)
        return r;
    if (checkpoint_mark_parse(frame, &trailer, &mark) >= 0) {
        free(frame);
        r = take_at(s, mark.pending, out);
        return is_damage(r) ? take_at(s, mark.last, out) : r;
    }
    r = parse_loaded(&trailer, frame, &candidate);
    return r < 0 ? r : take_or_earlier(s, &candidate, out);
}

/* Every trailer that lies in data[0 .. len), which is the file from `off` on, last one first. */
static int try_window(struct search *s, const uint8_t *data, size_t len, uint64_t off,
                      struct located *out)
{
    const uint8_t first = (uint8_t)CHECKPOINT_TRAILER_MAGIC[0];
    size_t end = len < CHECKPOINT_TRAILER_BYTES
                     ? 0
                     : len - CHECKPOINT_TRAILER_BYTES + CHECKPOINT_TRAILER_MAGIC_AT + 1;
    const uint8_t *at;
    while ((at = memrchr(data, first, end))) {
        size_t pos = (size_t)(at - data);
        if (pos < CHECKPOINT_TRAILER_MAGIC_AT)
            break;
        end = pos;
        if (memcmp(at, CHECKPOINT_TRAILER_MAGIC, 8) != 0)
            continue;
        size_t start = pos - CHECKPOINT_TRAILER_MAGIC_AT;
        if (off + start >= s->below)
            continue;
        int r = try_trailer(s, data + start, off + start, out);
        if (r >= 0 || !is_damage(r))
            return r;
    }
    return -ENODATA;
}

/* A window is read with the bytes behind it, so that a trailer that lies across its end is seen
 * once. */
static int read_window(const struct search *s, uint8_t *buf, size_t len, uint64_t off)
{
    const struct locate_file *file = s->file;
    ssize_t r = io_pread_full(file->io, file->fd, buf, len, off);
    if (r == -EIO && file->skip_bad_sectors)
        r = 0;
    if (r < 0)
        return (int)r;
    /* a file that shrinks meanwhile, or a bad sector: no trailer there */
    memset(buf + r, 0, len - (size_t)r);
    return 0;
}

static int scan(struct search *s, uint8_t *buf, struct located *out)
{
    uint64_t bytes = s->file->bytes, limit = s->id ? LOCATE_SCAN_MAX : LOCATE_SCAN_UNKNOWN;
    uint64_t pos = bytes, window = WINDOW_FIRST, scanned = 0;
    while (pos > BLOB_HEADER_BYTES && scanned < limit) {
        uint64_t lo = pos - BLOB_HEADER_BYTES > window ? pos - window : BLOB_HEADER_BYTES;
        uint64_t hi = pos + CHECKPOINT_TRAILER_BYTES - 1;
        if (hi > bytes)
            hi = bytes;
        int r = read_window(s, buf, (size_t)(hi - lo), lo);
        if (r < 0)
            return r;
        r = try_window(s, buf, (size_t)(hi - lo), lo, out);
        if (r >= 0 || !is_damage(r))
            return r;
        scanned += hi - lo;
        pos = lo < s->below ? lo : s->below;
        window = WINDOW;
    }
    return -ENODATA;
}

int locate_last(const struct locate_file *file, const uint8_t *id, struct located *out)
{
    *out = (struct located){0};
    struct search s = {
        .file = file,
        .id = id,
        .budget = BUDGET_MIN + (file->bytes < BUDGET_MAX ? file->bytes : BUDGET_MAX),
        .below = UINT64_MAX,
    };
    size_t window = file->bytes < WINDOW ? (size_t)file->bytes : WINDOW;
    uint8_t *buf = malloc(window + CHECKPOINT_TRAILER_BYTES);
    if (!buf)
        return -ENOMEM;
    int r = scan(&s, buf, out);
    free(buf);
    if (r >= 0)
        out->passed_over = s.passed_over;
    return r == OUT_OF_BUDGET ? -ENODATA : r;
}
