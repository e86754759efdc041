#include "fs/buffer.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MAX_IDLE 24u /* as many as there are threads that read and write at a time */

struct buffer_pool {
    pthread_mutex_t lock; /* guards all below; a leaf */
    unsigned n_idle;
    void *idle[MAX_IDLE];
};

/* Of the kernel's, not malloc()'s: many may wait at a time, mostly untouched, and malloc() would keep what they
 * took in the arenas of the threads that took them. */
static void *buffer_map(void)
{
    void *buffer =
        mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return buffer != MAP_FAILED ? buffer : NULL;
}

int buffer_pool_create(struct buffer_pool **out)
{
    struct buffer_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return -ENOMEM;
    pthread_mutex_init(&pool->lock, NULL);
    *out = pool;
    return 0;
}

void buffer_pool_destroy(struct buffer_pool **pool_p)
{
    struct buffer_pool *pool = *pool_p;
    if (pool == NULL)
        return;
    while (pool->n_idle > 0)
        munmap(pool->idle[--pool->n_idle], BUFFER_BYTES);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    *pool_p = NULL;
}

void *buffer_take(struct buffer_pool *pool)
{
    void *buffer = NULL;
    pthread_mutex_lock(&pool->lock);
    if (pool->n_idle > 0)
        buffer = pool->idle[--pool->n_idle];
    pthread_mutex_unlock(&pool->lock);
    return buffer != NULL ? buffer : buffer_map();
}

void buffer_give(struct buffer_pool *pool, void *buffer)
{
    if (buffer == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    bool kept = pool->n_idle < MAX_IDLE;
    if (kept)
        pool->idle[pool->n_idle++] = buffer;
    pthread_mutex_unlock(&pool->lock);
    if (!kept)
        munmap(buffer, BUFFER_BYTES);
}
