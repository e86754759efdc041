/* What the mount shows of a file: size, blocks, times, state. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "volume/archive_note.h"
#include "volume/foreign.h"

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static void fill_stat(struct stack *stack, struct stat *st, uint64_t size,
                      const struct timespec *mtime)
{
    st->st_size = (off_t)size;
    st->st_mtim = *mtime;
    st->st_blocks += (blkcnt_t)(atomic_load(&stack->overlay.n_held) * (SPOOL_BLOCK / 512));
    st->st_blksize = (blksize_t)stack->volume->config.chunk;
}

/* ---- ctime ----
 *
 * Storing a file moves its backing file's ctime, long after the file was changed: who reads the file
 * meanwhile (tar) would take it for one that is being changed. */

static struct timespec later(struct timespec a, struct timespec b)
{
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec) ? a : b;
}

static bool is_ours(const struct stack *stack, const struct stat *st)
{
    bool storing = stack->kind != STACK_PLAIN && (stack->modified || stack->syncing);
    return storing || stack->rewriting || same_time(&stack->own_ctime, &st->st_ctim);
}

static struct timespec visible_ctime(const struct stack *stack, const struct stat *st)
{
    if (stack->ctime.tv_sec != 0 && is_ours(stack, st))
        return stack->ctime;
    return later(stack->ctime, st->st_ctim);
}

void stack_keep_ctime(struct stack *stack)
{
    struct stat st;
    if (fstat(stack->fd, &st) == 0)
        stack->ctime = visible_ctime(stack, &st);
}

void stack_own_ctime(struct stack *stack)
{
    struct stat st;
    if (fstat(stack->fd, &st) == 0)
        stack->own_ctime = st.st_ctim;
}

void stack_changed(struct stack *stack, const struct timespec *mtime)
{
    stack->mtime = *mtime;
    stack_mark_dirty(stack);
    journal_mtime(stack);
    stack->ctime = now_real();
}

void stack_begin_attr(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    while (stack->exchanging)
        pthread_cond_wait(&stack->changed, &stack->lock);
    stack->n_attr++;
    pthread_mutex_unlock(&stack->lock);
}

void stack_end_attr(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    stack->n_attr--;
    pthread_cond_broadcast(&stack->changed);
    pthread_mutex_unlock(&stack->lock);
}

void stack_touch(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    if (stack->ctime.tv_sec != 0)
        stack->ctime = now_real();
    pthread_mutex_unlock(&stack->lock);
}

bool stack_attr_fits(const struct stack_attr *attr, const struct stat *st)
{
    return attr->valid && attr->stored_bytes == (uint64_t)st->st_size &&
           same_time(&attr->stored_mtime, &st->st_mtim) &&
           same_time(&attr->stored_ctime, &st->st_ctim);
}

void stack_attr_set(struct stack_attr *attr, const struct stat *st)
{
    attr->stored_bytes = (uint64_t)st->st_size;
    attr->stored_mtime = st->st_mtim;
    attr->stored_ctime = st->st_ctim;
    attr->valid = true;
}

static void attr_from_index(struct stack_attr *attr, const struct index_attr *row,
                            const struct stat *st)
{
    attr->size = row->plain_bytes;
    attr->mtime = row->mtime;
    stack_attr_set(attr, st);
}

/* Reads what is known of a blob that is not open: the index, else the blob. No lock held. */
static int read_attr(struct stack *stack, const struct stat *st, struct stack_attr *attr)
{
    struct index_attr row;
    memset(attr, 0, sizeof(*attr));
    if (index_attr(stack->volume->index, st, &row) == 0) {
        attr_from_index(attr, &row, st);
    } else {
        struct blobref *ref;
        int r = stack_open_blob(stack, false, &ref);
        if (r == -EMEDIUMTYPE) {
            r = foreign_attr(stack, st, attr);
            if (r >= 0)
                stack_attr_set(attr, st);
            return r;
        }
        if (r < 0)
            return r;
        struct blob_state state;
        blob_state(ref->blob, &state);
        attr->size = state.size;
        attr->mtime = state.mtime;
        struct blob_stats stats;
        blob_stats(ref->blob, &stats);
        if (stats.n_checkpoints == 0)
            attr->mtime = st->st_mtim;
        volume_note_stored(stack, ref, st);
        blobref_put(stack->volume, &ref);
    }
    stack_attr_set(attr, st);
    return 0;
}

