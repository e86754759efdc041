/* Decoding ahead of readers.
 *
 * What a reader has asked for in one piece is a run. While it grows, up or down, chunks before it are
 * decoded by the encoders: as much as the run is long, so that who stops soon costs little, up to a share
 * of the cache. A reader who jumps has ended a run, and is taken to make the next one as long: one who
 * reads planes gets the whole plane with its first request, and nothing behind it; if it jumped as far as
 * the time before, the beginning of the next run, too. The kernel reads ahead as well, so that one request
 * more than the time before says nothing, and nothing is decoded behind it.
 *
 * An encoder takes turns at this, and not all have one (ahead_turns_most()). What waits for one when its
 * reader needs it, or has jumped, is taken back. Decoded all the same, a chunk
 * that was read and has gone would come back, as one that waits for a reader, and stay.
 *
 * Requests of one reader come from several threads of the kernel's and in any order, so a run is continued
 * by what lies near its end. */
#include "volume/ahead.h"

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define AHEAD_NEAR      (2u << 20) /* bytes: more than a reader has requests under way at a time */
#define AHEAD_FROM      (256u << 10) /* shorter runs prove nothing: headers, directories */
#define AHEAD_TRUST     8u /* a run in the image of the last one: times what is there of it */
#define AHEAD_CHUNKS(n) (2 * (n) + 4) /* for n encoders: one under way for each, and one waiting */
#define AHEAD_EXTENTS   64u           /* looked at for one request */

/* ---- the work ---- */

/* A chunk that waits for a turn. */
struct ahead {
    struct stack *stack;
    struct blobref *ref;
    struct blob_chunk chunk;
    const struct stack_reader *reader; /* for whom; compared, not used */
    struct ahead *next;                /* in volume.ahead */
};

/* An encoder decodes what waits, the oldest first, until nothing does. */
struct turn {
    struct work work;
    struct volume *volume;
};

static void end(struct ahead *ahead)
{
    struct stack *stack = ahead->stack;
    blobref_put(stack->volume, &ahead->ref);
    atomic_fetch_sub(&stack->volume->n_ahead, 1);
    free(ahead);
    stack_unref(stack);
}

/* NULL: nothing waits, and the turn is over. */
static struct ahead *take_oldest(struct volume *volume)
{
    pthread_mutex_lock(&volume->ahead_lock);
    struct ahead *ahead = volume->ahead;
    if (ahead != NULL)
        volume->ahead = ahead->next;
    else
        volume->ahead_turns--;
    pthread_mutex_unlock(&volume->ahead_lock);
    return ahead;
}

static void turn_run(struct work *work)
{
    struct turn *turn = (struct turn *)work;
    struct volume *volume = turn->volume;
    struct ahead *ahead;
    free(turn);
    while ((ahead = take_oldest(volume)) != NULL) {
        read_chunk_ahead(volume, ahead->ref, &ahead->chunk);
        end(ahead);
    }
}

/* False where no turn is there and there is no memory for one. Lock held. */
static bool find_turn(struct volume *volume)
{
    _Static_assert(offsetof(struct turn, work) == 0, "turn_run() casts");
    if (volume->ahead_turns == volume->ahead_turns_most)
        return true;
    struct turn *turn = malloc(sizeof(*turn));
    if (turn == NULL)
        return volume->ahead_turns > 0;
    *turn = (struct turn){{turn_run, NULL}, volume};
    volume->ahead_turns++;
    workq_push_urgent(volume->encoders, &turn->work);
    return true;
}

static void start(struct stack *stack, const struct stack_reader *reader,
                  const struct blob_chunk *chunk)
{
    struct volume *volume = stack->volume;
    struct ahead *ahead = malloc(sizeof(*ahead)), **link = &volume->ahead;
    if (ahead == NULL)
        return;
    *ahead = (struct ahead){stack, blobref_get(stack->blob), *chunk, reader, NULL};
    atomic_fetch_add(&volume->n_ahead, 1);
    stack_ref(stack);
    pthread_mutex_lock(&volume->ahead_lock);
    bool found = find_turn(volume);
    while (*link != NULL)
        link = &(*link)->next;
    if (found)
        *link = ahead;
    pthread_mutex_unlock(&volume->ahead_lock);
    if (!found)
        end(ahead);
}

