/* h264 and hevc: sqeazy's video sinks. A box is one Annex-B stream of one picture a plane; codec/FORMAT.md.
 * Encoders and decoders stay open between boxes of the same kind. */
#include "codec/stage.h"

#ifdef HAVE_VIDEO

#include "codec/nvenc.h"
#include "codec/video_args.h"
#include "codec/video_check.h"
#include "codec/video_notes.h"
#include "codec/video_planes.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEVC_LEAST 64 /* x265 wants a coding tree unit at least */
#define H264_LEAST 16 /* a macroblock */
#define PIC_ALIGN  64 /* a decoder's pictures may be that much wider */
#define PIC_MAX    16384
#define PLANES_MAX (1u << 24)
#define WORST      2    /* times the plain bytes: what noise comes to, with room to spare */
#define HEADERS    4096 /* bytes of a picture beside its samples, parameter sets and all */

struct video_state {
    struct video_encoder *encoder; /* NULL: none is open */
    struct video_format format;    /* what it was opened for; its settings lie in `args` */
    struct video_args args;
    struct nvenc_gate gate;
    struct open_decoder {
        struct video_decoder *decoder; /* NULL: none is open */
        enum video_codec codec;
        unsigned rows, width;
    } cpu, gpu;
    struct nvenc_gate gpu_gate; /* of decoding */
    uint8_t *room;              /* for one picture */
    size_t room_len;
};

static void state_free(void *p)
{
    struct video_state *state = p;
    if (state->encoder)
        state->encoder->ops->close(&state->encoder);
    video_decoder_close(&state->cpu.decoder);
    video_decoder_close(&state->gpu.decoder);
    free(state->room);
    free(state);
}

static struct video_state *state_of(struct sqy_ctx *ctx, const struct stage *stage)
{
    void **state = ctx_state(ctx, stage->desc);
    if (!*state)
        *state = calloc(1, sizeof(struct video_state));
    return *state;
}

/* ---- shapes ---- */

static unsigned round_up(uint64_t n, unsigned to)
{
    return (unsigned)((n + to - 1) / to * to);
}

/* All but bits and chroma follow from the pipeline and the box alone. -ENOTSUP where no picture is so
 * large or has such samples. */
static int layout_init(struct video_layout *l, const struct stage *stage, const struct shape *shape)
{
    if (shape->rows > PIC_MAX || shape->width > PIC_MAX || shape->planes > PLANES_MAX)
        return -ENOTSUP;
    *l = (struct video_layout){.rows = shape->rows, .width = shape->width, .size = shape->size};
    if (shape->size == 2 && !shape->codes && !stage->arg[VIDEO_ARG_BITS]) {
        l->form = VIDEO_FORM_MINIMA;
        l->bits = 8;
        l->chroma = VIDEO_420;
    }
    return 0;
}

/* The least picture that an encoder takes. */
static void layout_pad(struct video_layout *l, enum video_codec codec)
{
    const unsigned least = codec == VIDEO_HEVC ? HEVC_LEAST : H264_LEAST;
    const unsigned even = l->chroma == VIDEO_420 ? 2 : 1;
    l->pic_width = round_up(l->width, l->form == VIDEO_FORM_MINIMA ? 4 : even);
    l->pic_rows = round_up(l->rows, even);
    if (l->pic_width < least)
        l->pic_width = least;
    if (l->pic_rows < least)
        l->pic_rows = least;
}

/* Whether sqeazy's form of two bytes can be undone: any loss in chroma would be one of up to 65535. */
static bool minima_are_exact(const struct stage *stage, const struct video_args *args,
                             const struct shape *shape, const uint8_t *in)
{
    const size_t plane = shape->rows * shape->width * shape->size;
    if (!video_args_are_lossless(video_codec_of(stage), args))
        return false;
    for (uint64_t z = 0; z < shape->planes; z++)
        if (!video_minima_hold(in + z * plane, shape->rows, shape->width))
            return false;
    return true;
}

/* The least depth that the encoder has and that holds all samples. Where it is not sqeazy's form after all the
 * stream has to tell, by more than 8 bits. */
