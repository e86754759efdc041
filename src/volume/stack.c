/* The regular files of a mount: one struct for each inode, its references and handles. What becomes
 * of the bytes is told in write.c, flush.c, job.c and read.c. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "volume/foreign.h"

static struct stack **bucket_of(struct volume *volume, uint64_t dev, uint64_t ino)
{
    uint64_t hash = (ino ^ dev * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
    return &volume->buckets[(hash >> 40) % VOLUME_BUCKETS];
}

static struct stack *find_stack(struct volume *volume, const struct stat *st)
{
    struct stack *stack = *bucket_of(volume, st->st_dev, st->st_ino);
    while (stack != NULL && (stack->dev != st->st_dev || stack->ino != st->st_ino))
        stack = stack->hash_next;
    return stack;
}

/* One that is just getting this inode. */
static struct stack *find_moving(struct volume *volume, const struct stat *st)
{
    struct stack *stack = volume->moving;
    while (stack != NULL && (stack->dev != st->st_dev || stack->moving_ino != st->st_ino))
        stack = stack->moving_next;
    return stack;
}

static void unhash_stack(struct volume *volume, struct stack *stack)
{
    struct stack **at = bucket_of(volume, stack->dev, stack->ino);
    while (*at != stack)
        at = &(*at)->hash_next;
    *at = stack->hash_next;
}

static void hash_stack(struct volume *volume, struct stack *stack)
{
    struct stack **at = bucket_of(volume, stack->dev, stack->ino);
    stack->hash_next = *at;
    *at = stack;
}

static struct stack *new_stack(struct volume *volume, int fd, bool blob, const struct stat *st)
{
    struct stack *stack = calloc(1, sizeof(*stack));
    if (stack == NULL)
        return NULL;
    stack->volume = volume;
    stack->fd = fd;
    stack->dev = st->st_dev;
    stack->ino = st->st_ino;
    stack->refs = 1;
    stack->data_fd = -1;
    stack->named_blob = blob;
    stack->mtime = st->st_mtim;
    if (st->st_size == 0)
        stack->kind = STACK_EMPTY;
    else
        stack->kind = blob ? STACK_BLOB : STACK_PLAIN;
    pthread_mutex_init(&stack->lock, NULL);
    pthread_cond_init(&stack->changed, NULL);
    overlay_init(&stack->overlay, volume->spool);
    return stack;
}

/* Its descriptor is what `fd` is from now on, under the same number; volume.lock held. */
static void redirect(struct stack *stack, int fd)
{
    while (dup3(fd, stack->fd, O_CLOEXEC) < 0 && (errno == EINTR || errno == EBUSY))
        ;
}

/* The stack of an inode, made where there is none (*made); volume.lock held. */
static int get_locked(struct volume *volume, int fd, bool blob, struct stack **out, bool *made)
{
    struct stat st;
    *made = false;
    if (fstat(fd, &st) < 0)
        return -errno;
    struct stack *stack = find_stack(volume, &st);
    if (stack != NULL) {
        redirect(stack, fd); /* the name it was found by now is the better one to know it by */
    } else {
        stack = find_moving(volume, &st);
    }
    if (stack != NULL) {
        stack->refs++;
        *out = stack;
        return 0;
    }
    if (st.st_nlink == 0) /* another file has taken its name since it was looked up */
        return -ESTALE;
    stack = new_stack(volume, fd, blob, &st);
    if (stack == NULL)
        return -ENOMEM;
    hash_stack(volume, stack);
    volume->n_stacks++;
    *made = true;
    *out = stack;
    return 0;
}

int stack_get(struct volume *volume, int fd, bool blob, struct stack **out)
{
    struct stat st;
    struct stack *stack = NULL;
    pthread_mutex_lock(&volume->lock);
    bool made;
    int r = get_locked(volume, fd, blob, &stack, &made);
    pthread_mutex_unlock(&volume->lock);
    if (r < 0)
        return r;
    if (stack->fd != fd)
        close(fd);
    if (!made && fstat(stack->fd, &st) == 0) {
        pthread_mutex_lock(&stack->lock);
        stack_refresh(stack, &st);
        pthread_mutex_unlock(&stack->lock);
    }
    *out = stack;
    return 0;
}