/* Takes back what waits for that reader, or (NULL) of that chunk. */
static void take_back(struct volume *volume, const struct stack_reader *reader,
                      const struct blobref *ref, const struct blob_chunk *chunk)
{
    struct ahead *taken = NULL;
    pthread_mutex_lock(&volume->ahead_lock);
    for (struct ahead **link = &volume->ahead; *link != NULL;) {
        struct ahead *ahead = *link;
        if (reader != NULL ? ahead->reader == reader
                           : ahead->ref == ref && ahead->chunk.coded_off == chunk->coded_off) {
            *link = ahead->next;
            ahead->next = taken;
            taken = ahead;
        } else {
            link = &ahead->next;
        }
    }
    pthread_mutex_unlock(&volume->ahead_lock);
    while (taken != NULL) {
        struct ahead *ahead = taken;
        taken = ahead->next;
        end(ahead);
    }
}

unsigned ahead_turns_most(unsigned threads)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned others = cores > 1 ? (unsigned)cores - 1 : 1;
    return threads < others ? threads : others;
}

void ahead_no_more(struct volume *volume, const struct blobref *ref, const struct blob_chunk *chunk)
{
    take_back(volume, NULL, ref, chunk);
}

/* ---- how far ---- */

/* Bytes that may lie decoded for one reader and `chunk_len` long chunks: all readers together get a quarter
 * of the cache, none more than the encoders can be busy with, and each two chunks where there is room for
 * eight: handles stay open for long after they were read. */
static uint64_t share(const struct volume *volume, uint64_t chunk_len)
{
    uint64_t n = atomic_load(&volume->n_readers);
    uint64_t room = volume->config.cache / 4 / (n > 0 ? n : 1);
    uint64_t least = volume->config.cache >= 8 * chunk_len ? 2 * chunk_len : 0;
    uint64_t busy = AHEAD_CHUNKS(volume->config.threads) * chunk_len;
    if (room < least)
        room = least;
    return room < busy ? room : busy;
}

/* How far beyond the run its reader will go, as it looks: whole chunks of `chunk_len`. */
static uint64_t wanted(const struct stack_reader *reader, uint64_t chunk_len)
{
    uint64_t run = reader->to - reader->from;
    if (reader->last_run > 0 && run <= reader->last_run) {
        uint64_t rest = reader->last_run - run;
        return rest < AHEAD_TRUST * run ? rest : AHEAD_TRUST * run;
    }
    if (reader->way == AHEAD_UP && reader->last_request - reader->from <= reader->last_run)
        return 0;
    return run > 2 * chunk_len ? run : 2 * chunk_len;
}

/* ---- walking ---- */

/* Starts what is not decoded yet of [lo, hi), from that end on where the reader comes from. Returns how far
 * it came; the place where it was to begin where nothing more is to be started. */
static uint64_t issue(struct stack *stack, struct stack_reader *reader, uint64_t lo, uint64_t hi,
                      bool up)
{
    struct volume *volume = stack->volume;
    uint64_t at = up ? lo : hi;
    for (unsigned i = 0; i < AHEAD_EXTENTS && (up ? at < hi : at > lo); i++) {
        struct blob_extent extent;
        if (blob_find(stack->blob->blob, up ? at : at - 1, &extent) < 0)
            break; /* a page of the table that is not here: who reads loads it */
        if (!extent.hole && !read_has_chunk(volume, stack->blob, &extent.chunk)) {
            if (atomic_load(&volume->n_ahead) >= 2 * AHEAD_CHUNKS(volume->config.threads))
                break;
            if (!reader->counted)
                atomic_fetch_add(&volume->n_readers, 1);
            reader->counted = true;
            start(stack, reader, &extent.chunk);
        }
        at = up ? extent.claim.off + extent.claim.len : extent.claim.off;
        if (extent.hole && up && at > hi)
            at = hi; /* behind that may be something by the time the reader comes */
    }
    return at;
}

static void issue_up(struct stack *stack, struct stack_reader *reader, uint64_t lo, uint64_t budget)
{
    uint64_t hi = reader->to + budget < stack->size ? reader->to + budget : stack->size;
    if (reader->issued > lo)
        lo = reader->issued;
    if (lo < hi)
        reader->issued = issue(stack, reader, lo, hi, true);
}

