/* Rows of the index made from the store alone, so that `sqyctl reindex`, a scan and a mount that
 * has just written a checkpoint all say the same of one state of one blob.
 *
 * Walks go by descriptors, follow no symbolic link, and leave out what the mount does not show:
 * reserved names at the root, and an x.sqy beside an x. */
#ifndef SQYFS_VOLUME_SCAN_H
#define SQYFS_VOLUME_SCAN_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/io.h"
#include "store/blob.h"
#include "store/index.h"
#include "volume/archive_note.h"

/* Room for the short spelling of a pipeline; longer ones (reorder maps) are cut off in the index.
 */
#define SCAN_PIPELINE_MAX 256

/* Directories deeper than this count as unread: each level of a walk holds a descriptor. */
#define SCAN_MAX_DEPTH 500

/* A row and the strings that it points to: do not copy the struct. `row.path` is the caller's. */
struct scan_row {
    struct index_row row;
    char pipeline[SCAN_PIPELINE_MAX];
    char quality[ARCHIVE_QUALITY_MAX], archive[ARCHIVE_POLICY_MAX];
};

/* The row of an open blob as of its last checkpoint (none may be written meanwhile). `backing` is
 * the stat of its file, `path` its visible path. Reads nothing. row.state is "stored". 0 or
 * -ENOMEM. */
int scan_row(struct blob *blob, const struct stat *backing, const char *path, struct scan_row *out);

/* The same for a file that is not open: opens the blob behind `fd` (borrowed) for reading. What
 * cannot be opened as a blob gets a row too, state "damaged"; an upstream blob the row that its
 * header gives. 0 or a negative errno when it could not be read. */
int scan_row_file(const struct io *io, int fd, const struct stat *backing, const char *path,
                  struct scan_row *out);

/* Of a blob's bytes those that no extent refers to, where they are enough to make compacting it worth while;
 * else 0. */
uint64_t scan_dead(const struct blob_stats *stats);

/* The header of any sqeazy blob. 0 (the caller frees it), -EBADMSG where it is none, or another
 * negative errno. */
int scan_header_read(const struct io *io, int fd, struct sqy_header *out);

/* Whether the end of a blob is missing that was written to its end: its header, rewritten when a
 * stack is closed, says how much there was. Such a file passes for an older, or an empty, stack.
 * `header_lost` (or NULL): the header cannot be read. 1, 0 or a negative errno. */
int scan_is_cut(const struct io *io, int fd, struct blob *blob, bool *header_lost);
/* Planes, rows and width that a header tells of (axes above three fold into the planes), and the
 * bytes of the volume. 0, or -EBADMSG where the shape is empty or beyond 63 bits. */
int scan_header_box(const struct sqy_header *header, uint64_t shape[3], uint64_t *bytes);

struct scan_file {
    int dir_fd;              /* directory that has it */
    const char *stored;      /* name there */
    const char *path;        /* visible, relative to where the walk began */
    const char *stored_path; /* the same with the names that lie there */
    bool blob; /* a regular file under the blob spelling; else any other regular file */
    struct stat st;
};

/* != 0 stops the walk. */
typedef int scan_walk_fn(void *ctx, const struct scan_file *file);

/* Every regular file below `dir_fd` (borrowed). `is_root`: it is a store's root, reserved names are
 * left out. Directories that cannot be read are counted in *n_unread (may be NULL) and passed over.
 * Returns what fn returned, 0, or a negative errno. */
int scan_walk(int dir_fd, bool is_root, scan_walk_fn *fn, void *ctx, unsigned *n_unread);

/* The other way round: every blob below `dir_fd` that the mount does not show, because another file
 * has its name there. Only `stored`, `stored_path`, `dir_fd` and `st` are set. */
int scan_hidden(int dir_fd, bool is_root, scan_walk_fn *fn, void *ctx);

/* A row of every blob of a store. Returns what fn returned, 0, or a negative errno. */
int scan_store(int root_fd, index_row_fn *fn, void *ctx);

#endif
