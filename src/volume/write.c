/* Accepting bytes: into the overlay, or straight into a plain file. */
#include "volume/core.h"

#include <errno.h>

static ssize_t write_plain(struct stack *stack, const void *buf, size_t len, uint64_t off)
{
    int fd = stack->data_fd;
    stack->plain_io++;
    pthread_mutex_unlock(&stack->lock);
    int r = io_pwrite_full(stack->volume->io, fd, buf, len, off);
    pthread_mutex_lock(&stack->lock);
    stack->plain_io--;
    pthread_cond_broadcast(&stack->changed);
    if (!stack->modified) /* also of what was written before an error */
        stack_mark_dirty(stack);
    return r;
}

/* Bytes have arrived in the overlay; lock held. */
static void note_written(struct stack *stack, uint64_t off, uint64_t end)
{
    job_mark_stale(stack, off, end);
    if (end > stack->size)
        stack->size = end;
    journal_size(stack, stack->size);
    struct timespec now = now_real();
    stack->unsettled = true;
    stack_changed(stack, &now);
    struct layout_piece *news = &stack->since_layout;
    uint64_t lo = news->len > 0 && news->off < off ? news->off : off;
    uint64_t hi = news->len > 0 && news->off + news->len > end ? news->off + news->len : end;
    *news = (struct layout_piece){lo, hi - lo};
    if (layout_note(stack->layout, off, end - off) || stack->layout_behind) {
        /* A directory after its voxels: what came since the last one may be complete now. */
        stack_update_layout(stack, false, false);
        off = lo;
        end = hi;
        news->len = 0;
    }
    if (stack->kind == STACK_BLOB)
        flush_completed(stack, off, end);
}

/* For bytes [off, end). -EAGAIN where it would have to wait and may not; lock held. */
static int ready_to_write(struct stack *stack, uint64_t off, uint64_t end, bool wait)
{
    for (;;) {
        if (!stack->transition && !stack->hold && !job_reads(stack, off, end)) {
            if (stack->kind == STACK_PLAIN)
                return wait ? stack_open_data(stack, true) : stack->data_rw ? 0 : -EAGAIN;
            bool ready = stack->layout != NULL &&
                         (stack->kind == STACK_EMPTY || (stack->blob && stack->blob->writable));
            if (ready)
                return 0;
            if (!wait)
                return -EAGAIN;
            int r = stack_load_layout(stack);
            if (r < 0)
                return r;
        } else if (!wait) {
            return -EAGAIN;
        } else {
            atomic_store(&stack->rewrite_unwanted, stack->rewriting);
            pthread_cond_wait(&stack->changed, &stack->lock);
        }
    }
}

/* One try: how many bytes were taken, 0 where the spool lacks *want, or an error; lock held. */
static ssize_t write_some(struct stack *stack, const void *buf, size_t len, uint64_t off, bool wait,
                          enum spool_want *want)
{
    int r = ready_to_write(stack, off, off + len, wait);
    if (r < 0)
        return r;
    if (stack->kind == STACK_PLAIN) {
        if (!wait)
            return -EAGAIN;
        r = (int)write_plain(stack, buf, len, off);
        return r < 0 ? r : (ssize_t)len;
    }
    if (stack->kind == STACK_EMPTY && !wait)
        return -EAGAIN;
    r = journal_open(stack);
    ssize_t n = r < 0 ? r : overlay_write(&stack->overlay, buf, len, off);
    *want = r == -EAGAIN ? WANT_LOG : stack->overlay.torn ? WANT_RUN : WANT_BLOCK;
    if (n <= 0)
        journal_close_unused(stack);
    if (n <= 0)
        return r == -EAGAIN ? 0 : n;
    note_written(stack, off, off + (uint64_t)n);
    if (stack->kind == STACK_EMPTY) {
        r = birth_classify(stack, false);
        if (r < 0)
            return r;
    }
    return n;
}

ssize_t stack_write(struct stack *stack, const void *buf, size_t len, uint64_t off, bool wait)
{
    if (off > STACK_MAX_SIZE || len > STACK_MAX_SIZE - off)
        return -EFBIG;
    int r = volume_has_room(stack->volume, len);
    if (r < 0)
        return r;
    size_t done = 0;
    pthread_mutex_lock(&stack->lock);
    while (done < len && r >= 0) {
        enum spool_want want = WANT_BLOCK;
        ssize_t n =
            write_some(stack, (const uint8_t *)buf + done, len - done, off + done, wait, &want);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && (wait || n != -EAGAIN)) {
            r = (int)n;
        } else if (!wait) {
            break;
        } else {
            pthread_mutex_unlock(&stack->lock);
            r = flush_make_room(stack, want);
            pthread_mutex_lock(&stack->lock);
        }
    }
    pthread_mutex_unlock(&stack->lock);
    if (r >= 0)
        atomic_fetch_add(&stack->volume->counters.bytes_in, done);
    volume_press(stack->volume);
    return r < 0 ? r : (ssize_t)done;
}
