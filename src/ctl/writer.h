/* Whether somebody is writing to a file just now. */
#ifndef SQYFS_CTL_WRITER_H
#define SQYFS_CTL_WRITER_H

#include <stdbool.h>

/* `fd`: opened for reading only. Where the kernel does not tell (another's file, a network
 * filesystem), the file is watched for longer than a mount leaves a blob that it writes to without
 * a checkpoint: it is being written if it changes. */
bool writer_is_there(int fd);

#endif
