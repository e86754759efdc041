/* When and how bytes leave the overlay.
 *
 * By themselves, as soon as a unit of the layout is complete: flush_completed(), from the write.
 * Forced, by flush_stack(): by age, at fsync, under pressure. Complete units are encoded; what is
 * not complete goes as it is into byte chunks that are marked provisional. For good, when the last
 * writer has gone ("settle"): incomplete units are merged with what the blob has of them, and
 * provisional bytes that turned out to be voxels are cut again.
 *
 * Under pressure bytes need not wait for a flush: flush_leave() starts jobs for some of what is dirty, as if a
 * flush had come by, and whoever lacks room waits for the first that is done.
 *
 * A round of a flush starts jobs for all that is dirty and waits for them. Writers go on meanwhile,
 * so some results may be stale; after a few rounds writers are held until one round gets through.
 */
#include "volume/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "volume/archive_note.h"
#include "volume/pack.h"
#include "volume/units.h"

static bool unit_complete(const struct stack *stack, const struct layout_unit *unit)
{
    for (uint32_t i = 0; i < unit->n_pieces; i++)
        if (!overlay_covers(&stack->overlay, unit->pieces[i].off, unit->pieces[i].len))
            return false;
    return true;
}

void flush_completed(struct stack *stack, uint64_t off, uint64_t end)
{
    struct layout_unit unit;
    uint64_t at = off, next, run_end, job_end;
    /* From one dirty byte to the next: most of what a layout tells of may be a hole. */
    for (; overlay_next(&stack->overlay, at, &at, &run_end) && at < end; at = next) {
        if (!layout_unit_at(stack->layout, at, &unit, &next))
            continue;
        next = unit_piece_end(&unit, at);
        if (unit.open || !unit_complete(stack, &unit) ||
            job_covers(stack, unit.pieces[0].off, &job_end))
            continue;
        if (job_start_unit(stack, JOB_WRITTEN, &unit) < 0)
            return; /* out of memory: the next flush comes to it */
    }
}

#define LEAVE_JOBS  512u /* at a time, under the stack's lock */
#define LEAVE_SKIPS 64u  /* runs that have a job already: with many jobs each takes its time */

struct round {
    struct stack *stack;
    bool settle;       /* cut properly */
    bool merge;        /* units may be completed from the blob */
    uint64_t clear_to; /* no job has bytes from here to there: millions of runs may lie between */
    struct gather bytes;
};

/* As job_covers(). The jobs that gather bytes lie behind us, so only a unit's can cover what is
 * ahead. */
static bool is_covered(struct round *round, uint64_t off, uint64_t *end)
{
    if (off < round->clear_to)
        return false;
    if (job_covers(round->stack, off, end))
        return true;
    round->clear_to = job_next_covered(round->stack, off);
    return false;
}

static int start_unit(struct round *round, const struct layout_unit *unit)
{
    round->clear_to = 0;
    return job_start_unit(round->stack, JOB_WRITTEN, unit);
}

/* The dirty run [start, end), or the front of it; *next is where to go on. */
static int flush_run(struct round *round, uint64_t start, uint64_t end, uint64_t *next)
{
    struct stack *stack = round->stack;
    struct layout_unit unit;
    uint64_t part_end;
    if (is_covered(round, start, &part_end)) {
        *next = part_end;
        return 0;
    }
    if (!layout_unit_at(stack->layout, start, &unit, &part_end)) {
        *next = end < part_end ? end : part_end;
        return gather_add(&round->bytes, start, *next);
    }
    part_end = unit_piece_end(&unit, start);
    bool whole = (!unit.open || round->settle) && unit_complete(stack, &unit);
    if (whole || (round->settle && round->merge && unit_within(&unit, stack->size))) {
        *next = part_end;
        return start_unit(round, &unit);
    }
    *next = end < part_end ? end : part_end;
    return gather_add(&round->bytes, start, *next);
}

static int flush_dirty(struct round *round)
{
    struct stack *stack = round->stack;
    uint64_t start, end, next;
    for (uint64_t at = 0; overlay_next(&stack->overlay, at, &start, &end); at = next) {
        int r = flush_run(round, start, end, &next);
        if (r < 0)
            return r;
    }
    return gather_flush(&round->bytes);
}

