#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/origin.h"
#include "store/tree_impl.h"

int tree_fd_path(int fd, char path[PATH_MAX])
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

/* What of `path` is below the root ("." for the root) is moved to `below`. -ESTALE: nothing is. */
static int cut_root(const char *root, const char *path, char below[PATH_MAX])
{
    size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(path, root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
        return -ESTALE;
    path += len;
    path += *path == '/';
    strcpy(below, *path == '\0' ? "." : path);
    return 0;
}

/* The kernel writes " (deleted)" behind the path of what has lost its name, as a file's name may end
 * too: so the path must lead back to the file. */
static int leads_to(const struct tree *tree, const char *path, const struct stat *st)
{
    struct stat there;
    if (fstatat(tree->root_fd, path, &there, AT_SYMLINK_NOFOLLOW) < 0)
        return spelling_is_absent(errno) || errno == ENOTDIR ? -ESTALE : -errno;
    return there.st_ino == st->st_ino && there.st_dev == st->st_dev ? 0 : -ESTALE;
}

static int below_root(const struct tree *tree, const char *root, const char *path,
                      const struct stat *st, char below[PATH_MAX])
{
    int r = cut_root(root, path, below);
    return r < 0 ? r : leads_to(tree, below, st);
}

/* Where the file lies below the root, as it is stored. The root is asked for its own path only where
 * the one that it had does not do: that takes as long as all the rest. */
static int stored_path(const struct tree *tree, int fd, char below[PATH_MAX], struct stat *st)
{
    char path[PATH_MAX], root[PATH_MAX];
    int r = tree_fd_path(fd, path);
    if (r < 0)
        return r;
    if (fstat(fd, st) < 0)
        return -errno;
    r = tree->root_path != NULL ? below_root(tree, tree->root_path, path, st, below) : -ESTALE;
    if (r != -ESTALE)
        return r;
    r = tree_fd_path(tree->root_fd, root);
    if (r < 0 || (tree->root_path != NULL && strcmp(root, tree->root_path) == 0))
        return r < 0 ? r : -ESTALE;
    return below_root(tree, root, path, st, below);
}

/* How the file behind `fd` shows. */
static int show(int fd, const char *stored, char visible[NAMES_MAX])
{
    int foreign = names_depends(stored) ? origin_is_foreign_fd(fd) : 0;
    if (foreign < 0)
        return foreign;
    if (foreign)
        names_to_foreign(stored, visible);
    else
        names_to_visible(stored, visible);
    return 0;
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
        if (rest == NULL)
            r = show(fd, part, visible);
        else
            names_to_visible(part, visible);
        if (r < 0)
            return r;
        int n = snprintf(path + used, len - used, "%s%s", used > 0 ? "/" : "", visible);
        if ((size_t)n >= len - used)
            return -ENAMETOOLONG;
        used += (size_t)n;
    }
    path[used] = '\0';
    return 0;
}

int tree_place_find(const struct tree *tree, int fd, struct tree_place *out)
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
    r = show(fd, out->stored, out->visible);
    if (r < 0)
        return r;
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

void tree_place_keep_mtime(const struct tree_place *place)
{
    char link[32];
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, place->mtime};
    snprintf(link, sizeof(link), "/proc/self/fd/%d", place->dir_fd);
    utimensat(AT_FDCWD, link, times, 0);
}

static int respell_locked(const struct tree *tree, int fd, bool blob)
{
    struct tree_place place;
    int r = tree_place_find(tree, fd, &place);
    if (r < 0)
        return r;
    char path[NAMES_MAX];
    r = names_to_stored(place.visible, blob, path);
    if (r == 0 && strcmp(path, place.stored) != 0) {
        struct tree_end end = {place.dir_fd, place.visible};
        struct stat st;
        if (fstatat(place.dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            r = -EEXIST;
        } else {
            r = tree_move(tree, &end, place.stored, &end, path, true);
            tree_place_keep_mtime(&place);
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

int tree_fix_name(struct tree *tree, int fd)
{
    char path[PATH_MAX];
    struct stat st;
    pthread_rwlock_wrlock(&tree->lock);
    int r = stored_path(tree, fd, path, &st);
    const char *slash = r == 0 ? strrchr(path, '/') : NULL;
    if (r == 0 && names_depends(slash != NULL ? slash + 1 : path))
        r = origin_is_foreign_fd(fd);
    if (r > 0)
        r = respell_locked(tree, fd, true);
    pthread_rwlock_unlock(&tree->lock);
    return r == -ESTALE ? 0 : r;
}
