/* A scratch:
 *
 *   UNREAD --decode_now()--> DECODING --> READY
 *                                `------> FAILED    and stays so while anybody has it open
 *
 * and, without users, UNREAD and FAILED are forgotten at once (scratch_put()), READY after a rest
 * (scratch_tick()), or when another needs the memory (take_memory()). */
#include "volume/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/now.h"
#include "volume/scan.h"
#include "volume/sqeazy.h"

#define TEMP_NAME "rewrite-scratch" /* opening.c removes what begins so and was left */

enum scratch_state { UNREAD, DECODING, READY, FAILED };

/* Room for bytes. */
struct room {
    void *data; /* NULL where it is not mapped */
    size_t len;
    int fd; /* of a temporary file, -1: memory */
};

struct scratch {
    struct scratch *next;
    struct stat st; /* of the file when it was opened */
    struct tiffout plan;
    char pipeline[SCAN_PIPELINE_MAX];
    struct sqy_header header; /* until it is READY or FAILED */
    int fd;                   /* the same */

    /* guarded by the pool's lock */
    unsigned refs;
    int64_t released_ms;
    enum scratch_state state;
    struct room voxels; /* constant while READY */
};

struct scratch_pool {
    const struct io *io;
    int dir_fd;
    uint64_t share; /* bytes: SCRATCH_SHARE of the machine */

    pthread_mutex_t lock; /* guards all below; a leaf, held over no I/O */
    pthread_cond_t changed;
    struct scratch *head;
    uint64_t memory, work; /* bytes in use */
};

int scratch_pool_create(const struct io *io, int dir_fd, struct scratch_pool **out)
{
    struct scratch_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return -ENOMEM;
    pool->io = io;
    pool->dir_fd = dir_fd;
    pool->share =
        (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / SCRATCH_SHARE;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->changed, NULL);
    *out = pool;
    return 0;
}

/* ---- room ---- */