/* Whose bytes can leave just as they would be written: no lock need be dropped. One that nobody writes is settled, and
 * what a full log keeps in the overlay waits for a checkpoint. */
static bool can_leave(const struct stack *stack)
{
    return stack->kind == STACK_BLOB && !stack->transition && stack->layout != NULL &&
           stack->blob != NULL && stack->blob->writable && stack->writers > 0 && !stack->settling &&
           !stack->log_full && !atomic_load(&stack->stuck);
}

/* From stack->leave_at to `end`, at most `most` bytes of no job. */
static int64_t leave_until(struct round *round, uint64_t end, uint64_t most)
{
    struct stack *stack = round->stack;
    const uint64_t n_jobs = stack->last_job;
    uint64_t at, run_end, next, done = 0;
    unsigned skips = 0;
    while (done < most && skips < LEAVE_SKIPS && stack->last_job - n_jobs < LEAVE_JOBS &&
           overlay_next(&stack->overlay, stack->leave_at, &at, &run_end) && at < end) {
        if (is_covered(round, at, &next)) {
            stack->leave_at = next;
            skips++;
            continue;
        }
        run_end = run_end - at < most - done ? run_end : at + (most - done);
        int r = flush_run(round, at, run_end, &next);
        if (r < 0)
            return r;
        done += next - at;
        stack->leave_at = next;
    }
    int r = gather_flush(&round->bytes);
    return r < 0 ? r : (int64_t)done;
}

/* Round and round, so that what was written in random order is as dense as it gets, and what was written last, and may
 * yet become whole units, is the last to leave. */
int64_t flush_leave(struct stack *stack, uint64_t most)
{
    if (!can_leave(stack))
        return -EAGAIN;
    struct round round = {.stack = stack};
    round.bytes.stack = stack;
    round.bytes.why = JOB_WRITTEN;
    round.bytes.flags = BLOB_PROVISIONAL;
    const uint64_t begun = stack->leave_at;
    int64_t n = leave_until(&round, UINT64_MAX, most);
    uint64_t at, end;
    if (n != 0 || overlay_next(&stack->overlay, stack->leave_at, &at, &end))
        return n;
    stack->leave_at = 0;
    round.clear_to = 0;
    return leave_until(&round, begun, most);
}

/* The one piece of a unit was cut as the unit says by a guess, and only its mark goes. Lock held since
 * the table was asked: it must not get back what it has lost. */
static bool came_true(const struct stack *stack, const struct layout_unit *unit)
{
    struct blob *blob = stack->blob->blob;
    struct blob_extent extent;
    if (unit->n_pieces != 1 || blob_find(blob, unit->pieces[0].off, &extent) < 0 || extent.hole)
        return false;
    const struct sqy_box *box = &extent.chunk.box;
    const struct blob_claim *claim = &extent.claim;
    const bool big_endian = extent.chunk.flags & BLOB_BIG_ENDIAN;
    if (claim->off != unit->pieces[0].off || claim->len != unit->bytes || claim->src ||
        (unsigned)box->type != (unsigned)unit->type || box->planes != unit->planes ||
        box->rows != unit->rows || box->width != unit->width || box->spp != unit->spp ||
        (big_endian != unit->big_endian && sqy_type_size(box->type) > 1))
        return false;
    extent.chunk.flags &= ~(uint32_t)BLOB_PROVISIONAL;
    return blob_commit(blob, &extent.chunk, claim, 1) >= 0;
}

/* One provisional extent: the units that it lies in are encoded anew; what is in none stays. */
static int recut_extent(struct stack *stack, uint64_t off, uint64_t end)
{
    struct layout_unit unit;
    uint64_t next;
    for (uint64_t at = off; at < end; at = next) {
        if (!layout_unit_at(stack->layout, at, &unit, &next))
            continue;
        next = unit_piece_end(&unit, at);
        uint64_t job_end;
        if (unit.guessed || !unit_within(&unit, stack->size) || job_covers(stack, at, &job_end) ||
            came_true(stack, &unit))
            continue;
        int r = job_start_unit(stack, JOB_RECUT, &unit);
        if (r < 0)
            return r;
    }
    return 0;
}

