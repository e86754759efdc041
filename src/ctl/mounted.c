#include "ctl/mounted.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#define MOUNTED_MAX (1u << 20) /* bytes of a value: statistics are a few KiB */
#define FUSE_MAGIC  0x65735546

/* A blob in a store could carry user attributes of the same names, restored by a careless backup:
 * only what a FUSE filesystem says counts. */
static bool is_fuse(const char *path)
{
    struct statfs fs;
    return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == FUSE_MAGIC;
}

int mounted_get(const char *path, const char *name, char **value)
{
    char full[64];
    snprintf(full, sizeof(full), "user.sqyfs.%s", name);
    if (!is_fuse(path))
        return -ENODATA;
    for (size_t len = 4096; len <= MOUNTED_MAX; len *= 4) {
        char *text = malloc(len + 1);
        if (text == NULL)
            return -ENOMEM;
        ssize_t n = getxattr(path, full, text, len);
        if (n >= 0) {
            text[n] = '\0';
            *value = text;
            return 0;
        }
        int r = -errno;
        free(text);
        if (r != -ERANGE)
            return r == -ENOTSUP || r == -EINVAL ? -ENODATA : r;
    }
    return -E2BIG;
}

static bool has(const char *path, const char *name)
{
    char *value = NULL;
    int r = mounted_get(path, name, &value);
    free(value);
    return r == 0;
}

bool mounted_is_file(const char *path)
{
    return has(path, "state");
}

bool mounted_is_root(const char *path)
{
    return has(path, "stats");
}

int mounted_command(const char *path, const char *command)
{
    return setxattr(path, "user.sqyfs.command", command, strlen(command), 0) < 0 ? -errno : 0;
}
