/* How a file becomes a blob in canonical form.
 *
 * A plan names the chunks in the order in which they are to lie: in sqeazy's form runs of the
 * volume's voxels, cut at the pipeline's grain, else the layout's units; then whatever is no voxel.
 * Slots take chunks from the plan, worker threads fill and encode them, and the calling thread lays
 * them down in the order of the plan:
 *
 *   IDLE --slot_start()--> BUSY --slot_run()--> DONE --pack_store()--> IDLE
 *
 * Pipelines that encode a box in parts (bitswap1->lz4: one part a bit plane) need part 0 of every
 * chunk first. Their coded bytes wait in a scratch file until all chunks are known. */
#include "volume/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/workq.h"
#include "volume/coder.h"
#include "volume/units.h"
#include "volume/volume.h"

/* Claims one chunk may have: a table entry each, so more would cost more than the chunk. */
#define PACK_MAX_CLAIMS 4096u
/* A stack with a hole larger than this is left sparse rather than made readable to sqeazy. */
#define PACK_MAX_HOLE (16u << 20)

enum plan_stage { PLAN_VOLUME, PLAN_UNITS, PLAN_BYTES, PLAN_DONE };

struct plan {
    const struct layout *layout;
    const struct pack_source *source;
    struct layout_info info;
    uint64_t size, volume_bytes;
    uint32_t target, grain_bytes;
    bool upstream;
    enum plan_stage stage;
    uint64_t at;
};

struct plan_chunk {
    struct sqy_box box;
    bool big_endian;
    uint32_t n_pieces;
    struct layout_piece pieces[PACK_MAX_CLAIMS];
};

struct slot {
    struct work work;
    struct pack *pack;
    struct coder *coder;
    struct plan_chunk chunk;
    struct coded coded;
    int result;
    bool done; /* guarded by pack.lock */
};

struct part_entry { /* a chunk whose coded bytes wait in the scratch file */
    struct blob_chunk chunk;
    struct blob_claim *claims;
    uint32_t n_claims;
    uint64_t scratch_off;
    uint32_t part_len[SQY_MAX_PARTS];
    uint64_t part_off[SQY_MAX_PARTS];
    unsigned n_parts;
};

struct pack {
    const struct pack_source *source;
    const struct pack_options *options;
    struct blob *blob;
    struct plan plan;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct workq *queue;
    struct slot *slots;
    unsigned n_slots;
    int scratch_fd;
    uint64_t scratch_end;
    struct part_entry *entries;
    size_t n_entries, cap_entries;
    uint64_t done_bytes;
};

/* ---- the plan ---- */

static struct sqy_box bytes_box(uint64_t len)
{
    return (struct sqy_box){SQY_BYTES, 1, 1, (uint32_t)len, 1};
}

static uint64_t next_data(const struct plan *plan, uint64_t off)
{
    if (plan->source->next_data == NULL || off >= plan->size)
        return off;
    int64_t next = plan->source->next_data(plan->source->ctx, off);
    return next < 0 ? plan->size : (uint64_t)next;
}

/* Sqeazy's form knows no holes: they would have to be written as zeros. */
static bool has_large_hole(const struct plan *plan)
{
    uint64_t at = 0;
    while (plan->source->next_data != NULL && at < plan->size) {
        uint64_t next = next_data(plan, at);
        if (next - at > PACK_MAX_HOLE)
            return true;
        at = next + PACK_MAX_HOLE; /* a hole that is too large cannot hide in less */
    }
    return false;
}

/* Where the data of a unit begin; size where it lies in a hole. */
static uint64_t unit_first_data(const struct plan *plan, const struct layout_unit *unit)
{
    for (uint32_t i = 0; i < unit->n_pieces; i++) {
        uint64_t next = next_data(plan, unit->pieces[i].off);
        if (next < unit->pieces[i].off + unit->pieces[i].len)
            return next;
    }
    return plan->size;
}

