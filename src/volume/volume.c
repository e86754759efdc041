/* A mount's common parts: pools of threads, the ticker that looks after dirty stacks, the thread that
 * refills the index, room on the disk. How the store is opened is in opening.c. */
#include "volume/core.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sum.h"
#include "volume/ahead.h"
#include "volume/lock.h"

/* Bytes left free on the backing disk, or one in RESERVE_SHARE of a small one: for checkpoints. */
#define RESERVE_BYTES      (32u << 20)
#define RESERVE_SHARE      128
#define LAST_RESERVE       "reserve"
#define LAST_RESERVE_SHARE 50 /* of the free space at most: a small disk has other uses for it */
#define STATFS_AGE_MS      100

/* ---- coders ---- */

/* What all coders find out each for itself is told once. */
static void tell_once(void *arg, const char *line)
{
    struct volume *volume = arg;
    const uint64_t sum = sum64(line, strlen(line));
    if (atomic_exchange(&volume->noticed, sum) != sum)
        log_warn("%s", line);
}

struct coder *volume_take_coder(struct volume *volume)
{
    struct coder *coder = NULL;
    pthread_mutex_lock(&volume->lock);
    if (volume->n_coders > 0)
        coder = volume->coders[--volume->n_coders];
    pthread_mutex_unlock(&volume->lock);
    if (coder == NULL) {
        if (coder_create(&coder) < 0)
            return NULL;
        coder_on_notice(coder, tell_once, volume);
    }
    return coder;
}

