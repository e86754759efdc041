/* Opening a blob: at its last checkpoint, with or without a header that can be read. */
#include "store/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/blob_impl.h"
#include "store/heading.h"
#include "store/locate.h"

/* Whether a header that does not end in its first BLOB_HEADER_BYTES is sqeazy's all the same:
 * theirs may hold reorder maps. -EBADMSG: no. */
static int look_for_long_header(const struct blob *blob, uint64_t bytes)
{
    size_t len = BLOB_HEADER_BYTES;
    uint8_t *data = NULL;
    int r = -EAGAIN;
    while (r == -EAGAIN && len < SQY_HEADER_MAX && len < bytes) {
        len = len * 8 < SQY_HEADER_MAX ? len * 8 : SQY_HEADER_MAX;
        uint8_t *more = realloc(data, len);
        if (!more) {
            r = -ENOMEM;
            break;
        }
        data = more;
        ssize_t n = io_pread_full(blob->io, blob->fd, data, len, 0);
        if (n < 0) {
            r = (int)n;
            break;
        }
        struct sqy_header header = {0};
        r = sqy_header_parse(data, (size_t)n, &header);
        if (r >= 0)
            r = header.ours ? -EBADMSG : -EMEDIUMTYPE;
        sqy_header_free(&header);
    }
    free(data);
    return r == -EAGAIN ? -EBADMSG : r;
}

/* -EBADMSG: damaged, or no blob. */
static int read_header(struct blob *blob, uint64_t bytes)
{
    uint8_t data[BLOB_HEADER_BYTES];
    ssize_t n = io_pread_full(blob->io, blob->fd, data, sizeof(data), 0);
    if (n < 0)
        return n == -EIO && !blob->writable ? -EBADMSG : (int)n;
    char *pipename = NULL;
    struct blob_header header;
    int r = heading_parse(data, (size_t)n, &header, &pipename, blob->id);
    if (r == -EAGAIN)
        return look_for_long_header(blob, bytes);
    if (r < 0)
        return r;
    blob->header = header;
    r = blob_keep_pipename(blob, pipename, &blob->header.pipename);
    free(pipename);
    return r;
}

/* Moves what was found into the blob. */
static int adopt(struct blob *blob, struct located *found)
{
    memcpy(blob->id, found->id, sizeof(blob->id));
    for (uint32_t i = 0; i < found->n_pipelines; i++) {
        blob->pipelines[i] = found->pipelines[i];
        blob->pipelines_bytes += CHECKPOINT_TEXT_BYTES(strlen(found->pipelines[i]));
    }
    blob->n_pipelines = found->n_pipelines;
    found->n_pipelines = 0;
    free(blob->last.meta);
    blob->last = (struct blob_last){
        .off = found->off,
        .end = found->end,
        .sum = found->sum,
        .seq = found->seq,
        .chain_bytes = found->chain_bytes,
        .digest = found->digest,
        .size = found->size,
        .chain = found->chain,
        .n_pipelines = blob->n_pipelines,
        .mtime = found->mtime,
        .meta = found->meta,
    };
    found->meta = NULL;
    blob->born = true;
    return table_set_directory(blob->table, found->directory.refs, found->directory.n);
}

/* What a lost header said is not known any more, but the pipelines are. */
static int invent_header(struct blob *blob)
{
    blob->header = (struct blob_header){.type = SQY_BYTES, .rank = 1, .shape = {blob->last.size}};
    const char *text = blob->n_pipelines > 0 ? blob->pipelines[0] : "pass_through";
    return blob_keep_pipename(blob, text, &blob->header.pipename);
}

/* Drops what lies behind the last checkpoint. What may be more than torn is left where it is. */
static int drop_tail(struct blob *blob, const struct located *found, uint64_t bytes)
{
    blob->end = found->end;
    if (found->passed_over || blob->resumed) {
        blob->end = bytes;
        blob->force_full = found->passed_over;
    } else if (bytes > found->end) {
        int r = blob->io->ftruncate(blob->io, blob->fd, found->end);
        if (r < 0)
            return r;
    }
    blob->synced =
        blob->resumed ? found->end : blob->end; /* the tail may be in no more than memory */
    blob->next_mark = blob->end + BLOB_MARK_BYTES;
    return 0;
}

static int drop_beyond_size(struct blob *blob)
{
    for (;;) {
        int r = blob_punch(blob, blob->last.size, UINT64_MAX - blob->last.size);
        blob->trimmed = table_is_dirty(blob->table);
        if (r != -EAGAIN)
            return r;
        r = blob_load_missing(blob, blob->last.size, blob->last.size + 1, false);
        if (r < 0)
            return r;
    }
}

static int open_found(struct blob *blob, struct located *found, uint64_t bytes, bool header_lost)
{
    int r = adopt(blob, found);
    if (r >= 0 && header_lost)
        r = invent_header(blob);
    if (r < 0)
        return r;
    blob->torn = bytes > found->end;
    blob->valid_end = found->end;
    blob->end = bytes;
    if (!blob->writable)
        return 0;
    r = drop_tail(blob, found, bytes);
    if (r >= 0 && header_lost)
        r = blob_put_header(blob, &blob->header, true);
    return r < 0 || blob->resumed ? r : drop_beyond_size(blob);
}

static int open_file(struct blob *blob, uint64_t bytes)
{
    int r = read_header(blob, bytes);
    bool header_lost = r == -EBADMSG;
    if (r < 0 && !header_lost)
        return r;
    if (!header_lost && bytes == BLOB_HEADER_BYTES)
        return 0;

    struct locate_file file = {
        .io = blob->io, .fd = blob->fd, .bytes = bytes, .skip_bad_sectors = !blob->writable};
    struct located found;
    r = locate_last(&file, header_lost ? NULL : blob->id, &found);
    if (r >= 0)
        r = open_found(blob, &found, bytes, header_lost);
    located_clear(&found);
    return r == -ENODATA ? -EBADMSG : r;
}

static int open_blob(const struct io *io, int fd, bool writable, bool resumed, struct blob **out)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    struct blob *blob = NULL;
    int r = blob_make(io, fd, writable, &blob);
    if (r < 0)
        return r;
    blob->resumed = resumed;
    r = open_file(blob, (uint64_t)st.st_size);
    if (r < 0) {
        blob_free(&blob);
        return r;
    }
    *out = blob;
    return 0;
}

int blob_open(const struct io *io, int fd, bool writable, struct blob **out)
{
    return open_blob(io, fd, writable, false, out);
}

int blob_resume(const struct io *io, int fd, struct blob **out)
{
    return open_blob(io, fd, true, true, out);
}
