#include "volume/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "volume/core.h"

#define SAMPLES 16u /* units that the noise is estimated from */
/* Of a group of planes; a mount of usual size keeps a few such chunks in its cache. */
#define MAX_GROUP_BYTES (64u << 20)
#define MOST_HOLE       64u /* a stack has that many times the bytes it has stored: nobody's picture */

/* ---- what it is to become ---- */

static int leave(struct archive *archive, const char *why)
{
    archive->left = why;
    return -ENODATA;
}

/* It would be the same the next time. */
static int leave_wrong(struct archive *archive)
{
    archive->wrong = true;
    return leave(archive, "its copy was not what it has to be");
}

static int add_unit(struct sqy_noise_fit *fit, const struct pack_source *source,
                    const struct layout_unit *unit, uint8_t *voxels)
{
    uint8_t *at = voxels;
    for (uint32_t i = 0; i < unit->n_pieces; i++) {
        int r = source->read(source->ctx, at, unit->pieces[i].len, unit->pieces[i].off);
        if (r < 0)
            return r;
        at += unit->pieces[i].len;
    }
    struct sqy_box box = {(enum sqy_type)unit->type, unit->planes, unit->rows, unit->width,
                          unit->spp};
    if (unit->big_endian)
        sqy_swap(voxels, voxels, unit->bytes, sqy_type_size(box.type));
    int r = sqy_noise_fit_add(fit, &box, voxels);
    return r == -ENOMEM ? r : 0;
}

/* First, last, and between, at even distances. */
static int add_units(struct sqy_noise_fit *fit, const struct pack_source *source,
                     const struct layout *layout, enum sqy_type type, uint8_t *voxels,
                     uint64_t room)
{
    uint64_t last = UINT64_MAX, gap_end;
    int r = 0;
    for (unsigned i = 0; i < SAMPLES && r >= 0; i++) {
        struct layout_unit unit;
        uint64_t at = (source->size - 1) / (SAMPLES - 1) * i;
        bool found = layout_unit_at(layout, at, &unit, &gap_end);
        if (!found && gap_end < source->size)
            found = layout_unit_at(layout, gap_end, &unit, &gap_end);
        const struct layout_piece *end = &unit.pieces[found ? unit.n_pieces - 1 : 0];
        if (!found || (enum sqy_type)unit.type != type || unit.pieces[0].off == last ||
            unit.bytes > room || end->off > source->size || end->len > source->size - end->off)
            continue;
        last = unit.pieces[0].off;
        r = add_unit(fit, source, &unit, voxels);
    }
    return r;
}

static int fit_noise(struct archive *archive, const struct pack_source *source,
                     const struct layout *layout, uint32_t chunk)
{
    struct sqy_noise_fit *fit = NULL;
    uint64_t room = 2 * (uint64_t)(chunk > 0 ? chunk : VOLUME_DEFAULT_CHUNK);
    uint8_t *voxels = malloc(room);
    int r = voxels != NULL ? sqy_noise_fit_create(&fit) : -ENOMEM;
    if (r >= 0)
        r = add_units(fit, source, layout, archive->type, voxels, room);
    if (r >= 0) {
        int fitted = sqy_noise_fit_end(fit, &archive->noise);
        archive->has_noise = fitted >= 0;
        r = fitted == -ENOMEM ? fitted : 0;
    }
    sqy_noise_fit_free(&fit);
    free(voxels);
    return r;
}

static int choose_pipeline(struct archive *archive)
{
    const struct sqy_pipeline *asked = archive->policy->pipeline;
    if (sqy_pipeline_wants_noise(asked)) {
        if (!archive->has_noise)
            return leave(archive, "its voxels do not show the camera's noise");
        int r = sqy_pipeline_with_noise(asked, &archive->noise, &archive->pipeline);
        if (r < 0)
            return r;
    } else {
        int r = sqy_pipeline_parse(sqy_pipeline_text(asked), &archive->pipeline, NULL);
        if (r < 0)
            return r;
    }
    if (sqy_pipeline_noise(archive->pipeline, &archive->noise) >= 0)
        archive->has_noise = true;
    return sqy_pipeline_parse(SQY_PIPELINE_DEFAULT, &archive->lossless, NULL);
}

