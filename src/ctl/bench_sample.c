/* Two walks over all files: one that counts, one that reads what is taken. */
#include "ctl/bench_sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/bench_source.h"
#include "ctl/progress.h"
#include "volume/units.h"

struct walk {
    const struct bench_sampling *sampling;
    struct bench_sample *sample;
    struct progress progress;
    const struct bench_source *source; /* the file at hand */
    uint64_t passed_bytes;             /* voxels of units passed in this walk */
    uint64_t n_wanted;                 /* chunks to be taken, evenly by bytes */
};

typedef int walk_fn(struct walk *walk, const struct layout_unit *unit);

/* ---- walking ---- */

static int walk_units(struct walk *walk, const struct layout *layout, walk_fn *fn)
{
    struct layout_unit unit;
    uint64_t size = walk->source->plain.size, gap_end;
    int r = 0;
    for (uint64_t at = 0; at < size && r == 0;) {
        if (!layout_unit_at(layout, at, &unit, &gap_end)) {
            at = gap_end;
            continue;
        }
        if (at == unit.pieces[0].off && unit_within(&unit, size))
            r = walk->sampling->stop(walk->sampling->stop_ctx) ? -ECANCELED : fn(walk, &unit);
        at = unit_piece_end(&unit, at);
    }
    return r;
}

static int walk_file(struct walk *walk, const char *path, walk_fn *fn)
{
    struct bench_source source;
    struct layout *layout;
    int r = bench_source_open(path, walk->sampling->raw, &source);
    if (r < 0)
        return r;
    struct pack_options options = {
        .chunk = walk->sampling->chunk, .raw = &source.raw, .n_raw = source.has_raw ? 1 : 0};
    r = source.plain.size > 0 ? pack_layout(&source.plain, &options, &layout) : -ENODATA;
    if (r == 0) {
        walk->source = &source;
        r = walk_units(walk, layout, fn);
        walk->sample->plain_bytes += source.plain.size;
        layout_destroy(&layout);
    }
    bench_source_close(&source);
    return r == -ENODATA ? 0 : r;
}

static int walk_files(struct walk *walk, walk_fn *fn, const char **path)
{
    walk->passed_bytes = walk->sample->plain_bytes = 0;
    for (unsigned i = 0; i < walk->sampling->n_paths; i++) {
        *path = walk->sampling->paths[i];
        int r = walk_file(walk, *path, fn);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- counting ---- */

static int count(struct walk *walk, const struct layout_unit *unit)
{
    struct bench_sample *sample = walk->sample;
    sample->voxel_bytes += unit->bytes;
    sample->n_units++;
    if (unit->bytes > sample->longest_bytes)
        sample->longest_bytes = unit->bytes;
    return 0;
}

/* ---- taking ---- */

/* All bytes lie on a line, n_wanted marks evenly on it: a unit is taken where it holds one. */
static bool is_wanted(const struct walk *walk, uint64_t from, uint64_t to)
{
    double step = (double)walk->sample->voxel_bytes / (double)walk->n_wanted;
    return (uint64_t)((double)from / step + 0.5) != (uint64_t)((double)to / step + 0.5);
}

static int read_pieces(const struct walk *walk, const struct layout_unit *unit, uint8_t *out)
{
    const struct pack_source *plain = &walk->source->plain;
    for (uint32_t i = 0; i < unit->n_pieces; i++) {
        int r = plain->read(plain->ctx, out, unit->pieces[i].len, unit->pieces[i].off);
        if (r < 0)
            return r;
        out += unit->pieces[i].len;
    }
    return 0;
}

static struct bench_chunk *add_chunk(struct bench_sample *sample, size_t len)
{
    if (sample->n == sample->cap) {
        size_t cap = sample->cap > 0 ? 2 * sample->cap : 64;
        struct bench_chunk *chunks = realloc(sample->chunks, cap * sizeof(*chunks));
        if (chunks == NULL)
            return NULL;
        sample->chunks = chunks;
        sample->cap = cap;
    }
    struct bench_chunk *chunk = &sample->chunks[sample->n];
    *chunk = (struct bench_chunk){.voxels = malloc(len), .len = len};
    if (chunk->voxels == NULL)
        return NULL;
    sample->n++;
    return chunk;
}

static int take(struct walk *walk, const struct layout_unit *unit)
{
    struct bench_sample *sample = walk->sample;
    uint64_t from = walk->passed_bytes;
    walk->passed_bytes += unit->bytes;
    if (walk->n_wanted < sample->n_units && !is_wanted(walk, from, walk->passed_bytes))
        return 0;
    struct bench_chunk *chunk = add_chunk(sample, (size_t)unit->bytes);
    if (chunk == NULL)
        return -ENOMEM;
    chunk->box = (struct sqy_box){(enum sqy_type)unit->type, unit->planes, unit->rows, unit->width,
                                  unit->spp};
    int r = read_pieces(walk, unit, chunk->voxels);
    if (r < 0)
        return r;
    if (unit->big_endian)
        sqy_swap(chunk->voxels, chunk->voxels, chunk->len, sqy_type_size(chunk->box.type));
    sample->mixed = sample->mixed || chunk->box.type != sample->chunks[0].box.type;
    sample->type = sample->chunks[0].box.type;
    sample->bytes += chunk->len;
    progress_update(&walk->progress, walk->passed_bytes, sample->voxel_bytes);
    return 0;
}

int bench_sample_take(const struct bench_sampling *sampling, struct bench_sample *out,
                      const char **path)
{
    memset(out, 0, sizeof(*out));
    struct walk walk = {.sampling = sampling, .sample = out};
    int r = walk_files(&walk, count, path);
    if (r < 0 || out->n_units == 0)
        return r;
    walk.n_wanted =
        out->voxel_bytes <= sampling->limit ? out->n_units : sampling->limit / out->longest_bytes;
    if (walk.n_wanted == 0)
        walk.n_wanted = 1;
    progress_start(&walk.progress, "reading");
    r = walk_files(&walk, take, path);
    progress_end(&walk.progress);
    if (r < 0)
        bench_sample_free(out);
    return r;
}

void bench_sample_free(struct bench_sample *sample)
{
    for (size_t i = 0; i < sample->n; i++)
        free(sample->chunks[i].voxels);
    free(sample->chunks);
    sample->chunks = NULL;
    sample->n = sample->cap = 0;
}
