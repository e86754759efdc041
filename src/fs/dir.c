/* Entries come in the order of the backing directory, under their visible names. A listing is taken at
 * once, when a stream is begun or rewound: files get another spelling while they are listed, and must
 * not be met twice or missed for it. Offsets count the entries of that listing, or of the same one taken
 * anew where a stream begins in the middle, as those of file servers do. */
#include "fs/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/name.h"
#include "fs/request.h"

static int open_handle(const struct request *r, struct handle **out)
{
    int fd = openat(r->inode->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int e = -errno;
        close(fd);
        return e;
    }
    int e = handle_opendir(r->fs->handles, r->fs->inodes, r->inode, dir, out);
    if (e < 0)
        closedir(dir);
    return e;
}

static void run_open(struct request *r)
{
    struct handle *handle;
    int e;
    unsigned tries = 0;
    do {
        e = open_handle(r, &handle);
    } while (request_try_again(r, e, &tries));
    if (e < 0) {
        request_reply(r, e);
        return;
    }
    r->fi.fh = (uintptr_t)handle;
    if (fuse_reply_open(r->req, &r->fi) < 0)
        handle_close(r->fs->handles, r->fs->inodes, &handle);
}

void dir_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct request *r = request_new(req, run_open, NULL, NULL);
    if (r == NULL)
        return;
    r->inode = fs_inode(r->fs, ino);
    r->fi = *fi;
    request_defer(r, FS_META);
}

void dir_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    struct fs *fs = fs_of(req);
    struct handle *handle = (struct handle *)(uintptr_t)fi->fh;
    handle_close(fs->handles, fs->inodes, &handle);
    fuse_reply_err(req, 0);
}

/* ---- reading ---- */

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* 1; 0: not to be shown; or an error. */
static int visible_name(const struct request *r, const char *stored, char name[NAMES_MAX])
{
    struct inode *dir = r->handle->inode;
    if (!is_dots(stored))
        return tree_show(r->fs->tree, dir->fd, inode_is_root(r->fs->inodes, dir), stored, name);
    memcpy(name, stored, strlen(stored) + 1);
    return 1;
}

/* Attributes, where they can be had: without them an entry is only listed. Takes found->fd. */
static bool fill_entry(const struct request *r, const char *name, const struct tree_entry *found,
                       struct fuse_entry_param *entry)
{
    struct inode *inode;
    if (name_adopt(r->fs, r->handle->inode, name, found, &inode) < 0)
        return false;
    if (name_entry(r->fs, inode, entry) == 0)
        return true;
    inode_forget(r->fs->inodes, inode, 1);
    return false;
}

/* The kernel cannot forget an entry of a directory that is being read, so a long listing must not take
 * all descriptors. As visible_name(). */
static int look_up(const struct request *r, const char *stored, uint64_t ino, char name[NAMES_MAX],
                   struct fuse_entry_param *entry, bool *has_attr)
{
    struct inode *dir = r->handle->inode;
    struct tree_entry found;
    *has_attr = false;
    if (is_dots(stored) || inode_supply(r->fs->inodes) != INODE_PLENTY)
        return visible_name(r, stored, name);
    int e = tree_show_open(r->fs->tree, dir->fd, inode_is_root(r->fs->inodes, dir), stored, ino,
                           name, &found);
    if (e < 0)
        return e == -ENOENT ? 0 : visible_name(r, stored, name);
    *has_attr = e == 0 && fill_entry(r, name, &found, entry);
    return 1;
}

/* Bytes that an entry takes, or would; 0: it is not to be shown; or an error. */
static ssize_t add_name(const struct request *r, const struct dir_entry *d, const char *stored,
                        off_t next, char *at, size_t room)
{
    char name[NAMES_MAX];
    struct stat st = {.st_ino = d->ino, .st_mode = (mode_t)d->type << 12};
    int e = visible_name(r, stored, name);
    return e <= 0 ? e : (ssize_t)fuse_add_direntry(r->req, at, room, name, &st, next);
}

