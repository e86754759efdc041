#include <errno.h>
#include <string.h>

#include "base/sum.h"
#include "store/blob_impl.h"
#include "store/parts.h"

int blob_read_parts(struct blob *blob, const struct blob_chunk *chunk,
                    struct blob_part parts[PARTS_MAX])
{
    uint8_t data[PARTS_MAX_BYTES];
    ssize_t n = io_pread_full(blob->io, blob->fd, data, sizeof(data), chunk->coded_off);
    return n < 0 ? (int)n : parts_parse(data, (size_t)n, chunk, parts);
}

static int read_split(struct blob *blob, const struct blob_chunk *chunk, uint8_t *buf)
{
    struct blob_part parts[PARTS_MAX];
    int n = blob_read_parts(blob, chunk, parts);
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        int r = io_pread_exact(blob->io, blob->fd, buf, parts[i].len, parts[i].off);
        if (r < 0)
            return r;
        buf += parts[i].len;
    }
    return 0;
}

/* After a failed sync the file may have lost what is kept. */
static bool read_kept(struct blob *blob, const struct blob_chunk *chunk, void *buf)
{
    const struct kept_run *run = NULL;
    pthread_mutex_lock(&blob->lock);
    if (blob->kept.n_suspect > 0 && !(chunk->flags & BLOB_SPLIT))
        run = kept_find(&blob->kept, chunk->coded_off);
    bool found = run && run->len - run->head == chunk->coded_len;
    if (found)
        memcpy(buf, run->data + run->head, chunk->coded_len);
    pthread_mutex_unlock(&blob->lock);
    return found;
}

int blob_read(struct blob *blob, const struct blob_chunk *chunk, void *buf)
{
    int r = 0;
    if (read_kept(blob, chunk, buf))
        return sum64(buf, chunk->coded_len) == chunk->coded_sum ? 0 : -EBADMSG;
    if (chunk->flags & BLOB_SPLIT)
        r = read_split(blob, chunk, buf);
    else
        r = io_pread_exact(blob->io, blob->fd, buf, chunk->coded_len, chunk->coded_off);
    if (r == -ENODATA)
        return -EBADMSG;
    if (r < 0)
        return r;
    return sum64(buf, chunk->coded_len) == chunk->coded_sum ? 0 : -EBADMSG;
}
