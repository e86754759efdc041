/* How a checkpoint comes about:
 *
 *   snapshot (lock) -> changed pages appended -> fdatasync -> record appended -> fdatasync ->
 * published (lock)
 *
 * so that whoever finds a record whole finds everything it speaks of on the disk. Under
 * BLOB_NO_SYNC the record says that its pages may not be there, and a reader looks at them before
 * it believes it.
 *
 * Nothing is believed of a checkpoint that failed: pages stay dirty, the next record rests on the
 * one before. After a failed sync nothing is believed of what was written since the last good one:
 * pages there are written again, chunks there are read, verified and written again in place, and
 * the next record is a full one. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sum.h"
#include "store/blob_impl.h"

/* Pages are appended in pieces of this size, so that chunks come in between. */
#define BATCH_BYTES (256u << 10)

/* ---- syncing ---- */

void publish_distrust(struct blob *blob)
{
    if (blob->suspect_to == 0 || blob->synced < blob->suspect_from)
        blob->suspect_from = blob->synced;
    if (blob->end > blob->suspect_to)
        blob->suspect_to = blob->end;
    table_distrust(blob->table, blob->synced);
    blob->force_full = true;
    blob->unsynced = true;
    blob->n_distrusts++;
}

int publish_sync(struct blob *blob)
{
    pthread_mutex_lock(&blob->lock);
    uint64_t synced = blob->end;
    for (const struct blob_room *room = blob->rooms; room; room = room->next)
        if (room->off < synced)
            synced = room->off;
    blob->unsynced = false;
    pthread_mutex_unlock(&blob->lock);

    int r = blob->io->fdatasync(blob->io, blob->fd);

    pthread_mutex_lock(&blob->lock);
    if (r < 0)
        publish_distrust(blob);
    else if (synced > blob->synced)
        blob->synced = synced;
    pthread_mutex_unlock(&blob->lock);
    return r;
}

void blob_sync_failed(struct blob *blob)
{
    pthread_mutex_lock(&blob->lock);
    publish_distrust(blob);
    pthread_mutex_unlock(&blob->lock);
}

/* ---- birth ---- */

int publish_birth(struct blob *blob)
{
    struct checkpoint birth = {.meta = ""};
    memcpy(birth.id, blob->id, sizeof(birth.id));
    int r = directory_digest(NULL, 0, &birth.digest);
    if (r < 0)
        return r;
    uint8_t frame[CHECKPOINT_EMPTY_BYTES];
    size_t len = checkpoint_bytes(&birth);
    assert(len == sizeof(frame));
    struct blob_room room;
    pthread_mutex_lock(&blob->lock);
    r = blob_reserve(blob, len, &room);
    pthread_mutex_unlock(&blob->lock);
    if (r < 0)
        return r;
    birth.off = room.off;
    uint64_t sum = checkpoint_write(&birth, frame, len);
    r = blob_fill(blob, &room, 0, frame, len);

    pthread_mutex_lock(&blob->lock);
    blob_leave(blob, &room, r >= 0);
    if (r >= 0) {
        blob->born = true;
        blob->last.off = room.off;
        blob->last.end = room.off + room.len;
        blob->last.sum = sum;
        blob->last.digest = birth.digest;
    }
    pthread_mutex_unlock(&blob->lock);
    return r;
}

/* ---- chunks after a failed sync ---- */

static int rewrite_range(struct blob *blob, void *buf, uint32_t len, uint64_t off)
{
    int r = io_pread_exact(blob->io, blob->fd, buf, len, off);
    return r < 0 ? r : io_pwrite_full(blob->io, blob->fd, buf, len, off);
}

static int rewrite_split(struct blob *blob, const struct blob_chunk *chunk, void *buf)
{
    struct blob_part parts[BLOB_MAX_PARTS];
    int n = blob_read_parts(blob, chunk, parts);
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        int r = rewrite_range(blob, buf, parts[i].len, parts[i].off);
        if (r < 0)
            return r;
    }
    uint8_t frame[BLOB_PARTS_BYTES(BLOB_MAX_PARTS)];
    return rewrite_range(blob, frame, BLOB_PARTS_BYTES((unsigned)n), chunk->coded_off);
}

/* Nobody else writes where a committed chunk lies. */
static int rewrite_chunk(struct blob *blob, const struct blob_chunk *chunk)
{
    void *buf = malloc(chunk->coded_len);
    if (!buf)
        return -ENOMEM;
    int r = blob_read(blob, chunk, buf);
    if (r >= 0 && chunk->flags & BLOB_SPLIT)
        r = rewrite_split(blob, chunk, buf);
    else if (r >= 0)
        r = io_pwrite_full(blob->io, blob->fd, buf, chunk->coded_len, chunk->coded_off);
    free(buf);
    return r == -EBADMSG || r == -ENODATA ? -EIO : r;
}

