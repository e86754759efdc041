#include "fs/xattr.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/request.h"

#define PREFIX     "user.sqyfs."
#define MAX_VALUE  65536u /* the kernel's XATTR_SIZE_MAX and XATTR_LIST_MAX */
#define MAX_GROUPS 256

/* What follows our prefix; NULL for the backing file's attributes. */
static const char *own_name(const char *name)
{
    return strncmp(name, PREFIX, sizeof(PREFIX) - 1) == 0 ? name + sizeof(PREFIX) - 1 : NULL;
}

/* `size` 0 asks for the length. */
static void reply_value(fuse_req_t req, size_t size, const void *value, size_t len)
{
    if (size == 0)
        fuse_reply_xattr(req, len);
    else if (len > size)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, value, len);
}

/* ---- our own: reading ---- */

static int file_value(struct stack *stack, const char *what, char **out)
{
    struct stack_info info;
    int r = stack_info(stack, &info);
    if (r < 0)
        return r;
    int n = -ENODATA;
    if (strcmp(what, "state") == 0)
        n = asprintf(out, "%s", info.state);
    else if (strcmp(what, "pipeline") == 0)
        n = asprintf(out, "%s", info.pipeline);
    else if (strcmp(what, "ratio") == 0)
        n = asprintf(out, "%.3f", info.ratio);
    else if (strcmp(what, "quality") == 0 && info.quality[0] != '\0')
        n = asprintf(out, "%s", info.quality);
    else if (strcmp(what, "stored_bytes") == 0)
        n = asprintf(out, "%" PRIu64, info.stored_bytes);
    return n == -1 ? -ENOMEM : n < 0 ? n : 0;
}

static int directory_policy(const struct request *r, char path[PATH_MAX])
{
    return tree_path(r->fs->tree, r->inode->fd, path, PATH_MAX);
}

static int directory_value(struct request *r, const char *what, char **out)
{
    char path[PATH_MAX];
    if (strcmp(what, "stats") == 0 && inode_is_root(r->fs->inodes, r->inode)) {
        *out = volume_stats_json(r->fs->volume);
        return *out != NULL ? 0 : -ENOMEM;
    }
    if (!volume_policy_is(what))
        return -ENODATA;
    int e = directory_policy(r, path);
    return e < 0 ? e : volume_policy_get(r->fs->volume, what, path, out);
}

static void run_get_own(struct request *r)
{
    const char *what = own_name(r->name);
    char *value = NULL;
    int e = -ENODATA;
    if (r->inode->stack != NULL)
        e = file_value(r->inode->stack, what, &value);
    else if (S_ISDIR(r->inode->type))
        e = directory_value(r, what, &value);
    if (e < 0)
        request_reply(r, e);
    else
        reply_value(r->req, r->size, value, strlen(value));
    free(value);
}

/* ---- our own: writing ---- */

static bool is_value(const struct request *r, const char *text)
{
    return r->size == strlen(text) && memcmp(r->data, text, r->size) == 0;
}

static int run_command(const struct request *r)
{
    if (inode_is_root(r->fs->inodes, r->inode) && is_value(r, "drain"))
        return volume_drain(r->fs->volume);
    if (r->inode->stack != NULL && is_value(r, "compact"))
        return stack_compact(r->inode->stack);
    return -EINVAL;
}

/* r->data NULL removes. */
static int set_policy(const struct request *r)
{
    char path[PATH_MAX];
    const char *what = own_name(r->name);
    if (r->data != NULL && memchr(r->data, '\0', r->size) != NULL)
        return -EINVAL;
    int e = directory_policy(r, path);
    if (e < 0)
        return e;
    char *present = NULL;
    e = volume_policy_get(r->fs->volume, what, path, &present);
    free(present);
    if (e == 0 && r->flags & XATTR_CREATE)
        return -EEXIST;
    if (e == -ENODATA && r->flags & XATTR_REPLACE)
        return -ENODATA;
    return volume_policy_set(r->fs->volume, what, path, r->data);
}