void stack_ref(struct stack *stack)
{
    pthread_mutex_lock(&stack->volume->lock);
    stack->refs++;
    pthread_mutex_unlock(&stack->volume->lock);
}

static void free_stack(struct stack *stack)
{
    blobref_put(stack->volume, &stack->blob);
    foreign_unload(stack);
    overlay_clear_all(&stack->overlay);
    layout_destroy(&stack->layout);
    sqy_pipeline_free(&stack->pipeline);
    if (stack->data_fd >= 0)
        close(stack->data_fd);
    close(stack->fd);
    pthread_cond_destroy(&stack->changed);
    pthread_mutex_destroy(&stack->lock);
    free(stack);
}

void stack_unref(struct stack *stack)
{
    struct volume *volume = stack->volume;
    pthread_mutex_lock(&volume->lock);
    bool last = --stack->refs == 0;
    if (last) {
        unhash_stack(volume, stack);
        volume->n_stacks--;
    }
    pthread_mutex_unlock(&volume->lock);
    if (last)
        free_stack(stack);
}

void stack_put(struct stack **stack)
{
    if (*stack == NULL)
        return;
    stack_unref(*stack);
    *stack = NULL;
}

void stack_rekey_begin(struct stack *stack, const struct stat *st)
{
    struct volume *volume = stack->volume;
    pthread_mutex_lock(&volume->lock);
    stack->moving_ino = st->st_ino;
    stack->moving_next = volume->moving;
    volume->moving = stack;
    pthread_mutex_unlock(&volume->lock);
}

/* Descriptor and key in one step: a lookup that still has the old inode would set it back between
 * them. */
void stack_rekey_end(struct stack *stack, int fd)
{
    struct volume *volume = stack->volume;
    pthread_mutex_lock(&volume->lock);
    struct stack **at = &volume->moving;
    while (*at != stack)
        at = &(*at)->moving_next;
    *at = stack->moving_next;
    if (fd >= 0) {
        redirect(stack, fd);
        unhash_stack(volume, stack);
        stack->ino = stack->moving_ino;
        hash_stack(volume, stack);
    }
    pthread_mutex_unlock(&volume->lock);
}

void stack_mark_dirty(struct stack *stack)
{
    struct volume *volume = stack->volume;
    if (!stack->modified)
        stack->dirty_since_ms = now_ms();
    stack->modified = true;
    pthread_mutex_lock(&volume->lock);
    if (!stack->in_dirty) {
        stack->in_dirty = true;
        stack->refs++;
        stack->dirty_prev = NULL;
        stack->dirty_next = volume->dirty;
        if (volume->dirty != NULL)
            volume->dirty->dirty_prev = stack;
        volume->dirty = stack;
        if (++volume->n_dirty == VOLUME_CROWD)
            pthread_cond_signal(&volume->tick);
    }
    pthread_mutex_unlock(&volume->lock);
    if (stack->kind != STACK_PLAIN)
        journal_open(stack); /* where there is no room for it: see write.c */
}

void stack_mark_clean(struct stack *stack)
{
    struct volume *volume = stack->volume;
    pthread_mutex_lock(&volume->lock);
    if (stack->in_dirty) {
        stack->in_dirty = false;
        stack->refs--;
        if (stack->dirty_prev != NULL)
            stack->dirty_prev->dirty_next = stack->dirty_next;
        else
            volume->dirty = stack->dirty_next;
        if (stack->dirty_next != NULL)
            stack->dirty_next->dirty_prev = stack->dirty_prev;
        volume->n_dirty--;
    }
    pthread_mutex_unlock(&volume->lock);
    journal_close(stack);
    spool_wake(volume->spool); /* it need not have had a log: who waits for one may be the last */
}

int stack_fd(const struct stack *stack)
{
    return stack->fd;
}

bool stack_is_blob(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    bool blob = stack->named_blob;
    pthread_mutex_unlock(&stack->lock);
    return blob;
}

/* ---- handles ---- */