static int choose_bits(struct video_layout *l, const struct stage *stage,
                       const struct video_args *args, const struct shape *shape, const uint8_t *in)
{
    const unsigned most = video_codec_of(stage) == VIDEO_H264 ? 10 : 12;
    const unsigned given = (unsigned)stage->arg[VIDEO_ARG_BITS];
    const unsigned needed = video_bits_of(in, shape->n, shape->size);
    const bool minima = l->form == VIDEO_FORM_MINIMA;
    if (minima && minima_are_exact(stage, args, shape, in))
        return 0;
    if (minima && shape->foreign)
        return -ENOTSUP;
    l->form = VIDEO_FORM_LUMA;
    l->bits = given ? given : round_up(minima && needed < 10 ? 10 : needed, 2);
    return needed > l->bits || l->bits > most ? -ENOTSUP : 0;
}

/* ---- encoding ---- */

static size_t video_bound(const struct stage *stage, const struct shape *shape)
{
    struct video_layout l;
    size_t plane, all;
    if (layout_init(&l, stage, shape) < 0)
        return 0;
    l.bits = shape->size == 2 ? 12 : 8;
    if (stage->arg[VIDEO_ARG_BITS] > 8)
        l.bits = 12;
    l.chroma = VIDEO_420;
    layout_pad(&l, video_codec_of(stage));
    plane = WORST * video_plane_bytes(&l) + HEADERS;
    return __builtin_mul_overflow(plane, shape->planes, &all) || all > SSIZE_MAX ? 0 : all;
}

static bool same_format(const struct video_format *a, const struct video_format *b)
{
    if (a->codec != b->codec || a->width != b->width || a->height != b->height ||
        a->bits != b->bits || a->chroma != b->chroma || a->lossless != b->lossless ||
        a->group != b->group || a->threads != b->threads || a->n_settings != b->n_settings)
        return false;
    for (unsigned i = 0; i < a->n_settings; i++)
        if (strcmp(a->settings[i].name, b->settings[i].name) ||
            strcmp(a->settings[i].value, b->settings[i].value))
            return false;
    return true;
}

static int make_format(struct video_format *f, const struct stage *stage,
                       const struct video_args *args, struct video_layout *l)
{
    const enum video_codec codec = video_codec_of(stage);
    const bool lossless = video_args_are_lossless(codec, args);
    if (l->form == VIDEO_FORM_LUMA)
        l->chroma = codec == VIDEO_HEVC && lossless ? VIDEO_420 : VIDEO_GRAY;
    layout_pad(l, codec);
    *f = (struct video_format){.codec = codec,
                               .width = l->pic_width,
                               .height = l->pic_rows,
                               .bits = l->bits,
                               .chroma = l->chroma,
                               .lossless = lossless,
                               .group = (unsigned)stage->arg[VIDEO_ARG_GOP],
                               .threads = (unsigned)stage->arg[VIDEO_ARG_THREADS],
                               .n_settings = args->n};
    memcpy(f->settings, args->items, args->n * sizeof(args->items[0]));
    return 0;
}

static bool has_open(const struct video_state *state, const struct video_encoder_ops *ops,
                     const struct video_format *format)
{
    return state->encoder && state->encoder->ops == ops && same_format(&state->format, format);
}

static int open_encoder(struct video_state *state, const struct video_encoder_ops *ops,
                        const struct stage *stage, const struct video_format *format)
{
    if (has_open(state, ops, format))
        return 0;
    char why[ARG_WHY_MAX];
    unsigned which;
    if (state->encoder)
        state->encoder->ops->close(&state->encoder);
    int r = video_args_split(stage, &state->args);
    if (r == 0)
        r = video_check_args(format->codec, &state->args, &which, why);
    if (r == 0)
        r = ops->open(format, &state->encoder);
    if (r < 0)
        return r == -EINVAL ? -ENOTSUP : r;
    state->format = *format;
    state->format.why = NULL;
    memcpy(state->format.settings, state->args.items, sizeof(state->args.items));
    return 0;
}

