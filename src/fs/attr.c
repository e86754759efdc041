#include "fs/attr.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fs/request.h"

static bool keeps_privilege(mode_t mode)
{
    return S_ISREG(mode) && mode & (S_ISUID | S_ISGID);
}

static int read_with(struct inode *inode, struct stat *st,
                     int (*getattr)(struct stack *stack, struct stat *st))
{
    if (fstat(inode->fd, st) < 0)
        return -errno;
    int r = inode->stack != NULL ? getattr(inode->stack, st) : 0;
    if (r == 0)
        atomic_store(&inode->may_kill, keeps_privilege(st->st_mode));
    return r;
}

int attr_read(struct inode *inode, struct stat *st)
{
    return read_with(inode, st, stack_getattr);
}

int attr_try(struct inode *inode, struct stat *st)
{
    return read_with(inode, st, stack_try_getattr);
}

static bool has_bits(const struct inode *inode, struct stat *st)
{
    return fstat(inode->fd, st) == 0 && keeps_privilege(st->st_mode);
}

static void kill_bits(const struct inode *inode)
{
    struct stat st;
    if (!has_bits(inode, &st))
        return;
    mode_t mode = st.st_mode & 07777 & ~(mode_t)S_ISUID;
    if (mode & S_IXGRP)
        mode &= ~(mode_t)S_ISGID;
    chmod(fs_path(inode->fd).text, mode);
}

/* Not while another inode takes the place: that has them from the old one. */
void attr_kill_bits(uid_t uid, struct inode *inode)
{
    struct stat st;
    if (!atomic_load(&inode->may_kill) || uid == 0 || !has_bits(inode, &st))
        return;
    if (inode->stack != NULL)
        stack_begin_attr(inode->stack);
    kill_bits(inode);
    if (inode->stack != NULL)
        stack_end_attr(inode->stack);
}

static void reply_attr(fuse_req_t req, int r, const struct stat *st)
{
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_attr(req, st, FS_TIMEOUT_S);
}

static void read_and_reply(struct request *r)
{
    struct stat st;
    int e = attr_read(r->inode, &st);
    reply_attr(r->req, e, &st);
}

void attr_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    struct stat st;
    struct inode *inode = fs_inode(fs_of(req), ino);
    int e = attr_try(inode, &st);
    if (e != -EAGAIN) {
        reply_attr(req, e, &st);
        return;
    }
    struct request *r = request_new(req, read_and_reply, NULL, NULL);
    if (r == NULL)
        return;
    r->inode = inode;
    request_defer(r, FS_META);
}

/* ---- setattr ---- */

static struct timespec time_of(const struct timespec *given, int to_set, int set, int now)
{
    if (to_set & now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    if (to_set & set)
        return *given;
    return (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int set_times(const struct request *r)
{
    const struct timespec times[2] = {
        time_of(&r->attr.st_atim, r->flags, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW),
        time_of(&r->attr.st_mtim, r->flags, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW),
    };
    if (r->inode->stack != NULL)
        return stack_utimens(r->inode->stack, times);
    return utimensat(AT_FDCWD, fs_path(r->inode->fd).text, times, 0) < 0 ? -errno : 0;
}

static int set_owner(const struct request *r)
{
    uid_t uid = r->flags & FUSE_SET_ATTR_UID ? r->attr.st_uid : (uid_t)-1;
    gid_t gid = r->flags & FUSE_SET_ATTR_GID ? r->attr.st_gid : (gid_t)-1;
    return fchownat(r->inode->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno
                                                                                         : 0;
}

static int set_mode(const struct request *r)
{
    return chmod(fs_path(r->inode->fd).text, r->attr.st_mode & 07777) < 0 ? -errno : 0;
}

static int set_size(const struct request *r)
{
    if (r->inode->stack == NULL)
        return -EINVAL;
    attr_kill_bits(fuse_req_ctx(r->req)->uid, r->inode);
    return stack_truncate(r->inode->stack, (uint64_t)r->attr.st_size);
}

/* The owner before the mode: chown(2) takes set-user-id, and who sets both means the mode to stay.
 */
static void run_setattr(struct request *r)
{
    struct stack *stack = r->inode->stack;
    int e = 0;
    if (stack != NULL)
        stack_begin_attr(stack);
    if (r->flags == 0 || r->flags & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        e = set_owner(r); /* nothing to set: chown(2) to nobody, which moves ctime */
    if (e == 0 && r->flags & FUSE_SET_ATTR_MODE)
        e = set_mode(r);
    if (stack != NULL)
        stack_end_attr(stack);
    if (e == 0 && stack != NULL)
        stack_touch(stack);
    if (e == 0 && r->flags & FUSE_SET_ATTR_SIZE)
        e = set_size(r);
    const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
                      FUSE_SET_ATTR_MTIME_NOW;
    if (e == 0 && r->flags & times)
        e = set_times(r);
    if (e < 0)
        request_reply(r, e);
    else
        read_and_reply(r);
}

void attr_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                  struct fuse_file_info *fi)
{
    (void)fi;
    struct request *r = request_new(req, run_setattr, NULL, NULL);
    if (r == NULL)
        return;
    r->inode = fs_inode(r->fs, ino);
    r->attr = *attr;
    r->flags = to_set;
    request_defer(r, FS_META);
}

void attr_statfs(fuse_req_t req, fuse_ino_t ino)
{
    (void)ino;
    struct statvfs st;
    int r = volume_statfs(fs_of(req)->volume, &st);
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_statfs(req, &st);
}
