#include "fs/channel.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "fs/file.h"

#define MIN_THREADS 4u /* that take requests */
#define MAX_THREADS 16u

/* What comes before a write's bytes; the kernel wants room for it and the longest of them. Other
 * requests are shorter or longer than the head. */
#define HEAD_BYTES    (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define REQUEST_BYTES (HEAD_BYTES + BUFFER_BYTES)

/* What we want of the kernel and libfuse 3.14 does not know: files that are open for direct I/O may
 * be mapped, and it does not ask before each write whether there is a privilege to take, which is
 * our part then (attr_kill_bits()). */
#define DIRECT_MAPPINGS (1ull << 36) /* FUSE_DIRECT_IO_ALLOW_MMAP */
/* Linux 6.18. From 6.6 on it offers them, but a page that is read beside a direct write stays old. */
#define DIRECT_MINOR 45u
#define WANTED       (DIRECT_MAPPINGS | FUSE_HANDLE_KILLPRIV_V2)

struct receiver {
    struct channel *channel;
    pthread_t thread;
    uint8_t *request; /* REQUEST_BYTES: the head, and the rest of what is no write */
    void *payload;    /* of fs->buffers: the rest as it comes */
};

struct channel {
    struct fuse_session *session;
    struct fs *fs;
    int fd;
    sem_t ended; /* as often as receivers have */
    _Atomic int error;
    _Atomic uint64_t greeting; /* the number of the INIT request, or 0 */
    uint64_t offered;          /* with it, of what is WANTED */
    unsigned n_receivers;
    struct receiver receivers[MAX_THREADS];
};

/* ---- answers ---- */

/* libfuse's answer to the greeting is completed on its way out. */
static void accept_offer(struct channel *channel, const struct iovec *iov, int count)
{
    if (count < 2 || iov[1].iov_len < offsetof(struct fuse_init_out, unused))
        return;
    struct fuse_init_out *out = iov[1].iov_base;
    out->flags |= (uint32_t)channel->offered | FUSE_INIT_EXT;
    out->flags2 |= (uint32_t)(channel->offered >> 32);
    atomic_store(&channel->fs->direct_mappings, (channel->offered & DIRECT_MAPPINGS) != 0);
}

static ssize_t send_answer(int fd, struct iovec *iov, int count, void *userdata)
{
    struct channel *channel = (*(struct fs **)userdata)->channel;
    const struct fuse_out_header *out = iov[0].iov_base;
    uint64_t greeting = atomic_load(&channel->greeting);
    if (greeting != 0 && out->unique == greeting && out->error == 0)
        accept_offer(channel, iov, count);
    return writev(fd, iov, count);
}

/* libfuse wants one; requests are taken by the receivers alone. */
static ssize_t read_none(int fd, void *buf, size_t len, void *userdata)
{
    (void)fd;
    (void)buf;
    (void)len;
    (void)userdata;
    errno = ENOTSUP;
    return -1;
}

void channel_reply(const struct channel_write *write, int r)
{
    struct {
        struct fuse_out_header head;
        struct fuse_write_out body;
    } out = {.head = {.unique = write->unique, .error = r < 0 ? r : 0},
             .body = {.size = write->size}};
    out.head.len = r < 0 ? sizeof(out.head) : sizeof(out.head) + sizeof(out.body);
    struct iovec iov = {&out, out.head.len};
    /* ENOENT: the writer was killed and does not wait any more. */
    if (writev(write->channel->fd, &iov, 1) < 0 && errno != ENOENT &&
        !fuse_session_exited(write->channel->session))
        log_error("a write cannot be answered: %s", strerror(errno));
}

/* ---- requests ---- */

static void take_write(struct receiver *receiver, const struct fuse_in_header *head, size_t n)
{
    const struct fuse_write_in *in = (const void *)(head + 1);
    struct channel_write write = {
        .channel = receiver->channel,
        .unique = head->unique,
        .handle = (struct handle *)(uintptr_t)in->fh,
        .off = in->offset,
        .size = in->size,
        .uid = head->uid,
        .writeback = in->write_flags & FUSE_WRITE_CACHE,
    };
    log_debug("WRITE %" PRIu64 ": %" PRIu32 " bytes at %" PRIu64, head->unique, write.size,
              write.off);
    if (n - HEAD_BYTES != in->size)
        channel_reply(&write, -EIO);
    else
        file_write(&write, &receiver->payload);
}

/* Before libfuse has it. */
static void hear_greeting(struct channel *channel, const struct fuse_in_header *head, size_t n)
{
    const struct fuse_init_in *in = (const void *)(head + 1);
    if (n < sizeof(*head) + offsetof(struct fuse_init_in, unused) || !(in->flags & FUSE_INIT_EXT))
        return;
    channel->offered = ((uint64_t)in->flags2 << 32 | in->flags) & WANTED;
    if (in->minor < DIRECT_MINOR)
        channel->offered &= ~DIRECT_MAPPINGS;
    atomic_store(&channel->greeting, head->unique);
}

static void fail(struct channel *channel, int error)
{
    int none = 0;
    atomic_compare_exchange_strong(&channel->error, &none, error);
    fuse_session_exit(channel->session);
}

