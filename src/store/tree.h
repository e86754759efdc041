/* The store as a tree of names: every name operation of the mount, on both spellings, in the order
 * of steps that leaves the old or the new state whatever step a crash follows, never neither.
 *
 * Directories are given as open descriptors (O_PATH will do), names as the mount shows them. A
 * read-write lock inside makes an operation atomic for lookups in this process; it is a leaf, and is
 * held over the few metadata calls that one operation needs and nothing else.
 *
 * Where both `x` and `x.sqy` exist, `x` wins. A foreign file (store/origin.h) `x.sqy` is `x.tif`; it may
 * be moved, linked and removed as any, but only to names of TIFF stacks (else -EXDEV: copy it), and no
 * operation on another file takes it away: where it hides below one, what needs its spelling is
 * -EEXIST. */
#ifndef SQYFS_STORE_TREE_H
#define SQYFS_STORE_TREE_H

#include <dirent.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/io.h"
#include "store/names.h"

struct tree;

/* Takes ownership of `root_fd` on success; `io` is borrowed. */
int tree_create(const struct io *io, int root_fd, struct tree **out);
void tree_destroy(struct tree **tree);
int tree_root(const struct tree *tree);
/* Who knows by its state that a file is a blob of ours, so that a lookup need not read in it; false: not
 * known. Takes no lock but leaves. Set before anybody else uses the tree. */
typedef bool tree_is_ours_fn(void *ctx, const struct stat *backing);
void tree_ask_of_origin(struct tree *tree, tree_is_ours_fn *is_ours, void *ctx);

struct tree_entry {
    int fd;                 /* O_PATH | O_NOFOLLOW, caller closes */
    bool blob;              /* a regular file under the blob spelling */
    struct stat st;         /* of the backing file */
    char stored[NAMES_MAX]; /* the spelling it was found under */
};
/* -ENOENT also for reserved names at the root. */
int tree_lookup(struct tree *tree, int dir_fd, const char *name, struct tree_entry *out);

/* Creates an empty regular file, read-write; `excl` as O_EXCL; -EEXIST, else opens what is there
 * through tree_lookup() and the caller's own means. Names ending in ".sqy" are made under the blob
 * spelling. Returns an O_RDWR descriptor. */
int tree_create_file(struct tree *tree, int dir_fd, const char *name, mode_t mode, int *fd);
int tree_mkdir(struct tree *tree, int dir_fd, const char *name, mode_t mode);
int tree_symlink(struct tree *tree, const char *target, int dir_fd, const char *name);
int tree_mknod(struct tree *tree, int dir_fd, const char *name, mode_t mode, dev_t rdev);
int tree_unlink(struct tree *tree, int dir_fd, const char *name);
int tree_rmdir(struct tree *tree, int dir_fd, const char *name);
/* `fd` is O_PATH of the file to be linked; `blob` its kind now. */
int tree_link(struct tree *tree, int fd, bool blob, int dir_fd, const char *name);
/* `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE. -EXDEV where only a copy can have that name. */
int tree_rename(struct tree *tree, int from_dir, const char *from, int to_dir, const char *to,
                unsigned flags);

/* Birth: the empty regular file behind `fd` becomes a blob by name (x -> x.sqy), its inode staying.
 * 0; -EBUSY where it has other links; -ESTALE where its name is gone (unlinked, or replaced);
 * -ENAMETOOLONG, -EEXIST where the spelling does not fit or is taken. On error it keeps its name.
 */
int tree_become_blob(struct tree *tree, int fd);
/* The way back, for a blob that was truncated to nothing. Same errors. */
int tree_become_plain(struct tree *tree, int fd);
/* Before the bytes of the file behind `fd` go: where it is foreign and its name says so by that alone,
 * it gets the spelling (x.tif.sqy) that shows the same for whatever is in it. 0 also where it has no
 * name; else the errors of tree_become_blob(). */
int tree_fix_name(struct tree *tree, int fd);
/* Replaces the regular file behind `fd` (either spelling) by the finished blob `temp_name` in
 * directory `temp_dir` on the same filesystem: one rename, and for a plain file the unlink of the
 * old spelling. The directories are synced. The caller has the blob open, so that its inode stays
 * its own. 0; 1: replaced, but a sync failed, so a power cut may undo it; or the errors above, also
 * -EBUSY where it has other links: the file is as it was then, but the blob may be gone. */
int tree_replace(struct tree *tree, int fd, int temp_dir, const char *temp_name);

/* Visible path of an open file or directory relative to the root ("" for the root itself), no
 * leading slash. -ESTALE where it has no name any more, -ENAMETOOLONG where it is longer than
 * `len`. */
int tree_path(struct tree *tree, int fd, char *path, size_t len);

/* Calls fn for every entry of a directory stream, from its beginning, while no name changes its
 * spelling: so none is met twice or not at all. 0, what fn returned if not 0, or a negative errno. */
int tree_list(struct tree *tree, DIR *dir, int (*fn)(void *ctx, const struct dirent *entry),
              void *ctx);

/* Visible name of a directory entry as readdir(3) found it. 1; 0: not to be shown (reserved at the root,
 * a shadowed x.sqy); -EMFILE, -ENFILE, -ENOMEM: not known just now. */
int tree_show(struct tree *tree, int dir_fd, bool is_root, const char *stored,
              char visible[NAMES_MAX]);
/* The same, and what tree_lookup() of that name finds. `ino` is what the directory had the name for: a file that has
 * taken a spelling before that one since is shown all the same. 0; 1 where it is to be shown and not there any
 * more; -ENOENT where it is not to be shown; another error where it cannot be told without opening it. */
int tree_show_open(struct tree *tree, int dir_fd, bool is_root, const char *stored, uint64_t ino,
                   char visible[NAMES_MAX], struct tree_entry *out);

#endif
