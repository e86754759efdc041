/* A store in a temporary folder, opened without a mount, and files in it written as a mount would.
 */
#ifndef SQYFS_TESTS_VOLUME_RIG_H
#define SQYFS_TESTS_VOLUME_RIG_H

#include <stdint.h>

#include "volume/volume.h"

struct rig {
    char path[96];
    struct volume_config config;
    struct volume *volume;
};

void rig_start(struct rig *rig);
void rig_open(struct rig *rig);  /* (again) */
void rig_close(struct rig *rig); /* drains; must succeed */
void rig_stop(struct rig *rig);  /* and removes the store */

/* A new file, opened for writing. */
struct stack *rig_create(struct rig *rig, const char *name);
/* An existing one, not opened. */
struct stack *rig_find(struct rig *rig, const char *name);

void rig_write(struct stack *stack, const void *data, size_t len, uint64_t off);
/* Size and content are those of data[0 .. len). */
void rig_expect(struct stack *stack, const uint8_t *data, uint64_t len);
const char *rig_state(struct stack *stack);

/* A TIFF of noise-like 16-bit planes in out[0 .. returned length); planes of one size.
 * RIG_CONTIGUOUS: one IFD first, ImageJ-like, planes after it from an odd offset;
 * RIG_PAGES: plane, IFD, plane, IFD; RIG_IFDS_LAST: voxels first, all IFDs at the end; RIG_ONE_FIRST: one
 * more plane at 200 with its IFD before it, then as that; RIG_THUMBNAIL: it has 64 x 64 voxels. */
enum rig_tiff { RIG_CONTIGUOUS, RIG_PAGES, RIG_IFDS_LAST, RIG_ONE_FIRST, RIG_THUMBNAIL };
size_t rig_tiff(enum rig_tiff kind, uint32_t width, uint32_t height, uint32_t planes, uint8_t *out);
size_t rig_tiff_bound(uint32_t width, uint32_t height, uint32_t planes);

uint64_t rig_random(uint64_t *seed);

#endif
