#include "cache/slab.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLAB_BYTES (8u << 20)   /* about: several chunks, and little against the cache */
#define SLAB_LEAST (256u << 10) /* shorter pieces are malloc()'s, which keeps such memory itself */
#define HUGE_PAGE  (2u << 20)

struct slab {
    atomic_uint refs; /* pieces in use, and the pool's while pieces are cut from it */
    uint8_t *base;
    size_t bytes;
};

struct slabs {
    pthread_mutex_t lock; /* guards all below; a leaf, held over mmap(2) */
    struct slab *open;    /* pieces are cut from it; or NULL */
    size_t piece, used;   /* of that one, bytes */
};

int slabs_create(struct slabs **out)
{
    struct slabs *slabs = calloc(1, sizeof(*slabs));
    if (!slabs)
        return -ENOMEM;
    pthread_mutex_init(&slabs->lock, NULL);
    *out = slabs;
    return 0;
}

static void put(struct slab *slab)
{
    if (atomic_fetch_sub(&slab->refs, 1) > 1)
        return;
    munmap(slab->base, slab->bytes);
    free(slab);
}

void slabs_destroy(struct slabs **slabs_p)
{
    struct slabs *slabs = *slabs_p;
    if (!slabs)
        return;
    if (slabs->open)
        put(slabs->open);
    pthread_mutex_destroy(&slabs->lock);
    free(slabs);
    *slabs_p = NULL;
}

/* Pages begin where huge ones do; what is mapped besides goes back at once. */
static uint8_t *map(size_t bytes)
{
    uint8_t *all = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)all & (HUGE_PAGE - 1);
    if (before > 0)
        munmap(all, before);
    munmap(all + before + bytes, HUGE_PAGE - before);
    madvise(all + before, bytes, MADV_HUGEPAGE); /* or not: then it is slower */
    return all + before;
}

/* A slab for pieces of that length is open, with one to be had; lock held. */
static int open_slab(struct slabs *slabs, size_t piece)
{
    if (slabs->open && slabs->piece == piece && slabs->open->bytes - slabs->used >= piece)
        return 0;
    struct slab *slab = malloc(sizeof(*slab));
    size_t n = piece < SLAB_BYTES ? SLAB_BYTES / piece : 1;
    if (!slab)
        return -ENOMEM;
    slab->bytes = n * piece;
    slab->base = map(slab->bytes);
    if (!slab->base) {
        free(slab);
        return -ENOMEM;
    }
    atomic_init(&slab->refs, 1);
    if (slabs->open)
        put(slabs->open);
    slabs->open = slab;
    slabs->piece = piece;
    slabs->used = 0;
    return 0;
}

static size_t whole_pages(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (len + page - 1) / page * page;
}

void *slab_alloc(struct slabs *slabs, size_t len, struct slab **of)
{
    *of = NULL;
    if (len < SLAB_LEAST)
        return malloc(len ? len : 1);
    if (len > PTRDIFF_MAX / 2)
        return NULL;
    void *piece = NULL;
    pthread_mutex_lock(&slabs->lock);
    if (open_slab(slabs, whole_pages(len)) == 0) {
        *of = slabs->open;
        atomic_fetch_add(&slabs->open->refs, 1);
        piece = slabs->open->base + slabs->used;
        slabs->used += slabs->piece;
    }
    pthread_mutex_unlock(&slabs->lock);
    return piece;
}

void slab_free(struct slab **of, void *piece, size_t len)
{
    if (*of) {
        madvise(piece, whole_pages(len), MADV_DONTNEED);
        put(*of);
    } else {
        free(piece);
    }
    *of = NULL;
}
