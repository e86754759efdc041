/* A mount's common parts: opening a store, pools of threads, the ticker that looks after dirty
 * stacks, the thread that refills the index, room on the disk. */
#include "volume/core.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"
#include "store/names.h"
#include "volume/scan.h"

#define STATE_DIR ".sqyfs"
/* Bytes left free on the backing disk, or one in RESERVE_SHARE of a small one: for checkpoints. */
#define RESERVE_BYTES      (32u << 20)
#define RESERVE_SHARE      128
#define LAST_RESERVE       "reserve"
#define LAST_RESERVE_SHARE 50 /* of the free space at most: a small disk has other uses for it */
#define STATFS_AGE_MS      100
#define CHUNK_MIN          (64u << 10)
#define CHUNK_MAX          (64u << 20)
#define SPOOL_MIN          (16u << 20)

/* ---- coders ---- */

struct coder *volume_take_coder(struct volume *volume)
{
    struct coder *coder = NULL;
    pthread_mutex_lock(&volume->lock);
    if (volume->n_coders > 0)
        coder = volume->coders[--volume->n_coders];
    pthread_mutex_unlock(&volume->lock);
    if (coder == NULL && coder_create(&coder) < 0)
        return NULL;
    return coder;
}

void volume_give_coder(struct volume *volume, struct coder *coder)
{
    if (coder == NULL)
        return;
    pthread_mutex_lock(&volume->lock);
    if (volume->n_coders < sizeof(volume->coders) / sizeof(volume->coders[0])) {
        volume->coders[volume->n_coders++] = coder;
        coder = NULL;
    }
    pthread_mutex_unlock(&volume->lock);
    coder_destroy(&coder);
}

/* ---- room on the disk ---- */

static void refresh_statfs(struct volume *volume)
{
    struct statvfs st;
    int64_t now = now_ms();
    bool near_full = volume->statfs_avail < 4ull * RESERVE_BYTES;
    if (volume->statfs_ms != 0 && now - volume->statfs_ms < STATFS_AGE_MS && !near_full)
        return;
    if (fstatvfs(tree_root(volume->tree), &st) < 0)
        return;
    volume->statfs_ms = now;
    volume->statfs_avail = (uint64_t)st.f_bavail * st.f_frsize;
    uint64_t share = (uint64_t)st.f_blocks * st.f_frsize / RESERVE_SHARE;
    volume->statfs_reserve = share < RESERVE_BYTES ? share : RESERVE_BYTES;
}

int volume_has_room(struct volume *volume, uint64_t len)
{
    uint64_t spooled = (uint64_t)spool_used(volume->spool) * SPOOL_BLOCK;
    pthread_mutex_lock(&volume->statfs_lock);
    refresh_statfs(volume);
    uint64_t need = len + spooled + volume->statfs_reserve;
    int r = volume->statfs_avail < need ? -ENOSPC : 0;
    pthread_mutex_unlock(&volume->statfs_lock);
    return r;
}

int volume_statfs(struct volume *volume, struct statvfs *out)
{
    if (fstatvfs(tree_root(volume->tree), out) < 0)
        return -errno;
    uint64_t spooled = (uint64_t)spool_used(volume->spool) * SPOOL_BLOCK / out->f_frsize;
    out->f_bfree = out->f_bfree > spooled ? out->f_bfree - spooled : 0;
    out->f_bavail = out->f_bavail > spooled ? out->f_bavail - spooled : 0;
    out->f_namemax = NAME_MAX;
    return 0;
}

/* ---- dirty stacks ---- */

/* References to all dirty stacks of this moment; caller unrefs and frees. */
static unsigned snapshot_dirty(struct volume *volume, struct stack ***out)
{
    pthread_mutex_lock(&volume->lock);
    unsigned n = 0;
    struct stack **list = malloc((volume->n_dirty + 1) * sizeof(*list));
    for (struct stack *stack = volume->dirty; stack != NULL && list != NULL;
         stack = stack->dirty_next) {
        stack->refs++;
        list[n++] = stack;
    }
    pthread_mutex_unlock(&volume->lock);
    *out = list;
    return n;
}

