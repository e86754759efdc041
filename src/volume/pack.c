/* How a file becomes a blob in canonical form.
 *
 * pack_plan.c names the chunks in the order in which they are to lie. Slots take chunks from the
 * plan, worker threads fill and encode them, and the calling thread lays them down in the order of
 * the plan (pack_lay.c):
 *
 *   IDLE --slot_start()--> BUSY --slot_run()--> DONE --store()--> IDLE */
#include "volume/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/workq.h"
#include "volume/coder.h"
#include "volume/pack_lay.h"
#include "volume/pack_plan.h"
#include "volume/volume.h"

#define PACK_LARGE (16u << 20)

struct slot {
    struct work work;
    struct pack *pack;
    struct coder *coder;
    struct pack_chunk chunk;
    struct coded coded;
    int result;
    bool done; /* guarded by pack.lock */
};

struct pack {
    const struct pack_source *source;
    const struct pack_options *options;
    struct pack_plan plan;
    struct pack_lay lay;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct workq *queue;
    struct slot *slots;
    unsigned n_slots;
    uint64_t done_bytes;
};

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

/* Voxels that the noise is known of, and none of which lies in two pieces: those could not be compared. */
static bool may_lose(const struct slot *slot, const struct coder_loss *loss)
{
    size_t size = sqy_type_size(slot->chunk.box.type);
    bool may = slot->chunk.box.type == loss->type;
    for (uint32_t i = 0; i < slot->chunk.n_pieces && may; i++)
        may = slot->chunk.pieces[i].len % size == 0;
    return may;
}

static int slot_encode(struct slot *slot)
{
    uint8_t *plain = coder_plain(slot->coder, sqy_box_bytes(&slot->chunk.box));
    if (plain == NULL)
        return -ENOMEM;
    int r = slot_read(slot, plain);
    if (r < 0)
        return r;
    const struct coder_loss *loss = slot->pack->options->loss;
    if (loss != NULL && !may_lose(slot, loss))
        return coder_encode(slot->coder, loss->lossless, &slot->chunk.box, slot->chunk.big_endian,
                            false, plain, &slot->coded);
    if (loss != NULL)
        return coder_encode_lossy(slot->coder, loss, &slot->chunk.box, slot->chunk.big_endian,
                                  plain, &slot->coded);
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

static void claims_of(const struct pack_chunk *chunk, struct blob_claim *claims)
{
    uint64_t src = 0;
    for (uint32_t i = 0; i < chunk->n_pieces; i++) {
        claims[i] = (struct blob_claim){chunk->pieces[i].off, chunk->pieces[i].len, (uint32_t)src};
        src += chunk->pieces[i].len;
    }
}

static void add_up(struct pack_sums *sums, const struct coded *coded)
{
    if (sums == NULL)
        return;
    sums->chunks++;
    if (!(coded->chunk.flags & BLOB_LOSSY))
        return;
    sums->lossy_chunks++;
    sqy_receipt_add(&sums->receipt, &coded->receipt);
}

static int store(struct pack *pack, struct slot *slot)
{
    if (slot->result < 0)
        return slot->result;
    struct blob_claim *claims = malloc(slot->chunk.n_pieces * sizeof(*claims));
    if (claims == NULL)
        return -ENOMEM;
    claims_of(&slot->chunk, claims);
    int r = pack_lay_chunk(&pack->lay, &slot->coded, claims, slot->chunk.n_pieces);
    free(claims);
    if (r >= 0)
        add_up(pack->options->sums, &slot->coded);
    pack->done_bytes += sqy_box_bytes(&slot->chunk.box);
    if (pack->options->progress != NULL)
        pack->options->progress(pack->options->progress_ctx, pack->done_bytes, pack->source->size);
    return r;
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
            int next = r < 0 ? 0 : pack_plan_next(&pack->plan, &slot->chunk);
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
            r = pack_lay_parts(&pack->lay);
            parts_laid = true;
        }
        if (r >= 0)
            r = store(pack, slot);
        more = more && r >= 0;
        first = (first + 1) % pack->n_slots;
        busy--;
    }
    if (r >= 0 && !parts_laid)
        r = pack_lay_parts(&pack->lay);
    return r;
}

