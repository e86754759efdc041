#include "fs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/attr.h"
#include "fs/name.h"
#include "fs/owner.h"
#include "fs/request.h"

static struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

static bool opens_for_write(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

/* ---- opening ---- */

/* Who only writes, or writes a new file, goes past the page cache, which halves the cost of a byte.
 * A file that was there before and is opened for both is rather read, and small reads want the
 * cache. Mappings need it, too, but newer kernels see to that. What is cached stays: the kernel
 * drops it by itself when size or mtime have changed; after archiving, which leaves both, it is told to by
 * whoever opens the file, until the first of them, who has seen to that, closes it. */
static void fill_open(struct request *r, struct handle *handle, bool fresh)
{
    bool both = (r->fi.flags & O_ACCMODE) == O_RDWR;
    bool writes =
        both ? fresh && atomic_load(&r->fs->direct_mappings) : opens_for_write(r->fi.flags);
    r->fi.fh = (uintptr_t)handle;
    r->fi.direct_io = writes;
    handle->refreshes = stack_pages_are_stale(handle->inode->stack);
    r->fi.keep_cache = !writes && !handle->refreshes;
    r->fi.noflush = !handle->write; /* file_flush() would have nothing to say */
}

/* `*rw_fd` (or -1) is the stack's, and -1 here, as soon as the stack is open. */
static int open_handle(struct request *r, struct inode *inode, int *rw_fd, struct handle **out)
{
    bool write = opens_for_write(r->fi.flags), fresh = *rw_fd >= 0;
    int e = stack_open(inode->stack, write, *rw_fd);
    if (e == -EROFS && r->fi.flags & O_TRUNC && write) { /* not to be changed, but to be replaced */
        e = stack_truncate(inode->stack, 0);
        if (e == 0)
            e = stack_open(inode->stack, write, *rw_fd);
    }
    if (e < 0)
        return e;
    *rw_fd = -1;
    if (r->fi.flags & O_TRUNC && !fresh) {
        attr_kill_bits(fuse_req_ctx(r->req)->uid, inode);
        e = stack_truncate(inode->stack, 0);
    }
    if (e == 0)
        e = handle_open(r->fs->handles, r->fs->inodes, inode, write, out);
    if (e < 0) {
        stack_release(inode->stack, write);
        return e;
    }
    fill_open(r, *out, fresh || r->fi.flags & O_TRUNC);
    return 0;
}

static void run_open(struct request *r)
{
    struct handle *handle;
    int e, fd = -1;
    unsigned tries = 0;
    do {
        e = open_handle(r, r->inode, &fd, &handle);
    } while (request_try_again(r, e, &tries));
    if (e < 0)
        request_reply(r, e);
    else if (fuse_reply_open(r->req, &r->fi) < 0)
        handle_close(r->fs->handles, r->fs->inodes, &handle);
}

void file_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct inode *inode = fs_inode(fs_of(req), ino);
    if (inode->stack == NULL) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    struct request *r = request_new(req, run_open, NULL, NULL);
    if (r == NULL)
        return;
    r->inode = inode;
    r->fi = *fi;
    request_defer(r, FS_META);
}

/* Makes the file and its inode; *fd stays the caller's. */
static int make_file(struct request *r, int *fd, struct inode **out)
{
    int dir_fd = r->inode->fd;
    mode_t mode = owner_mode(r->req, dir_fd, r->mode) & 07777;
    int made;
    int e = tree_create_file(r->fs->tree, dir_fd, r->name, mode, &made);
    if (e < 0)
        return e;
    struct tree_entry entry = {.fd = -1};
    e = owner_give(r->req, dir_fd, made);
    if (e == 0) {
        entry.fd = open(fs_path(made).text, O_PATH | O_CLOEXEC);
        e = entry.fd < 0 || fstat(made, &entry.st) < 0 ? -errno : 0;
    }
    if (e == 0) {
        entry.blob = names_has_suffix(r->name);
        uint64_t parent = inode_id(r->fs->inodes, r->inode);
        e = inode_lookup(r->fs->inodes, r->fs->volume, &entry, parent, r->name, out);
        if (e == 0) {
            *fd = made;
            return 0;
        }
    } else if (entry.fd >= 0) {
        close(entry.fd);
    }
    close(made);
    tree_unlink(r->fs->tree, dir_fd, r->name);
    return e;
}

