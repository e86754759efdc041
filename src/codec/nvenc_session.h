/* One open session of a device's encoder. Only nvenc*.c includes this.
 *
 * Frames go round a ring of slots, each a pinned buffer on the host, a buffer on the device that is
 * registered with the encoder, and a buffer for what is coded:
 *
 *     free --submit()--> in flight: copied by the stream, mapped, handed to the encoder
 *       ^                  |
 *       +----collect()-----+  waits for the coded bytes, copies them, unmaps
 *
 * in the order of the planes; all are free between two streams. */
#ifndef SQYFS_CODEC_NVENC_SESSION_H
#define SQYFS_CODEC_NVENC_SESSION_H

#include "codec/nvenc_driver.h"
#include "codec/video_encoder.h"

struct nvenc_settings {
    uint32_t width, rows; /* of the planes that are sent */
    uint32_t coded_width,
        coded_rows; /* even; planes go on with their last column, their last row */
    bool hevc;
    bool lossless;  /* the device's lossless mode; `qp` means nothing then */
    bool chroma;    /* planes bring theirs; else it is grey */
    uint8_t bits;   /* 8, or 10 (HEVC alone): of 16-bit samples the low ones */
    uint8_t qp;     /* 0 .. NVENC_QP_MAX, of every plane */
    uint8_t preset; /* 1 .. NVENC_PRESET_MAX: fastest .. smallest */
    uint32_t group; /* planes, 0: all of a stream are one */
};

#define NVENC_QP_MAX     51
#define NVENC_PRESET_MAX 7

struct nvenc_session;

/* What a device says of one codec. */
struct nvenc_caps {
    bool codec, ten_bits, lossless;
    int min_width, max_width, min_rows, max_rows;
};

/* 0, -ENOTSUP where the device never takes such settings, -ENODEV where it cannot encode at all or not
 * now, -ENOMEM; the reason in `why`. The driver must outlive the session. */
int nvenc_session_open(const struct nvenc_driver *driver, int device,
                       const struct nvenc_settings *settings, struct nvenc_session **out,
                       char why[VIDEO_WHY_MAX]);
void nvenc_session_close(struct nvenc_session **session);
/* As video_encoder_ops'. After an error the session is good for nothing but being closed. */
int nvenc_session_begin(struct nvenc_session *session, struct video_out *out);
int nvenc_session_send(struct nvenc_session *session, const struct video_plane *plane);
int nvenc_session_finish(struct nvenc_session *session);
/* Why the last of these failed; "" where none did. */
const char *nvenc_session_why(const struct nvenc_session *session);

/* Asks a device by opening a session for a moment. 0 or a negative errno and `why`. */
int nvenc_session_probe(const struct nvenc_driver *driver, int device, struct nvenc_caps *h264,
                        struct nvenc_caps *hevc, char why[VIDEO_WHY_MAX]);

#endif
