/* What the background filters share. They take away and do not give back: undone, the voxels stay
 * as they are. */
#ifndef SQYFS_CODEC_BACKGROUND_H
#define SQYFS_CODEC_BACKGROUND_H

#include "codec/stage.h"

/* Voxels above `threshold` less it, 0 for the others. */
void background_subtract(const struct shape *shape, unsigned threshold, const uint8_t *in,
                         uint8_t *out);
int background_undo(struct sqy_ctx *ctx, const struct stage *stage, const struct shape *shape,
                    const uint8_t *in, uint8_t *out);

#endif
