/* How much work a chunk is given when encoders cannot keep up with writers:
 *
 *   LADDER_TARGET  the stack's own pipeline
 *   LADDER_FAST    a fast lossless one
 *   LADDER_RAW     none: the bytes as they are
 *
 * The spool is the buffer that it is: while less than half of it waits for encoders, every chunk gets its
 * pipeline. From there on a share of the chunks goes a rung lower, which grows with what waits, so that
 * under steady overload the level settles where encoders take what writers bring, at the best mix of
 * rungs that does: nothing switches to and fro, and a change of load moves the level a little. No state
 * of the level's past is needed for that.
 *
 * A lower rung is of use only where it is faster with storing counted in: where the disk is what limits,
 * its larger chunks would make it worse. So encoders tell what chunks have cost, and a rung that would
 * not be much cheaper is left out. */
#ifndef SQYFS_VOLUME_LADDER_H
#define SQYFS_VOLUME_LADDER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum ladder_rung { LADDER_TARGET, LADDER_FAST, LADDER_RAW, LADDER_RUNGS };

/* "target", "fast", "raw" */
const char *ladder_name(enum ladder_rung rung);

/* ---- the decision ---- */

struct ladder_view {
    uint64_t waiting;          /* bytes of chunks that no encoder has taken yet */
    uint64_t free;             /* bytes that the spool still takes */
    uint64_t limit;            /* bytes of the spool */
    double cost[LADDER_RUNGS]; /* seconds a plain byte takes, until it is stored; 0: not known */
};

struct ladder_mix {
    double share[LADDER_RUNGS]; /* of the chunks; together 1 */
};

struct ladder_mix ladder_mix(const struct ladder_view *view);

/* ---- one mount's ---- */

/* What an encoder has measured of one chunk, or many. */
struct ladder_cost {
    double encode_s;     /* seconds of a core: what else the core did is no cost of the rung's */
    double append_s;     /* seconds, with what the disk has one wait for */
    double plain, coded; /* bytes */
};

struct ladder {
    pthread_mutex_t lock; /* guards all below; a leaf */
    uint64_t waiting;
    double due[LADDER_RUNGS];              /* chunks that the rungs have not been given yet */
    struct ladder_cost cost[LADDER_RUNGS]; /* of the last chunks, older ones counting less */
    unsigned n_learned[LADDER_RUNGS];      /* chunks, from 0 to FEW */
};

void ladder_init(struct ladder *ladder);
void ladder_destroy(struct ladder *ladder);

/* A chunk of so many bytes of the spool begins to wait for an encoder. */
void ladder_wait(struct ladder *ladder, uint64_t bytes);
/* An encoder takes it: on which rung. */
enum ladder_rung ladder_take(struct ladder *ladder, uint64_t bytes, uint64_t free, uint64_t limit);
void ladder_learn(struct ladder *ladder, enum ladder_rung rung, const struct ladder_cost *cost);
uint64_t ladder_waiting(struct ladder *ladder);

/* ---- what is said of it ---- */

#define LADDER_DOWN_MS                                                                             \
    2000 /* so long chunks were on a lower rung all the time before that is said */
#define LADDER_UP_MS 10000 /* and so long there were none before recovery is */

struct ladder_watch {
    enum ladder_rung said;
    uint64_t seen[LADDER_RUNGS]; /* chunks counted at the last look */
    bool moving;
    enum ladder_rung to; /* said next, if it goes on like this ... */
    int64_t since_ms;    /* ... from here on */
};

/* A look, now and then: `chunks` have been stored on each rung so far. True where watch->said has
 * changed. */
bool ladder_look(struct ladder_watch *watch, const uint64_t chunks[LADDER_RUNGS], int64_t now_ms);

#endif
