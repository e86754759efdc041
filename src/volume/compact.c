/* Rewriting a closed file as a blob in canonical form: compaction of a BLOB, its archiving (archive.h), conversion
 * of a PLAIN file.
 *
 * The new blob is written to a temporary file in the store's own folder, synced, and put in the old
 * file's place by one rename. Until then the old file is the only copy and is not touched; from
 * then on the new one is. Readers go on meanwhile, writers wait; where voxels may lose something, readers, too. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/log.h"
#include "volume/archive.h"
#include "volume/pack.h"
#include "volume/scan.h"

/* Somebody who wants to write, or to open, does not wait for all of a rewrite. Compacting can be done as well
 * by the next mount. */
static bool is_unwanted(struct stack *stack)
{
    const struct volume *volume = stack->volume;
    return atomic_load(&stack->rewrite_unwanted) ||
           (stack->kind == STACK_BLOB && atomic_load(&volume->ending)) ||
           (atomic_load(&stack->rewrite_yields) && reencode_must_stop(stack->volume));
}

static bool must_stop(void *arg)
{
    return is_unwanted(arg);
}

static int source_read(void *ctx, void *buf, size_t len, uint64_t off)
{
    struct stack *stack = ctx;
    return is_unwanted(stack) ? -ECANCELED : read_exact(stack, buf, len, off);
}

/* A hole may be so large that to go through it takes hours. */
static int64_t source_next_data(void *ctx, uint64_t off)
{
    return is_unwanted(ctx) ? -ECANCELED : resize_next_data(ctx, off);
}

/* Reads the finished blob and compares: the old file goes only for one that was seen to be right.
 */
static int check_copy(struct stack *stack, int fd, uint64_t size)
{
    enum { PIECE = 1 << 20 };
    struct blob *blob = NULL;
    struct pack_reader *reader = NULL;
    const struct io *io = stack->volume->io;
    uint8_t *old = malloc(2 * PIECE), *new = old + PIECE;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int r = old == NULL ? -ENOMEM : own < 0 ? -errno : blob_open(io, own, false, &blob);
    if (r < 0 && own >= 0)
        close(own);
    if (r >= 0)
        r = pack_reader_create(blob, &reader);
    for (uint64_t at = 0; at < size && r >= 0; at += PIECE) {
        int64_t data = source_next_data(stack, at);
        if (data == -ENXIO)
            break; /* a hole to the end */
        if (data < 0) {
            r = (int)data;
            break;
        }
        at = (uint64_t)data;
        size_t len = size - at < PIECE ? (size_t)(size - at) : PIECE;
        r = source_read(stack, old, len, at);
        if (r >= 0)
            r = pack_reader_read(reader, new, len, at, NULL);
        if (r >= 0 && memcmp(old, new, len) != 0)
            r = -EIO;
    }
    pack_reader_destroy(&reader);
    blob_close(&blob);
    free(old);
    return r;
}

static int copy_xattr(int from, int to, const char *name)
{
    char value[65536];
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", from);
    ssize_t len = getxattr(link, name, value, sizeof(value));
    if (len < 0)
        return errno == ENODATA ? 0 : -errno;
    return fsetxattr(to, name, value, (size_t)len, 0) < 0 ? -errno : 0;
}

