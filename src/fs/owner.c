#include "fs/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

mode_t owner_mode(fuse_req_t req, int dir_fd, mode_t mode)
{
    struct fs_path dir = fs_path(dir_fd);
    if (getxattr(dir.text, "system.posix_acl_default", NULL, 0) > 0)
        return mode;
    return mode & ~fuse_req_ctx(req)->umask;
}

/* As root, everything created is root's at first. Without root there is nobody else to give it to.
 */
int owner_give(fuse_req_t req, int dir_fd, int fd)
{
    if (!fs_of(req)->root)
        return 0;
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct stat dir, st;
    if (fstat(dir_fd, &dir) < 0 || fstat(fd, &st) < 0)
        return -errno;
    gid_t gid = dir.st_mode & S_ISGID ? (gid_t)-1 : ctx->gid;
    if (st.st_uid == ctx->uid && (gid == (gid_t)-1 || st.st_gid == gid))
        return 0;
    if (fchownat(fd, "", ctx->uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    /* chown(2) takes these bits from a file. */
    bool bits = st.st_mode & (S_ISUID | S_ISGID) && !S_ISLNK(st.st_mode);
    return bits && chmod(fs_path(fd).text, st.st_mode & 07777) < 0 ? -errno : 0;
}
