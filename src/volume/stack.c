/* One regular file of the mount: its references, handles, attributes and writes. What it does with
 * the bytes is told in birth.c, flush.c, job.c and read.c. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/log.h"

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct timespec now_real(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* ---- the table of stacks ---- */

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

int stack_get(struct volume *volume, int fd, bool blob, struct stack **out)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    pthread_mutex_lock(&volume->lock);
    struct stack *stack = find_stack(volume, &st);
    if (stack != NULL) {
        stack->refs++;
    } else {
        stack = new_stack(volume, fd, blob, &st);
        if (stack != NULL) {
            hash_stack(volume, stack);
            volume->n_stacks++;
        }
    }
    pthread_mutex_unlock(&volume->lock);
    if (stack == NULL)
        return -ENOMEM;
    if (stack->fd != fd)
        close(fd);
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

/* Compaction has put another inode behind the descriptor. */
void stack_rekey(struct stack *stack, const struct stat *st)
{
    pthread_mutex_lock(&stack->volume->lock);
    unhash_stack(stack->volume, stack);
    stack->dev = st->st_dev;
    stack->ino = st->st_ino;
    hash_stack(stack->volume, stack);
    pthread_mutex_unlock(&stack->volume->lock);
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
        volume->n_dirty++;
    }
    pthread_mutex_unlock(&volume->lock);
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

/* ---- blobs and backing files ---- */

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
    int fd = open(link, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 ? fd : -errno;
}

void stack_wait_transition(struct stack *stack)
{
    while (stack->transition)
        pthread_cond_wait(&stack->changed, &stack->lock);
}

static int open_blob(struct stack *stack, bool writable, struct blobref **out)
{
    int fd = stack_open_backing(stack, writable);
    if (fd < 0)
        return fd;
    struct blob *blob;
    int r = blob_open(stack->volume->io, fd, writable, &blob);
    if (r < 0) {
        close(fd);
        return r;
    }
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
}

int stack_load(struct stack *stack, bool writable)
{
    stack_wait_transition(stack);
    if (stack->kind != STACK_BLOB || (stack->blob != NULL && (stack->blob->writable || !writable)))
        return 0;
    stack->transition = true;
    pthread_mutex_unlock(&stack->lock);
    struct blobref *ref = NULL;
    int r = open_blob(stack, writable, &ref);
    pthread_mutex_lock(&stack->lock);
    stack->transition = false;
    pthread_cond_broadcast(&stack->changed);
    if (r == -EBADMSG || r == -EMEDIUMTYPE || r == -ENOTSUP) {
        volume_note_damaged(stack, 0, "cannot be opened as a blob; see sqyctl verify");
        return -EIO;
    }
    if (r < 0)
        return r;
    bool first = stack->blob == NULL;
    blobref_put(stack->volume, &stack->blob);
    stack->blob = ref;
    if (first)
        take_state(stack);
    return 0;
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

/* By directory, by mount option, by default; a blob keeps what its header names. */
static int choose_pipeline(struct stack *stack, const char *dir)
{
    if (stack->pipeline != NULL)
        return 0;
    const char *text = stack->volume->config.pipeline;
    char *policy = NULL;
    struct blob_header header = {0};
    if (stack->blob != NULL) {
        blob_header(stack->blob->blob, &header);
        if (sqy_pipeline_parse(header.pipename, &stack->pipeline, NULL) == 0)
            return 0;
    } else if (policy_get(stack->volume->policy, dir, true, &policy) == 0) {
        text = policy;
    }
    int r = sqy_pipeline_parse(text, &stack->pipeline, NULL);
    if (r < 0 && text == policy)
        r = sqy_pipeline_parse(stack->volume->config.pipeline, &stack->pipeline, NULL);
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
    r = choose_pipeline(stack, dir);
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
        stack->n_jobs > 0 || stack->transition || stack->flushing || stack->plain_io > 0)
        return;
    layout_destroy(&stack->layout);
    sqy_pipeline_free(&stack->pipeline);
    if (stack->kind == STACK_BLOB)
        blobref_put(stack->volume, &stack->blob);
    if (stack->data_fd >= 0)
        close(stack->data_fd);
    stack->data_fd = -1;
    stack->data_rw = false;
}

/* ---- handles ---- */

/* An EMPTY or PLAIN file is read and written through a descriptor of its own; lock held. */
static int open_data(struct stack *stack, bool write)
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