/* true where *st is what the mount shows now; lock held. */
static bool getattr_from_memory(struct stack *stack, struct stat *st)
{
    switch (stack->kind) {
    case STACK_PLAIN:
        return true;
    case STACK_EMPTY:
        if (stack->overlay.bytes > 0 || stack->size > 0)
            fill_stat(stack, st, stack->size, &stack->mtime);
        return true;
    case STACK_BLOB:
        if (stack->blob != NULL)
            fill_stat(stack, st, stack->size, &stack->mtime);
        else if (stack_attr_fits(&stack->attr, st))
            fill_stat(stack, st, stack->attr.size, &stack->attr.mtime);
        else
            return false;
        return true;
    case STACK_FOREIGN:
        if (stack->scratch != NULL)
            fill_stat(stack, st, stack->size, &stack->loaded.stored_mtime);
        else if (stack_attr_fits(&stack->attr, st))
            fill_stat(stack, st, stack->attr.size, &stack->attr.mtime);
        else
            return false;
        return true;
    }
    return true;
}

/* A rewrite takes the old inode's name away before the new one is behind the descriptor: such a file
 * has one name all the time. Lock held. */
static void mend_links(const struct stack *stack, struct stat *st)
{
    struct stat now;
    if (st->st_nlink > 0)
        return;
    if (stack->rewriting)
        st->st_nlink = 1;
    else if (fstat(stack->fd, &now) == 0)
        *st = now;
}

/* A blob that is not open, and as its stat says; lock held. */
static bool is_still(const struct stack *stack, const struct stat *st)
{
    struct stat now;
    return stack->kind == STACK_BLOB && stack->blob == NULL && fstat(stack->fd, &now) == 0 &&
           now.st_size == st->st_size && same_time(&now.st_ctim, &st->st_ctim);
}

/* What the caller saw of a file that is shown as it is may be of before it became that: written out of
 * memory, or emptied. Lock held. */
static void look_again(const struct stack *stack, struct stat *st)
{
    struct stat now;
    if ((stack->kind != STACK_PLAIN && stack->kind != STACK_EMPTY) || fstat(stack->fd, &now) < 0)
        return;
    *st = now;
    mend_links(stack, st);
}

/* Also from what the index has in memory; lock held. */
static bool getattr_at_once(struct stack *stack, struct stat *st)
{
    struct index_attr row;
    mend_links(stack, st);
    stack_refresh(stack, st);
    look_again(stack, st);
    bool known = getattr_from_memory(stack, st);
    if (!known && index_attr_near(stack->volume->index, st, &row) == 0) {
        attr_from_index(&stack->attr, &row, st);
        known = getattr_from_memory(stack, st);
    }
    if (known) /* last of all: until then it is the backing file's, to be compared */
        st->st_ctim = visible_ctime(stack, st);
    return known;
}

int stack_try_getattr(struct stack *stack, struct stat *st)
{
    pthread_mutex_lock(&stack->lock);
    bool known = getattr_at_once(stack, st);
    pthread_mutex_unlock(&stack->lock);
    return known ? 0 : -EAGAIN;
}

int stack_getattr(struct stack *stack, struct stat *st)
{
    if (stack_try_getattr(stack, st) == 0)
        return 0;
    struct stack_attr attr;
    int r = read_attr(stack, st, &attr);
    bool broken = r == -EBADMSG || r == -ENOTSUP;
    if (r < 0 && !broken)
        return r;
    pthread_mutex_lock(&stack->lock);
    if (!broken)
        stack->attr = attr;
    else if (is_still(
                 stack,
                 st)) /* shown with the size it has in the store, to be copied away or removed */
        stack->damaged = true;
    if (!getattr_from_memory(stack, st) && !broken)
        fill_stat(stack, st, attr.size, &attr.mtime);
    st->st_ctim = visible_ctime(stack, st);
    pthread_mutex_unlock(&stack->lock);
    return 0;
}

static int utimens_backing(const struct stack *stack, const struct timespec times[2])
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", stack->fd);
    return utimensat(AT_FDCWD, link, times, 0) < 0 ? -errno : 0;
}

