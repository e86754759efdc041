/* What is done to stored blobs when nobody writes: chunks that a lower rung of the ladder has stored are
 * encoded as their stack's pipeline says, blobs of which much is dead are compacted, and what directories say
 * of their closed stacks is done to them (archive.h).
 *
 * Which blobs have such chunks stands in their checkpoints (pack_meta_lower_rung()), which chunks in their
 * tables; rows of the index tell which blobs to open. So a kill, an unmount or a writer who comes back
 * costs nothing that was done, and the next pause, or the next mount, goes on from there.
 *
 * One thread goes from row to row. It starts a job for a chunk when few are in flight, so that a writer
 * finds encoders free: between two chunks it looks whether anybody writes, and stops then. Readers may
 * have the stack open: what they read does not change. */
#include "volume/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "volume/archive.h"
#include "volume/units.h"

#define PAUSE_MS 2000 /* nobody has written for so long: nobody writes */
#define RETRY_MS                                                                                   \
    5000 /* from one look to the next at what could not be done; doubled each time ... */
#define RETRY_MAX_MS 600000 /* ... up to this */
#define MAX_WALKS                                                                                  \
    8u /* through one table: each finds less than the one before, or something is wrong */
#define STEPS 4096u /* extents that are looked at under one lock for bytes of one chunk */

/* ---- one stack ---- */

struct pass {
    struct stack *stack;
    unsigned n_jobs;       /* in flight at most */
    bool found;            /* by the walk under way */
    int64_t checkpoint_ms; /* the last one */
};

static bool is_free(const struct stack *stack)
{
    return stack->kind == STACK_BLOB && stack->writers == 0 && !stack->transition &&
           stack->n_rewriters == 0;
}

/* A chunk that cannot be read does not keep the others from it. Lock held. */
static int may_go_on(const struct stack *stack)
{
    if (!is_free(stack) || stack->blob == NULL || !stack->blob->writable || stack->layout == NULL ||
        reencode_must_stop(stack->volume))
        return -EBUSY;
    return stack->again_error == -EIO ? 0 : stack->again_error;
}

/* A chunk in one piece that is cut as no unit is: it stays cut so. */
static bool is_whole(const struct blob_extent *extent)
{
    return extent->claim.src == 0 && extent->claim.len == sqy_box_bytes(&extent->chunk.box);
}

static int again_as_it_is(struct stack *stack, const struct blob_extent *extent)
{
    const uint32_t keep = extent->chunk.flags & BLOB_PROVISIONAL;
    return job_start(stack, JOB_AGAIN, &extent->chunk.box, extent->chunk.flags & BLOB_BIG_ENDIAN,
                     keep, &extent->claim, 1);
}

/* What is left of a chunk that is in no unit any more stays as it is until the blob is compacted. 1: ask
 * again. */
static int leave_as_it_is(struct stack *stack, struct blob_extent *extent)
{
    extent->chunk.flags &= ~(uint32_t)BLOB_LOWER_RUNG;
    int r = blob_commit(stack->blob->blob, &extent->chunk, &extent->claim, 1);
    if (r != -EAGAIN)
        return r;
    struct blobref *ref = blobref_get(stack->blob);
    pthread_mutex_unlock(&stack->lock);
    r = blob_prepare(ref->blob, extent->claim.off, extent->claim.len);
    pthread_mutex_lock(&stack->lock);
    blobref_put(stack->volume, &ref);
    return r < 0 ? r : 1;
}

/* The voxels at `at`. *next: where to go on. */
static int again_voxels(struct stack *stack, struct blob_extent *extent, uint64_t at,
                        uint64_t *next)
{
    struct layout_unit unit;
    uint64_t gap_end;
    bool known = layout_unit_at(stack->layout, at, &unit, &gap_end);
    if (known && unit_within(&unit, stack->size)) {
        uint64_t end = unit_piece_end(&unit, at);
        *next = end < *next ? end : *next;
        return job_start_unit(stack, JOB_AGAIN, &unit);
    }
    return is_whole(extent) ? again_as_it_is(stack, extent) : leave_as_it_is(stack, extent);
}

/* Bytes that are no voxels: as many as make a chunk, from here on, while no page has to be read. */
static int again_bytes(struct stack *stack, uint64_t at, uint64_t *next)
{
    struct gather gather = {.stack = stack, .why = JOB_AGAIN};
    struct blob_extent extent;
    int r = 0;
    for (unsigned i = 0; r >= 0 && i < STEPS && at < stack->size; i++, at = *next) {
        uint64_t job_end;
        if (gather.total >= stack->volume->config.chunk || gather.n_claims + 1 == GATHER_CLAIMS ||
            blob_find(stack->blob->blob, at, &extent) < 0)
            break;
        *next = extent.claim.off + extent.claim.len;
        *next = *next < stack->size ? *next : stack->size;
        if (!extent.hole && extent.chunk.flags & BLOB_LOWER_RUNG &&
            extent.chunk.box.type == SQY_BYTES && !job_covers(stack, at, &job_end))
            r = gather_add(&gather, at, *next);
    }
    int flushed = gather_flush(&gather);
    return r < 0 ? r : flushed;
}

