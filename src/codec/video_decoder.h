/* Pictures out of access units; libavcodec's decoders (video_av.c). */
#ifndef SQYFS_CODEC_VIDEO_DECODER_H
#define SQYFS_CODEC_VIDEO_DECODER_H

#include "codec/video_encoder.h"

/* Valid during the call that hands it over. */
struct video_picture {
    unsigned width, height, bits;
    unsigned shift;       /* of luma: by so much the bits lie above the lowest */
    const uint8_t *y, *u; /* u: NULL but for 4:2:0; samples of more than 8 bits are uint16 */
    size_t stride, chroma_stride; /* bytes */
};

/* Takes the pictures in the order of display; what it returns below 0 ends decoding. */
typedef int video_take_fn(void *arg, const struct video_picture *picture);

struct video_decoder;

/* For pictures of no more than width x height, so that a stream cannot ask for more memory than those
 * need. 0, -ENOTSUP where the library has no such decoder, -ENOMEM. Caller closes. */
int video_decoder_open(enum video_codec codec, unsigned width, unsigned height,
                       struct video_decoder **out);
/* The same by NVIDIA's decoder, which conceals damage; slow to open. -ENODEV where there is none: the reason, if it
 * is worth telling, in `why`. */
int video_decoder_open_gpu(enum video_codec codec, unsigned width, unsigned height,
                           struct video_decoder **out, char why[VIDEO_WHY_MAX]);
void video_decoder_close(struct video_decoder **decoder);
/* One access unit; with `data` NULL the end. -EBADMSG for what is damaged. */
int video_decoder_send(struct video_decoder *decoder, const uint8_t *data, size_t len,
                       video_take_fn *take, void *arg);
/* The next unit begins another stream. */
void video_decoder_reset(struct video_decoder *decoder);

/* ---- video_units.c ---- */

/* Bytes of the first access unit of an Annex-B stream, its picture and what belongs to it; all of them
 * where there is no other. */
size_t video_unit_len(enum video_codec codec, const uint8_t *data, size_t len);
/* Whether all parameter sets name a profile that GPUs read. Of others, as H.264's lossless one, they may
 * make anything. */
bool video_gpu_reads(enum video_codec codec, const uint8_t *data, size_t len);

#endif
