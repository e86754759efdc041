/* Planes that no directory tells of yet. Many programs write the first directory, then the voxels of
 * all planes, then the other directories: a stack that is longer than memory could not be cut into
 * planes until it ends. So what follows a first plane in one piece is taken for more planes like it,
 * until directories tell otherwise. A wrong guess costs ratio, as everything a layout says. */
#ifndef SQYFS_IMAGE_GUESS_H
#define SQYFS_IMAGE_GUESS_H

#include "image/walk.h"

/* Guesses, where that is due in a file of `size` bytes that is still being written. The slabs lie above
 * all others, until guess_forget(). Returns the size from which on it is due; UINT64_MAX: not as things
 * stand, or done. */
uint64_t guess_planes(struct walk *walk, uint64_t size);
void guess_forget(struct walk *walk);

/* Whether any of a unit is guessed. */
bool guess_has(const struct walk *walk, const struct layout_unit *unit);

#endif