/* The visible mtime of a blob lies in its checkpoint; lock held. */
static int set_mtime(struct stack *stack, const struct timespec *mtime)
{
    int r;
    while ((r = stack_load(stack, true)) >= 0 && stack->kind == STACK_BLOB &&
           (r = journal_open(stack)) == -EAGAIN)
        if ((r = journal_wait(stack)) < 0)
            return r;
    if (stack->kind == STACK_FOREIGN)
        return 0; /* its time is the backing file's */
    if (r < 0)
        return r;
    struct timespec now = now_real();
    stack_changed(stack, mtime->tv_nsec == UTIME_NOW ? &now : mtime);
    return 0;
}

int stack_utimens(struct stack *stack, const struct timespec times[2])
{
    int r = stack_fix_kind(stack);
    if (r < 0)
        return r;
    pthread_mutex_lock(&stack->lock);
    stack_wait_transition(stack);
    stack->pins++; /* a rewrite that begins now would give the file back its old time */
    pthread_mutex_unlock(&stack->lock);
    r = utimens_backing(stack, times);
    pthread_mutex_lock(&stack->lock);
    if (r >= 0 && stack->kind == STACK_BLOB && times[1].tv_nsec != UTIME_OMIT)
        r = set_mtime(stack, &times[1]);
    stack->pins--;
    pthread_cond_broadcast(&stack->changed);
    pthread_mutex_unlock(&stack->lock);
    stack_touch(stack);
    return r;
}

static const char *state_name(const struct stack *stack)
{
    if (stack->damaged)
        return "damaged";
    if (stack->kind == STACK_PLAIN)
        return "plain";
    if (stack->kind == STACK_BLOB && stack->overlay.bytes == 0 && !stack->unsettled)
        return "stored"; /* what is under way is done again, and better */
    if (stack->n_jobs > 0)
        return "encoding";
    if (stack->overlay.bytes > 0)
        return "spooled";
    if (stack->modified && stack->tend_queued)
        return "encoding";
    return stack->kind == STACK_EMPTY && !stack->named_blob ? "plain" : "stored";
}

static void show_blob(struct blob *blob, struct stack_info *out)
{
    struct sqy_pipeline *pipeline = NULL;
    struct blob_header header;
    struct blob_state state;
    blob_header(blob, &header);
    blob_state(blob, &state);
    bool known = sqy_pipeline_parse(header.pipename, &pipeline, NULL) >= 0;
    snprintf(out->pipeline, sizeof(out->pipeline), "%s",
             known ? sqy_pipeline_short(pipeline) : header.pipename);
    sqy_pipeline_free(&pipeline);
    archive_quality(state.meta, out->quality, sizeof(out->quality));
}

int stack_info(struct stack *stack, struct stack_info *out)
{
    struct stat st;
    memset(out, 0, sizeof(*out));
    if (fstat(stack->fd, &st) < 0)
        return -errno;
    out->stored_bytes = (uint64_t)st.st_size;
    int r = stack_getattr(stack, &st);
    if (r < 0)
        return r;
    out->plain_bytes = (uint64_t)st.st_size;
    pthread_mutex_lock(&stack->lock);
    if ((stack->kind == STACK_BLOB || stack->kind == STACK_FOREIGN) && !stack->damaged) {
        bool keep = stack->blob != NULL;
        if (!keep || !stack->rewriting) /* which would end for us */
            r = stack_load(stack, false);
        if (stack->scratch != NULL)
            snprintf(out->pipeline, sizeof(out->pipeline), "%s", scratch_pipeline(stack->scratch));
        else if (r >= 0 && stack->blob != NULL)
            show_blob(stack->blob->blob, out);
        if (!keep)
            stack_unload_if_idle(stack);
    } else if (!stack->damaged) {
        snprintf(out->quality, sizeof(out->quality), "lossless");
    }
    out->state = state_name(stack);
    pthread_mutex_unlock(&stack->lock);
    out->ratio = out->stored_bytes > 0 && out->plain_bytes > 0
                     ? (double)out->plain_bytes / (double)out->stored_bytes
                     : 1;
    return 0;
}
