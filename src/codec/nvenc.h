/* NVIDIA's video encoder (video_nvenc_encoder) beyond video_encoder.h: when to ask it, what there is.
 *
 * The driver is loaded when it is first asked for; no library is linked. A machine without one, or with a
 * card that has no encoder, loses nothing but speed. H.264 is encoded with 8 bits, HEVC with 8 and 10, as
 * 4:2:0 with grey chroma: all of NVIDIA's decoders read that, and few read monochrome. Odd sizes are coded
 * one column or row larger. Settings are preset (x264's names), qp, and crf, which is taken
 * for qp. */
#ifndef SQYFS_CODEC_NVENC_H
#define SQYFS_CODEC_NVENC_H

#include "codec/video_encoder.h"

/* Keeps a context from asking for a device box by box once that has failed: each failure lets more boxes pass.
 * All zeros at first. */
struct nvenc_gate {
    uint32_t skip;     /* boxes that are still to pass */
    uint32_t patience; /* boxes to pass after the next failure; 0: the first number */
};
/* Whether a box that has no open session may try for one. Counts the box. */
bool nvenc_gate_is_open(struct nvenc_gate *gate);
/* A session could not be opened, or broke. */
void nvenc_gate_failed(struct nvenc_gate *gate);
/* A box was encoded. */
void nvenc_gate_went_well(struct nvenc_gate *gate);

/* Whether there are a device and the driver's decoder, for libavcodec, which finds what is loaded once.
 * 0, or -ENODEV and the reason. */
int nvenc_find_decoder(char why[VIDEO_WHY_MAX]);

/* Lines on the driver and each device: what it can do, or why not. Devices that encode anything, or
 * -ENODEV. */
int nvenc_describe(void (*line)(void *arg, const char *text), void *arg);

#endif