static void run_set_own(struct request *r)
{
    const char *what = own_name(r->name);
    int e = -EPERM;
    if (volume_is_read_only(r->fs->volume))
        e = -EROFS;
    else if (strcmp(what, "command") == 0)
        e = run_command(r);
    else if (volume_policy_is(what) && S_ISDIR(r->inode->type))
        e = set_policy(r);
    request_reply(r, e);
}

static void run_remove_own(struct request *r)
{
    bool policy = volume_policy_is(own_name(r->name)) && S_ISDIR(r->inode->type);
    request_reply(r, policy ? set_policy(r) : -EPERM);
}

/* ---- the backing file's ---- */

void xattr_get(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct fs *fs = fs_of(req);
    struct inode *inode = fs_inode(fs, ino);
    if (own_name(name) != NULL) {
        struct request *r = request_new(req, run_get_own, name, NULL);
        if (r == NULL)
            return;
        r->inode = inode;
        r->size = size;
        request_defer(r, FS_META);
        return;
    }
    char value[MAX_VALUE];
    size_t room = size < MAX_VALUE ? size : MAX_VALUE;
    ssize_t n = getxattr(fs_path(inode->fd).text, name, value, room);
    if (n < 0)
        fuse_reply_err(req, errno);
    else
        reply_value(req, size, value, (size_t)n);
}

void xattr_list(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    char list[MAX_VALUE];
    size_t room = size < MAX_VALUE ? size : MAX_VALUE;
    ssize_t n = listxattr(fs_path(fs_inode(fs_of(req), ino)->fd).text, list, room);
    if (n < 0)
        fuse_reply_err(req, errno);
    else
        reply_value(req, size, list, (size_t)n);
}

/* An ACL is the file's mode too, and chmod(2) takes set-group-id from who is not of the group. */
static void kill_group_bit(fuse_req_t req, const struct inode *inode)
{
    struct stat st;
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    if (ctx->uid == 0 || fstat(inode->fd, &st) < 0 || !(st.st_mode & S_ISGID) ||
        st.st_gid == ctx->gid)
        return;
    gid_t groups[MAX_GROUPS];
    int n = fuse_req_getgroups(req, MAX_GROUPS, groups);
    for (int i = 0; i < n && i < MAX_GROUPS; i++) {
        if (groups[i] == st.st_gid)
            return;
    }
    chmod(fs_path(inode->fd).text, st.st_mode & 07777 & ~(mode_t)S_ISGID);
}

static void end_change(struct stack *stack, int e)
{
    if (stack == NULL)
        return;
    stack_end_attr(stack);
    if (e == 0)
        stack_touch(stack);
}

static void run_set(struct request *r)
{
    struct stack *stack = r->inode->stack;
    if (stack != NULL)
        stack_begin_attr(stack);
    struct fs_path path = fs_path(r->inode->fd);
    int e = setxattr(path.text, r->name, r->data, r->size, r->flags) < 0 ? -errno : 0;
    if (e == 0 && strcmp(r->name, "system.posix_acl_access") == 0)
        kill_group_bit(r->req, r->inode);
    end_change(stack, e);
    request_reply(r, e);
}

static void run_remove(struct request *r)
{
    struct stack *stack = r->inode->stack;
    if (stack != NULL)
        stack_begin_attr(stack);
    int e = removexattr(fs_path(r->inode->fd).text, r->name) < 0 ? -errno : 0;
    end_change(stack, e);
    request_reply(r, e);
}

void xattr_set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
               int flags)
{
    const char *own = own_name(name);
    struct request *r = request_new(req, own != NULL ? run_set_own : run_set, name, NULL);
    if (r == NULL)
        return;
    r->data = malloc(size + 1);
    if (r->data == NULL) {
        request_drop(r, -ENOMEM);
        return;
    }
    memcpy(r->data, value, size);
    ((char *)r->data)[size] = '\0';
    r->inode = fs_inode(r->fs, ino);
    r->size = size;
    r->flags = flags;
    request_defer(r, own != NULL && strcmp(own, "command") == 0 ? FS_COMMAND : FS_META);
}

void xattr_remove(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct request *r =
        request_new(req, own_name(name) != NULL ? run_remove_own : run_remove, name, NULL);
    if (r == NULL)
        return;
    r->inode = fs_inode(r->fs, ino);
    request_defer(r, FS_META);
}