/* A chunk of a lower rung at `at`. *next: where its extent ends, and where to go on. 1: ask again. */
static int again(struct pass *pass, struct blob_extent *extent, uint64_t at, uint64_t *next)
{
    struct stack *stack = pass->stack;
    uint64_t job_end;
    pass->found = true;
    if (job_covers(stack, at, &job_end)) {
        *next = job_end < *next ? job_end : *next;
        return 0;
    }
    if (stack->n_jobs >= pass->n_jobs) {
        pthread_cond_wait(&stack->changed, &stack->lock);
        return 1;
    }
    stack_mark_dirty(stack);
    if (extent->chunk.box.type == SQY_BYTES)
        return again_bytes(stack, at, next);
    return again_voxels(stack, extent, at, next);
}

/* So that a kill does not cost all of it. Lock held, dropped meanwhile. */
static int checkpoint(struct pass *pass, bool full)
{
    pthread_mutex_unlock(&pass->stack->lock);
    int r = flush_durable(pass->stack, full);
    if (r >= 0)
        r = volume_has_room(pass->stack->volume, pass->stack->volume->config.chunk);
    pthread_mutex_lock(&pass->stack->lock);
    pass->checkpoint_ms = now_ms();
    return r;
}

/* Through the table once; pass->found: there was something to do. Lock held, dropped meanwhile. */
static int walk(struct pass *pass)
{
    struct stack *stack = pass->stack;
    int r = 0;
    pass->found = false;
    for (uint64_t at = 0, next; r >= 0 && at<stack->size; at = r> 0 ? at : next) {
        struct blob_extent extent;
        next = at;
        r = may_go_on(stack);
        if (r >= 0 && now_ms() - pass->checkpoint_ms >= VOLUME_DIRTY_AGE_MS) {
            r = checkpoint(pass, false);
            r = r < 0 ? r : 1;
            continue;
        }
        if (r >= 0)
            r = flush_find_extent(stack, at, &extent);
        if (r != 0)
            continue;
        next = extent.claim.off + extent.claim.len;
        if (!extent.hole && extent.chunk.flags & BLOB_LOWER_RUNG)
            r = again(pass, &extent, at, &next);
    }
    return r < 0 ? r : 0;
}

/* Until a walk finds nothing. Lock held, dropped meanwhile. */
static int walk_all(struct pass *pass)
{
    struct stack *stack = pass->stack;
    int r = 0;
    pass->found = true;
    for (unsigned n = 0; r >= 0 && pass->found; n++) {
        stack->lowered = false;
        r = n < MAX_WALKS ? walk(pass) : -EIO;
        job_wait(stack, stack->last_job);
        if (r >= 0)
            r = stack->again_error < 0 ? stack->again_error : may_go_on(stack);
    }
    if (r >= 0)
        stack->lower_rung = stack->lowered;
    return r;
}

/* Lock held, dropped meanwhile. */
static int reencode_held(struct pass *pass)
{
    struct stack *stack = pass->stack;
    int r = stack_load_layout(stack);
    if (r < 0 || !stack->lower_rung)
        return r;
    r = volume_has_room(stack->volume, stack->volume->config.chunk);
    if (r >= 0)
        r = may_go_on(stack);
    if (r < 0)
        return r;
    if (!stack->modified)
        stack_keep_ctime(stack);
    r = walk_all(pass);
    if (r < 0)
        return r; /* what was done so far is dirty: the ticker stores it */
    stack_mark_dirty(stack);
    r = checkpoint(pass, true);
    if (r < 0 && stack->kind == STACK_BLOB)
        stack->lower_rung = true;
    return r;
}

static int reencode(struct stack *stack)
{
    unsigned half = stack->volume->config.threads / 2;
    struct pass pass = {.stack = stack, .n_jobs = half > 0 ? half : 1, .checkpoint_ms = now_ms()};
    pthread_mutex_lock(&stack->lock);
    int r = is_free(stack) && !stack->flushing && !stack->rewrite_queued ? 0 : -EBUSY;
    if (r >= 0) {
        stack->reencoding = true;
        stack->again_error = 0;
        stack->pins++;
        r = reencode_held(&pass);
        stack->pins--;
        stack->reencoding = false;
        pthread_cond_broadcast(&stack->changed);
        stack_unload_if_idle(stack);
    }
    pthread_mutex_unlock(&stack->lock);
    return r;
}

/* ---- all of them ---- */

bool reencode_must_stop(struct volume *volume)
{
    return atomic_load(&volume->ending) || ladder_waiting(&volume->ladder) > 0 ||
           atomic_load(&volume->counters.bytes_in) != atomic_load(&volume->reencode_quiet);
}

static int copy_path(void *ctx, const struct index_row *row)
{
    char **path = ctx;
    free(*path);
    *path = strdup(row->path);
    return *path != NULL ? 0 : -ENOMEM;
}

