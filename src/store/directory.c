#include "store/directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "base/sum.h"

void directory_clear(struct directory *directory)
{
    free(directory->refs);
    *directory = (struct directory){0};
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The record's removed keys in ascending order; they need not be in the file. */
static uint64_t *removed_keys(const struct checkpoint *c)
{
    uint64_t *keys = calloc((size_t)c->n_removed + 1, sizeof(*keys));
    if (!keys)
        return NULL;
    for (uint32_t i = 0; i < c->n_removed; i++)
        keys[i] = checkpoint_removed(c, i);
    qsort(keys, c->n_removed, sizeof(*keys), compare_keys);
    return keys;
}

/* Three ascending lists at once: the old entries without the removed keys, and the new ones over
 * them. */
static size_t merge_refs(const struct directory *old, const uint64_t *keys,
                         const struct checkpoint *c, struct page_ref *out)
{
    size_t n = 0, i = 0;
    uint32_t k = 0, j = 0;
    while (i < old->n || j < c->n_refs) {
        struct page_ref added = {.low = UINT64_MAX};
        if (j < c->n_refs)
            added = checkpoint_ref(c, j);
        if (i == old->n || added.low <= old->refs[i].low) {
            i += i < old->n && added.low == old->refs[i].low;
            out[n++] = added;
            j++;
            continue;
        }
        while (k < c->n_removed && keys[k] < old->refs[i].low)
            k++;
        if (k == c->n_removed || keys[k] != old->refs[i].low)
            out[n++] = old->refs[i];
        i++;
    }
    return n;
}

static bool directory_matches(const struct directory *directory, const struct checkpoint *c)
{
    struct page_totals totals = {0};
    for (size_t i = 0; i < directory->n; i++)
        page_totals_add(&totals, &directory->refs[i].totals);
    return directory->n == c->n_pages && memcmp(&totals, &c->totals, sizeof(totals)) == 0;
}

int directory_apply(struct directory *directory, const struct checkpoint *c)
{
    uint64_t *keys = removed_keys(c);
    struct directory next = {0};
    next.refs = calloc(directory->n + c->n_refs + 1, sizeof(struct page_ref));
    if (!keys || !next.refs) {
        free(keys);
        directory_clear(&next);
        return -ENOMEM;
    }
    next.n = merge_refs(directory, keys, c, next.refs);
    free(keys);
    directory_clear(directory);
    *directory = next;
    return directory_matches(directory, c) ? 0 : -EBADMSG;
}

int directory_digest(const struct page_ref *refs, size_t n, uint64_t *digest)
{
    uint8_t *sums = malloc(n * 8 + 1);
    if (!sums)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        le_store64(sums + 8 * i, refs[i].sum);
    *digest = sum64(sums, n * 8);
    free(sums);
    return 0;
}