int stack_open(struct stack *stack, bool write, int rw_fd)
{
    pthread_mutex_lock(&stack->lock);
    stack_wait_transition(stack);
    int r = 0;
    if (stack->kind == STACK_BLOB) {
        if (rw_fd >= 0)
            close(rw_fd);
        r = stack_load(stack, false);
    } else if (rw_fd >= 0 && stack->data_fd < 0) {
        stack->data_fd = rw_fd;
        stack->data_rw = true;
    } else {
        if (rw_fd >= 0)
            close(rw_fd);
        r = open_data(stack, write);
    }
    if (r >= 0 && write)
        stack->writers++;
    else if (r >= 0)
        stack->readers++;
    pthread_mutex_unlock(&stack->lock);
    return r;
}

static bool is_unlinked(const struct stack *stack)
{
    struct stat st;
    return fstat(stack->fd, &st) == 0 && st.st_nlink == 0;
}

/* Nobody can reach the bytes any more: what is not stored need not be. Lock held. */
static void discard(struct stack *stack)
{
    job_mark_stale(stack, 0, UINT64_MAX);
    job_wait(stack, stack->last_job);
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
    if (stack->readers + stack->writers == 0 && stack->modified && is_unlinked(stack))
        discard(stack);
    bool convert = stack->convert_due && stack->readers + stack->writers == 0;
    if ((write && stack->writers == 0 && stack->modified) || convert)
        flush_tend_async(stack);
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
}

/* ---- writing ---- */

static ssize_t write_plain(struct stack *stack, const void *buf, size_t len, uint64_t off)
{
    int fd = stack->data_fd;
    stack->plain_io++;
    pthread_mutex_unlock(&stack->lock);
    int r = io_pwrite_full(stack->volume->io, fd, buf, len, off);
    pthread_mutex_lock(&stack->lock);
    stack->plain_io--;
    pthread_cond_broadcast(&stack->changed);
    return r;
}

/* Bytes have arrived in the overlay; lock held. */
static void note_written(struct stack *stack, uint64_t off, uint64_t end)
{
    job_mark_stale(stack, off, end);
    if (end > stack->size)
        stack->size = end;
    stack->mtime = now_real();
    stack_mark_dirty(stack);
    if (layout_note(stack->layout, off, end - off) || stack->layout_behind)
        stack_update_layout(stack, false, false);
    if (stack->kind == STACK_BLOB)
        flush_completed(stack, off, end);
}

/* -EAGAIN where it would have to wait and may not; lock held. */
static int ready_to_write(struct stack *stack, bool wait)
{
    for (;;) {
        if (!stack->transition && !stack->hold) {
            if (stack->kind == STACK_PLAIN)
                return wait ? open_data(stack, true) : stack->data_rw ? 0 : -EAGAIN;
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
            pthread_cond_wait(&stack->changed, &stack->lock);
        }
    }
}

/* One try: how many bytes were taken, or an error; lock held. */
static ssize_t write_some(struct stack *stack, const void *buf, size_t len, uint64_t off, bool wait)
{
    int r = ready_to_write(stack, wait);
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
    ssize_t n = overlay_write(&stack->overlay, buf, len, off);
    if (n <= 0)
        return n;
    note_written(stack, off, off + (uint64_t)n);
    if (stack->kind == STACK_EMPTY) {
        r = birth_classify(stack, false);
        if (r < 0)
            return r;
    }
    return n;
}

int stack_write(struct stack *stack, const void *buf, size_t len, uint64_t off, bool wait)
{
    if (off > STACK_MAX_SIZE || len > STACK_MAX_SIZE - off)
        return -EFBIG;
    int r = volume_has_room(stack->volume, len);
    if (r < 0)
        return r;
    size_t done = 0;
    pthread_mutex_lock(&stack->lock);
    while (done < len && r >= 0) {
        ssize_t n = write_some(stack, (const uint8_t *)buf + done, len - done, off + done, wait);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0) {
            r = (int)n;
        } else if (!wait) {
            r = -EAGAIN;
        } else {
            pthread_mutex_unlock(&stack->lock);
            r = flush_make_room(stack);
            pthread_mutex_lock(&stack->lock);
        }
    }
    pthread_mutex_unlock(&stack->lock);
    if (r >= 0)
        atomic_fetch_add(&stack->volume->counters.bytes_in, len);
    if (spool_used(stack->volume->spool) > spool_total(stack->volume->spool) / 2)
        volume_kick(stack->volume);
    return r;
}

/* ---- size ---- */

