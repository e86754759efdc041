/* Syncing, and what is believed after a sync has failed: the kernel may have dropped anything that
 * was written since the last good one, and says so once. So pages from there on count as changed,
 * the next record is a full one, and before it speaks of the chunks that lie there they are written
 * again: elsewhere, since the place itself may be bad, from what is kept of them (kept.h).
 *
 * What was not kept is read, verified and written again in place. Where it cannot be read it is
 * lost, and costs no other chunk: the record names it all the same. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "store/blob_impl.h"
#include "store/parts.h"

/* A sync has failed. lock held. */
static void distrust(struct blob *blob)
{
    if (blob->suspect_to == 0 || blob->synced < blob->suspect_from)
        blob->suspect_from = blob->synced;
    if (blob->end > blob->suspect_to)
        blob->suspect_to = blob->end;
    table_distrust(blob->table, blob->synced);
    kept_distrust(&blob->kept);
    blob->force_full = true;
    blob->unsynced = true;
    blob->n_distrusts++;
}

/* lock held, dropped meanwhile; nobody else syncs */
static int sync_alone(struct blob *blob)
{
    uint64_t synced = blob->end;
    for (const struct blob_room *room = blob->rooms; room; room = room->next)
        if (room->off < synced)
            synced = room->off;
    uint64_t sync = kept_begin_sync(&blob->kept);
    blob->unsynced = false;
    blob->syncing = true;
    pthread_mutex_unlock(&blob->lock);

    int r = blob->io->fdatasync(blob->io, blob->fd);

    pthread_mutex_lock(&blob->lock);
    blob->syncing = false;
    pthread_cond_broadcast(&blob->sync_done);
    if (r < 0) {
        distrust(blob);
        return r;
    }
    kept_synced(&blob->kept, sync);
    if (synced > blob->synced)
        blob->synced = synced;
    return r;
}

int blob_sync(struct blob *blob)
{
    pthread_mutex_lock(&blob->lock);
    while (blob->syncing)
        pthread_cond_wait(&blob->sync_done, &blob->lock);
    int r = sync_alone(blob);
    pthread_mutex_unlock(&blob->lock);
    return r;
}

/* From half the room on somebody syncs while others go on appending, into the other half. */
int blob_bound_kept(struct blob *blob)
{
    int r = 0;
    while (r >= 0 && blob->kept.bytes >= blob->kept_limit / 2) {
        bool full = blob->kept.bytes >= blob->kept_limit;
        if (blob->kept.n_suspect > 0)
            return full ? -EIO : 0; /* the next checkpoint writes them again */
        if (!blob->syncing)
            r = sync_alone(blob);
        else if (full)
            pthread_cond_wait(&blob->sync_done, &blob->lock);
        else
            return 0;
    }
    return r;
}

void blob_sync_failed(struct blob *blob)
{
    pthread_mutex_lock(&blob->lock);
    distrust(blob);
    pthread_mutex_unlock(&blob->lock);
}

static int rewrite_range(struct blob *blob, void *buf, uint32_t len, uint64_t off)
{
    int r = io_pread_exact(blob->io, blob->fd, buf, len, off);
    return r < 0 ? r : io_pwrite_full(blob->io, blob->fd, buf, len, off);
}

static int rewrite_split(struct blob *blob, const struct blob_chunk *chunk, void *buf)
{
    struct blob_part parts[PARTS_MAX];
    int n = blob_read_parts(blob, chunk, parts);
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        int r = rewrite_range(blob, buf, parts[i].len, parts[i].off);
        if (r < 0)
            return r;
    }
    uint8_t frame[PARTS_MAX_BYTES];
    return rewrite_range(blob, frame, PARTS_BYTES((unsigned)n), chunk->coded_off);
}

/* Nobody else writes where a committed chunk lies. 1: it is lost. */
static int rewrite_chunk(struct blob *blob, const struct blob_chunk *chunk)
{
    void *buf = malloc(chunk->coded_len);
    if (!buf)
        return -ENOMEM;
    int r = blob_read(blob, chunk, buf);
    if (r == -EBADMSG || r == -ENODATA || r == -EIO)
        r = 1;
    else if (r >= 0 && chunk->flags & BLOB_SPLIT)
        r = rewrite_split(blob, chunk, buf);
    else if (r >= 0)
        r = io_pwrite_full(blob->io, blob->fd, buf, chunk->coded_len, chunk->coded_off);
    free(buf);
    return r;
}

