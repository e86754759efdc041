/* What makes one stream out of planes: libavcodec's encoders (video_av.c), or a GPU's (nvenc.c).
 *
 *     open() --> begin() --> send() ... send() --> finish() --> begin() ...      --> close()
 *
 * A stream is Annex-B, its first picture an IDR picture with its parameter sets in front, one access
 * unit a plane; no picture refers to one before the IDR. An encoder is used by one thread at a time.
 * After any error it can only be closed; what out->n_planes counts then is whole and stays. */
#ifndef SQYFS_CODEC_VIDEO_ENCODER_H
#define SQYFS_CODEC_VIDEO_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum video_codec { VIDEO_H264, VIDEO_HEVC };
enum video_chroma {
    VIDEO_GRAY, /* luma alone; an encoder that has no such format adds constant chroma */
    VIDEO_420,  /* chroma is given: video_plane.u and .v */
};

/* Names and values as the pipeline's text has them, in its order: those that are the encoder's. */
struct video_setting {
    const char *name, *value;
};

#define VIDEO_MAX_SETTINGS 32
#define VIDEO_WHY_MAX      120 /* bytes of a reason and its NUL */

struct video_format {
    enum video_codec codec;
    unsigned width, height; /* luma; even with VIDEO_420 */
    unsigned bits;          /* 8; or 10, 12: samples are 16 bit, little-endian, low bits */
    enum video_chroma chroma;
    bool lossless;       /* what is decoded must be what was sent, or open() fails */
    unsigned group;      /* an IDR picture this often at least; 0: only where begin() was called */
    unsigned n_settings; /* none, and none of x264's or x265's defaults: sqeazy's own */
    struct video_setting settings[VIDEO_MAX_SETTINGS];
    unsigned threads; /* >= 1 */
    char *why; /* VIDEO_WHY_MAX bytes: filled where open() is -ENOTSUP or -ENODEV; may be NULL */
};

/* The caller's memory, free again when send() returns. */
struct video_plane {
    const uint8_t *y, *u, *v;     /* u and v: NULL with VIDEO_GRAY */
    size_t stride, chroma_stride; /* bytes */
};

struct video_out {
    uint8_t *data;
    size_t len, cap;
    unsigned n_planes; /* the first of those sent that are wholly in `data` */
};

struct video_encoder;

struct video_encoder_ops {
    const char *name; /* as in encoder=NAME */
    /* -ENOTSUP for what it cannot do (codec, depth, size, lossless, settings), -ENODEV where it is not there or not
     * now, -ENOMEM. On success the caller owns *out. Nothing of `format` is kept. */
    int (*open)(const struct video_format *format, struct video_encoder **out);
    /* `out` is filled until finish() returns. */
    int (*begin)(struct video_encoder *encoder, struct video_out *out);
    /* -ENOSPC, -EIO where the encoder broke (the GPU went away: another carries on at out->n_planes), -ENOMEM. */
    int (*send)(struct video_encoder *encoder, const struct video_plane *plane);
    int (*finish)(struct video_encoder *encoder);
    /* Whether begin() may be called once more; else it has to be closed. */
    bool (*can_go_on)(const struct video_encoder *encoder);
    void (*close)(struct video_encoder **encoder);
};

/* Every implementation's state begins with this. */
struct video_encoder {
    const struct video_encoder_ops *ops;
    char why[VIDEO_WHY_MAX]; /* of -EIO */
};

extern const struct video_encoder_ops video_av_encoder;    /* libx264, libx265 */
extern const struct video_encoder_ops video_nvenc_encoder; /* where the build has it: HAVE_NVENC */

#endif
