/* The arguments of h264 and hevc: ours, and any others, which are the encoder's. */
#ifndef SQYFS_CODEC_VIDEO_ARGS_H
#define SQYFS_CODEC_VIDEO_ARGS_H

#include "codec/stage.h"
#include "codec/video_encoder.h"

#include <stdio.h>

/* Ours, as in stage.arg. What is the encoder's is text in stage.bytes, "preset=fast,crf=20", NULL for
 * sqeazy's defaults; it is read without judging it, for decoding does not depend on it. */
enum { VIDEO_ARG_GOP, VIDEO_ARG_BITS, VIDEO_ARG_ENCODER, VIDEO_ARG_THREADS };
enum { VIDEO_ENCODER_AUTO, VIDEO_ENCODER_CPU, VIDEO_ENCODER_NVENC };

#define VIDEO_TEXT_MAX 1024 /* bytes of all the encoder's arguments */
#define VIDEO_ARGS                                                                                 \
    {                                                                                              \
        [VIDEO_ARG_GOP] = {.name = "gop", .min = 1, .max = 4096, .def = 8},                        \
        [VIDEO_ARG_BITS] = {.name = "bits", .min = 8, .max = 12, .def = 0, .multiple_of = 2},      \
        [VIDEO_ARG_ENCODER] = {.name = "encoder",                                                  \
                               .kind = STAGE_ARG_WORD,                                             \
                               .words = video_encoder_words,                                       \
                               .def = VIDEO_ENCODER_CPU},                                          \
        [VIDEO_ARG_THREADS] = {.name = "threads", .min = 1, .max = 64, .def = 1},                  \
    }

extern const char *const video_encoder_words[];

/* As stage_desc.parse_args, .print_args, .group and .finer. */
int video_args_parse(struct stage *stage, const char *text, size_t *len, char *why);
void video_args_print(const struct stage *stage, bool in_full, FILE *f);
unsigned video_args_group(const struct stage *stage);
bool video_args_finer(struct stage *stage);

/* The encoder's, cut into names and values that lie in `text`. -ENOTSUP where there are too many,
 * -EINVAL where one has no value. */
struct video_args {
    char text[VIDEO_TEXT_MAX];
    unsigned n;
    struct video_setting items[VIDEO_MAX_SETTINGS];
};
int video_args_split(const struct stage *stage, struct video_args *out);
/* NULL where it is not given; the last one counts. */
const char *video_args_value(const struct video_args *args, const char *name);
/* A decimal number, whatever the locale. */
bool video_args_number(const char *text, double *out);
/* Whether they ask for no loss. */
bool video_args_are_lossless(enum video_codec codec, const struct video_args *args);
enum video_codec video_codec_of(const struct stage *stage);

#endif
