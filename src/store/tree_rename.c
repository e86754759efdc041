#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/origin.h"
#include "store/tree_impl.h"

/* A foreign file shows under the name of a TIFF stack and no other; a copy of it may have any. 0,
 * -EXDEV where it must be copied, or the errors of origin_is_foreign(). */
static int may_be_named(int dir_fd, const struct spelled *file, const char *name)
{
    if (tree_is_misplaced(file->st.st_mode, file->blob, name))
        return -EXDEV;
    bool depends = file->blob && !names_is_tiff(name);
    int r = depends ? origin_is_foreign(dir_fd, spelling_of(file)) : 0;
    return r > 0 ? -EXDEV : r;
}

/* Both names change places; each must then be spelled for what it is. */
static int exchange(const struct tree *tree, const struct tree_end *from, const struct spelled *a,
                    const struct tree_end *to, const struct spelled *b)
{
    char a_path[NAMES_MAX], b_path[NAMES_MAX];
    if (names_to_stored(to->name, a->blob, b_path) < 0 ||
        names_to_stored(from->name, b->blob, a_path) < 0)
        return -EINVAL;
    if (strcmp(b_path, spelling_of(b)) != 0 || strcmp(a_path, spelling_of(a)) != 0)
        return -EINVAL;
    int r = may_be_named(from->dir_fd, a, to->name);
    if (r == 0)
        r = may_be_named(to->dir_fd, b, from->name);
    if (r < 0)
        return r == -EXDEV ? -EINVAL : r;
    r = spelling_drop_shadows(from->dir_fd, a);
    if (r == 0)
        r = spelling_drop_shadows(to->dir_fd, b);
    return r < 0 ? r
                 : tree->io->rename(tree->io, from->dir_fd, a_path, to->dir_fd, b_path,
                                    RENAME_EXCHANGE);
}

int tree_move(const struct tree *tree, const struct tree_end *from, const char *a_path,
              const struct tree_end *to, const char *path, bool fresh)
{
    const struct io *io = tree->io;
    if (fresh) {
        int r = io->rename(io, from->dir_fd, a_path, to->dir_fd, path, RENAME_NOREPLACE);
        if (r != -EINVAL && r != -ENOSYS) /* a filesystem that has no such thing */
            return r;
        struct stat st;
        if (fstatat(to->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return -EEXIST;
    }
    return io->rename(io, from->dir_fd, a_path, to->dir_fd, path, 0);
}

/* A blob over something whose spelling wins: that one is visible until it is unlinked, and the blob
 * keeps its old name until then. */
static int move_below(const struct tree_end *from, const char *a_path, const struct tree_end *to,
                      const char *path, const char *old_path)
{
    if (linkat(from->dir_fd, a_path, to->dir_fd, path, 0) < 0) {
        bool no_links = errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK;
        return no_links ? -EXDEV : -errno;
    }
    if (unlinkat(to->dir_fd, old_path, 0) < 0) {
        int r = -errno;
        unlinkat(to->dir_fd, path, 0);
        return r;
    }
    return unlinkat(from->dir_fd, a_path, 0) < 0 ? -errno : 0;
}

static int replace(const struct tree *tree, const struct tree_end *from, const struct spelled *a,
                   const struct tree_end *to, const struct spelled *b, const char *path)
{
    bool a_dir = S_ISDIR(a->st.st_mode), b_dir = S_ISDIR(b->st.st_mode);
    if (a_dir != b_dir)
        return b_dir ? -EISDIR : -ENOTDIR;
    if (a->st.st_ino == b->st.st_ino && a->st.st_dev == b->st.st_dev)
        return 0; /* two links of one file: rename(2) does nothing */
    int r = spelling_prepare_removal(to->dir_fd, b);
    if (r < 0)
        return r;
    if (strcmp(path, spelling_of(b)) == 0)
        return tree_move(tree, from, spelling_of(a), to, path, false);
    if (spelling_rank(&b->spellings, path) > b->rank)
        return move_below(from, spelling_of(a), to, path, spelling_of(b));
    r = tree_move(tree, from, spelling_of(a), to, path, true);
    return r < 0 ? r : spelling_remove(to->dir_fd, spelling_of(b));
}

static int rename_locked(const struct tree *tree, const struct tree_end *from,
                         const struct tree_end *to, unsigned flags)
{
    if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE)
        return -EINVAL;
    if (tree_is_reserved(tree, from->dir_fd, from->name))
        return -ENOENT;
    if (tree_is_reserved(tree, to->dir_fd, to->name))
        return -EACCES;
    struct spelled a, b;
    int r = spelling_find(from->dir_fd, from->name, &a);
    if (r < 0)
        return r;
    int there = spelling_find(to->dir_fd, to->name, &b);
    if (there < 0 && (there != -ENOENT || (flags & RENAME_EXCHANGE)))
        return there;
    if (flags & RENAME_EXCHANGE)
        return exchange(tree, from, &a, to, &b);
    if (there == 0 && (flags & RENAME_NOREPLACE))
        return -EEXIST;
    r = may_be_named(from->dir_fd, &a, to->name);
    if (r < 0)
        return r;
    char path[NAMES_MAX];
    r = names_to_stored(to->name, a.blob, path);
    if (r == -ENAMETOOLONG && names_to_stored(to->name, false, path) == 0)
        return -EXDEV; /* for a blob only: a copy under this name is a plain file */
    if (r == 0)
        r = spelling_drop_shadows(from->dir_fd, &a);
    if (r < 0)
        return r;
    return there == 0 ? replace(tree, from, &a, to, &b, path)
                      : tree_move(tree, from, spelling_of(&a), to, path, true);
}

int tree_rename(struct tree *tree, int from_dir, const char *from, int to_dir, const char *to,
                unsigned flags)
{
    pthread_rwlock_wrlock(&tree->lock);
    int r = rename_locked(tree, &(struct tree_end){from_dir, from}, &(struct tree_end){to_dir, to},
                          flags);
    pthread_rwlock_unlock(&tree->lock);
    return r;
}
