/* Frames of LZ4 and skippable ones, without decoding them. */
#ifndef SQYFS_CTL_FRAMES_H
#define SQYFS_CTL_FRAMES_H

#include <stddef.h>
#include <stdint.h>

/* How many bytes from the front are whole frames: what is left is cut off or no frame. */
size_t frames_whole(const uint8_t *data, size_t len);

#endif