static int open_temp(const struct scratch_pool *pool)
{
    if (pool->dir_fd < 0)
        return -ENOSPC;
    int fd = openat(pool->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    unlinkat(pool->dir_fd, TEMP_NAME, 0); /* a filesystem without nameless files */
    fd = openat(pool->dir_fd, TEMP_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    unlinkat(pool->dir_fd, TEMP_NAME, 0);
    return fd;
}

static int has_room(int fd, uint64_t len)
{
    struct statvfs st;
    if (fstatvfs(fd, &st) < 0)
        return -errno;
    uint64_t avail = (uint64_t)st.f_bavail * st.f_frsize;
    return avail < SCRATCH_SPARE || avail - SCRATCH_SPARE < len ? -ENOSPC : 0;
}

/* All of it allocated before it is mapped: a full disk must not become a signal. */
static int make_temp(const struct scratch_pool *pool, struct room *room)
{
    room->fd = open_temp(pool);
    int r = room->fd < 0 ? room->fd : has_room(room->fd, room->len);
    if (r == 0)
        r = -posix_fallocate(room->fd, 0, (off_t)room->len);
    if (r == 0) {
        room->data = mmap(NULL, room->len, PROT_READ | PROT_WRITE, MAP_SHARED, room->fd, 0);
        if (room->data == MAP_FAILED) {
            room->data = NULL;
            r = -errno;
        }
    }
    if (r < 0 && room->fd >= 0)
        close(room->fd);
    return r;
}

static void unlink_scratch(struct scratch_pool *pool, const struct scratch *scratch)
{
    struct scratch **at = &pool->head;
    while (*at != scratch)
        at = &(*at)->next;
    *at = scratch->next;
}

/* The one that nobody uses for longest, of those that hold memory; NULL. Lock held. */
static struct scratch *oldest_idle(struct scratch_pool *pool)
{
    struct scratch *oldest = NULL;
    for (struct scratch *s = pool->head; s != NULL; s = s->next)
        if (s->refs == 0 && s->state == READY && s->voxels.fd < 0 &&
            (oldest == NULL || s->released_ms < oldest->released_ms))
            oldest = s;
    return oldest;
}

static void free_scratch(struct scratch_pool *pool, struct scratch *scratch);

/* Whether `len` bytes of memory are granted. */
static bool take_memory(struct scratch_pool *pool, uint64_t len)
{
    for (;;) {
        pthread_mutex_lock(&pool->lock);
        bool fits = len <= SCRATCH_MEMORY && pool->memory <= SCRATCH_MEMORY - len;
        struct scratch *victim = NULL;
        if (fits)
            pool->memory += len;
        else if (len <= SCRATCH_MEMORY)
            victim = oldest_idle(pool);
        if (victim != NULL)
            unlink_scratch(pool, victim);
        pthread_mutex_unlock(&pool->lock);
        if (victim == NULL)
            return fits;
        free_scratch(pool, victim);
    }
}

static void give_memory(struct scratch_pool *pool, uint64_t len)
{
    pthread_mutex_lock(&pool->lock);
    pool->memory -= len;
    pthread_mutex_unlock(&pool->lock);
}

static int room_make(struct scratch_pool *pool, uint64_t len, struct room *out)
{
    struct room room = {.len = (size_t)len, .fd = -1};
    if (take_memory(pool, len)) {
        room.data = malloc(len > 0 ? room.len : 1);
        if (room.data == NULL) {
            give_memory(pool, len);
            return -ENOMEM;
        }
    } else {
        int r = make_temp(pool, &room);
        if (r < 0)
            return r;
    }
    *out = room;
    return 0;
}

static void room_free(struct scratch_pool *pool, struct room *room)
{
    if (room->fd >= 0) {
        if (room->data != NULL)
            munmap(room->data, room->len);
        close(room->fd);
    } else if (room->data != NULL) {
        free(room->data);
        give_memory(pool, room->len);
    }
    *room = (struct room){.fd = -1};
}

/* A temporary file is read by pread(2) from now on: a failing disk is then an error, no signal. */
static void room_unmap(struct room *room)
{
    if (room->fd >= 0)
        munmap(room->data, room->len);
    if (room->fd >= 0)
        room->data = NULL;
}

/* ---- life ---- */

static void close_source(struct scratch *scratch)
{
    sqy_header_free(&scratch->header);
    if (scratch->fd >= 0)
        close(scratch->fd);
    scratch->fd = -1;
}

static void free_scratch(struct scratch_pool *pool, struct scratch *scratch)
{
    close_source(scratch);
    room_free(pool, &scratch->voxels);
    free(scratch);
}

void scratch_pool_destroy(struct scratch_pool **pool_p)
{
    struct scratch_pool *pool = *pool_p;
    if (pool == NULL)
        return;
    while (pool->head != NULL) {
        struct scratch *scratch = pool->head;
        pool->head = scratch->next;
        free_scratch(pool, scratch);
    }
    if (pool->dir_fd >= 0)
        close(pool->dir_fd);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    *pool_p = NULL;
}

static struct scratch *take_rested(struct scratch_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct scratch *scratch = pool->head;
    int64_t before = now_ms() - SCRATCH_REST_MS;
    while (scratch != NULL && (scratch->refs > 0 || scratch->released_ms > before))
        scratch = scratch->next;
    if (scratch != NULL)
        unlink_scratch(pool, scratch);
    pthread_mutex_unlock(&pool->lock);
    return scratch;
}

void scratch_tick(struct scratch_pool *pool)
{
    struct scratch *scratch;
    while ((scratch = take_rested(pool)) != NULL)
        free_scratch(pool, scratch);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static struct scratch *find(struct scratch_pool *pool, const struct stat *st)
{
    pthread_mutex_lock(&pool->lock);
    struct scratch *scratch = pool->head;
    while (scratch != NULL && !is_same(&scratch->st, st))
        scratch = scratch->next;
    if (scratch != NULL)
        scratch->refs++;
    pthread_mutex_unlock(&pool->lock);
    return scratch;
}

static int read_header(struct scratch_pool *pool, struct scratch *scratch)
{
    struct sqy_pipeline *pipeline = NULL;
    int r = scan_header_read(pool->io, scratch->fd, &scratch->header);
    if (r == 0)
        r = sqeazy_plan(&scratch->header, &scratch->plan);
    if (r == 0 &&
        !sqeazy_is_plausible(&scratch->header, &scratch->plan, (uint64_t)scratch->st.st_size))
        r = -EBADMSG;
    if (r < 0)
        return r == -EOVERFLOW ? -EBADMSG : r;
    bool known = sqy_pipeline_parse(scratch->header.pipename, &pipeline, NULL) == 0;
    const char *text = known ? sqy_pipeline_short(pipeline) : scratch->header.pipename;
    size_t len = strnlen(text, sizeof(scratch->pipeline) - 1);
    memcpy(scratch->pipeline, text, len);
    sqy_pipeline_free(&pipeline);
    return 0;
}

int scratch_get(struct scratch_pool *pool, int fd, struct scratch **out)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *out = find(pool, &st);
    if (*out != NULL) {
        close(fd);
        return 0;
    }
    struct scratch *scratch = calloc(1, sizeof(*scratch));
    if (scratch == NULL)
        return -ENOMEM;
    scratch->st = st;
    scratch->fd = fd;
    scratch->refs = 1;
    scratch->voxels.fd = -1;
    int r = read_header(pool, scratch);
    if (r < 0) {
        scratch->fd = -1;
        free_scratch(pool, scratch);
        return r;
    }
    pthread_mutex_lock(&pool->lock);
    scratch->next = pool->head;
    pool->head = scratch;
    pthread_mutex_unlock(&pool->lock);
    *out = scratch;
    return 0;
}

struct scratch *scratch_hold(struct scratch_pool *pool, struct scratch *scratch)
{
    pthread_mutex_lock(&pool->lock);
    scratch->refs++;
    pthread_mutex_unlock(&pool->lock);
    return scratch;
}

void scratch_put(struct scratch_pool *pool, struct scratch **scratch_p)
{
    struct scratch *scratch = *scratch_p;
    *scratch_p = NULL;
    if (scratch == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    bool last = --scratch->refs == 0 && scratch->state != READY;
    scratch->released_ms = now_ms();
    if (last)
        unlink_scratch(pool, scratch);
    pthread_mutex_unlock(&pool->lock);
    if (last)
        free_scratch(pool, scratch);
}

const struct tiffout *scratch_plan(const struct scratch *scratch)
{
    return &scratch->plan;
}

const char *scratch_pipeline(const struct scratch *scratch)
{
    return scratch->pipeline;
}

/* ---- decoding ---- */

/* Room for what the codec needs beside its input and output: at most two more volumes. */
static int take_work(struct scratch_pool *pool, uint64_t bytes)
{
    if (bytes > pool->share)
        return -EFBIG;
    pthread_mutex_lock(&pool->lock);
    while (pool->work > 0 && pool->work + bytes > SCRATCH_WORK)
        pthread_cond_wait(&pool->changed, &pool->lock);
    pool->work += bytes;
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

static void give_work(struct scratch_pool *pool, uint64_t bytes)
{
    pthread_mutex_lock(&pool->lock);
    pool->work -= bytes;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

static int decode_payload(struct scratch_pool *pool, struct scratch *scratch, struct room *voxels)
{
    uint64_t payload_len = (uint64_t)scratch->st.st_size - scratch->header.header_bytes;
    struct room payload;
    int r = room_make(pool, payload_len, &payload);
    if (r < 0)
        return r;
    r = io_pread_exact(pool->io, scratch->fd, payload.data, payload.len,
                       scratch->header.header_bytes);
    if (r == 0)
        r = sqeazy_decode(&scratch->header, payload.data, payload.len, voxels->data, voxels->len);
    room_free(pool, &payload);
    return r == -ENODATA ? -EBADMSG : r;
}

static int decode(struct scratch_pool *pool, struct scratch *scratch, struct room *voxels)
{
    uint64_t bytes = scratch->plan.plane_bytes * scratch->plan.depth, work;
    if (__builtin_mul_overflow(bytes, 2u, &work))
        return -EFBIG;
    int r = take_work(pool, work);
    if (r < 0)
        return r;
    r = room_make(pool, bytes, voxels);
    if (r == 0) {
        r = decode_payload(pool, scratch, voxels);
        if (r == 0)
            room_unmap(voxels);
        else
            room_free(pool, voxels);
    }
    give_work(pool, work);
    return r;
}

/* The reader that takes it from UNREAD to READY or FAILED. */
static int decode_now(struct scratch_pool *pool, struct scratch *scratch)
{
    struct room voxels = {.fd = -1};
    int r = decode(pool, scratch, &voxels);
    close_source(scratch);
    pthread_mutex_lock(&pool->lock);
    scratch->voxels = voxels;
    scratch->state = r == 0 ? READY : FAILED;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    return r;
}

static int make_ready(struct scratch_pool *pool, struct scratch *scratch, bool wait)
{
    pthread_mutex_lock(&pool->lock);
    while (wait && scratch->state == DECODING)
        pthread_cond_wait(&pool->changed, &pool->lock);
    enum scratch_state state = scratch->state;
    bool mine = wait && state == UNREAD;
    if (mine)
        scratch->state = DECODING;
    pthread_mutex_unlock(&pool->lock);
    if (mine)
        return decode_now(pool, scratch);
    return state == READY ? 0 : state == FAILED ? -EIO : -EAGAIN;
}

bool scratch_is_ready(struct scratch_pool *pool, struct scratch *scratch)
{
    return make_ready(pool, scratch, false) == 0;
}

/* ---- reading ---- */

static ssize_t read_voxels(struct scratch_pool *pool, const struct room *voxels, void *buf,
                           size_t len, uint64_t at, bool wait)
{
    if (len > voxels->len - at)
        len = (size_t)(voxels->len - at);
    if (voxels->fd < 0) {
        memcpy(buf, (const uint8_t *)voxels->data + at, len);
        return (ssize_t)len;
    }
    if (wait) {
        int r = io_pread_exact(pool->io, voxels->fd, buf, len, at);
        return r < 0 ? -EIO : (ssize_t)len;
    }
    struct iovec iov = {buf, len};
    ssize_t n = preadv2(voxels->fd, &iov, 1, (off_t)at, RWF_NOWAIT);
    return n < 0 || (size_t)n < len ? -EAGAIN : n;
}

ssize_t scratch_read(struct scratch_pool *pool, struct scratch *scratch, void *buf, size_t len,
                     uint64_t off, bool wait)
{
    const struct tiffout *plan = &scratch->plan;
    size_t done = 0;
    while (done < len && off + done < plan->size) {
        uint8_t *to = (uint8_t *)buf + done;
        size_t n = tiffout_around(plan, off + done, to, len - done);
        if (n == 0) {
            ssize_t r = make_ready(pool, scratch, wait);
            if (r == 0)
                r = read_voxels(pool, &scratch->voxels, to, len - done,
                                off + done - plan->voxels_off, wait);
            if (r < 0)
                return r;
            n = (size_t)r;
        }
        done += n;
    }
    return (ssize_t)done;
}
