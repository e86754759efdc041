#include "store/spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "store/spool_impl.h"

#define MAGIC "SQYSPOOL"
/* Entries hold chunks as this build has them. */
#define VERSION     (2u << 16 | (uint32_t)sizeof(struct blob_chunk))
#define MAP_ALIGN   (2u << 20)
#define GROW_BYTES  (8u << 20) /* of blocks at a time: touched in a few ms */
#define GROW_OTHERS (256u << 10)

static const uint32_t item_bytes[SPOOL_N_PARTS] = {
    [SPOOL_LOGS] = sizeof(struct spool_record),
    [SPOOL_RUNS] = sizeof(struct spool_run),
    [SPOOL_PAGES] = sizeof(struct spool_page),
    [SPOOL_BLOCKS] = SPOOL_BLOCK,
};

/* ---- the file ---- */

static uint32_t at_least(uint64_t n, uint32_t min)
{
    return n > min ? (uint32_t)n : min;
}

/* In proportion to the blocks; what is not used costs addresses only. */
static void plan_items(uint32_t n_blocks, uint32_t n_items[SPOOL_N_PARTS])
{
    n_items[SPOOL_LOGS] = at_least(n_blocks, 4096);
    n_items[SPOOL_RUNS] = at_least(n_blocks * 8ull, 16384);
    n_items[SPOOL_PAGES] = n_items[SPOOL_LOGS] + at_least(n_blocks / 2, 2048);
    n_items[SPOOL_BLOCKS] = n_blocks;
}

static uint64_t plan_offsets(const uint32_t n_items[SPOOL_N_PARTS], uint64_t offset[SPOOL_N_PARTS])
{
    uint64_t at = SPOOL_PAGE;
    for (unsigned i = 0; i < SPOOL_N_PARTS; i++) {
        uint64_t align = i == SPOOL_BLOCKS ? MAP_ALIGN : SPOOL_PAGE;
        offset[i] = (at + align - 1) / align * align;
        at = offset[i] + (uint64_t)n_items[i] * item_bytes[i];
    }
    return at;
}

/* Addresses begin at MAP_ALIGN, so that large pages fit where the machine has them. */
static int map_file(struct spool *spool)
{
    int flags = spool->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    uint64_t room = spool->map_bytes + MAP_ALIGN;
    uint8_t *at = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return -errno;
    uint8_t *start = (uint8_t *)(((uintptr_t)at + MAP_ALIGN - 1) / MAP_ALIGN * MAP_ALIGN);
    uint64_t before = (uint64_t)(start - at);
    if (before > 0)
        munmap(at, before);
    munmap(start + spool->map_bytes, room - before - spool->map_bytes);
    void *data = mmap(start, spool->map_bytes, PROT_READ | PROT_WRITE,
                      flags | MAP_FIXED | MAP_NORESERVE, spool->fd, 0);
    if (data == MAP_FAILED) {
        int r = -errno;
        munmap(start, spool->map_bytes);
        return r;
    }
    madvise(data, spool->map_bytes, MADV_HUGEPAGE);
    madvise(data, spool->map_bytes, MADV_DONTFORK);
    spool->map = data;
    return 0;
}

static void lay_out(struct spool *spool)
{
    spool->head = (struct spool_head *)spool->map;
    spool->records = (struct spool_record *)(spool->map + spool->offset[SPOOL_LOGS]);
    spool->runs = (struct spool_run *)(spool->map + spool->offset[SPOOL_RUNS]);
    spool->pages = (struct spool_page *)(spool->map + spool->offset[SPOOL_PAGES]);
    spool->data = spool->map + spool->offset[SPOOL_BLOCKS];
}

/* Reserves room for more items of a part; lock held. */
static int grow(struct spool *spool, enum spool_part part)
{
    uint32_t have = atomic_load(&spool->head->n_grown[part]);
    uint32_t all = spool->head->n_items[part];
    uint32_t step = (part == SPOOL_BLOCKS ? GROW_BYTES : GROW_OTHERS) / item_bytes[part];
    if (have == all)
        return -EAGAIN;
    if (step > all - have)
        step = all - have;
    uint64_t from = spool->offset[part] + (uint64_t)have * item_bytes[part];
    uint64_t len = (uint64_t)step * item_bytes[part];
    if (spool->fd >= 0) {
        int r;
        while ((r = posix_fallocate(spool->fd, (off_t)from, (off_t)len)) == EINTR)
            ;
        if (r != 0)
            return -r;
    }
#ifdef MADV_POPULATE_WRITE
    if (part == SPOOL_BLOCKS) /* at once, and not page by page as writers come to it */
        madvise(spool->map + from, len, MADV_POPULATE_WRITE);
#endif
    atomic_store(&spool->head->n_grown[part], have + step);
    return 0;
}

/* ---- what is free ---- */

