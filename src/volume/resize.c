/* Size and holes: truncation, fallocate, SEEK_DATA and SEEK_HOLE. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The table first: where that fails, nothing that was accepted has been thrown away. */
int stack_punch(struct stack *stack, uint64_t off, uint64_t end)
{
    int r = 0;
    while (stack->kind == STACK_BLOB && stack->blob != NULL) {
        r = journal_reserve(stack);
        if (r == -EAGAIN) {
            r = journal_wait(stack);
            if (r < 0)
                break;
            continue;
        }
        if (r < 0)
            break;
        r = blob_punch(stack->blob->blob, off, end - off);
        if (r != -EAGAIN)
            break;
        struct blobref *ref = blobref_get(stack->blob);
        pthread_mutex_unlock(&stack->lock);
        r = blob_prepare(ref->blob, off, end - off);
        blobref_put(stack->volume, &ref);
        pthread_mutex_lock(&stack->lock);
        if (r < 0)
            break;
    }
    if (r < 0)
        return r;
    journal_punch(stack, off, end);
    job_mark_stale(stack, off, end);
    r = overlay_clear(&stack->overlay, off, end - off);
    if (stack->layout != NULL)
        layout_note(stack->layout, off, end - off);
    return r;
}

static void modified_now(struct stack *stack)
{
    struct timespec now = now_real();
    stack->unsettled = true;
    stack_changed(stack, &now);
}

/* Waits until the file may be changed, and loads what changing it needs; lock held. A blob about to
 * be emptied is not loaded: that is how a damaged one is written anew. */
static int begin_change(struct stack *stack, bool load)
{
    int r;
    do {
        while (stack->transition || stack->hold) {
            atomic_store(&stack->rewrite_unwanted, stack->rewriting);
            pthread_cond_wait(&stack->changed, &stack->lock);
        }
        if (stack->kind == STACK_PLAIN)
            return stack_open_data(stack, true);
        if (stack->kind == STACK_FOREIGN)
            return load ? -EROFS : 0;
        r = stack->kind == STACK_BLOB && load ? stack_load(stack, true) : 0;
        if (r < 0 || stack->kind == STACK_FOREIGN) /* as has shown only now */
            return r;
        r = journal_reserve(stack); /* what is punched before it is modified is told, too */
        if (r == -EAGAIN && (r = journal_wait(stack)) == 0)
            r = -EAGAIN;
    } while (r == -EAGAIN);
    return r < 0 || stack->kind == STACK_BLOB ? r : stack_open_data(stack, true);
}

static void unpin(struct stack *stack)
{
    stack->pins--;
    pthread_cond_broadcast(&stack->changed);
}

static int truncate_held(struct stack *stack, uint64_t size)
{
    if (size == 0 && stack->kind != STACK_EMPTY) {
        int r = birth_reset(stack);
        if (r < 0)
            return r;
    }
    if (stack->kind == STACK_PLAIN) {
        int r = stack_open_data(stack, true);
        if (r < 0)
            return r;
        stack_mark_dirty(stack);
        return ftruncate(stack->data_fd, (off_t)size) < 0 ? -errno : 0;
    }
    if (size < stack->size || stack->kind == STACK_EMPTY) {
        /* The size first: a kill leaves the old file or the cut one, whichever bytes are gone. */
        journal_size(stack, size < stack->size ? size : stack->size);
        int r = stack_punch(stack, size, UINT64_MAX);
        if (r < 0) {
            journal_size(stack, stack->size);
            return r;
        }
    }
    if (stack->kind == STACK_EMPTY && size == 0 && stack->overlay.bytes == 0 && stack->size == 0) {
        /* a plain empty file: its times are the backing file's */
        return ftruncate(stack->data_fd, 0) < 0 ? -errno : 0;
    }
    stack->size = size;
    modified_now(stack);
    journal_size(stack, size);
    return 0;
}

int stack_truncate(struct stack *stack, uint64_t size)
{
    if (size > STACK_MAX_SIZE)
        return -EFBIG;
    pthread_mutex_lock(&stack->lock);
    int r = begin_change(stack, size > 0);
    stack->pins++;
    if (r >= 0)
        r = truncate_held(stack, size);
    journal_close_unused(stack);
    unpin(stack);
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
    return r;
}