/* So many planes in a chunk as the pipeline codes as one, or as fit. */
static uint32_t choose_chunk(const struct archive *archive, const struct layout_info *info,
                             uint32_t usual)
{
    uint64_t group = sqy_pipeline_group(archive->pipeline);
    uint64_t plane = sqy_type_size((enum sqy_type)info->type) * (uint64_t)info->spp, all;
    if (group == 0 || __builtin_mul_overflow(plane, info->width, &plane) ||
        __builtin_mul_overflow(plane, info->height, &plane) || plane == 0)
        return usual;
    if (plane > MAX_GROUP_BYTES)
        return MAX_GROUP_BYTES;
    all = plane * (group < MAX_GROUP_BYTES / plane ? group : MAX_GROUP_BYTES / plane);
    return (uint32_t)all;
}

/* What the field's cameras give; of others nobody knows what noise is. */
static bool may_lose(enum layout_type type)
{
    return type == LAYOUT_UINT8 || type == LAYOUT_UINT16 || type == LAYOUT_INT16;
}

static int prepare_lossy(struct archive *archive, const struct pack_source *source,
                         const struct layout *layout, const struct layout_info *info,
                         uint32_t chunk)
{
    if (!may_lose(info->type))
        return leave(archive, "it has no voxels of 8 or 16 bits");
    if (info->no_light)
        return leave(archive, "its values are colours of a palette, or a mask");
    archive->type = (enum sqy_type)info->type;
    int r = fit_noise(archive, source, layout, chunk);
    return r < 0 ? r : choose_pipeline(archive);
}

/* Its holes would be gone through for hours. */
static bool is_mostly_hole(struct blob *blob, uint64_t size)
{
    struct blob_stats stats;
    blob_stats(blob, &stats);
    return stats.mapped_bytes < size / MOST_HOLE;
}

/* Also where all of it has been stored again since, with something beside it that was written. */
static int has_lost(struct blob *blob)
{
    struct blob_state state;
    blob_state(blob, &state);
    return archive_note_is_lossy(state.meta) ? 1 : pack_is_lossy(blob);
}

int archive_prepare(struct archive *archive, struct blob *blob, const struct pack_source *source,
                    const struct pack_options *options)
{
    struct layout *layout;
    struct layout_info info;
    int r = blob != NULL ? has_lost(blob) : 0;
    if (r > 0)
        return leave(archive, "it has lost something already");
    if (r >= 0)
        r = source->size == 0 ? leave(archive, "it is empty")
            : blob != NULL && is_mostly_hole(blob, source->size)
                ? leave(archive, "it is mostly hole")
                : pack_layout(source, options, &layout);
    if (r < 0)
        return r;
    layout_info(layout, &info);
    if (info.pixel_hash && !archive->policy->hashed)
        r = leave(archive, "its metadata have hashes of its pixels");
    else if (archive->policy->lossy)
        r = prepare_lossy(archive, source, layout, &info, options->chunk);
    else
        r = sqy_pipeline_parse(sqy_pipeline_text(archive->policy->pipeline), &archive->pipeline,
                               NULL);
    if (r >= 0)
        archive->chunk = choose_chunk(archive, &info, options->chunk);
    layout_destroy(&layout);
    return r;
}

void archive_clear(struct archive *archive)
{
    sqy_pipeline_free(&archive->pipeline);
    sqy_pipeline_free(&archive->lossless);
}

bool archive_is_wanted(const struct archive *archive, struct policy *policy, const char *dir)
{
    struct archive_policy now;
    if (archive_policy_of(policy, dir, &now) < 0)
        return false;
    bool same = strcmp(now.text, archive->policy->text) == 0;
    archive_policy_clear(&now);
    return same;
}

/* ---- doing it ---- */