/* Whether more than `spare` items that were never taken have room, or get it; lock held. */
static bool may_take_fresh(struct spool *spool, enum spool_part part, uint32_t spare)
{
    struct spool_pool *pool = &spool->pools[part];
    while (pool->limit - pool->fresh > spare) {
        uint32_t grown = atomic_load(&spool->head->n_grown[part]);
        if (grown - pool->fresh > spare)
            return true;
        if (grow(spool, part) < 0) /* the filesystem is full: we make do with what we have */
            pool->limit = grown;
    }
    return false;
}

int64_t spool_item_take(struct spool *spool, enum spool_part part, uint32_t spare)
{
    pthread_mutex_lock(&spool->lock);
    struct spool_pool *pool = &spool->pools[part];
    int64_t item;
    if (pool->n_free <= spare && !may_take_fresh(spool, part, spare - pool->n_free))
        item = -EAGAIN;
    else if (pool->n_free > 0)
        item = pool->free[--pool->n_free];
    else
        item = pool->fresh++;
    pthread_mutex_unlock(&spool->lock);
    return item;
}

void spool_item_give(struct spool *spool, enum spool_part part, uint32_t item)
{
    pthread_mutex_lock(&spool->lock);
    struct spool_pool *pool = &spool->pools[part];
    pool->free[pool->n_free++] = item;
    spool->events++;
    pthread_cond_broadcast(&spool->changed);
    pthread_mutex_unlock(&spool->lock);
}

static uint32_t *list_of(struct spool *spool, uint64_t free)
{
    return free == UINT64_MAX ? &spool->whole : &spool->parted;
}

static void list_group(struct spool *spool, uint32_t at)
{
    struct spool_group *group = &spool->groups[at];
    if (group->free == 0)
        return;
    uint32_t *first = list_of(spool, group->free);
    group->prev = SPOOL_NONE;
    group->next = *first;
    if (*first != SPOOL_NONE)
        spool->groups[*first].prev = at;
    *first = at;
}

static void unlist_group(struct spool *spool, uint32_t at)
{
    struct spool_group *group = &spool->groups[at];
    if (group->free == 0)
        return;
    if (group->prev != SPOOL_NONE)
        spool->groups[group->prev].next = group->next;
    else
        *list_of(spool, group->free) = group->next;
    if (group->next != SPOOL_NONE)
        spool->groups[group->next].prev = group->prev;
}

static void set_free(struct spool *spool, uint32_t block, bool free)
{
    uint32_t at = block / SPOOL_GROUP;
    uint64_t bit = UINT64_C(1) << block % SPOOL_GROUP;
    unlist_group(spool, at);
    if (free)
        spool->groups[at].free |= bit;
    else
        spool->groups[at].free &= ~bit;
    list_group(spool, at);
}

static bool is_free(const struct spool *spool, uint32_t block)
{
    return spool->groups[block / SPOOL_GROUP].free >> block % SPOOL_GROUP & 1;
}

/* Blocks that room was reserved for just now; lock held. */
static void add_blocks(struct spool *spool, uint32_t from, uint32_t to)
{
    for (uint32_t block = to; block-- > from;)
        set_free(spool, block, true);
}

static int grow_blocks(struct spool *spool)
{
    uint32_t from = atomic_load(&spool->head->n_grown[SPOOL_BLOCKS]);
    if (from >= spool->limit)
        return -EAGAIN;
    int r = grow(spool, SPOOL_BLOCKS);
    if (r < 0) { /* the filesystem is full: we make do with what we have */
        log_warn("the spool cannot grow beyond %llu MiB: %s",
                 (unsigned long long)from * SPOOL_BLOCK >> 20, strerror(-r));
        spool->limit = from;
        return -EAGAIN;
    }
    add_blocks(spool, from, atomic_load(&spool->head->n_grown[SPOOL_BLOCKS]));
    return 0;
}

/* lock held */
static int64_t choose(struct spool *spool, int64_t wanted)
{
    if (wanted >= 0 && wanted < spool->head->n_items[SPOOL_BLOCKS] &&
        is_free(spool, (uint32_t)wanted))
        return wanted;
    while (spool->parted == SPOOL_NONE && spool->whole == SPOOL_NONE)
        if (grow_blocks(spool) < 0)
            return -EAGAIN;
    /* Whole groups first, and in order: what follows finds its place beside what was before. */
    uint32_t at = spool->whole != SPOOL_NONE ? spool->whole : spool->parted;
    return (int64_t)at * SPOOL_GROUP + __builtin_ctzll(spool->groups[at].free);
}

int64_t spool_take(struct spool *spool, int64_t wanted)
{
    pthread_mutex_lock(&spool->lock);
    int64_t block = choose(spool, wanted);
    if (block >= 0) {
        set_free(spool, (uint32_t)block, false);
        spool->n_used++;
    }
    pthread_mutex_unlock(&spool->lock);
    return block;
}