/* Owner, mode and attributes (ACLs among them) of the old file. */
static int copy_attributes(int from, int to, const struct stat *st)
{
    char link[64], names[65536];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", from);
    if (fchown(to, st->st_uid, st->st_gid) < 0)
        return -errno; /* never hand a file over to whoever compacts it */
    if (fchmod(to, st->st_mode & 07777) < 0)
        return -errno;
    ssize_t len = listxattr(link, names, sizeof(names));
    if (len < 0)
        return errno == ENOTSUP ? 0 : -errno;
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        int r = copy_xattr(from, to, name);
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_archive(struct stack *stack, struct archive *archive,
                         const struct pack_source *source, const struct pack_options *options,
                         int fd)
{
    struct blob *blob = stack->blob->blob;
    struct blob_stats stats;
    blob_stats(blob, &stats);
    int r = archive_prepare(archive, blob, source, options);
    return r < 0 ? r : archive_write(archive, stats.file_bytes, source, options, fd);
}

static int write_copy(struct stack *stack, int fd, uint64_t size, const struct timespec *mtime,
                      const char *name, struct archive *archive)
{
    struct pack_source source = {source_read, stack, size, *mtime, name, source_next_data};
    struct pack_options options = {.io = stack->volume->io,
                                   .pipeline = stack->pipeline,
                                   .chunk = stack->volume->config.chunk,
                                   .threads = 1,
                                   .stop = must_stop,
                                   .stop_arg = stack,
                                   .raw = stack->volume->config.raw,
                                   .n_raw = stack->volume->config.n_raw};
    if (archive != NULL)
        return write_archive(stack, archive, &source, &options, fd);
    int r = pack_encode(&source, &options, fd);
    if (r >= 0)
        r = check_copy(stack, fd, size);
    return r;
}

static bool same_ctime(const struct stat *a, const struct stat *b)
{
    return a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Owner, mode, attributes and times, which may be changed while the bytes are copied: the bytes are
 * on the disk when this begins, and it is done over where they have changed since. *dressed: as the copy has them. */
static int dress_copy(struct stack *stack, int fd, const struct timespec *mtime,
                      struct stat *dressed)
{
    const struct io *io = stack->volume->io;
    struct stat before, after;
    do {
        if (fstat(stack->fd, &before) < 0)
            return -errno;
        int r = copy_attributes(stack->fd, fd, &before);
        if (r < 0)
            return r;
        struct timespec times[2] = {before.st_atim, *mtime};
        if (futimens(fd, times) < 0)
            return -errno;
        r = io->fsync(io, fd);
        if (r < 0)
            return r;
        if (fstat(stack->fd, &after) < 0)
            return -errno;
    } while (!same_ctime(&before, &after));
    *dressed = after;
    return 0;
}

/* From here on nobody changes what the copy is to have: what was changed since it was dressed is the
 * last of it. No lock held. */
static int begin_exchange(struct stack *stack, int fd, const struct timespec *mtime,
                          struct stat *dressed)
{
    struct stat now;
    pthread_mutex_lock(&stack->lock);
    while (stack->n_attr > 0)
        pthread_cond_wait(&stack->changed, &stack->lock);
    stack->exchanging = true;
    pthread_mutex_unlock(&stack->lock);
    if (fstat(stack->fd, &now) < 0)
        return -errno;
    if (now.st_nlink != 1) /* it got another name meanwhile, which would keep the old bytes */
        return -EBUSY;
    return same_ctime(dressed, &now) ? 0 : dress_copy(stack, fd, mtime, dressed);
}

static void end_exchange(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    stack->exchanging = false;
    pthread_cond_broadcast(&stack->changed);
    pthread_mutex_unlock(&stack->lock);
}

/* The dressed copy, `temp`, takes the file's place; as tree_replace(). */
static int exchange(struct stack *stack, int fd, const char *temp, const struct timespec *mtime,
                    struct stat *dressed)
{
    struct volume *volume = stack->volume;
    struct stat st;
    int path_fd = openat(volume->state_fd, temp, O_PATH | O_CLOEXEC);
    if (path_fd < 0)
        return -errno;
    int r = begin_exchange(stack, fd, mtime, dressed);
    if (r >= 0 && fstat(path_fd, &st) < 0)
        r = -errno;
    if (r >= 0) {
        stack_rekey_begin(stack, &st);
        r = tree_replace(volume->tree, stack->fd, volume->state_fd, temp);
        stack_rekey_end(stack, r >= 0 ? path_fd : -1);
    }
    end_exchange(stack);
    close(path_fd);
    return r;
}

/* The same where the policy is still what it was when this began, wherever the file has been moved to: whoever is
 * told that from now on nothing is lost there can rely on it. */
static int exchange_if_wanted(struct stack *stack, const struct archive *archive, int fd,
                              const char *temp, const struct timespec *mtime, struct stat *dressed)
{
    struct policy *policy = stack->volume->policy;
    char path[PATH_MAX];
    const char *name;
    policy_freeze(policy);
    int r = stack_name(stack, path, sizeof(path), &name);
    if (r >= 0 && !archive_is_wanted(archive, policy, r > 0 ? path : ""))
        r = -ECANCELED;
    if (r >= 0)
        r = exchange(stack, fd, temp, mtime, dressed);
    policy_thaw(policy);
    return r;
}

/* Everything that needs no lock; `transition` keeps writers out. */
static int rewrite(struct stack *stack, uint64_t size, const struct timespec *mtime,
                   struct archive *archive)
{
    struct volume *volume = stack->volume;
    struct stat st;
    char path[PATH_MAX], temp[64];
    const char *name;
    if (fstat(stack->fd, &st) < 0)
        return -errno;
    if (st.st_nlink != 1)
        return -EBUSY;
    int r = stack_name(stack, path, sizeof(path), &name);
    if (r < 0)
        return r;
    snprintf(temp, sizeof(temp), "rewrite-%llu", (unsigned long long)st.st_ino);
    unlinkat(volume->state_fd, temp, 0);
    int fd = openat(volume->state_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = write_copy(stack, fd, size, mtime, name, archive);
    if (r >= 0)
        r = dress_copy(stack, fd, mtime, &st);
    if (r >= 0)
        r = archive != NULL ? exchange_if_wanted(stack, archive, fd, temp, mtime, &st)
                            : exchange(stack, fd, temp, mtime, &st);
    if (r < 0)
        unlinkat(volume->state_fd, temp, 0);
    close(fd);
    return r;
}

static bool is_moving(const struct stack *stack)
{
    return stack->flushing || stack->syncing || stack->transition || stack->n_jobs > 0 ||
           stack->pins > 0 || stack->plain_io > 0;
}

/* What a rewrite needs open; lock held. */
static int load(struct stack *stack)
{
    if (stack->kind == STACK_BLOB)
        return stack_load_layout(stack);
    char path[PATH_MAX];
    const char *name;
    int named = stack_name(stack, path, sizeof(path), &name);
    if (named < 0)
        return named;
    int r = stack_open_data(stack, false);
    return r < 0 ? r : stack_choose_pipeline(stack, named > 0 ? path : "");
}

/* Waits until nothing moves, loads pipeline and bytes, and sees whether it may be rewritten. Lock
 * held, dropped meanwhile: what was loaded before a wait may be unloaded after it. */
static int begin(struct stack *stack)
{
    do {
        while (is_moving(stack))
            pthread_cond_wait(&stack->changed, &stack->lock);
        int r = load(stack);
        if (r < 0)
            return r;
    } while (is_moving(stack) || stack->pipeline == NULL);
    if (stack->readers + stack->writers > 0 || stack->modified || stack->overlay.bytes > 0)
        return -EBUSY;
    if (stack->damaged)
        return -EIO;
    if (stack->volume->state_fd < 0)
        return -EROFS;
    return 0;
}

static void finish(struct stack *stack, int r, uint64_t size, const struct timespec *mtime)
{
    stack_own_ctime(stack);
    stack->transition = false;
    stack->rewriting = stack->archiving = false;
    atomic_store(&stack->rewrite_unwanted, false);
    if (r >= 0) {
        blobref_put(stack->volume, &stack->blob);
        if (stack->data_fd >= 0)
            close(stack->data_fd);
        stack->data_fd = -1;
        stack->data_rw = false;
        stack->kind = STACK_BLOB;
        stack->named_blob = true;
        stack->lower_rung = false;
        stack->size = size; /* a plain file's were not known here */
        stack->mtime = *mtime;
        stack->attr.valid = false;
        stack->convert_due = false;
    }
    if (r > 0) { /* in place, but a power cut may undo it: until that is synced it is not stored */
        stack->unsynced_name = true;
        stack_mark_dirty(stack);
    }
    pthread_cond_broadcast(&stack->changed);
}

/* What is encoded anew is so by the rewrite, too. No lock held. */
static void stop_reencoding(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    stack->n_rewriters++;
    while (stack->reencoding)
        pthread_cond_wait(&stack->changed, &stack->lock);
    pthread_mutex_unlock(&stack->lock);
}

/* Who sees other bytes than before is told by ctime. Lock held. */
static void tell_change(struct stack *stack)
{
    stack->ctime = now_real();
    atomic_store(&stack->stale_pages, true);
}

/* What has lost something is not encoded again: its receipts would be of other bytes. */
static int refuse_lossy(struct stack *stack)
{
    int lossy = stack->lossy ? 1 : pack_is_lossy(stack->blob->blob);
    return lossy > 0 ? -ENOTSUP : lossy;
}

static int compact(struct stack *stack, struct archive *archive)
{
    int r = flush_durable(stack, true);
    if (r < 0)
        return r;
    pthread_mutex_lock(&stack->lock);
    r = begin(stack);
    if (r >= 0 && stack->kind != STACK_BLOB)
        r = -EINVAL;
    if (r < 0) {
        stack_unload_if_idle(stack);
        pthread_mutex_unlock(&stack->lock);
        return r;
    }
    stack_keep_ctime(stack);
    stack->transition = true;
    stack->rewriting = true;
    stack->archiving = archive != NULL;
    uint64_t size = stack->size;
    struct timespec mtime = stack->mtime;
    pthread_mutex_unlock(&stack->lock);
    if (archive == NULL)
        r = refuse_lossy(stack);
    if (r >= 0)
        r = rewrite(stack, size, &mtime, archive);
    pthread_mutex_lock(&stack->lock);
    finish(stack, r, size, &mtime);
    if (r >= 0 && archive != NULL && archive->lossy_chunks > 0)
        tell_change(stack);
    struct stat st;
    if (r >= 0 && stack_load(stack, false) >= 0 && stack->blob != NULL &&
        fstat(blob_fd(stack->blob->blob), &st) == 0) {
        struct blobref *ref = blobref_get(stack->blob);
        pthread_mutex_unlock(&stack->lock);
        volume_note_stored(stack, ref, &st);
        blobref_put(stack->volume, &ref);
        pthread_mutex_lock(&stack->lock);
    }
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
    return r < 0 ? r : 0;
}

int compact_into(struct stack *stack, struct archive *archive)
{
    stop_reencoding(stack);
    int r = compact(stack, archive);
    pthread_mutex_lock(&stack->lock);
    stack->n_rewriters--;
    pthread_mutex_unlock(&stack->lock);
    return r;
}

int stack_compact(struct stack *stack)
{
    return compact_into(stack, NULL);
}

/* A plain file that nobody has open becomes a blob. */
static int convert(struct stack *stack)
{
    struct stat st;
    pthread_mutex_lock(&stack->lock);
    int r = begin(stack);
    if (r >= 0 && (stack->kind != STACK_PLAIN || stack->readers > 0 || stack->plain_io > 0))
        r = -EBUSY;
    if (r >= 0 && fstat(stack->fd, &st) < 0)
        r = -errno;
    if (r < 0) {
        pthread_mutex_unlock(&stack->lock);
        return r;
    }
    stack_keep_ctime(stack);
    stack->transition = true;
    stack->rewriting = true;
    pthread_mutex_unlock(&stack->lock);
    r = rewrite(stack, (uint64_t)st.st_size, &st.st_mtim, NULL);
    pthread_mutex_lock(&stack->lock);
    finish(stack, r, (uint64_t)st.st_size, &st.st_mtim);
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
    return r;
}

static bool much_is_dead(const struct stack *stack)
{
    struct blob_stats stats = {0};
    if (stack->readers + stack->writers > 0 || stack->kind != STACK_BLOB || stack->blob == NULL ||
        stack->lossy)
        return false;
    blob_stats(stack->blob->blob, &stats);
    return scan_dead(&stats) > 0;
}

static int has_room_for_copy(const struct stack *stack)
{
    struct blob_stats stats;
    blob_stats(stack->blob->blob, &stats);
    return volume_has_room(stack->volume, stats.live_bytes);
}

int compact_when_idle(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    int r = stack->rewrite_queued || stack->transition ? -EBUSY : stack_load(stack, false);
    if (r >= 0 && stack->readers + stack->writers > 0)
        r = -EBUSY;
    bool due = r >= 0 && much_is_dead(stack);
    if (due)
        r = has_room_for_copy(stack);
    due = due && r >= 0;
    stack_unload_if_idle(stack);
    atomic_store(&stack->rewrite_yields, due);
    pthread_mutex_unlock(&stack->lock);
    if (due)
        r = stack_compact(stack);
    atomic_store(&stack->rewrite_yields, false);
    return r;
}

static bool conversion_due(const struct stack *stack)
{
    return stack->convert_due && stack->kind == STACK_PLAIN;
}

static void rewrite_run(struct work *work)
{
    struct stack *stack = (struct stack *)((char *)work - offsetof(struct stack, rewrite_work));
    pthread_mutex_lock(&stack->lock);
    bool plain = conversion_due(stack);
    pthread_mutex_unlock(&stack->lock);
    int r = plain ? convert(stack) : stack_compact(stack);
    if (r < 0 && r != -EBUSY && r != -ECANCELED)
        log_warn("a file could not be rewritten: %s; it stays as it is", strerror(-r));
    pthread_mutex_lock(&stack->lock);
    stack->rewrite_queued = false;
    pthread_cond_broadcast(&stack->changed);
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
    stack_unref(stack);
}

void compact_if_worthwhile(struct stack *stack)
{
    bool dead = !stack->lower_rung && !stack->reencoding && much_is_dead(stack);
    if (stack->rewrite_queued || !(conversion_due(stack) || dead))
        return;
    stack->rewrite_queued = true;
    stack->rewrite_work.run = rewrite_run;
    stack_ref(stack);
    workq_push(stack->volume->rewriters, &stack->rewrite_work);
}