/* Sqeazy's form holds one volume of 8- or 16-bit samples, cut at multiples of the pipeline's grain.
 */
static void plan_start(struct plan *plan, const struct sqy_pipeline *pipeline)
{
    const struct layout_info *info = &plan->info;
    enum sqy_type type = (enum sqy_type)info->type;
    size_t sample = sqy_type_size(type);
    plan->stage = PLAN_UNITS;
    plan->at = 0;
    if (!info->one_volume || sample > 2 || info->spp != 1 || info->depth == 0 ||
        !sqy_pipeline_is_upstream(pipeline, type))
        return;
    size_t grain = sqy_pipeline_grain(pipeline, type) * sample;
    if (grain == 0 || grain > plan->target || has_large_hole(plan))
        return;
    plan->volume_bytes = info->depth * info->height * info->width * sample;
    plan->grain_bytes = (uint32_t)grain;
    plan->upstream = true;
    plan->stage = PLAN_VOLUME;
}

/* The next run of the volume, at most `target` bytes long and a multiple of the grain unless the
 * last. false where its voxels lie scattered in more pieces than a chunk may have. */
static bool plan_volume(struct plan *plan, struct plan_chunk *chunk)
{
    const struct layout_info *info = &plan->info;
    uint64_t len = plan->target - plan->target % plan->grain_bytes;
    if (len > plan->volume_bytes - plan->at)
        len = plan->volume_bytes - plan->at;
    uint64_t covered = layout_volume_pieces(plan->layout, plan->at, len, chunk->pieces,
                                            PACK_MAX_CLAIMS, &chunk->n_pieces);
    if (covered < len) {
        len = covered - covered % plan->grain_bytes;
        if (len == 0)
            return false;
        layout_volume_pieces(plan->layout, plan->at, len, chunk->pieces, PACK_MAX_CLAIMS,
                             &chunk->n_pieces);
    }
    enum sqy_type type = (enum sqy_type)info->type;
    chunk->box = (struct sqy_box){type, 1, 1, (uint32_t)(len / sqy_type_size(type)), 1};
    chunk->big_endian = info->big_endian;
    plan->at += len;
    return true;
}

static bool plan_unit(struct plan *plan, struct plan_chunk *chunk)
{
    struct layout_unit unit;
    uint64_t gap_end;
    while (plan->at < plan->size) {
        uint64_t at = next_data(plan, plan->at);
        if (at >= plan->size)
            break;
        if (!layout_unit_at(plan->layout, at, &unit, &gap_end)) {
            plan->at = gap_end;
            continue;
        }
        plan->at = unit_piece_end(&unit, at);
        if (at != unit_first_data(plan, &unit) || !unit_within(&unit, plan->size))
            continue;
        chunk->box = (struct sqy_box){(enum sqy_type)unit.type, unit.planes, unit.rows, unit.width,
                                      unit.spp};
        chunk->big_endian = unit.big_endian;
        chunk->n_pieces = unit.n_pieces;
        memcpy(chunk->pieces, unit.pieces, unit.n_pieces * sizeof(unit.pieces[0]));
        return true;
    }
    return false;
}

/* Whether `off` belongs to a voxel chunk; *end is where that answer ends. */
static bool plan_is_voxel(const struct plan *plan, uint64_t off, uint64_t *end)
{
    struct layout_unit unit;
    uint64_t gap_end;
    if (!layout_unit_at(plan->layout, off, &unit, &gap_end)) {
        *end = gap_end < plan->size ? gap_end : plan->size;
        return false;
    }
    *end = unit_piece_end(&unit, off);
    return unit_within(&unit, plan->size);
}

