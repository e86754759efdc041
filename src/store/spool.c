/* A spool's file, and its life. What of it is free is in spool_room.c. */
#include "store/spool.h"

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

#include "store/spool_impl.h"

#define MAGIC "SQYSPOOL"
/* Entries hold chunks as this build has them. */
#define VERSION (2u << 16 | (uint32_t)sizeof(struct blob_chunk))

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
        uint64_t align = i == SPOOL_BLOCKS ? SPOOL_HUGE_PAGE : SPOOL_PAGE;
        offset[i] = (at + align - 1) / align * align;
        at = offset[i] + (uint64_t)n_items[i] * spool_item_bytes[i];
    }
    return at;
}

/* Addresses begin at SPOOL_HUGE_PAGE, so that large pages fit where the machine has them. */
static int map_file(struct spool *spool)
{
    int flags = spool->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    uint64_t room = spool->map_bytes + SPOOL_HUGE_PAGE;
    uint8_t *at = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return -errno;
    uint8_t *start =
        (uint8_t *)(((uintptr_t)at + SPOOL_HUGE_PAGE - 1) / SPOOL_HUGE_PAGE * SPOOL_HUGE_PAGE);
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

/* ---- life ---- */

static void free_spool(struct spool *spool)
{
    workq_destroy(&spool->grower);
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
        all = all && spool->pools[i].free != NULL;
    }
    spool->whole = spool->parted = SPOOL_NONE;
    atomic_store(&spool->limit, n_items[SPOOL_BLOCKS]);
    return all ? 0 : -ENOMEM;
}

static bool lies_in_memory(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
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
    spool->huge_ms = lies_in_memory(fd) ? 0 : INT64_MAX;
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
    for (unsigned i = 0; i < SPOOL_N_PARTS && r == 0; i++)
        r = spool_room_reserve(spool, i);
    if (r == 0)
        spool_room_add(spool, 0);
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
    spool_room_start(spool);
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
    char boot[SPOOL_BOOT_BYTES];
    if (lies_in_memory(fd))
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
    /* until spool_adopted() */
    atomic_store(&spool->n_used, atomic_load(&spool->head->n_grown[SPOOL_BLOCKS]));
    *out = spool;
    return 0;
}

void spool_adopted(struct spool *spool)
{
    spool_logs_adopted(spool);
    spool_runs_adopted(spool);
    spool_room_adopt(spool);
    spool_room_start(spool);
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
