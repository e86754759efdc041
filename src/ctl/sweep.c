/* Slots take pieces in order, threads decode them, and the calling thread hands them over in order:
 *
 *   IDLE --slot_start()--> BUSY --slot_run()--> DONE --fn()--> IDLE */
#include "ctl/sweep.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/workq.h"
#include "volume/pack.h"

/* Damage ends somewhere behind its first byte. Where the table does not say, it is looked for in
 * steps of this many bytes. */
#define SWEEP_STEP (64u << 10)

struct sweep;

struct slot {
    struct work work;
    struct sweep *sweep;
    struct pack_reader *reader;
    uint8_t *data;
    struct sweep_piece piece;
    int result;
    bool done; /* guarded by sweep.lock */
};

struct sweep {
    struct blob *blob;
    uint64_t size;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct workq *queue;
    struct slot *slots;
    unsigned n_slots;
};

/* ---- damage ---- */

static void add_bad(struct sweep_piece *piece, uint64_t off, uint64_t end)
{
    struct sweep_range *last = piece->n_bad > 0 ? &piece->bad[piece->n_bad - 1] : NULL;
    if (last != NULL && last->off + last->len == off) {
        last->len += end - off;
    } else if (piece->n_bad < SWEEP_MAX_BAD) {
        piece->bad[piece->n_bad++] = (struct sweep_range){off, end - off};
    } else {
        last->len = piece->off + piece->len - last->off;
    }
}

static int find(struct blob *blob, uint64_t off, struct blob_extent *extent)
{
    int r = blob_prepare(blob, off, 1);
    return r < 0 ? r : blob_find(blob, off, extent);
}

/* Where the damage that begins at `off` ends: with its extent, or, where the table itself is
 * damaged, at the next step that it knows again. */
static uint64_t damage_end(struct blob *blob, uint64_t off, uint64_t limit)
{
    struct blob_extent extent;
    if (find(blob, off, &extent) == 0) {
        uint64_t end = extent.claim.off + extent.claim.len;
        return end < limit ? end : limit;
    }
    do
        off += SWEEP_STEP - off % SWEEP_STEP;
    while (off < limit && find(blob, off, &extent) < 0);
    return off < limit ? off : limit;
}

static int read_piece(struct slot *slot)
{
    struct sweep_piece *piece = &slot->piece;
    uint64_t off = piece->off, limit = piece->off + piece->len;
    while (off < limit) {
        uint64_t bad = off;
        int r = pack_reader_read(slot->reader, slot->data + (off - piece->off),
                                 (size_t)(limit - off), off, &bad);
        if (r == 0)
            return 0;
        if (r != -EBADMSG && r != -EIO)
            return r;
        off = damage_end(slot->sweep->blob, bad, limit);
        memset(slot->data + (bad - piece->off), 0, (size_t)(off - bad));
        add_bad(piece, bad, off);
    }
    return 0;
}

/* ---- threads ---- */

static void slot_run(struct work *work)
{
    struct slot *slot = (struct slot *)work;
    slot->result = read_piece(slot);
    pthread_mutex_lock(&slot->sweep->lock);
    slot->done = true;
    pthread_cond_broadcast(&slot->sweep->changed);
    pthread_mutex_unlock(&slot->sweep->lock);
}

static void slot_start(struct slot *slot, uint64_t off)
{
    uint64_t left = slot->sweep->size - off;
    slot->piece.off = off;
    slot->piece.len = left < SWEEP_BYTES ? (uint32_t)left : SWEEP_BYTES;
    slot->piece.data = slot->data;
    slot->piece.n_bad = 0;
    slot->done = false;
    slot->work.run = slot_run;
    workq_push(slot->sweep->queue, &slot->work);
}

static void slot_wait(struct slot *slot)
{
    pthread_mutex_lock(&slot->sweep->lock);
    while (!slot->done)
        pthread_cond_wait(&slot->sweep->changed, &slot->sweep->lock);
    pthread_mutex_unlock(&slot->sweep->lock);
}

