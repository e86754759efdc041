/* libavcodec: libx264 and libx265 encode, its own decoders decode. The only file that knows it.
 *
 * Nothing is said on standard error. Each codec's messages are lowered below what the library's log lets
 * through (log_level_offset), in whatever thread they come; but a damaged stream makes helpers speak that
 * know no codec. So the library's one log is wrapped, at first use: it keeps silent for threads that are
 * inside a call of ours, and is as it was for all others. */
#include "codec/nvenc.h"
#include "codec/video_check.h"
#include "codec/video_decoder.h"
#include "codec/video_encoder.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavutil/hwcontext.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SILENT                                                                                     \
    128 /* added to each message's level: above all of them, and within the byte that counts */
#define NO_GROUP (1 << 30) /* x264's and x265's "infinite" */
#define RATE     25        /* pictures a second, as sqeazy has it; it means nothing */

/* ---- silence ---- */

static _Thread_local unsigned silent;
static pthread_once_t log_once = PTHREAD_ONCE_INIT;

static void log_unless_silent(void *context, int level, const char *format, va_list args)
{
    if (!silent)
        av_log_default_callback(context, level, format, args);
}

static void set_log(void)
{
    av_log_set_callback(log_unless_silent);
}

static void be_silent(void)
{
    pthread_once(&log_once, set_log);
    silent++;
}

static void be_loud(void)
{
    silent--;
}

static int error_of(int r)
{
    if (r == AVERROR(ENOMEM))
        return -ENOMEM;
    return r == AVERROR_INVALIDDATA ? -EBADMSG : -EIO;
}

/* ---- encoding ---- */

struct av_encoder {
    struct video_encoder base;
    AVCodecContext *av;
    AVFrame *frame;
    AVPacket *packet;
    struct video_out *out;
    enum video_codec codec;
    size_t y_bytes; /* rows of luma, for the frame's buffer */
    bool fresh;     /* the next plane begins a stream */
    bool drained;
    unsigned n_sent; /* since begin() */
    unsigned n_before;
    int64_t pts;
};

static const char *const encoder_names[] = {[VIDEO_H264] = "libx264", [VIDEO_HEVC] = "libx265"};
static const char *const decoder_names[] = {[VIDEO_H264] = "h264", [VIDEO_HEVC] = "hevc"};
static const char *const own_params[] = {
    [VIDEO_H264] = "x264-params", [VIDEO_HEVC] = "x265-params"};

static enum AVPixelFormat pixel_format(const struct video_format *f)
{
    const bool gray = f->chroma == VIDEO_GRAY;
    switch (f->bits) {
    case 8:
        return gray ? AV_PIX_FMT_GRAY8 : AV_PIX_FMT_YUV420P;
    case 10:
        return gray ? AV_PIX_FMT_GRAY10LE : AV_PIX_FMT_YUV420P10LE;
    case 12:
        return gray ? AV_PIX_FMT_GRAY12LE : AV_PIX_FMT_YUV420P12LE;
    default:
        return AV_PIX_FMT_NONE;
    }
}

/* The number that `value` is, or the named constant. */
static bool read_number(void *options, const AVOption *option, const char *value, double *out)
{
    const AVOption *named = option->unit ? av_opt_find(options, value, option->unit, 0, 0) : NULL;
    if (named && named->type == AV_OPT_TYPE_CONST) {
        *out = (double)named->default_val.i64;
        return true;
    }
    return video_args_number(value, out) && *out >= option->min && *out <= option->max;
}

/* av_opt_set(), but that it says nothing. -ENOENT where there is no such option. */
static int set_option(void *options, const char *name, const char *value)
{
    const AVOption *option = av_opt_find(options, name, NULL, 0, 0);
    double number;
    if (!option || option->type == AV_OPT_TYPE_CONST)
        return -ENOENT;
    switch (option->type) {
    case AV_OPT_TYPE_STRING:
        return av_opt_set(options, name, value, 0) < 0 ? -EINVAL : 0;
    case AV_OPT_TYPE_INT:
    case AV_OPT_TYPE_INT64:
    case AV_OPT_TYPE_BOOL:
    case AV_OPT_TYPE_FLOAT:
    case AV_OPT_TYPE_DOUBLE:
        if (!read_number(options, option, value, &number))
            return -EINVAL;
        return av_opt_set_double(options, name, number, 0) < 0 ? -EINVAL : 0;
    default:
        return -ENOENT;
    }
}

