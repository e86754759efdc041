/* A plain file to a blob in canonical form, and a blob back to the plain file, without a mount.
 *
 * Used by sqyctl encode and decode, by compaction and by conversion of plain files. */
#ifndef SQYFS_VOLUME_PACK_H
#define SQYFS_VOLUME_PACK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/io.h"
#include "codec/sqy.h"
#include "image/layout.h"
#include "store/blob.h"

/* Where the plain bytes come from. read() fills exactly len bytes or returns a negative errno; it
 * is called from several threads. */
struct pack_source {
    int (*read)(void *ctx, void *buf, size_t len, uint64_t off);
    void *ctx;
    uint64_t size;
    struct timespec mtime;
    const char *name; /* for raw policies */
    /* The first byte at or after `off` that is in no hole, -ENXIO where there is none, or another negative
     * errno, which ends the packing; NULL: there are no holes. */
    int64_t (*next_data)(void *ctx, uint64_t off);
};

struct archive_note;
struct coder_loss;

/* What pack_encode() has written. */
struct pack_sums {
    uint64_t chunks, lossy_chunks;
    struct sqy_receipt receipt; /* of the lossy ones */
};

struct pack_options {
    const struct io *io;                 /* NULL: the system's */
    const struct sqy_pipeline *pipeline; /* lossless, but where there is `loss` */
    const struct coder_loss *loss;       /* or NULL; its pipeline is `pipeline` */
    struct pack_sums *sums;              /* or NULL */
    uint32_t chunk;                      /* target bytes; 0: default */
    unsigned threads;                    /* 0: one a core */
    const struct raw_policy *raw;        /* or NULL */
    unsigned n_raw;
    void (*progress)(void *ctx, uint64_t done,
                     uint64_t total); /* or NULL; from the calling thread */
    void *progress_ctx;
    bool (*stop)(
        void *
            arg); /* or NULL; from several threads. True ends it with -ECANCELED, sooner or later */
    void *stop_arg;
};

/* Writes a complete blob into the empty file `fd` (borrowed, read-write): in order, upstream form
 * where pipeline and stack allow it, fdatasync done. 0 or a negative errno. */
int pack_encode(const struct pack_source *source, const struct pack_options *options, int fd);

/* Writes the voxels alone, as a file of sqeazy's own without a key of ours, into the empty file
 * `fd`: the form for pipelines that sqy_pipeline_needs_volume(). -ENOTSUP where file or pipeline do
 * not allow it: *why is then one line that says so. 0 or another negative errno (*why NULL). */
int pack_whole(const struct pack_source *source, const struct pack_options *options, int fd,
               const char **why);

/* The layout of a whole plain file, cut into chunks as the options say. Caller destroys. */
int pack_layout(const struct pack_source *source, const struct pack_options *options,
                struct layout **out);

/* Reads plain bytes out of an open blob, decoding; remembers the last few chunks it decoded, so
 * that reading on is cheap however many extents share a chunk. One thread at a time. `blob` is
 * borrowed. */
struct pack_reader;
int pack_reader_create(struct blob *blob, struct pack_reader **out);
void pack_reader_destroy(struct pack_reader **reader);
/* Exactly len bytes; holes are zeros, and so is what lies past the size. -EBADMSG for damage:
 * *off_bad (or NULL) is then the first plain byte that could not be read. */
int pack_reader_read(struct pack_reader *reader, void *buf, size_t len, uint64_t off,
                     uint64_t *off_bad);

/* blob_find(), which reads the page where it has to. [waits] */
int pack_find(struct blob *blob, uint64_t off, struct blob_extent *extent);
/* Whether any chunk is BLOB_LOSSY: 1, 0 or a negative errno. [waits] */
int pack_is_lossy(struct blob *blob);

/* Type and shape as a blob's header has them; all else is left alone. */
void pack_header_shape(const struct layout_info *info, struct blob_header *header);

/* JSON text for blob_state.meta from a layout; caller frees. And back: fields absent are 0. `lower_rung`:
 * some chunks may have been stored on a lower rung, and are to be encoded anew (volume/ladder.h). `archive`
 * may be NULL; archive_note_parse() is its way back. */
char *pack_meta_write(const struct layout_info *info, bool lower_rung,
                      const struct archive_note *archive);
int pack_meta_parse(const char *meta, struct layout_info *info);
bool pack_meta_lower_rung(const char *meta);
/* A raw volume is cut by a policy that only its mount knows; `meta` (may be NULL) has its shape.
 * Fills all of *raw but the glob; false where `source` is a TIFF, or no volume. */
bool pack_meta_raw(const char *meta, const struct pack_source *source, struct raw_policy *raw);

#endif
