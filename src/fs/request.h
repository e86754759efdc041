/* Requests that are answered later, from a pool: what the kernel passed, copied, and what to do. */
#ifndef SQYFS_FS_REQUEST_H
#define SQYFS_FS_REQUEST_H

#include "fs/fs.h"

struct request {
    struct work work;
    void (*run)(struct request *request); /* must answer */
    fuse_req_t req;
    struct fs *fs;
    struct inode *inode; /* operated on, or the directory of `name` */
    struct inode *other; /* a second one */
    struct handle *handle;
    char *name, *name2; /* owned */
    void *data;         /* owned: malloc */
    void *buffer;       /* owned: of fs->buffers */
    size_t size;
    off_t off;
    int flags;
    mode_t mode;
    dev_t rdev;
    struct stat attr;
    struct fuse_file_info fi;
};

/* NULL: out of memory, the request has been answered so. The names, which may be NULL, are copied.
 */
struct request *request_new(fuse_req_t req, void (*run)(struct request *), const char *name,
                            const char *name2);
/* Queues it; it frees itself after run(). */
void request_defer(struct request *request, enum fs_pool pool);
/* For what has failed with -EMFILE: true when it is worth trying again, after a while in which
 * others may have given descriptors back. `tries` begins at 0. [waits] */
bool request_try_again(const struct request *request, int r, unsigned *tries);

/* Answers with an error and frees it, instead. */
void request_drop(struct request *request, int r);

/* Answers with an error, given as a negative errno, or 0. */
void request_reply(const struct request *request, int r);

#endif
