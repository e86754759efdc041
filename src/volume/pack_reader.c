#include "volume/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "volume/coder.h"

/* Decoded chunks kept: voxels and the skeleton between them take turns. */
#define READER_CHUNKS 4
#define READER_BYTES  (64u << 20) /* kept besides the one that is asked for */

struct pack_reader {
    struct blob *blob;
    struct coder *coder;
    unsigned next;
    struct {
        uint64_t coded_off; /* 0: empty; no chunk lies at 0, the header does */
        uint8_t *data;
        size_t len, cap;
    } kept[READER_CHUNKS];
};

int pack_reader_create(struct blob *blob, struct pack_reader **out)
{
    struct pack_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL)
        return -ENOMEM;
    reader->blob = blob;
    int r = coder_create(&reader->coder);
    if (r < 0) {
        free(reader);
        return r;
    }
    *out = reader;
    return 0;
}

void pack_reader_destroy(struct pack_reader **reader_p)
{
    struct pack_reader *reader = *reader_p;
    if (reader == NULL)
        return;
    for (unsigned i = 0; i < READER_CHUNKS; i++)
        free(reader->kept[i].data);
    coder_destroy(&reader->coder);
    free(reader);
    *reader_p = NULL;
}

/* Groups of planes are large. */
static void forget_others(struct pack_reader *reader, unsigned slot)
{
    size_t kept = 0;
    for (unsigned i = 1; i < READER_CHUNKS; i++) { /* the youngest first */
        unsigned other = (slot + READER_CHUNKS - i) % READER_CHUNKS;
        kept += reader->kept[other].cap;
        if (kept <= READER_BYTES)
            continue;
        kept -= reader->kept[other].cap;
        free(reader->kept[other].data);
        memset(&reader->kept[other], 0, sizeof(reader->kept[other]));
    }
}

static int reader_chunk(struct pack_reader *reader, const struct blob_chunk *chunk,
                        const uint8_t **data, size_t *data_len)
{
    for (unsigned i = 0; i < READER_CHUNKS; i++) {
        if (reader->kept[i].coded_off == chunk->coded_off) {
            *data = reader->kept[i].data;
            *data_len = reader->kept[i].len;
            return 0;
        }
    }
    unsigned slot = reader->next++ % READER_CHUNKS;
    size_t len = sqy_box_bytes(&chunk->box);
    if (len == 0 || len > BLOB_MAX_CHUNK)
        return -EBADMSG;
    reader->kept[slot].coded_off = 0;
    forget_others(reader, slot);
    if (reader->kept[slot].cap < len) {
        free(reader->kept[slot].data);
        reader->kept[slot].cap = 0;
        reader->kept[slot].data = malloc(len);
        if (reader->kept[slot].data == NULL)
            return -ENOMEM;
        reader->kept[slot].cap = len;
    }
    int r = coder_decode(reader->coder, reader->blob, chunk, reader->kept[slot].data);
    if (r < 0)
        return r;
    reader->kept[slot].coded_off = chunk->coded_off;
    reader->kept[slot].len = len;
    *data = reader->kept[slot].data;
    *data_len = len;
    return 0;
}

int pack_find(struct blob *blob, uint64_t off, struct blob_extent *extent)
{
    int r;
    while ((r = blob_find(blob, off, extent)) == -EAGAIN) {
        r = blob_prepare(blob, off, 1);
        if (r < 0)
            return r;
    }
    return r;
}

static int reader_some(struct pack_reader *reader, uint8_t *buf, size_t len, uint64_t off,
                       size_t *done)
{
    struct blob_extent extent;
    int r = pack_find(reader->blob, off, &extent);
    if (r < 0)
        return r;
    uint64_t skip = off - extent.claim.off;
    uint64_t n = extent.claim.len - skip;
    if (n > len)
        n = len;
    *done = (size_t)n;
    if (extent.hole) {
        memset(buf, 0, n);
        return 0;
    }
    const uint8_t *data;
    size_t data_len;
    r = reader_chunk(reader, &extent.chunk, &data, &data_len);
    if (r < 0)
        return r;
    uint64_t src = extent.claim.src + skip;
    if (src > data_len || n > data_len - src)
        return -EBADMSG;
    memcpy(buf, data + src, n);
    return 0;
}

int pack_reader_read(struct pack_reader *reader, void *buf, size_t len, uint64_t off,
                     uint64_t *off_bad)
{
    size_t done = 0;
    while (done < len) {
        size_t n;
        int r = reader_some(reader, (uint8_t *)buf + done, len - done, off + done, &n);
        if (r < 0) {
            if (off_bad != NULL)
                *off_bad = off + done;
            return r;
        }
        done += n;
    }
    return 0;
}

int pack_is_lossy(struct blob *blob)
{
    struct blob_state state;
    blob_state(blob, &state);
    for (uint64_t at = 0; at < state.size;) {
        struct blob_extent extent;
        int r = pack_find(blob, at, &extent);
        if (r < 0)
            return r;
        if (!extent.hole && extent.chunk.flags & BLOB_LOSSY)
            return 1;
        at = extent.claim.len < UINT64_MAX - extent.claim.off ? extent.claim.off + extent.claim.len
                                                              : UINT64_MAX;
    }
    return 0;
}
