#include "volume/ladder.h"

#include <string.h>

/* Levels, as parts of the room that chunks may wait in. */
#define FAST_FROM 0.5   /* some chunks are coded fast; ... */
#define RAW_FROM  0.875 /* ... all are, some are not coded at all; and none is at 1 */

#define GAIN 0.75 /* a lower rung takes at most this part of the time */

/* A chunk's cost counts 1 - 1/MEMORY as much with each one that follows. */
#define MEMORY 128.0

/* A rung that is not used is thought to take 1/PATIENCE less each time, so that it is tried again. */
#define PATIENCE 4096.0

/* Chunks before a rung's cost is believed: the first ones find memory that was never touched. */
#define FEW 4u

const char *ladder_name(enum ladder_rung rung)
{
    static const char *const names[LADDER_RUNGS] = {"target", "fast", "raw"};
    return names[rung];
}

static double clamp(double v)
{
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

/* Bytes that no encoder is about to take (units that are not complete) take room away; but where they
 * are most of it, they are the reason why it is full, and not the encoders. */
static double level(const struct ladder_view *view)
{
    uint64_t room = view->waiting + view->free;
    if (room < view->limit / 2)
        room = view->limit / 2;
    return room > 0 ? clamp((double)view->waiting / (double)room) : 0;
}

static bool gains(const struct ladder_view *view, enum ladder_rung from, enum ladder_rung to)
{
    return view->cost[from] <= 0 || view->cost[to] < GAIN * view->cost[from];
}

struct ladder_mix ladder_mix(const struct ladder_view *view)
{
    double at = level(view);
    double lower = clamp((at - FAST_FROM) / (RAW_FROM - FAST_FROM));
    double raw = clamp((at - RAW_FROM) / (1 - RAW_FROM));
    bool fast = gains(view, LADDER_TARGET, LADDER_FAST);
    if (!fast)
        lower = raw;
    if (!gains(view, fast ? LADDER_FAST : LADDER_TARGET, LADDER_RAW)) {
        lower = fast ? lower : 0;
        raw = 0;
    }
    return (struct ladder_mix){{1 - lower, lower - raw, raw}};
}

/* ---- one mount's ---- */

void ladder_init(struct ladder *ladder)
{
    memset(ladder, 0, sizeof(*ladder));
    pthread_mutex_init(&ladder->lock, NULL);
}

void ladder_destroy(struct ladder *ladder)
{
    pthread_mutex_destroy(&ladder->lock);
}

void ladder_wait(struct ladder *ladder, uint64_t bytes)
{
    pthread_mutex_lock(&ladder->lock);
    ladder->waiting += bytes;
    pthread_mutex_unlock(&ladder->lock);
}

uint64_t ladder_waiting(struct ladder *ladder)
{
    pthread_mutex_lock(&ladder->lock);
    uint64_t waiting = ladder->waiting;
    pthread_mutex_unlock(&ladder->lock);
    return waiting;
}

/* What storing takes is the same on every rung, by the byte that is stored. A rung that hardly
 * anybody was on yet is thought to cost nothing beside that: so it is tried. */
static void costs(const struct ladder *ladder, double cost[LADDER_RUNGS])
{
    double append_s = 0, coded = 0;
    for (unsigned i = 0; i < LADDER_RUNGS; i++) {
        append_s += ladder->cost[i].append_s;
        coded += ladder->cost[i].coded;
    }
    double append = coded > 0 ? append_s / coded : 0;
    const struct ladder_cost *target = &ladder->cost[LADDER_TARGET];
    double size = target->plain > 0 ? target->coded / target->plain : 0;
    for (unsigned i = 0; i < LADDER_RUNGS; i++) {
        const struct ladder_cost *own = &ladder->cost[i];
        double encode = ladder->n_learned[i] == FEW ? own->encode_s / own->plain : 0;
        if (i == LADDER_RAW)
            size = 1;
        else if (own->plain > 0)
            size = own->coded / own->plain;
        cost[i] = encode + size * append;
    }
}

/* The rung that is most in arrears, so that shares come out evenly. */
static enum ladder_rung next_rung(struct ladder *ladder, const struct ladder_mix *mix)
{
    enum ladder_rung rung = LADDER_TARGET;
    for (unsigned i = 0; i < LADDER_RUNGS; i++) {
        ladder->due[i] = mix->share[i] > 0 ? ladder->due[i] + mix->share[i] : 0;
        if (mix->share[i] > 0 && (mix->share[rung] <= 0 || ladder->due[i] > ladder->due[rung]))
            rung = (enum ladder_rung)i;
    }
    ladder->due[rung] -= 1;
    return rung;
}

enum ladder_rung ladder_take(struct ladder *ladder, uint64_t bytes, uint64_t free, uint64_t limit)
{
    pthread_mutex_lock(&ladder->lock);
    ladder->waiting -= bytes < ladder->waiting ? bytes : ladder->waiting;
    struct ladder_view view = {.waiting = ladder->waiting, .free = free, .limit = limit};
    costs(ladder, view.cost);
    struct ladder_mix mix = ladder_mix(&view);
    for (unsigned i = LADDER_FAST; i < LADDER_RUNGS; i++)
        if (mix.share[i] <= 0)
            ladder->cost[i].encode_s *= 1 - 1 / PATIENCE;
    enum ladder_rung rung = next_rung(ladder, &mix);
    pthread_mutex_unlock(&ladder->lock);
    return rung;
}

void ladder_learn(struct ladder *ladder, enum ladder_rung rung, const struct ladder_cost *cost)
{
    const double keep = 1 - 1 / MEMORY;
    pthread_mutex_lock(&ladder->lock);
    for (unsigned i = 0; i < LADDER_RUNGS; i++) { /* what a stored byte costs is of now */
        ladder->cost[i].append_s *= keep;
        ladder->cost[i].coded *= keep;
        ladder->cost[i].encode_s *= keep;
        ladder->cost[i].plain *= keep;
        if (ladder->cost[i].plain < 1) { /* forgotten, while there are numbers that small */
            ladder->cost[i] = (struct ladder_cost){0};
            ladder->n_learned[i] = 0;
        }
    }
    struct ladder_cost *sum = &ladder->cost[rung];
    sum->encode_s += cost->encode_s;
    sum->append_s += cost->append_s;
    sum->plain += cost->plain;
    sum->coded += cost->coded;
    if (ladder->n_learned[rung] < FEW)
        ladder->n_learned[rung]++;
    pthread_mutex_unlock(&ladder->lock);
}

/* ---- what is said of it ---- */

/* The lowest rung that chunks were on since the last look. */
static enum ladder_rung lowest(struct ladder_watch *watch, const uint64_t chunks[LADDER_RUNGS])
{
    enum ladder_rung rung = LADDER_TARGET;
    for (unsigned i = LADDER_FAST; i < LADDER_RUNGS; i++)
        if (chunks[i] != watch->seen[i])
            rung = (enum ladder_rung)i;
    memcpy(watch->seen, chunks, sizeof(watch->seen));
    return rung;
}

bool ladder_look(struct ladder_watch *watch, const uint64_t chunks[LADDER_RUNGS], int64_t now_ms)
{
    enum ladder_rung now = lowest(watch, chunks), said = watch->said;
    bool down = now > said;
    bool goes_on = watch->moving && now != said && (watch->to > said) == down;
    watch->moving = now != said;
    if (!goes_on) {
        watch->to = now;
        watch->since_ms = now_ms;
    } else if (down ? now < watch->to : now > watch->to) { /* so far at least, all the time */
        watch->to = now;
    }
    if (!watch->moving || now_ms - watch->since_ms < (down ? LADDER_DOWN_MS : LADDER_UP_MS))
        return false;
    watch->said = watch->to;
    watch->moving = false;
    return true;
}
