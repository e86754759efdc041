#include "codec/stage.h"

#include <stdlib.h>
#include <string.h>

static const struct stage_desc *const rows[] = {
    /* sinks */
    &stage_desc_pass_through,
    &stage_desc_lz4,
    &stage_desc_zstd,
    &stage_desc_blosc,
    &stage_desc_interlace,
    &stage_desc_context,
    &stage_desc_h264,
    &stage_desc_hevc,
    /* filters without loss */
    &stage_desc_bitswap1,
    &stage_desc_bitshuffle,
    &stage_desc_shuffle,
    &stage_desc_delta,
    &stage_desc_diff3x3x1,
    &stage_desc_raster_reorder,
    &stage_desc_zcurve_reorder,
    &stage_desc_frame_shuffle,
    &stage_desc_tile_shuffle,
    /* filters that lose something */
    &stage_desc_remove_background,
    &stage_desc_rmestbkrd,
    &stage_desc_rmbkrd_neighbor5x5x5,
    &stage_desc_quantiser,
    &stage_desc_noise,
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct stage shuffle = {.desc = &stage_desc_shuffle};
static const struct stage pass_through = {.desc = &stage_desc_pass_through};
static const struct stage zstd = {.desc = &stage_desc_zstd, .arg = {1}};

const struct stage_desc *stage_find(const char *name, size_t len)
{
    static const char alias[] = "default";
    if (len == strlen(alias) && !memcmp(name, alias, len)) {
        name = SQY_PIPELINE_DEFAULT; /* is a lone sink */
        len = strlen(name);
    }
    for (unsigned i = 0; i < N_ROWS; i++) {
        if (strlen(rows[i]->name) == len && !memcmp(rows[i]->name, name, len))
            return rows[i];
    }
    return NULL;
}

const struct stage_desc *stage_at(unsigned index)
{
    return index < N_ROWS ? rows[index] : NULL;
}

unsigned stage_index(const struct stage_desc *desc)
{
    unsigned i = 0;
    while (i < N_ROWS && rows[i] != desc)
        i++;
    return i;
}

void stage_default(struct stage *stage, const struct stage_desc *desc)
{
    *stage = (struct stage){.desc = desc};
    for (unsigned i = 0; i < STAGE_MAX_ARGS && desc->args[i].name; i++)
        stage->arg[i] = desc->args[i].def;
    if (desc->normalise)
        desc->normalise(stage);
}

void stage_set_bytes(struct stage *stage, uint8_t *bytes, size_t n_bytes)
{
    free(stage->bytes);
    stage->bytes = bytes;
    stage->n_bytes = n_bytes;
}

bool stage_only_zeros(const struct stage_coded *in, size_t from)
{
    for (size_t i = from; i < in->len; i++) {
        if (in->data[i])
            return false;
    }
    return in->whole || from == in->len;
}

const struct stage *stage_shuffle(void)
{
    return &shuffle;
}

const struct stage *stage_pass_through(void)
{
    return &pass_through;
}

const struct stage *stage_zstd(void)
{
    return &zstd;
}
