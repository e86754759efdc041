/* Reading a stack: overlay where it has bytes, else the table's chunks through the cache, else
 * zeros.
 *
 * One pass takes what is at hand under the stack's lock: small pieces are copied, of chunks in the cache
 * a view holds the entries instead, which nobody changes. Where a chunk has to be decoded, or a
 * table page loaded, the lock is dropped for that, and the pass goes on from the same byte by
 * looking again: what was there may have changed meanwhile. */
#include "volume/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "volume/ahead.h"
#include "volume/foreign.h"

/* Where the bytes of a pass go: copied to the place in `buf` that they have in what is read, or shown in
 * the cache by a view, which then says where each is. */
struct sink {
    uint8_t *buf;
    struct stack_view *view; /* or NULL: all are copied */
    enum ahead_way way;      /* in which the reader goes: of chunks, what it has passed is spent */
};

#define VIEW_WORTH                                                                                 \
    (32u << 10) /* less is copied: a page of the kernel's is put together either way */

/* Where to copy the `n` bytes that are `done` into what is read. */
static uint8_t *sink_place(struct sink *sink, size_t done, size_t n)
{
    uint8_t *at = sink->buf + done;
    struct stack_view *view = sink->view;
    if (view == NULL)
        return at;
    struct iovec *last = view->n > 0 ? &view->iov[view->n - 1] : NULL;
    if (last != NULL && (uint8_t *)last->iov_base + last->iov_len == at)
        last->iov_len += n;
    else
        view->iov[view->n++] = (struct iovec){at, n};
    return at;
}

/* False where the bytes have to be copied. */
static bool sink_show(struct sink *sink, struct cache *cache, struct cache_entry *entry,
                      const void *bytes, size_t n)
{
    struct stack_view *view = sink->view;
    if (view == NULL || n < VIEW_WORTH || view->n_held == STACK_VIEW_HELD)
        return false;
    cache_hold(cache, entry);
    view->held[view->n_held++] = entry;
    view->iov[view->n++] = (struct iovec){(void *)(uintptr_t)bytes, n};
    return true;
}

/* The reader goes on from here: once it has got its answer the chunk is spent. Not before: where the answer
 * has to wait for another chunk, this one will be asked for again. */
static void sink_pass(struct sink *sink, struct cache *cache, struct cache_entry *entry, bool shown)
{
    struct stack_view *view = sink->view;
    if (view == NULL || (!shown && view->n_held == STACK_VIEW_HELD))
        return;
    if (!shown) {
        cache_hold(cache, entry);
        view->held[view->n_held++] = entry;
    }
    view->spent |= 1u << (view->n_held - 1);
}

struct fill {
    struct volume *volume;
    struct blobref *ref;
    const struct blob_chunk *chunk;
};

static int fill_chunk(void *ctx, void *data, size_t len)
{
    struct fill *fill = ctx;
    (void)len;
    struct coder *coder = volume_take_coder(fill->volume);
    if (coder == NULL)
        return -ENOMEM;
    int r = coder_decode(coder, fill->ref->blob, fill->chunk, data);
    volume_give_coder(fill->volume, coder);
    if (r >= 0) {
        atomic_fetch_add(&fill->volume->counters.chunks_decoded, 1);
        atomic_fetch_add(&fill->volume->counters.bytes_decoded, len);
    }
    return r;
}

static struct cache_key key_of(const struct blobref *ref, const struct blob_chunk *chunk)
{
    return (struct cache_key){ref->incarnation, chunk->coded_off};
}

static int get_chunk(struct volume *volume, struct blobref *ref, const struct blob_chunk *chunk,
                     struct cache_entry **entry)
{
    size_t len = sqy_box_bytes(&chunk->box);
    if (len == 0 || len > BLOB_MAX_CHUNK)
        return -EBADMSG;
    struct fill fill = {volume, ref, chunk};
    return cache_get(volume->cache, key_of(ref, chunk), len, fill_chunk, &fill, entry);
}

void read_chunk_ahead(struct volume *volume, struct blobref *ref, const struct blob_chunk *chunk)
{
    size_t len = sqy_box_bytes(&chunk->box);
    struct fill fill = {volume, ref, chunk};
    if (len > 0 && len <= BLOB_MAX_CHUNK) /* who wants the chunk will meet the error */
        cache_ahead(volume->cache, key_of(ref, chunk), len, fill_chunk, &fill);
}

