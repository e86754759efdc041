/* Where the spool lies, and what becomes of one that a killed daemon has left.
 *
 * It lies in a filesystem of memory under a name made of the store's own directory: its inode and when
 * that was made. STORE/.sqyfs/spool is a symbolic link to it, for a store whose spool is elsewhere than
 * where we would look. Where there is no such filesystem, or no room in it, the file lies in
 * STORE/.sqyfs itself.
 *
 * Taken over, each stack that had something in it is as it was at the moment of the kill: its blob
 * resumed behind its last checkpoint, the chunks of its log entered again, its runs laid over that. It
 * is then stored as any other whose writer has closed it. Until that is done the spool remains as it
 * is, so a second kill, here too, finds what the first one left: everything done twice is harmless. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "store/spool_run.h"
#include "volume/archive_note.h"
#include "volume/pack.h"
#include "volume/scan.h"

#define MEMORY_DIR "/dev/shm"
#define LINK       "spool"
#define DISK_FILE  "spool.data"

/* ---- which stacks ---- */

struct left {
    uint32_t number;
    struct spool_file file; /* without its path */
    char *path;             /* NULL: not known */
    uint64_t size;
    bool has_mtime;
    struct timespec mtime;
    int fd;              /* O_PATH; -1: not found */
    bool blob;           /* lies under the blob spelling */
    struct stack *stack; /* NULL: its file is gone */
    struct overlay lost; /* its runs, then */
};

struct takeover {
    struct volume *volume;
    struct left *left; /* ascending numbers */
    size_t n, n_missing;
    uint64_t n_lost_entries;
};

static int collect(struct takeover *takeover)
{
    uint32_t number = 0;
    struct spool_left found;
    size_t cap = 0;
    for (; spool_log_left(takeover->volume->spool, &number, &found); number++) {
        if (takeover->n == cap) {
            cap = cap * 2 + 64;
            struct left *grown = realloc(takeover->left, cap * sizeof(*grown));
            if (grown == NULL)
                return -ENOMEM;
            takeover->left = grown;
        }
        struct left *left = &takeover->left[takeover->n++];
        *left = (struct left){.number = number,
                              .file = found.file,
                              .size = found.size,
                              .has_mtime = found.has_mtime,
                              .mtime = found.mtime,
                              .fd = -1};
        left->file.path = NULL;
        overlay_init(&left->lost, takeover->volume->spool);
        if (found.file.path != NULL && (left->path = strdup(found.file.path)) == NULL)
            return -ENOMEM;
    }
    return 0;
}

/* `leave`: it has come to nothing, and the spool is to stay as it is. */
static void forget(struct takeover *takeover, bool leave)
{
    for (size_t i = 0; i < takeover->n; i++) {
        struct left *left = &takeover->left[i];
        free(left->path);
        if (left->fd >= 0)
            close(left->fd);
        if (leave)
            overlay_leave(left->stack != NULL ? &left->stack->overlay : &left->lost);
        overlay_clear_all(&left->lost);
        stack_put(&left->stack);
    }
    free(takeover->left);
}

static const char *name_of(const struct left *left)
{
    return left->path != NULL ? left->path : "a file with a long name";
}

/* ---- their files ---- */

static bool is_file(int fd, const struct left *left)
{
    struct spool_file file;
    return journal_file(fd, &file) == 0 && file.ino == left->file.ino &&
           (file.btime == left->file.btime || file.btime == 0 || left->file.btime == 0);
}

/* Then nothing can be said of whether a file is there. */
static bool is_trouble(int r)
{
    return r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -EIO;
}

