/* Which arguments an encoder may be given. */
#ifndef SQYFS_CODEC_VIDEO_CHECK_H
#define SQYFS_CODEC_VIDEO_CHECK_H

#include "codec/arg.h"
#include "codec/video_args.h"

/* 0, or -EINVAL with args->items[*which] as the culprit and what is wrong in `why`. */
int video_check_args(enum video_codec codec, const struct video_args *args, unsigned *which,
                     char why[ARG_WHY_MAX]);
/* The same, and whether an encoder opens with all of them. *culprit: a name in the pipeline's text.
 * -ENOTSUP where this build has no such encoder. As stage_desc.check_encoder. */
int video_check_stage(const struct stage *stage, char culprit[STAGE_WORD_MAX],
                      char why[ARG_WHY_MAX]);

/* ---- video_names.c: x264's and x265's own parsers ---- */

/* 0, -ENOENT where the encoder has no such argument, -EINVAL where it does not take the value, -ENOTSUP
 * where this build cannot say, for it was made without the encoder's header. */
int video_names_check(enum video_codec codec, const char *name, const char *value);

/* The encoder's version; "" where it is not known. */
const char *video_names_version(enum video_codec codec);

/* ---- video_av.c ---- */

/* The same of libavcodec's own options; and whether it has the encoder at all. */
int video_av_check(enum video_codec codec, const char *name, const char *value);
bool video_av_has_encoder(enum video_codec codec);
/* One line: the library, its encoder and its decoder. */
void video_av_describe(enum video_codec codec, char *line, size_t size);

#endif
