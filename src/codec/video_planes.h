/* Voxels of a box as planes of video, and back. */
#ifndef SQYFS_CODEC_VIDEO_PLANES_H
#define SQYFS_CODEC_VIDEO_PLANES_H

#include "codec/stage.h"
#include "codec/video_decoder.h"
#include "codec/video_encoder.h"

enum video_form {
    VIDEO_FORM_LUMA, /* a voxel is a sample of luma */
    VIDEO_FORM_MINIMA, /* sqeazy's for uint16: luma above the minimum of its block of 4 x 2, which lies
                          in the first chroma */
};

/* How planes lie in pictures; `bits`: 0 while it is not known. */
struct video_layout {
    enum video_form form;
    unsigned bits;
    enum video_chroma chroma;
    size_t rows, width;           /* of a plane */
    unsigned pic_rows, pic_width; /* padded by repeating the last ones */
    size_t size;                  /* bytes of a voxel */
};

/* The bits of the largest of `n` samples that are at least 8. */
unsigned video_bits_of(const uint8_t *in, size_t n, size_t size);
/* Whether no block of minima spans more than a byte, in a plane of samples of two bytes. */
bool video_minima_hold(const uint8_t *in, size_t rows, size_t width);
/* Bytes that video_plane_fill() needs. */
size_t video_plane_bytes(const struct video_layout *layout);
/* A plane at `in` as a picture, in `room` or where it lies already. */
void video_plane_fill(const struct video_layout *layout, const uint8_t *in, uint8_t *room,
                      struct video_plane *out);
/* The way back; -EBADMSG where the picture is not of that layout. */
int video_plane_read(const struct video_layout *layout, const struct video_picture *picture,
                     uint8_t *out);

#endif
