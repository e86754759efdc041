#include "store/blob.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/le.h"
#include "base/sum.h"
#include "store/blob_impl.h"
#include "store/frame.h"
#include "store/heading.h"
#include "store/locate.h"

#define PARTS_MAGIC 0x54505153u /* "SQPT" */
/* A wrapped chunk up to this size is copied behind its head and written in one go. */
#define WRAP_COPY 4096u

/* ---- turns, rooms ---- */

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

int blob_reserve(struct blob *blob, uint64_t len, struct blob_room *room)
{
    if (len > INT64_MAX - blob->end)
        return -EFBIG;
    *room = (struct blob_room){.off = blob->end, .len = len, .next = blob->rooms};
    if (room->next)
        room->next->link = &room->next;
    room->link = &blob->rooms;
    blob->rooms = room;
    blob->end += len;
    return 0;
}

int blob_fill(struct blob *blob, const struct blob_room *room, uint64_t at, const void *data,
              size_t len)
{
    assert(at + len <= room->len);
    return io_pwrite_full(blob->io, blob->fd, data, len, room->off + at);
}

void blob_leave(struct blob *blob, struct blob_room *room, bool written)
{
    *room->link = room->next;
    if (room->next)
        room->next->link = room->link;
    if (!written && room->off + room->len == blob->end)
        blob->end = room->off;
    blob->unsynced = true;
}

/* ---- making and freeing ---- */

static int keep_pipename(struct blob *blob, const char *pipename, const char **kept)
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

static void blob_free(struct blob **blob)
{
    struct blob *b = *blob;
    if (!b)
        return;
    table_destroy(&b->table);
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
    pthread_cond_destroy(&b->turn);
    pthread_mutex_destroy(&b->lock);
    free(b);
    *blob = NULL;
}

static int blob_make(const struct io *io, int fd, bool writable, struct blob **out)
{
    struct blob *blob = calloc(1, sizeof(*blob));
    if (!blob)
        return -ENOMEM;
    pthread_mutex_init(&blob->lock, NULL);
    pthread_cond_init(&blob->turn, NULL);
    blob->io = io;
    blob->fd = fd;
    blob->writable = writable;
    blob->limit = TABLE_RESIDENT_PAGES;
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

/* ---- opening ---- */

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
    r = keep_pipename(blob, pipename, &blob->header.pipename);
    free(pipename);
    return r;
}

/* Moves what was found into the blob. */
static int adopt(struct blob *blob, struct located *found)
{
    memcpy(blob->id, found->id, sizeof(blob->id));
    for (uint32_t i = 0; i < found->n_pipelines; i++) {
        blob->pipelines[i] = found->pipelines[i];
        blob->pipelines_bytes += strlen(found->pipelines[i]) + 4;
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
    return keep_pipename(blob, text, &blob->header.pipename);
}

/* Drops what lies behind the last checkpoint. What may be more than torn is left where it is. */
static int drop_tail(struct blob *blob, const struct located *found, uint64_t bytes)
{
    blob->end = found->end;
    if (found->passed_over) {
        blob->end = bytes;
        blob->force_full = true;
    } else if (bytes > found->end) {
        int r = blob->io->ftruncate(blob->io, blob->fd, found->end);
        if (r < 0)
            return r;
    }
    blob->synced = blob->end;
    blob->next_mark = blob->end + BLOB_MARK_BYTES;
    return 0;
}

static int load_missing(struct blob *blob, uint64_t off, uint64_t end, bool wanted)
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

static int drop_beyond_size(struct blob *blob)
{
    for (;;) {
        int r = blob_punch(blob, blob->last.size, UINT64_MAX - blob->last.size);
        if (r != -EAGAIN)
            return r;
        r = load_missing(blob, blob->last.size, blob->last.size + 1, false);
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
    return r < 0 ? r : drop_beyond_size(blob);
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

int blob_open(const struct io *io, int fd, bool writable, struct blob **out)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    struct blob *blob = NULL;
    int r = blob_make(io, fd, writable, &blob);
    if (r < 0)
        return r;
    r = open_file(blob, (uint64_t)st.st_size);
    if (r < 0) {
        blob_free(&blob);
        return r;
    }
    *out = blob;
    return 0;
}

/* ---- what there is to know ---- */

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
        .valid_bytes = blob->valid_end,
    };
    pthread_mutex_unlock(&blob->lock);
}

void blob_header(struct blob *blob, struct blob_header *out)
{
    pthread_mutex_lock(&blob->lock);
    *out = blob->header;
    pthread_mutex_unlock(&blob->lock);
}