/* A new file, or (without O_EXCL) the one that somebody else has made meanwhile. */
static int create_handle(struct request *r, struct inode **inode, struct handle **handle)
{
    int fd = -1;
    int e = make_file(r, &fd, inode);
    bool made = e == 0;
    if (e == -EEXIST && !(r->fi.flags & O_EXCL)) {
        e = name_find(r->fs, r->inode, r->name, inode);
        if (e == 0 && (*inode)->stack == NULL) {
            e = S_ISDIR((*inode)->type) ? -EISDIR : -EEXIST;
            inode_forget(r->fs->inodes, *inode, 1);
        }
    }
    if (e < 0)
        return e;
    if (made && !opens_for_write(r->fi.flags)) {
        close(fd);
        fd = -1;
        r->fi.flags &= ~O_TRUNC;
    }
    e = open_handle(r, *inode, &fd, handle);
    if (fd >= 0)
        close(fd);
    if (e < 0 && made)
        tree_unlink(r->fs->tree, r->inode->fd, r->name);
    if (e < 0)
        inode_forget(r->fs->inodes, *inode, 1);
    return e;
}

static void run_create(struct request *r)
{
    struct inode *inode;
    struct handle *handle;
    struct fuse_entry_param entry;
    int e;
    unsigned tries = 0;
    do {
        e = create_handle(r, &inode, &handle);
    } while (request_try_again(r, e, &tries));
    if (e < 0) {
        request_reply(r, e);
        return;
    }
    e = name_entry(r->fs, inode, &entry);
    if (e < 0)
        request_reply(r, e);
    else
        e = fuse_reply_create(r->req, &entry, &r->fi);
    if (e < 0) {
        handle_close(r->fs->handles, r->fs->inodes, &handle);
        inode_forget(r->fs->inodes, inode, 1);
    }
}

void file_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                 struct fuse_file_info *fi)
{
    struct request *r = request_new(req, run_create, name, NULL);
    if (r == NULL)
        return;
    r->inode = fs_inode(r->fs, parent);
    r->mode = mode;
    r->fi = *fi;
    request_defer(r, FS_META);
}

static void run_release(struct request *r)
{
    if (r->handle->refreshes)
        stack_pages_are_fresh(r->handle->inode->stack);
    handle_close(r->fs->handles, r->fs->inodes, &r->handle);
    request_reply(r, 0);
}

/* close(2): storing goes on in the background, but who wrote hears of it when it fails. */
void file_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    struct handle *handle = handle_of(fi);
    fuse_reply_err(req, handle->write ? -stack_error(handle->inode->stack) : 0);
}

void file_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    struct request *r = request_new(req, run_release, NULL, NULL);
    if (r == NULL)
        return; /* closed with the list, at the end */
    r->handle = handle_of(fi);
    request_defer(r, FS_META);
}

/* ---- bytes ---- */

/* Answers with what lies in `buffer` and in the cache; -EAGAIN where !wait and it would have to wait. */
static int read_and_reply(fuse_req_t req, struct handle *handle, void *buffer, size_t size,
                          off_t off, bool wait)
{
    struct stack *stack = handle->inode->stack;
    struct stack_view view = {.buf = buffer};
    ssize_t n = stack_view(stack, &handle->reader, &view, size, (uint64_t)off, wait);
    if (n == -EAGAIN && !wait)
        return -EAGAIN;
    if (n < 0) {
        fuse_reply_err(req, (int)-n);
        return 0;
    }
    if (n > 0)
        fuse_reply_iov(req, view.iov, (int)view.n);
    else
        fuse_reply_buf(req, NULL, 0);
    stack_view_end(&view); /* by now all else may be gone */
    return 0;
}

static void run_read(struct request *r)
{
    read_and_reply(r->req, r->handle, r->buffer, r->size, r->off, true);
}