bool read_has_chunk(struct volume *volume, const struct blobref *ref,
                    const struct blob_chunk *chunk)
{
    return cache_has(volume->cache, key_of(ref, chunk));
}

/* A chunk that a pass holds on to while the lock was dropped. */
struct held {
    struct blobref *ref;
    struct cache_entry *entry;
    uint64_t incarnation, coded_off;
};

static void held_put(struct volume *volume, struct held *held)
{
    if (held->entry != NULL)
        cache_put(volume->cache, &held->entry);
    blobref_put(volume, &held->ref);
}

/* Gives `n` bytes of the chunk that is held, from `src` on. */
static void give_held(struct volume *volume, struct held *held, struct sink *sink, size_t done,
                      uint64_t src, size_t n)
{
    const uint8_t *bytes = (const uint8_t *)cache_data(held->entry) + src;
    bool shown = sink_show(sink, volume->cache, held->entry, bytes, n);
    if (!shown)
        memcpy(sink_place(sink, done, n), bytes, n);
    bool first = src == 0, last = src + n == cache_len(held->entry);
    if ((first && last) || (sink->way == AHEAD_UP && last) || (sink->way == AHEAD_DOWN && first))
        sink_pass(sink, volume->cache, held->entry, shown);
}

/* Gives from the extent at `off` what is at hand. Returns how many bytes, 0 where *extent has to be
 * fetched, -EAGAIN where a page has to be loaded, or an error. Lock held. */
static ssize_t give_extent(struct stack *stack, struct held *held, struct sink *sink, size_t done,
                           size_t len, uint64_t off, struct blob_extent *extent)
{
    int r = blob_find(stack->blob->blob, off, extent);
    if (r < 0)
        return r;
    uint64_t skip = off - extent->claim.off, n = extent->claim.len - skip;
    if (n > len)
        n = len;
    if (extent->hole) {
        memset(sink_place(sink, done, n), 0, n);
        return (ssize_t)n;
    }
    struct volume *volume = stack->volume;
    bool mine = held->entry != NULL && held->incarnation == stack->blob->incarnation &&
                held->coded_off == extent->chunk.coded_off;
    if (!mine) {
        held_put(volume, held);
        if (cache_peek(volume->cache, key_of(stack->blob, &extent->chunk), &held->entry) < 0)
            return 0;
        held->incarnation = stack->blob->incarnation;
        held->coded_off = extent->chunk.coded_off;
    }
    uint64_t src = extent->claim.src + skip;
    if (src > cache_len(held->entry) || n > cache_len(held->entry) - src)
        return -EBADMSG;
    give_held(volume, held, sink, done, src, n);
    return (ssize_t)n;
}

/* Gives from the front of [off, off+len): see give_extent(). Lock held. */
static ssize_t give_some(struct stack *stack, struct held *held, struct sink *sink, size_t done,
                         size_t len, uint64_t off, struct blob_extent *extent)
{
    uint64_t start, end;
    bool over = overlay_next(&stack->overlay, off, &start, &end);
    if (over && start == off) {
        size_t n = end - off < len ? (size_t)(end - off) : len;
        overlay_copy(&stack->overlay, sink_place(sink, done, n), n, off);
        return (ssize_t)n;
    }
    if (over && start - off < len)
        len = (size_t)(start - off);
    if (stack->kind == STACK_BLOB && stack->blob != NULL)
        return give_extent(stack, held, sink, done, len, off, extent);
    memset(sink_place(sink, done, len), 0, len);
    return (ssize_t)len;
}

/* What give_some() could not do at once; lock held, dropped meanwhile. */
static int fetch_extent(struct stack *stack, struct held *held, bool page, uint64_t off,
                        const struct blob_extent *extent)
{
    struct volume *volume = stack->volume;
    struct blobref *ref = blobref_get(stack->blob);
    pthread_mutex_unlock(&stack->lock);
    int r;
    if (page) {
        r = blob_prepare(ref->blob, off, 1);
        blobref_put(volume, &ref);
    } else {
        struct cache_entry *entry = NULL;
        ahead_no_more(volume, ref, &extent->chunk);
        r = get_chunk(volume, ref, &extent->chunk, &entry);
        held_put(volume, held);
        held->ref = ref;
        held->entry = entry;
        held->incarnation = ref->incarnation;
        held->coded_off = extent->chunk.coded_off;
    }
    pthread_mutex_lock(&stack->lock);
    return r;
}

