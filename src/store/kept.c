#include "store/kept.h"

#include <stdlib.h>

struct kept_run *kept_make(uint32_t head, uint64_t len)
{
    struct kept_run *run = malloc(sizeof(*run) + head + len);
    if (run)
        *run = (struct kept_run){.head = head, .len = head + len};
    return run;
}

void kept_put(struct kept *kept, struct kept_run **run, uint64_t off, bool suspect)
{
    struct kept_run *mine = *run;
    *run = NULL;
    mine->off = off;
    mine->n_syncs = kept->n_syncs;
    mine->suspect = suspect;
    mine->n_failed = suspect;
    mine->next = kept->first;
    kept->first = mine;
    kept->bytes += mine->len;
    kept->n_suspect += suspect;
}

void kept_clear(struct kept *kept)
{
    while (kept->first) {
        struct kept_run *next = kept->first->next;
        free(kept->first);
        kept->first = next;
    }
    *kept = (struct kept){.n_syncs = kept->n_syncs};
}

uint64_t kept_begin_sync(struct kept *kept)
{
    return ++kept->n_syncs;
}

void kept_synced(struct kept *kept, uint64_t sync)
{
    struct kept_run **link = &kept->first;
    while (*link) {
        struct kept_run *run = *link;
        if (run->suspect || run->n_syncs >= sync) {
            link = &run->next;
            continue;
        }
        *link = run->next;
        kept->bytes -= run->len;
        free(run);
    }
}

void kept_distrust(struct kept *kept)
{
    for (struct kept_run *run = kept->first; run; run = run->next) {
        if (run->suspect)
            continue;
        run->suspect = true;
        run->n_failed++;
        kept->n_suspect++;
    }
}

struct kept_run *kept_suspect(const struct kept *kept)
{
    struct kept_run *run = kept->n_suspect > 0 ? kept->first : NULL;
    while (run && !run->suspect)
        run = run->next;
    return run;
}

void kept_rewritten(struct kept *kept, struct kept_run *run, uint64_t off)
{
    run->off = off;
    run->suspect = false;
    run->n_syncs = kept->n_syncs;
    kept->n_suspect--;
}

const struct kept_run *kept_find(const struct kept *kept, uint64_t off)
{
    const struct kept_run *run = kept->first;
    while (run && run->off + run->head != off)
        run = run->next;
    return run;
}
