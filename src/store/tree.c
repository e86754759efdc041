/* A visible name has up to three spellings in a directory of the store, tried in this order:
 *
 *     x        anything but a blob            (not where x itself ends in ".sqy")
 *     x.sqy    a blob; anything of a visible name that ends in ".sqy"
 *     x.SQY    the same, as a program without lower case leaves it; never made here
 *
 * The first that exists is the file, those after it are its shadows: what a crash between the steps
 * of a rename left behind, or a person put there. Every operation below that takes the file away or
 * puts another in its place drops the shadows first, so that none of them comes to light. */
#include "store/tree.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_SPELLINGS 3
#define CAPS_SUFFIX   ".SQY"

struct tree {
    int root_fd;
    dev_t root_dev;
    ino_t root_ino;
    pthread_rwlock_t lock; /* makes the steps of one operation one for tree_lookup(); a leaf lock */
};

struct spellings {
    unsigned n;
    char name[MAX_SPELLINGS][NAMES_MAX];
};

/* A visible name as it exists: spelling `rank` is the file. */
struct found {
    struct spellings spellings;
    unsigned rank;
    bool blob;
    struct stat st;
};

int tree_create(int root_fd, struct tree **out)
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
    tree->root_fd = root_fd;
    tree->root_dev = st.st_dev;
    tree->root_ino = st.st_ino;
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
    free(tree);
    *tree_p = NULL;
}

int tree_root(const struct tree *tree)
{
    return tree->root_fd;
}

static bool is_reserved(const struct tree *tree, int dir_fd, const char *name)
{
    struct stat st;
    return names_is_reserved(name) && fstat(dir_fd, &st) == 0 && st.st_ino == tree->root_ino &&
           st.st_dev == tree->root_dev;
}

/* ---- spellings ---- */

static int spell(const char *visible, struct spellings *out)
{
    size_t len = strlen(visible);
    if (len == 0 || strchr(visible, '/') != NULL || strcmp(visible, ".") == 0 ||
        strcmp(visible, "..") == 0)
        return -EINVAL;
    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    out->n = 0;
    if (!names_has_suffix(visible))
        memcpy(out->name[out->n++], visible, len + 1);
    if (names_fits_blob(visible)) {
        names_to_stored(visible, true, out->name[out->n++]);
        memcpy(out->name[out->n], visible, len);
        memcpy(out->name[out->n++] + len, CAPS_SUFFIX, sizeof(CAPS_SUFFIX));
    }
    return out->n > 0 ? 0 : -ENAMETOOLONG;
}

/* A spelling is shorter than the limit of names, but the filesystem may have one of its own. */
static bool is_absent(int error)
{
    return error == ENOENT || error == ENAMETOOLONG;
}

static int find(int dir_fd, const char *visible, struct found *out)
{
    int r = spell(visible, &out->spellings);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < out->spellings.n; i++) {
        if (fstatat(dir_fd, out->spellings.name[i], &out->st, AT_SYMLINK_NOFOLLOW) == 0) {
            out->rank = i;
            out->blob = S_ISREG(out->st.st_mode) && names_has_suffix(out->spellings.name[i]);
            return 0;
        }
        if (!is_absent(errno))
            return -errno;
    }
    return -ENOENT;
}

/* `n` for what is none of the spellings. */
static unsigned rank_of(const struct spellings *spellings, const char *name)
{
    unsigned rank = 0;
    while (rank < spellings->n && strcmp(spellings->name[rank], name) != 0)
        rank++;
    return rank;
}

static const char *stored(const struct found *file)
{
    return file->spellings.name[file->rank];
}