static int rewrite_suspects(struct blob *blob, const struct table_snapshot *snapshot)
{
    pthread_mutex_lock(&blob->lock);
    uint64_t from = blob->suspect_from, to = blob->suspect_to;
    pthread_mutex_unlock(&blob->lock);
    if (to == 0)
        return 0;
    uint64_t done = 0;
    for (size_t i = 0; i < snapshot->n_pages; i++) {
        const struct snapshot_page *page = &snapshot->pages[i];
        for (unsigned k = 0; page->records && k < page->ref.totals.n; k++) {
            const struct blob_chunk *chunk = &snapshot_records(page)[k].chunk;
            /* parts lie before their list */
            bool suspect = chunk->coded_off < to || chunk->flags & BLOB_SPLIT;
            if (chunk->coded_off < from || !suspect || chunk->coded_off == done)
                continue;
            int r = rewrite_chunk(blob, chunk);
            if (r < 0)
                return r;
            done = chunk->coded_off;
        }
    }
    return 0;
}

/* ---- pages ---- */

struct batch {
    struct page_coder *coder;
    uint8_t *data;
    size_t len;
    size_t first; /* page of the snapshot that data begins with */
};

/* Appends what is in the batch; the pages [first, end) that lie there learn where. */
static int flush(struct blob *blob, struct batch *batch, struct table_snapshot *snapshot,
                 size_t end)
{
    if (batch->len == 0)
        return 0;
    struct blob_room room;
    pthread_mutex_lock(&blob->lock);
    int r = blob_reserve(blob, batch->len, &room);
    pthread_mutex_unlock(&blob->lock);
    if (r < 0)
        return r;
    r = blob_fill(blob, &room, 0, batch->data, batch->len);
    pthread_mutex_lock(&blob->lock);
    blob_leave(blob, &room, r >= 0);
    pthread_mutex_unlock(&blob->lock);

    uint64_t off = room.off;
    for (size_t i = batch->first; i < end; i++) {
        if (!snapshot->pages[i].records)
            continue;
        snapshot->pages[i].ref.off = off;
        off += snapshot->pages[i].ref.len;
    }
    batch->len = 0;
    batch->first = end;
    return r;
}

static int append_pages(struct blob *blob, struct batch *batch, struct table_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->n_pages; i++) {
        struct snapshot_page *page = &snapshot->pages[i];
        if (!page->records)
            continue;
        uint8_t *frame = batch->data + batch->len;
        ssize_t len =
            page_write(batch->coder, snapshot_records(page), (unsigned)page->ref.totals.n, frame);
        if (len < 0)
            return (int)len;
        page->ref.len = (uint32_t)len;
        page->ref.sum = sum64(frame, (size_t)len);
        batch->len += (size_t)len;
        if (batch->len >= BATCH_BYTES) {
            int r = flush(blob, batch, snapshot, i + 1);
            if (r < 0)
                return r;
        }
    }
    return flush(blob, batch, snapshot, snapshot->n_pages);
}

static int write_pages(struct blob *blob, struct table_snapshot *snapshot)
{
    if (snapshot->n_changed == 0)
        return 0;
    int r;
    struct batch batch = {.coder = blob_take_coder(blob, &r)};
    if (!batch.coder)
        return r;
    batch.data = malloc(BATCH_BYTES + PAGE_MAX_BYTES);
    r = batch.data ? append_pages(blob, &batch, snapshot) : -ENOMEM;
    free(batch.data);
    blob_give_coder(blob, &batch.coder);
    return r;
}

/* ---- the record ---- */

/* A record on its way: what it takes from the blob under the lock, and its own memory. */
struct draft {
    struct checkpoint checkpoint;
    struct page_ref *refs; /* all, then those that changed */
    char *meta;
    uint8_t *frame;
    size_t len;
};

static void draft_clear(struct draft *draft)
{
    free(draft->refs);
    free(draft->meta);
    free(draft->frame);
    *draft = (struct draft){0};
}

static int take_refs(struct draft *draft, const struct table_snapshot *snapshot)
{
    size_t n = snapshot->n_pages, changed = 0;
    struct page_ref *refs = calloc(n + snapshot->n_changed + 1, sizeof(*refs));
    if (!refs)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        refs[i] = snapshot->pages[i].ref;
        if (snapshot->pages[i].records)
            refs[n + changed++] = refs[i];
    }
    draft->refs = refs;
    draft->checkpoint.n_pages = n;
    draft->checkpoint.totals = snapshot->totals;
    return directory_digest(refs, n, &draft->checkpoint.digest);
}