/* hevc: all but these is x265's own, as in sqeazy. */
static bool is_wrapper_option(enum video_codec codec, const char *name)
{
    return codec == VIDEO_H264 || !strcmp(name, "preset") || !strcmp(name, "tune") ||
           !strcmp(name, "profile");
}

static int set_setting(AVCodecContext *av, enum video_codec codec, const char *name,
                       const char *value, AVDictionary **own)
{
    if (is_wrapper_option(codec, name)) {
        int r = set_option(av->priv_data, name, value);
        if (r != -ENOENT || codec == VIDEO_HEVC)
            return r;
    }
    return av_dict_set(own, name, value, 0) < 0 ? -ENOMEM : 0;
}

/* What no pipeline's text may change: one closed group, complete in itself, and silence. */
static int set_fixed(const struct video_format *f, AVDictionary **own)
{
    static const char *const hevc[][2] = {
        {"log-level", "none"}, {"info", "0"}, {"open-gop", "0"}, {"repeat-headers", "1"}};
    char n[16];
    int r = 0;
    if (f->codec == VIDEO_H264)
        return 0;
    for (size_t i = 0; i < sizeof(hevc) / sizeof(hevc[0]) && r >= 0; i++)
        r = av_dict_set(own, hevc[i][0], hevc[i][1], 0);
    if (f->threads > 1)
        snprintf(n, sizeof(n), "%u", f->threads);
    else
        snprintf(n, sizeof(n), "none");
    if (r >= 0)
        r = av_dict_set(own, "pools", n, 0);
    if (r >= 0 && f->threads == 1)
        r = av_dict_set(own, "frame-threads", "1", 0);
    return r < 0 ? -ENOMEM : 0;
}

/* sqeazy's own, where the text says nothing. */
static int set_defaults(AVCodecContext *av, enum video_codec codec, AVDictionary **own)
{
    int r = set_setting(av, codec, "preset", "ultrafast", own);
    if (r == 0)
        r = codec == VIDEO_H264 ? set_setting(av, codec, "qp", "0", own)
                                : set_setting(av, codec, "lossless", "1", own);
    return r;
}

static int set_settings(AVCodecContext *av, const struct video_format *f)
{
    AVDictionary *own = NULL;
    int r = f->n_settings ? 0 : set_defaults(av, f->codec, &own);
    for (unsigned i = 0; i < f->n_settings && r == 0; i++)
        r = set_setting(av, f->codec, f->settings[i].name, f->settings[i].value, &own);
    if (r == 0)
        r = set_fixed(f, &own);
    if (r == 0 && own && av_opt_set_dict_val(av->priv_data, own_params[f->codec], own, 0) < 0)
        r = -ENOMEM;
    av_dict_free(&own);
    if (r == 0)
        r = set_option(av->priv_data, "forced-idr", "1");
    return r == -ENOMEM ? r : r < 0 ? -ENOTSUP : 0;
}

/* x264 would refuse it aloud. */
static bool profile_fits(const struct video_format *f)
{
    static const char *const profiles[] = {"baseline", "main",    "high",
                                           "high10",   "high422", "high444"};
    const size_t n = sizeof(profiles) / sizeof(profiles[0]);
    const size_t needed = f->lossless ? 5 : f->bits > 8 ? 3 : f->chroma == VIDEO_GRAY ? 2 : 0;
    for (unsigned i = 0; i < f->n_settings && f->codec == VIDEO_H264; i++) {
        size_t is = 0;
        if (strcmp(f->settings[i].name, "profile") != 0)
            continue;
        while (is < n && strcmp(profiles[is], f->settings[i].value) != 0)
            is++;
        if (is == n || is < needed)
            return false;
    }
    return true;
}

