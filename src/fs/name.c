#include "fs/name.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/attr.h"
#include "fs/owner.h"
#include "fs/request.h"

#define SCARCE_MS 2

int name_adopt(struct fs *fs, struct inode *dir, const char *name, const struct tree_entry *entry,
               struct inode **out)
{
    return inode_lookup(fs->inodes, fs->volume, entry, inode_id(fs->inodes, dir), name, out);
}

int name_find(struct fs *fs, struct inode *dir, const char *name, struct inode **out)
{
    struct tree_entry entry;
    int r = tree_lookup(fs->tree, dir->fd, name, &entry);
    return r < 0 ? r : name_adopt(fs, dir, name, &entry, out);
}

static void fill_entry(const struct fs *fs, const struct inode *inode,
                       struct fuse_entry_param *entry)
{
    entry->ino = inode_id(fs->inodes, inode);
    entry->generation = inode->generation;
    entry->attr_timeout = FS_TIMEOUT_S;
    entry->entry_timeout = FS_TIMEOUT_S;
}

int name_entry(struct fs *fs, struct inode *inode, struct fuse_entry_param *out)
{
    memset(out, 0, sizeof(*out));
    int r = attr_read(inode, &out->attr);
    if (r == 0)
        fill_entry(fs, inode, out);
    return r;
}

/* Answers with an inode that has been looked up for this answer; `r`: whether its attributes are in
 * *entry. */
static void reply_entry(struct fs *fs, fuse_req_t req, struct inode *inode, int r,
                        struct fuse_entry_param *entry)
{
    if (r < 0) {
        fuse_reply_err(req, -r);
    } else {
        fill_entry(fs, inode, entry);
        r = fuse_reply_entry(req, entry);
    }
    if (r < 0) /* the kernel did not get it */
        inode_forget(fs->inodes, inode, 1);
}

static void read_and_reply(struct fs *fs, fuse_req_t req, struct inode *inode)
{
    struct fuse_entry_param entry = {.ino = 0};
    int r = attr_read(inode, &entry.attr);
    reply_entry(fs, req, inode, r, &entry);
}

static void run_lookup(struct request *r)
{
    struct inode *inode;
    /* Time for whoever makes the kernel forget others. */
    if (inode_supply(r->fs->inodes) == INODE_SCARCE)
        nanosleep(&(struct timespec){.tv_nsec = SCARCE_MS * 1000000l}, NULL);
    int e;
    unsigned tries = 0;
    do {
        e = name_find(r->fs, r->inode, r->name, &inode);
    } while (request_try_again(r, e, &tries));
    if (e < 0)
        request_reply(r, e);
    else
        read_and_reply(r->fs, r->req, inode);
}

static void run_entry(struct request *r)
{
    read_and_reply(r->fs, r->req, r->other);
}

/* At once, unless that would wait: for a descriptor, or the attributes of a blob that neither memory nor
 * the index knows. */
void name_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fs *fs = fs_of(req);
    struct inode *inode, *dir = fs_inode(fs, parent);
    int e = name_find(fs, dir, name, &inode);
    bool scarce = inode_supply(fs->inodes) == INODE_SCARCE;
    struct fuse_entry_param entry = {.ino = 0};
    int known = e == 0 && !scarce ? attr_try(inode, &entry.attr) : -EAGAIN;
    if (known != -EAGAIN) {
        reply_entry(fs, req, inode, known, &entry);
        return;
    }
    if (e < 0 && e != -EMFILE) {
        fuse_reply_err(req, -e);
        return;
    }
    bool found = e == 0 && !scarce;
    if (e == 0 && scarce)
        inode_forget(fs->inodes, inode, 1);
    struct request *r = request_new(req, found ? run_entry : run_lookup, name, NULL);
    if (r == NULL) {
        if (found)
            inode_forget(fs->inodes, inode, 1);
        return;
    }
    r->inode = dir;
    r->other = found ? inode : NULL;
    request_defer(r, FS_META);
}

void name_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    struct fs *fs = fs_of(req);
    inode_forget(fs->inodes, fs_inode(fs, ino), n);
    fuse_reply_none(req);
}