/* The planes from out->n_planes on. */
static int send_planes(struct sqy_ctx *ctx, struct video_state *state,
                       const struct video_format *format, const struct video_layout *l,
                       const struct shape *shape, const uint8_t *in, struct video_out *out)
{
    const struct video_encoder_ops *ops = state->encoder->ops;
    const size_t plane_len = shape->rows * shape->width * shape->size;
    struct video_plane plane;
    int r = ops->begin(state->encoder, out);
    for (uint64_t z = out->n_planes; r == 0 && z < shape->planes; z++) {
        if (ctx_is_stopped(ctx)) {
            r = -ECANCELED;
            break;
        }
        video_plane_fill(l, in + z * plane_len, state->room, &plane);
        r = ops->send(state->encoder, &plane);
    }
    if (r == 0)
        r = ops->finish(state->encoder);
    if (r < 0 && format->why)
        memcpy(format->why, state->encoder->why, VIDEO_WHY_MAX);
    if (r < 0 || !ops->can_go_on(state->encoder))
        ops->close(&state->encoder);
    return r;
}

static int encode_with(struct sqy_ctx *ctx, struct video_state *state,
                       const struct video_encoder_ops *ops, const struct stage *stage,
                       const struct video_format *format, const struct video_layout *l,
                       const struct shape *shape, const uint8_t *in, struct video_out *out)
{
    int r = open_encoder(state, ops, stage, format);
    return r < 0 ? r : send_planes(ctx, state, format, l, shape, in, out);
}

#ifdef HAVE_NVENC
/* A machine without is no news where any encoder was asked for; a device that fails is. */
static void tell(struct sqy_ctx *ctx, const struct stage *stage, const char *why, int r,
                 const struct video_out *out, const struct shape *shape)
{
    char line[SQY_NOTICE_MAX];
    if (r != -EIO && stage->arg[VIDEO_ARG_ENCODER] == VIDEO_ENCODER_AUTO)
        return;
    if (out->n_planes)
        snprintf(line, sizeof(line), "%s: nvenc: %s; the CPU goes on at plane %u of %u",
                 stage->desc->name, why, out->n_planes, (unsigned)shape->planes);
    else
        snprintf(line, sizeof(line), "%s: nvenc: %s; the CPU encodes", stage->desc->name, why);
    ctx_notice(ctx, line);
}
#endif

/* The GPU's part of the planes: all, some, none. Below 0 where the box shall not be encoded at all. */
static int encode_on_gpu(struct sqy_ctx *ctx, struct video_state *state, const struct stage *stage,
                         const struct video_format *format, const struct video_layout *l,
                         const struct shape *shape, const uint8_t *in, struct video_out *out)
{
#ifdef HAVE_NVENC
    const struct video_encoder_ops *ops = &video_nvenc_encoder;
    char why[VIDEO_WHY_MAX] = "out of memory";
    struct video_format asked = *format;
    asked.why = why;
    if (stage->arg[VIDEO_ARG_ENCODER] == VIDEO_ENCODER_CPU ||
        (!has_open(state, ops, format) && !nvenc_gate_is_open(&state->gate)))
        return 0;
    int r = encode_with(ctx, state, ops, stage, &asked, l, shape, in, out);
    if (r == -ECANCELED || r == -ENOSPC)
        return r;
    if (r == 0) {
        nvenc_gate_went_well(&state->gate);
        return 0;
    }
    nvenc_gate_failed(&state->gate);
    tell(ctx, stage, why, r, out, shape);
#else
    (void)ctx, (void)state, (void)stage, (void)format, (void)l, (void)shape, (void)in, (void)out;
#endif
    return 0;
}

/* Where the GPU cannot, or breaks in the middle, the CPU carries on: the box is two groups then. */
static int encode_planes(struct sqy_ctx *ctx, struct video_state *state, const struct stage *stage,
                         const struct video_format *format, const struct video_layout *l,
                         const struct shape *shape, const uint8_t *in, struct video_out *out)
{
    int r = encode_on_gpu(ctx, state, stage, format, l, shape, in, out);
    if (r < 0 || out->n_planes == shape->planes)
        return r;
    return encode_with(ctx, state, &video_av_encoder, stage, format, l, shape, in, out);
}