static int open_codec(struct av_encoder *e, const AVCodec *codec, const struct video_format *f)
{
    AVCodecContext *av = e->av;
    av->log_level_offset = SILENT;
    av->width = (int)f->width;
    av->height = (int)f->height;
    av->pix_fmt = pixel_format(f);
    av->time_base = (AVRational){1, RATE};
    av->framerate = (AVRational){RATE, 1};
    av->gop_size = f->group ? (int)f->group : NO_GROUP;
    av->thread_count = (int)f->threads;
    int r = profile_fits(f) ? set_settings(av, f) : -ENOTSUP;
    be_silent();
    if (r == 0 && avcodec_open2(av, codec, NULL) < 0)
        r = -ENOTSUP;
    be_loud();
    return r;
}

static void av_close(struct video_encoder **encoder)
{
    struct av_encoder *e = (struct av_encoder *)*encoder;
    if (!e)
        return;
    avcodec_free_context(&e->av);
    av_frame_free(&e->frame);
    av_packet_free(&e->packet);
    free(e);
    *encoder = NULL;
}

static int av_open(const struct video_format *f, struct video_encoder **out)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(encoder_names[f->codec]);
    if (!codec || pixel_format(f) == AV_PIX_FMT_NONE)
        return -ENOTSUP;
    if (f->lossless && f->codec == VIDEO_HEVC && f->chroma == VIDEO_GRAY)
        return -ENOTSUP; /* x265 3.5 is not exact there */
    struct av_encoder *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    struct video_encoder *made = &e->base;
    *e = (struct av_encoder){.base.ops = &video_av_encoder, .codec = f->codec};
    e->av = avcodec_alloc_context3(codec);
    e->frame = av_frame_alloc();
    e->packet = av_packet_alloc();
    int r = e->av && e->frame && e->packet ? open_codec(e, codec, f) : -ENOMEM;
    if (r < 0)
        av_close(&made);
    else
        *out = made;
    return r;
}

/* The first units of x264's first picture say which x264 it was: hundreds of bytes, and a stream
 * would not depend on its planes alone. Returns the packet's bytes without that. */
static size_t without_version(enum video_codec codec, uint8_t *data, size_t len)
{
    if (codec != VIDEO_H264)
        return len;
    uint8_t *at = memmem(data, len, "\0\0\1\6\5", 5);
    if (!at)
        return len;
    uint8_t *from = at > data && !at[-1] ? at - 1 : at;
    uint8_t *next = memmem(at + 3, (size_t)(data + len - at) - 3, "\0\0\1", 3);
    if (!next)
        return len;
    next -= !next[-1];
    memmove(from, next, (size_t)(data + len - next));
    return len - (size_t)(next - from);
}

/* Moves the packets that are ready to `out`. */
static int take_packets(struct av_encoder *e)
{
    struct video_out *out = e->out;
    int r;
    while ((r = avcodec_receive_packet(e->av, e->packet)) == 0) {
        const size_t len = e->packet->flags & AV_PKT_FLAG_KEY
                               ? without_version(e->codec, e->packet->data, (size_t)e->packet->size)
                               : (size_t)e->packet->size;
        const bool fits = len <= out->cap - out->len;
        if (fits) {
            memcpy(out->data + out->len, e->packet->data, len);
            out->len += len;
            out->n_planes++;
        }
        av_packet_unref(e->packet);
        if (!fits)
            return -ENOSPC;
    }
    return r == AVERROR(EAGAIN) || r == AVERROR_EOF ? 0 : error_of(r);
}

static int av_begin(struct video_encoder *encoder, struct video_out *out)
{
    struct av_encoder *e = (struct av_encoder *)encoder;
    e->out = out;
    e->fresh = true;
    e->n_sent = 0;
    e->n_before = out->n_planes;
    return 0;
}

static void keep_nothing(void *opaque, uint8_t *data)
{
    (void)opaque, (void)data;
}