void name_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct fs *fs = fs_of(req);
    for (size_t i = 0; i < count; i++)
        inode_forget(fs->inodes, fs_inode(fs, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}

void name_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(fs_inode(fs_of(req), ino)->fd, "", target, sizeof(target) - 1);
    if (n < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    target[n] = '\0';
    fuse_reply_readlink(req, target);
}

/* ---- making ---- */

/* What was just made under r->name goes to its owner and into the answer. */
static void reply_made(struct request *r)
{
    struct tree_entry entry;
    struct inode *inode;
    int dir_fd = r->inode->fd;
    int e = tree_lookup(r->fs->tree, dir_fd, r->name, &entry);
    if (e < 0) {
        request_reply(r, e);
        return;
    }
    e = owner_give(r->req, dir_fd, entry.fd);
    if (e < 0) {
        if (S_ISDIR(entry.st.st_mode))
            tree_rmdir(r->fs->tree, dir_fd, r->name);
        else
            tree_unlink(r->fs->tree, dir_fd, r->name);
        close(entry.fd);
    } else {
        uint64_t parent = inode_id(r->fs->inodes, r->inode);
        e = inode_lookup(r->fs->inodes, r->fs->volume, &entry, parent, r->name, &inode);
    }
    if (e < 0)
        request_reply(r, e);
    else
        read_and_reply(r->fs, r->req, inode);
}

static void run_mknod(struct request *r)
{
    mode_t mode = owner_mode(r->req, r->inode->fd, r->mode);
    int e, fd;
    if (S_ISREG(mode)) {
        e = tree_create_file(r->fs->tree, r->inode->fd, r->name, mode & 07777, &fd);
        if (e == 0)
            close(fd);
    } else {
        e = tree_mknod(r->fs->tree, r->inode->fd, r->name, mode, r->rdev);
    }
    if (e < 0)
        request_reply(r, e);
    else
        reply_made(r);
}

void name_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct request *r = request_new(req, run_mknod, name, NULL);
    if (r == NULL)
        return;
    r->inode = fs_inode(r->fs, parent);
    r->mode = mode;
    r->rdev = rdev;
    request_defer(r, FS_META);
}

static void run_mkdir(struct request *r)
{
    mode_t mode = owner_mode(r->req, r->inode->fd, r->mode);
    int e = tree_mkdir(r->fs->tree, r->inode->fd, r->name, mode);
    if (e < 0)
        request_reply(r, e);
    else
        reply_made(r);
}

void name_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct request *r = request_new(req, run_mkdir, name, NULL);
    if (r == NULL)
        return;
    r->inode = fs_inode(r->fs, parent);
    r->mode = mode;
    request_defer(r, FS_META);
}

static void run_symlink(struct request *r)
{
    int e = tree_symlink(r->fs->tree, r->name2, r->inode->fd, r->name);
    if (e < 0)
        request_reply(r, e);
    else
        reply_made(r);
}

void name_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct request *r = request_new(req, run_symlink, name, target);
    if (r == NULL)
        return;
    r->inode = fs_inode(r->fs, parent);
    request_defer(r, FS_META);
}

static void run_link(struct request *r)
{
    struct inode *inode = r->other;
    int e = 0;
    if (inode->stack != NULL)
        e = stack_fix_kind(inode->stack);
    if (e == 0) {
        bool blob = inode->stack != NULL && stack_is_blob(inode->stack);
        e = tree_link(r->fs->tree, inode->fd, blob, r->inode->fd, r->name);
    }
    if (e < 0) {
        request_reply(r, e);
        return;
    }
    if (inode->stack != NULL)
        stack_touch(inode->stack);
    inode_again(r->fs->inodes, inode);
    read_and_reply(r->fs, r->req, inode);
}

void name_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
    struct request *r = request_new(req, run_link, new_name, NULL);
    if (r == NULL)
        return;
    r->inode = fs_inode(r->fs, new_parent);
    r->other = fs_inode(r->fs, ino);
    request_defer(r, FS_META);
}

