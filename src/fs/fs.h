/* The state of one mounted filesystem, as the operations see it. Inside this room only. */
#ifndef SQYFS_FS_FS_H
#define SQYFS_FS_FS_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/workq.h"
#include "fs/buffer.h"
#include "fs/handle.h"
#include "fs/inode.h"
#include "volume/volume.h"

/* How long the kernel may believe names and attributes: a store changed behind the mount's back
 * shows after this long. */
#define FS_TIMEOUT_S 1.0

/* Requests that may wait are answered by threads of their own, by what they wait for: a full spool,
 * or a disk that is syncing, must not keep cold reads waiting, and none of them the threads that
 * take requests from the kernel. */
enum fs_pool {
    FS_META,    /* names, attributes, open, release */
    FS_READ,    /* reads that go to disk or decode */
    FS_WHOLE,   /* reads that first decode a whole file: seconds */
    FS_WRITE,   /* writes for which there is no room just now */
    FS_SYNC,    /* fsync */
    FS_COMMAND, /* drain, compact: minutes */
    FS_N_POOLS,
};

struct fs {
    struct volume *volume;
    struct tree *tree; /* the volume's */
    struct inode_table *inodes;
    struct handle_list *handles;
    struct buffer_pool *buffers;
    struct workq *pools[FS_N_POOLS];
    struct channel *channel;     /* the session's, while it is mounted */
    atomic_bool direct_mappings; /* the kernel maps files that are open for direct I/O, too */
    bool root;                   /* we may give files to their owners */
};

/* Takes the volume on success. */
int fs_create(struct volume *volume, struct fs **out);
/* Answers what is queued, closes what the kernel left open (an unmount does not send every release)
 * and hands the volume back for closing. */
struct volume *fs_destroy(struct fs **fs);

static inline struct fs *fs_of(fuse_req_t req)
{
    return *(struct fs **)fuse_req_userdata(req);
}

static inline struct inode *fs_inode(struct fs *fs, fuse_ino_t id)
{
    return inode_from_id(fs->inodes, id);
}

/* Room for "/proc/self/fd/N": the way to call by name what a descriptor opened with O_PATH stands
 * for. */
struct fs_path {
    char text[32];
};
struct fs_path fs_path(int fd);

#endif