/* What could not be read may just be taken away by a truncation to nothing, which begins when no job
 * is left: none of those must wait here. Lock held, dropped meanwhile. */
static void wait_emptied(struct stack *stack)
{
    while (stack->transition && !stack->rewriting && stack->n_jobs == 0)
        pthread_cond_wait(&stack->changed, &stack->lock);
}

/* Whether the chunk that could not be read lies elsewhere by now: a failed sync had lost it, and it
 * was written again. Lock held. */
static bool chunk_moved(struct stack *stack, uint64_t at, const struct blob_chunk *chunk)
{
    struct blob_extent now;
    return blob_find(stack->blob->blob, at, &now) >= 0 && !now.hole &&
           now.chunk.coded_off != chunk->coded_off;
}

static int report(struct stack *stack, int r, uint64_t off)
{
    if (r != -EBADMSG && r != -ENODATA)
        return r;
    volume_note_damaged(stack, off, "has a chunk whose checksum does not match");
    return -EIO;
}

/* Overlay and table have its bytes: not so once it has been emptied and become plain, or another's. */
static bool is_held(const struct stack *stack)
{
    return stack->kind == STACK_EMPTY || stack->kind == STACK_BLOB;
}

/* `clip`: stop at the end of the stack; else zeros follow it. -ESTALE where it is not held any more. Lock
 * held, dropped when needed. */
static ssize_t read_held(struct stack *stack, struct sink *sink, size_t len, uint64_t off,
                         bool clip, bool wait)
{
    struct held held = {0};
    struct blob_extent extent;
    size_t done = 0;
    ssize_t r = 0;
    uint64_t retried = UINT64_MAX;
    bool reopened = !stack->volume->config.read_only;
    while (done < len) {
        uint64_t at = off + done;
        size_t want = len - done;
        if (!is_held(stack)) {
            r = -ESTALE;
            break;
        }
        if (at >= stack->size) {
            if (!clip) {
                memset(sink_place(sink, done, want), 0, want);
                done = len;
            }
            break;
        }
        if (want > stack->size - at)
            want = (size_t)(stack->size - at);
        if (stack->kind == STACK_BLOB && stack->blob == NULL) { /* exchanged under our hands */
            r = wait ? stack_load(stack, false) : -EAGAIN;
            if (r < 0)
                break;
            continue;
        }
        r = give_some(stack, &held, sink, done, want, at, &extent);
        if (r > 0) {
            done += (size_t)r;
            continue;
        }
        if (r < 0 && r != -EAGAIN)
            break;
        if (!wait) {
            r = -EAGAIN;
            break;
        }
        uint64_t incarnation = stack->blob->incarnation;
        bool page = r == -EAGAIN;
        r = fetch_extent(stack, &held, page, at, &extent);
        if (r < 0)
            wait_emptied(stack);
        if (!is_held(stack))
            continue;
        bool moved = stack->blob == NULL || stack->blob->incarnation != incarnation ||
                     (r < 0 && !page && chunk_moved(stack, at, &extent.chunk));
        if (r == -EBADMSG && !reopened && stack->blob != NULL) {
            /* another host's writer may have gone on: its newest checkpoint may know better */
            blobref_put(stack->volume, &stack->blob);
            reopened = true;
        } else if (r < 0 && !(moved && retried != at)) {
            break;
        }
        r = 0;
        retried = at;
    }
    held_put(stack->volume, &held);
    if (r < 0 && r != -EAGAIN)
        return report(stack, (int)r, off + done);
    return r < 0 ? r : (ssize_t)done;
}

/* ---- the calls ---- */

/* Through the descriptor of an EMPTY or PLAIN file; lock held, dropped meanwhile. */
static ssize_t read_plain(struct stack *stack, void *buf, size_t len, uint64_t off, bool wait)
{
    int fd = stack->data_fd;
    if (fd < 0)
        return -EBADF;
    struct iovec iov = {buf, len};
    stack->plain_io++;
    pthread_mutex_unlock(&stack->lock);
    ssize_t r;
    if (wait) {
        r = io_pread_full(stack->volume->io, fd, buf, len, off);
    } else {
        r = preadv2(fd, &iov, 1, (off_t)off, RWF_NOWAIT);
        r = r < 0 || (size_t)r < len ? -EAGAIN : r;
    }
    pthread_mutex_lock(&stack->lock);
    stack->plain_io--;
    pthread_cond_broadcast(&stack->changed);
    return r;
}

