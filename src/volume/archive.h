/* Encoding a closed stack anew for the archive, perhaps with loss.
 *
 *   what is to be done   archive_all() walks the rows of the index and compares each with the policy of its
 *                        directory
 *   may it be            archive_prepare(): never what has lost something already, never what carries
 *                        hashes of its pixels
 *   doing it             archive_write() writes a copy, archive_check() compares it with the file as it is,
 *                        bound and digests included
 *   taking its place     compact.c, by one rename
 */
#ifndef SQYFS_VOLUME_ARCHIVE_H
#define SQYFS_VOLUME_ARCHIVE_H

#include "volume/archive_note.h"
#include "volume/coder.h"
#include "volume/pack.h"

struct stack;
struct volume;

struct archive {
    const struct archive_policy *policy;
    const char *by;                /* who does it, for the note: a program */
    struct sqy_pipeline *pipeline; /* the policy's, with the model of the noise */
    struct sqy_pipeline *lossless;
    bool has_noise;
    struct sqy_noise noise;
    uint32_t chunk;     /* target of a chunk */
    const char *left;   /* why the stack stays as it is; a constant */
    bool wrong;         /* ... and nobody expected that */
    enum sqy_type type; /* of the voxels that may lose something */
    uint64_t lossy_chunks;
};

/* Looks at a stack, whose transition keeps everybody else out, and settles all of *archive but policy and `by`.
 * `blob`: what it is stored as, or NULL. `options` as for a copy without loss. archive_clear() in any case. -ENODATA with `left`, or another error. */
int archive_prepare(struct archive *archive, struct blob *blob, const struct pack_source *source,
                    const struct pack_options *options);
/* Writes the copy into the empty file `fd` and proves it. Errors as above. */
int archive_write(struct archive *archive, uint64_t stored_bytes, const struct pack_source *source,
                  const struct pack_options *options, int fd);
void archive_clear(struct archive *archive);
/* Whether the policy of a directory is the one that the copy was written for. */
bool archive_is_wanted(const struct archive *archive, struct policy *policy, const char *dir);

/* Compares what the blob in `fd` gives with the source, from first byte to last: chunks that are not BLOB_LOSSY
 * byte by byte, the others voxel by voxel. Fills the note's receipt and digests. -EDOM where a byte differs that must
 * not, or a voxel by more than the note's bound. */
int archive_check(const struct pack_source *source, const struct io *io, int fd,
                  struct archive_note *note);

/* Goes through all rows of the index. 0: all is done; else what was not is due still. */
int archive_all(struct volume *volume);

#endif
