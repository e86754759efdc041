/* Absent on purpose: write (comes from the channel, without libfuse), locks (local,
 * the kernel keeps them), access (default_permissions), copy_file_range (the kernel copies). */
#include "fs/ops.h"

#include "fs/attr.h"
#include "fs/dir.h"
#include "fs/file.h"
#include "fs/name.h"
#include "fs/xattr.h"

#define MAX_BACKGROUND 64 /* requests of read-ahead and asynchronous I/O at a time */

static void want(struct fuse_conn_info *conn, unsigned capability, bool yes)
{
    if (yes && conn->capable & capability)
        conn->want |= capability;
    else
        conn->want &= ~capability;
}

static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    conn->max_write = BUFFER_BYTES;
    conn->max_read = BUFFER_BYTES;
    conn->max_readahead = BUFFER_BYTES;
    conn->max_background = MAX_BACKGROUND;
    conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
    want(conn, FUSE_CAP_DONT_MASK, true);
    want(conn, FUSE_CAP_POSIX_ACL, true);
    want(conn, FUSE_CAP_ATOMIC_O_TRUNC, true);
    /* The kernel takes set-user-id away by setattr then, but for direct writes; where it offers
     * HANDLE_KILLPRIV_V2, which libfuse does not know, the channel takes that. */
    want(conn, FUSE_CAP_HANDLE_KILLPRIV, false);
    want(conn, FUSE_CAP_WRITEBACK_CACHE, false);
    /* Listings always bring attributes: `ls -l` reads all names before it asks for the first, and then the
     * kernel, left to itself, would look up each. */
    want(conn, FUSE_CAP_READDIRPLUS, true);
    want(conn, FUSE_CAP_READDIRPLUS_AUTO, false);
    /* Copies are cheaper than pipes here, in both directions. */
    want(conn, FUSE_CAP_SPLICE_READ, false);
    want(conn, FUSE_CAP_SPLICE_WRITE, false);
    want(conn, FUSE_CAP_SPLICE_MOVE, false);
}

const struct fuse_lowlevel_ops ops_table = {
    .init = ops_init,
    .lookup = name_lookup,
    .forget = name_forget,
    .forget_multi = name_forget_multi,
    .getattr = attr_getattr,
    .setattr = attr_setattr,
    .readlink = name_readlink,
    .mknod = name_mknod,
    .mkdir = name_mkdir,
    .unlink = name_unlink,
    .rmdir = name_rmdir,
    .symlink = name_symlink,
    .rename = name_rename,
    .link = name_link,
    .open = file_open,
    .read = file_read,
    .flush = file_flush,
    .release = file_release,
    .fsync = file_fsync,
    .opendir = dir_open,
    .readdir = dir_read,
    .readdirplus = dir_read_plus,
    .releasedir = dir_release,
    .fsyncdir = dir_fsync,
    .statfs = attr_statfs,
    .setxattr = xattr_set,
    .getxattr = xattr_get,
    .listxattr = xattr_list,
    .removexattr = xattr_remove,
    .create = file_create,
    .fallocate = file_fallocate,
    .lseek = file_lseek,
};