/* The frame points to the caller's memory: the encoders copy what they keep. */
static int fill_frame(struct av_encoder *e, const struct video_plane *plane)
{
    AVFrame *frame = e->frame;
    uint8_t *y = (uint8_t *)(uintptr_t)plane->y; /* nobody writes to it */
    frame->buf[0] = av_buffer_create(y, plane->stride * (size_t)e->av->height, keep_nothing, NULL,
                                     AV_BUFFER_FLAG_READONLY);
    if (!frame->buf[0])
        return -ENOMEM;
    frame->data[0] = y;
    frame->data[1] = (uint8_t *)(uintptr_t)plane->u;
    frame->data[2] = (uint8_t *)(uintptr_t)plane->v;
    frame->linesize[0] = (int)plane->stride;
    frame->linesize[1] = frame->linesize[2] = (int)plane->chroma_stride;
    frame->width = e->av->width;
    frame->height = e->av->height;
    frame->format = e->av->pix_fmt;
    frame->pts = e->pts++;
    frame->pict_type = e->fresh ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    e->fresh = false;
    return 0;
}

static int av_send(struct video_encoder *encoder, const struct video_plane *plane)
{
    struct av_encoder *e = (struct av_encoder *)encoder;
    int r = fill_frame(e, plane);
    if (r < 0)
        return r;
    r = avcodec_send_frame(e->av, e->frame);
    av_frame_unref(e->frame);
    if (r < 0)
        return error_of(r);
    e->n_sent++;
    return take_packets(e);
}

static bool has_all(const struct av_encoder *e)
{
    return e->out->n_planes - e->n_before == e->n_sent;
}

/* One without delay has given everything and goes on; another is drained, and done for. */
static int av_finish(struct video_encoder *encoder)
{
    struct av_encoder *e = (struct av_encoder *)encoder;
    if (has_all(e))
        return 0;
    e->drained = true;
    int r = avcodec_send_frame(e->av, NULL);
    r = r < 0 ? error_of(r) : take_packets(e);
    return r == 0 && !has_all(e) ? -EIO : r;
}

static bool av_can_go_on(const struct video_encoder *encoder)
{
    return !((const struct av_encoder *)encoder)->drained;
}

const struct video_encoder_ops video_av_encoder = {
    .name = "cpu",
    .open = av_open,
    .begin = av_begin,
    .send = av_send,
    .finish = av_finish,
    .can_go_on = av_can_go_on,
    .close = av_close,
};

bool video_av_has_encoder(enum video_codec codec)
{
    return avcodec_find_encoder_by_name(encoder_names[codec]);
}

void video_av_describe(enum video_codec codec, char *line, size_t size)
{
    const unsigned v = avcodec_version();
    const char *version = video_names_version(codec);
    int at = snprintf(line, size, "libavcodec %u.%u.%u", AV_VERSION_MAJOR(v), AV_VERSION_MINOR(v),
                      AV_VERSION_MICRO(v));
    if (at > 0 && (size_t)at < size)
        at += video_av_has_encoder(codec)
                  ? snprintf(line + at, size - (size_t)at, ", encoder %s%s%s", encoder_names[codec],
                             *version ? " " : "", version)
                  : snprintf(line + at, size - (size_t)at, ", which has no %s to encode",
                             encoder_names[codec]);
    if (at > 0 && (size_t)at < size && !avcodec_find_decoder_by_name(decoder_names[codec]))
        snprintf(line + at, size - (size_t)at, ", and no decoder");
}

int video_av_check(enum video_codec codec, const char *name, const char *value)
{
    const AVCodec *found = avcodec_find_encoder_by_name(encoder_names[codec]);
    if (!is_wrapper_option(codec, name))
        return -ENOENT;
    AVCodecContext *av = found ? avcodec_alloc_context3(found) : NULL;
    if (!av)
        return -ENOMEM;
    int r = set_option(av->priv_data, name, value);
    avcodec_free_context(&av);
    return r;
}

/* ---- decoding ---- */

struct video_decoder {
    AVCodecContext *av;
    AVFrame *frame;
    AVPacket *packet;
};