/* Collects bytes that are no voxels, from all over the file, until a chunk is full. */
static bool plan_bytes(struct plan *plan, struct plan_chunk *chunk)
{
    uint64_t total = 0;
    chunk->n_pieces = 0;
    while (plan->at < plan->size && total < plan->target && chunk->n_pieces < PACK_MAX_CLAIMS) {
        uint64_t end;
        plan->at = next_data(plan, plan->at);
        if (plan->at >= plan->size)
            break;
        if (plan_is_voxel(plan, plan->at, &end)) {
            plan->at = end;
            continue;
        }
        uint64_t len = end - plan->at;
        if (len > plan->target - total)
            len = plan->target - total;
        struct layout_piece *last = &chunk->pieces[chunk->n_pieces];
        if (chunk->n_pieces > 0 && last[-1].off + last[-1].len == plan->at) {
            last[-1].len += len;
        } else {
            *last = (struct layout_piece){plan->at, len};
            chunk->n_pieces++;
        }
        total += len;
        plan->at += len;
    }
    chunk->box = bytes_box(total);
    chunk->big_endian = false;
    return total > 0;
}

/* 1 with the next chunk, 0 at the end, -EAGAIN where sqeazy's form has to be given up. */
static int plan_next(struct plan *plan, struct plan_chunk *chunk)
{
    if (plan->stage == PLAN_VOLUME) {
        if (plan->at < plan->volume_bytes)
            return plan_volume(plan, chunk) ? 1 : -EAGAIN;
        plan->stage = PLAN_BYTES;
        plan->at = 0;
    }
    if (plan->stage == PLAN_UNITS) {
        if (plan_unit(plan, chunk))
            return 1;
        plan->stage = PLAN_BYTES;
        plan->at = 0;
    }
    if (plan->stage == PLAN_BYTES && plan_bytes(plan, chunk))
        return 1;
    plan->stage = PLAN_DONE;
    return 0;
}

/* ---- slots ---- */

static int slot_read(struct slot *slot, uint8_t *plain)
{
    const struct pack_source *source = slot->pack->source;
    for (uint32_t i = 0; i < slot->chunk.n_pieces; i++) {
        const struct layout_piece *piece = &slot->chunk.pieces[i];
        int r = source->read(source->ctx, plain, piece->len, piece->off);
        if (r < 0)
            return r;
        plain += piece->len;
    }
    return 0;
}

static int slot_encode(struct slot *slot)
{
    uint8_t *plain = coder_plain(slot->coder, sqy_box_bytes(&slot->chunk.box));
    if (plain == NULL)
        return -ENOMEM;
    int r = slot_read(slot, plain);
    if (r < 0)
        return r;
    return coder_encode(slot->coder, slot->pack->options->pipeline, &slot->chunk.box,
                        slot->chunk.big_endian, slot->pack->plan.upstream, plain, &slot->coded);
}

static void slot_run(struct work *work)
{
    struct slot *slot = (struct slot *)work;
    slot->result = slot_encode(slot);
    pthread_mutex_lock(&slot->pack->lock);
    slot->done = true;
    pthread_cond_broadcast(&slot->pack->changed);
    pthread_mutex_unlock(&slot->pack->lock);
}

static void slot_start(struct slot *slot)
{
    slot->done = false;
    slot->work.run = slot_run;
    workq_push(slot->pack->queue, &slot->work);
}

static void slot_wait(struct slot *slot)
{
    pthread_mutex_lock(&slot->pack->lock);
    while (!slot->done)
        pthread_cond_wait(&slot->pack->changed, &slot->pack->lock);
    pthread_mutex_unlock(&slot->pack->lock);
}

/* ---- laying down ---- */

