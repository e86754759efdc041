/* What was appended to a blob and no sync has confirmed yet, in memory: a page cache that could not
 * write its pages back may have dropped them too, and then this is the only copy. No I/O and no
 * locks.
 *
 *   kept_put() -> WRITTEN --kept_distrust()--> SUSPECT --kept_rewritten()--> WRITTEN
 *                    `--kept_synced()--> forgotten
 */
#ifndef SQYFS_STORE_KEPT_H
#define SQYFS_STORE_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that lie in one piece of the file. */
struct kept_run {
    struct kept_run *next;
    uint64_t off;
    uint32_t head;     /* bytes before those of the chunk */
    uint64_t len;      /* all */
    uint64_t n_syncs;  /* begun before it was written */
    unsigned n_failed; /* syncs that it has met */
    bool suspect;
    uint8_t data[];
};

struct kept {
    struct kept_run *first;
    uint64_t bytes;
    unsigned n_suspect;
    uint64_t n_syncs;
};

/* Room for a run: `head` bytes before `len` of them. NULL: out of memory. */
struct kept_run *kept_make(uint32_t head, uint64_t len);
/* The run is written at `off`; takes it over. `suspect`: a sync has failed meanwhile. */
void kept_put(struct kept *kept, struct kept_run **run, uint64_t off, bool suspect);
void kept_clear(struct kept *kept);

/* A sync begins; kept_synced() with what this returned tells that it has succeeded. */
uint64_t kept_begin_sync(struct kept *kept);
void kept_synced(struct kept *kept, uint64_t sync);
/* One has failed. */
void kept_distrust(struct kept *kept);

/* A suspect one, or NULL. It stays where it is until kept_rewritten(). */
struct kept_run *kept_suspect(const struct kept *kept);
void kept_rewritten(struct kept *kept, struct kept_run *run, uint64_t off);
/* The one whose chunk lies at `off`, or NULL. */
const struct kept_run *kept_find(const struct kept *kept, uint64_t off);

#endif
