/* Files of sqeazy's own, decoded as a whole: none of their pipelines promises that a part can be had
 * alone. A scratch is one such file in one state, shared by all who have it open; its voxels are
 * decoded once, by the first reader that wants one, and stay until nobody has it open for a while.
 *
 * Voxels and coded bytes lie in memory up to SCRATCH_MEMORY, all files together, and else in a
 * temporary file without a name. What the codec needs beside them is bounded by SCRATCH_WORK.
 *
 * Thread safe. */
#ifndef SQYFS_VOLUME_SCRATCH_H
#define SQYFS_VOLUME_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/io.h"
#include "image/tiffout.h"

#define SCRATCH_MEMORY  (256ull << 20) /* bytes: as much as the cache of chunks has by default */
#define SCRATCH_WORK    (1ull << 30)   /* bytes, of all decodes under way; one always may ... */
#define SCRATCH_SHARE   2u             /* ... up to this share of the machine's memory */
#define SCRATCH_SPARE   (1ull << 30)   /* bytes of disk that temporary files leave to writers */
#define SCRATCH_REST_MS 30000          /* from last use to forgetting: a user may come back */

struct scratch_pool;
struct scratch;

/* `dir_fd`, which is taken over on success, is for temporary files; -1: there is no place for them. */
int scratch_pool_create(const struct io *io, int dir_fd, struct scratch_pool **out);
/* Nobody may use one any more. */
void scratch_pool_destroy(struct scratch_pool **pool);
/* Forgets what nobody uses; to be called now and then. */
void scratch_tick(struct scratch_pool *pool);

/* The scratch of an open file, which it takes over on success. -EBADMSG where its header is none.
 * [waits] */
int scratch_get(struct scratch_pool *pool, int fd, struct scratch **out);
struct scratch *scratch_hold(struct scratch_pool *pool, struct scratch *scratch);
void scratch_put(struct scratch_pool *pool, struct scratch **scratch);

const struct tiffout *scratch_plan(const struct scratch *scratch);
const char *scratch_pipeline(const struct scratch *scratch); /* short spelling */
bool scratch_is_ready(struct scratch_pool *pool, struct scratch *scratch);

/* As stack_read(). The first to meet an error gets what it is: -EBADMSG damaged, -ENOTSUP not
 * decoded here, -EFBIG more memory than SCRATCH_SHARE, -ENOSPC no room for the temporary file, or
 * another; whoever comes later gets -EIO. */
ssize_t scratch_read(struct scratch_pool *pool, struct scratch *scratch, void *buf, size_t len,
                     uint64_t off, bool wait);

#endif
