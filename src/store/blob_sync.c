/* Syncing, and what is believed after a sync has failed: the kernel may have dropped anything that
 * was written since the last good one, and says so once. So pages from there on count as changed,
 * the next record is a full one, and before it speaks of the chunks that lie there they are read,
 * verified and written again in place. */
#include <errno.h>
#include <stdlib.h>

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
    blob->force_full = true;
    blob->unsynced = true;
    blob->n_distrusts++;
}

int blob_sync(struct blob *blob)
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
        distrust(blob);
    else if (synced > blob->synced)
        blob->synced = synced;
    pthread_mutex_unlock(&blob->lock);
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

int blob_rewrite_suspects(struct blob *blob, const struct table_snapshot *snapshot)
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