static int find_by_path(struct takeover *takeover, struct left *left)
{
    struct tree *tree = takeover->volume->tree;
    char dir[SPOOL_LOG_PATH + 1] = ".";
    const char *name = left->path;
    if (name == NULL)
        return 0;
    const char *slash = strrchr(name, '/');
    if (slash != NULL) {
        snprintf(dir, sizeof(dir), "%.*s", (int)(slash - name), name);
        name = slash + 1;
    }
    struct tree_entry entry = {.fd = -1};
    int dir_fd = openat(tree_root(tree), dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return is_trouble(-errno) ? -errno : 0;
    int r = tree_lookup(tree, dir_fd, name, &entry);
    if (r == 0 && S_ISREG(entry.st.st_mode) && is_file(entry.fd, left)) {
        left->fd = entry.fd;
        left->blob = entry.blob;
    } else if (r == 0) {
        close(entry.fd);
    }
    close(dir_fd);
    return is_trouble(r) ? r : 0;
}

/* One that was renamed, or lies in a directory that was. */
static int match_missing(void *ctx, const struct scan_file *file)
{
    struct takeover *takeover = ctx;
    for (size_t i = 0; i < takeover->n; i++) {
        struct left *left = &takeover->left[i];
        if (left->fd >= 0 || left->file.ino != file->st.st_ino)
            continue;
        int fd = openat(file->dir_fd, file->stored, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && is_trouble(-errno))
            return -errno;
        if (fd >= 0 && is_file(fd, left)) {
            left->fd = fd;
            left->blob = file->blob;
            takeover->n_missing--;
        } else if (fd >= 0) {
            close(fd);
        }
    }
    return takeover->n_missing == 0;
}

static int find_files(struct takeover *takeover)
{
    for (size_t i = 0; i < takeover->n; i++) {
        int r = find_by_path(takeover, &takeover->left[i]);
        if (r < 0)
            return r;
        takeover->n_missing += takeover->left[i].fd < 0;
    }
    int r = takeover->n_missing > 0
                ? scan_walk(tree_root(takeover->volume->tree), true, match_missing, takeover, NULL)
                : 0;
    return r < 0 ? r : 0;
}

static int take_stacks(struct takeover *takeover)
{
    struct volume *volume = takeover->volume;
    for (size_t i = 0; i < takeover->n; i++) {
        struct left *left = &takeover->left[i];
        if (left->fd < 0)
            continue;
        int r = stack_get(volume, left->fd, left->blob, &left->stack);
        if (r < 0)
            return r;
        left->fd = -1; /* the stack's */
        struct stack *stack = left->stack;
        if (stack->log != NULL || stack->kind == STACK_FOREIGN) {
            stack_put(&left->stack);
            continue;
        }
        stack->log = spool_log_adopt(volume->spool, left->number);
        stack->overlay.owner = left->number;
    }
    return 0;
}

static int compare_number(const void *key, const void *item)
{
    uint32_t number = *(const uint32_t *)key;
    const struct left *left = item;
    return (number > left->number) - (number < left->number);
}

static int take_runs(struct takeover *takeover)
{
    uint32_t id = 0, owner;
    for (; spool_run_left(takeover->volume->spool, &id, &owner); id++) {
        struct left *left =
            bsearch(&owner, takeover->left, takeover->n, sizeof(*left), compare_number);
        if (left == NULL)
            continue;
        int r = overlay_adopt(left->stack != NULL ? &left->stack->overlay : &left->lost, id);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < takeover->n; i++) {
        struct left *left = &takeover->left[i];
        overlay_adopted(left->stack != NULL ? &left->stack->overlay : &left->lost);
    }
    return 0;
}

/* ---- bringing them back ---- */

static int write_runs(const struct volume *volume, const struct overlay *overlay, int fd)
{
    uint8_t *buf = malloc(SPOOL_BLOCK);
    uint64_t start, end;
    int r = buf != NULL ? 0 : -ENOMEM;
    for (uint64_t at = 0; r >= 0 && overlay_next(overlay, at, &start, &end); at = end) {
        end = end - start < SPOOL_BLOCK ? end : start + SPOOL_BLOCK;
        overlay_copy(overlay, buf, end - start, start);
        r = io_pwrite_full(volume->io, fd, buf, end - start, start);
    }
    free(buf);
    return r;
}

#define LOST_TEMPORARY "rewrite-lost" /* as those of compact.c: the next mount removes it */

/* Under a name that says when, and that no other has: nobody else makes any. */
static int name_lost(const struct volume *volume, char *name, size_t len)
{
    unsigned i = 0;
    do
        snprintf(name, len, "lost-%08llx-%u", (unsigned long long)time(NULL), i++);
    while (faccessat(volume->state_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
    return volume->io->rename(volume->io, volume->state_fd, LOST_TEMPORARY, volume->state_fd, name,
                              0);
}

static int write_lost(const struct volume *volume, const struct left *left, char *name, size_t len)
{
    int fd = openat(volume->state_fd, LOST_TEMPORARY, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : write_runs(volume, &left->lost, fd);
    if (r >= 0 && left->size != SPOOL_LOG_NO_SIZE && ftruncate(fd, (off_t)left->size) < 0)
        r = -errno;
    if (r >= 0)
        r = volume->io->fsync(volume->io, fd);
    if (fd >= 0)
        close(fd);
    return r < 0 ? r : name_lost(volume, name, len);
}

/* Its name has become another file's, or nobody's: somebody has deleted or moved it in the store, or it
 * was deleted in the mount a moment before the kill. Nobody is asked what he meant. */
static int keep_lost(struct takeover *takeover, struct left *left)
{
    struct volume *volume = takeover->volume;
    char name[64];
    if (left->lost.bytes == 0)
        return 0;
    int r = write_lost(volume, left, name, sizeof(name));
    if (r < 0)
        return r;
    log_error(
        "%s: is gone from the store; %llu bytes that were written to it last and not stored yet "
        "are kept in .sqyfs/%s, where they lie in the file",
        name_of(left), (unsigned long long)left->lost.bytes, name);
    overlay_clear_all(&left->lost);
    return 0;
}

static int punch(struct blob *blob, uint64_t off, uint64_t len)
{
    int r;
    while ((r = blob_punch(blob, off, len)) == -EAGAIN)
        if ((r = blob_prepare(blob, off, len)) < 0)
            break;
    return r;
}

static int enter(struct blob *blob, const struct spool_entry *entry)
{
    struct blob_chunk chunk = entry->chunk;
    int r = blob_pipeline_id(blob, entry->pipeline, &chunk.pipeline);
    while (r >= 0 && (r = blob_commit(blob, &chunk, &entry->claim, 1)) == -EAGAIN)
        r = blob_prepare(blob, entry->claim.off, entry->claim.len);
    return r;
}

struct replay {
    struct takeover *takeover;
    struct blob *blob;
    bool lower_rung; /* a chunk is on one */
};

static int replay_entry(void *ctx, const struct spool_entry *entry)
{
    struct replay *replay = ctx;
    int r = entry->punch ? punch(replay->blob, entry->claim.off, entry->claim.len)
                         : enter(replay->blob, entry);
    replay->lower_rung |= !entry->punch && entry->chunk.flags & BLOB_LOWER_RUNG;
    if (r != -EINVAL) /* its coded bytes are not in the file: then nobody has them */
        return r;
    replay->takeover->n_lost_entries++;
    return 0;
}

static int resume(struct stack *stack)
{
    struct blob *blob = NULL;
    int fd = stack_open_backing(stack, true);
    if (fd < 0)
        return fd;
    int r = blob_resume(stack->volume->io, fd, &blob);
    if (r < 0) {
        close(fd);
        return r;
    }
    stack->blob = blobref_create(stack->volume, blob, true);
    if (stack->blob != NULL)
        return 0;
    blob_close(&blob);
    return -ENOMEM;
}

static int restore_blob(struct takeover *takeover, struct left *left)
{
    struct stack *stack = left->stack;
    int r = resume(stack);
    if (r < 0)
        return r;
    struct blob *blob = stack->blob->blob;
    struct replay replay = {takeover, blob, false};
    uint64_t n_lost = takeover->n_lost_entries;
    r = spool_log_replay(takeover->volume->spool, stack->log, blob_id(blob), replay_entry, &replay);
    if (r == -ENOENT || takeover->n_lost_entries > n_lost)
        log_error("%s: was changed in the store since its mount was killed; what was stored last "
                  "before that cannot be found again",
                  name_of(left));
    else if (r < 0)
        return r;
    struct blob_state state;
    blob_state(blob, &state);
    stack->size = left->size != SPOOL_LOG_NO_SIZE ? left->size : state.size;
    stack->mtime = left->has_mtime ? left->mtime : state.mtime;
    stack->lower_rung = replay.lower_rung || pack_meta_lower_rung(state.meta);
    stack->lossy = archive_note_is_lossy(state.meta);
    stack->unsynced_name = true; /* nobody knows how far the mount before this one has come */
    r = punch(blob, stack->size, UINT64_MAX - stack->size);
    /* Should it be made longer and the next kill come before a checkpoint. That there is no room for one
     * more entry could only be where all logs of the spool were used. */
    if (r >= 0)
        journal_punch(stack, stack->size, UINT64_MAX);
    return r;
}

/* It was about to become plain, or had just become it. */
static int restore_plain(struct takeover *takeover, struct left *left)
{
    struct stack *stack = left->stack;
    if (stack->overlay.bytes == 0 && left->size == SPOOL_LOG_NO_SIZE)
        return 0;
    int r = stack_open_data(stack, true);
    if (r >= 0)
        r = write_runs(takeover->volume, &stack->overlay, stack->data_fd);
    if (r >= 0 && left->size != SPOOL_LOG_NO_SIZE &&
        ftruncate(stack->data_fd, (off_t)left->size) < 0)
        r = -errno;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, left->mtime};
    if (r >= 0 && left->has_mtime && futimens(stack->data_fd, times) < 0)
        log_debug("cannot set the time of a plain file: %s", strerror(errno));
    if (r >= 0)
        r = takeover->volume->io->fsync(takeover->volume->io, stack->data_fd);
    return r;
}

static int restore_empty(struct left *left)
{
    struct stack *stack = left->stack;
    stack->size = left->size != SPOOL_LOG_NO_SIZE ? left->size : 0;
    if (left->has_mtime)
        stack->mtime = left->mtime;
    return 0;
}

static int restore_kind(struct takeover *takeover, struct left *left)
{
    struct stack *stack = left->stack;
    switch (stack->kind) {
    case STACK_BLOB:
        return left->size == 0 ? birth_reset(stack) : restore_blob(takeover, left);
    case STACK_PLAIN:
        return restore_plain(takeover, left);
    case STACK_EMPTY:
        return restore_empty(left);
    case STACK_FOREIGN:
        break;
    }
    return -EROFS;
}

/* From here on it is a stack like any other that somebody has changed and closed. */
static int restore(struct takeover *takeover, struct left *left)
{
    struct stack *stack = left->stack;
    pthread_mutex_lock(&stack->lock);
    int r = restore_kind(takeover, left);
    if (r >= 0 && stack->kind == STACK_PLAIN)
        overlay_clear_all(&stack->overlay);
    if (r >= 0 && stack->kind != STACK_PLAIN)
        r = overlay_clear(&stack->overlay, stack->size, UINT64_MAX - stack->size);
    bool dirty = stack->kind == STACK_BLOB || stack->overlay.bytes > 0 || stack->size > 0;
    if (r >= 0 && dirty && stack->kind != STACK_PLAIN) {
        struct timespec mtime = stack->mtime;
        stack->unsettled = true;
        stack->released_ms = now_ms();
        stack_changed(stack, &mtime);
    } else if (r >= 0) {
        journal_close(stack);
    }
    pthread_mutex_unlock(&stack->lock);
    return r;
}

/* The spool's free places are known once it is told what is not. */
static int bring_back(struct takeover *takeover, const char **what)
{
    int r = 0;
    for (size_t i = 0; i < takeover->n && r >= 0; i++) {
        *what = name_of(&takeover->left[i]);
        if (takeover->left[i].stack == NULL)
            r = keep_lost(takeover, &takeover->left[i]);
    }
    if (r >= 0)
        spool_adopted(takeover->volume->spool);
    for (size_t i = 0; i < takeover->n && r >= 0; i++) {
        *what = name_of(&takeover->left[i]);
        if (takeover->left[i].stack != NULL)
            r = restore(takeover, &takeover->left[i]);
    }
    return r;
}

static int take_over(const struct opening *opening)
{
    struct takeover takeover = {.volume = opening->volume};
    const char *what = "the spool";
    int r = collect(&takeover);
    if (r >= 0)
        r = find_files(&takeover);
    if (r >= 0)
        r = take_stacks(&takeover);
    if (r >= 0)
        r = take_runs(&takeover);
    if (r >= 0)
        r = bring_back(&takeover, &what);
    if (r >= 0) {
        log_info("%s: took over what an earlier mount had not stored of %zu files",
                 opening->volume->config.store, takeover.n);
    } else {
        opening_fail(opening, r,
                     "%s: what an earlier mount has not stored of it cannot be taken over: %s; it "
                     "is kept, mend that and mount again",
                     what, strerror(-r));
    }
    forget(&takeover, r < 0);
    return r;
}

/* ---- where it lies ---- */

/* The store's directory, not by its name or its device's number, which may change. `len` is enough. */
static int store_text(int store_fd, char *text, size_t len)
{
    struct spool_file root;
    struct stat st;
    int r = journal_file(store_fd, &root);
    if (r < 0 || fstat(store_fd, &st) < 0)
        return r < 0 ? r : -errno;
    unsigned long long when = root.btime != 0 ? (uint64_t)root.btime : st.st_dev;
    snprintf(text, len, "%llx-%llx", (unsigned long long)root.ino, when);
    return 0;
}

static int place_in(const struct volume *volume, const char *dir, char *path, size_t len)
{
    char store[48];
    int r = store_text(tree_root(volume->tree), store, sizeof(store));
    if (r < 0)
        return r;
    int n = snprintf(path, len, "%s/sqyfs-%u-%s", dir, (unsigned)geteuid(), store);
    return n < (int)len ? 0 : -ENAMETOOLONG;
}

/* Where STORE/.sqyfs/spool links to. */
static int read_link(int store_fd, char *path, size_t len)
{
    ssize_t n = readlinkat(store_fd, ".sqyfs/" LINK, path, len - 1);
    path[n > 0 ? n : 0] = '\0';
    return n < 0 ? -errno : 0;
}

/* A store that was copied with all that is in it has a link to the spool of the other one. */
static bool is_others(int store_fd, const char *path)
{
    char store[48];
    const char *base = strrchr(path, '/');
    base = base != NULL ? base + 1 : path;
    size_t len = strlen(base);
    if (strcmp(base, DISK_FILE) == 0) {
        struct stat there, here;
        return fstatat(store_fd, ".sqyfs/" DISK_FILE, &here, AT_SYMLINK_NOFOLLOW) < 0 ||
               stat(path, &there) < 0 || there.st_ino != here.st_ino || there.st_dev != here.st_dev;
    }
    return store_text(store_fd, store, sizeof(store)) == 0 &&
           (len <= strlen(store) || strcmp(base + len - strlen(store), store) != 0);
}

/* Whether what a killed mount left at `path` has anything in it; -EBUSY: somebody has it open. */
static int holds_something(const char *path)
{
    uint32_t number = 0;
    struct spool *spool;
    struct spool_left left;
    int r = spool_open(path, &spool);
    if (r < 0)
        return r;
    r = spool_log_left(spool, &number, &left);
    spool_destroy(&spool, true);
    return r;
}

/* The places to look at, in this order; a new one is made in the first of the latter two where that is
 * possible. */
enum place { PLACE_LINK, PLACE_MEMORY, PLACE_DISK, N_PLACES };

static int place(const struct volume *volume, enum place at, char *path, size_t len)
{
    const char *dir = volume->config.spooldir;
    char root[PATH_MAX];
    switch (at) {
    case PLACE_LINK:
        return read_link(tree_root(volume->tree), path, len);
    case PLACE_MEMORY:
        return place_in(volume, dir != NULL ? dir : MEMORY_DIR, path, len);
    default:
        if (realpath(volume->config.store, root) == NULL)
            return -errno;
        return snprintf(path, len, "%s/.sqyfs/" DISK_FILE, root) < (int)len ? 0 : -ENAMETOOLONG;
    }
}

/* Nobody can tell here whether that one is still to be mounted, or has moved here. */
static int refuse_others(const struct opening *opening, const char *path)
{
    if (holds_something(path) <= 0)
        return 0;
    return opening_fail(opening, -EXDEV,
                        "%s/.sqyfs/" LINK ": leads to what a killed mount of another store has not "
                        "stored, of which this one may be a copy: mount that one first; or remove "
                        "the link to mount this one without",
                        opening->volume->config.store);
}

static int refuse(const struct opening *opening, const char *path, int r)
{
    switch (r) {
    case -EBUSY:
        return opening_fail(opening, r, "%s: is in use by another mount of this store", path);
    case -EACCES:
        return opening_fail(opening, r,
                            "%s: was left by another user's mount, and holds what that has not "
                            "stored; let that user mount the store once",
                            path);
    case -ENOTSUP:
        return opening_fail(opening, r,
                            "%s: was left by another version of sqyfs, and holds what that has not "
                            "stored; mount the store with it once",
                            path);
    case -EBADMSG:
        return opening_fail(opening, r,
                            "%s: is damaged; it may hold what a killed mount has not stored; move "
                            "it away to mount the store without",
                            path);
    default:
        return opening_fail(opening, r, "%s: %s", path, strerror(-r));
    }
}

/* 1: found and open; 0: there is none. */
static int look(const struct opening *opening, enum place at)
{
    struct volume *volume = opening->volume;
    char path[PATH_MAX];
    if (place(volume, at, path, sizeof(path)) < 0)
        return 0;
    if (at == PLACE_LINK && is_others(tree_root(volume->tree), path))
        return refuse_others(opening, path);
    int r = spool_open(path, &volume->spool);
    if (r >= 0)
        return 1;
    if (r == -ESTALE)
        log_warn("%s: was left before the machine was started anew, and is of no use", path);
    if (r == -ENODATA || r == -ESTALE) /* killed while it made it */
        unlink(path);
    bool none = r == -ENODATA || r == -ESTALE || r == -ENOENT || r == -ENOTDIR || r == -ELOOP;
    bool squatter = r == -EACCES && at != PLACE_LINK; /* which anybody may put there */
    return none || squatter ? 0 : refuse(opening, path, r);
}

static int make_at(struct volume *volume, enum place at)
{
    char path[PATH_MAX];
    int r = place(volume, at, path, sizeof(path));
    if (r >= 0)
        r = spool_create(volume->config.spool, path, &volume->spool);
    if (r < 0) {
        log_warn("%s: cannot be made: %s", path, strerror(-r));
        return r;
    }
    volume->spool_survives = true;
    unlinkat(volume->state_fd, LINK, 0);
    if (symlinkat(path, volume->state_fd, LINK) < 0)
        log_debug("no link to the spool: %s", strerror(errno));
    return 0;
}

static int make(const struct opening *opening)
{
    struct volume *volume = opening->volume;
    int r = volume->config.read_only ? -EROFS : make_at(volume, PLACE_MEMORY);
    if (r < 0 && !volume->config.read_only) {
        r = make_at(volume, PLACE_DISK);
        if (r >= 0)
            log_warn(
                "the spool lies on the store's disk, which costs writers speed; give it a place "
                "in memory with -o spooldir=");
    }
    if (r < 0)
        r = spool_create(volume->config.spool, NULL, &volume->spool);
    return r < 0 ? opening_fail(opening, r, "cannot get the memory for the spool: %s", strerror(-r))
                 : 0;
}

static int left_behind(int store_fd)
{
    char path[PATH_MAX];
    if (read_link(store_fd, path, sizeof(path)) < 0 || is_others(store_fd, path))
        return 0;
    int r = holds_something(path);
    bool unknown = r == -EBUSY || r == -ENOTSUP || r == -EACCES || r == -EBADMSG;
    return r > 0 || unknown ? r : 0;
}

bool volume_is_left(int store_fd)
{
    return left_behind(store_fd) != 0;
}

/* -EBUSY: it is mounted. */
static void tell_what_is_not_shown(const struct volume *volume)
{
    int r = left_behind(tree_root(volume->tree));
    if (r != 0 && r != -EBUSY)
        log_warn(
            "%s: what was written last is not shown: the mount was killed before it was stored; "
            "mount it for writing",
            volume->config.store);
}

int takeover_spool(const struct opening *opening)
{
    struct volume *volume = opening->volume;
    int r = 0;
    if (volume->config.read_only)
        tell_what_is_not_shown(volume);
    for (unsigned at = 0; at < N_PLACES && r == 0 && !volume->config.read_only; at++)
        r = look(opening, at);
    if (r < 0)
        return r;
    if (r == 0)
        return make(opening);
    volume->spool_survives = volume->spool_left = true;
    r = take_over(opening);
    volume->spool_left = r < 0;
    return r;
}

void takeover_look(struct volume *volume)
{
    if (!atomic_load(&volume->spool_survives) || spool_is_there(volume->spool))
        return;
    atomic_store(&volume->spool_survives, false);
    log_error(
        "%s: the file that its spool lies in was removed, as systemd-logind does with files in "
        "/dev/shm when their owner has logged out (RemoveIPC=): until it is mounted anew, what "
        "is not stored yet would be lost with the daemon; spooldir= can name another tmpfs",
        volume->config.store);
}

void takeover_end(struct volume *volume, bool keep)
{
    keep = keep || volume->spool_left;
    if (volume->spool != NULL && volume->spool_survives && !keep)
        unlinkat(volume->state_fd, LINK, 0);
    spool_destroy(&volume->spool, keep);
}
