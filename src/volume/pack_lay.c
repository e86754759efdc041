#include "volume/pack_lay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pack_waiting { /* a chunk whose coded bytes are in the scratch file */
    struct blob_chunk chunk;
    struct blob_claim *claims;
    uint32_t n_claims;
    uint64_t scratch_off;
    uint32_t part_len[SQY_MAX_PARTS];
    uint64_t part_off[SQY_MAX_PARTS];
    unsigned n_parts;
};

static int open_scratch(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n > 0) {
        path[n] = '\0';
        char *slash = strrchr(path, '/');
        if (slash != NULL) {
            slash[slash == path] = '\0';
            int scratch = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
            if (scratch >= 0)
                return scratch;
        }
    }
    int scratch = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return scratch >= 0 ? scratch : -errno;
}

int pack_lay_open(const struct io *io, int fd, struct pack_lay *lay)
{
    *lay = (struct pack_lay){.io = io, .scratch_fd = open_scratch(fd)};
    return lay->scratch_fd < 0 ? lay->scratch_fd : 0;
}

void pack_lay_forget(struct pack_lay *lay)
{
    for (size_t i = 0; i < lay->n_waiting; i++)
        free(lay->waiting[i].claims);
    free(lay->waiting);
    lay->waiting = NULL;
    lay->n_waiting = lay->cap_waiting = 0;
    lay->scratch_end = 0;
}

void pack_lay_close(struct pack_lay *lay)
{
    pack_lay_forget(lay);
    close(lay->scratch_fd);
    lay->scratch_fd = -1;
}

static int commit(struct blob *blob, const struct blob_chunk *chunk,
                  const struct blob_claim *claims, unsigned n_claims)
{
    int r;
    while ((r = blob_commit(blob, chunk, claims, n_claims)) == -EAGAIN) {
        const struct blob_claim *last = &claims[n_claims - 1];
        uint64_t lo = claims[0].off, hi = last->off + last->len;
        for (unsigned i = 0; i < n_claims; i++) {
            lo = claims[i].off < lo ? claims[i].off : lo;
            hi = claims[i].off + claims[i].len > hi ? claims[i].off + claims[i].len : hi;
        }
        r = blob_prepare(blob, lo, hi - lo);
        if (r < 0)
            return r;
    }
    return r;
}

static struct pack_waiting *add_waiting(struct pack_lay *lay)
{
    if (lay->n_waiting == lay->cap_waiting) {
        size_t cap = lay->cap_waiting * 2 + 64;
        struct pack_waiting *grown = realloc(lay->waiting, cap * sizeof(*grown));
        if (grown == NULL)
            return NULL;
        lay->waiting = grown;
        lay->cap_waiting = cap;
    }
    return &lay->waiting[lay->n_waiting];
}

static int defer(struct pack_lay *lay, const struct coded *coded, const struct blob_claim *claims,
                 uint32_t n_claims)
{
    struct pack_waiting *entry = add_waiting(lay);
    if (entry == NULL)
        return -ENOMEM;
    *entry = (struct pack_waiting){.chunk = coded->chunk,
                                   .n_claims = n_claims,
                                   .scratch_off = lay->scratch_end,
                                   .n_parts = coded->n_parts};
    int r = io_pwrite_full(lay->io, lay->scratch_fd, coded->bytes, coded->chunk.coded_len,
                           lay->scratch_end);
    if (r < 0)
        return r;
    entry->claims = malloc(n_claims * sizeof(*claims));
    if (entry->claims == NULL)
        return -ENOMEM;
    memcpy(entry->claims, claims, n_claims * sizeof(*claims));
    for (unsigned i = 0; i < coded->n_parts; i++)
        entry->part_len[i] = (uint32_t)coded->part_len[i];
    lay->scratch_end += coded->chunk.coded_len;
    lay->n_waiting++;
    return blob_pipeline_id(lay->blob, coded->pipeline, &entry->chunk.pipeline);
}

int pack_lay_chunk(struct pack_lay *lay, const struct coded *coded, const struct blob_claim *claims,
                   uint32_t n_claims)
{
    if (coded->n_parts > 1)
        return defer(lay, coded, claims, n_claims);
    struct blob_chunk chunk = coded->chunk;
    int r = blob_append(lay->blob, coded->wrap, coded->bytes, chunk.coded_len, &chunk.coded_off);
    if (r >= 0)
        r = blob_pipeline_id(lay->blob, coded->pipeline, &chunk.pipeline);
    return r < 0 ? r : commit(lay->blob, &chunk, claims, n_claims);
}

/* Part p of one waiting chunk, copied from the scratch file to its place. */
static int lay_part(struct pack_lay *lay, struct pack_waiting *entry, unsigned p, void *buf)
{
    uint64_t off = entry->scratch_off;
    for (unsigned i = 0; i < p; i++)
        off += entry->part_len[i];
    if (entry->part_len[p] == 0)
        return 0;
    int r = io_pread_exact(lay->io, lay->scratch_fd, buf, entry->part_len[p], off);
    if (r < 0)
        return r;
    return blob_append(lay->blob, false, buf, entry->part_len[p], &entry->part_off[p]);
}

static int commit_parts(struct pack_lay *lay, struct pack_waiting *entry)
{
    struct blob_part parts[SQY_MAX_PARTS];
    unsigned n = 0;
    for (unsigned i = 0; i < entry->n_parts; i++)
        if (entry->part_len[i] > 0)
            parts[n++] = (struct blob_part){entry->part_off[i], entry->part_len[i]};
    entry->chunk.flags |= BLOB_SPLIT;
    int r = blob_append_parts(lay->blob, parts, n, &entry->chunk.coded_off);
    if (r < 0)
        return r;
    return commit(lay->blob, &entry->chunk, entry->claims, entry->n_claims);
}

int pack_lay_parts(struct pack_lay *lay)
{
    uint32_t longest = 1;
    for (size_t i = 0; i < lay->n_waiting; i++)
        for (unsigned p = 0; p < lay->waiting[i].n_parts; p++)
            if (lay->waiting[i].part_len[p] > longest)
                longest = lay->waiting[i].part_len[p];
    void *buf = malloc(longest);
    if (buf == NULL)
        return -ENOMEM;
    int r = 0;
    for (unsigned p = 0; p < SQY_MAX_PARTS && r >= 0; p++)
        for (size_t i = 0; i < lay->n_waiting && r >= 0; i++)
            if (p < lay->waiting[i].n_parts)
                r = lay_part(lay, &lay->waiting[i], p, buf);
    free(buf);
    for (size_t i = 0; i < lay->n_waiting && r >= 0; i++)
        r = commit_parts(lay, &lay->waiting[i]);
    return r;
}