/* ---- header ---- */

/* What blob_header() says next time: as a reader of the file would have it. */
static int note_header(struct blob *blob, const struct blob_header *header)
{
    const char *pipename;
    int r = keep_pipename(blob, header->pipename, &pipename);
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
        r = publish_sync(blob);
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

/* sqeazy must not read what is no longer in its order. */
static int leave_upstream_form(struct blob *blob)
{
    blob_begin_turn(blob);
    struct blob_header header;
    blob_header(blob, &header);
    int r = 0;
    if (header.upstream) {
        header.upstream = false;
        r = blob_put_header(blob, &header, true);
    }
    blob_end_turn(blob);
    return r;
}

/* ---- pipelines ---- */

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
        blob->pipelines_bytes + len + 4 > CHECKPOINT_MAX_TEXTS)
        return -ENOSPC;
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    *id = blob->n_pipelines;
    blob->pipelines[blob->n_pipelines++] = copy;
    blob->pipelines_bytes += len + 4;
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

/* ---- pages ---- */

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

int blob_prepare(struct blob *blob, uint64_t off, uint64_t len)
{
    uint64_t end = len < UINT64_MAX - off ? off + len : UINT64_MAX;
    if (end == off)
        end = off < UINT64_MAX ? off + 1 : off;
    int r, n_wanted = 0;
    while ((r = load_missing(blob, off, end, true)) > 0)
        n_wanted++;
    if (r < 0 || n_wanted > 0)
        return r;
    /* nothing has been asked for yet: both borders, between them as many as may stay together */
    pthread_mutex_lock(&blob->lock);
    size_t n_max = blob->limit / 2 + 1;
    pthread_mutex_unlock(&blob->lock);
    r = load_missing(blob, end - 1, end, false);
    for (size_t n = 0; r >= 0 && n < n_max; n++) {
        r = load_missing(blob, off, end, false);
        if (r == 0)
            break;
    }
    return r < 0 ? r : 0;
}

/* ---- table ---- */

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

/* ---- appending ---- */

/* A mark only saves readers time: without it they look further. A full disk shows in what follows.
 */
static void put_mark(struct blob *blob)
{
    struct checkpoint_mark mark = {.last = blob->last.off, .pending = blob->pending};
    struct blob_room room;
    blob->next_mark = blob->end + BLOB_MARK_BYTES;
    if (mark.last == 0 || blob_reserve(blob, CHECKPOINT_MARK_BYTES, &room) < 0)
        return;
    pthread_mutex_unlock(&blob->lock);
    uint8_t frame[CHECKPOINT_MARK_BYTES];
    checkpoint_mark_write(&mark, blob->id, room.off, frame);
    int r = blob_fill(blob, &room, 0, frame, sizeof(frame));
    pthread_mutex_lock(&blob->lock);
    blob_leave(blob, &room, r >= 0);
}

/* No chunk is written before the first checkpoint is. */
static int bear(struct blob *blob)
{
    blob_begin_turn(blob);
    pthread_mutex_lock(&blob->lock);
    bool born = blob->born;
    pthread_mutex_unlock(&blob->lock);
    int r = born ? 0 : publish_birth(blob);
    blob_end_turn(blob);
    return r;
}

/* Gets a room and whatever has to stand before it. Lock held, given up in between. */
static int begin_append(struct blob *blob, uint64_t len, struct blob_room *room)
{
    while (blob->header.upstream) {
        pthread_mutex_unlock(&blob->lock);
        int r = leave_upstream_form(blob);
        pthread_mutex_lock(&blob->lock);
        if (r < 0)
            return r;
    }
    if (!blob->born) {
        pthread_mutex_unlock(&blob->lock);
        int r = bear(blob);
        pthread_mutex_lock(&blob->lock);
        if (r < 0)
            return r;
    }
    if (blob->end >= blob->next_mark)
        put_mark(blob);
    return blob_reserve(blob, len, room);
}

static int fill_wrapped(struct blob *blob, const struct blob_room *room, const void *coded,
                        uint32_t len)
{
    uint8_t buf[FRAME_HEAD_BYTES + WRAP_COPY];
    frame_head(buf, FRAME_CHUNK, len);
    if (len <= WRAP_COPY) {
        memcpy(buf + FRAME_HEAD_BYTES, coded, len);
        return blob_fill(blob, room, 0, buf, FRAME_HEAD_BYTES + len);
    }
    int r = blob_fill(blob, room, 0, buf, FRAME_HEAD_BYTES);
    return r < 0 ? r : blob_fill(blob, room, FRAME_HEAD_BYTES, coded, len);
}