/* ---- removing and moving ---- */

/* Visible path of a name, for the index; false where it cannot be told, which the index survives.
 */
static bool path_of(struct fs *fs, const struct inode *dir, const char *name, char path[PATH_MAX])
{
    char parent[PATH_MAX];
    if (tree_path(fs->tree, dir->fd, parent, sizeof(parent)) < 0)
        return false;
    int n = snprintf(path, PATH_MAX, "%s%s%s", parent, parent[0] != '\0' ? "/" : "", name);
    return n < PATH_MAX;
}

static void run_remove(struct request *r)
{
    char path[PATH_MAX];
    bool directory = r->flags != 0;
    struct tree_entry entry;
    bool known = !directory && tree_lookup(r->fs->tree, r->inode->fd, r->name, &entry) == 0;
    int e = directory ? tree_rmdir(r->fs->tree, r->inode->fd, r->name)
                      : tree_unlink(r->fs->tree, r->inode->fd, r->name);
    if (e == 0 && known)
        stack_lost_name(r->fs->volume, entry.fd);
    if (known)
        close(entry.fd);
    if (e == 0 && path_of(r->fs, r->inode, r->name, path))
        volume_note_unlink(r->fs->volume, path);
    request_reply(r, e);
}

static void defer_remove(fuse_req_t req, fuse_ino_t parent, const char *name, bool directory)
{
    struct request *r = request_new(req, run_remove, name, NULL);
    if (r == NULL)
        return;
    r->inode = fs_inode(r->fs, parent);
    r->flags = directory;
    request_defer(r, FS_META);
}

void name_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    defer_remove(req, parent, name, false);
}

void name_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    defer_remove(req, parent, name, true);
}

/* The answer waits for the notes, so that those of a name come in the order of its changes. */
static void note_rename(struct fs *fs, const char *from, const char *to, bool exchange)
{
    if (exchange)
        volume_note_exchange(fs->volume, from, to);
    else
        volume_note_rename(fs->volume, from, to);
}

/* A file that is replaced was safe; what replaces it, written a moment ago, must be as safe first: a
 * program that saves by renaming, without fsync(2), would have neither after an accident. */
static int secure_source(const struct request *r, const struct tree_entry *to)
{
    struct tree_entry from;
    struct stack *stack = NULL;
    if (tree_lookup(r->fs->tree, r->inode->fd, r->name, &from) < 0)
        return 0;
    bool same = from.st.st_ino == to->st.st_ino && from.st.st_dev == to->st.st_dev;
    if (!S_ISREG(from.st.st_mode) || same ||
        stack_get(r->fs->volume, from.fd, from.blob, &stack) < 0) {
        close(from.fd);
        return 0;
    }
    int e = stack_secure(stack, to->blob);
    stack_put(&stack);
    return e;
}

static void run_rename(struct request *r)
{
    char from[PATH_MAX], to[PATH_MAX];
    unsigned flags = (unsigned)r->flags;
    struct tree_entry over;
    bool replaces = flags == 0 && tree_lookup(r->fs->tree, r->other->fd, r->name2, &over) == 0;
    int e = replaces ? secure_source(r, &over) : 0;
    if (e == 0)
        e = tree_rename(r->fs->tree, r->inode->fd, r->name, r->other->fd, r->name2, flags);
    if (e == 0 && replaces)
        stack_lost_name(r->fs->volume, over.fd);
    if (replaces)
        close(over.fd);
    if (e == 0 && path_of(r->fs, r->inode, r->name, from) && path_of(r->fs, r->other, r->name2, to))
        note_rename(r->fs, from, to, flags & RENAME_EXCHANGE);
    request_reply(r, e);
}

void name_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                 const char *new_name, unsigned flags)
{
    struct request *r = request_new(req, run_rename, name, new_name);
    if (r == NULL)
        return;
    r->inode = fs_inode(r->fs, parent);
    r->other = fs_inode(r->fs, new_parent);
    r->flags = (int)flags;
    request_defer(r, FS_META);
}