int stack_punch(struct stack *stack, uint64_t off, uint64_t end)
{
    job_mark_stale(stack, off, end);
    int r = overlay_clear(&stack->overlay, off, end - off);
    while (r >= 0 && stack->kind == STACK_BLOB && stack->blob != NULL) {
        r = blob_punch(stack->blob->blob, off, end - off);
        if (r != -EAGAIN)
            break;
        struct blobref *ref = blobref_get(stack->blob);
        pthread_mutex_unlock(&stack->lock);
        r = blob_prepare(ref->blob, off, end - off);
        blobref_put(stack->volume, &ref);
        pthread_mutex_lock(&stack->lock);
        job_mark_stale(stack, off, end);
    }
    if (stack->layout != NULL)
        layout_note(stack->layout, off, end - off);
    return r;
}

static void modified_now(struct stack *stack)
{
    stack->mtime = now_real();
    stack_mark_dirty(stack);
    if (stack->writers == 0)
        flush_tend_async(stack);
}

/* Waits until the file may be changed, and loads what changing it needs; lock held. */
static int begin_change(struct stack *stack)
{
    while (stack->transition || stack->hold)
        pthread_cond_wait(&stack->changed, &stack->lock);
    if (stack->kind == STACK_PLAIN)
        return open_data(stack, true);
    if (stack->kind == STACK_BLOB)
        return stack_load(stack, true);
    return open_data(stack, true);
}

static int truncate_held(struct stack *stack, uint64_t size)
{
    if (stack->kind == STACK_PLAIN)
        return ftruncate(stack->data_fd, (off_t)size) < 0 ? -errno : 0;
    if (size == 0 && stack->kind == STACK_BLOB) {
        int r = birth_reset(stack);
        if (r < 0)
            return r;
    } else if (size < stack->size || stack->kind == STACK_EMPTY) {
        int r = stack_punch(stack, size, UINT64_MAX);
        if (r < 0)
            return r;
    }
    if (stack->kind == STACK_EMPTY && size == 0 && stack->overlay.bytes == 0 && stack->size == 0) {
        /* a plain empty file: its times are the backing file's */
        return ftruncate(stack->data_fd, 0) < 0 ? -errno : 0;
    }
    stack->size = size;
    modified_now(stack);
    return 0;
}

int stack_truncate(struct stack *stack, uint64_t size)
{
    if (size > STACK_MAX_SIZE)
        return -EFBIG;
    pthread_mutex_lock(&stack->lock);
    int r = begin_change(stack);
    if (r >= 0)
        r = truncate_held(stack, size);
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
    return r;
}

static int fallocate_held(struct stack *stack, int mode, uint64_t off, uint64_t len)
{
    if (stack->kind == STACK_PLAIN)
        return fallocate(stack->data_fd, mode, (off_t)off, (off_t)len) < 0 ? -errno : 0;
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
    else if (mode == FALLOC_FL_KEEP_SIZE || mode == 0)
        return 0; /* nothing that anybody can see */
    modified_now(stack);
    return 0;
}