int stack_open(struct stack *stack, bool write, int rw_fd)
{
    pthread_mutex_lock(&stack->lock);
    int r = 0;
    /* A reader of a blob that is open need not wait, not even for a rewrite, if that changes nothing. */
    if (write || stack->kind != STACK_BLOB || stack->blob == NULL || stack->archiving)
        stack_wait_transition(stack);
    if (stack->kind == STACK_BLOB || stack->kind == STACK_FOREIGN) {
        r = stack->blob != NULL ? 0 : stack_load(stack, false);
        if (r >= 0 && write && stack->kind == STACK_FOREIGN)
            r = -EROFS;
        if (r == -EIO && write) /* whoever opens it to write it anew must get that far */
            r = 0;
    } else if (rw_fd >= 0 && stack->data_fd < 0) {
        stack->data_fd = rw_fd;
        stack->data_rw = true;
        rw_fd = -1;
    } else {
        r = stack_open_data(stack, write);
    }
    if (r >= 0 && rw_fd >= 0)
        close(rw_fd);
    if (r >= 0 && write)
        stack->writers++;
    else if (r >= 0)
        stack->readers++;
    else
        stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
    return r;
}

bool stack_pages_are_stale(const struct stack *stack)
{
    return atomic_load(&stack->stale_pages);
}

void stack_pages_are_fresh(struct stack *stack)
{
    atomic_store(&stack->stale_pages, false);
}

static bool is_unlinked(const struct stack *stack)
{
    struct stat st;
    return fstat(stack->fd, &st) == 0 && st.st_nlink == 0;
}

void stack_lost_name(struct volume *volume, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_nlink > 0)
        return;
    pthread_mutex_lock(&volume->lock);
    struct stack *stack = find_stack(volume, &st);
    if (stack != NULL)
        stack->refs++;
    pthread_mutex_unlock(&volume->lock);
    if (stack == NULL)
        return;
    pthread_mutex_lock(&stack->lock);
    stack->nameless = true;
    if (stack->log != NULL)
        spool_log_gone(stack->log);
    pthread_mutex_unlock(&stack->lock);
    stack_unref(stack);
}

/* Nobody can reach the bytes any more, unless somebody comes while we wait: what is not stored need
 * not be. Lock held, dropped meanwhile. */
void stack_discard_if_unlinked(struct stack *stack)
{
    if (stack->readers + stack->writers > 0 || !stack->modified || !is_unlinked(stack))
        return;
    job_mark_stale(stack, 0, UINT64_MAX);
    job_wait(stack, stack->last_job);
    if (stack->readers + stack->writers > 0 || stack->transition || stack->flushing)
        return;
    overlay_clear_all(&stack->overlay);
    stack->modified = false;
    stack_mark_clean(stack);
}

void stack_release(struct stack *stack, bool write)
{
    pthread_mutex_lock(&stack->lock);
    if (write)
        stack->writers--;
    else
        stack->readers--;
    stack_discard_if_unlinked(stack);
    stack->released_ms = now_ms(); /* the ticker settles it after a rest */
    if (write && stack->writers == 0 && stack->unsettled && !is_unlinked(stack))
        stack_mark_dirty(stack);
    if (stack->convert_due && stack->readers + stack->writers == 0)
        flush_tend_async(stack);
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
}

int stack_error(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    int r = stack->error < 0 ? stack->error : stack->job_error;
    r = r < 0 ? r : stack->plain_error;
    stack->plain_error = 0;
    pthread_mutex_unlock(&stack->lock);
    return r;
}

int stack_fsync(struct stack *stack)
{
    int r = flush_durable(stack, false);
    pthread_mutex_lock(&stack->lock);
    r = r < 0 ? r : stack->plain_error;
    stack->plain_error = 0;
    pthread_mutex_unlock(&stack->lock);
    return r;
}

int stack_fix_kind(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    stack_wait_transition(stack);
    int r = 0;
    if (stack->kind == STACK_EMPTY && (stack->overlay.bytes > 0 || stack->size > 0))
        r = birth_classify(stack, true);
    pthread_mutex_unlock(&stack->lock);
    return r;
}