void video_decoder_close(struct video_decoder **decoder)
{
    struct video_decoder *d = *decoder;
    if (!d)
        return;
    avcodec_free_context(&d->av);
    av_frame_free(&d->frame);
    av_packet_free(&d->packet);
    free(d);
    *decoder = NULL;
}

/* Too large a picture is damage; found any later it would look like memory that ran out. */
static enum AVPixelFormat choose_format(AVCodecContext *av, const enum AVPixelFormat *formats)
{
    if ((int64_t)av->coded_width * av->coded_height > av->max_pixels)
        return AV_PIX_FMT_NONE;
    return avcodec_default_get_format(av, formats);
}

/* Buffers come back from earlier pictures: what a damaged stream leaves out shall not show those. (What it
 * leaves out is concealed, which is how h264 notices; take_frames() refuses that.) */
static int get_clean_buffer(AVCodecContext *av, AVFrame *frame, int flags)
{
    int r = avcodec_default_get_buffer2(av, frame, flags);
    for (int i = 0; r >= 0 && i < AV_NUM_DATA_POINTERS && frame->buf[i]; i++)
        memset(frame->buf[i]->data, 0, frame->buf[i]->size);
    return r;
}

/* Pictures in the host's memory: the last is the one that is. */
static enum AVPixelFormat choose_memory(AVCodecContext *av, const enum AVPixelFormat *formats)
{
    enum AVPixelFormat last = AV_PIX_FMT_NONE;
    (void)av;
    for (; *formats != AV_PIX_FMT_NONE; formats++)
        last = *formats;
    return last;
}

static int open_codec_with(struct video_decoder *d, const AVCodec *codec, unsigned width,
                           unsigned height)
{
    AVCodecContext *av = d->av;
    av->log_level_offset = SILENT;
    av->thread_count = 1;
    av->flags |= AV_CODEC_FLAG_UNALIGNED; /* crop exactly */
    av->err_recognition = AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER | AV_EF_EXPLODE;
    if (!av->hw_device_ctx)
        av->get_buffer2 = get_clean_buffer;
    if (!av->get_format || av->get_format == avcodec_default_get_format)
        av->get_format = choose_format;
    av->strict_std_compliance = FF_COMPLIANCE_STRICT; /* pictures' order is not guessed */
    av->max_pixels = (int64_t)width * height;
    return avcodec_open2(av, codec, NULL) < 0 ? -ENOTSUP : 0;
}

/* By name: the machine may know others of a codec. */
static int open_decoder(const char *name, unsigned width, unsigned height, AVBufferRef *device,
                        struct video_decoder **out)
{
    const AVCodec *found = avcodec_find_decoder_by_name(name);
    if (!found)
        return -ENOTSUP;
    struct video_decoder *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    d->av = avcodec_alloc_context3(found);
    d->frame = av_frame_alloc();
    d->packet = av_packet_alloc();
    int r = d->av && d->frame && d->packet ? 0 : -ENOMEM;
    if (r == 0 && device) {
        d->av->hw_device_ctx = av_buffer_ref(device);
        d->av->get_format = choose_memory;
    }
    if (r == 0)
        r = open_codec_with(d, found, width, height);
    if (r < 0)
        video_decoder_close(&d);
    else
        *out = d;
    return r;
}

int video_decoder_open(enum video_codec codec, unsigned width, unsigned height,
                       struct video_decoder **out)
{
    return open_decoder(decoder_names[codec], width, height, NULL, out);
}

#ifdef HAVE_NVENC
static const char *const gpu_decoder_names[] = {
    [VIDEO_H264] = "h264_cuvid", [VIDEO_HEVC] = "hevc_cuvid"};

