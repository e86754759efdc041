#include "fs/buffer.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define MAX_IDLE 24u /* as many as there are threads that read and write at a time */

struct buffer_pool {
    pthread_mutex_t lock; /* guards all below; a leaf */
    unsigned n_idle;
    void *idle[MAX_IDLE];
};

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
        free(pool->idle[--pool->n_idle]);
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
    if (buffer == NULL && posix_memalign(&buffer, 4096, BUFFER_BYTES) != 0)
        return NULL;
    return buffer;
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
        free(buffer);
}