/* What was taken before the file became another kind is given up. */
static void sink_reset(struct sink *sink)
{
    if (sink->view == NULL)
        return;
    sink->view->spent = 0;
    stack_view_end(sink->view);
}

/* As the kind of file that it is, from the beginning where that changes meanwhile. Lock held, dropped when
 * needed. */
static ssize_t read_any(struct stack *stack, struct sink *sink, size_t len, uint64_t off, bool wait)
{
    ssize_t r = 0;
    if (off > STACK_MAX_SIZE || len > STACK_MAX_SIZE - off)
        return 0;
    for (;;) {
        if (stack->kind == STACK_BLOB && stack->blob == NULL)
            r = wait ? stack_load(stack, false) : -EAGAIN;
        if (r < 0)
            return r;
        if (!is_held(stack))
            break;
        r = read_held(stack, sink, len, off, true, wait);
        if (r != -ESTALE || is_held(stack))
            return r;
        sink_reset(sink);
        r = 0;
    }
    r = stack->kind == STACK_PLAIN ? read_plain(stack, sink->buf, len, off, wait)
                                   : foreign_read(stack, sink->buf, len, off, wait);
    if (r > 0)
        sink_place(sink, 0, (size_t)r);
    return r;
}

ssize_t read_stack(struct stack *stack, void *buf, size_t len, uint64_t off, bool wait)
{
    struct sink sink = {.buf = buf};
    pthread_mutex_lock(&stack->lock);
    ssize_t r = read_any(stack, &sink, len, off, wait);
    pthread_mutex_unlock(&stack->lock);
    return r;
}

ssize_t stack_read(struct stack *stack, void *buf, size_t len, uint64_t off, bool wait)
{
    ssize_t r = read_stack(stack, buf, len, off, wait);
    if (r > 0)
        atomic_fetch_add(&stack->volume->counters.bytes_out, (unsigned long long)r);
    return r;
}

ssize_t stack_view(struct stack *stack, struct stack_reader *reader, struct stack_view *view,
                   size_t len, uint64_t off, bool wait)
{
    struct sink sink = {.buf = view->buf, .view = view};
    view->n = view->n_held = view->spent = 0;
    view->cache = stack->volume->cache;
    pthread_mutex_lock(&stack->lock);
    sink.way = ahead_note(stack, reader, off, len);
    ssize_t r = read_any(stack, &sink, len, off, wait);
    pthread_mutex_unlock(&stack->lock);
    if (r < 0) {
        view->spent = 0;
        stack_view_end(view);
    } else {
        atomic_fetch_add(&stack->volume->counters.bytes_out, (unsigned long long)r);
    }
    return r;
}

void stack_view_end(struct stack_view *view)
{
    struct cache *cache = view->cache;
    while (view->n_held > 0) {
        struct cache_entry *entry = view->held[--view->n_held];
        if (view->spent >> view->n_held & 1)
            cache_spend(cache, entry);
        cache_put(cache, &entry);
    }
    view->n = 0;
}

int read_exact(struct stack *stack, void *buf, size_t len, uint64_t off)
{
    struct sink sink = {.buf = buf};
    pthread_mutex_lock(&stack->lock);
    ssize_t r = stack->kind == STACK_PLAIN ? read_plain(stack, buf, len, off, true)
                                           : read_held(stack, &sink, len, off, false, true);
    pthread_mutex_unlock(&stack->lock);
    if (r >= 0 && (size_t)r < len)
        memset((uint8_t *)buf + r, 0, len - (size_t)r);
    return r < 0 ? (int)r : 0;
}

int read_memory(struct stack *stack, void *buf, uint32_t len, uint64_t off)
{
    struct held held = {0};
    struct sink sink = {.buf = buf};
    uint32_t done = 0;
    while (done < len && off + done < stack->size) {
        struct blob_extent extent = {.hole = false};
        uint64_t at = off + done, start, end;
        bool table = stack->kind == STACK_BLOB && stack->blob != NULL;
        if (!table && (!overlay_next(&stack->overlay, at, &start, &end) || start != at))
            break; /* a hole nobody has written yet */
        ssize_t n = give_some(stack, &held, &sink, done, len - done, at, &extent);
        if (n <= 0 || extent.hole)
            break;
        done += (uint32_t)n;
    }
    held_put(stack->volume, &held);
    return (int)done;
}