int flush_find_extent(struct stack *stack, uint64_t off, struct blob_extent *extent)
{
    int r = blob_find(stack->blob->blob, off, extent);
    if (r != -EAGAIN)
        return r;
    struct blobref *ref = blobref_get(stack->blob);
    pthread_mutex_unlock(&stack->lock);
    r = blob_prepare(ref->blob, off, 1);
    pthread_mutex_lock(&stack->lock);
    blobref_put(stack->volume, &ref);
    return r < 0 ? r : 1;
}

/* What a lower rung has stored waits until nobody writes: reencode.c. */
static int recut(struct stack *stack)
{
    struct blob_stats stats;
    blob_stats(stack->blob->blob, &stats);
    if (stats.provisional_bytes == 0)
        return 0;
    const uint64_t incarnation = stack->blob->incarnation;
    for (uint64_t at = 0; at < stack->size;) {
        struct blob_extent extent;
        int r = flush_find_extent(stack, at, &extent);
        if (stack->blob == NULL || stack->blob->incarnation != incarnation)
            return 0;
        if (r > 0)
            continue;
        if (r < 0)
            return r;
        uint64_t end = extent.claim.off + extent.claim.len;
        if (!extent.hole && extent.chunk.flags & BLOB_PROVISIONAL) {
            job_wait_room(stack, STACK_MAX_JOBS);
            r = recut_extent(stack, at, end < stack->size ? end : stack->size);
            if (r < 0)
                return r;
        }
        at = end;
    }
    return 0;
}

static int flush_round(struct stack *stack, bool settle, bool merge)
{
    bool final = settle && stack->writers == 0;
    int r = stack_update_layout(stack, final, true);
    if (r < 0 && r != -EIO && r != -EBADMSG) /* damaged metadata advises nothing */
        return r;
    struct round round = {.stack = stack, .settle = settle, .merge = merge};
    round.bytes.stack = stack;
    round.bytes.why = JOB_WRITTEN;
    round.bytes.flags = final ? 0 : BLOB_PROVISIONAL;
    r = flush_dirty(&round);
    if (r >= 0 && settle && merge)
        r = recut(stack);
    return r;
}

/* Lock held, dropped meanwhile. */
static int flush_rounds(struct stack *stack, bool settle)
{
    bool merge = !stack->damaged;
    for (unsigned n = 0;; n++) {
        uint64_t lost = stack->n_lost;
        stack->job_error = 0;
        int r = flush_round(stack, settle, merge);
        job_wait(stack, stack->last_job);
        if (r >= 0)
            r = stack->job_error;
        if (merge && (r == -EIO || r == -EBADMSG || r == -ENOSPC || r == -EDQUOT)) {
            /* What the units were to be merged with cannot be read, or the result has no room: the
             * new bytes alone may do. */
            merge = false;
            continue;
        }
        if (r < 0 || stack->n_lost == lost || stack->kind != STACK_BLOB)
            return r;
        if (n >= STACK_HOLD_ROUND)
            stack->hold = true;
    }
}

static int flush_prepare(struct stack *stack, bool settle)
{
    stack_wait_transition(stack);
    int r = 0;
    if (stack->kind == STACK_EMPTY && (stack->overlay.bytes > 0 || stack->size > 0))
        r = birth_classify(stack, true);
    if (r < 0 || stack->kind != STACK_BLOB)
        return r;
    r = stack_load(stack, true);
    if (r < 0)
        return r;
    struct blob_stats stats;
    blob_stats(stack->blob->blob, &stats);
    if (stack->overlay.bytes > 0 || (settle && stats.provisional_bytes > 0))
        r = stack_load_layout(stack);
    return r;
}

int flush_stack(struct stack *stack, bool settle)
{
    pthread_mutex_lock(&stack->lock);
    while (stack->flushing)
        pthread_cond_wait(&stack->changed, &stack->lock);
    stack->flushing = true;
    stack->settling = settle;
    int r = flush_prepare(stack, settle);
    if (r >= 0 && stack->kind == STACK_BLOB && stack->layout != NULL)
        r = flush_rounds(stack, settle);
    stack->flushing = stack->settling = false;
    stack->hold = false;
    atomic_store(&stack->stuck, r < 0);
    pthread_cond_broadcast(&stack->changed);
    pthread_mutex_unlock(&stack->lock);
    return r;
}

