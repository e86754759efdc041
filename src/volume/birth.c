/* What a file is: decided from its first bytes, or from its name where it must.
 *
 * The backing file of an EMPTY stack is empty. To become a BLOB it is renamed (its inode stays) and
 * gets a header; to become PLAIN it gets the bytes that waited in the overlay. A kill between two
 * steps leaves an empty file under one of its two names, which is an EMPTY stack again; the bytes
 * were in the spool all the time. Truncating a BLOB to nothing goes the same way back: first the
 * file is emptied, then renamed, so that a blob's bytes never lie under a plain name. A PLAIN one has
 * its name already. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "store/names.h"
#include "volume/foreign.h"

enum verdict { VERDICT_OPEN, VERDICT_BLOB, VERDICT_PLAIN };

/* What has no name that a blob could lie under becomes plain by make_blob() failing. */
static enum verdict judge(const struct stack *stack, bool final)
{
    char path[PATH_MAX];
    const char *name;
    if (stack->named_blob)
        return VERDICT_BLOB;
    switch (layout_kind(stack->layout)) {
    case LAYOUT_TIFF:
    case LAYOUT_RAW:
        return VERDICT_BLOB;
    case LAYOUT_OPAQUE:
        return VERDICT_PLAIN;
    case LAYOUT_UNKNOWN:
        break;
    }
    if (!final)
        return VERDICT_OPEN;
    bool named = stack_name(stack, path, sizeof(path), &name) >= 0;
    return named && names_is_tiff(name) && stack->overlay.bytes > 0 ? VERDICT_BLOB : VERDICT_PLAIN;
}

/* Renames and writes the header. No lock held; `transition` keeps everybody else out. */
static int make_blob(struct stack *stack, bool *named_blob, struct blobref **out)
{
    struct volume *volume = stack->volume;
    bool renamed = !*named_blob;
    if (renamed) {
        int r = tree_become_blob(volume->tree, stack->fd);
        if (r == -EBUSY || r == -ESTALE || r == -ENAMETOOLONG || r == -EEXIST)
            return -ESTALE; /* other links, no name, no room for the suffix: stays plain */
        if (r < 0)
            return r;
        *named_blob = true;
    }
    struct blob_header header = {
        .pipename = sqy_pipeline_text(stack->pipeline), .type = SQY_BYTES, .rank = 1, .shape = {0}};
    struct blob *blob = NULL;
    int fd = fcntl(stack->data_fd, F_DUPFD_CLOEXEC, 0);
    int r = fd < 0 ? -errno : blob_create(volume->io, fd, &header, &blob);
    if (r >= 0) {
        fd = blob_fd(blob);
        *out = blobref_create(volume, blob, true);
        r = *out != NULL ? 0 : -ENOMEM;
    }
    if (r >= 0)
        return 0;
    if (fd >= 0 && r != -EEXIST && ftruncate(fd, 0) < 0)
        log_warn("cannot empty a blob that could not be begun: %s", strerror(errno));
    if (blob != NULL)
        blob_close(&blob);
    else if (fd >= 0)
        close(fd);
    if (renamed && tree_become_plain(volume->tree, stack->fd) == 0)
        *named_blob = false; /* else: an empty blob is as good a name to try again under */
    return r;
}

/* Writes what waited to the backing file. No lock held; `transition` keeps writers out. */
static int make_plain(struct stack *stack)
{
    int r = 0;
    uint64_t start, end, at = 0;
    uint8_t *buf = malloc(SPOOL_BLOCK);
    if (buf == NULL)
        return -ENOMEM;
    for (;;) {
        pthread_mutex_lock(&stack->lock);
        bool more = overlay_next(&stack->overlay, at, &start, &end);
        if (more && end - start > SPOOL_BLOCK)
            end = start + SPOOL_BLOCK;
        if (more)
            overlay_copy(&stack->overlay, buf, end - start, start);
        pthread_mutex_unlock(&stack->lock);
        if (!more)
            break;
        r = io_pwrite_full(stack->volume->io, stack->data_fd, buf, end - start, start);
        if (r < 0)
            break;
        at = end;
    }
    free(buf);
    if (r >= 0 && ftruncate(stack->data_fd, (off_t)stack->size) < 0)
        r = -errno;
    if (r < 0 && ftruncate(stack->data_fd, 0) < 0) /* EMPTY it was, and is */
        log_warn("cannot empty a file that could not be written: %s", strerror(errno));
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, stack->mtime};
    if (r >= 0 && futimens(stack->data_fd, times) < 0) /* written when the writer wrote, not now */
        log_debug("cannot set the time of a plain file: %s", strerror(errno));
    return r;
}

static void became_blob(struct stack *stack, struct blobref *ref)
{
    stack->kind = STACK_BLOB;
    stack->named_blob = true;
    stack->unsynced_name = true;
    stack->blob = ref;
    stack->attr.valid = false;
    stack_update_layout(stack, false, false);
    flush_completed(stack, 0, stack->size);
}