int blob_append(struct blob *blob, bool wrap, const void *coded, uint32_t len, uint64_t *off)
{
    if (!blob->writable)
        return -EROFS;
    if (len == 0)
        return -EINVAL;
    struct blob_room room;
    uint64_t head = wrap ? FRAME_HEAD_BYTES : 0;
    pthread_mutex_lock(&blob->lock);
    int r = begin_append(blob, head + len, &room);
    pthread_mutex_unlock(&blob->lock);
    if (r < 0)
        return r;

    r = wrap ? fill_wrapped(blob, &room, coded, len) : blob_fill(blob, &room, 0, coded, len);

    pthread_mutex_lock(&blob->lock);
    blob_leave(blob, &room, r >= 0);
    pthread_mutex_unlock(&blob->lock);
    if (r < 0)
        return r;
    *off = room.off + head;
    return 0;
}

int blob_append_parts(struct blob *blob, const struct blob_part *parts, unsigned n_parts,
                      uint64_t *off)
{
    uint8_t frame[BLOB_PARTS_BYTES(BLOB_MAX_PARTS)];
    if (!blob->writable)
        return -EROFS;
    if (n_parts == 0 || n_parts > BLOB_MAX_PARTS)
        return -EINVAL;
    size_t len = BLOB_PARTS_BYTES(n_parts);
    frame_head(frame, FRAME_PARTS, (uint32_t)len - FRAME_HEAD_BYTES);
    le_store32(frame + 8, PARTS_MAGIC);
    le_store32(frame + 12, n_parts);
    for (unsigned i = 0; i < n_parts; i++) {
        le_store64(frame + BLOB_PARTS_HEAD + 12 * i, parts[i].off);
        le_store32(frame + BLOB_PARTS_HEAD + 12 * i + 8, parts[i].len);
    }
    le_store64(frame + len - 8, sum64(frame, len - 8));

    struct blob_room room;
    pthread_mutex_lock(&blob->lock);
    int r = begin_append(blob, len, &room);
    pthread_mutex_unlock(&blob->lock);
    if (r < 0)
        return r;
    r = blob_fill(blob, &room, 0, frame, len);
    pthread_mutex_lock(&blob->lock);
    blob_leave(blob, &room, r >= 0);
    pthread_mutex_unlock(&blob->lock);
    if (r >= 0)
        *off = room.off;
    return r < 0 ? r : 0;
}

/* ---- reading ---- */

static int parse_parts(const uint8_t *frame, unsigned n, const struct blob_chunk *chunk,
                       struct blob_part *parts)
{
    size_t len = BLOB_PARTS_BYTES(n);
    uint64_t total = 0;
    if (le_load32(frame + 4) != len - FRAME_HEAD_BYTES ||
        le_load64(frame + len - 8) != sum64(frame, len - 8))
        return -EBADMSG;
    for (unsigned i = 0; i < n; i++) {
        parts[i].off = le_load64(frame + BLOB_PARTS_HEAD + 12 * i);
        parts[i].len = le_load32(frame + BLOB_PARTS_HEAD + 12 * i + 8);
        if (parts[i].off < BLOB_HEADER_BYTES || parts[i].off > chunk->coded_off ||
            parts[i].len > chunk->coded_off - parts[i].off)
            return -EBADMSG;
        total += parts[i].len;
    }
    return total == chunk->coded_len ? (int)n : -EBADMSG;
}

int blob_read_parts(struct blob *blob, const struct blob_chunk *chunk,
                    struct blob_part parts[BLOB_MAX_PARTS])
{
    uint8_t frame[BLOB_PARTS_BYTES(BLOB_MAX_PARTS)];
    ssize_t got = io_pread_full(blob->io, blob->fd, frame, sizeof(frame), chunk->coded_off);
    if (got < 0)
        return (int)got;
    if (got < (ssize_t)BLOB_PARTS_HEAD || le_load32(frame) != FRAME_PARTS ||
        le_load32(frame + 8) != PARTS_MAGIC)
        return -EBADMSG;
    uint32_t n = le_load32(frame + 12);
    if (n == 0 || n > BLOB_MAX_PARTS || got < (ssize_t)BLOB_PARTS_BYTES(n))
        return -EBADMSG;
    return parse_parts(frame, n, chunk, parts);
}

static int read_split(struct blob *blob, const struct blob_chunk *chunk, uint8_t *buf)
{
    struct blob_part parts[BLOB_MAX_PARTS];
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

int blob_read(struct blob *blob, const struct blob_chunk *chunk, void *buf)
{
    int r;
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