/* ---- the whole ---- */

static int walk_read(void *ctx, void *buf, uint32_t len, uint64_t off)
{
    const struct pack_source *source = *(const struct pack_source **)ctx;
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
    struct layout_piece want;
    layout_note(*out, 0, UINT64_MAX);
    r = layout_update(*out, walk_read, &source, source->size, true, &want);
    if (r < 0)
        layout_destroy(out);
    return r < 0 ? r : 0;
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
    /* One is laid down while the next is encoded; of large chunks that would take too much memory. */
    unsigned n_slots = target_of(pack->options) > PACK_LARGE ? threads : threads * 2;
    pack->slots = calloc(n_slots, sizeof(*pack->slots));
    if (pack->slots == NULL)
        return -ENOMEM;
    for (; pack->n_slots < n_slots; pack->n_slots++) {
        pack->slots[pack->n_slots].pack = pack;
        int r = coder_create(&pack->slots[pack->n_slots].coder);
        if (r < 0)
            return r;
        coder_stop_when(pack->slots[pack->n_slots].coder, pack->options->stop,
                        pack->options->stop_arg);
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
    int r = blob_create(pack->lay.io, own, &header, &pack->lay.blob);
    if (r < 0) {
        close(own);
        return r;
    }
    blob_limit_kept(pack->lay.blob, 0); /* where a sync fails the whole file is not used */
    r = run_plan(pack);
    if (r < 0)
        return r;
    char *meta = pack_meta_write(&pack->plan.info, false, NULL);
    if (meta == NULL)
        return -ENOMEM;
    struct blob_state state = {pack->source->size, pack->source->mtime, meta};
    r = blob_checkpoint(pack->lay.blob, &state, BLOB_FULL);
    if (r >= 0) /* now that the payload's length is known */
        r = blob_write_header(pack->lay.blob, &header);
    if (r >= 0)
        r = pack->lay.io->fsync(pack->lay.io, fd);
    free(meta);
    return r;
}

static int attempt(struct pack *pack, int fd, bool upstream)
{
    struct layout *layout;
    int r = pack_layout(pack->source, pack->options, &layout);
    if (r < 0)
        return r;
    pack_plan_start(&pack->plan, layout, pack->source, pack->options->pipeline,
                    target_of(pack->options), upstream);
    pack->done_bytes = 0;
    if (pack->options->sums != NULL)
        *pack->options->sums = (struct pack_sums){.chunks = 0};
    r = write_blob(pack, fd);
    blob_close(&pack->lay.blob);
    pack_lay_forget(&pack->lay);
    layout_destroy(&layout);
    return r;
}

int pack_encode(const struct pack_source *source, const struct pack_options *options, int fd)
{
    struct pack pack = {.source = source, .options = options};
    int r = pack_lay_open(options->io != NULL ? options->io : &io_system, fd, &pack.lay);
    if (r < 0)
        return r;
    pthread_mutex_init(&pack.lock, NULL);
    pthread_cond_init(&pack.changed, NULL);
    r = make_slots(&pack);
    if (r >= 0)
        r = attempt(&pack, fd, true);
    if (r == -EAGAIN) /* voxels too scattered for sqeazy's form */
        r = ftruncate(fd, 0) < 0 ? -errno : attempt(&pack, fd, false);
    workq_destroy(&pack.queue);
    for (unsigned i = 0; i < pack.n_slots; i++)
        coder_destroy(&pack.slots[i].coder);
    free(pack.slots);
    pthread_cond_destroy(&pack.changed);
    pthread_mutex_destroy(&pack.lock);
    pack_lay_close(&pack.lay);
    return r;
}