/* Bytes of a stack that somebody writes get to a checkpoint by age; one that nobody has open is
 * dirty because storing it failed, and is tried again. */
static void tick_stack(struct stack *stack, bool pressed)
{
    pthread_mutex_lock(&stack->lock);
    int64_t now = now_ms(), age = now - stack->dirty_since_ms;
    bool resting = stack->error == 0 && now - stack->released_ms < STACK_REST_MS;
    bool due = stack->modified && !stack->tend_queued && !stack->tending &&
               (age >= VOLUME_DIRTY_AGE_MS || (stack->writers == 0 && !resting) ||
                (pressed && stack->overlay.bytes >= stack->volume->config.chunk));
    if (due)
        flush_tend_async(stack);
    pthread_mutex_unlock(&stack->lock);
}

/* Half the spool is held by bytes that no encoder is about to take. */
static bool is_pressed(struct volume *volume)
{
    uint64_t used = (uint64_t)spool_used(volume->spool) * SPOOL_BLOCK;
    uint64_t leaving = (uint64_t)atomic_load(&volume->jobs_in_flight) * volume->config.chunk;
    uint64_t half = (uint64_t)spool_total(volume->spool) * SPOOL_BLOCK / 2;
    return used > half && used - half > leaving;
}

static void tick(struct volume *volume)
{
    struct stack **list;
    unsigned n = snapshot_dirty(volume, &list);
    bool pressed = is_pressed(volume);
    for (unsigned i = 0; i < n; i++) {
        tick_stack(list[i], pressed);
        stack_unref(list[i]);
    }
    free(list);
}

static void *tick_thread(void *arg)
{
    struct volume *volume = arg;
    pthread_setname_np(pthread_self(), "sqyfs-tick");
    pthread_mutex_lock(&volume->lock);
    while (!volume->closing) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += VOLUME_TICK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&volume->tick, &volume->lock, &until);
        if (volume->closing)
            break;
        pthread_mutex_unlock(&volume->lock);
        tick(volume);
        pthread_mutex_lock(&volume->lock);
    }
    pthread_mutex_unlock(&volume->lock);
    return NULL;
}

void volume_kick(struct volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    pthread_cond_signal(&volume->tick);
    pthread_mutex_unlock(&volume->lock);
}

int volume_drain(struct volume *volume)
{
    struct stack **list;
    int result = 0;
    unsigned n = snapshot_dirty(volume, &list);
    if (list == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < n; i++) {
        pthread_mutex_lock(&list[i]->lock);
        flush_tend_async(list[i]);
        pthread_mutex_unlock(&list[i]->lock);
    }
    for (unsigned i = 0; i < n; i++) {
        struct stack *stack = list[i];
        pthread_mutex_lock(&stack->lock);
        while (stack->tend_queued || stack->tending)
            pthread_cond_wait(&stack->changed, &stack->lock);
        if (stack->error < 0)
            result = stack->error;
        pthread_mutex_unlock(&stack->lock);
        stack_unref(stack);
    }
    free(list);
    return result;
}

/* ---- opening and closing ---- */

struct opening {
    struct volume *volume;
    char *why;
    size_t why_len;
};

