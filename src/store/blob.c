#include "store/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/blob_impl.h"

void blob_begin_turn(struct blob *blob)
{
    pthread_mutex_lock(&blob->lock);
    while (blob->busy)
        pthread_cond_wait(&blob->turn, &blob->lock);
    blob->busy = true;
    pthread_mutex_unlock(&blob->lock);
}

void blob_end_turn(struct blob *blob)
{
    pthread_mutex_lock(&blob->lock);
    blob->busy = false;
    pthread_cond_signal(&blob->turn);
    pthread_mutex_unlock(&blob->lock);
}

void blob_free(struct blob **blob)
{
    struct blob *b = *blob;
    if (!b)
        return;
    table_destroy(&b->table);
    kept_clear(&b->kept);
    for (uint32_t i = 0; i < b->n_pipelines; i++)
        free(b->pipelines[i]);
    while (b->n_coders > 0)
        page_coder_destroy(&b->coders[--b->n_coders]);
    while (b->pipenames) {
        struct blob_text *next = b->pipenames->next;
        free(b->pipenames);
        b->pipenames = next;
    }
    free(b->last.meta);
    pthread_cond_destroy(&b->sync_done);
    pthread_cond_destroy(&b->turn);
    pthread_mutex_destroy(&b->lock);
    free(b);
    *blob = NULL;
}

int blob_make(const struct io *io, int fd, bool writable, struct blob **out)
{
    struct blob *blob = calloc(1, sizeof(*blob));
    if (!blob)
        return -ENOMEM;
    pthread_mutex_init(&blob->lock, NULL);
    pthread_cond_init(&blob->turn, NULL);
    pthread_cond_init(&blob->sync_done, NULL);
    blob->io = io;
    blob->fd = fd;
    blob->writable = writable;
    blob->limit = TABLE_RESIDENT_PAGES;
    blob->kept_limit = BLOB_KEPT_BYTES;
    blob->end = blob->synced = BLOB_HEADER_BYTES;
    blob->next_mark = BLOB_HEADER_BYTES + BLOB_MARK_BYTES;
    blob->last.meta = strdup("");
    int r = blob->last.meta ? table_create(&blob->table) : -ENOMEM;
    if (r < 0) {
        blob_free(&blob);
        return r;
    }
    *out = blob;
    return 0;
}

int blob_create(const struct io *io, int fd, const struct blob_header *header, struct blob **out)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size != 0)
        return -EEXIST;

    struct blob *blob = NULL;
    int r = blob_make(io, fd, true, &blob);
    if (r < 0)
        return r;
    if (getrandom(blob->id, sizeof(blob->id), 0) != (ssize_t)sizeof(blob->id))
        r = -EIO;
    else
        r = blob_put_header(blob, header, false);
    if (r < 0) {
        blob_free(&blob);
        return r;
    }
    *out = blob;
    return 0;
}

void blob_close(struct blob **blob)
{
    if (!*blob)
        return;
    close((*blob)->fd);
    blob_free(blob);
}

const uint8_t *blob_id(const struct blob *blob)
{
    return blob->id;
}

int blob_fd(const struct blob *blob)
{
    return blob->fd;
}

void blob_limit_pages(struct blob *blob, size_t n_pages)
{
    pthread_mutex_lock(&blob->lock);
    blob->limit = n_pages;
    table_limit(blob->table, n_pages);
    pthread_mutex_unlock(&blob->lock);
}

void blob_limit_kept(struct blob *blob, uint64_t bytes)
{
    pthread_mutex_lock(&blob->lock);
    blob->kept_limit = bytes;
    pthread_mutex_unlock(&blob->lock);
}

void blob_state(struct blob *blob, struct blob_state *out)
{
    pthread_mutex_lock(&blob->lock);
    *out = (struct blob_state){
        .size = blob->last.size, .mtime = blob->last.mtime, .meta = blob->last.meta};
    pthread_mutex_unlock(&blob->lock);
}

void blob_stats(struct blob *blob, struct blob_stats *out)
{
    pthread_mutex_lock(&blob->lock);
    const struct page_totals *totals = table_totals(blob->table);
    *out = (struct blob_stats){
        .file_bytes = blob->end,
        .live_bytes = totals->live,
        .provisional_bytes = totals->provisional,
        .mapped_bytes = totals->mapped,
        .n_extents = totals->n,
        .n_checkpoints = blob->last.seq,
        .digest = blob->last.digest,
        .upstream = blob->header.upstream,
        .torn = blob->torn,
        .trimmed = blob->trimmed,
        .valid_bytes = blob->valid_end,
    };
    pthread_mutex_unlock(&blob->lock);
}

static int add_pipeline(struct blob *blob, const char *text, uint32_t *id)
{
    for (uint32_t i = 0; i < blob->n_pipelines; i++) {
        if (strcmp(blob->pipelines[i], text) == 0) {
            *id = i;
            return 0;
        }
    }
    size_t len = strlen(text);
    if (blob->n_pipelines == BLOB_MAX_PIPELINES || len > CHECKPOINT_MAX_TEXT ||
        blob->pipelines_bytes + CHECKPOINT_TEXT_BYTES(len) > CHECKPOINT_MAX_TEXTS)
        return -ENOSPC;
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    *id = blob->n_pipelines;
    blob->pipelines[blob->n_pipelines++] = copy;
    blob->pipelines_bytes += CHECKPOINT_TEXT_BYTES(len);
    return 0;
}

int blob_pipeline_id(struct blob *blob, const char *text, uint32_t *id)
{
    pthread_mutex_lock(&blob->lock);
    int r = add_pipeline(blob, text, id);
    pthread_mutex_unlock(&blob->lock);
    return r;
}

const char *blob_pipeline_text(struct blob *blob, uint32_t id)
{
    pthread_mutex_lock(&blob->lock);
    const char *text = id < blob->n_pipelines ? blob->pipelines[id] : NULL;
    pthread_mutex_unlock(&blob->lock);
    return text;
}