void spool_give(struct spool *spool, uint32_t block)
{
    pthread_mutex_lock(&spool->lock);
    assert(!is_free(spool, block));
    set_free(spool, block, true);
    spool->n_used--;
    spool->events++;
    pthread_cond_broadcast(&spool->changed);
    pthread_mutex_unlock(&spool->lock);
}

uint8_t *spool_data(struct spool *spool, uint32_t block)
{
    return spool->data + (size_t)block * SPOOL_BLOCK;
}

uint32_t spool_total(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    uint32_t limit = spool->limit;
    pthread_mutex_unlock(&spool->lock);
    return limit;
}

uint32_t spool_used(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    uint32_t used = spool->n_used;
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

/* ---- life ---- */

static void free_spool(struct spool *spool)
{
    if (spool->map != NULL)
        munmap(spool->map, spool->map_bytes);
    if (spool->fd >= 0)
        close(spool->fd);
    for (unsigned i = 0; i < SPOOL_BLOCKS; i++)
        free(spool->pools[i].free);
    pthread_cond_destroy(&spool->changed);
    pthread_mutex_destroy(&spool->lock);
    free(spool->groups);
    free(spool->refs);
    free(spool->logs);
    free(spool->path);
    free(spool);
}

/* What is kept of it in this process; nothing is free yet. */
static int make_books(struct spool *spool, const uint32_t n_items[SPOOL_N_PARTS])
{
    uint32_t n_groups = (n_items[SPOOL_BLOCKS] + SPOOL_GROUP - 1) / SPOOL_GROUP;
    spool->refs = calloc(n_items[SPOOL_BLOCKS], sizeof(spool->refs[0]));
    spool->groups = calloc(n_groups, sizeof(spool->groups[0]));
    spool->logs = calloc(n_items[SPOOL_LOGS], sizeof(spool->logs[0]));
    bool all = spool->refs != NULL && spool->groups != NULL && spool->logs != NULL;
    for (unsigned i = 0; i < SPOOL_BLOCKS; i++) {
        spool->pools[i].free = malloc(n_items[i] * sizeof(uint32_t));
        spool->pools[i].limit = n_items[i];
        all = all && spool->pools[i].free != NULL;
    }
    spool->whole = spool->parted = SPOOL_NONE;
    spool->limit = n_items[SPOOL_BLOCKS];
    return all ? 0 : -ENOMEM;
}

static struct spool *new_spool(int fd, const char *path)
{
    struct spool *spool = calloc(1, sizeof(*spool));
    if (spool == NULL)
        return NULL;
    pthread_mutex_init(&spool->lock, NULL);
    pthread_cond_init(&spool->changed, NULL);
    spool->fd = -1;
    spool->path = path != NULL ? strdup(path) : NULL;
    if (path != NULL && spool->path == NULL) {
        free_spool(spool);
        return NULL;
    }
    spool->fd = fd;
    return spool;
}

static int size_file(const struct spool *spool)
{
    if (spool->fd < 0)
        return 0;
    if (ftruncate(spool->fd, (off_t)spool->map_bytes) < 0)
        return -errno;
    return -posix_fallocate(spool->fd, 0, SPOOL_PAGE);
}

static void read_boot(char boot[SPOOL_BOOT_BYTES])
{
    memset(boot, 0, SPOOL_BOOT_BYTES);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, boot, SPOOL_BOOT_BYTES - 1) < 0)
        boot[0] = '\0';
    close(fd);
}

static int begin_spool(struct spool *spool, uint32_t n_blocks)
{
    uint32_t n_items[SPOOL_N_PARTS];
    plan_items(n_blocks, n_items);
    spool->map_bytes = plan_offsets(n_items, spool->offset);
    int r = size_file(spool);
    if (r == 0)
        r = map_file(spool);
    if (r == 0)
        r = make_books(spool, n_items);
    if (r < 0)
        return r;
    lay_out(spool);
    memcpy(spool->head->n_items, n_items, sizeof(n_items));
    read_boot(spool->head->boot);
    pthread_mutex_lock(&spool->lock);
    for (unsigned i = 0; i < SPOOL_BLOCKS && r == 0; i++)
        r = grow(spool, i);
    if (r == 0)
        r = grow(spool, SPOOL_BLOCKS);
    if (r == 0)
        add_blocks(spool, 0, atomic_load(&spool->head->n_grown[SPOOL_BLOCKS]));
    pthread_mutex_unlock(&spool->lock);
    spool->head->version = VERSION;
    memcpy(spool->head->magic, MAGIC, sizeof(spool->head->magic)); /* from now on it is one */
    return r;
}

/* Locked, so that nobody takes over what is in use. */
static int create_file(const char *path, int *out)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    *out = fd;
    return 0;
}

