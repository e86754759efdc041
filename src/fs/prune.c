#include "fs/prune.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/now.h"

#define BATCH    256u /* names asked for at a time */
#define PART     4u   /* of all inodes, in a round */
#define PAUSE_MS 50   /* after a round that brought too little: most are in use */

struct prune {
    struct inode_table *inodes;
    struct fuse_session *session;
    pthread_t thread;
    pthread_mutex_t lock; /* guards the flags; after the inodes' lock */
    pthread_cond_t changed;
    bool wanted, stop;
};

/* With the table's lock held. */
static void wake(void *ctx)
{
    struct prune *prune = ctx;
    pthread_mutex_lock(&prune->lock);
    prune->wanted = true;
    pthread_cond_signal(&prune->changed);
    pthread_mutex_unlock(&prune->lock);
}

static size_t ask(struct prune *prune, bool directories)
{
    struct inode_victim victims[BATCH];
    size_t n = inode_oldest(prune->inodes, directories, victims, BATCH);
    for (size_t i = 0; i < n; i++) {
        const char *name = victims[i].name;
        fuse_lowlevel_notify_inval_entry(prune->session, victims[i].parent, name, strlen(name));
        free(victims[i].name);
    }
    return n;
}

/* A part of what there is, files first: they are more, and nobody works in them. */
static bool prune_round(struct prune *prune)
{
    size_t wanted = inode_count(prune->inodes) / PART + 1, asked = 0;
    for (int directories = 0; directories < 2; directories++) {
        for (size_t n = 1; n > 0 && asked < wanted; asked += n)
            n = ask(prune, directories != 0);
    }
    return asked >= wanted;
}

static void *prune_thread(void *arg)
{
    struct prune *prune = arg;
    pthread_setname_np(pthread_self(), "fs-prune");
    pthread_mutex_lock(&prune->lock);
    while (!prune->stop) {
        if (!prune->wanted) {
            pthread_cond_wait(&prune->changed, &prune->lock);
            continue;
        }
        prune->wanted = false;
        pthread_mutex_unlock(&prune->lock);
        bool vain = !prune_round(prune);
        pthread_mutex_lock(&prune->lock);
        struct timespec until = now_later(CLOCK_REALTIME, PAUSE_MS);
        int r = 0;
        while (vain && !prune->stop && r == 0)
            r = pthread_cond_timedwait(&prune->changed, &prune->lock, &until);
    }
    pthread_mutex_unlock(&prune->lock);
    return NULL;
}

int prune_start(struct inode_table *inodes, struct fuse_session *session, int limit,
                struct prune **out)
{
    struct prune *prune = calloc(1, sizeof(*prune));
    if (prune == NULL)
        return -ENOMEM;
    prune->inodes = inodes;
    prune->session = session;
    pthread_mutex_init(&prune->lock, NULL);
    pthread_cond_init(&prune->changed, NULL);
    int r = pthread_create(&prune->thread, NULL, prune_thread, prune);
    if (r != 0) {
        free(prune);
        return -r;
    }
    inode_watch(inodes, limit, wake, prune);
    *out = prune;
    return 0;
}

void prune_stop(struct prune **prune_p)
{
    struct prune *prune = *prune_p;
    if (prune == NULL)
        return;
    inode_watch(prune->inodes, 0, NULL, NULL);
    pthread_mutex_lock(&prune->lock);
    prune->stop = true;
    pthread_cond_signal(&prune->changed);
    pthread_mutex_unlock(&prune->lock);
    pthread_join(prune->thread, NULL);
    pthread_cond_destroy(&prune->changed);
    pthread_mutex_destroy(&prune->lock);
    free(prune);
    *prune_p = NULL;
}
