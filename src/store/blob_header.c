#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/blob_impl.h"
#include "store/heading.h"

int blob_keep_pipename(struct blob *blob, const char *pipename, const char **kept)
{
    for (struct blob_text *t = blob->pipenames; t; t = t->next) {
        if (strcmp(t->text, pipename) == 0) {
            *kept = t->text;
            return 0;
        }
    }
    size_t len = strlen(pipename) + 1;
    struct blob_text *text = malloc(sizeof(*text) + len);
    if (!text)
        return -ENOMEM;
    memcpy(text->text, pipename, len);
    text->next = blob->pipenames;
    blob->pipenames = text;
    *kept = text->text;
    return 0;
}

void blob_header(struct blob *blob, struct blob_header *out)
{
    pthread_mutex_lock(&blob->lock);
    *out = blob->header;
    pthread_mutex_unlock(&blob->lock);
}

/* What blob_header() says next time: as a reader of the file would have it. */
static int note_header(struct blob *blob, const struct blob_header *header)
{
    const char *pipename;
    int r = blob_keep_pipename(blob, header->pipename, &pipename);
    if (r < 0)
        return r;
    struct blob_header noted = *header;
    noted.pipename = pipename;
    if (noted.type == SQY_BYTES || noted.rank == 0) {
        noted.type = noted.type == SQY_BYTES ? SQY_UINT8 : noted.type;
        noted.shape[0] = noted.rank > 0 && noted.shape[0] > 0 ? noted.shape[0] : 1;
        noted.rank = 1;
    }
    for (unsigned i = noted.rank; i < SQY_MAX_RANK; i++)
        noted.shape[i] = 0;
    blob->header = noted;
    return 0;
}

int blob_put_header(struct blob *blob, const struct blob_header *header, bool sync)
{
    uint8_t data[BLOB_HEADER_BYTES];
    pthread_mutex_lock(&blob->lock);
    /* What a checkpoint ends, not what others append meanwhile: a killed writer's file may have no
     * more than that, and would be taken for one whose end is missing. */
    uint64_t encoded = blob->last.off != 0 ? blob->last.end - BLOB_HEADER_BYTES : 0;
    pthread_mutex_unlock(&blob->lock);
    int r = heading_write(header, blob->id, encoded, data);
    if (r >= 0)
        r = io_pwrite_full(blob->io, blob->fd, data, sizeof(data), 0);
    if (r >= 0 && sync)
        r = blob_sync(blob);
    pthread_mutex_lock(&blob->lock);
    blob->unsynced |= !sync;
    if (r >= 0)
        r = note_header(blob, header);
    pthread_mutex_unlock(&blob->lock);
    return r;
}

int blob_write_header(struct blob *blob, const struct blob_header *header)
{
    if (!blob->writable)
        return -EROFS;
    blob_begin_turn(blob);
    int r = blob_put_header(blob, header, false);
    blob_end_turn(blob);
    return r;
}

int blob_leave_upstream_form(struct blob *blob)
{
    struct blob_header header;
    blob_header(blob, &header);
    if (!header.upstream)
        return 0;
    header.upstream = false;
    return blob_put_header(blob, &header, true);
}