static int fallocate_held(struct stack *stack, int mode, uint64_t off, uint64_t len)
{
    if (stack->kind == STACK_PLAIN) {
        stack_mark_dirty(stack);
        return fallocate(stack->data_fd, mode, (off_t)off, (off_t)len) < 0 ? -errno : 0;
    }
    bool keep = mode & FALLOC_FL_KEEP_SIZE;
    uint64_t end = off + len;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return -EOPNOTSUPP;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
        int r = stack_punch(stack, off, end);
        if (r < 0)
            return r;
    } else {
        int r = volume_has_room(stack->volume, len);
        if (r < 0)
            return r;
    }
    if (!keep && end > stack->size)
        stack->size = end;
    if (stack->kind == STACK_EMPTY && stack->size == 0) {
        /* still a plain empty file: its times are the backing file's */
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
        return futimens(stack->data_fd, times) < 0 ? -errno : 0;
    }
    modified_now(stack); /* the times move even where nothing else does */
    journal_size(stack, stack->size);
    return 0;
}

/* -EAGAIN: the bytes that wait are too torn for one more hole. */
static int try_fallocate(struct stack *stack, int mode, uint64_t off, uint64_t len)
{
    pthread_mutex_lock(&stack->lock);
    int r = begin_change(stack, true);
    stack->pins++;
    if (r >= 0)
        r = fallocate_held(stack, mode, off, len);
    journal_close_unused(stack);
    unpin(stack);
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
    return r;
}

int stack_fallocate(struct stack *stack, int mode, uint64_t off, uint64_t len)
{
    if (len == 0)
        return -EINVAL;
    if (off > STACK_MAX_SIZE || len > STACK_MAX_SIZE - off)
        return -EFBIG;
    int r;
    while ((r = try_fallocate(stack, mode, off, len)) == -EAGAIN)
        if ((r = flush_make_room(stack, WANT_HOLE)) < 0)
            break;
    return r;
}

/* The first byte at or after `off` of the kind asked for, by overlay and table; lock held. */
static int64_t seek_held(struct stack *stack, uint64_t off, bool data)
{
    while (off < stack->size) {
        uint64_t start, end, next = stack->size;
        bool here = false;
        if (overlay_next(&stack->overlay, off, &start, &end)) {
            here = start == off;
            next = here ? end : start;
        }
        if (!here && stack->kind == STACK_BLOB && stack->blob != NULL) {
            struct blob_extent extent;
            int r = blob_find(stack->blob->blob, off, &extent);
            if (r == -EAGAIN) {
                struct blobref *ref = blobref_get(stack->blob);
                pthread_mutex_unlock(&stack->lock);
                r = blob_prepare(ref->blob, off, 1);
                blobref_put(stack->volume, &ref);
                pthread_mutex_lock(&stack->lock);
                if (r < 0)
                    return r;
                continue;
            }
            if (r < 0)
                return r;
            here = !extent.hole;
            uint64_t extent_end = extent.claim.off + extent.claim.len;
            if (extent_end < next)
                next = extent_end;
        }
        if (here == data)
            return (int64_t)off;
        off = next;
    }
    return data ? -ENXIO : (int64_t)stack->size;
}

int64_t resize_next_data(struct stack *stack, uint64_t off)
{
    pthread_mutex_lock(&stack->lock);
    int64_t r;
    if (stack->kind == STACK_PLAIN) {
        r = lseek(stack->data_fd, (off_t)off, SEEK_DATA);
        r = r < 0 ? -errno : r;
    } else {
        r = seek_held(stack, off, true);
    }
    pthread_mutex_unlock(&stack->lock);
    return r;
}

int64_t stack_seek(struct stack *stack, uint64_t off, int whence)
{
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    pthread_mutex_lock(&stack->lock);
    stack_wait_transition(stack);
    int64_t r;
    uint64_t size = stack->size;
    struct stat st;
    if (stack->kind == STACK_PLAIN && fstat(stack->fd, &st) == 0)
        size = (uint64_t)st.st_size;
    if (stack->writers > 0) {
        /* A writer may hold changed pages of a mapping that we have not seen: all may be data. */
        r = off >= size ? -ENXIO : (int64_t)(whence == SEEK_DATA ? off : size);
    } else if (stack->kind == STACK_PLAIN) {
        r = stack_open_data(stack, false);
        if (r >= 0) {
            r = lseek(stack->data_fd, (off_t)off, whence);
            r = r < 0 ? -errno : r;
        }
    } else {
        r = stack_load(stack, false);
        if (r >= 0 && stack->kind == STACK_FOREIGN) /* a TIFF without holes */
            r = off >= stack->size ? -ENXIO : (int64_t)(whence == SEEK_DATA ? off : stack->size);
        else if (r >= 0)
            r = off >= stack->size ? -ENXIO : seek_held(stack, off, whence == SEEK_DATA);
    }
    pthread_mutex_unlock(&stack->lock);
    return r;
}
