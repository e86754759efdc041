/* A log is a record, and a chain of pages with its entries:
 *
 *   record.begin -> page -> page -> page (spool_log.last)
 *
 * An entry counts once its page's `used` covers it, a page once the one before it names it, and the
 * first one once `begin` does. Entries are forgotten by moving `begin`. */
#include "store/spool_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/spool_impl.h"

#define NO_TIME            INT64_MIN
#define NSEC               1000000000ll
#define DATA_BYTES         sizeof(((struct spool_page *)NULL)->data)
#define POSITION(page, at) ((uint64_t)(page) << 32 | (at)) /* page + 1 */

/* As it lies in a page, followed by its claims. Always a multiple of 8 bytes. */
struct entry {
    uint32_t bytes; /* all of it */
    uint16_t punch, text_bytes;
    uint32_t n_claims, reserved;
    struct blob_chunk chunk;
    /* then claims, then the text */
};

/* Any that a blob's header has room for. */
#define MAX_TEXT    (DATA_BYTES - sizeof(struct entry) - sizeof(struct blob_claim) - 8)
#define PUNCH_BYTES (sizeof(struct entry) + sizeof(struct blob_claim) + 8)

/* Pages that no log gets for its second one. Memory: they have to be there. */
#define KEPT_FOR_FIRST 256u

static struct spool_page *page_of(const struct spool *spool, uint32_t page)
{
    return &spool->pages[page - 1];
}

static uint32_t round_up(uint32_t n)
{
    return (n + 7) / 8 * 8;
}

/* ---- what a stack is ---- */

static void set_path(struct spool_record *record, const char *path)
{
    size_t len = path != NULL ? strlen(path) : 0;
    atomic_store(&record->path_len, 0);
    if (len == 0 || len > sizeof(record->path))
        return;
    memcpy(record->path, path, len);
    atomic_store(&record->path_len, (uint32_t)len);
}

struct spool_log *spool_log_open(struct spool *spool, const struct spool_file *file)
{
    int64_t number = spool_item_take(spool, SPOOL_LOGS, 0);
    if (number < 0)
        return NULL;
    struct spool_log *log = &spool->logs[number];
    struct spool_record *record = &spool->records[number];
    *log = (struct spool_log){.record = record};
    atomic_store(&record->begin, 0);
    atomic_store(&record->size, SPOOL_LOG_NO_SIZE);
    atomic_store(&record->mtime, NO_TIME);
    record->ino = file->ino;
    record->btime = file->btime;
    set_path(record, file->path);
    atomic_store(&record->gone, 0);
    atomic_store(&record->used, 1);
    return log;
}

uint32_t spool_log_number(const struct spool *spool, const struct spool_log *log)
{
    return (uint32_t)(log - spool->logs);
}

void spool_log_close(struct spool *spool, struct spool_log **log_p)
{
    struct spool_log *log = *log_p;
    *log_p = NULL;
    if (log == NULL)
        return;
    atomic_store(&log->record->used, 0);
    spool_log_forget_all(spool, log);
    spool_item_give(spool, SPOOL_LOGS, spool_log_number(spool, log));
}

void spool_log_gone(struct spool_log *log)
{
    atomic_store(&log->record->gone, 1);
}

void spool_log_size(struct spool_log *log, uint64_t size)
{
    atomic_store(&log->record->size, size);
}

/* Times that do not fit into 64 bits of ns are years from now: the nearest that does. */
void spool_log_mtime(struct spool_log *log, const struct timespec *mtime)
{
    int64_t sec = mtime->tv_sec, max = INT64_MAX / NSEC - 1;
    sec = sec > max ? max : sec < -max ? -max : sec;
    atomic_store(&log->record->mtime, sec * NSEC + mtime->tv_nsec);
}

/* ---- entries ---- */

/* Room for `bytes` behind the last entry, which entry_done() makes one; NULL: there is none. Some pages are
 * kept for logs that have none yet, so that after a checkpoint there is room for some entries. `any`: nor
 * are those left. */