void file_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)ino;
    struct fs *fs = fs_of(req);
    struct handle *handle = handle_of(fi);
    void *buffer = size <= BUFFER_BYTES ? buffer_take(fs->buffers) : NULL;
    if (buffer == NULL) {
        fuse_reply_err(req, size <= BUFFER_BYTES ? ENOMEM : EINVAL);
        return;
    }
    if (read_and_reply(req, handle, buffer, size, off, false) != -EAGAIN) {
        buffer_give(fs->buffers, buffer);
        return;
    }
    struct request *r = request_new(req, run_read, NULL, NULL);
    if (r == NULL) {
        buffer_give(fs->buffers, buffer);
        return;
    }
    r->handle = handle;
    r->buffer = buffer;
    r->size = size;
    r->off = off;
    request_defer(r, stack_is_slow(handle->inode->stack) ? FS_WHOLE : FS_READ);
}

/* A write that has to wait. The kernel bounds how many there can be: one a writing thread. */
struct late_write {
    struct work work;
    struct channel_write write;
    struct buffer_pool *buffers;
    uint8_t *payload;
    uint32_t done; /* bytes of it that have been accepted */
};

static void run_write(struct work *work)
{
    struct late_write *late = (struct late_write *)work;
    const struct channel_write *write = &late->write;
    ssize_t n = stack_write(write->handle->inode->stack, late->payload + late->done,
                            write->size - late->done, write->off + late->done, true);
    channel_reply(write, n < 0 ? (int)n : 0);
    buffer_give(late->buffers, late->payload);
    free(late);
}

static void defer_write(const struct channel_write *write, void **payload, uint32_t done)
{
    _Static_assert(offsetof(struct late_write, work) == 0, "run_write() casts");
    struct fs *fs = channel_fs(write->channel);
    struct late_write *late = malloc(sizeof(*late));
    void *other = late != NULL ? buffer_take(fs->buffers) : NULL;
    if (other == NULL) {
        free(late);
        channel_reply(write, -ENOMEM);
        return;
    }
    *late = (struct late_write){{.run = run_write}, *write, fs->buffers, *payload, done};
    *payload = other;
    workq_push(fs->pools[FS_WRITE], &late->work);
}

void file_write(const struct channel_write *write, void **payload)
{
    struct inode *inode = write->handle->inode;
    if (!write->writeback)
        attr_kill_bits(write->uid, inode);
    ssize_t n = stack_write(inode->stack, *payload, write->size, write->off, false);
    if (n >= 0 && n < write->size)
        defer_write(write, payload, (uint32_t)n);
    else
        channel_reply(write, n < 0 ? (int)n : 0);
}

/* ---- the rest ---- */

static void run_fsync(struct request *r)
{
    request_reply(r, stack_fsync(r->handle->inode->stack));
}

void file_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync; /* the size is data, and there is little else */
    struct request *r = request_new(req, run_fsync, NULL, NULL);
    if (r == NULL)
        return;
    r->handle = handle_of(fi);
    request_defer(r, FS_SYNC);
}

static void run_fallocate(struct request *r)
{
    request_reply(r, stack_fallocate(r->handle->inode->stack, r->flags, (uint64_t)r->off, r->size));
}

void file_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                    struct fuse_file_info *fi)
{
    (void)ino;
    struct request *r = request_new(req, run_fallocate, NULL, NULL);
    if (r == NULL)
        return;
    r->handle = handle_of(fi);
    r->flags = mode;
    r->off = off;
    r->size = (size_t)len;
    request_defer(r, FS_META);
}

static void run_lseek(struct request *r)
{
    int64_t off = stack_seek(r->handle->inode->stack, (uint64_t)r->off, r->flags);
    if (off < 0)
        request_reply(r, (int)off);
    else
        fuse_reply_lseek(r->req, off);
}

void file_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    (void)ino;
    struct request *r = request_new(req, run_lseek, NULL, NULL);
    if (r == NULL)
        return;
    r->handle = handle_of(fi);
    r->off = off;
    r->flags = whence;
    request_defer(r, FS_META);
}