static void make_delta(const struct blob_last *last, const struct table_snapshot *snapshot,
                       bool meta_changed, struct draft *draft)
{
    struct checkpoint *c = &draft->checkpoint;
    c->chain = last->chain + 1;
    c->refs = draft->refs + snapshot->n_pages;
    c->n_refs = (uint32_t)snapshot->n_changed;
    c->removed = snapshot->removed;
    c->n_removed = (uint32_t)snapshot->n_removed;
    c->first_pipeline = last->n_pipelines;
    c->meta = meta_changed ? draft->meta : NULL;
    c->meta_len = meta_changed ? (uint32_t)strlen(draft->meta) : 0;
}

static void make_full(const struct table_snapshot *snapshot, struct draft *draft)
{
    struct checkpoint *c = &draft->checkpoint;
    c->chain = 0;
    c->refs = draft->refs;
    c->n_refs = (uint32_t)snapshot->n_pages;
    c->removed = NULL;
    c->n_removed = 0;
    c->first_pipeline = 0;
    c->meta = draft->meta;
    c->meta_len = (uint32_t)strlen(draft->meta);
}

/* A full directory where it is asked for, where there is nothing to build on, and where the records
 * since the last one have become larger or more than reading them is worth. */
static void choose_form(const struct blob_last *last, const struct table_snapshot *snapshot,
                        bool full, struct draft *draft)
{
    make_full(snapshot, draft);
    size_t full_bytes = checkpoint_bytes(&draft->checkpoint);
    if (full || last->off == 0 || last->seq == 0 || last->chain >= CHECKPOINT_MAX_CHAIN)
        return;
    make_delta(last, snapshot, strcmp(last->meta, draft->meta) != 0, draft);
    size_t bytes = checkpoint_bytes(&draft->checkpoint);
    if (bytes == 0 || last->chain_bytes + bytes > full_bytes)
        make_full(snapshot, draft);
}

static int make_draft(struct blob *blob, const struct blob_state *state, unsigned flags,
                      const struct table_snapshot *snapshot, struct draft *draft)
{
    struct checkpoint *c = &draft->checkpoint;
    draft->meta = strdup(state->meta);
    if (!draft->meta)
        return -ENOMEM;
    int r = take_refs(draft, snapshot);
    if (r < 0)
        return r;
    memcpy(c->id, blob->id, sizeof(c->id));
    c->size = state->size;
    c->mtime = state->mtime;
    c->unsynced = flags & BLOB_NO_SYNC;

    pthread_mutex_lock(&blob->lock);
    c->prev = blob->last.off;
    c->prev_sum = blob->last.sum;
    c->seq = blob->last.seq + 1;
    c->n_pipelines = blob->n_pipelines;
    c->pipelines = (const char *const *)blob->pipelines;
    choose_form(&blob->last, snapshot, flags & BLOB_FULL || blob->force_full, draft);
    draft->len = checkpoint_bytes(c);
    pthread_mutex_unlock(&blob->lock);
    if (draft->len == 0)
        return -EFBIG;
    draft->frame = malloc(draft->len);
    return draft->frame ? 0 : -ENOMEM;
}

/* Writes the record. From its reservation until it is published or dead, marks name it as pending.
 */
static int write_record(struct blob *blob, struct draft *draft, uint64_t *sum)
{
    struct blob_room room;
    pthread_mutex_lock(&blob->lock);
    int r = blob_reserve(blob, draft->len, &room);
    if (r >= 0)
        blob->pending = room.off;
    pthread_mutex_unlock(&blob->lock);
    if (r < 0)
        return r;
    draft->checkpoint.off = room.off;
    *sum = checkpoint_write(&draft->checkpoint, draft->frame, draft->len);
    r = blob_fill(blob, &room, 0, draft->frame, draft->len);
    pthread_mutex_lock(&blob->lock);
    blob_leave(blob, &room, r >= 0);
    pthread_mutex_unlock(&blob->lock);
    return r;
}

/* lock held */
static void note_published(struct blob *blob, struct draft *draft, uint64_t sum)
{
    const struct checkpoint *c = &draft->checkpoint;
    struct blob_last *last = &blob->last;
    free(last->meta);
    *last = (struct blob_last){
        .off = c->off,
        .end = c->off + draft->len,
        .sum = sum,
        .seq = c->seq,
        .chain_bytes = c->chain ? last->chain_bytes + draft->len : 0,
        .digest = c->digest,
        .size = c->size,
        .chain = c->chain,
        .n_pipelines = c->n_pipelines,
        .mtime = c->mtime,
        .meta = draft->meta,
    };
    draft->meta = NULL;
    blob->born = true;
    if (c->chain == 0)
        blob->force_full = false;
}