static void log_lost(const struct blob *blob, const struct page_record *record)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", blob->fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    log_error(
        "%s: the disk has lost the chunk of byte %llu, %llu bytes from there on cannot be read",
        path, (unsigned long long)record->claim.off, (unsigned long long)record->claim.len);
}

static bool is_kept(struct blob *blob, uint64_t off)
{
    pthread_mutex_lock(&blob->lock);
    bool found = kept_find(&blob->kept, off) != NULL;
    pthread_mutex_unlock(&blob->lock);
    return found;
}

int blob_rewrite_suspects(struct blob *blob, const struct table_snapshot *snapshot)
{
    pthread_mutex_lock(&blob->lock);
    uint64_t from = blob->suspect_from, to = blob->suspect_to;
    pthread_mutex_unlock(&blob->lock);
    if (to == 0)
        return 0;
    uint64_t done = 0;
    int n_lost = 0;
    for (size_t i = 0; i < snapshot->n_pages; i++) {
        const struct snapshot_page *page = &snapshot->pages[i];
        for (unsigned k = 0; page->records && k < page->ref.totals.n; k++) {
            const struct page_record *record = &snapshot_records(page)[k];
            const struct blob_chunk *chunk = &record->chunk;
            bool split = chunk->flags & BLOB_SPLIT;
            /* parts lie before their list */
            bool suspect = chunk->coded_off < to || split;
            if (chunk->coded_off < from || !suspect || chunk->coded_off == done)
                continue;
            done = chunk->coded_off;
            if (!split && is_kept(blob, chunk->coded_off))
                continue;
            int r = rewrite_chunk(blob, chunk);
            if (r < 0)
                return r;
            if (r > 0)
                log_lost(blob, record);
            n_lost += r;
        }
    }
    return n_lost;
}

/* ---- what is kept ---- */

/* Into a new room, if the table has the chunk and can be told. 1, or 0 where it has not: one that is
 * not committed yet, a list of parts or a part. */
static int move_run(struct blob *blob, struct kept_run *run)
{
    struct blob_room room;
    pthread_mutex_lock(&blob->lock);
    uint64_t n_distrusts = blob->n_distrusts;
    int r = blob_reserve(blob, run->len, &room);
    pthread_mutex_unlock(&blob->lock);
    if (r < 0)
        return r;
    r = blob_fill(blob, &room, 0, run->data, run->len);
    pthread_mutex_lock(&blob->lock);
    if (r >= 0 && blob->n_distrusts != n_distrusts)
        r = -EIO;
    if (r >= 0)
        r = table_move_chunk(blob->table, run->off + run->head, room.off + run->head);
    blob_leave(blob, &room, r > 0);
    if (r > 0)
        kept_rewritten(&blob->kept, run, room.off);
    pthread_mutex_unlock(&blob->lock);
    return r;
}

static int rewrite_run(struct blob *blob, struct kept_run *run)
{
    pthread_mutex_lock(&blob->lock);
    uint64_t n_distrusts = blob->n_distrusts;
    pthread_mutex_unlock(&blob->lock);
    int r = io_pwrite_full(blob->io, blob->fd, run->data, run->len, run->off);
    pthread_mutex_lock(&blob->lock);
    if (r >= 0 && blob->n_distrusts != n_distrusts)
        r = -EIO;
    if (r >= 0)
        kept_rewritten(&blob->kept, run, run->off);
    blob->unsynced = true;
    pthread_mutex_unlock(&blob->lock);
    return r;
}

/* A disk that goes on failing is not filled with copies: the place changes after 1, 2, 4, 8 ...
 * failures. */
static int rescue_run(struct blob *blob, struct kept_run *run)
{
    bool elsewhere = (run->n_failed & (run->n_failed - 1)) == 0;
    if (elsewhere && move_run(blob, run) > 0)
        return 0;
    return rewrite_run(blob, run);
}

int blob_rescue_kept(struct blob *blob)
{
    pthread_mutex_lock(&blob->lock);
    bool header = blob->suspect_to != 0;
    struct kept_run *run = kept_suspect(&blob->kept);
    pthread_mutex_unlock(&blob->lock);
    int r = header ? blob_put_header(blob, &blob->header, false) : 0;
    while (r >= 0 && run) {
        r = rescue_run(blob, run);
        pthread_mutex_lock(&blob->lock);
        run = kept_suspect(&blob->kept);
        pthread_mutex_unlock(&blob->lock);
    }
    return r;
}
