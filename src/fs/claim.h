/* Opening a store that its last mount may still be storing into. */
#ifndef SQYFS_FS_CLAIM_H
#define SQYFS_FS_CLAIM_H

#include <stddef.h>
#include <stdint.h>

#include "fs/options.h"
#include "fs/start.h"

#define CLAIM_WAIT_MS 120000 /* a full spool takes most disks less */

/* As volume_open(). The process of a mount lives until all is stored, so an unmounted store may be
 * locked for a while: that is waited for, for `wait_ms` at most, and told on standard error. A store
 * that is mounted fails at once. Ends too when a signal to end is pending or nobody waits for the
 * mount any more. The signals must be blocked. */
int claim_volume(const struct options *options, const struct start *start, int64_t wait_ms,
                 char *why, size_t why_len, struct volume **out);

#endif
