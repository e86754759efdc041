/* What the stand-in encodes with. */
#include "standin_impl.h"

#include <libavcodec/avcodec.h>
#include <libavutil/opt.h>
#include <stdio.h>
#include <stdlib.h>

struct standin_encoder {
    struct standin_encoder_settings settings;
    AVCodecContext *codec;
    AVFrame *frame;
    AVPacket *packet;
    int64_t n;
};

static void set_h264(AVCodecContext *codec, const struct standin_encoder_settings *s)
{
    av_opt_set_int(codec->priv_data, "qp", s->lossless ? 0 : s->qp, 0);
}

static void set_hevc(AVCodecContext *codec, const struct standin_encoder_settings *s)
{
    char params[160];
    if (!s->lossless)
        av_opt_set_int(codec->priv_data, "qp", s->qp, 0);
    snprintf(params, sizeof(params),
             "log-level=none:pools=none:frame-threads=1:scenecut=0:info=0%s",
             s->lossless ? ":lossless=1" : "");
    av_opt_set(codec->priv_data, "x265-params", params, 0);
}

static bool open_codec(struct standin_encoder *encoder)
{
    const struct standin_encoder_settings *s = &encoder->settings;
    const AVCodec *which = avcodec_find_encoder_by_name(s->hevc ? "libx265" : "libx264");
    encoder->codec = which ? avcodec_alloc_context3(which) : NULL;
    if (!encoder->codec)
        return false;
    AVCodecContext *codec = encoder->codec;
    codec->log_level_offset = 128; /* silence */
    codec->width = s->width;
    codec->height = s->rows;
    codec->time_base = (AVRational){1, 25};
    codec->pix_fmt = s->bits == 10 ? AV_PIX_FMT_YUV420P10 : AV_PIX_FMT_YUV420P;
    codec->gop_size = 1 << 20;
    codec->max_b_frames = 0;
    codec->thread_count = 1;
    av_opt_set(codec->priv_data, "preset", "ultrafast", 0);
    av_opt_set(codec->priv_data, "tune", "zerolatency", 0);
    av_opt_set_int(codec->priv_data, "forced-idr", 1, 0);
    if (s->hevc)
        set_hevc(codec, s);
    else
        set_h264(codec, s);
    return avcodec_open2(codec, which, NULL) == 0;
}

static bool open_frame(struct standin_encoder *encoder)
{
    encoder->packet = av_packet_alloc();
    encoder->frame = av_frame_alloc();
    if (!encoder->packet || !encoder->frame)
        return false;
    encoder->frame->width = encoder->codec->width;
    encoder->frame->height = encoder->codec->height;
    encoder->frame->format = encoder->codec->pix_fmt;
    return av_frame_get_buffer(encoder->frame, 0) == 0;
}

struct standin_encoder *standin_encoder_open(const struct standin_encoder_settings *settings)
{
    struct standin_encoder *encoder = calloc(1, sizeof(*encoder));
    if (!encoder)
        return NULL;
    encoder->settings = *settings;
    if (!open_codec(encoder) || !open_frame(encoder))
        standin_encoder_close(&encoder);
    return encoder;
}

void standin_encoder_close(struct standin_encoder **pointer)
{
    struct standin_encoder *encoder = *pointer;
    if (!encoder)
        return;
    av_packet_free(&encoder->packet);
    av_frame_free(&encoder->frame);
    avcodec_free_context(&encoder->codec);
    free(encoder);
    *pointer = NULL;
}

static uint16_t p010(const uint8_t *at)
{
    uint16_t value = (uint16_t)(at[0] | at[1] << 8);
    if (value & 63)
        standin_misuse("ten bits that are not the high ones");
    return value >> 6;
}

/* Sample x of every `step` of the row to x of plane `which`, row y. */
static void copy_row(struct standin_encoder *encoder, int which, int y, const uint8_t *in, int step,
                     int first, int n)
{
    uint8_t *row = encoder->frame->data[which] + y * encoder->frame->linesize[which];
    for (int x = 0; x < n; x++) {
        const int at = x * step + first;
        if (encoder->settings.bits == 8) {
            row[x] = in[at];
        } else {
            const uint16_t value = p010(in + 2 * at);
            row[2 * x] = (uint8_t)value;
            row[2 * x + 1] = (uint8_t)(value >> 8);
        }
    }
}

static void fill(struct standin_encoder *encoder, const uint8_t *luma, size_t pitch)
{
    const int width = encoder->settings.width, rows = encoder->settings.rows;
    for (int y = 0; y < rows; y++)
        copy_row(encoder, 0, y, luma + (size_t)y * pitch, 1, 0, width);
    for (int y = 0; y < rows / 2; y++) {
        const uint8_t *chroma = luma + (size_t)(rows + y) * pitch;
        copy_row(encoder, 1, y, chroma, 2, 0, width / 2);
        copy_row(encoder, 2, y, chroma, 2, 1, width / 2);
    }
}

size_t standin_encoder_encode(struct standin_encoder *encoder, const uint8_t *luma, size_t pitch,
                              bool idr, const uint8_t **out)
{
    av_packet_unref(encoder->packet);
    if (av_frame_make_writable(encoder->frame) < 0)
        return 0;
    fill(encoder, luma, pitch);
    encoder->frame->pts = encoder->n++;
    encoder->frame->pict_type = idr ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    if (avcodec_send_frame(encoder->codec, encoder->frame) < 0 ||
        avcodec_receive_packet(encoder->codec, encoder->packet) < 0)
        return 0;
    *out = encoder->packet->data;
    return (size_t)encoder->packet->size;
}