static int remove_any(int dir_fd, const char *name)
{
    if (unlinkat(dir_fd, name, 0) == 0)
        return 0;
    if ((errno == EISDIR || errno == EPERM) && unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
        return 0;
    return is_absent(errno) ? 0 : -errno;
}

static int drop_shadows(int dir_fd, const struct found *file)
{
    for (unsigned i = file->spellings.n; i-- > file->rank + 1;) {
        int r = remove_any(dir_fd, file->spellings.name[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static bool has_shadows(int dir_fd, const struct found *file)
{
    struct stat st;
    for (unsigned i = file->rank + 1; i < file->spellings.n; i++) {
        if (fstatat(dir_fd, file->spellings.name[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
            return true;
    }
    return false;
}

static int require_empty(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int r = -errno;
        close(fd);
        return r;
    }
    unsigned n = 0;
    while (n <= 2 && readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n <= 2 ? 0 : -ENOTEMPTY;
}

/* Before a file or directory goes. The shadows of a directory that will not go must stay. */
static int prepare_removal(int dir_fd, const struct found *file)
{
    if (S_ISDIR(file->st.st_mode) && has_shadows(dir_fd, file)) {
        int r = require_empty(dir_fd, stored(file));
        if (r < 0)
            return r;
    }
    return drop_shadows(dir_fd, file);
}

/* ---- lookup ---- */

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

int tree_lookup(struct tree *tree, int dir_fd, const char *name, struct tree_entry *out)
{
    struct spellings spellings;
    int r = spell(name, &spellings);
    if (r < 0)
        return r;
    if (is_reserved(tree, dir_fd, name))
        return -ENOENT;
    r = -ENOENT;
    pthread_rwlock_rdlock(&tree->lock);
    for (unsigned i = 0; i < spellings.n && is_absent(-r); i++)
        r = open_entry(dir_fd, spellings.name[i], out);
    pthread_rwlock_unlock(&tree->lock);
    return r < 0 && is_absent(-r) ? -ENOENT : r;
}

/* ---- creating ---- */

/* Spelling for a new file, where the name is free in all of them. */
static int claim_name(const struct tree *tree, int dir_fd, const char *name, bool blob,
                      char out[NAMES_MAX])
{
    if (is_reserved(tree, dir_fd, name))
        return -EACCES;
    struct found there;
    int r = find(dir_fd, name, &there);
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

/* A plain file's bytes under the spelling of blobs would be taken for a blob: such a file has to be
 * copied, as from another filesystem. */
static bool is_misplaced(mode_t mode, bool blob, const char *name)
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
    if (is_misplaced(st.st_mode, blob, name))
        return -EXDEV;
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

/* ---- removing ---- */

static int remove_locked(const struct tree *tree, int dir_fd, const char *name, bool directory)
{
    if (is_reserved(tree, dir_fd, name))
        return -ENOENT;
    struct found file;
    int r = find(dir_fd, name, &file);
    if (r < 0)
        return r;
    if (S_ISDIR(file.st.st_mode) != directory)
        return directory ? -ENOTDIR : -EISDIR;
    r = prepare_removal(dir_fd, &file);
    if (r < 0)
        return r;
    return unlinkat(dir_fd, stored(&file), directory ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
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

/* ---- renaming ---- */

struct end {
    int dir_fd;
    const char *name;
};

/* Both names change places; each must then be spelled for what it is. */
static int exchange(const struct end *from, const struct found *a, const struct end *to,
                    const struct found *b)
{
    char a_path[NAMES_MAX], b_path[NAMES_MAX];
    if (names_to_stored(to->name, a->blob, b_path) < 0 ||
        names_to_stored(from->name, b->blob, a_path) < 0)
        return -EINVAL;
    if (strcmp(b_path, stored(b)) != 0 || strcmp(a_path, stored(a)) != 0 ||
        is_misplaced(a->st.st_mode, a->blob, to->name) ||
        is_misplaced(b->st.st_mode, b->blob, from->name))
        return -EINVAL;
    int r = drop_shadows(from->dir_fd, a);
    if (r == 0)
        r = drop_shadows(to->dir_fd, b);
    if (r == 0 && renameat2(from->dir_fd, a_path, to->dir_fd, b_path, RENAME_EXCHANGE) < 0)
        r = -errno;
    return r;
}

/* One rename. `fresh`: `path` is free as far as we know; somebody beside the mount may make it now.
 */
static int move(const struct end *from, const char *a_path, const struct end *to, const char *path,
                bool fresh)
{
    if (fresh) {
        if (renameat2(from->dir_fd, a_path, to->dir_fd, path, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EINVAL && errno != ENOSYS) /* a filesystem that has no such thing */
            return -errno;
    }
    return renameat(from->dir_fd, a_path, to->dir_fd, path) < 0 ? -errno : 0;
}

/* A blob over something whose spelling wins: that one is visible until it is unlinked, and the blob
 * keeps its old name until then. */
static int move_below(const struct end *from, const char *a_path, const struct end *to,
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

static int replace(const struct end *from, const struct found *a, const struct end *to,
                   const struct found *b, const char *path)
{
    bool a_dir = S_ISDIR(a->st.st_mode), b_dir = S_ISDIR(b->st.st_mode);
    if (a_dir != b_dir)
        return b_dir ? -EISDIR : -ENOTDIR;
    if (a->st.st_ino == b->st.st_ino && a->st.st_dev == b->st.st_dev)
        return 0; /* two links of one file: rename(2) does nothing */
    int r = prepare_removal(to->dir_fd, b);
    if (r < 0)
        return r;
    if (strcmp(path, stored(b)) == 0)
        return move(from, stored(a), to, path, false);
    if (rank_of(&b->spellings, path) > b->rank)
        return move_below(from, stored(a), to, path, stored(b));
    r = move(from, stored(a), to, path, false);
    return r < 0 ? r : remove_any(to->dir_fd, stored(b));
}

static int rename_locked(const struct tree *tree, const struct end *from, const struct end *to,
                         unsigned flags)
{
    if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE)
        return -EINVAL;
    if (is_reserved(tree, from->dir_fd, from->name))
        return -ENOENT;
    if (is_reserved(tree, to->dir_fd, to->name))
        return -EACCES;
    struct found a, b;
    int r = find(from->dir_fd, from->name, &a);
    if (r < 0)
        return r;
    int there = find(to->dir_fd, to->name, &b);
    if (there < 0 && (there != -ENOENT || (flags & RENAME_EXCHANGE)))
        return there;
    if (flags & RENAME_EXCHANGE)
        return exchange(from, &a, to, &b);
    if (there == 0 && (flags & RENAME_NOREPLACE))
        return -EEXIST;
    if (is_misplaced(a.st.st_mode, a.blob, to->name))
        return -EXDEV;
    char path[NAMES_MAX];
    r = names_to_stored(to->name, a.blob, path);
    if (r == 0)
        r = drop_shadows(from->dir_fd, &a);
    if (r < 0)
        return r;
    return there == 0 ? replace(from, &a, to, &b, path) : move(from, stored(&a), to, path, true);
}

int tree_rename(struct tree *tree, int from_dir, const char *from, int to_dir, const char *to,
                unsigned flags)
{
    pthread_rwlock_wrlock(&tree->lock);
    int r = rename_locked(tree, &(struct end){from_dir, from}, &(struct end){to_dir, to}, flags);
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

/* ---- files by descriptor ---- */

static int fd_path(int fd, char path[PATH_MAX])
{
    char link[32];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX);
    if (n < 0)
        return -errno;
    if (n >= PATH_MAX)
        return -ENAMETOOLONG;
    path[n] = '\0';
    return 0;
}

/* Where the file lies below the root ("." for the root), as it is stored. The kernel writes
 * " (deleted)" behind the path of what has lost its name, as a file's name may end too: so the path
 * must lead back to the file. */
static int stored_path(const struct tree *tree, int fd, char path[PATH_MAX], struct stat *st)
{
    char root[PATH_MAX];
    int r = fd_path(tree->root_fd, root);
    if (r == 0)
        r = fd_path(fd, path);
    if (r < 0)
        return r;
    if (fstat(fd, st) < 0)
        return -errno;
    size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(path, root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
        return -ESTALE;
    const char *below = path + len;
    below += *below == '/';
    memmove(path, below, strlen(below) + 1);
    if (*path == '\0')
        memcpy(path, ".", 2);
    struct stat there;
    if (fstatat(tree->root_fd, path, &there, AT_SYMLINK_NOFOLLOW) < 0)
        return is_absent(errno) || errno == ENOTDIR ? -ESTALE : -errno;
    return there.st_ino == st->st_ino && there.st_dev == st->st_dev ? 0 : -ESTALE;
}

int tree_path(struct tree *tree, int fd, char *path, size_t len)
{
    char raw[PATH_MAX];
    struct stat st;
    int r = stored_path(tree, fd, raw, &st);
    if (r < 0)
        return r;
    if (len == 0)
        return -ENAMETOOLONG;
    size_t used = 0;
    char *rest = raw;
    while (strcmp(raw, ".") != 0 && rest != NULL) {
        char visible[NAMES_MAX];
        const char *part = strsep(&rest, "/");
        names_to_visible(part, visible);
        int n = snprintf(path + used, len - used, "%s%s", used > 0 ? "/" : "", visible);
        if ((size_t)n >= len - used)
            return -ENAMETOOLONG;
        used += (size_t)n;
    }
    path[used] = '\0';
    return 0;
}

/* The one name of a regular file, for a change of its spelling. Nobody sees that, so the directory
 * keeps its time. */
struct place {
    int dir_fd;            /* O_PATH, to be closed */
    struct timespec mtime; /* of the directory */
    char stored[NAMES_MAX];
    char visible[NAMES_MAX];
};

static int locate(const struct tree *tree, int fd, struct place *out)
{
    char path[PATH_MAX];
    struct stat st;
    int r = fstat(fd, &st) < 0 ? -errno : 0;
    if (r < 0)
        return r;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_nlink > 1)
        return -EBUSY;
    r = stored_path(tree, fd, path, &st);
    if (r < 0)
        return r;
    char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    memcpy(out->stored, base, strlen(base) + 1);
    names_to_visible(out->stored, out->visible);
    if (slash != NULL)
        *slash = '\0';
    out->dir_fd =
        openat(tree->root_fd, slash != NULL ? path : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (out->dir_fd < 0)
        return -errno;
    if (fstat(out->dir_fd, &st) == 0) {
        out->mtime = st.st_mtim;
        return 0;
    }
    r = -errno;
    close(out->dir_fd);
    return r;
}

/* Where it is not ours to set, it stays moved. */
static void keep_mtime(const struct place *place)
{
    char link[32];
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, place->mtime};
    snprintf(link, sizeof(link), "/proc/self/fd/%d", place->dir_fd);
    utimensat(AT_FDCWD, link, times, 0);
}

static int respell_locked(const struct tree *tree, int fd, bool blob)
{
    struct place place;
    int r = locate(tree, fd, &place);
    if (r < 0)
        return r;
    char path[NAMES_MAX];
    r = names_to_stored(place.visible, blob, path);
    if (r == 0 && strcmp(path, place.stored) != 0) {
        struct end end = {place.dir_fd, place.visible};
        struct stat st;
        if (fstatat(place.dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            r = -EEXIST;
        } else {
            r = move(&end, place.stored, &end, path, true);
            keep_mtime(&place);
        }
    }
    close(place.dir_fd);
    return r;
}

int tree_become_blob(struct tree *tree, int fd)
{
    pthread_rwlock_wrlock(&tree->lock);
    int r = respell_locked(tree, fd, true);
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

int tree_become_plain(struct tree *tree, int fd)
{
    pthread_rwlock_wrlock(&tree->lock);
    int r = respell_locked(tree, fd, false);
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

static int sync_dir(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

/* First half: the blob takes its name, which for a plain file is the one that its old name hides.
 */
static int replace_begin(const struct tree *tree, int fd, int temp_dir, const char *temp_name,
                         struct place *place, char path[NAMES_MAX], struct stat *blob)
{
    int r = locate(tree, fd, place);
    if (r < 0)
        return r;
    r = names_to_stored(place->visible, true, path);
    if (r == 0 && fstatat(temp_dir, temp_name, blob, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    if (r == 0 && renameat(temp_dir, temp_name, place->dir_fd, path) < 0)
        r = -errno;
    keep_mtime(place);
    if (r < 0)
        close(place->dir_fd);
    return r;
}

/* Second half, for a plain file: its name goes, if neither it nor the blob were moved meanwhile. */
static int replace_end(const struct tree *tree, int fd, const struct place *before,
                       const char *path, const struct stat *blob)
{
    struct place now;
    struct stat st;
    int r = locate(tree, fd, &now);
    if (r < 0)
        return r;
    if (strcmp(now.stored, before->stored) != 0 ||
        fstatat(now.dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino != blob->st_ino ||
        st.st_dev != blob->st_dev)
        r = -ESTALE;
    else if (unlinkat(now.dir_fd, now.stored, 0) < 0)
        r = -errno;
    keep_mtime(&now);
    close(now.dir_fd);
    return r;
}

int tree_replace(struct tree *tree, int fd, int temp_dir, const char *temp_name)
{
    struct place place;
    struct stat blob;
    char path[NAMES_MAX];
    pthread_rwlock_wrlock(&tree->lock);
    int r = replace_begin(tree, fd, temp_dir, temp_name, &place, path, &blob);
    pthread_rwlock_unlock(&tree->lock);
    if (r < 0)
        return r;
    /* The blob's name must be on disk before the other name of the same bytes goes. */
    r = sync_dir(place.dir_fd);
    if (strcmp(path, place.stored) != 0) {
        if (r < 0) { /* the plain file stays what counts */
            close(place.dir_fd);
            return r;
        }
        pthread_rwlock_wrlock(&tree->lock);
        int ended = replace_end(tree, fd, &place, path, &blob);
        if (ended < 0) /* the plain file went elsewhere: its copy must not stand in for it */
            unlinkat(place.dir_fd, path, 0);
        pthread_rwlock_unlock(&tree->lock);
        if (ended < 0) {
            close(place.dir_fd);
            return ended;
        }
        r = sync_dir(place.dir_fd);
    }
    if (r == 0)
        r = sync_dir(temp_dir);
    close(place.dir_fd);
    return r < 0 ? 1 : 0;
}

/* ---- readdir ---- */

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

bool tree_show(struct tree *tree, int dir_fd, bool is_root, const char *name,
               char visible[NAMES_MAX])
{
    if (is_root && names_is_reserved(name))
        return false;
    names_to_visible(name, visible);
    struct spellings spellings;
    if (spell(visible, &spellings) < 0)
        return false;
    unsigned rank = rank_of(&spellings, name);
    if (rank == spellings.n)
        return false; /* ".Sqy" and the like: no spelling that lookup knows */
    bool shown = true;
    pthread_rwlock_rdlock(&tree->lock);
    for (unsigned i = 0; i < rank && shown; i++) {
        struct stat st;
        shown = fstatat(dir_fd, spellings.name[i], &st, AT_SYMLINK_NOFOLLOW) < 0;
    }
    pthread_rwlock_unlock(&tree->lock);
    return shown;
}