void volume_give_coder(struct volume *volume, struct coder *coder)
{
    if (coder == NULL)
        return;
    coder_trim(coder);
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

unsigned volume_dirty_stacks(struct volume *volume, struct stack ***out)
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

/* One look of the ticker at all dirty stacks. */
struct turn {
    uint64_t used, excess; /* bytes of the spool; of the latter each stack lets go its part */
    int64_t rest_ms;
    bool tries_again; /* what failed */
};

/* Whole chunks, as `held` is to all that the spool holds. */
static uint64_t part_of(const struct turn *turn, uint64_t held, uint64_t chunk)
{
    uint64_t used = turn->used > held ? turn->used : held; /* seen at two moments */
    double part = (double)turn->excess * (double)held / (double)used;
    return ((uint64_t)part / chunk + 1) * chunk;
}

/* Bytes of a stack that somebody writes get to a checkpoint by age; one that nobody has open is
 * dirty because storing it failed, and is tried again. */
static void tick_stack(struct stack *stack, const struct turn *turn)
{
    pthread_mutex_lock(&stack->lock);
    int64_t now = now_ms(), age = now - stack->dirty_since_ms;
    uint64_t held = stack->overlay.bytes, chunk = stack->volume->config.chunk;
    bool resting =
        stack->error == 0 ? now - stack->released_ms < turn->rest_ms : !turn->tries_again;
    bool due = age >= VOLUME_DIRTY_AGE_MS || (stack->writers == 0 && !resting);
    if (turn->excess > 0 && held >= chunk)
        due = flush_leave(stack, part_of(turn, held, chunk)) < 0 || due;
    if (due && stack->modified && !stack->tend_queued && !stack->tending && !stack->reencoding)
        flush_tend_async(stack);
    pthread_mutex_unlock(&stack->lock);
}

uint64_t volume_excess(struct volume *volume)
{
    uint64_t used = (uint64_t)spool_used(volume->spool) * SPOOL_BLOCK;
    uint64_t stays =
        (uint64_t)spool_total(volume->spool) * SPOOL_BLOCK / 2 + atomic_load(&volume->leaving);
    return used > stays ? used - stays : 0;
}

/* `*tried_ms`: when what failed was tried last. Returns how long to wait for the next one. */
static int64_t tick(struct volume *volume, int64_t *tried_ms)
{
    struct stack **list;
    unsigned n = volume_dirty_stacks(volume, &list);
    bool crowded = n >= VOLUME_CROWD;
    int64_t now = now_ms(), wait_ms = crowded ? CROWD_REST_MS : VOLUME_TICK_MS;
    struct turn turn = {.used = (uint64_t)spool_used(volume->spool) * SPOOL_BLOCK,
                        .excess = volume_excess(volume),
                        .rest_ms = crowded ? CROWD_REST_MS : STACK_REST_MS,
                        .tries_again = !crowded || now - *tried_ms >= VOLUME_TICK_MS};
    if (turn.tries_again)
        *tried_ms = now;
    for (unsigned i = 0; i < n; i++) {
        tick_stack(list[i], &turn);
        stack_unref(list[i]);
    }
    free(list);
    return wait_ms;
}

static void say_rung(struct volume *volume)
{
    switch (volume->watch.said) {
    case LADDER_TARGET:
        log_info("encoders keep up again: all chunks get their pipeline");
        break;
    case LADDER_FAST:
        log_info("encoders cannot keep up: some chunks get a faster pipeline, until writers pause");
        break;
    default:
        log_info("encoders cannot keep up: some chunks are stored raw, until writers pause");
        break;
    }
}

/* What is counted, looked at. */
static void look(struct volume *volume)
{
    const struct volume_counters *c = &volume->counters;
    const struct rates_look now = {now_ms(),
                                   {[RATES_WRITTEN] = atomic_load(&c->bytes_in),
                                    [RATES_READ] = atomic_load(&c->bytes_out),
                                    [RATES_ENCODED] = atomic_load(&c->bytes_encoded),
                                    [RATES_STORED] = atomic_load(&c->bytes_coded),
                                    [RATES_DECODED] = atomic_load(&c->bytes_decoded)}};
    uint64_t chunks[LADDER_RUNGS];
    for (unsigned i = 0; i < LADDER_RUNGS; i++)
        chunks[i] = atomic_load(&c->rung_chunks[i]);
    if (!rates_look(&volume->rates,
                    &now)) /* the ticker looks around whenever a writer finds little room */
        return;
    if (ladder_look(&volume->watch, chunks, now.ms)) {
        atomic_store(&volume->rung, volume->watch.said);
        say_rung(volume);
    }
}

static void *tick_thread(void *arg)
{
    struct volume *volume = arg;
    int64_t wait_ms = VOLUME_TICK_MS, tried_ms = 0;
    pthread_setname_np(pthread_self(), "sqyfs-tick");
    pthread_mutex_lock(&volume->lock);
    while (!volume->closing) {
        struct timespec until = now_later(CLOCK_MONOTONIC, wait_ms);
        pthread_cond_timedwait(&volume->tick, &volume->lock, &until);
        if (volume->closing)
            break;
        pthread_mutex_unlock(&volume->lock);
        wait_ms = tick(volume, &tried_ms);
        look(volume);
        index_share_end(volume->index, false);
        scratch_tick(volume->scratches);
        takeover_look(volume);
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

void volume_press(struct volume *volume)
{
    if (volume_excess(volume) == 0)
        return;
    long long now = now_ms(), last = atomic_load(&volume->pressed_ms);
    if (now - last >= VOLUME_PRESS_MS &&
        atomic_compare_exchange_strong(&volume->pressed_ms, &last, now))
        volume_kick(volume);
}

static bool is_full(int r)
{
    return r == -ENOSPC || r == -EDQUOT;
}

int volume_drain(struct volume *volume)
{
    struct stack **list;
    int result = 0;
    unsigned n = volume_dirty_stacks(volume, &list);
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
        while (stack->tend_queued || stack->tending || stack->rewrite_queued)
            pthread_cond_wait(&stack->changed, &stack->lock);
        if (stack->error < 0 && !is_full(result)) /* which the caller may do something about */
            result = stack->error;
        stack->plain_error = 0;
        pthread_mutex_unlock(&stack->lock);
        stack_unref(stack);
    }
    free(list);
    index_share_end(volume->index, true);
    return result;
}

/* ---- opening and closing ---- */

static int start_threads(const struct opening *opening)
{
    struct volume *volume = opening->volume;
    volume->ahead_turns_most = ahead_turns_most(volume->config.threads);
    int r = workq_create("sqyfs-enc", volume->config.threads, &volume->encoders);
    if (r >= 0)
        r = workq_create("sqyfs-tend", VOLUME_TENDERS, &volume->tenders);
    if (r >= 0)
        r = workq_create("sqyfs-rewrite", VOLUME_REWRITERS, &volume->rewriters);
    if (r >= 0) {
        r = -pthread_create(&volume->ticker, NULL, tick_thread, volume);
        volume->ticker_runs = r >= 0;
    }
    if (r >= 0) {
        r = -pthread_create(&volume->refiller, NULL, notes_refill_thread, volume);
        volume->refiller_runs = r >= 0;
    }
    if (r >= 0 && !volume->config.read_only) {
        r = -pthread_create(&volume->reencoder, NULL, reencode_thread, volume);
        volume->reencoder_runs = r >= 0;
    }
    return r < 0 ? opening_fail(opening, r, "cannot start threads: %s", strerror(-r)) : 0;
}

/* What is decoded as a whole overflows to where the index lies. */
static int open_scratches(struct volume *volume)
{
    int dir_fd = -1;
    if (volume->config.statedir != NULL)
        dir_fd = open(volume->config.statedir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    else if (volume->state_fd >= 0)
        dir_fd = fcntl(volume->state_fd, F_DUPFD_CLOEXEC, 0);
    int r = scratch_pool_create(volume->io, dir_fd, &volume->scratches);
    if (r < 0 && dir_fd >= 0)
        close(dir_fd);
    return r;
}

static int open_memory(const struct opening *opening)
{
    struct volume *volume = opening->volume;
    int r = cache_create(volume->config.cache, &volume->cache);
    if (r >= 0)
        r = open_scratches(volume);
    return r < 0 ? opening_fail(opening, r, "cannot get the memory for the cache: %s", strerror(-r))
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

/* What is drained may leave something to be done: a log that was full, a name that is to be synced. */
static int drain_all(struct volume *volume)
{
    enum { ROUNDS = 100 };
    for (unsigned i = 0; i < ROUNDS; i++) {
        int r = volume_drain(volume);
        pthread_mutex_lock(&volume->lock);
        bool any = volume->n_dirty > 0;
        pthread_mutex_unlock(&volume->lock);
        if (r < 0 || !any)
            return r;
    }
    return -EAGAIN;
}

static int drain_into_reserve(struct volume *volume)
{
    if (volume->state_fd < 0 || unlinkat(volume->state_fd, LAST_RESERVE, 0) < 0)
        return -ENOSPC;
    return drain_all(volume);
}

static void name_unsaved(struct volume *volume)
{
    struct stack **list;
    unsigned n = volume_dirty_stacks(volume, &list);
    for (unsigned i = 0; i < n; i++) {
        char path[PATH_MAX] = "(a file without a name)";
        tree_path(volume->tree, list[i]->fd, path, sizeof(path));
        if (list[i]->kind == STACK_PLAIN)
            log_error("%s: could not be synced; what was written last may not be on the disk",
                      path);
        else if (volume->spool_survives)
            log_error(
                "%s: what was written last could not be stored; it is kept in memory and tried "
                "again at the next mount, unless the machine is shut down before",
                path);
        else
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
    pthread_cond_init(&volume->idle, &attr);
    ladder_init(&volume->ladder);
    rates_init(&volume->rates);
    pthread_mutex_init(&volume->statfs_lock, NULL);
    pthread_mutex_init(&volume->ahead_lock, NULL);
    pthread_condattr_destroy(&attr);
}

static void stop_threads(struct volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    volume->closing = true;
    atomic_store(&volume->ending, true);
    pthread_cond_broadcast(&volume->tick);
    pthread_cond_broadcast(&volume->idle);
    pthread_mutex_unlock(&volume->lock);
    if (volume->reencoder_runs)
        pthread_join(volume->reencoder, NULL);
    if (volume->refiller_runs)
        pthread_join(volume->refiller, NULL);
    if (volume->ticker_runs)
        pthread_join(volume->ticker, NULL);
    volume->refiller_runs = volume->ticker_runs = volume->reencoder_runs = false;
}

static void free_volume(struct volume *volume)
{
    stop_threads(volume);
    workq_destroy(&volume->tenders);
    workq_destroy(&volume->rewriters);
    workq_destroy(&volume->encoders);
    assert(volume->n_stacks == volume->n_dirty); /* what could not be stored is all that is left */
    for (unsigned i = 0; i < volume->n_coders; i++)
        coder_destroy(&volume->coders[i]);
    cache_destroy(&volume->cache);
    scratch_pool_destroy(&volume->scratches);
    takeover_end(volume, volume->n_dirty > 0);
    index_close(&volume->index);
    policy_close(&volume->policy);
    tree_destroy(&volume->tree);
    lock_release(&volume->lock_fd);
    if (volume->state_fd >= 0)
        close(volume->state_fd);
    ladder_destroy(&volume->ladder);
    rates_destroy(&volume->rates);
    free(volume);
}

int volume_open(const struct volume_config *config, char *why, size_t why_len, struct volume **out)
{
    struct volume *volume = calloc(1, sizeof(*volume));
    struct opening opening = {volume, why, why_len};
    if (volume == NULL)
        return opening_fail(&opening, -ENOMEM, "out of memory");
    volume->config = *config;
    volume->io = &io_system;
    volume->lock_fd = volume->state_fd = -1;
    volume->started = time(NULL);
    init_locks(volume);
    int r = opening_check_config(&opening);
    if (r >= 0)
        r = opening_store(&opening);
    if (r >= 0)
        r = open_memory(&opening);
    if (r >= 0)
        r = takeover_spool(&opening);
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
    int r = drain_all(*volume);
    if (is_full(r))
        r = drain_into_reserve(*volume);
    if (r < 0)
        name_unsaved(*volume);
    free_volume(*volume);
    *volume = NULL;
    return r;
}

static int policy_kind(const char *name, enum policy_kind *kind)
{
    for (unsigned i = 0; i < POLICY_KINDS; i++) {
        *kind = (enum policy_kind)i;
        if (strcmp(name, policy_kind_name(*kind)) == 0)
            return 0;
    }
    return -EINVAL;
}

bool volume_policy_is(const char *name)
{
    enum policy_kind kind;
    return policy_kind(name, &kind) == 0;
}

int volume_policy_get(struct volume *volume, const char *name, const char *dir, char **text)
{
    enum policy_kind kind;
    int r = policy_kind(name, &kind);
    return r < 0 ? r : policy_get(volume->policy, kind, dir, false, text);
}

static int check_archive(struct volume *volume, const char *dir, const char *text,
                         struct sqy_error *error)
{
    struct archive_policy archive = {0};
    int r = archive_policy_parse(text, &archive, error);
    if (r >= 0 && archive.pipeline != NULL)
        r = sqy_pipeline_check_encoder(archive.pipeline, error);
    if (r >= 0 && archive.lossy && policy_forbids_loss(volume->policy, dir)) {
        *error = (struct sqy_error){0, "lossless=always forbids it"};
        r = -EPERM;
    }
    if (r >= 0 && archive.pipeline != NULL)
        r = sqy_pipeline_check_encoder(archive.pipeline, error);
    archive_policy_clear(&archive);
    return r;
}

static int check_policy(struct volume *volume, enum policy_kind kind, const char *dir,
                        const char *text)
{
    struct sqy_pipeline *pipeline = NULL;
    struct sqy_error error = {0, "\"always\" was expected"};
    int r = strcmp(text, "always") == 0 ? 0 : -EINVAL;
    if (kind == POLICY_PIPELINE)
        r = policy_pipeline(text, &pipeline, &error);
    if (kind == POLICY_ARCHIVE)
        r = check_archive(volume, dir, text, &error);
    if (r < 0)
        log_warn("policy of \"%s\": %s: %s: at byte %zu: %s", dir, policy_kind_name(kind), text,
                 error.position, error.message);
    sqy_pipeline_free(&pipeline);
    return r;
}

int volume_policy_set(struct volume *volume, const char *name, const char *dir, const char *text)
{
    enum policy_kind kind;
    int r = volume->config.read_only ? -EROFS : policy_kind(name, &kind);
    if (r >= 0 && text != NULL)
        r = check_policy(volume, kind, dir, text);
    if (r >= 0)
        r = policy_set(volume->policy, kind, dir, text);
    if (r >= 0)
        atomic_store(&volume->archive_due, true);
    return r;
}

struct tree *volume_tree(struct volume *volume)
{
    return volume->tree;
}

bool volume_is_read_only(const struct volume *volume)
{
    return volume->config.read_only;
}