int stack_fallocate(struct stack *stack, int mode, uint64_t off, uint64_t len)
{
    if (len == 0)
        return -EINVAL;
    if (off > STACK_MAX_SIZE || len > STACK_MAX_SIZE - off)
        return -EFBIG;
    pthread_mutex_lock(&stack->lock);
    int r = begin_change(stack);
    if (r >= 0)
        r = fallocate_held(stack, mode, off, len);
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
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

int64_t stack_seek(struct stack *stack, uint64_t off, int whence)
{
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    pthread_mutex_lock(&stack->lock);
    stack_wait_transition(stack);
    int64_t r;
    if (stack->kind == STACK_PLAIN) {
        r = open_data(stack, false);
        if (r >= 0) {
            r = lseek(stack->data_fd, (off_t)off, whence);
            r = r < 0 ? -errno : r;
        }
    } else {
        r = stack_load(stack, false);
        if (r >= 0)
            r = off >= stack->size ? -ENXIO : seek_held(stack, off, whence == SEEK_DATA);
    }
    pthread_mutex_unlock(&stack->lock);
    return r;
}

int stack_fsync(struct stack *stack)
{
    return flush_durable(stack, false);
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

/* ---- attributes ---- */

static void fill_stat(struct stack *stack, struct stat *st, uint64_t size,
                      const struct timespec *mtime)
{
    st->st_size = (off_t)size;
    st->st_mtim = *mtime;
    st->st_blocks += (blkcnt_t)(stack->overlay.n_blocks * (SPOOL_BLOCK / 512));
    st->st_blksize = (blksize_t)stack->volume->config.chunk;
}

static bool attr_fits(const struct stack_attr *attr, const struct stat *st)
{
    return attr->valid && attr->stored_bytes == (uint64_t)st->st_size &&
           same_time(&attr->stored_mtime, &st->st_mtim) &&
           same_time(&attr->stored_ctime, &st->st_ctim);
}

static int attr_from_row(void *ctx, const struct index_row *row)
{
    struct stack_attr *attr = ctx;
    attr->size = row->plain_bytes;
    attr->mtime = row->mtime;
    return strcmp(row->state, "stored") == 0 ? 0 : 1;
}

/* Reads what is known of a blob that is not open: the index, else the blob. No lock held. */
static int read_attr(struct stack *stack, const struct stat *st, struct stack_attr *attr)
{
    memset(attr, 0, sizeof(*attr));
    if (index_get_by_stat(stack->volume->index, st, attr_from_row, attr) != 0) {
        struct blobref *ref;
        int r = open_blob(stack, false, &ref);
        if (r < 0)
            return r;
        struct blob_state state;
        blob_state(ref->blob, &state);
        attr->size = state.size;
        attr->mtime = state.mtime;
        volume_note_stored(stack, ref);
        blobref_put(stack->volume, &ref);
    }
    attr->stored_bytes = (uint64_t)st->st_size;
    attr->stored_mtime = st->st_mtim;
    attr->stored_ctime = st->st_ctim;
    attr->valid = true;
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
        else if (attr_fits(&stack->attr, st))
            fill_stat(stack, st, stack->attr.size, &stack->attr.mtime);
        else
            return false;
        return true;
    }
    return true;
}

int stack_getattr(struct stack *stack, struct stat *st)
{
    pthread_mutex_lock(&stack->lock);
    bool known = getattr_from_memory(stack, st);
    pthread_mutex_unlock(&stack->lock);
    if (known)
        return 0;
    struct stack_attr attr;
    int r = read_attr(stack, st, &attr);
    pthread_mutex_lock(&stack->lock);
    if (r >= 0) {
        stack->attr = attr;
    } else {
        /* Shown with the size it has in the store, so that it can be seen, copied away or removed.
         */
        stack->damaged = true;
        r = 0;
    }
    if (!getattr_from_memory(stack, st) && r >= 0 && attr.valid)
        fill_stat(stack, st, attr.size, &attr.mtime);
    pthread_mutex_unlock(&stack->lock);
    return r;
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
    int r = stack_load(stack, true);
    if (r < 0)
        return r;
    stack->mtime = mtime->tv_nsec == UTIME_NOW ? now_real() : *mtime;
    stack_mark_dirty(stack);
    if (stack->writers == 0)
        flush_tend_async(stack);
    return 0;
}

int stack_utimens(struct stack *stack, const struct timespec times[2])
{
    int r = stack_fix_kind(stack);
    if (r >= 0)
        r = utimens_backing(stack, times);
    pthread_mutex_lock(&stack->lock);
    if (r >= 0 && stack->kind == STACK_BLOB && times[1].tv_nsec != UTIME_OMIT)
        r = set_mtime(stack, &times[1]);
    pthread_mutex_unlock(&stack->lock);
    return r;
}

static const char *state_name(const struct stack *stack)
{
    if (stack->damaged)
        return "damaged";
    if (stack->kind == STACK_PLAIN)
        return "plain";
    if (stack->n_jobs > 0)
        return "encoding";
    if (stack->overlay.bytes > 0)
        return "spooled";
    if (stack->modified && stack->tend_queued)
        return "encoding";
    return stack->kind == STACK_EMPTY && !stack->named_blob ? "plain" : "stored";
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
    if (stack->kind == STACK_BLOB && !stack->damaged) {
        bool keep = stack->blob != NULL;
        if (stack_load(stack, false) >= 0 && choose_pipeline(stack, "") >= 0)
            snprintf(out->pipeline, sizeof(out->pipeline), "%s",
                     sqy_pipeline_short(stack->pipeline));
        if (!keep)
            stack_unload_if_idle(stack);
    }
    out->state = state_name(stack);
    pthread_mutex_unlock(&stack->lock);
    out->ratio = out->stored_bytes > 0 && out->plain_bytes > 0
                     ? (double)out->plain_bytes / (double)out->stored_bytes
                     : 1;
    return 0;
}