static ssize_t add_name_plus(const struct request *r, const struct dir_entry *d, const char *stored,
                             off_t next, char *at, size_t room)
{
    char name[NAMES_MAX];
    bool has_attr;
    struct fuse_entry_param entry;
    /* A visible name may be as long as the stored one. */
    size_t most = fuse_add_direntry_plus(r->req, NULL, 0, stored, NULL, 0);
    if (most > room)
        return (ssize_t)most;
    int e = look_up(r, stored, d->ino, name, &entry, &has_attr);
    if (e <= 0)
        return e;
    if (!has_attr)
        entry =
            (struct fuse_entry_param){.attr = {.st_ino = d->ino, .st_mode = (mode_t)d->type << 12}};
    return (ssize_t)fuse_add_direntry_plus(r->req, at, room, name, &entry, next);
}

static int remember(void *ctx, const struct dirent *d)
{
    struct dir_list *list = ctx;
    size_t len = strlen(d->d_name) + 1;
    if (list->n == list->cap) {
        size_t cap = list->cap * 2 + 64;
        struct dir_entry *grown = realloc(list->entries, cap * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        list->entries = grown;
        list->cap = cap;
    }
    if (list->names_len + len > list->names_cap) {
        size_t cap = list->names_cap * 2 + 4096;
        char *grown = realloc(list->names, cap);
        if (grown == NULL)
            return -ENOMEM;
        list->names = grown;
        list->names_cap = cap;
    }
    memcpy(list->names + list->names_len, d->d_name, len);
    list->entries[list->n++] = (struct dir_entry){d->d_ino, list->names_len, d->d_type};
    list->names_len += len;
    return 0;
}

/* Fills r->buffer from position r->off; bytes, or an error where there are none. */
static ssize_t fill(struct request *r)
{
    ssize_t (*add)(const struct request *r, const struct dir_entry *d, const char *stored,
                   off_t next, char *at, size_t room) = r->flags != 0 ? add_name_plus : add_name;
    struct dir_list *list = &r->handle->list;
    size_t used = 0;
    if (r->off == 0 || !list->taken) {
        list->taken = true;
        list->n = list->names_len = 0;
        int e = tree_list(r->fs->tree, r->handle->dir, remember, list);
        if (e < 0)
            return e;
    }
    for (size_t i = (size_t)r->off; i < list->n; i++) {
        const struct dir_entry *d = &list->entries[i];
        const char *stored = list->names + d->name;
        ssize_t n = add(r, d, stored, (off_t)i + 1, (char *)r->buffer + used, r->size - used);
        if (n < 0 && used == 0)
            return n;
        if (n < 0 || (size_t)n > r->size - used)
            break;
        used += (size_t)n;
    }
    return (ssize_t)used;
}

static void run_read(struct request *r)
{
    ssize_t n;
    unsigned tries = 0;
    do {
        pthread_mutex_lock(&r->handle->lock);
        n = fill(r);
        pthread_mutex_unlock(&r->handle->lock);
    } while (request_try_again(r, (int)n, &tries));
    if (n < 0)
        request_reply(r, (int)n);
    else
        fuse_reply_buf(r->req, r->buffer, (size_t)n);
}

static void defer_read(fuse_req_t req, size_t size, off_t off, const struct fuse_file_info *fi,
                       bool plus)
{
    struct request *r = request_new(req, run_read, NULL, NULL);
    if (r == NULL)
        return;
    r->buffer = buffer_take(r->fs->buffers);
    if (r->buffer == NULL) {
        request_drop(r, -ENOMEM);
        return;
    }
    r->handle = (struct handle *)(uintptr_t)fi->fh;
    r->size = size < BUFFER_BYTES ? size : BUFFER_BYTES;
    r->off = off;
    r->flags = plus;
    request_defer(r, FS_META);
}

void dir_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)ino;
    defer_read(req, size, off, fi, false);
}

void dir_read_plus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                   struct fuse_file_info *fi)
{
    (void)ino;
    defer_read(req, size, off, fi, true);
}

static void run_fsync(struct request *r)
{
    request_reply(r, fsync(dirfd(r->handle->dir)) < 0 ? -errno : 0);
}

void dir_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    struct request *r = request_new(req, run_fsync, NULL, NULL);
    if (r == NULL)
        return;
    r->handle = (struct handle *)(uintptr_t)fi->fh;
    request_defer(r, FS_SYNC);
}
