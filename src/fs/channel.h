/* The connection to the kernel: threads that take requests from it, and the answers to writes.
 *
 * libfuse reads a request in one piece, so that the bytes of a write lie behind their header,
 * across pages, in memory of the session's: whoever needs them longer copies them. Here they come
 * page aligned in a buffer of their own, which the operation may keep. A write is taken and answered
 * without libfuse; everything else goes through fuse_session_process_buf(). */
#ifndef SQYFS_FS_CHANNEL_H
#define SQYFS_FS_CHANNEL_H

#include "fs/fs.h"

struct channel;

/* One write as the kernel has sent it; whoever answers later keeps a copy. */
struct channel_write {
    struct channel *channel;
    uint64_t unique; /* the request's number */
    struct handle *handle;
    uint64_t off;
    uint32_t size;
    uid_t uid;
    bool writeback; /* of a mapping, not of write(2): the kernel's, not of `uid` */
};

/* `session` is mounted, `fs` its operations' user data. Gives `fs` the channel. */
int channel_create(struct fuse_session *session, struct fs *fs, struct channel **out);
/* After the last answer. */
void channel_destroy(struct channel **channel);

struct fs *channel_fs(const struct channel *channel);

/* Serves until the mount is gone, or until fuse_session_exit() and a CHANNEL_NUDGE to the calling
 * thread. What has been received is begun; operations may answer afterwards, too. [waits] */
int channel_run(struct channel *channel);

/* A signal that does nothing but end a system call, and when to send it again, since a thread may
 * just have been going to sleep. */
#define CHANNEL_NUDGE    SIGUSR2
#define CHANNEL_NUDGE_MS 10

/* All bytes are written, or a negative errno. */
void channel_reply(const struct channel_write *write, int r);

#endif