static int fail(const struct opening *opening, int r, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(const struct opening *opening, int r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(opening->why, opening->why_len, fmt, ap);
    va_end(ap);
    return r;
}

static int check_config(const struct opening *opening)
{
    struct volume_config *config = &opening->volume->config;
    if (config->pipeline == NULL)
        config->pipeline = VOLUME_DEFAULT_PIPELINE;
    if (config->chunk == 0)
        config->chunk = VOLUME_DEFAULT_CHUNK;
    if (config->cache == 0)
        config->cache = VOLUME_DEFAULT_CACHE;
    if (config->spool == 0)
        config->spool = VOLUME_DEFAULT_SPOOL;
    if (config->threads == 0)
        config->threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (config->chunk < CHUNK_MIN || config->chunk > CHUNK_MAX)
        return fail(opening, -EINVAL, "chunk= must lie between 64K and 64M");
    if (config->spool < SPOOL_MIN)
        return fail(opening, -EINVAL, "spool= must be at least 16M");
    if (config->threads > 1024)
        return fail(opening, -EINVAL, "threads= must be at most 1024");
    struct sqy_pipeline *pipeline;
    struct sqy_error error;
    int r = policy_pipeline(config->pipeline, &pipeline, &error);
    if (r < 0)
        return fail(opening, r, "pipeline=%s: at byte %zu: %s", config->pipeline, error.position,
                    error.message);
    sqy_pipeline_free(&pipeline);
    return 0;
}

static int is_empty_dir(int root)
{
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int r = -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    int empty = 1;
    for (struct dirent *entry; empty && (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, "lost+found") != 0)
            empty = 0;
    closedir(dir);
    return empty;
}

static int found_blob(void *ctx, const struct scan_file *file)
{
    (void)ctx;
    struct blob *blob;
    if (!file->blob || strchr(file->path, '/') != NULL) /* not in some project below */
        return 0;
    int fd = openat(file->dir_fd, file->stored, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    if (blob_open(&io_system, fd, false, &blob) < 0) {
        close(fd);
        return 0;
    }
    blob_close(&blob);
    return 1;
}

/* A store is known by its own folder, or, where a backup left that out, by its policy file or a
 * blob. */
static bool is_store(int root)
{
    return faccessat(root, STATE_DIR, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
           faccessat(root, POLICY_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
           scan_walk(root, true, found_blob, NULL, NULL) == 1;
}

static int write_policy_file(int root)
{
    static const char text[] = "# sqyfs: which pipeline new stacks get, by directory.\n"
                               "# pipeline<TAB>TEXT<TAB>DIRECTORY\n";
    int fd = openat(root, POLICY_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno == EEXIST ? 0 : -errno;
    int r = io_pwrite_full(&io_system, fd, text, sizeof(text) - 1, 0);
    close(fd);
    return r;
}

static int open_root(const struct opening *opening, int *root)
{
    const char *store = opening->volume->config.store;
    *root = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*root < 0 && errno == ENOENT)
        return fail(opening, -ENOENT,
                    "%s: no such directory; make it first (an empty one becomes a "
                    "new store)",
                    store);
    if (*root < 0)
        return fail(opening, -errno, "%s: %s", store, strerror(errno));
    int empty = is_empty_dir(*root);
    if (empty < 0)
        return fail(opening, empty, "%s: %s", store, strerror(-empty));
    if (!empty && !is_store(*root))
        return fail(
            opening, -ENOTEMPTY,
            "%s: is not empty and is no store; give an empty directory, or put an empty file "
            "named " POLICY_FILE " into it to make it one",
            store);
    return 0;
}

static void remove_temporaries(int state_fd)
{
    int fd = openat(state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (strncmp(entry->d_name, "rewrite-", 8) == 0)
            unlinkat(state_fd, entry->d_name, 0);
    closedir(dir);
}

static int lock_store(const struct opening *opening, int root)
{
    struct volume *volume = opening->volume;
    const char *store = volume->config.store;
    if (mkdirat(root, STATE_DIR, 0700) < 0 && errno != EEXIST)
        return fail(opening, -errno, "%s: cannot write there (%s); mount it with -o ro", store,
                    strerror(errno));
    volume->state_fd = openat(root, STATE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (volume->state_fd >= 0)
        volume->lock_fd = openat(volume->state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (volume->lock_fd < 0)
        return fail(opening, -errno, "%s/" STATE_DIR "/lock: %s", store, strerror(errno));
    if (flock(volume->lock_fd, LOCK_EX | LOCK_NB) < 0 && errno != EWOULDBLOCK)
        return fail(opening, -errno, "%s/" STATE_DIR "/lock: cannot be locked: %s", store,
                    strerror(errno));
    if (flock(volume->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return fail(opening, -EBUSY,
                    "%s: is mounted already; unmount it there, or mount it here "
                    "with -o ro",
                    store);
    remove_temporaries(volume->state_fd);
    int r = write_policy_file(root);
    if (r < 0)
        return fail(opening, r, "%s/" POLICY_FILE ": %s", store, strerror(-r));
    return 0;
}

static int open_index(const struct opening *opening)
{
    struct volume *volume = opening->volume;
    const struct volume_config *config = &volume->config;
    char path[PATH_MAX];
    bool on_disk = config->statedir != NULL || !config->read_only;
    if (config->statedir != NULL)
        snprintf(path, sizeof(path), "%s/index.db", config->statedir);
    else
        snprintf(path, sizeof(path), "%s/" STATE_DIR "/index.db", config->store);
    int r = index_open(on_disk ? path : NULL, &volume->index);
    if (r < 0)
        return fail(opening, r, "%s: cannot open the index: %s", path, strerror(-r));
    return 0;
}

static int open_store(const struct opening *opening)
{
    struct volume *volume = opening->volume;
    int root = -1;
    int r = open_root(opening, &root);
    if (r >= 0 && !volume->config.read_only)
        r = lock_store(opening, root);
    if (r >= 0) {
        r = tree_create(root, &volume->tree);
        if (r >= 0)
            root = -1;
    }
    if (root >= 0)
        close(root);
    if (r < 0)
        return r;
    r = policy_open(tree_root(volume->tree), &volume->policy);
    if (r < 0)
        return fail(opening, r, "%s/" POLICY_FILE ": %s", volume->config.store, strerror(-r));
    return open_index(opening);
}

static int start_threads(const struct opening *opening)
{
    struct volume *volume = opening->volume;
    int r = workq_create("sqyfs-enc", volume->config.threads, &volume->encoders);
    if (r >= 0)
        r = workq_create("sqyfs-tend", VOLUME_TENDERS, &volume->tenders);
    if (r >= 0) {
        r = -pthread_create(&volume->ticker, NULL, tick_thread, volume);
        volume->ticker_runs = r >= 0;
    }
    if (r >= 0) {
        r = -pthread_create(&volume->refiller, NULL, notes_refill_thread, volume);
        volume->refiller_runs = r >= 0;
    }
    return r < 0 ? fail(opening, r, "cannot start threads: %s", strerror(-r)) : 0;
}

static int open_memory(const struct opening *opening)
{
    struct volume *volume = opening->volume;
    int r = spool_create(volume->config.spool, &volume->spool);
    if (r >= 0)
        r = cache_create(volume->config.cache, &volume->cache);
    return r < 0 ? fail(opening, r, "cannot get the memory for spool and cache: %s", strerror(-r))
                 : 0;
}

/* Room set aside for what is still spooled when the disk turns out to be full at the end. */
static void make_reserve(struct volume *volume)
{
    struct statvfs st;
    if (volume->state_fd < 0 || fstatvfs(volume->state_fd, &st) < 0)
        return;
    uint64_t share = (uint64_t)st.f_bavail * st.f_frsize / LAST_RESERVE_SHARE;
    uint64_t size = share < volume->config.spool ? share : volume->config.spool;
    int fd = openat(volume->state_fd, LAST_RESERVE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || size == 0 || fallocate(fd, 0, 0, (off_t)size) < 0)
        log_debug("no reserve is kept in the store: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
}

static int drain_into_reserve(struct volume *volume)
{
    if (volume->state_fd < 0 || unlinkat(volume->state_fd, LAST_RESERVE, 0) < 0)
        return -ENOSPC;
    return volume_drain(volume);
}

static void name_unsaved(struct volume *volume)
{
    struct stack **list;
    unsigned n = snapshot_dirty(volume, &list);
    for (unsigned i = 0; i < n; i++) {
        char path[PATH_MAX] = "(a file without a name)";
        tree_path(volume->tree, list[i]->fd, path, sizeof(path));
        log_error("%s: what was written last could not be stored and is lost", path);
        stack_unref(list[i]);
    }
    free(list);
}

static void init_locks(struct volume *volume)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&volume->lock, NULL);
    pthread_cond_init(&volume->tick, &attr);
    pthread_mutex_init(&volume->statfs_lock, NULL);
    pthread_condattr_destroy(&attr);
}

static void stop_threads(struct volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    volume->closing = true;
    pthread_cond_broadcast(&volume->tick);
    pthread_mutex_unlock(&volume->lock);
    if (volume->refiller_runs)
        pthread_join(volume->refiller, NULL);
    if (volume->ticker_runs)
        pthread_join(volume->ticker, NULL);
    volume->refiller_runs = volume->ticker_runs = false;
}

static void free_volume(struct volume *volume)
{
    stop_threads(volume);
    workq_destroy(&volume->tenders);
    workq_destroy(&volume->encoders);
    assert(volume->n_stacks == volume->n_dirty); /* what could not be stored is all that is left */
    for (unsigned i = 0; i < volume->n_coders; i++)
        coder_destroy(&volume->coders[i]);
    cache_destroy(&volume->cache);
    spool_destroy(&volume->spool);
    index_close(&volume->index);
    policy_close(&volume->policy);
    tree_destroy(&volume->tree);
    if (volume->lock_fd >= 0)
        close(volume->lock_fd);
    if (volume->state_fd >= 0)
        close(volume->state_fd);
    free(volume);
}

int volume_open(const struct volume_config *config, char *why, size_t why_len, struct volume **out)
{
    struct volume *volume = calloc(1, sizeof(*volume));
    struct opening opening = {volume, why, why_len};
    if (volume == NULL)
        return fail(&opening, -ENOMEM, "out of memory");
    volume->config = *config;
    volume->io = &io_system;
    volume->lock_fd = volume->state_fd = -1;
    volume->started = time(NULL);
    init_locks(volume);
    int r = check_config(&opening);
    if (r >= 0)
        r = open_store(&opening);
    if (r >= 0)
        r = open_memory(&opening);
    if (r >= 0)
        make_reserve(volume);
    if (r >= 0)
        r = start_threads(&opening);
    if (r < 0) {
        free_volume(volume);
        return r;
    }
    *out = volume;
    return 0;
}

int volume_close(struct volume **volume)
{
    if (*volume == NULL)
        return 0;
    stop_threads(*volume);
    int r = volume_drain(*volume);
    if (r == -ENOSPC || r == -EDQUOT)
        r = drain_into_reserve(*volume);
    if (r < 0)
        name_unsaved(*volume);
    free_volume(*volume);
    *volume = NULL;
    return r;
}

int volume_policy_get(struct volume *volume, const char *dir, char **text)
{
    return policy_get(volume->policy, dir, false, text);
}

int volume_policy_set(struct volume *volume, const char *dir, const char *text)
{
    if (volume->config.read_only)
        return -EROFS;
    if (text != NULL) {
        struct sqy_pipeline *pipeline;
        struct sqy_error error;
        int r = policy_pipeline(text, &pipeline, &error);
        if (r < 0) {
            log_warn("policy of \"%s\": %s: at byte %zu: %s", dir, text, error.position,
                     error.message);
            return r;
        }
        sqy_pipeline_free(&pipeline);
    }
    return policy_set(volume->policy, dir, text);
}

struct tree *volume_tree(struct volume *volume)
{
    return volume->tree;
}

bool volume_is_read_only(const struct volume *volume)
{
    return volume->config.read_only;
}