static int make_slots(struct sweep *sweep, unsigned threads)
{
    uint64_t pieces = (sweep->size + SWEEP_BYTES - 1) / SWEEP_BYTES;
    unsigned n = threads * 2;
    if (n > pieces)
        n = (unsigned)pieces;
    sweep->slots = calloc(n, sizeof(*sweep->slots));
    if (sweep->slots == NULL)
        return -ENOMEM;
    for (; sweep->n_slots < n; sweep->n_slots++) {
        struct slot *slot = &sweep->slots[sweep->n_slots];
        slot->sweep = sweep;
        slot->data = malloc(sweep->size < SWEEP_BYTES ? (size_t)sweep->size : SWEEP_BYTES);
        int r = slot->data == NULL ? -ENOMEM : pack_reader_create(sweep->blob, &slot->reader);
        if (r < 0) {
            free(slot->data);
            return r;
        }
    }
    return workq_create("sqy-sweep", threads < n ? threads : n, &sweep->queue);
}

static void free_slots(struct sweep *sweep)
{
    for (unsigned i = 0; i < sweep->n_slots; i++) {
        pack_reader_destroy(&sweep->slots[i].reader);
        free(sweep->slots[i].data);
    }
    free(sweep->slots);
}

static int run(struct sweep *sweep, sweep_fn *fn, void *ctx)
{
    uint64_t started = 0;
    unsigned first = 0, busy = 0;
    int r = 0;
    while (busy > 0 || (r == 0 && started < sweep->size)) {
        if (r == 0 && started < sweep->size && busy < sweep->n_slots) {
            struct slot *slot = &sweep->slots[(first + busy++) % sweep->n_slots];
            slot_start(slot, started);
            started += slot->piece.len;
            continue;
        }
        struct slot *slot = &sweep->slots[first];
        slot_wait(slot);
        if (r == 0)
            r = slot->result;
        if (r == 0)
            r = fn(ctx, &slot->piece);
        first = (first + 1) % sweep->n_slots;
        busy--;
    }
    return r;
}

int sweep_blob(struct blob *blob, unsigned threads, sweep_fn *fn, void *ctx)
{
    struct blob_state state;
    blob_state(blob, &state);
    struct sweep sweep = {.blob = blob, .size = state.size};
    if (sweep.size == 0)
        return 0;
    if (threads == 0)
        threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    pthread_mutex_init(&sweep.lock, NULL);
    pthread_cond_init(&sweep.changed, NULL);
    int r = make_slots(&sweep, threads);
    if (r == 0)
        r = run(&sweep, fn, ctx);
    if (sweep.queue != NULL)
        workq_destroy(&sweep.queue);
    free_slots(&sweep);
    pthread_cond_destroy(&sweep.changed);
    pthread_mutex_destroy(&sweep.lock);
    return r;
}

/* ---- plain bytes ---- */

static int read_steps(sweep_read_fn *read, void *ctx, struct sweep_piece *piece, uint8_t *data)
{
    for (uint32_t at = 0; at < piece->len; at += SWEEP_STEP) {
        uint32_t len = piece->len - at < SWEEP_STEP ? piece->len - at : SWEEP_STEP;
        int r = read(ctx, data + at, len, piece->off + at);
        if (r == -EBADMSG || r == -EIO) {
            memset(data + at, 0, len);
            add_bad(piece, piece->off + at, piece->off + at + len);
        } else if (r < 0) {
            return r;
        }
    }
    return 0;
}

int sweep_bytes(sweep_read_fn *read, void *read_ctx, uint64_t size, sweep_fn *fn, void *ctx)
{
    uint8_t *data = malloc(SWEEP_BYTES);
    struct sweep_piece piece = {.data = data};
    int r = data == NULL ? -ENOMEM : 0;
    for (; r == 0 && piece.off < size; piece.off += piece.len) {
        piece.len = size - piece.off < SWEEP_BYTES ? (uint32_t)(size - piece.off) : SWEEP_BYTES;
        piece.n_bad = 0;
        r = read(read_ctx, data, piece.len, piece.off);
        if (r == -EBADMSG || r == -EIO)
            r = read_steps(read, read_ctx, &piece, data);
        if (r == 0)
            r = fn(ctx, &piece);
    }
    free(data);
    return r;
}