static void take_other(struct receiver *receiver, const struct fuse_in_header *head, size_t n)
{
    struct channel *channel = receiver->channel;
    if (n > HEAD_BYTES)
        memcpy(receiver->request + HEAD_BYTES, receiver->payload, n - HEAD_BYTES);
    if (head->opcode == FUSE_INIT)
        hear_greeting(channel, head, n);
    const struct fuse_buf buf = {.size = n, .mem = receiver->request};
    fuse_session_process_buf(channel->session, &buf);
    if (head->opcode == FUSE_INIT && fuse_session_exited(channel->session))
        fail(channel, -EPROTO); /* they do not understand each other; libfuse has said why */
}

/* The length of a request; 0: there will be no more. */
static ssize_t receive(struct receiver *receiver)
{
    const struct channel *channel = receiver->channel;
    const struct iovec iov[] = {{receiver->request, HEAD_BYTES}, {receiver->payload, BUFFER_BYTES}};
    while (!fuse_session_exited(channel->session)) {
        ssize_t n = readv(channel->fd, iov, 2);
        if (n >= (ssize_t)sizeof(struct fuse_in_header))
            return n;
        if (n >= 0)
            return -EIO;
        if (errno == ENODEV) /* unmounted, or the connection was aborted */
            fuse_session_exit(channel->session);
        else if (errno != EINTR && errno != EAGAIN && errno != ENOENT) /* given up as it was read */
            return -errno;
    }
    return 0;
}

static void *receiver_thread(void *arg)
{
    struct receiver *receiver = arg;
    struct channel *channel = receiver->channel;
    const struct fuse_in_header *head = (const void *)receiver->request;
    pthread_setname_np(pthread_self(), "fs-loop");
    ssize_t n;
    while ((n = receive(receiver)) > 0) {
        if (head->opcode == FUSE_WRITE && n >= (ssize_t)HEAD_BYTES)
            take_write(receiver, head, (size_t)n);
        else if (head->opcode != FUSE_INTERRUPT) /* nothing here ends earlier for it */
            take_other(receiver, head, (size_t)n);
    }
    if (n < 0)
        fail(channel, (int)n);
    sem_post(&channel->ended);
    return NULL;
}

/* ---- the threads ---- */

static void receiver_clear(struct receiver *receiver)
{
    free(receiver->request);
    buffer_give(receiver->channel->fs->buffers, receiver->payload);
}

static int receiver_start(struct channel *channel, struct receiver *receiver)
{
    *receiver = (struct receiver){.channel = channel,
                                  .request = malloc(REQUEST_BYTES),
                                  .payload = buffer_take(channel->fs->buffers)};
    int r = receiver->request != NULL && receiver->payload != NULL
                ? -pthread_create(&receiver->thread, NULL, receiver_thread, receiver)
                : -ENOMEM;
    if (r < 0)
        receiver_clear(receiver);
    return r;
}

static void nudge_all(struct channel *channel)
{
    for (unsigned i = 0; i < channel->n_receivers; i++)
        pthread_kill(channel->receivers[i].thread, CHANNEL_NUDGE);
}

static void wait_for_all(struct channel *channel)
{
    for (unsigned n = channel->n_receivers; n > 0;) {
        struct timespec again = now_later(CLOCK_REALTIME, CHANNEL_NUDGE_MS);
        bool exits = fuse_session_exited(channel->session);
        if (exits)
            nudge_all(channel);
        if ((exits ? sem_timedwait(&channel->ended, &again) : sem_wait(&channel->ended)) == 0)
            n--;
    }
}

int channel_run(struct channel *channel)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = cores < (long)MIN_THREADS   ? MIN_THREADS
                 : cores > (long)MAX_THREADS ? MAX_THREADS
                                             : (unsigned)cores;
    int r = 0;
    while (channel->n_receivers < n && r == 0) {
        r = receiver_start(channel, &channel->receivers[channel->n_receivers]);
        if (r == 0)
            channel->n_receivers++;
    }
    if (r < 0)
        fail(channel, r);
    wait_for_all(channel);
    while (channel->n_receivers > 0) {
        struct receiver *receiver = &channel->receivers[--channel->n_receivers];
        pthread_join(receiver->thread, NULL);
        receiver_clear(receiver);
    }
    return atomic_load(&channel->error);
}

int channel_create(struct fuse_session *session, struct fs *fs, struct channel **out)
{
    const struct fuse_custom_io io = {.writev = send_answer, .read = read_none};
    struct channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL)
        return -ENOMEM;
    channel->session = session;
    channel->fs = fs;
    channel->fd = fuse_session_fd(session);
    int r = fuse_session_custom_io(session, &io, channel->fd);
    if (r != 0) {
        free(channel);
        return r < 0 ? r : -EINVAL;
    }
    sem_init(&channel->ended, 0, 0);
    fs->channel = channel;
    *out = channel;
    return 0;
}

struct fs *channel_fs(const struct channel *channel)
{
    return channel->fs;
}

void channel_destroy(struct channel **channel_p)
{
    struct channel *channel = *channel_p;
    if (channel == NULL)
        return;
    sem_destroy(&channel->ended);
    free(channel);
    *channel_p = NULL;
}