static void begin_note(const struct archive *archive, struct archive_note *note)
{
    const struct archive_policy *policy = archive->policy;
    *note = (struct archive_note){.time = time(NULL),
                                  .has_noise = archive->has_noise,
                                  .noise = archive->noise,
                                  .bound = policy->bound};
    snprintf(note->by, sizeof(note->by), "%s %s", archive->by, sqy_version());
    snprintf(note->policy, sizeof(note->policy), "%s", policy->text);
    snprintf(note->pipeline, sizeof(note->pipeline), "%s", sqy_pipeline_short(archive->pipeline));
}

/* What each chunk says of itself and what was found by comparing the files is the same. */
static bool agrees(const struct sqy_receipt *a, const struct sqy_receipt *b)
{
    return a->voxels == b->voxels && a->within_sigma == b->within_sigma &&
           a->max_error == b->max_error && a->peak == b->peak;
}

/* The meta text of the finished blob gets the note; all else stays. */
static int add_note(const struct io *io, int fd, const struct archive_note *note)
{
    struct blob *blob = NULL;
    struct blob_state state;
    struct layout_info info;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int r = own < 0 ? -errno : blob_open(io, own, true, &blob);
    if (r < 0) {
        if (own >= 0)
            close(own);
        return r;
    }
    blob_state(blob, &state);
    r = pack_meta_parse(state.meta, &info);
    char *meta = r >= 0 ? pack_meta_write(&info, false, note) : NULL;
    if (r >= 0 && meta == NULL)
        r = -ENOMEM;
    state.meta = meta;
    if (r >= 0)
        r = blob_checkpoint(blob, &state, BLOB_FULL);
    free(meta);
    blob_close(&blob);
    return r < 0 ? r : io->fsync(io, fd);
}

static bool is_smaller(int fd, uint64_t stored_bytes)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (uint64_t)st.st_size < stored_bytes;
}

int archive_write(struct archive *archive, uint64_t stored_bytes, const struct pack_source *source,
                  const struct pack_options *usual, int fd)
{
    struct coder_loss loss = {.type = archive->type,
                              .pipeline = archive->pipeline,
                              .lossless = archive->lossless,
                              .noise = archive->has_noise ? &archive->noise : NULL,
                              .bound = archive->policy->bound};
    struct pack_sums sums = {.chunks = 0};
    struct pack_options options = *usual;
    struct archive_note note;
    options.pipeline = archive->pipeline;
    options.chunk = archive->chunk;
    options.sums = &sums;
    if (archive->policy->lossy)
        options.loss = &loss;
    int r = pack_encode(source, &options, fd);
    if (r >= 0 && !is_smaller(fd, stored_bytes))
        return leave(archive, "it would not become smaller");
    begin_note(archive, &note);
    note.chunks = sums.chunks;
    note.lossy_chunks = archive->lossy_chunks = sums.lossy_chunks;
    if (r >= 0)
        r = archive_check(source, options.io, fd, &note);
    if (r == -EDOM || (r >= 0 && !agrees(&note.receipt, &sums.receipt)))
        return leave_wrong(archive);
    return r < 0 ? r : add_note(options.io, fd, &note);
}

/* ---- all of them ---- */

struct walk {
    struct volume *volume;
    int result;
    char *
        dir; /* of the rows before: its policy is asked again before a copy takes its stack's place */
    struct archive_policy policy;
    int found; /* archive_policy_of() */
};

struct left {
    struct walk *walk;
    const struct index_row *seen;
    const struct archive_policy *policy;
};

/* What has been stored since is looked at when its turn comes. */
static int copy_left(void *ctx, const struct index_row *row)
{
    const struct left *of = ctx;
    struct index_row left = *row;
    if (row->ino != of->seen->ino || row->digest != of->seen->digest)
        return 0;
    left.archive = of->policy->text;
    return index_put(of->walk->volume->index, &left);
}