static int make_room(struct video_state *state, size_t len)
{
    if (len <= state->room_len)
        return 0;
    free(state->room);
    state->room = malloc(len);
    state->room_len = state->room ? len : 0;
    return state->room ? 0 : -ENOMEM;
}

static ssize_t video_encode(struct sqy_ctx *ctx, const struct stage *stage,
                            const struct shape *shape, const uint8_t *in, uint8_t *out, size_t cap)
{
    struct video_state *state = state_of(ctx, stage);
    struct video_out coded = {.data = out, .cap = cap};
    struct video_format format;
    struct video_args args;
    struct video_layout l;
    if (!state)
        return -ENOMEM;
    int r = layout_init(&l, stage, shape);
    if (r == 0)
        r = video_args_split(stage, &args);
    if (r == 0)
        r = choose_bits(&l, stage, &args, shape, in);
    if (r == 0)
        r = make_format(&format, stage, &args, &l);
    if (r == 0)
        r = make_room(state, video_plane_bytes(&l));
    if (r == 0)
        r = encode_planes(ctx, state, stage, &format, &l, shape, in, &coded);
    return r < 0 ? r : (ssize_t)coded.len;
}

/* ---- decoding ---- */

struct taker {
    const struct video_layout *layout;
    const struct shape *shape;
    uint8_t *out;
    uint64_t n; /* planes that are there */
    bool prefix;
};

static int take(void *arg, const struct video_picture *picture)
{
    struct taker *taker = arg;
    const struct shape *shape = taker->shape;
    if (taker->n == shape->planes)
        return taker->prefix ? 0 : -EBADMSG; /* reordered pictures may come several at once */
    const size_t plane_len = shape->rows * shape->width * shape->size;
    int r = video_plane_read(taker->layout, picture, taker->out + taker->n * plane_len);
    if (r == 0)
        taker->n++;
    return r;
}

static bool decodes(const struct open_decoder *open, enum video_codec codec,
                    const struct video_layout *l)
{
    return open->decoder && open->codec == codec && open->rows == l->pic_rows &&
           open->width == l->pic_width;
}

static int open_decoder(struct open_decoder *open, enum video_codec codec,
                        const struct video_layout *l, bool gpu, char *why)
{
    const unsigned width = round_up(l->pic_width, PIC_ALIGN) + PIC_ALIGN,
                   rows = round_up(l->pic_rows, PIC_ALIGN) + PIC_ALIGN;
    if (decodes(open, codec, l))
        return 0;
    video_decoder_close(&open->decoder);
    open->codec = codec;
    open->rows = l->pic_rows;
    open->width = l->pic_width;
#ifdef HAVE_NVENC
    if (gpu)
        return video_decoder_open_gpu(codec, width, rows, &open->decoder, why);
#else
    (void)gpu, (void)why;
#endif
    return video_decoder_open(codec, width, rows, &open->decoder);
}

/* One unit a plane; all of them, or as far as is asked for. */
static int decode_units(struct video_decoder *decoder, enum video_codec codec,
                        const struct stage_coded *in, struct taker *taker)
{
    const uint64_t planes = taker->shape->planes;
    const bool is_all = !in->whole && !in->stale && !in->prefix;
    size_t at = 0;
    if (is_all && in->len && !in->data[in->len - 1])
        return -EBADMSG; /* no unit ends with a zero */
    for (uint64_t units = 0; units < planes || (in->prefix && taker->n < planes); units++) {
        if (at == in->len)
            break;
        const size_t len = video_unit_len(codec, in->data + at, in->len - at);
        int r = video_decoder_send(decoder, in->data + at, len, take, taker);
        if (r < 0)
            return in->prefix && taker->n == planes ? 0 : r;
        at += len;
    }
    if (taker->n < planes) {
        int r = video_decoder_send(decoder, NULL, 0, take, taker);
        if (r < 0)
            return r;
    }
    if (taker->n < planes)
        return -EBADMSG;
    return in->prefix || in->stale || at == in->len ? 0 : -EBADMSG; /* zeros go with the last */
}