/* ---- durable ---- */

/* What the checkpoint and the header are to say of the stack as an image; lock held. */
struct image {
    bool known; /* a layout was made: else both keep what they say */
    struct layout_info info;
};

/* A chunk of a lower rung that comes between this and the table's snapshot is in the checkpoint, too. One
 * that says so of none costs a look, one that has some unsaid leaves them after a power cut for ever. */
static bool may_have_lower_rung(const struct stack *stack)
{
    return stack->lower_rung || stack->writers > 0 || stack->overlay.bytes > 0 || stack->n_jobs > 0;
}

static char *meta_of(struct stack *stack, bool lower_rung, struct image *image)
{
    image->known = stack->layout != NULL;
    struct blob_state state;
    struct layout_info info;
    struct archive_note note;
    blob_state(stack->blob->blob, &state);
    bool archived = archive_note_parse(state.meta, &note) == 0;
    bool edited = archived && stack->unsettled && !note.edited;
    if (image->known)
        layout_info(stack->layout, &image->info);
    else if ((pack_meta_lower_rung(state.meta) == lower_rung && !edited) ||
             pack_meta_parse(state.meta, &info) < 0) /* a newer version's */
        return strdup(state.meta);
    note.edited = note.edited || edited;
    return pack_meta_write(image->known ? &image->info : &info, lower_rung,
                           archived ? &note : NULL);
}

/* A closed stack's header says how large it is, in voxels and in bytes. */
static bool header_of(struct blob *blob, const struct image *image, struct blob_header *header)
{
    blob_header(blob, header);
    if (image->known)
        pack_header_shape(&image->info, header);
    return image->known;
}

/* Until it is synced it is among the dirty ones, for whose end a drain waits. Lock held, dropped meanwhile. */
static int sync_plain(struct stack *stack)
{
    const struct io *io = stack->volume->io;
    int fd = stack->data_fd, r = 0;
    bool clean = stack->kind == STACK_PLAIN || stack->overlay.bytes == 0, due = stack->modified;
    stack->modified = stack->modified && !clean;
    if (fd >= 0) {
        stack->plain_io++;
        pthread_mutex_unlock(&stack->lock);
        r = io->fsync(io, fd);
        pthread_mutex_lock(&stack->lock);
        stack->plain_io--;
        pthread_cond_broadcast(&stack->changed);
    }
    if (r < 0 && due) {
        stack->plain_error = r;
        stack_mark_dirty(stack);
    } else if (r >= 0 && !stack->modified && !stack->syncing) { /* else it is a blob's by now */
        stack_mark_clean(stack);
    }
    return r;
}

/* The checkpoint after a flush; lock held, dropped meanwhile. `size` is what the flush began with.
 */
static int sync_blob(struct stack *stack, uint64_t size, bool settle)
{
    struct volume *volume = stack->volume;
    bool clean = stack->overlay.bytes == 0 && stack->n_jobs == 0;
    struct blob_state state = {.size = clean || stack->size < size ? stack->size : size,
                               .mtime = stack->mtime};
    struct image image;
    const bool lower_rung = may_have_lower_rung(stack);
    char *meta = meta_of(stack, lower_rung, &image);
    if (meta == NULL)
        return -ENOMEM;
    stack->unsettled |= lower_rung != stack->lower_rung; /* then it says what is so */
    state.meta = meta;
    bool sync_name = stack->unsynced_name;
    struct blobref *ref = blobref_get(stack->blob);
    uint64_t mark = journal_mark(stack);
    stack->syncing = true;
    stack->modified = !clean;
    stack->dirty_since_ms = now_ms();
    pthread_mutex_unlock(&stack->lock);
    struct blob_header header;
    bool tell = settle && header_of(ref->blob, &image, &header);
    int r = sync_checkpoint(volume, ref, &state, settle ? BLOB_FULL : 0, tell ? &header : NULL,
                            sync_name);
    free(meta);
    if (r >= 0 && settle)
        volume_note_stored(stack, ref, NULL);
    blobref_put(volume, &ref);
    pthread_mutex_lock(&stack->lock);
    stack_own_ctime(stack);
    stack->syncing = false;
    pthread_cond_broadcast(&stack->changed);
    if (r < 0) {
        stack->modified = true;
        atomic_fetch_add(&volume->counters.store_errors, 1);
        return r;
    }
    journal_forget(stack, mark);
    stack->log_full = false;
    if (sync_name)
        stack->unsynced_name = false;
    if (stack->modified)
        return 0;
    if (settle && stack->writers == 0)
        stack->unsettled = false;
    stack_mark_clean(stack);
    return 0;
}

