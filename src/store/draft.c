#include "store/draft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/directory.h"

void draft_clear(struct draft *draft)
{
    free(draft->refs);
    free(draft->meta);
    free(draft->frame);
    *draft = (struct draft){0};
}

static int take_refs(struct draft *draft, const struct table_snapshot *snapshot)
{
    size_t n = snapshot->n_pages, changed = 0;
    struct page_ref *refs = calloc(n + snapshot->n_changed + 1, sizeof(*refs));
    if (!refs)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        refs[i] = snapshot->pages[i].ref;
        if (snapshot->pages[i].records)
            refs[n + changed++] = refs[i];
    }
    draft->refs = refs;
    draft->checkpoint.n_pages = n;
    draft->checkpoint.totals = snapshot->totals;
    return directory_digest(refs, n, &draft->checkpoint.digest);
}

static void make_delta(const struct blob_last *last, const struct table_snapshot *snapshot,
                       bool meta_changed, struct draft *draft)
{
    struct checkpoint *c = &draft->checkpoint;
    c->chain = last->chain + 1;
    c->refs = draft->refs + snapshot->n_pages;
    c->n_refs = (uint32_t)snapshot->n_changed;
    c->removed = snapshot->removed;
    c->n_removed = (uint32_t)snapshot->n_removed;
    c->first_pipeline = last->n_pipelines;
    c->meta = meta_changed ? draft->meta : NULL;
    c->meta_len = meta_changed ? (uint32_t)strlen(draft->meta) : 0;
}

static void make_full(const struct table_snapshot *snapshot, struct draft *draft)
{
    struct checkpoint *c = &draft->checkpoint;
    c->chain = 0;
    c->refs = draft->refs;
    c->n_refs = (uint32_t)snapshot->n_pages;
    c->removed = NULL;
    c->n_removed = 0;
    c->first_pipeline = 0;
    c->meta = draft->meta;
    c->meta_len = (uint32_t)strlen(draft->meta);
}

/* A full directory where it is asked for, where there is nothing to build on, and where the records
 * since the last one have become larger or more than reading them is worth. */
static void choose_form(const struct blob_last *last, const struct table_snapshot *snapshot,
                        bool full, struct draft *draft)
{
    make_full(snapshot, draft);
    size_t full_bytes = checkpoint_bytes(&draft->checkpoint);
    if (full || last->off == 0 || last->seq == 0 || last->chain >= CHECKPOINT_MAX_CHAIN)
        return;
    make_delta(last, snapshot, strcmp(last->meta, draft->meta) != 0, draft);
    size_t bytes = checkpoint_bytes(&draft->checkpoint);
    if (bytes == 0 || last->chain_bytes + bytes > full_bytes)
        make_full(snapshot, draft);
}

int draft_make(struct blob *blob, const struct blob_state *state, unsigned flags,
               const struct table_snapshot *snapshot, struct draft *draft)
{
    struct checkpoint *c = &draft->checkpoint;
    draft->meta = strdup(state->meta);
    if (!draft->meta)
        return -ENOMEM;
    int r = take_refs(draft, snapshot);
    if (r < 0)
        return r;
    memcpy(c->id, blob->id, sizeof(c->id));
    c->size = state->size;
    c->mtime = state->mtime;
    c->unsynced = flags & BLOB_NO_SYNC;

    pthread_mutex_lock(&blob->lock);
    c->prev = blob->last.off;
    c->prev_sum = blob->last.sum;
    c->seq = blob->last.seq + 1;
    c->n_pipelines = blob->n_pipelines;
    c->pipelines = (const char *const *)blob->pipelines;
    choose_form(&blob->last, snapshot, flags & BLOB_FULL || blob->force_full, draft);
    draft->len = checkpoint_bytes(c);
    pthread_mutex_unlock(&blob->lock);
    if (draft->len == 0)
        return -EFBIG;
    draft->frame = malloc(draft->len);
    return draft->frame ? 0 : -ENOMEM;
}
