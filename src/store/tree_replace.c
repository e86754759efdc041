#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "store/origin.h"
#include "store/tree_impl.h"

/* `dir_fd` may be O_PATH. */
static int sync_dir(const struct io *io, int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = io->fsync(io, fd);
    close(fd);
    return r;
}

/* Whether a name is that of the blob. */
static bool is_at(int dir_fd, const char *path, const struct stat *blob)
{
    struct stat st;
    return fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == blob->st_ino &&
           st.st_dev == blob->st_dev;
}

/* A file that takes another spelling takes it from nobody: it is the one that its name shows. */
static int check_shown(const struct tree_place *place, const char *path)
{
    struct spelled shown;
    if (strcmp(path, place->stored) == 0)
        return 0;
    int r = spelling_find(place->dir_fd, place->visible, &shown);
    if (r == 0)
        r = origin_check(place->dir_fd, path);
    if (r > 0)
        r = -EEXIST;
    if (r < 0)
        return r;
    return strcmp(spelling_of(&shown), place->stored) == 0 ? 0 : -EEXIST;
}

/* First half: the blob takes its name, which for a plain file is the one that its old name hides.
 */
static int replace_begin(const struct tree *tree, int fd, int temp_dir, const char *temp_name,
                         struct tree_place *place, char path[NAMES_MAX], struct stat *blob)
{
    int r = tree_place_find(tree, fd, place);
    if (r < 0)
        return r;
    r = names_to_stored(place->visible, true, path);
    if (r == 0)
        r = check_shown(place, path);
    if (r == 0 && fstatat(temp_dir, temp_name, blob, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    if (r == 0)
        r = tree->io->rename(tree->io, temp_dir, temp_name, place->dir_fd, path, 0);
    tree_place_keep_mtime(place);
    if (r < 0)
        close(place->dir_fd);
    return r;
}

/* Second half, for a plain file: its name goes, if neither it nor the blob were moved meanwhile. */
static int replace_end(const struct tree *tree, int fd, const struct tree_place *before,
                       const char *path, const struct stat *blob)
{
    struct tree_place now;
    int r = tree_place_find(tree, fd, &now);
    if (r < 0)
        return r;
    if (strcmp(now.stored, before->stored) != 0 || !is_at(now.dir_fd, path, blob))
        r = -ESTALE;
    else if (unlinkat(now.dir_fd, now.stored, 0) < 0)
        r = -errno;
    tree_place_keep_mtime(&now);
    close(now.dir_fd);
    return r;
}

/* The blob has its name on the disk, or `synced` says why not: the plain file's goes, or where that
 * may not be, the blob's, so that no copy stands in for the file one day. By then the name may be
 * another file's, which stays. */
static int take_place(struct tree *tree, int fd, const struct tree_place *place, const char *path,
                      const struct stat *blob, int synced)
{
    pthread_rwlock_wrlock(&tree->lock);
    int r = synced < 0 ? synced : replace_end(tree, fd, place, path, blob);
    if (r < 0 && is_at(place->dir_fd, path, blob))
        unlinkat(place->dir_fd, path, 0);
    pthread_rwlock_unlock(&tree->lock);
    return r;
}

int tree_replace(struct tree *tree, int fd, int temp_dir, const char *temp_name)
{
    struct tree_place place;
    struct stat blob;
    char path[NAMES_MAX];
    pthread_rwlock_wrlock(&tree->lock);
    int r = replace_begin(tree, fd, temp_dir, temp_name, &place, path, &blob);
    pthread_rwlock_unlock(&tree->lock);
    if (r < 0)
        return r;
    /* The blob's name must be on disk before the other name of the same bytes goes. */
    r = sync_dir(tree->io, place.dir_fd);
    if (strcmp(path, place.stored) != 0) {
        r = take_place(tree, fd, &place, path, &blob, r);
        if (r < 0) {
            close(place.dir_fd);
            return r;
        }
        r = sync_dir(tree->io, place.dir_fd);
    }
    if (r == 0)
        r = sync_dir(tree->io, temp_dir);
    close(place.dir_fd);
    return r < 0 ? 1 : 0;
}
