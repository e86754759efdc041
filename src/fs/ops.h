/* The table of operations that the session calls. */
#ifndef SQYFS_FS_OPS_H
#define SQYFS_FS_OPS_H

#include "fs/fs.h"

extern const struct fuse_lowlevel_ops ops_table;

#endif