/* Where some bytes could not be stored, those that were have left memory all the same, and a
 * checkpoint must name them: what fails may go on failing until the daemon ends. A stack that was rewritten
 * since it was flushed has nothing loaded: what it had is on the disk in the old file and the new. */
static bool can_sync(const struct stack *stack)
{
    return stack->blob != NULL && stack->blob->writable;
}

/* *again: there was more than the log had room for, and some of it has left the overlay. */
static int flush_once(struct stack *stack, bool settle, bool *again)
{
    *again = false;
    pthread_mutex_lock(&stack->lock);
    while (stack->syncing)
        pthread_cond_wait(&stack->changed, &stack->lock);
    uint64_t size = stack->size, bytes = stack->overlay.bytes;
    bool needed = stack->modified || stack->kind != STACK_BLOB;
    pthread_mutex_unlock(&stack->lock);
    if (!needed)
        return 0;
    int r = flush_stack(stack, settle);
    pthread_mutex_lock(&stack->lock);
    while (stack->syncing || stack->transition)
        pthread_cond_wait(&stack->changed, &stack->lock);
    int synced = 0;
    *again = stack->log_full && stack->overlay.bytes < bytes;
    if (stack->kind != STACK_BLOB)
        synced = r < 0 ? r : sync_plain(stack);
    else if (stack->modified && can_sync(stack))
        synced = sync_blob(stack, size, settle && r >= 0);
    r = r < 0 ? r : synced;
    pthread_mutex_unlock(&stack->lock);
    if (r < 0)
        spool_wake(stack->volume->spool); /* who waits for this checkpoint has to look again */
    return r;
}

int flush_durable(struct stack *stack, bool settle)
{
    bool again = true;
    int r = 0;
    while (r >= 0 && again) {
        r = flush_once(stack, settle, &again);
        again = again && settle;
    }
    return r;
}

int stack_secure(struct stack *stack, bool over_blob)
{
    int r = 0;
    pthread_mutex_lock(&stack->lock);
    stack_wait_transition(stack);
    bool plain = stack->kind == STACK_PLAIN;
    if (plain && over_blob)
        r = stack_open_data(stack, false);
    stack->pins++;
    pthread_mutex_unlock(&stack->lock);
    if (r >= 0 && (!plain || over_blob))
        r = flush_durable(stack, false);
    pthread_mutex_lock(&stack->lock);
    stack->pins--;
    pthread_cond_broadcast(&stack->changed);
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
    return r;
}

/* ---- in the background ---- */

static void tend_run(struct work *work)
{
    struct stack *stack = (struct stack *)((char *)work - offsetof(struct stack, tend_work));
    pthread_mutex_lock(&stack->lock);
    while (stack->tending)
        pthread_cond_wait(&stack->changed, &stack->lock);
    stack->tend_queued = false;
    stack->tending = true;
    stack_discard_if_unlinked(stack);
    bool settle = stack->writers == 0;
    pthread_mutex_unlock(&stack->lock);
    int r = flush_durable(stack, settle);
    if (workq_depth(stack->volume->tenders) == 0) /* else others come, with more rows */
        index_share_end(stack->volume->index, true);
    pthread_mutex_lock(&stack->lock);
    if (r >= 0 && settle)
        compact_if_worthwhile(stack);
    stack->error = r < 0 ? r : stack->plain_error;
    stack->tending = false;
    pthread_cond_broadcast(&stack->changed);
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
    stack_unref(stack);
}

void flush_tend_async(struct stack *stack)
{
    if (stack->tend_queued)
        return;
    stack->tend_queued = true;
    stack->tend_work.run = tend_run;
    stack_ref(stack);
    workq_push(stack->volume->tenders, &stack->tend_work);
}