static void issue_down(struct stack *stack, struct stack_reader *reader, uint64_t hi,
                       uint64_t budget)
{
    uint64_t lo = reader->from > budget ? reader->from - budget : 0;
    if (reader->issued > 0 && reader->issued < hi)
        hi = reader->issued;
    if (hi > lo)
        reader->issued = issue(stack, reader, lo, hi, false);
}

/* The beginning of the next run, where it will probably be. */
static void issue_next(struct stack *stack, struct stack_reader *reader, uint64_t budget)
{
    uint64_t next =
        reader->start + (uint64_t)reader->stride; /* wraps where it lies before the stack */
    uint64_t len = reader->last_run < budget ? reader->last_run : budget;
    if (next >= stack->size)
        return;
    uint64_t hi = len < stack->size - next ? next + len : stack->size;
    uint64_t lo = reader->next_issued > next ? reader->next_issued : next;
    if (lo < hi)
        reader->next_issued = issue(stack, reader, lo, hi, true);
}

/* ---- runs ---- */

static bool goes_on(struct stack_reader *reader, uint64_t off, uint64_t end)
{
    if (reader->way != AHEAD_DOWN && off >= reader->from && off <= reader->to + AHEAD_NEAR) {
        if (end > reader->to) {
            reader->way = AHEAD_UP;
            reader->to = end;
            reader->last_request = off;
        }
        return true;
    }
    if (reader->way != AHEAD_UP && end <= reader->to && end + AHEAD_NEAR >= reader->from) {
        reader->way = AHEAD_DOWN;
        if (off < reader->from)
            reader->from = off;
        return true;
    }
    return reader->way == AHEAD_UP && off < reader->from && off + AHEAD_NEAR >= reader->from &&
           end >= reader->from; /* its first request, late */
}

static void uncount(struct stack *stack, struct stack_reader *reader)
{
    if (reader->counted)
        atomic_fetch_sub(&stack->volume->n_readers, 1);
    reader->counted = false;
}

void stack_reader_end(struct stack *stack, struct stack_reader *reader)
{
    uncount(stack, reader);
    take_back(stack->volume, reader, NULL, NULL);
}

static void begin_run(struct stack *stack, struct stack_reader *reader, uint64_t off, uint64_t end)
{
    int64_t stride = (int64_t)(off - reader->start);
    bool same = reader->to > 0 && stride == reader->stride;
    reader->repeats = same ? reader->repeats + 1 : 0;
    reader->issued = same ? reader->next_issued : 0;
    reader->next_issued = 0;
    reader->last_run = reader->to - reader->from;
    reader->stride = stride;
    reader->start = reader->from = reader->last_request = off;
    reader->to = end;
    reader->way = AHEAD_NOWHERE;
    uncount(stack, reader);
    if (!same)
        take_back(stack->volume, reader, NULL, NULL);
}

/* The first chunk of the request is left to who reads it. */
static void start_some(struct stack *stack, struct stack_reader *reader, uint64_t off, uint64_t end,
                       bool proven)
{
    struct blob_extent first;
    bool down = reader->way == AHEAD_DOWN;
    if (blob_find(stack->blob->blob, down ? end - 1 : off, &first) < 0)
        return;
    const struct volume *volume = stack->volume;
    uint64_t chunk_len = first.hole ? volume->config.chunk : sqy_box_bytes(&first.chunk.box);
    uint64_t most = share(volume, chunk_len), want = wanted(reader, chunk_len);
    uint64_t budget = want < most ? want : most;
    if (most < chunk_len)
        return;
    if (proven && down)
        issue_down(stack, reader, first.claim.off, budget);
    else if (proven)
        issue_up(stack, reader, first.claim.off + first.claim.len, budget);
    if (reader->repeats > 1 && !down && budget < most)
        issue_next(stack, reader, most - budget);
}

enum ahead_way ahead_note(struct stack *stack, struct stack_reader *reader, uint64_t off,
                          uint64_t len)
{
    if (len == 0 || off >= stack->size)
        return AHEAD_NOWHERE;
    uint64_t end = len < stack->size - off ? off + len : stack->size;
    if (reader->to == 0 || !goes_on(reader, off, end))
        begin_run(stack, reader, off, end);
    bool proven = reader->to - reader->from >= AHEAD_FROM;
    if ((proven || reader->repeats > 1) && stack->kind == STACK_BLOB && stack->blob != NULL)
        start_some(stack, reader, off, end, proven);
    return proven ? (enum ahead_way)reader->way : AHEAD_NOWHERE;
}
