#include "fs/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *name;
    unsigned n_threads;
} pool_of[FS_N_POOLS] = {
    [FS_META] = {"fs-meta", 8},   [FS_READ] = {"fs-read", 6}, [FS_WRITE] = {"fs-write", 4},
    [FS_WHOLE] = {"fs-whole", 4}, [FS_SYNC] = {"fs-sync", 6}, [FS_COMMAND] = {"fs-command", 2},
};

static int create_parts(struct fs *fs)
{
    int r = inode_table_create(tree_root(fs->tree), &fs->inodes);
    if (r == 0)
        r = handle_list_create(&fs->handles);
    if (r == 0)
        r = buffer_pool_create(&fs->buffers);
    for (unsigned i = 0; i < FS_N_POOLS && r == 0; i++)
        r = workq_create(pool_of[i].name, pool_of[i].n_threads, &fs->pools[i]);
    return r;
}

int fs_create(struct volume *volume, struct fs **out)
{
    struct fs *fs = calloc(1, sizeof(*fs));
    if (fs == NULL)
        return -ENOMEM;
    fs->volume = volume;
    fs->tree = volume_tree(volume);
    fs->root = geteuid() == 0;
    int r = create_parts(fs);
    if (r < 0) {
        fs_destroy(&fs);
        return r;
    }
    *out = fs;
    return 0;
}

struct volume *fs_destroy(struct fs **fs_p)
{
    struct fs *fs = *fs_p;
    for (unsigned i = 0; i < FS_N_POOLS; i++)
        workq_destroy(&fs->pools[i]);
    handle_list_destroy(&fs->handles, fs->inodes);
    inode_table_destroy(&fs->inodes);
    buffer_pool_destroy(&fs->buffers);
    struct volume *volume = fs->volume;
    free(fs);
    *fs_p = NULL;
    return volume;
}

struct fs_path fs_path(int fd)
{
    struct fs_path path;
    snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
    return path;
}
