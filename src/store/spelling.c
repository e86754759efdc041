#include "store/spelling.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "store/origin.h"

#define CAPS_SUFFIX ".SQY"

/* In lower case, and in capitals. */
static void add_suffixed(struct spellings *out, const char *stored, enum spelling_whose whose)
{
    size_t stem = strlen(stored) - (sizeof(CAPS_SUFFIX) - 1);
    for (unsigned caps = 0; caps < 2; caps++) {
        char *name = out->name[out->n];
        memcpy(name, stored, stem + sizeof(CAPS_SUFFIX));
        if (caps)
            memcpy(name + stem, CAPS_SUFFIX, sizeof(CAPS_SUFFIX));
        out->whose[out->n++] = whose;
    }
}

int spelling_all(const char *visible, struct spellings *out)
{
    size_t len = strlen(visible);
    if (len == 0 || strchr(visible, '/') != NULL || strcmp(visible, ".") == 0 ||
        strcmp(visible, "..") == 0)
        return -EINVAL;
    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    char stored[NAMES_MAX];
    *out = (struct spellings){.n = 0};
    if (!names_has_suffix(visible))
        memcpy(out->name[out->n++], visible, len + 1);
    if (names_to_stored(visible, true, stored) == 0)
        add_suffixed(out, stored, names_depends(stored) ? SPELLING_OURS : SPELLING_ANY);
    if (names_from_foreign(visible, stored))
        add_suffixed(out, stored, SPELLING_FOREIGN);
    return out->n > 0 ? 0 : -ENAMETOOLONG;
}

/* A spelling is shorter than the limit of names, but the filesystem may have one of its own. */
bool spelling_is_absent(int error)
{
    return error == ENOENT || error == ENAMETOOLONG;
}

/* `foreign` as origin_is_foreign() says. */
static int fits(enum spelling_whose whose, int foreign)
{
    return foreign < 0 ? foreign : (whose == SPELLING_FOREIGN) == (foreign > 0);
}

int spelling_counts(const struct spellings *spellings, unsigned i, int fd)
{
    enum spelling_whose whose = spellings->whose[i];
    return whose == SPELLING_ANY ? 1 : fits(whose, origin_is_foreign_fd(fd));
}

int spelling_stat(int dir_fd, const struct spellings *spellings, unsigned i, struct stat *st)
{
    const char *name = spellings->name[i];
    enum spelling_whose whose = spellings->whose[i];
    if (fstatat(dir_fd, name, st, AT_SYMLINK_NOFOLLOW) < 0)
        return spelling_is_absent(errno) ? -ENOENT : -errno;
    int r = whose == SPELLING_ANY ? 1 : fits(whose, origin_is_foreign(dir_fd, name));
    return r > 0 ? 0 : r == 0 ? -ENOENT : r;
}

int spelling_find(int dir_fd, const char *visible, struct spelled *out)
{
    int r = spelling_all(visible, &out->spellings);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < out->spellings.n; i++) {
        r = spelling_stat(dir_fd, &out->spellings, i, &out->st);
        if (r == 0) {
            out->rank = i;
            out->blob = S_ISREG(out->st.st_mode) && names_has_suffix(out->spellings.name[i]);
        }
        if (r != -ENOENT)
            return r;
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

/* Whoever sees the error sees nothing of the file that has it. */
static int check_shadow(int dir_fd, const struct spelled *file, const char *name)
{
    int r = origin_check(dir_fd, name);
    if (r < 0)
        log_warn("%s is neither removed nor renamed: %s, which lies hidden behind it and may be "
                 "somebody's only copy, cannot be read: %s",
                 spelling_of(file), name, strerror(-r));
    return r;
}

int spelling_drop_shadows(int dir_fd, const struct spelled *file)
{
    for (unsigned i = file->spellings.n; i-- > file->rank + 1;) {
        const char *name = file->spellings.name[i];
        int r = file->spellings.whose[i] == SPELLING_FOREIGN ? 1 : check_shadow(dir_fd, file, name);
        if (r == 0)
            r = spelling_remove(dir_fd, name);
        if (r < 0)
            return r;
    }
    return 0;
}

static bool has_shadows(int dir_fd, const struct spelled *file)
{
    struct stat st;
    for (unsigned i = file->rank + 1; i < file->spellings.n; i++) {
        if (spelling_stat(dir_fd, &file->spellings, i, &st) != -ENOENT)
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
