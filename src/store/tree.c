#include "store/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/origin.h"
#include "store/tree_impl.h"

int tree_create(const struct io *io, int root_fd, struct tree **out)
{
    struct stat st;
    if (fstat(root_fd, &st) < 0)
        return -errno;
    struct tree *tree = calloc(1, sizeof(*tree));
    if (tree == NULL)
        return -ENOMEM;
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    /* A stream of lookups must not keep a rename waiting. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&tree->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    tree->io = io;
    tree->root_fd = root_fd;
    tree->root_dev = st.st_dev;
    tree->root_ino = st.st_ino;
    char path[PATH_MAX];
    if (tree_fd_path(root_fd, path) == 0)
        tree->root_path = strdup(path);
    *out = tree;
    return 0;
}

void tree_destroy(struct tree **tree_p)
{
    struct tree *tree = *tree_p;
    if (tree == NULL)
        return;
    pthread_rwlock_destroy(&tree->lock);
    close(tree->root_fd);
    free(tree->root_path);
    free(tree);
    *tree_p = NULL;
}

int tree_root(const struct tree *tree)
{
    return tree->root_fd;
}

void tree_ask_of_origin(struct tree *tree, tree_is_ours_fn *is_ours, void *ctx)
{
    tree->is_ours = is_ours;
    tree->is_ours_ctx = ctx;
}

static bool is_known_ours(const struct tree *tree, const struct stat *st)
{
    return tree->is_ours != NULL && S_ISREG(st->st_mode) && tree->is_ours(tree->is_ours_ctx, st);
}

bool tree_is_reserved(const struct tree *tree, int dir_fd, const char *name)
{
    struct stat st;
    return names_is_reserved(name) && fstat(dir_fd, &st) == 0 && st.st_ino == tree->root_ino &&
           st.st_dev == tree->root_dev;
}

static int open_entry(int dir_fd, const char *name, struct tree_entry *out)
{
    int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &out->st) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    out->fd = fd;
    out->blob = S_ISREG(out->st.st_mode) && names_has_suffix(name);
    memcpy(out->stored, name, strlen(name) + 1);
    return 0;
}

static int counts(const struct tree *tree, const struct spellings *spellings, unsigned i,
                  const struct tree_entry *entry)
{
    if (spellings->whose[i] != SPELLING_ANY && is_known_ours(tree, &entry->st))
        return spellings->whose[i] == SPELLING_OURS;
    return spelling_counts(spellings, i, entry->fd);
}

/* Spelling `i`; -ENOENT also where it is there and does not count. */
static int open_counted(const struct tree *tree, int dir_fd, const struct spellings *spellings,
                        unsigned i, struct tree_entry *out)
{
    int r = open_entry(dir_fd, spellings->name[i], out);
    if (r < 0)
        return r;
    r = counts(tree, spellings, i, out);
    if (r > 0)
        return 0;
    close(out->fd);
    return r < 0 ? r : -ENOENT;
}

/* Not to be there costs stat(2) half of what it costs open(2). */
static bool is_missing(int dir_fd, const char *name)
{
    struct stat st;
    return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && spelling_is_absent(errno);
}

static int lookup_spelled(struct tree *tree, int dir_fd, const struct spellings *spellings,
                          struct tree_entry *out)
{
    int r = -ENOENT;
    unsigned i, likely = atomic_load_explicit(&tree->likely, memory_order_relaxed);
    pthread_rwlock_rdlock(&tree->lock);
    for (i = 0; i < spellings->n && spelling_is_absent(-r); i++)
        if (i >= likely || !is_missing(dir_fd, spellings->name[i]))
            r = open_counted(tree, dir_fd, spellings, i, out);
    pthread_rwlock_unlock(&tree->lock);
    unsigned found = r == 0 ? i - 1 : SPELLING_MAX;
    if (found != likely)
        atomic_store_explicit(&tree->likely, found, memory_order_relaxed);
    return r < 0 && spelling_is_absent(-r) ? -ENOENT : r;
}

int tree_lookup(struct tree *tree, int dir_fd, const char *name, struct tree_entry *out)
{
    struct spellings spellings;
    int r = spelling_all(name, &spellings);
    if (r < 0)
        return r;
    if (tree_is_reserved(tree, dir_fd, name))
        return -ENOENT;
    return lookup_spelled(tree, dir_fd, &spellings, out);
}

/* Spelling for a new file, where the name is free in all of them. */
static int claim_name(const struct tree *tree, int dir_fd, const char *name, bool blob,
                      char out[NAMES_MAX])
{
    if (tree_is_reserved(tree, dir_fd, name))
        return -EACCES;
    struct spelled there;
    int r = spelling_find(dir_fd, name, &there);
    if (r == 0)
        return -EEXIST;
    if (r != -ENOENT)
        return r;
    return names_to_stored(name, blob, out);
}

int tree_create_file(struct tree *tree, int dir_fd, const char *name, mode_t mode, int *fd)
{
    char path[NAMES_MAX];
    pthread_rwlock_wrlock(&tree->lock);
    int r = claim_name(tree, dir_fd, name, false, path);
    if (r == 0) {
        int made = openat(dir_fd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (made < 0)
            r = -errno;
        else
            *fd = made;
    }
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

int tree_mkdir(struct tree *tree, int dir_fd, const char *name, mode_t mode)
{
    char path[NAMES_MAX];
    pthread_rwlock_wrlock(&tree->lock);
    int r = claim_name(tree, dir_fd, name, false, path);
    if (r == 0 && mkdirat(dir_fd, path, mode) < 0)
        r = -errno;
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

int tree_symlink(struct tree *tree, const char *target, int dir_fd, const char *name)
{
    char path[NAMES_MAX];
    pthread_rwlock_wrlock(&tree->lock);
    int r = claim_name(tree, dir_fd, name, false, path);
    if (r == 0 && symlinkat(target, dir_fd, path) < 0)
        r = -errno;
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

int tree_mknod(struct tree *tree, int dir_fd, const char *name, mode_t mode, dev_t rdev)
{
    char path[NAMES_MAX];
    pthread_rwlock_wrlock(&tree->lock);
    int r = claim_name(tree, dir_fd, name, false, path);
    if (r == 0 && mknodat(dir_fd, path, mode, rdev) < 0)
        r = -errno;
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

bool tree_is_misplaced(mode_t mode, bool blob, const char *name)
{
    return S_ISREG(mode) && !blob && names_has_suffix(name);
}

static int link_locked(const struct tree *tree, int fd, bool blob, int dir_fd, const char *name)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    char path[NAMES_MAX], source[32];
    int r = claim_name(tree, dir_fd, name, blob, path);
    if (r < 0)
        return r;
    if (tree_is_misplaced(st.st_mode, blob, name))
        return -EXDEV;
    r = blob && names_depends(path) ? origin_is_foreign_fd(fd) : 0;
    if (r != 0)
        return r < 0 ? r : -EXDEV;
    /* AT_EMPTY_PATH wants a capability; the way through /proc does not. */
    snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, source, dir_fd, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int tree_link(struct tree *tree, int fd, bool blob, int dir_fd, const char *name)
{
    pthread_rwlock_wrlock(&tree->lock);
    int r = link_locked(tree, fd, blob, dir_fd, name);
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

static int remove_locked(const struct tree *tree, int dir_fd, const char *name, bool directory)
{
    if (tree_is_reserved(tree, dir_fd, name))
        return -ENOENT;
    struct spelled file;
    int r = spelling_find(dir_fd, name, &file);
    if (r < 0)
        return r;
    if (S_ISDIR(file.st.st_mode) != directory)
        return directory ? -ENOTDIR : -EISDIR;
    r = spelling_prepare_removal(dir_fd, &file);
    if (r < 0)
        return r;
    return unlinkat(dir_fd, spelling_of(&file), directory ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
}

int tree_unlink(struct tree *tree, int dir_fd, const char *name)
{
    pthread_rwlock_wrlock(&tree->lock);
    int r = remove_locked(tree, dir_fd, name, false);
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

int tree_rmdir(struct tree *tree, int dir_fd, const char *name)
{
    pthread_rwlock_wrlock(&tree->lock);
    int r = remove_locked(tree, dir_fd, name, true);
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

int tree_list(struct tree *tree, DIR *dir, int (*fn)(void *ctx, const struct dirent *entry),
              void *ctx)
{
    int r = 0;
    pthread_rwlock_rdlock(&tree->lock);
    rewinddir(dir);
    while (r == 0) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            r = -errno;
            break;
        }
        r = fn(ctx, entry);
    }
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

/* 1, 0, or the errors of origin_is_foreign(). */
static int shows_as_foreign(const struct tree *tree, int dir_fd, const char *stored)
{
    struct stat st;
    if (!names_depends(stored) || fstatat(dir_fd, stored, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return is_known_ours(tree, &st) ? 0 : origin_is_foreign(dir_fd, stored);
}

/* The name that a stored one is a spelling of, and which one. 1; 0 for what is none; or an error. */
static int spelled_by(const struct tree *tree, int dir_fd, bool is_root, const char *stored,
                      char visible[NAMES_MAX], struct spellings *spellings, unsigned *rank)
{
    if (is_root && names_is_reserved(stored))
        return 0;
    int foreign = shows_as_foreign(tree, dir_fd, stored);
    if (foreign < 0)
        return foreign;
    if (foreign)
        names_to_foreign(stored, visible);
    else
        names_to_visible(stored, visible);
    if (spelling_all(visible, spellings) < 0)
        return 0;
    *rank = spelling_rank(spellings, stored);
    return *rank < spellings->n; /* ".Sqy" and the like: no spelling that lookup knows */
}

/* Which says nothing of the file that was asked for. */
static bool is_shortage(int r)
{
    return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

int tree_show(struct tree *tree, int dir_fd, bool is_root, const char *stored,
              char visible[NAMES_MAX])
{
    struct spellings spellings;
    unsigned rank;
    int shown = spelled_by(tree, dir_fd, is_root, stored, visible, &spellings, &rank);
    if (shown <= 0)
        return shown;
    int r = -ENOENT;
    pthread_rwlock_rdlock(&tree->lock);
    for (unsigned i = 0; i < rank && r != 0 && !is_shortage(r); i++) {
        struct stat st;
        r = spelling_stat(dir_fd, &spellings, i, &st);
    }
    pthread_rwlock_unlock(&tree->lock);
    return r == 0 ? 0 : is_shortage(r) ? r : 1;
}

/* The file that was listed as `stored` has another spelling by now, which the listing may not have. */
static bool is_respelled(int dir_fd, const char *stored, uint64_t ino,
                         const struct tree_entry *found)
{
    struct stat st;
    return found->st.st_ino == ino && fstatat(dir_fd, stored, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
           errno == ENOENT;
}

int tree_show_open(struct tree *tree, int dir_fd, bool is_root, const char *stored, uint64_t ino,
                   char visible[NAMES_MAX], struct tree_entry *out)
{
    struct spellings spellings;
    unsigned rank;
    int r = spelled_by(tree, dir_fd, is_root, stored, visible, &spellings, &rank);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    r = lookup_spelled(tree, dir_fd, &spellings, out);
    if (r == 0 &&
        (spelling_rank(&spellings, out->stored) >= rank || is_respelled(dir_fd, stored, ino, out)))
        return 0;
    if (r == 0)
        close(out->fd);
    return r == 0 ? -ENOENT : r == -ENOENT ? 1 : r;
}