/* All decoders of the process share the device's primary context, as all encoders do. */
int video_decoder_open_gpu(enum video_codec codec, unsigned width, unsigned height,
                           struct video_decoder **out, char why[VIDEO_WHY_MAX])
{
    AVBufferRef *device = NULL;
    AVDictionary *options = NULL;
    int r = nvenc_find_decoder(why);
    if (r < 0)
        return r;
    snprintf(why, VIDEO_WHY_MAX, "the device does not decode");
    be_silent();
    if (av_dict_set(&options, "primary_ctx", "1", 0) < 0 ||
        av_hwdevice_ctx_create(&device, AV_HWDEVICE_TYPE_CUDA, NULL, options, 0) < 0)
        r = -ENODEV;
    else
        r = open_decoder(gpu_decoder_names[codec], width, height, device, out);
    be_loud();
    av_buffer_unref(&device);
    av_dict_free(&options);
    return r < 0 && r != -ENOMEM ? -ENODEV : r;
}
#endif

/* Luma in plane 0, as it is, without or with chroma that lies apart. */
static int describe(const AVFrame *frame, struct video_picture *picture)
{
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get(frame->format);
    const uint64_t unfit = AV_PIX_FMT_FLAG_BE | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM |
                           AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_BAYER;
    if (!format || format->flags & unfit)
        return -EBADMSG;
    const AVComponentDescriptor *luma = &format->comp[0];
    const int bytes = luma->depth > 8 ? 2 : 1;
    /* the GPU gives 12 bits as the high ones of 16 */
    const bool twelve = frame->format == AV_PIX_FMT_P016LE;
    if (luma->plane || luma->step != bytes || luma->offset || frame->linesize[0] < 0)
        return -EBADMSG;
    const bool is_420 = format->nb_components == 3 && format->log2_chroma_w == 1 &&
                        format->log2_chroma_h == 1 && format->comp[1].plane == 1 &&
                        format->comp[1].step == bytes && frame->linesize[1] >= 0;
    *picture = (struct video_picture){
        .width = (unsigned)frame->width,
        .height = (unsigned)frame->height,
        .bits = twelve ? 12 : (unsigned)luma->depth,
        .shift = twelve ? 4 : (unsigned)luma->shift,
        .y = frame->data[0],
        .u = is_420 ? frame->data[1] : NULL,
        .stride = (size_t)frame->linesize[0],
        .chroma_stride = is_420 ? (size_t)frame->linesize[1] : 0,
    };
    return 0;
}

static int take_frames(struct video_decoder *d, video_take_fn *take, void *arg)
{
    struct video_picture picture;
    int r;
    while ((r = avcodec_receive_frame(d->av, d->frame)) == 0) {
        const bool whole =
            !d->frame->decode_error_flags && !(d->frame->flags & AV_FRAME_FLAG_CORRUPT);
        r = whole ? describe(d->frame, &picture) : -EBADMSG;
        if (r == 0)
            r = take(arg, &picture);
        av_frame_unref(d->frame);
        if (r < 0)
            return r;
    }
    if (r == AVERROR(EAGAIN) || r == AVERROR_EOF)
        return 0;
    return r == AVERROR(ENOMEM) ? -ENOMEM : -EBADMSG;
}

static int send_unit(struct video_decoder *d, const uint8_t *data, size_t len, video_take_fn *take,
                     void *arg)
{
    d->packet->data = (uint8_t *)(uintptr_t)data; /* has no buffer: the library copies it */
    d->packet->size = (int)len;
    int r = avcodec_send_packet(d->av, data ? d->packet : NULL);
    av_packet_unref(d->packet);
    if (r < 0)
        return r == AVERROR(ENOMEM) ? -ENOMEM : -EBADMSG;
    return take_frames(d, take, arg);
}

int video_decoder_send(struct video_decoder *d, const uint8_t *data, size_t len,
                       video_take_fn *take, void *arg)
{
    if (len > INT_MAX - AV_INPUT_BUFFER_PADDING_SIZE)
        return -EBADMSG;
    be_silent();
    int r = send_unit(d, data, len, take, arg);
    be_loud();
    return r;
}

void video_decoder_reset(struct video_decoder *d)
{
    avcodec_flush_buffers(d->av);
    d->av->has_b_frames = 0; /* what it has come to expect of one stream it shall not of the next */
}
