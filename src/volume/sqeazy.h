/* What a file of sqeazy's own decodes to. No I/O, no locks. */
#ifndef SQYFS_VOLUME_SQEAZY_H
#define SQYFS_VOLUME_SQEAZY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/sqy.h"
#include "image/tiffout.h"

/* The TIFF stack that shows it. -EBADMSG, or -EOVERFLOW for a shape that TIFF cannot say. */
int sqeazy_plan(const struct sqy_header *header, struct tiffout *out);

/* Whether a file of `bytes` bytes may be that of the stack: what claims far more voxels is damaged,
 * and must not make us ask for the memory. */
bool sqeazy_is_plausible(const struct sqy_header *header, const struct tiffout *plan,
                         uint64_t bytes);

/* All voxels of the plan, `bytes` of them. -EBADMSG for damage, -ENOTSUP for a pipeline or a shape
 * that is not decoded here. */
int sqeazy_decode(const struct sqy_header *header, const void *payload, size_t payload_len,
                  void *voxels, size_t bytes);

#endif