static uint8_t *entry_room(struct spool *spool, struct spool_log *log, size_t bytes, bool any)
{
    uint32_t kept = any || log->last == 0 ? 0 : KEPT_FOR_FIRST;
    struct spool_page *last = log->last > 0 ? page_of(spool, log->last) : NULL;
    if (last != NULL && DATA_BYTES - atomic_load(&last->used) >= bytes)
        return last->data + atomic_load(&last->used);
    int64_t taken = spool_item_take(spool, SPOOL_PAGES, kept);
    if (taken < 0)
        return NULL;
    uint32_t page = (uint32_t)taken + 1;
    atomic_store(&page_of(spool, page)->next, 0);
    atomic_store(&page_of(spool, page)->used, 0);
    if (last != NULL)
        atomic_store(&last->next, page);
    else
        atomic_store(&log->record->begin, POSITION(page, 0));
    log->last = page;
    return page_of(spool, page)->data;
}

static void entry_done(struct spool *spool, struct spool_log *log, uint32_t bytes)
{
    atomic_fetch_add(&page_of(spool, log->last)->used, bytes);
}

/* Entries speak of one blob. */
static void speak_of(struct spool *spool, struct spool_log *log,
                     const uint8_t blob_id[SPOOL_LOG_ID_BYTES])
{
    if (log->last > 0 && memcmp(log->record->blob_id, blob_id, SPOOL_LOG_ID_BYTES) != 0)
        spool_log_forget_all(spool, log);
    if (log->last == 0)
        memcpy(log->record->blob_id, blob_id, SPOOL_LOG_ID_BYTES);
}

static int append(struct spool *spool, struct spool_log *log, const struct entry *head,
                  const char *text, const struct blob_claim *claims)
{
    uint32_t claim_bytes = head->n_claims * (uint32_t)sizeof(claims[0]);
    uint8_t *out = entry_room(spool, log, head->bytes, head->punch);
    if (out == NULL)
        return -EAGAIN;
    memcpy(out, head, sizeof(*head));
    memcpy(out + sizeof(*head), claims, claim_bytes);
    memcpy(out + sizeof(*head) + claim_bytes, text, head->text_bytes);
    entry_done(spool, log, head->bytes);
    return 0;
}

