/* What this machine can do with video. As stage_desc.notes. */
#ifndef SQYFS_CODEC_VIDEO_NOTES_H
#define SQYFS_CODEC_VIDEO_NOTES_H

#include "codec/stage.h"

void video_notes(const struct stage_desc *desc, FILE *f);

#endif
