/* How a checkpoint comes about:
 *
 *   snapshot (lock) -> changed pages appended -> fdatasync -> record appended -> fdatasync
 *       -> published (lock)
 *
 * so that whoever finds a record whole finds everything it speaks of on the disk. Under
 * BLOB_NO_SYNC the record says that its pages may not be there, and a reader looks at them before
 * it believes it.
 *
 * Nothing is believed of a checkpoint that failed: pages stay dirty, the next record rests on the
 * one before. What a failed sync leaves behind is blob_sync.c's. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sum.h"
#include "store/blob_impl.h"
#include "store/directory.h"
#include "store/draft.h"

/* Pages are appended in pieces of this size, so that chunks come in between. */
#define BATCH_BYTES (256u << 10)

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
    r = blob_finish(blob, &room, frame, len);
    if (r < 0)
        return r;

    pthread_mutex_lock(&blob->lock);
    blob->born = true;
    blob->last.off = room.off;
    blob->last.end = room.off + room.len;
    blob->last.sum = sum;
    blob->last.digest = birth.digest;
    pthread_mutex_unlock(&blob->lock);
    return 0;
}

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
    r = blob_finish(blob, &room, batch->data, batch->len);
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

/* Of so many pages, in pieces. */
static size_t batch_room(size_t n_pages)
{
    size_t most = BATCH_BYTES + PAGE_MAX_BYTES;
    return n_pages < most / PAGE_MAX_BYTES ? n_pages * PAGE_MAX_BYTES : most;
}

static int write_pages(struct blob *blob, struct table_snapshot *snapshot)
{
    if (snapshot->n_changed == 0)
        return 0;
    int r;
    struct batch batch = {.coder = blob_take_coder(blob, &r)};
    if (!batch.coder)
        return r;
    batch.data = malloc(batch_room(snapshot->n_changed));
    r = batch.data ? append_pages(blob, &batch, snapshot) : -ENOMEM;
    free(batch.data);
    blob_give_coder(blob, &batch.coder);
    return r;
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
    return blob_finish(blob, &room, draft->frame, draft->len);
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

static int publish_snapshot(struct blob *blob, const struct blob_state *state, unsigned flags,
                            struct table_snapshot *snapshot, struct draft *draft, uint64_t *sum)
{
    int n_lost = blob_rewrite_suspects(blob, snapshot);
    int r = n_lost < 0 ? n_lost : write_pages(blob, snapshot);
    if (r >= 0 && !(flags & BLOB_NO_SYNC))
        r = blob_sync(blob);
    if (r >= 0)
        r = draft_make(blob, state, flags, snapshot, draft);
    if (r >= 0)
        r = write_record(blob, draft, sum);
    if (r >= 0 && !(flags & BLOB_NO_SYNC))
        r = blob_sync(blob);
    return r < 0 ? r : n_lost;
}

/* Pages that are to be written again must be here for it. `snapshot` NULL: only loads them. */
static int take_snapshot(struct blob *blob, struct table_snapshot *snapshot)
{
    for (;;) {
        struct page_ref ref;
        uint64_t high;
        pthread_mutex_lock(&blob->lock);
        bool missing = table_missing_dirty(blob->table, &ref, &high);
        int r = missing || !snapshot ? 0 : table_snapshot(blob->table, snapshot);
        pthread_mutex_unlock(&blob->lock);
        if (missing)
            r = blob_load_page(blob, &ref, high);
        if (r < 0 || !missing)
            return r;
    }
}

/* The chunks that a record was good for are on the disk, or known to be lost. lock held */
static void end_suspicion(struct blob *blob)
{
    if (blob->kept_limit > 0) /* else one that is committed later may still be among them */
        blob->suspect_from = blob->suspect_to = 0;
}

static int publish(struct blob *blob, const struct blob_state *state, unsigned flags)
{
    struct table_snapshot snapshot;
    struct draft draft = {0};
    uint64_t sum = 0;
    pthread_mutex_lock(&blob->lock);
    uint64_t n_distrusts = blob->n_distrusts;
    pthread_mutex_unlock(&blob->lock);
    int r = take_snapshot(blob, NULL);
    if (r >= 0)
        r = blob_rescue_kept(blob);
    if (r >= 0)
        r = take_snapshot(blob, &snapshot);
    if (r < 0)
        return r;
    r = publish_snapshot(blob, state, flags, &snapshot, &draft, &sum);
    pthread_mutex_lock(&blob->lock);
    if (r >= 0 && blob->n_distrusts != n_distrusts)
        r = -EIO;
    if (r >= 0)
        note_published(blob, &draft, sum);
    if (r >= 0)
        end_suspicion(blob);
    table_snapshot_end(blob->table, &snapshot, r >= 0);
    blob->pending = 0;
    pthread_mutex_unlock(&blob->lock);
    draft_clear(&draft);
    return r > 0 ? -EIO : r; /* > 0: chunks that are lost */
}

struct change {
    bool any;   /* a record is due */
    bool bytes; /* of the plain file, not only what is said of it */
    bool tail;  /* bytes that no record speaks of lie behind the last one */
    bool unsynced;
};

static struct change what_changed(struct blob *blob, const struct blob_state *state, unsigned flags)
{
    pthread_mutex_lock(&blob->lock);
    const struct blob_last *last = &blob->last;
    struct change change = {
        .bytes = table_is_dirty(blob->table) || state->size != last->size,
        .tail = blob->end > last->end,
        .unsynced = blob->unsynced,
    };
    change.any =
        change.bytes || last->seq == 0 || blob->force_full ||
        (flags & BLOB_FULL && last->chain != 0) || state->mtime.tv_sec != last->mtime.tv_sec ||
        state->mtime.tv_nsec != last->mtime.tv_nsec || strcmp(state->meta, last->meta) != 0;
    pthread_mutex_unlock(&blob->lock);
    return change;
}

/* What an append that failed has left behind the end. Nobody's room lies there, and none is reserved while
 * the lock is held. */
static void cut_leavings(struct blob *blob)
{
    struct stat st;
    pthread_mutex_lock(&blob->lock);
    if (fstat(blob->fd, &st) == 0 && (uint64_t)st.st_size > blob->end)
        blob->io->ftruncate(blob->io, blob->fd,
                            blob->end); /* else: the next writer to open it does */
    pthread_mutex_unlock(&blob->lock);
}

static int checkpoint_in_turn(struct blob *blob, const struct blob_state *state, unsigned flags)
{
    struct change change = what_changed(blob, state, flags);
    bool ends = flags & BLOB_FULL && change.tail;
    int r = change.bytes ? blob_leave_upstream_form(blob) : 0;
    if (r >= 0 && (change.any || ends))
        r = publish(blob, state, flags);
    bool needless = !change.any && (!ends || r == -ENOSPC || r == -EDQUOT);
    if (needless)
        r = change.unsynced && !(flags & BLOB_NO_SYNC) ? blob_sync(blob) : 0;
    if (flags & BLOB_FULL)
        cut_leavings(blob);
    return r;
}

int blob_checkpoint(struct blob *blob, const struct blob_state *state, unsigned flags)
{
    if (!blob->writable)
        return -EROFS;
    if (state->size > INT64_MAX || strlen(state->meta) >= BLOB_MAX_META ||
        state->mtime.tv_nsec < 0 || state->mtime.tv_nsec > CHECKPOINT_MAX_NSEC)
        return -EINVAL;
    blob_begin_turn(blob);
    int r = checkpoint_in_turn(blob, state, flags);
    blob_end_turn(blob);
    return r;
}
