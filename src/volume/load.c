/* What a stack needs open before its bytes can be reached: descriptors, the blob, the layout. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/names.h"
#include "volume/archive_note.h"
#include "volume/foreign.h"
#include "volume/pack.h"
#include "volume/scan.h"

struct blobref *blobref_create(struct volume *volume, struct blob *blob, bool writable)
{
    struct blobref *ref = malloc(sizeof(*ref));
    if (ref == NULL)
        return NULL;
    ref->blob = blob;
    atomic_init(&ref->refs, 1);
    ref->incarnation = atomic_fetch_add(&volume->next_incarnation, 1) + 1;
    ref->writable = writable;
    return ref;
}

struct blobref *blobref_get(struct blobref *ref)
{
    atomic_fetch_add(&ref->refs, 1);
    return ref;
}

void blobref_put(struct volume *volume, struct blobref **ref_p)
{
    struct blobref *ref = *ref_p;
    *ref_p = NULL;
    if (ref == NULL || atomic_fetch_sub(&ref->refs, 1) > 1)
        return;
    cache_drop_owner(volume->cache, ref->incarnation);
    blob_close(&ref->blob);
    free(ref);
}

int stack_open_backing(const struct stack *stack, bool write)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", stack->fd);
    int flags = (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
    int fd = open(link, flags);
    struct stat st;
    if (fd < 0 && errno == EACCES && fstat(stack->fd, &st) == 0 && st.st_uid == geteuid()) {
        /* Whether a caller may write was decided when he opened it; we store what he wrote even in
         * a file that its owner has made read-only. */
        chmod(link, (st.st_mode & 07777) | S_IRUSR | (write ? S_IWUSR : 0));
        fd = open(link, flags);
        int error = errno;
        chmod(link, st.st_mode & 07777);
        errno = error;
    }
    return fd >= 0 ? fd : -errno;
}

void stack_wait_transition(struct stack *stack)
{
    while (stack->transition) {
        atomic_store(&stack->rewrite_unwanted, stack->rewriting);
        pthread_cond_wait(&stack->changed, &stack->lock);
    }
}

static int open_once(const struct stack *stack, bool writable, struct blob **blob)
{
    int fd = stack_open_backing(stack, writable);
    if (fd < 0)
        return fd;
    int r = blob_open(stack->volume->io, fd, writable, blob);
    if (r < 0)
        close(fd);
    return r;
}

/* A blob whose end is missing would pass for an older stack, or an empty one. One that gets a
 * checkpoint and a new header between our looks at it seems cut too, but not twice. */
static int open_whole(const struct stack *stack, struct blob **blob)
{
    int cut = 1;
    for (unsigned look = 0; look < 2 && cut > 0; look++) {
        int r = open_once(stack, false, blob);
        if (r < 0)
            return r;
        cut = scan_is_cut(stack->volume->io, blob_fd(*blob), *blob, NULL);
        if (cut != 0)
            blob_close(blob);
    }
    return cut > 0 ? -EBADMSG : cut;
}

int stack_open_blob(struct stack *stack, bool writable, struct blobref **out)
{
    struct blob *blob = NULL;
    int r = open_whole(stack, &blob);
    if (r >= 0 && writable) { /* which takes a torn tail off: so only what was seen to be whole */
        blob_close(&blob);
        r = open_once(stack, true, &blob);
    }
    if (r < 0)
        return r;
    *out = blobref_create(stack->volume, blob, writable);
    if (*out == NULL) {
        blob_close(&blob);
        return -ENOMEM;
    }
    return 0;
}

static void take_state(struct stack *stack)
{
    struct blob_state state;
    blob_state(stack->blob->blob, &state);
    stack->size = state.size;
    stack->mtime = state.mtime;
    stack->lower_rung = pack_meta_lower_rung(state.meta);
    stack->lossy = archive_note_is_lossy(state.meta);
    struct blob_stats stats;
    struct stat st;
    blob_stats(stack->blob->blob, &stats);
    if (stats.n_checkpoints == 0 && fstat(blob_fd(stack->blob->blob), &st) == 0)
        stack->mtime = st.st_mtim; /* nothing was ever said of its time */
}

