#include "store/spool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

struct spool {
    uint8_t *data;
    uint32_t total;
    pthread_mutex_t lock; /* guards all below; a leaf lock */
    pthread_cond_t changed;
    uint64_t events; /* blocks given back and wakes */
    uint32_t n_free;
    uint32_t free_blocks[]; /* a stack: the block given back last is the warmest */
};

/* Memory that is touched for the first time is slow: in large pages, where the machine has them, it is
 * touched 512 times less often. Children have no use for it, and copying it on write would cost as much
 * again. Where advice is not taken, it is slow. */
static int map_memory(uint64_t bytes, uint8_t **out)
{
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        return -errno;
    madvise(data, bytes, MADV_HUGEPAGE);
    madvise(data, bytes, MADV_DONTFORK);
    *out = data;
    return 0;
}

int spool_create(uint64_t bytes, struct spool **out)
{
    uint64_t total = bytes / SPOOL_BLOCK;
    if (total == 0 || total > INT32_MAX)
        return -EINVAL;
    struct spool *spool = calloc(1, sizeof(*spool) + total * sizeof(spool->free_blocks[0]));
    if (spool == NULL)
        return -ENOMEM;
    int r = map_memory(total * SPOOL_BLOCK, &spool->data);
    if (r < 0) {
        free(spool);
        return r;
    }
    spool->total = (uint32_t)total;
    spool->n_free = spool->total;
    for (uint32_t i = 0; i < spool->total; i++)
        spool->free_blocks[i] = spool->total - 1 - i;
    pthread_mutex_init(&spool->lock, NULL);
    pthread_cond_init(&spool->changed, NULL);
    *out = spool;
    return 0;
}

void spool_destroy(struct spool **spool_p)
{
    struct spool *spool = *spool_p;
    if (spool == NULL)
        return;
    munmap(spool->data, (size_t)spool->total * SPOOL_BLOCK);
    pthread_cond_destroy(&spool->changed);
    pthread_mutex_destroy(&spool->lock);
    free(spool);
    *spool_p = NULL;
}

int64_t spool_take(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    int64_t block = -EAGAIN;
    if (spool->n_free > 0)
        block = spool->free_blocks[--spool->n_free];
    pthread_mutex_unlock(&spool->lock);
    return block;
}

void spool_give(struct spool *spool, uint32_t block)
{
    pthread_mutex_lock(&spool->lock);
    spool->free_blocks[spool->n_free++] = block;
    spool->events++;
    pthread_cond_broadcast(&spool->changed);
    pthread_mutex_unlock(&spool->lock);
}

uint8_t *spool_data(struct spool *spool, uint32_t block)
{
    return spool->data + (size_t)block * SPOOL_BLOCK;
}

uint32_t spool_total(const struct spool *spool)
{
    return spool->total;
}

uint32_t spool_used(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    uint32_t used = spool->total - spool->n_free;
    pthread_mutex_unlock(&spool->lock);
    return used;
}

uint64_t spool_seen(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    uint64_t seen = spool->events;
    pthread_mutex_unlock(&spool->lock);
    return seen;
}

void spool_wait(struct spool *spool, uint64_t *seen)
{
    pthread_mutex_lock(&spool->lock);
    while (spool->events == *seen)
        pthread_cond_wait(&spool->changed, &spool->lock);
    *seen = spool->events;
    pthread_mutex_unlock(&spool->lock);
}

void spool_wake(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    spool->events++;
    pthread_cond_broadcast(&spool->changed);
    pthread_mutex_unlock(&spool->lock);
}
