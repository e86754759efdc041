#include "store/spelling.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CAPS_SUFFIX ".SQY"

int spelling_all(const char *visible, struct spellings *out)
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
bool spelling_is_absent(int error)
{
    return error == ENOENT || error == ENAMETOOLONG;
}

int spelling_find(int dir_fd, const char *visible, struct spelled *out)
{
    int r = spelling_all(visible, &out->spellings);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < out->spellings.n; i++) {
        if (fstatat(dir_fd, out->spellings.name[i], &out->st, AT_SYMLINK_NOFOLLOW) == 0) {
            out->rank = i;
            out->blob = S_ISREG(out->st.st_mode) && names_has_suffix(out->spellings.name[i]);
            return 0;
        }
        if (!spelling_is_absent(errno))
            return -errno;
    }
    return -ENOENT;
}

unsigned spelling_rank(const struct spellings *spellings, const char *name)
{
    unsigned rank = 0;
    while (rank < spellings->n && strcmp(spellings->name[rank], name) != 0)
        rank++;
    return rank;
}

const char *spelling_of(const struct spelled *file)
{
    return file->spellings.name[file->rank];
}

int spelling_remove(int dir_fd, const char *name)
{
    if (unlinkat(dir_fd, name, 0) == 0)
        return 0;
    if ((errno == EISDIR || errno == EPERM) && unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
        return 0;
    return spelling_is_absent(errno) ? 0 : -errno;
}

int spelling_drop_shadows(int dir_fd, const struct spelled *file)
{
    for (unsigned i = file->spellings.n; i-- > file->rank + 1;) {
        int r = spelling_remove(dir_fd, file->spellings.name[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static bool has_shadows(int dir_fd, const struct spelled *file)
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
    unsigned n = 0; /* "." and ".." are entries */
    errno = 0;
    while (n <= 2 && readdir(dir) != NULL)
        n++;
    int r = n <= 2 ? -errno : -ENOTEMPTY;
    closedir(dir);
    return r;
}

int spelling_prepare_removal(int dir_fd, const struct spelled *file)
{
    if (S_ISDIR(file->st.st_mode) && has_shadows(dir_fd, file)) {
        int r = require_empty(dir_fd, spelling_of(file));
        if (r < 0)
            return r;
    }
    return spelling_drop_shadows(dir_fd, file);
}