/* The stack that holds most of the spool, referenced; NULL where none holds any. One whose last
 * flush failed comes only when there is no other. */
static struct stack *largest_holder(struct volume *volume)
{
    struct stack *best = NULL;
    size_t most = 0;
    bool best_stuck = true;
    pthread_mutex_lock(&volume->lock);
    for (struct stack *stack = volume->dirty; stack != NULL; stack = stack->dirty_next) {
        size_t blocks = atomic_load(&stack->overlay.n_held);
        bool stuck = atomic_load(&stack->stuck);
        if (blocks > 0 &&
            (best == NULL || (best_stuck && !stuck) || (best_stuck == stuck && blocks > most))) {
            best = stack;
            best_stuck = stuck;
            most = blocks;
        }
    }
    if (best != NULL)
        best->refs++;
    pthread_mutex_unlock(&volume->lock);
    return best;
}

/* Nothing is left but what checkpoints will free. */
static void wait_for_checkpoint(struct volume *volume, uint64_t *seen)
{
    pthread_mutex_lock(&volume->lock);
    bool any = volume->dirty != NULL;
    pthread_mutex_unlock(&volume->lock);
    if (!any)
        return;
    volume_kick(volume);
    spool_wait(volume->spool, seen);
}

/* What its log has no room for leaves only behind a checkpoint. */
static int flush_away(struct stack *stack)
{
    int r = flush_stack(stack, false);
    pthread_mutex_lock(&stack->lock);
    bool full = stack->log_full;
    pthread_mutex_unlock(&stack->lock);
    return r >= 0 && full ? flush_durable(stack, false) : r;
}

static bool starts_leaving(struct stack *stack, uint64_t most)
{
    pthread_mutex_lock(&stack->lock);
    bool some = flush_leave(stack, most) > 0;
    pthread_mutex_unlock(&stack->lock);
    return some;
}

/* The stack's own bytes are too torn. */
static int make_runs(struct stack *stack, uint64_t *seen)
{
    pthread_mutex_lock(&stack->lock);
    bool some = stack->n_jobs > 0 || flush_leave(stack, UINT64_MAX) > 0;
    pthread_mutex_unlock(&stack->lock);
    if (!some)
        return flush_away(stack);
    spool_wait(stack->volume->spool, seen);
    return 0;
}

/* What some encoder is about to store makes room soon; else all of the victim has to go. */
static int make_room_of(struct stack *victim, uint64_t *seen)
{
    struct volume *volume = victim->volume;
    uint64_t excess = volume_excess(volume), chunk = volume->config.chunk;
    bool idle = atomic_load(&volume->jobs_in_flight) == 0, last = atomic_load(&victim->stuck);
    bool some = (excess > 0 || idle) && starts_leaving(victim, (excess / chunk + 1) * chunk);
    if (some || !idle) {
        spool_wait(volume->spool, seen);
        return 0;
    }
    int r = flush_away(victim);
    return last ? r : 0;
}

int flush_make_room(struct stack *stack, enum spool_want want)
{
    struct volume *volume = stack->volume;
    uint64_t seen = spool_seen(volume->spool);
    bool own = atomic_load(&stack->overlay.n_held) > 0;
    if (want == WANT_RUN && own)
        return make_runs(stack, &seen);
    if (want == WANT_HOLE && own) /* each try would undo what jobs have begun where it is to be */
        return flush_away(stack);
    if (want == WANT_BLOCK && spool_grow(volume->spool))
        return 0;
    struct stack *victim = largest_holder(volume);
    if (victim != NULL) {
        int r = make_room_of(victim, &seen);
        stack_unref(victim);
        return r;
    }
    if (atomic_load(&volume->jobs_in_flight) > 0)
        spool_wait(volume->spool, &seen);
    else
        wait_for_checkpoint(volume, &seen);
    return 0;
}

int flush_make_log_room(struct stack *stack)
{
    uint64_t seen = spool_seen(stack->volume->spool);
    pthread_mutex_lock(&stack->lock);
    bool own = stack->modified && stack->log != NULL;
    pthread_mutex_unlock(&stack->lock);
    if (own)
        return flush_durable(stack, false);
    wait_for_checkpoint(stack->volume, &seen);
    return 0;
}