static int decode_with(struct open_decoder *open, enum video_codec codec,
                       const struct stage_coded *in, struct taker *taker)
{
    int r = decode_units(open->decoder, codec, in, taker);
    if (r == 0)
        video_decoder_reset(open->decoder);
    else
        video_decoder_close(&open->decoder);
    return r;
}

#ifdef HAVE_NVENC
/* Whether the GPU has decoded it all. What it cannot the CPU decodes, or tells what is wrong with it. */
static bool decode_on_gpu(struct sqy_ctx *ctx, struct video_state *state, const struct stage *stage,
                          const struct video_layout *l, const struct stage_coded *in,
                          struct taker taker)
{
    const enum video_codec codec = video_codec_of(stage);
    char why[VIDEO_WHY_MAX] = "the device cannot decode this", line[SQY_NOTICE_MAX];
    if (!ctx_uses_gpu(ctx) || !video_gpu_reads(codec, in->data, in->len) ||
        (!decodes(&state->gpu, codec, l) && !nvenc_gate_is_open(&state->gpu_gate)))
        return false;
    int r = open_decoder(&state->gpu, codec, l, true, why);
    if (r == 0)
        r = decode_with(&state->gpu, codec, in, &taker);
    if (r == 0) {
        nvenc_gate_went_well(&state->gpu_gate);
        return true;
    }
    nvenc_gate_failed(&state->gpu_gate);
    snprintf(line, sizeof(line), "%s: nvdec: %s; the CPU decodes", stage->desc->name, why);
    ctx_notice(ctx, line);
    return false;
}
#endif

static int video_decode(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                        const struct stage_coded *in, uint8_t *out)
{
    const enum video_codec codec = video_codec_of(stage);
    struct video_state *state = state_of(ctx, stage);
    struct video_layout l;
    if (!state)
        return -ENOMEM;
    int r = layout_init(&l, stage, shape);
    if (r < 0)
        return r;
    l.chroma = VIDEO_420; /* perhaps */
    layout_pad(&l, codec);
    struct taker taker = {.layout = &l, .shape = shape, .out = out, .prefix = in->prefix};
#ifdef HAVE_NVENC
    if (decode_on_gpu(ctx, state, stage, &l, in, taker))
        return 0;
#endif
    r = open_decoder(&state->cpu, codec, &l, false, NULL);
    return r < 0 ? r : decode_with(&state->cpu, codec, in, &taker);
}

#define VIDEO_COMMON                                                                               \
    .class = STAGE_SINK, .args = VIDEO_ARGS, .upstream = true, .parse_args = video_args_parse,     \
    .print_args = video_args_print, .check_encoder = video_check_stage, .sizes = 1 | 2,            \
    .types = 1u << SQY_UINT8 | 1u << SQY_INT8 | 1u << SQY_UINT16 | 1u << SQY_INT16, .lossy = true, \
    .lossy_boxes = true, .bound_box = video_bound, .encode_box = video_encode,                     \
    .decode_box = video_decode, .decodes_prefix = true, .group = video_args_group,                 \
    .finer = video_args_finer, .notes = video_notes, .free_state = state_free

static bool has_h264_encoder(void)
{
    return video_av_has_encoder(VIDEO_H264);
}

static bool has_hevc_encoder(void)
{
    return video_av_has_encoder(VIDEO_HEVC);
}

const struct stage_desc stage_desc_h264 = {
    .name = "h264",
    .about = "video, a picture a plane",
    VIDEO_COMMON,
    .can_write = has_h264_encoder,
};

const struct stage_desc stage_desc_hevc = {
    .name = "hevc",
    .about = "video, a picture a plane",
    VIDEO_COMMON,
    .can_write = has_hevc_encoder,
};

#else

#define MISSING "this build has no video (libavcodec)"

const struct stage_desc stage_desc_h264 = {
    .name = "h264",
    .about = "video, a picture a plane",
    .class = STAGE_SINK,
    .upstream = true,
    .missing = MISSING,
};

const struct stage_desc stage_desc_hevc = {
    .name = "hevc",
    .about = "video, a picture a plane",
    .class = STAGE_SINK,
    .upstream = true,
    .missing = MISSING,
};

#endif
