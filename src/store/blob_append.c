/* Appending: a room at the end of the file is reserved under the lock, filled without it, and left
 * under it again, so that several threads write at once and a sync knows what may be under way. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/blob_impl.h"
#include "store/frame.h"
#include "store/parts.h"

int blob_reserve(struct blob *blob, uint64_t len, struct blob_room *room)
{
    if (len > INT64_MAX - blob->end)
        return -EFBIG;
    *room = (struct blob_room){.off = blob->end, .len = len, .next = blob->rooms};
    if (room->next)
        room->next->link = &room->next;
    room->link = &blob->rooms;
    blob->rooms = room;
    blob->end += len;
    return 0;
}

int blob_fill(struct blob *blob, const struct blob_room *room, uint64_t at, const void *data,
              size_t len)
{
    assert(at + len <= room->len);
    return io_pwrite_full(blob->io, blob->fd, data, len, room->off + at);
}

void blob_leave(struct blob *blob, struct blob_room *room, bool written)
{
    *room->link = room->next;
    if (room->next)
        room->next->link = room->link;
    if (!written && room->off + room->len == blob->end)
        blob->end = room->off;
    blob->unsynced = true;
}

int blob_finish(struct blob *blob, struct blob_room *room, const void *data, size_t len)
{
    int r = blob_fill(blob, room, 0, data, len);
    pthread_mutex_lock(&blob->lock);
    blob_leave(blob, room, r >= 0);
    pthread_mutex_unlock(&blob->lock);
    return r;
}

/* A mark only saves readers time: without it they look further. A full disk shows in what follows.
 */
static void put_mark(struct blob *blob)
{
    struct checkpoint_mark mark = {.last = blob->last.off, .pending = blob->pending};
    struct blob_room room;
    blob->next_mark = blob->end + BLOB_MARK_BYTES;
    if (mark.last == 0 || blob_reserve(blob, CHECKPOINT_MARK_BYTES, &room) < 0)
        return;
    pthread_mutex_unlock(&blob->lock);
    uint8_t frame[CHECKPOINT_MARK_BYTES];
    checkpoint_mark_write(&mark, blob->id, room.off, frame);
    blob_finish(blob, &room, frame, sizeof(frame));
    pthread_mutex_lock(&blob->lock);
}

static int leave_upstream_form(struct blob *blob)
{
    blob_begin_turn(blob);
    int r = blob_leave_upstream_form(blob);
    blob_end_turn(blob);
    return r;
}

/* No chunk is written before the first checkpoint is. */
static int bear(struct blob *blob)
{
    blob_begin_turn(blob);
    pthread_mutex_lock(&blob->lock);
    bool born = blob->born;
    pthread_mutex_unlock(&blob->lock);
    int r = born ? 0 : publish_birth(blob);
    blob_end_turn(blob);
    return r;
}

/* Gets a room and whatever has to stand before it. Lock held, given up in between. */
static int begin_append(struct blob *blob, uint64_t len, struct blob_room *room)
{
    while (blob->header.upstream) {
        pthread_mutex_unlock(&blob->lock);
        int r = leave_upstream_form(blob);
        pthread_mutex_lock(&blob->lock);
        if (r < 0)
            return r;
    }
    if (!blob->born) {
        pthread_mutex_unlock(&blob->lock);
        int r = bear(blob);
        pthread_mutex_lock(&blob->lock);
        if (r < 0)
            return r;
    }
    if (blob->end >= blob->next_mark)
        put_mark(blob);
    return blob_reserve(blob, len, room);
}

#define WRITEBACK_BYTES (8u << 20)

/* Each piece of so many bytes is sent to the disk when it is there. The kernel would wait for seconds, and whoever
 * syncs then, and all who wait for that, for the disk. */
static void send_ahead(const struct blob *blob, const struct blob_room *room)
{
    const uint64_t from = room->off / WRITEBACK_BYTES * WRITEBACK_BYTES;
    const uint64_t to = (room->off + room->len) / WRITEBACK_BYTES * WRITEBACK_BYTES;
    if (blob->io->writeback && from != to)
        blob->io->writeback(blob->io, blob->fd, from, to - from);
}

/* The bytes of a run go into the file; it is kept until a sync has confirmed them. Takes the run. */
static int append_run(struct blob *blob, struct kept_run *run, uint64_t *off)
{
    struct blob_room room;
    pthread_mutex_lock(&blob->lock);
    uint64_t n_distrusts = 0;
    int r = blob->kept_limit > 0 ? blob_bound_kept(blob) : 0;
    if (r >= 0)
        r = begin_append(blob, run->len, &room);
    if (r >= 0)
        n_distrusts = blob->n_distrusts;
    pthread_mutex_unlock(&blob->lock);
    if (r >= 0) {
        r = blob_fill(blob, &room, 0, run->data, run->len);
        *off = room.off + run->head;
        send_ahead(blob, &room);
        pthread_mutex_lock(&blob->lock);
        blob_leave(blob, &room, r >= 0);
        if (r >= 0 && blob->kept_limit > 0)
            kept_put(&blob->kept, &run, room.off, n_distrusts != blob->n_distrusts);
        pthread_mutex_unlock(&blob->lock);
    }
    free(run);
    return r;
}

int blob_append(struct blob *blob, bool wrap, const void *coded, uint32_t len, uint64_t *off)
{
    if (!blob->writable)
        return -EROFS;
    if (len == 0)
        return -EINVAL;
    struct kept_run *run = kept_make(wrap ? FRAME_HEAD_BYTES : 0, len);
    if (!run)
        return -ENOMEM;
    if (wrap)
        frame_head(run->data, FRAME_CHUNK, len);
    memcpy(run->data + run->head, coded, len);
    return append_run(blob, run, off);
}

int blob_append_parts(struct blob *blob, const struct blob_part *parts, unsigned n_parts,
                      uint64_t *off)
{
    uint8_t frame[PARTS_MAX_BYTES];
    if (!blob->writable)
        return -EROFS;
    if (n_parts == 0 || n_parts > PARTS_MAX)
        return -EINVAL;
    size_t len = parts_write(parts, n_parts, frame);
    struct kept_run *run = kept_make(0, len);
    if (!run)
        return -ENOMEM;
    memcpy(run->data, frame, len);
    return append_run(blob, run, off);
}