/* ---- all of it ---- */

static int publish_snapshot(struct blob *blob, const struct blob_state *state, unsigned flags,
                            struct table_snapshot *snapshot, struct draft *draft, uint64_t *sum)
{
    int r = rewrite_suspects(blob, snapshot);
    if (r >= 0)
        r = write_pages(blob, snapshot);
    if (r >= 0 && !(flags & BLOB_NO_SYNC))
        r = publish_sync(blob);
    if (r >= 0)
        r = make_draft(blob, state, flags, snapshot, draft);
    if (r >= 0)
        r = write_record(blob, draft, sum);
    if (r >= 0 && !(flags & BLOB_NO_SYNC))
        r = publish_sync(blob);
    return r;
}

/* Pages that are to be written again must be here for it. */
static int take_snapshot(struct blob *blob, struct table_snapshot *snapshot)
{
    for (;;) {
        struct page_ref ref;
        uint64_t high;
        pthread_mutex_lock(&blob->lock);
        bool missing = table_missing_dirty(blob->table, &ref, &high);
        int r = missing ? 0 : table_snapshot(blob->table, snapshot);
        pthread_mutex_unlock(&blob->lock);
        if (missing)
            r = blob_load_page(blob, &ref, high);
        if (r < 0 || !missing)
            return r;
    }
}

static int publish(struct blob *blob, const struct blob_state *state, unsigned flags)
{
    struct table_snapshot snapshot;
    struct draft draft = {0};
    uint64_t sum = 0;
    pthread_mutex_lock(&blob->lock);
    uint64_t n_distrusts = blob->n_distrusts;
    pthread_mutex_unlock(&blob->lock);
    int r = take_snapshot(blob, &snapshot);
    if (r < 0)
        return r;
    r = publish_snapshot(blob, state, flags, &snapshot, &draft, &sum);
    pthread_mutex_lock(&blob->lock);
    if (r >= 0 && blob->n_distrusts != n_distrusts)
        r = -EIO;
    if (r >= 0)
        note_published(blob, &draft, sum);
    table_snapshot_end(blob->table, &snapshot, r >= 0);
    blob->pending = 0;
    pthread_mutex_unlock(&blob->lock);
    draft_clear(&draft);
    return r;
}

struct change {
    bool any;   /* a record is due */
    bool bytes; /* of the plain file, not only what is said of it */
    bool unsynced, upstream;
};

static struct change what_changed(struct blob *blob, const struct blob_state *state, unsigned flags)
{
    pthread_mutex_lock(&blob->lock);
    const struct blob_last *last = &blob->last;
    struct change change = {
        .bytes = table_is_dirty(blob->table) || state->size != last->size,
        .unsynced = blob->unsynced,
        .upstream = blob->header.upstream,
    };
    change.any =
        change.bytes || last->seq == 0 || blob->force_full ||
        (flags & BLOB_FULL && last->chain != 0) || state->mtime.tv_sec != last->mtime.tv_sec ||
        state->mtime.tv_nsec != last->mtime.tv_nsec || strcmp(state->meta, last->meta) != 0;
    pthread_mutex_unlock(&blob->lock);
    return change;
}

static int checkpoint_in_turn(struct blob *blob, const struct blob_state *state, unsigned flags)
{
    struct change change = what_changed(blob, state, flags);
    if (!change.any)
        return change.unsynced && !(flags & BLOB_NO_SYNC) ? publish_sync(blob) : 0;
    if (change.bytes && change.upstream) {
        struct blob_header header;
        blob_header(blob, &header);
        header.upstream = false;
        int r = blob_put_header(blob, &header, true);
        if (r < 0)
            return r;
    }
    return publish(blob, state, flags);
}

int blob_checkpoint(struct blob *blob, const struct blob_state *state, unsigned flags)
{
    if (!blob->writable)
        return -EROFS;
    if (state->size > INT64_MAX || strlen(state->meta) >= BLOB_MAX_META ||
        state->mtime.tv_nsec < 0 || state->mtime.tv_nsec >= 1000000000)
        return -EINVAL;
    blob_begin_turn(blob);
    int r = checkpoint_in_turn(blob, state, flags);
    blob_end_turn(blob);
    return r;
}