int stack_load(struct stack *stack, bool writable)
{
    stack_wait_transition(stack);
    bool foreign = stack->kind == STACK_FOREIGN;
    if (foreign && (writable || stack->scratch != NULL))
        return writable ? -EROFS : 0;
    if (!foreign && (stack->kind != STACK_BLOB ||
                     (stack->blob != NULL && (stack->blob->writable || !writable))))
        return 0;
    stack->transition = true;
    pthread_mutex_unlock(&stack->lock);
    struct blobref *ref = NULL;
    struct scratch *scratch = NULL;
    int r = foreign ? -EMEDIUMTYPE : stack_open_blob(stack, writable, &ref);
    if (r == -EMEDIUMTYPE)
        r = foreign_open(stack, &scratch);
    pthread_mutex_lock(&stack->lock);
    stack->transition = false;
    pthread_cond_broadcast(&stack->changed);
    if (scratch != NULL) {
        r = foreign_became(stack, scratch);
        return r == 0 && writable ? -EROFS : r;
    }
    if (r == -EBADMSG || r == -ENOTSUP) {
        volume_note_damaged(stack, 0, "cannot be opened as a blob; see sqyctl verify");
        return -EIO;
    }
    if (r < 0)
        return r;
    bool first = stack->blob == NULL && !stack->modified;
    blobref_put(stack->volume, &stack->blob);
    stack->blob = ref;
    if (first)
        take_state(stack);
    struct stat st;
    if (stack->volume->config.read_only && fstat(blob_fd(ref->blob), &st) == 0)
        stack_attr_set(&stack->loaded, &st);
    return 0;
}

/* By the name that the file has now, in the store. */
static bool has_blob_name(const struct stack *stack)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", stack->fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return stack->named_blob;
    path[n] = '\0';
    return names_has_suffix(path);
}

/* As it is now: *st may be of before the stack was emptied. Lock held, which keeps it so. */
static bool is_filled(const struct stack *stack)
{
    struct stat now;
    return fstat(stack->fd, &now) == 0 && now.st_size > 0;
}

/* Nobody uses it, nothing of it is loaded, and its backing file has nothing: somebody else has emptied
 * it. What the caller saw of it may be older than its bytes. */
static bool is_emptied(const struct stack *stack, const struct stat *seen)
{
    return seen->st_size == 0 && stack->readers + stack->writers + stack->pins == 0 &&
           !stack->modified && stack->overlay.bytes == 0 && stack->n_jobs == 0 &&
           !stack->flushing && !stack->syncing && stack->blob == NULL && stack->layout == NULL &&
           !is_filled(stack);
}

/* We never write to it, so any change is somebody's. Lock held. */
static void refresh_foreign(struct stack *stack, const struct stat *st)
{
    if (stack->transition || !foreign_is_moved(stack, st))
        return;
    foreign_unload(stack);
    stack->kind = STACK_BLOB;
    stack->attr.valid = false;
    stack->damaged = false;
}

void stack_refresh(struct stack *stack, const struct stat *st)
{
    if (stack->kind == STACK_FOREIGN)
        refresh_foreign(stack, st);
    if (stack->kind == STACK_FOREIGN)
        return;
    bool mine = !stack->volume->config.read_only &&
                (stack->kind != STACK_EMPTY || stack->modified || stack->overlay.bytes > 0);
    if (mine && stack->kind == STACK_BLOB && is_emptied(stack, st))
        mine = false;
    if (mine || stack->transition || stack->plain_io > 0)
        return;
    if (stack->volume->config.read_only)
        stack->named_blob = has_blob_name(stack);
    enum stack_kind kind = stack->named_blob ? STACK_BLOB : STACK_PLAIN;
    if (st->st_size == 0 || !is_filled(stack))
        kind = STACK_EMPTY;
    if (kind == stack->kind && (stack->blob == NULL || stack_attr_fits(&stack->loaded, st)))
        return;
    stack->damaged = false;
    blobref_put(stack->volume, &stack->blob);
    stack->kind = kind;
    stack->attr.valid = false;
    if (kind == STACK_EMPTY)
        stack->size = 0;
    if (stack->data_fd < 0 && kind != STACK_BLOB && stack->readers + stack->writers > 0)
        stack_open_data(stack, false);
}

int stack_name(const struct stack *stack, char *path, size_t len, const char **name)
{
    int r = tree_path(stack->volume->tree, stack->fd, path, len);
    if (r < 0)
        return r;
    char *slash = strrchr(path, '/');
    if (slash == NULL) {
        *name = path;
        return 0;
    }
    *slash = '\0';
    *name = slash + 1;
    return 1; /* path is the directory now */
}

static int memory_reader(void *ctx, void *buf, uint32_t len, uint64_t off)
{
    return read_memory(ctx, buf, len, off);
}

