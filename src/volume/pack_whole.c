/* One volume as a file of sqeazy's own: what its own encoder would have written. All of it is in
 * memory at once, as the pipelines that come here want it. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "volume/pack.h"
#include "volume/units.h"

#define PIECES 512 /* looked up at a time */

struct whole {
    const struct pack_source *source;
    struct layout *layout;
    struct layout_info info;
    struct sqy_box box;
    size_t bytes; /* of the voxels */
    uint8_t *voxels, *coded;
    struct sqy_ctx *ctx;
    struct sqy_pipeline *used;
};

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -ENOTSUP;
}

static int whole_check(struct whole *whole, const struct sqy_pipeline *pipeline, const char **why)
{
    const struct layout_info *info = &whole->info;
    const enum sqy_type type = (enum sqy_type)info->type;
    if (!info->one_volume || info->spp != 1 || info->depth == 0)
        return refuse(why, "this pipeline takes one volume of 8- or 16-bit voxels, and it is none");
    if (type != SQY_UINT8 && type != SQY_UINT16)
        return refuse(why, "this pipeline takes unsigned voxels of 8 or 16 bits only");
    if (!sqy_pipeline_is_sqeazy(pipeline, type))
        return refuse(why, "a pipeline that needs the whole volume, or loses something, can have "
                           "sqeazy's own stages only");
    if (info->depth > UINT32_MAX || info->height > UINT32_MAX || info->width > UINT32_MAX)
        return refuse(why, "the volume is too large for this pipeline");
    whole->box = (struct sqy_box){type, (uint32_t)info->depth, (uint32_t)info->height,
                                  (uint32_t)info->width, 1};
    whole->bytes = sqy_box_bytes(&whole->box);
    return whole->bytes > 0 ? 0 : refuse(why, "the volume is too large for this pipeline");
}

static int whole_read(struct whole *whole)
{
    struct layout_piece pieces[PIECES];
    uint32_t n;
    for (uint64_t at = 0; at < whole->bytes;) {
        uint64_t covered =
            layout_volume_pieces(whole->layout, at, whole->bytes - at, pieces, PIECES, &n);
        if (covered == 0)
            return -EIO;
        uint8_t *to = whole->voxels + at;
        at += covered;
        for (uint32_t i = 0; i < n; to += pieces[i++].len) {
            int r = whole->source->read(whole->source->ctx, to, pieces[i].len, pieces[i].off);
            if (r < 0)
                return r;
        }
    }
    if (whole->info.big_endian)
        sqy_swap(whole->voxels, whole->voxels, whole->bytes, sqy_type_size(whole->box.type));
    return 0;
}

static int whole_write(const struct whole *whole, size_t coded_len, int fd)
{
    const struct sqy_header header = {
        .pipename = sqy_pipeline_text(whole->used),
        .type = whole->box.type,
        .rank = 3,
        .shape = {whole->box.planes, whole->box.rows, whole->box.width},
        .encoded_bytes = coded_len,
    };
    ssize_t len = sqy_header_write(&header, 0, NULL, 0);
    if (len < 0)
        return (int)len;
    uint8_t *text = malloc((size_t)len);
    if (text == NULL)
        return -ENOMEM;
    len = sqy_header_write(&header, 0, text, (size_t)len);
    int r = len < 0 ? (int)len : io_pwrite_full(&io_system, fd, text, (size_t)len, 0);
    if (r >= 0)
        r = io_pwrite_full(&io_system, fd, whole->coded, coded_len, (uint64_t)len);
    if (r >= 0 && fsync(fd) < 0)
        r = -errno;
    free(text);
    return r < 0 ? r : 0;
}

static int whole_encode(struct whole *whole, const struct pack_options *options, int fd,
                        const char **why)
{
    const size_t cap = sqy_encode_bound(options->pipeline, &whole->box);
    whole->voxels = malloc(whole->bytes);
    whole->coded = malloc(cap > 0 ? cap : 1);
    int r = whole->voxels == NULL || whole->coded == NULL ? -ENOMEM : 0;
    if (r == 0)
        r = sqy_ctx_create(&whole->ctx);
    if (r == 0)
        r = whole_read(whole);
    if (r < 0)
        return r;
    ssize_t coded = sqy_encode_volume(whole->ctx, options->pipeline, &whole->box, whole->voxels,
                                      whole->coded, cap, &whole->used);
    if (coded == -ENOTSUP)
        return refuse(why, "a stage of this pipeline can only be read, or sqeazy loses voxels with "
                           "it in a volume of this shape");
    return coded < 0 ? (int)coded : whole_write(whole, (size_t)coded, fd);
}

int pack_whole(const struct pack_source *source, const struct pack_options *options, int fd,
               const char **why)
{
    struct whole whole = {.source = source};
    *why = NULL;
    int r = pack_layout(source, options, &whole.layout);
    if (r < 0)
        return r;
    layout_info(whole.layout, &whole.info);
    r = whole_check(&whole, options->pipeline, why);
    if (r == 0)
        r = whole_encode(&whole, options, fd, why);
    layout_destroy(&whole.layout);
    free(whole.voxels);
    free(whole.coded);
    sqy_ctx_free(&whole.ctx);
    sqy_pipeline_free(&whole.used);
    return r;
}
