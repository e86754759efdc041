/* The table of a blob that is shared by threads: pages are read without the lock and attached under
 * it, whatever has become of the table meanwhile. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/blob_impl.h"

struct page_coder *blob_take_coder(struct blob *blob, int *error)
{
    struct page_coder *coder = NULL;
    pthread_mutex_lock(&blob->lock);
    if (blob->n_coders > 0)
        coder = blob->coders[--blob->n_coders];
    pthread_mutex_unlock(&blob->lock);
    *error = coder ? 0 : page_coder_create(&coder);
    return coder;
}

void blob_give_coder(struct blob *blob, struct page_coder **coder)
{
    pthread_mutex_lock(&blob->lock);
    if (*coder && blob->n_coders < BLOB_CODERS) {
        blob->coders[blob->n_coders++] = *coder;
        *coder = NULL;
    }
    pthread_mutex_unlock(&blob->lock);
    page_coder_destroy(coder);
}

static int read_page(struct blob *blob, const struct page_ref *ref, uint64_t high,
                     struct records *records)
{
    int r;
    struct page_coder *coder = blob_take_coder(blob, &r);
    if (!coder)
        return r;
    uint8_t *frame = malloc(ref->len);
    if (!frame) {
        r = -ENOMEM;
        goto out;
    }
    r = io_pread_exact(blob->io, blob->fd, frame, ref->len, ref->off);
    if (r < 0)
        goto out;
    pthread_mutex_lock(&blob->lock);
    uint32_t n_pipelines = blob->n_pipelines;
    pthread_mutex_unlock(&blob->lock);
    r = page_parse(coder, frame, ref, high, n_pipelines, records_at(records));
out:
    free(frame);
    blob_give_coder(blob, &coder);
    return r == -ENODATA ? -EBADMSG : r;
}

int blob_load_page(struct blob *blob, const struct page_ref *ref, uint64_t high)
{
    struct records *records = records_create();
    if (!records)
        return -ENOMEM;
    int r = read_page(blob, ref, high, records);
    if (r < 0) {
        records_free(&records);
        return r;
    }
    pthread_mutex_lock(&blob->lock);
    table_attach(blob->table, ref, &records);
    pthread_mutex_unlock(&blob->lock);
    return 0;
}

int blob_load_missing(struct blob *blob, uint64_t off, uint64_t end, bool wanted)
{
    struct page_ref ref;
    uint64_t high;
    pthread_mutex_lock(&blob->lock);
    bool missing = table_missing(blob->table, off, end, wanted, &ref, &high);
    pthread_mutex_unlock(&blob->lock);
    if (!missing)
        return 0;
    int r = blob_load_page(blob, &ref, high);
    return r < 0 ? r : 1;
}

int blob_prepare(struct blob *blob, uint64_t off, uint64_t len)
{
    uint64_t end = len < UINT64_MAX - off ? off + len : UINT64_MAX;
    if (end == off)
        end = off < UINT64_MAX ? off + 1 : off;
    int r, n_wanted = 0;
    while ((r = blob_load_missing(blob, off, end, true)) > 0)
        n_wanted++;
    if (r < 0 || n_wanted > 0)
        return r;
    /* nothing has been asked for yet: both borders, between them as many as may stay together */
    pthread_mutex_lock(&blob->lock);
    size_t n_max = blob->limit / 2 + 1;
    pthread_mutex_unlock(&blob->lock);
    r = blob_load_missing(blob, end - 1, end, false);
    for (size_t n = 0; r >= 0 && n < n_max; n++) {
        r = blob_load_missing(blob, off, end, false);
        if (r == 0)
            break;
    }
    return r < 0 ? r : 0;
}

/* A reader sees nothing behind the size; a writer's stack may be growing past the last checkpoint.
 */
static void clip(const struct blob *blob, uint64_t off, struct blob_extent *extent)
{
    uint64_t size = blob->last.size;
    if (blob->writable)
        return;
    if (off >= size) {
        *extent =
            (struct blob_extent){.hole = true, .claim = {.off = size, .len = UINT64_MAX - size}};
    } else if (!extent->hole && extent->claim.len > size - extent->claim.off) {
        extent->claim.len = size - extent->claim.off;
    }
}

int blob_find(struct blob *blob, uint64_t off, struct blob_extent *out)
{
    pthread_mutex_lock(&blob->lock);
    int r = table_find(blob->table, off, out);
    if (r >= 0)
        clip(blob, off, out);
    pthread_mutex_unlock(&blob->lock);
    return r;
}

static int compare_claims(const void *a, const void *b)
{
    const struct blob_claim *x = a, *y = b;
    return (x->off > y->off) - (x->off < y->off);
}

/* Claims in ascending order, as they came or as a copy in *sorted. */
static int sort_claims(const struct blob_claim *claims, unsigned n, struct blob_claim **sorted)
{
    unsigned i = 1;
    while (i < n && claims[i].off >= claims[i - 1].off)
        i++;
    if (i >= n)
        return 0;
    *sorted = calloc(n, sizeof(**sorted));
    if (!*sorted)
        return -ENOMEM;
    memcpy(*sorted, claims, n * sizeof(**sorted));
    qsort(*sorted, n, sizeof(**sorted), compare_claims);
    return 0;
}

static int commit(struct blob *blob, const struct blob_chunk *chunk,
                  const struct blob_claim *claims, unsigned n_claims)
{
    for (unsigned i = 0; i < n_claims; i++) {
        struct page_record record = {.claim = claims[i], .chunk = *chunk};
        if (!page_record_is_valid(&record, blob->n_pipelines, blob->end))
            return -EINVAL;
        if (i > 0 && claims[i].off - claims[i - 1].off < claims[i - 1].len)
            return -EINVAL;
    }
    return table_commit(blob->table, chunk, claims, n_claims);
}

int blob_commit(struct blob *blob, const struct blob_chunk *chunk, const struct blob_claim *claims,
                unsigned n_claims)
{
    if (!blob->writable)
        return -EROFS;
    struct blob_claim *sorted = NULL;
    int r = sort_claims(claims, n_claims, &sorted);
    if (r < 0)
        return r;
    pthread_mutex_lock(&blob->lock);
    r = commit(blob, chunk, sorted ? sorted : claims, n_claims);
    pthread_mutex_unlock(&blob->lock);
    free(sorted);
    return r;
}

int blob_punch(struct blob *blob, uint64_t off, uint64_t len)
{
    if (!blob->writable)
        return -EROFS;
    uint64_t end = len < UINT64_MAX - off ? off + len : UINT64_MAX;
    pthread_mutex_lock(&blob->lock);
    int r = table_punch(blob->table, off, end);
    pthread_mutex_unlock(&blob->lock);
    return r;
}