int spool_log_commit(struct spool *spool, struct spool_log *log,
                     const uint8_t blob_id[SPOOL_LOG_ID_BYTES], const struct blob_chunk *chunk,
                     const char *pipeline, const struct blob_claim *claims, unsigned n_claims)
{
    size_t text_bytes = strlen(pipeline) + 1;
    if (text_bytes > MAX_TEXT)
        return -EAGAIN;
    speak_of(spool, log, blob_id);
    struct entry head = {.text_bytes = (uint16_t)text_bytes, .chunk = *chunk};
    uint32_t fixed = (uint32_t)sizeof(head) + round_up(head.text_bytes);
    uint32_t most = (uint32_t)((DATA_BYTES - fixed) / sizeof(claims[0]));
    for (unsigned i = 0; i < n_claims; i += head.n_claims) {
        head.n_claims = n_claims - i < most ? n_claims - i : most;
        head.bytes = fixed + head.n_claims * (uint32_t)sizeof(claims[0]);
        int r = append(spool, log, &head, pipeline, &claims[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

bool spool_log_reserve(struct spool *spool, struct spool_log *log,
                       const uint8_t blob_id[SPOOL_LOG_ID_BYTES])
{
    speak_of(spool, log, blob_id);
    return entry_room(spool, log, PUNCH_BYTES, false) != NULL;
}

int spool_log_punch(struct spool *spool, struct spool_log *log,
                    const uint8_t blob_id[SPOOL_LOG_ID_BYTES], uint64_t off, uint64_t len)
{
    speak_of(spool, log, blob_id);
    const struct blob_claim claim = {off, len, 0};
    const struct entry head = {.bytes = PUNCH_BYTES, .punch = 1, .text_bytes = 1, .n_claims = 1};
    return append(spool, log, &head, "", &claim);
}

uint64_t spool_log_mark(const struct spool *spool, const struct spool_log *log)
{
    return log->last > 0 ? POSITION(log->last, atomic_load(&page_of(spool, log->last)->used)) : 0;
}

static void free_chain(struct spool *spool, uint32_t page, uint32_t end)
{
    while (page != end && page != 0) {
        uint32_t next = atomic_load(&page_of(spool, page)->next);
        spool_item_give(spool, SPOOL_PAGES, page - 1);
        page = next;
    }
}

void spool_log_forget_all(struct spool *spool, struct spool_log *log)
{
    uint32_t first = (uint32_t)(atomic_load(&log->record->begin) >> 32);
    atomic_store(&log->record->begin, 0);
    log->last = 0;
    free_chain(spool, first, 0);
}

void spool_log_forget(struct spool *spool, struct spool_log *log, uint64_t mark)
{
    uint32_t first = (uint32_t)(atomic_load(&log->record->begin) >> 32), page = first;
    uint32_t end = (uint32_t)(mark >> 32);
    if (mark == spool_log_mark(spool, log)) {
        spool_log_forget_all(spool, log);
        return;
    }
    while (page != end && page != 0)
        page = atomic_load(&page_of(spool, page)->next);
    if (page == 0) /* they have been forgotten already */
        return;
    atomic_store(&log->record->begin, mark);
    free_chain(spool, first, end);
}

/* ---- taking over ---- */

bool spool_log_left(struct spool *spool, uint32_t *number, struct spool_left *out)
{
    for (; *number < spool->pools[SPOOL_LOGS].fresh; ++*number) {
        struct spool_record *record = &spool->records[*number];
        if (atomic_load(&record->used) != 1 || atomic_load(&record->gone) != 0)
            continue;
        int64_t mtime = atomic_load(&record->mtime), nsec = mtime % NSEC;
        uint32_t len = atomic_load(&record->path_len);
        *out = (struct spool_left){
            .number = *number,
            .file = {.ino = record->ino, .btime = record->btime},
            .size = atomic_load(&record->size),
            .has_mtime = mtime != NO_TIME,
            .mtime = {.tv_sec = mtime / NSEC - (nsec < 0), .tv_nsec = nsec + (nsec < 0) * NSEC},
        };
        if (len > 0 && len <= SPOOL_LOG_PATH) {
            memcpy(out->path, record->path, len);
            out->file.path = out->path;
        }
        return true;
    }
    return false;
}

/* `last` becomes the last page, 0: there is none. */
static void cut_chain(struct spool *spool, struct spool_log *log, uint32_t last)
{
    log->last = last;
    if (last > 0)
        atomic_store(&page_of(spool, last)->next, 0);
    else
        atomic_store(&log->record->begin, 0);
}

/* A chain that goes on longer than there are pages is none, and one ends before what is no page. */
struct spool_log *spool_log_adopt(struct spool *spool, uint32_t number)
{
    struct spool_log *log = &spool->logs[number];
    *log = (struct spool_log){.record = &spool->records[number]};
    uint32_t n_pages = spool->pools[SPOOL_PAGES].fresh, n = 0;
    uint32_t page = (uint32_t)(atomic_load(&log->record->begin) >> 32);
    for (; page != 0 && page <= n_pages && n <= n_pages; n++) {
        if (atomic_load(&page_of(spool, page)->used) > DATA_BYTES)
            break;
        log->last = page;
        page = atomic_load(&page_of(spool, page)->next);
    }
    if (page != 0)
        cut_chain(spool, log, log->last);
    return log;
}

/* The entry at `at` of a page, if it is one. */
static const struct entry *entry_at(const struct spool_page *page, uint32_t at, uint32_t used)
{
    const struct entry *entry = (const struct entry *)(const void *)(page->data + at);
    if (used - at < sizeof(*entry) || entry->bytes > used - at || entry->bytes % 8 != 0 ||
        entry->text_bytes == 0 || entry->n_claims > DATA_BYTES / sizeof(struct blob_claim))
        return NULL;
    uint32_t claim_bytes = entry->n_claims * (uint32_t)sizeof(struct blob_claim);
    const char *text = (const char *)(entry + 1) + claim_bytes;
    return sizeof(*entry) + claim_bytes + entry->text_bytes <= entry->bytes &&
                   text[entry->text_bytes - 1] == '\0'
               ? entry
               : NULL;
}

typedef int replay_fn(void *ctx, const struct spool_entry *entry);

static int replay_entry(const struct entry *entry, replay_fn *fn, void *ctx)
{
    const struct blob_claim *claims = (const struct blob_claim *)(entry + 1);
    struct spool_entry out = {.punch = entry->punch,
                              .chunk = entry->chunk,
                              .pipeline = (const char *)(claims + entry->n_claims)};
    int r = 0;
    for (uint32_t i = 0; i < entry->n_claims && r >= 0; i++) {
        out.claim = claims[i];
        r = fn(ctx, &out);
    }
    return r;
}

static int replay_page(const struct spool_page *page, uint32_t at, replay_fn *fn, void *ctx)
{
    uint32_t used = atomic_load(&page->used);
    if (used > DATA_BYTES || at > used)
        return -ENOENT;
    while (at < used) {
        const struct entry *entry = entry_at(page, at, used);
        int r = entry != NULL ? replay_entry(entry, fn, ctx) : -ENOENT;
        if (r < 0)
            return r;
        at += entry->bytes;
    }
    return 0;
}

int spool_log_replay(struct spool *spool, const struct spool_log *log,
                     const uint8_t blob_id[SPOOL_LOG_ID_BYTES], replay_fn *fn, void *ctx)
{
    if (log->last == 0)
        return 0;
    if (memcmp(log->record->blob_id, blob_id, SPOOL_LOG_ID_BYTES) != 0)
        return -ENOENT;
    uint64_t begin = atomic_load(&log->record->begin);
    uint32_t page = (uint32_t)(begin >> 32), at = (uint32_t)begin;
    while (page != 0) { /* which ends, see spool_log_adopt() */
        int r = replay_page(page_of(spool, page), at, fn, ctx);
        if (r < 0)
            return r;
        page = atomic_load(&page_of(spool, page)->next);
        at = 0;
    }
    return 0;
}

void spool_logs_adopted(struct spool *spool)
{
    struct spool_pool *logs = &spool->pools[SPOOL_LOGS], *pages = &spool->pools[SPOOL_PAGES];
    uint8_t *held = calloc(pages->fresh + 1, 1);
    logs->n_free = pages->n_free = 0; /* some may have been given back already */
    for (uint32_t i = logs->fresh; i-- > 0;) {
        struct spool_log *log = &spool->logs[i];
        if (log->record == NULL || atomic_load(&log->record->used) == 0) {
            atomic_store(&spool->records[i].used, 0);
            logs->free[logs->n_free++] = i;
            continue;
        }
        uint32_t page = (uint32_t)(atomic_load(&log->record->begin) >> 32);
        uint32_t before = 0;
        for (; page != 0 && held != NULL; page = atomic_load(&page_of(spool, page)->next)) {
            if (held[page]) { /* which cannot be */
                cut_chain(spool, log, before);
                break;
            }
            held[page] = 1;
            before = page;
        }
    }
    /* Out of memory: they are free when the file is made anew. */
    for (uint32_t page = pages->fresh; page > 0 && held != NULL; page--)
        if (!held[page])
            pages->free[pages->n_free++] = page - 1;
    free(held);
}