/* Decodes one piece so that read_memory() finds it in the cache. */
static int fetch(struct stack *stack, const struct layout_piece *want)
{
    enum { FETCH_MAX = 1 << 20 };
    size_t len = want->len < FETCH_MAX ? (size_t)want->len : FETCH_MAX;
    void *buf = malloc(len);
    if (buf == NULL)
        return -ENOMEM;
    pthread_mutex_unlock(&stack->lock);
    ssize_t r = read_stack(stack, buf, len, want->off, true);
    pthread_mutex_lock(&stack->lock);
    free(buf);
    return r < 0 ? (int)r : 0;
}

int stack_update_layout(struct stack *stack, bool final, bool wait)
{
    struct layout_piece want, last = {UINT64_MAX, 0};
    for (;;) {
        if (stack->layout == NULL)
            return 0;
        int r = layout_update(stack->layout, memory_reader, stack, stack->size, final, &want);
        stack->layout_behind = r > 0;
        if (r <= 0 || !wait || want.off >= stack->size)
            return r < 0 ? r : 0;
        if (want.off == last.off && want.len == last.len)
            return 0; /* fetched and gone again: the layout only advises */
        last = want;
        r = fetch(stack, &want);
        if (r < 0)
            return r;
    }
}

static const struct raw_policy *raw_policy_of(const struct stack *stack, const char *name)
{
    const struct volume_config *config = &stack->volume->config;
    for (unsigned i = 0; i < config->n_raw; i++)
        if (raw_policy_matches(&config->raw[i], name))
            return &config->raw[i];
    return NULL;
}

int stack_choose_pipeline(struct stack *stack, const char *dir)
{
    if (stack->pipeline != NULL)
        return 0;
    const char *text = stack->volume->config.pipeline;
    char *policy = NULL;
    struct blob_header header = {0};
    struct sqy_error error;
    if (stack->blob != NULL) {
        blob_header(stack->blob->blob, &header);
        if (policy_pipeline(header.pipename, &stack->pipeline, &error) == 0)
            return 0;
    }
    /* What is written to an archived stack is as exact as to any other. */
    if (policy_get(stack->volume->policy, POLICY_PIPELINE, dir, true, &policy) == 0) {
        text = policy;
    }
    int r = policy_pipeline(text, &stack->pipeline, &error);
    if (r < 0 && text == policy) /* told when the policies were read */
        r = policy_pipeline(stack->volume->config.pipeline, &stack->pipeline, &error);
    free(policy);
    return r;
}

int stack_load_layout(struct stack *stack)
{
    int r = stack_load(stack, true);
    if (r < 0 || stack->layout != NULL)
        return r;
    char path[PATH_MAX];
    const char *name = "", *dir = "";
    int named = stack_name(stack, path, sizeof(path), &name);
    if (named > 0)
        dir = path;
    r = stack_choose_pipeline(stack, dir);
    if (r < 0)
        return r;
    r = layout_create(stack->volume->config.chunk, raw_policy_of(stack, named < 0 ? "" : name),
                      &stack->layout);
    if (r < 0)
        return r;
    layout_note(stack->layout, 0, UINT64_MAX);
    r = stack_update_layout(stack, false, true);
    return r == -EIO || r == -EBADMSG ? 0 : r; /* damaged metadata advises nothing */
}

void stack_unload_if_idle(struct stack *stack)
{
    if (stack->readers + stack->writers > 0 || stack->modified || stack->overlay.bytes > 0 ||
        stack->n_jobs > 0 || stack->transition || stack->flushing || stack->syncing ||
        stack->pins > 0 || stack->plain_io > 0)
        return;
    layout_destroy(&stack->layout);
    sqy_pipeline_free(&stack->pipeline);
    if (stack->kind == STACK_BLOB)
        blobref_put(stack->volume, &stack->blob);
    foreign_unload(stack);
    if (stack->data_fd >= 0)
        close(stack->data_fd);
    stack->data_fd = -1;
    stack->data_rw = false;
}

int stack_open_data(struct stack *stack, bool write)
{
    if (stack->data_fd >= 0 && (stack->data_rw || !write))
        return 0;
    int fd = stack_open_backing(stack, write);
    if (fd < 0)
        return fd;
    if (stack->data_fd < 0) {
        stack->data_fd = fd;
    } else { /* exchanged under its number: others may be reading through it */
        int r = dup3(fd, stack->data_fd, O_CLOEXEC) < 0 ? -errno : 0;
        close(fd);
        if (r < 0)
            return r;
    }
    stack->data_rw = write;
    return 0;
}
