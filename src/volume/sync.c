/* Checkpoints made durable, several at a time: while the disk is busy with one group, requests
 * gather for the next. A group of a few blobs is synced blob by blob; a larger one by syncing the
 * whole filesystem twice, once before the checkpoints are written and once after, so that a
 * thousand small files cost two syncs and not two thousand. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* Above this many blobs one sync of the filesystem is cheaper than one for each. */
#define SYNC_GROUP 4u

struct sync_request {
    struct sync_request *next;
    struct blobref *ref;
    const struct blob_state *state;
    unsigned flags;
    bool sync_name;
    bool done; /* guarded by volume.sync_lock */
    int result;
};

/* Background appends must not move the visible mtime: the backing file shows what the checkpoint
 * says. */
static void restore_mtime(const struct sync_request *request)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, request->state->mtime};
    if (futimens(blob_fd(request->ref->blob), times) < 0)
        log_debug("cannot set the time of a blob: %s", strerror(errno));
}

static void checkpoint(struct volume *volume, struct sync_request *request, unsigned flags)
{
    request->result = blob_checkpoint(request->ref->blob, request->state, request->flags | flags);
    if (request->result >= 0) {
        restore_mtime(request);
        atomic_fetch_add(&volume->counters.checkpoints, 1);
    }
}

/* The directory that has the blob's name, so that a power cut does not take a new file's name away.
 */
static int sync_directory(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return -errno;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return 0;
    slash[slash == path] = '\0';
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return errno == ENOENT ? 0 : -errno;
    int r = fsync(dir) < 0 ? -errno : 0;
    close(dir);
    return r;
}

static void sync_each(struct volume *volume, struct sync_request *head)
{
    for (struct sync_request *request = head; request != NULL; request = request->next) {
        checkpoint(volume, request, 0);
        if (request->result >= 0 && request->sync_name)
            request->result = sync_directory(blob_fd(request->ref->blob));
    }
}

/* After a failure nobody knows which bytes are on the disk: each blob sees to its own. */
static int sync_filesystem(int root, struct sync_request *head)
{
    if (syncfs(root) == 0)
        return 0;
    int r = -errno;
    for (struct sync_request *request = head; request != NULL; request = request->next)
        blob_sync_failed(request->ref->blob);
    return r;
}

static void sync_all(struct volume *volume, struct sync_request *head)
{
    int root = tree_root(volume->tree);
    int r = sync_filesystem(root, head);
    for (struct sync_request *request = head; request != NULL; request = request->next) {
        request->result = r;
        if (r >= 0)
            checkpoint(volume, request, BLOB_NO_SYNC);
    }
    r = r >= 0 ? sync_filesystem(root, head) : r;
    for (struct sync_request *request = head; request != NULL; request = request->next)
        if (request->result >= 0)
            request->result = r;
}

static void *sync_thread(void *arg)
{
    struct volume *volume = arg;
    pthread_setname_np(pthread_self(), "sqyfs-sync");
    pthread_mutex_lock(&volume->sync_lock);
    for (;;) {
        while (volume->sync_head == NULL && !volume->sync_closing)
            pthread_cond_wait(&volume->sync_changed, &volume->sync_lock);
        struct sync_request *head = volume->sync_head;
        if (head == NULL)
            break;
        volume->sync_head = NULL;
        volume->sync_tail = &volume->sync_head;
        pthread_mutex_unlock(&volume->sync_lock);
        unsigned n = 0;
        for (struct sync_request *request = head; request != NULL; request = request->next)
            n++;
        if (n > SYNC_GROUP)
            sync_all(volume, head);
        else
            sync_each(volume, head);
        pthread_mutex_lock(&volume->sync_lock);
        for (struct sync_request *next; head != NULL; head = next) {
            next = head->next;
            head->done = true; /* from here on it is its owner's again */
        }
        pthread_cond_broadcast(&volume->sync_changed);
    }
    pthread_mutex_unlock(&volume->sync_lock);
    return NULL;
}

int sync_checkpoint(struct volume *volume, struct blobref *ref, const struct blob_state *state,
                    unsigned flags, bool sync_name)
{
    struct sync_request request = {
        .ref = ref, .state = state, .flags = flags, .sync_name = sync_name};
    pthread_mutex_lock(&volume->sync_lock);
    *volume->sync_tail = &request;
    volume->sync_tail = &request.next;
    pthread_cond_broadcast(&volume->sync_changed);
    while (!request.done)
        pthread_cond_wait(&volume->sync_changed, &volume->sync_lock);
    pthread_mutex_unlock(&volume->sync_lock);
    return request.result;
}

int sync_start(struct volume *volume)
{
    volume->sync_tail = &volume->sync_head;
    int r = -pthread_create(&volume->syncer, NULL, sync_thread, volume);
    volume->syncer_runs = r >= 0;
    return r;
}

void sync_stop(struct volume *volume)
{
    if (!volume->syncer_runs)
        return;
    pthread_mutex_lock(&volume->sync_lock);
    volume->sync_closing = true;
    pthread_cond_broadcast(&volume->sync_changed);
    pthread_mutex_unlock(&volume->sync_lock);
    pthread_join(volume->syncer, NULL);
    volume->syncer_runs = false;
}
