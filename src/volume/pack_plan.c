#include "volume/pack_plan.h"

#include <errno.h>
#include <string.h>

#include "volume/units.h"

/* A stack with a hole larger than this is left sparse rather than made readable to sqeazy. */
#define PACK_MAX_HOLE (16u << 20)

static struct sqy_box bytes_box(uint64_t len)
{
    return (struct sqy_box){SQY_BYTES, 1, 1, (uint32_t)len, 1};
}

/* A source that cannot tell has no hole there: the plan ends with its error. */
static uint64_t next_data(struct pack_plan *plan, uint64_t off)
{
    if (plan->source->next_data == NULL || off >= plan->size)
        return off;
    int64_t next = plan->source->next_data(plan->source->ctx, off);
    if (next < 0 && next != -ENXIO)
        plan->error = (int)next;
    return next < 0 ? plan->size : (uint64_t)next;
}

/* Sqeazy's form knows no holes: they would have to be written as zeros. */
static bool has_large_hole(struct pack_plan *plan)
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
static uint64_t unit_first_data(struct pack_plan *plan, const struct layout_unit *unit)
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
static void choose_form(struct pack_plan *plan, const struct sqy_pipeline *pipeline)
{
    const struct layout_info *info = &plan->info;
    enum sqy_type type = (enum sqy_type)info->type;
    size_t sample = sqy_type_size(type);
    if (!info->one_volume || sample > 2 || info->spp != 1 || info->depth == 0 ||
        !sqy_pipeline_is_upstream(pipeline, type))
        return;
    size_t grain = sqy_pipeline_grain(pipeline, type) * sample;
    if (grain == 0 || grain > plan->target || has_large_hole(plan))
        return;
    plan->volume_bytes = info->depth * info->height * info->width * sample;
    plan->grain_bytes = (uint32_t)grain;
    plan->upstream = true;
    plan->stage = PACK_VOLUME;
}

void pack_plan_start(struct pack_plan *plan, const struct layout *layout,
                     const struct pack_source *source, const struct sqy_pipeline *pipeline,
                     uint32_t target, bool upstream)
{
    *plan = (struct pack_plan){.layout = layout,
                               .source = source,
                               .size = source->size,
                               .target = target,
                               .stage = PACK_UNITS};
    layout_info(layout, &plan->info);
    if (upstream)
        choose_form(plan, pipeline);
}

/* The next run of the volume, at most `target` bytes long and a multiple of the grain unless the
 * last. false where its voxels lie scattered in more pieces than a chunk may have. */
static bool plan_volume(struct pack_plan *plan, struct pack_chunk *chunk)
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

static bool plan_unit(struct pack_plan *plan, struct pack_chunk *chunk)
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
static bool plan_is_voxel(const struct pack_plan *plan, uint64_t off, uint64_t *end)
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
static bool plan_bytes(struct pack_plan *plan, struct pack_chunk *chunk)
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

static int next_chunk(struct pack_plan *plan, struct pack_chunk *chunk)
{
    if (plan->stage == PACK_VOLUME) {
        if (plan->at < plan->volume_bytes)
            return plan_volume(plan, chunk) ? 1 : -EAGAIN;
        plan->stage = PACK_BYTES;
        plan->at = 0;
    }
    if (plan->stage == PACK_UNITS) {
        if (plan_unit(plan, chunk))
            return 1;
        plan->stage = PACK_BYTES;
        plan->at = 0;
    }
    if (plan->stage == PACK_BYTES && plan_bytes(plan, chunk))
        return 1;
    plan->stage = PACK_DONE;
    return 0;
}

int pack_plan_next(struct pack_plan *plan, struct pack_chunk *chunk)
{
    int r = next_chunk(plan, chunk);
    return plan->error < 0 ? plan->error : r;
}
