/* Inside the tree: shared by tree.c (lookup, making, removing), tree_rename.c, tree_place.c (files by
 * descriptor) and tree_replace.c, nobody else. All functions here run under the lock. */
#ifndef SQYFS_STORE_TREE_IMPL_H
#define SQYFS_STORE_TREE_IMPL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "store/spelling.h"
#include "store/tree.h"

struct tree {
    const struct io *io;
    int root_fd;
    char *root_path; /* where the root lay at first; it may be moved. NULL: not known */
    dev_t root_dev;
    ino_t root_ino;
    tree_is_ours_fn *is_ours; /* may be NULL; called under the lock */
    void *is_ours_ctx;
    atomic_uint likely;    /* which spelling was found last; SPELLING_MAX: none. Decides nothing */
    pthread_rwlock_t lock; /* makes the steps of one operation one for tree_lookup(); a leaf lock */
};

/* tree.c */
bool tree_is_reserved(const struct tree *tree, int dir_fd, const char *name);
/* A plain file's bytes under the spelling of blobs would be taken for a blob: such a file has to be
 * copied, as from another filesystem. */
bool tree_is_misplaced(mode_t mode, bool blob, const char *name);

/* tree_rename.c */
struct tree_end {
    int dir_fd;
    const char *name;
};
/* One rename. `fresh`: `path` is free as far as we know; somebody beside the mount may make it now.
 */
int tree_move(const struct tree *tree, const struct tree_end *from, const char *a_path,
              const struct tree_end *to, const char *path, bool fresh);

/* tree_place.c */
int tree_fd_path(int fd, char path[PATH_MAX]);
/* The one name of a regular file, for a change of its spelling. */
struct tree_place {
    int dir_fd;            /* O_PATH, to be closed */
    struct timespec mtime; /* of the directory */
    char stored[NAMES_MAX];
    char visible[NAMES_MAX];
};
/* 0; -EINVAL (no regular file), -EBUSY (several names), -ESTALE (none). */
int tree_place_find(const struct tree *tree, int fd, struct tree_place *out);
/* Nobody sees a change of spelling, so the directory keeps its time; where that is not ours to set,
 * it stays moved. */
void tree_place_keep_mtime(const struct tree_place *place);

#endif