static void claims_of(const struct plan_chunk *chunk, struct blob_claim *claims)
{
    uint64_t src = 0;
    for (uint32_t i = 0; i < chunk->n_pieces; i++) {
        claims[i] = (struct blob_claim){chunk->pieces[i].off, chunk->pieces[i].len, (uint32_t)src};
        src += chunk->pieces[i].len;
    }
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

static int defer_parts(struct pack *pack, const struct slot *slot, const struct blob_claim *claims)
{
    if (pack->n_entries == pack->cap_entries) {
        size_t cap = pack->cap_entries * 2 + 64;
        struct part_entry *grown = realloc(pack->entries, cap * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        pack->entries = grown;
        pack->cap_entries = cap;
    }
    const struct coded *coded = &slot->coded;
    int r = io_pwrite_full(&io_system, pack->scratch_fd, coded->bytes, coded->chunk.coded_len,
                           pack->scratch_end);
    if (r < 0)
        return r;
    struct part_entry *entry = &pack->entries[pack->n_entries];
    memset(entry, 0, sizeof(*entry));
    entry->claims = malloc(slot->chunk.n_pieces * sizeof(*claims));
    if (entry->claims == NULL)
        return -ENOMEM;
    memcpy(entry->claims, claims, slot->chunk.n_pieces * sizeof(*claims));
    entry->n_claims = slot->chunk.n_pieces;
    entry->chunk = coded->chunk;
    entry->scratch_off = pack->scratch_end;
    entry->n_parts = coded->n_parts;
    for (unsigned i = 0; i < coded->n_parts; i++)
        entry->part_len[i] = (uint32_t)coded->part_len[i];
    pack->scratch_end += coded->chunk.coded_len;
    pack->n_entries++;
    return blob_pipeline_id(pack->blob, coded->pipeline, &entry->chunk.pipeline);
}

static int pack_store(struct pack *pack, struct slot *slot)
{
    if (slot->result < 0)
        return slot->result;
    struct blob_claim *claims = malloc(slot->chunk.n_pieces * sizeof(*claims));
    if (claims == NULL)
        return -ENOMEM;
    claims_of(&slot->chunk, claims);
    const struct coded *coded = &slot->coded;
    int r;
    if (coded->n_parts > 1) {
        r = defer_parts(pack, slot, claims);
    } else {
        struct blob_chunk chunk = coded->chunk;
        r = blob_append(pack->blob, coded->wrap, coded->bytes, chunk.coded_len, &chunk.coded_off);
        if (r >= 0)
            r = blob_pipeline_id(pack->blob, coded->pipeline, &chunk.pipeline);
        if (r >= 0)
            r = commit(pack->blob, &chunk, claims, slot->chunk.n_pieces);
    }
    free(claims);
    pack->done_bytes += sqy_box_bytes(&slot->chunk.box);
    if (pack->options->progress != NULL)
        pack->options->progress(pack->options->progress_ctx, pack->done_bytes, pack->source->size);
    return r;
}

/* Part p of one waiting chunk, copied from the scratch file to its place. */
static int lay_part(struct pack *pack, struct part_entry *entry, unsigned p, void *buf)
{
    uint64_t off = entry->scratch_off;
    for (unsigned i = 0; i < p; i++)
        off += entry->part_len[i];
    if (entry->part_len[p] == 0)
        return 0;
    int r = io_pread_exact(&io_system, pack->scratch_fd, buf, entry->part_len[p], off);
    if (r < 0)
        return r;
    return blob_append(pack->blob, false, buf, entry->part_len[p], &entry->part_off[p]);
}

static int commit_parts(struct pack *pack, struct part_entry *entry)
{
    struct blob_part parts[SQY_MAX_PARTS];
    unsigned n = 0;
    for (unsigned i = 0; i < entry->n_parts; i++)
        if (entry->part_len[i] > 0)
            parts[n++] = (struct blob_part){entry->part_off[i], entry->part_len[i]};
    entry->chunk.flags |= BLOB_SPLIT;
    int r = blob_append_parts(pack->blob, parts, n, &entry->chunk.coded_off);
    if (r < 0)
        return r;
    return commit(pack->blob, &entry->chunk, entry->claims, entry->n_claims);
}

/* The voxels are complete: every chunk's part 0, then every chunk's part 1, ... */
static int lay_parts(struct pack *pack)
{
    uint32_t longest = 1;
    for (size_t i = 0; i < pack->n_entries; i++)
        for (unsigned p = 0; p < pack->entries[i].n_parts; p++)
            if (pack->entries[i].part_len[p] > longest)
                longest = pack->entries[i].part_len[p];
    void *buf = malloc(longest);
    if (buf == NULL)
        return -ENOMEM;
    int r = 0;
    for (unsigned p = 0; p < SQY_MAX_PARTS && r >= 0; p++)
        for (size_t i = 0; i < pack->n_entries && r >= 0; i++)
            if (p < pack->entries[i].n_parts)
                r = lay_part(pack, &pack->entries[i], p, buf);
    free(buf);
    for (size_t i = 0; i < pack->n_entries && r >= 0; i++)
        r = commit_parts(pack, &pack->entries[i]);
    return r;
}

static void forget_entries(struct pack *pack)
{
    for (size_t i = 0; i < pack->n_entries; i++)
        free(pack->entries[i].claims);
    free(pack->entries);
    pack->entries = NULL;
    pack->n_entries = pack->cap_entries = 0;
}

/* Runs the plan: slots work ahead, results are laid down in order. Byte chunks follow the voxels,
 * and so the parts are laid down when the first of them comes, or at the end. */
static int run_plan(struct pack *pack)
{
    unsigned first = 0, busy = 0;
    bool parts_laid = false;
    int r = 0;
    for (bool more = true; more || busy > 0;) {
        if (more && busy < pack->n_slots) {
            struct slot *slot = &pack->slots[(first + busy) % pack->n_slots];
            int next = r < 0 ? 0 : plan_next(&pack->plan, &slot->chunk);
            r = next < 0 ? next : r;
            more = next > 0;
            if (more) {
                slot_start(slot);
                busy++;
            }
            continue;
        }
        struct slot *slot = &pack->slots[first];
        slot_wait(slot);
        if (r >= 0 && !parts_laid && slot->chunk.box.type == SQY_BYTES) {
            r = lay_parts(pack);
            parts_laid = true;
        }
        if (r >= 0)
            r = pack_store(pack, slot);
        more = more && r >= 0;
        first = (first + 1) % pack->n_slots;
        busy--;
    }
    if (r >= 0 && !parts_laid)
        r = lay_parts(pack);
    return r;
}

/* ---- the whole ---- */

struct walk_ctx {
    const struct pack_source *source;
};

static int walk_read(void *ctx, void *buf, uint32_t len, uint64_t off)
{
    const struct pack_source *source = ((struct walk_ctx *)ctx)->source;
    if (off >= source->size)
        return 0;
    if (len > source->size - off)
        len = (uint32_t)(source->size - off);
    if (len > INT_MAX)
        len = INT_MAX;
    int r = source->read(source->ctx, buf, len, off);
    return r < 0 ? r : (int)len;
}

static const struct raw_policy *raw_for(const struct pack_source *source,
                                        const struct pack_options *options)
{
    for (unsigned i = 0; i < options->n_raw; i++)
        if (source->name != NULL && raw_policy_matches(&options->raw[i], source->name))
            return &options->raw[i];
    return NULL;
}

static uint32_t target_of(const struct pack_options *options)
{
    return options->chunk > 0 ? options->chunk : VOLUME_DEFAULT_CHUNK;
}

int pack_layout(const struct pack_source *source, const struct pack_options *options,
                struct layout **out)
{
    int r = layout_create(target_of(options), raw_for(source, options), out);
    if (r < 0)
        return r;
    struct walk_ctx ctx = {source};
    struct layout_piece want;
    layout_note(*out, 0, UINT64_MAX);
    r = layout_update(*out, walk_read, &ctx, source->size, true, &want);
    if (r < 0)
        layout_destroy(out);
    return r < 0 ? r : 0;
}

/* An unnamed file beside the result, where there is room for a result. */
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

/* Sqeazy's own tool names every stack of 8 or 16 bits unsigned, and is sure to read only that. */
static enum sqy_type header_type(enum layout_type type)
{
    switch (type) {
    case LAYOUT_INT8:
        return SQY_UINT8;
    case LAYOUT_INT16:
        return SQY_UINT16;
    default:
        return (enum sqy_type)type;
    }
}

void pack_header_shape(const struct layout_info *info, struct blob_header *header)
{
    header->type = info->one_volume ? header_type(info->type) : SQY_BYTES;
    header->rank = 3;
    header->shape[0] = info->depth;
    header->shape[1] = info->height;
    header->shape[2] = info->width * (info->spp > 0 ? info->spp : 1);
}

static void header_of(const struct pack *pack, struct blob_header *header)
{
    memset(header, 0, sizeof(*header));
    header->pipename = sqy_pipeline_text(pack->options->pipeline);
    pack_header_shape(&pack->plan.info, header);
    header->upstream = pack->plan.upstream;
}

static int make_slots(struct pack *pack)
{
    unsigned threads = pack->options->threads;
    if (threads == 0)
        threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    pack->slots = calloc(threads * 2, sizeof(*pack->slots));
    if (pack->slots == NULL)
        return -ENOMEM;
    for (; pack->n_slots < threads * 2; pack->n_slots++) {
        pack->slots[pack->n_slots].pack = pack;
        int r = coder_create(&pack->slots[pack->n_slots].coder);
        if (r < 0)
            return r;
    }
    return workq_create("sqy-pack", threads, &pack->queue);
}

static int write_blob(struct pack *pack, int fd)
{
    struct blob_header header;
    header_of(pack, &header);
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return -errno;
    int r = blob_create(&io_system, own, &header, &pack->blob);
    if (r < 0) {
        close(own);
        return r;
    }
    r = run_plan(pack);
    if (r < 0)
        return r;
    char *meta = pack_meta_write(&pack->plan.info);
    if (meta == NULL)
        return -ENOMEM;
    struct blob_state state = {pack->source->size, pack->source->mtime, meta};
    r = blob_checkpoint(pack->blob, &state, BLOB_FULL);
    if (r >= 0) /* now that the payload's length is known */
        r = blob_write_header(pack->blob, &header);
    if (r >= 0 && fsync(fd) < 0)
        r = -errno;
    free(meta);
    return r;
}

static int pack_attempt(struct pack *pack, int fd, bool upstream)
{
    struct layout *layout;
    int r = pack_layout(pack->source, pack->options, &layout);
    if (r < 0)
        return r;
    pack->plan = (struct plan){.layout = layout,
                               .source = pack->source,
                               .size = pack->source->size,
                               .target = target_of(pack->options)};
    layout_info(layout, &pack->plan.info);
    plan_start(&pack->plan, pack->options->pipeline);
    if (!upstream && pack->plan.upstream) {
        pack->plan.upstream = false;
        pack->plan.stage = PLAN_UNITS;
    }
    pack->done_bytes = 0;
    r = write_blob(pack, fd);
    blob_close(&pack->blob);
    forget_entries(pack);
    layout_destroy(&layout);
    return r;
}

int pack_encode(const struct pack_source *source, const struct pack_options *options, int fd)
{
    struct pack pack = {.source = source, .options = options, .scratch_fd = open_scratch(fd)};
    if (pack.scratch_fd < 0)
        return pack.scratch_fd;
    pthread_mutex_init(&pack.lock, NULL);
    pthread_cond_init(&pack.changed, NULL);
    int r = make_slots(&pack);
    if (r >= 0)
        r = pack_attempt(&pack, fd, true);
    if (r == -EAGAIN) { /* voxels too scattered for sqeazy's form */
        pack.scratch_end = 0;
        r = ftruncate(fd, 0) < 0 ? -errno : pack_attempt(&pack, fd, false);
    }
    workq_destroy(&pack.queue);
    for (unsigned i = 0; i < pack.n_slots; i++)
        coder_destroy(&pack.slots[i].coder);
    free(pack.slots);
    pthread_cond_destroy(&pack.changed);
    pthread_mutex_destroy(&pack.lock);
    close(pack.scratch_fd);
    return r;
}