int spool_create(uint64_t bytes, const char *path, struct spool **out)
{
    uint64_t n_blocks = bytes / SPOOL_BLOCK;
    int fd = -1;
    if (n_blocks == 0 || n_blocks > INT32_MAX / 8)
        return -EINVAL;
    int r = path != NULL ? create_file(path, &fd) : 0;
    if (r < 0)
        return r;
    struct spool *spool = new_spool(fd, path);
    r = spool != NULL ? begin_spool(spool, (uint32_t)n_blocks) : -ENOMEM;
    if (r < 0) {
        if (path != NULL)
            unlink(path);
        if (spool != NULL)
            free_spool(spool);
        else if (fd >= 0)
            close(fd);
        return r;
    }
    *out = spool;
    return 0;
}

static int open_file(const char *path, int *out)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    if (r == 0 && (st.st_uid != geteuid() || (st.st_mode & 0077) != 0))
        r = -EACCES;
    if (r == 0 && !S_ISREG(st.st_mode))
        r = -EBADMSG;
    if (r == 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
        r = errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (r < 0 && fd >= 0)
        close(fd);
    *out = fd;
    return r;
}

/* What lies in memory is of this start, whatever name that has here: a container may have its own. */
static bool is_of_this_start(int fd, const struct spool_head *head)
{
    struct statfs fs;
    char boot[SPOOL_BOOT_BYTES];
    if (fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC))
        return true;
    read_boot(boot);
    return memcmp(boot, head->boot, sizeof(boot)) == 0;
}

/* The head of a file of `bytes`: its parts are as large as it says. */
static int read_head(int fd, struct spool_head *head, uint64_t offset[SPOOL_N_PARTS],
                     uint64_t *map_bytes)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    static const char nothing[sizeof(head->magic)];
    if (pread(fd, head, sizeof(*head), 0) != (ssize_t)sizeof(*head) ||
        memcmp(head->magic, nothing, sizeof(nothing)) == 0)
        return -ENODATA;
    if (memcmp(head->magic, MAGIC, sizeof(head->magic)) != 0)
        return -EBADMSG;
    if (head->version != VERSION)
        return -ENOTSUP;
    if (!is_of_this_start(fd, head))
        return -ESTALE;
    uint32_t n_blocks = head->n_items[SPOOL_BLOCKS], n_items[SPOOL_N_PARTS];
    if (n_blocks == 0 || n_blocks > INT32_MAX / 8)
        return -EBADMSG;
    plan_items(n_blocks, n_items);
    for (unsigned i = 0; i < SPOOL_N_PARTS; i++)
        if (n_items[i] != head->n_items[i] || atomic_load(&head->n_grown[i]) > n_items[i])
            return -EBADMSG;
    *map_bytes = plan_offsets(n_items, offset);
    return (uint64_t)st.st_size == *map_bytes ? 0 : -EBADMSG;
}

int spool_open(const char *path, struct spool **out)
{
    int fd;
    int r = open_file(path, &fd);
    if (r < 0)
        return r;
    struct spool *spool = new_spool(fd, path);
    if (spool == NULL) {
        close(fd);
        return -ENOMEM;
    }
    struct spool_head head;
    r = read_head(fd, &head, spool->offset, &spool->map_bytes);
    if (r == 0)
        r = map_file(spool);
    if (r == 0)
        r = make_books(spool, head.n_items);
    if (r < 0) {
        free_spool(spool);
        return r;
    }
    lay_out(spool);
    for (unsigned i = 0; i < SPOOL_BLOCKS; i++)
        spool->pools[i].fresh = atomic_load(&spool->head->n_grown[i]);
    spool->n_used = atomic_load(&spool->head->n_grown[SPOOL_BLOCKS]); /* until spool_adopted() */
    *out = spool;
    return 0;
}

void spool_adopted(struct spool *spool)
{
    spool_logs_adopted(spool);
    spool_runs_adopted(spool);
    pthread_mutex_lock(&spool->lock);
    for (uint32_t block = atomic_load(&spool->head->n_grown[SPOOL_BLOCKS]); block-- > 0;) {
        if (spool->refs[block] > 0 || is_free(spool, block))
            continue;
        set_free(spool, block, true);
        spool->n_used--;
    }
    pthread_mutex_unlock(&spool->lock);
}

bool spool_is_there(const struct spool *spool)
{
    struct stat st;
    return spool->fd >= 0 && fstat(spool->fd, &st) == 0 && st.st_nlink > 0;
}

void spool_destroy(struct spool **spool_p, bool keep)
{
    struct spool *spool = *spool_p;
    if (spool == NULL)
        return;
    if (spool->path != NULL && !keep)
        unlink(spool->path);
    free_spool(spool);
    *spool_p = NULL;
}