static void became_plain(struct stack *stack)
{
    stack->kind = STACK_PLAIN;
    overlay_clear_all(&stack->overlay);
    layout_destroy(&stack->layout);
    sqy_pipeline_free(&stack->pipeline);
    stack->modified = false;
    stack_own_ctime(stack);
    stack_mark_clean(stack);
    stack_mark_dirty(stack); /* without a log: what it has is in the file, and no sync has been */
}

int birth_classify(struct stack *stack, bool final)
{
    int r = 0;
    stack_wait_transition(stack);
    while (r >= 0 && stack->kind == STACK_EMPTY && stack->layout == NULL) {
        r = stack_load_layout(stack);
        stack_wait_transition(stack); /* the lock was dropped */
    }
    if (r < 0 || stack->kind != STACK_EMPTY)
        return r;
    enum verdict verdict = judge(stack, final);
    if (verdict == VERDICT_OPEN)
        return 0;
    r = stack_open_data(stack, true);
    if (r < 0)
        return r;
    stack->transition = true;
    bool named_blob = stack->named_blob;
    pthread_mutex_unlock(&stack->lock);
    struct blobref *ref = NULL;
    if (verdict == VERDICT_BLOB)
        r = make_blob(stack, &named_blob, &ref);
    if (verdict == VERDICT_PLAIN || r == -ESTALE)
        r = make_plain(stack);
    pthread_mutex_lock(&stack->lock);
    stack->transition = false;
    stack->named_blob = named_blob;
    if (r >= 0 && ref != NULL)
        became_blob(stack, ref);
    else if (r >= 0)
        became_plain(stack);
    pthread_cond_broadcast(&stack->changed);
    return r;
}

/* Empties the file, then gives it its plain name back where it may have one. No lock held. */
static int unmake_blob(struct stack *stack, int fd, bool *named_blob)
{
    int r = tree_fix_name(stack->volume->tree, stack->fd);
    if (r < 0)
        return r;
    if (ftruncate(fd, 0) < 0)
        return -errno;
    char path[PATH_MAX];
    const char *name;
    *named_blob = true;
    if (stack_name(stack, path, sizeof(path), &name) >= 0 && !names_has_suffix(name))
        *named_blob = tree_become_plain(stack->volume->tree, stack->fd) < 0;
    if (!*named_blob && tree_path(stack->volume->tree, stack->fd, path, sizeof(path)) >= 0)
        index_remove(stack->volume->index, path);
    return 0;
}

/* A hard-linked file stays what it is: it could not be renamed if it became a blob. Its descriptor is
 * nobody's at the moment; lock held. */
static int reset_plain(struct stack *stack)
{
    struct stat st;
    int r = stack_open_data(stack, true);
    if (r >= 0 && (fstat(stack->fd, &st) < 0 || ftruncate(stack->data_fd, 0) < 0))
        r = -errno;
    if (r < 0 || st.st_nlink != 1)
        return r;
    stack->kind = STACK_EMPTY;
    stack->size = 0;
    stack->convert_due = false;
    stack->attr.valid = false;
    return 0;
}

int birth_reset(struct stack *stack)
{
    while (stack->flushing || stack->syncing || stack->transition || stack->plain_io > 0)
        pthread_cond_wait(&stack->changed, &stack->lock);
    if (stack->kind == STACK_PLAIN)
        return reset_plain(stack);
    if (stack->kind != STACK_BLOB && stack->kind != STACK_FOREIGN)
        return 0;
    stack->transition = true;
    job_mark_stale(stack, 0, UINT64_MAX);
    job_wait(stack, stack->last_job);
    journal_size(stack, 0); /* a kill from now on leaves it empty */
    pthread_mutex_unlock(&stack->lock);
    bool named_blob = true;
    int fd = stack_open_backing(stack, true);
    int r = fd < 0 ? fd : unmake_blob(stack, fd, &named_blob);
    pthread_mutex_lock(&stack->lock);
    stack->transition = false;
    pthread_cond_broadcast(&stack->changed);
    if (r < 0) {
        journal_size(stack, stack->size);
        if (fd >= 0)
            close(fd);
        return r;
    }
    blobref_put(stack->volume, &stack->blob);
    foreign_unload(stack);
    journal_forget_all(stack);
    overlay_clear_all(&stack->overlay);
    layout_destroy(&stack->layout);
    sqy_pipeline_free(&stack->pipeline);
    stack->kind = STACK_EMPTY;
    stack->named_blob = named_blob;
    stack->size = 0;
    stack->damaged = false;
    stack->lossy = false;
    stack->lower_rung = false;
    stack->attr.valid = false;
    stack->modified = false;
    stack_mark_clean(stack);
    if (stack->data_fd >= 0)
        close(stack->data_fd);
    stack->data_fd = fd;
    stack->data_rw = true;
    return 0;
}