/* It stays as it is for this policy: who asks again need not open it. */
static void note_left(struct walk *walk, const struct index_row *row, const struct archive *archive)
{
    struct left left = {walk, row, archive->policy};
    index_get(walk->volume->index, row->path, copy_left, &left);
    atomic_fetch_add(&walk->volume->counters.stacks_left, 1);
    if (archive->wrong)
        log_warn("%s: is not archived: %s; it stays as it is", row->path, archive->left);
    else
        log_info("%s: is not archived: %s", row->path, archive->left);
}

static int archive_stack(struct stack *stack, struct archive *archive)
{
    struct stat st;
    pthread_mutex_lock(&stack->lock);
    int r = stack->rewrite_queued || stack->transition || stack->readers + stack->writers > 0 ||
                    stack->lower_rung
                ? -EBUSY
                : 0;
    atomic_store(&stack->rewrite_yields, r >= 0);
    pthread_mutex_unlock(&stack->lock);
    if (r >= 0 && fstat(stack->fd, &st) < 0)
        r = -errno;
    if (r >= 0 && st.st_nlink > 1)
        r = -EBUSY; /* not remembered: they may go */
    if (r >= 0)
        r = volume_has_room(stack->volume, (uint64_t)st.st_size);
    if (r >= 0)
        r = compact_into(stack, archive);
    atomic_store(&stack->rewrite_yields, false);
    return r;
}

static void count(struct volume *volume, const struct index_row *row)
{
    atomic_fetch_add(&volume->counters.stacks_archived, 1);
    atomic_fetch_add(&volume->counters.bytes_archived, row->plain_bytes);
}

static int visit(struct walk *walk, const struct index_row *row,
                 const struct archive_policy *policy)
{
    struct archive archive = {.policy = policy, .by = "sqyfs"};
    struct stack *stack;
    int r = notes_find_stack(walk->volume, row->path, &stack);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = archive_stack(stack, &archive);
    stack_put(&stack);
    archive_clear(&archive);
    if (r >= 0)
        count(walk->volume, row);
    if (r == -ENODATA && archive.left != NULL) {
        note_left(walk, row, &archive);
        return 0;
    }
    if (r < 0 && r != -EBUSY && r != -ECANCELED)
        log_warn("%s: could not be archived: %s; it stays as it is", row->path, strerror(-r));
    return r;
}

static int directory_of(const char *path, char **out)
{
    const char *slash = strrchr(path, '/');
    *out = strndup(path, slash != NULL ? (size_t)(slash - path) : 0);
    return *out != NULL ? 0 : -ENOMEM;
}

/* Of a file of sqeazy's own there is no digest, and nothing is done to it. */
static bool is_candidate(const struct index_row *row)
{
    return strcmp(row->state, "stored") == 0 && row->digest != 0;
}

/* The policy of the row's directory, in walk->policy. */
static int find_policy(struct walk *walk, const struct index_row *row)
{
    char *dir;
    int r = directory_of(row->path, &dir);
    if (r < 0)
        return r;
    if (walk->dir != NULL && strcmp(walk->dir, dir) == 0) {
        free(dir);
        return walk->found;
    }
    archive_policy_clear(&walk->policy);
    free(walk->dir);
    walk->dir = dir;
    walk->found = archive_policy_of(walk->volume->policy, dir, &walk->policy);
    return walk->found;
}

static int visit_row(void *ctx, const struct index_row *row)
{
    struct walk *walk = ctx;
    if (reencode_must_stop(walk->volume))
        return 1;
    if (!is_candidate(row))
        return 0;
    int r = find_policy(walk, row);
    if (r < 0)
        return r == -ENODATA ? 0 : r;
    if (strcmp(row->archive, walk->policy.text) != 0) {
        r = row->again_bytes > 0 ? -EBUSY : visit(walk, row, &walk->policy);
        walk->result = r < 0 ? r : walk->result;
    }
    return r == -ENOMEM ? r : 0;
}

int archive_all(struct volume *volume)
{
    struct walk walk = {.volume = volume};
    if (!policy_has(volume->policy, POLICY_ARCHIVE))
        return 0;
    int r = index_each(volume->index, visit_row, &walk);
    archive_policy_clear(&walk.policy);
    free(walk.dir);
    return r < 0 ? r : walk.result;
}