static int visit(struct volume *volume, const char *path)
{
    struct stack *stack;
    int r = notes_find_stack(volume, path, &stack);
    if (r < 0)
        return r;
    r = reencode(stack);
    if (r >= 0)
        r = compact_when_idle(stack);
    stack_put(&stack);
    if (r < 0 && r != -EBUSY && r != -ECANCELED)
        log_warn("%s: what is to be done to it when nobody writes was not: %s", path, strerror(-r));
    return r;
}

/* Every row once. 0: all is done; else what was not is due still. */
static int visit_all(struct volume *volume)
{
    char *path = strdup("");
    int result = 0, r = path != NULL ? 0 : -ENOMEM;
    while (r >= 0 && !reencode_must_stop(volume)) {
        r = index_next_due(volume->index, path, copy_path, &path);
        if (r < 0)
            break;
        int visited = visit(volume, path);
        result = visited < 0 && visited != -ENOENT ? visited : result;
    }
    free(path);
    return r < 0 && r != -ENOENT ? r : result;
}

struct idler {
    uint64_t written; /* by everybody, at the last look */
    int64_t quiet_ms; /* since when nothing was */
    bool again;       /* something could not be done, and is tried again ... */
    int64_t again_ms; /* ... then */
    int64_t retry_ms;
    int64_t archive_ms; /* nothing is archived before that: somebody came whenever it was tried */
    int64_t pause_ms;
};

static bool is_time(struct volume *volume, struct idler *idler)
{
    int64_t now = now_ms();
    uint64_t written = atomic_load(&volume->counters.bytes_in);
    if (written != idler->written || ladder_waiting(&volume->ladder) > 0) {
        idler->written = written;
        idler->quiet_ms = now;
    }
    atomic_store(&volume->reencode_quiet, idler->written);
    return now - idler->quiet_ms >= PAUSE_MS &&
           (atomic_load(&volume->reencode_due) ||
            (atomic_load(&volume->archive_due) && now >= idler->archive_ms) ||
            (idler->again && now >= idler->again_ms));
}

/* What lower rungs have stored comes first. */
static int archive_once(struct volume *volume)
{
    atomic_store(&volume->archive_runs, true);
    bool due = atomic_exchange(&volume->archive_due, false);
    due = atomic_exchange(&volume->archive_again, false) || due;
    int r = due && !reencode_must_stop(volume) ? archive_all(volume) : 0;
    if (due && reencode_must_stop(volume))
        atomic_store(&volume->archive_due, true);
    atomic_store(&volume->archive_again, r < 0);
    atomic_store(&volume->archive_runs, false);
    return r;
}

/* An attempt that is ended costs what a whole one does, and gains nothing. */
static int archive_unless_paused(struct volume *volume, struct idler *idler)
{
    uint64_t before = atomic_load(&volume->counters.stacks_archived);
    if (now_ms() < idler->archive_ms)
        return atomic_load(&volume->archive_again) ? -EBUSY : 0;
    int r = archive_once(volume);
    if (r == -ECANCELED) {
        idler->archive_ms = now_ms() + idler->pause_ms;
        idler->pause_ms = 2 * idler->pause_ms < RETRY_MAX_MS ? 2 * idler->pause_ms : RETRY_MAX_MS;
    }
    if (r >= 0 || atomic_load(&volume->counters.stacks_archived) != before)
        idler->pause_ms = RETRY_MS;
    return r;
}

static void pass_once(struct volume *volume, struct idler *idler)
{
    atomic_store(&volume->reencode_due, false);
    atomic_store(&volume->reencode_runs, true);
    int r = visit_all(volume);
    atomic_store(&volume->reencode_runs, false);
    int archived = archive_unless_paused(volume, idler);
    r = r < 0 ? r : archived;
    if (reencode_must_stop(volume)) {
        atomic_store(&volume->reencode_due, true);
        return;
    }
    idler->again = r < 0;
    idler->again_ms = now_ms() + idler->retry_ms;
    idler->retry_ms = r >= 0 ? RETRY_MS : 2 * idler->retry_ms;
    if (idler->retry_ms > RETRY_MAX_MS)
        idler->retry_ms = RETRY_MAX_MS;
}

void *reencode_thread(void *arg)
{
    struct volume *volume = arg;
    struct idler idler = {.quiet_ms = now_ms(), .retry_ms = RETRY_MS, .pause_ms = RETRY_MS};
    pthread_setname_np(pthread_self(), "sqyfs-idle");
    atomic_store(&volume->reencode_due, true); /* what the mount before this one has left */
    atomic_store(&volume->archive_due, true);
    while (!atomic_load(&volume->ending)) {
        policy_save(volume->policy);
        if (is_time(volume, &idler))
            pass_once(volume, &idler);
        pthread_mutex_lock(&volume->lock);
        struct timespec until = now_later(CLOCK_MONOTONIC, VOLUME_TICK_MS);
        if (!atomic_load(&volume->ending))
            pthread_cond_timedwait(&volume->idle, &volume->lock, &until);
        pthread_mutex_unlock(&volume->lock);
    }
    return NULL;
}
