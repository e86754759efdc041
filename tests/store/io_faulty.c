#include "io_faulty.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512u

struct io_faulty_op {
    bool truncation;
    uint64_t off; /* or the new size */
    size_t len;
    uint8_t *data;
};

struct disk {
    uint8_t *data;
    size_t len, cap;
};

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* ---- the disk ---- */

static void disk_resize(struct disk *disk, size_t len)
{
    if (len > disk->cap) {
        disk->cap = len + len / 2;
        disk->data = realloc(disk->data, disk->cap);
        assert(disk->data);
    }
    if (len > disk->len)
        memset(disk->data + disk->len, 0, len - disk->len);
    disk->len = len;
}

static void disk_write(struct disk *disk, const struct io_faulty_op *op, size_t from, size_t to)
{
    if (op->off + to > disk->len)
        disk_resize(disk, op->off + to);
    memcpy(disk->data + op->off + from, op->data + from, to - from);
}

static void apply(struct disk *disk, const struct io_faulty_op *op)
{
    if (op->truncation)
        disk_resize(disk, op->off);
    else
        disk_write(disk, op, 0, op->len);
}

/* All of it, nothing of it, its front, or some of its sectors. */
static void apply_perhaps(struct disk *disk, const struct io_faulty_op *op, uint64_t *random)
{
    uint64_t how = next_random(random) % 4;
    if (how == 0)
        return;
    if (how == 1 || op->truncation) {
        apply(disk, op);
        return;
    }
    if (how == 2) {
        disk_write(disk, op, 0, next_random(random) % (op->len + 1));
        return;
    }
    for (size_t from = 0; from < op->len;) {
        size_t to = from + SECTOR - (op->off + from) % SECTOR;
        to = to < op->len ? to : op->len;
        if (next_random(random) & 1)
            disk_write(disk, op, from, to);
        from = to;
    }
}

static void forget_ops(struct io_faulty *f)
{
    for (size_t i = 0; i < f->n_ops; i++)
        free(f->ops[i].data);
    f->n_ops = 0;
}

static void note(struct io_faulty *f, struct io_faulty_op op, const void *data)
{
    if (!f->recording)
        return;
    if (f->n_ops == f->cap_ops) {
        f->cap_ops = 2 * f->cap_ops + 16;
        f->ops = reallocarray(f->ops, f->cap_ops, sizeof(op));
        assert(f->ops);
    }
    if (op.len > 0) {
        op.data = malloc(op.len);
        assert(op.data);
        memcpy(op.data, data, op.len);
    }
    f->ops[f->n_ops++] = op;
}

/* Synced: all is on the disk. Failed: the kernel forgets what was dirty, the disk has any of it. */
static void settle(struct io_faulty *f, bool synced)
{
    struct disk disk = {f->disk, f->disk_len, f->disk_cap};
    for (size_t i = 0; i < f->n_ops; i++) {
        if (synced || (f->forgets && f->ops[i].truncation))
            apply(&disk, &f->ops[i]);
        else if (!f->forgets)
            apply_perhaps(&disk, &f->ops[i], &f->random);
    }
    f->disk = disk.data;
    f->disk_len = disk.len;
    f->disk_cap = disk.cap;
    forget_ops(f);
}

/* The file is as the disk has it; where that has nothing there are zeros. */
static void forget_cache(struct io_faulty *f, int fd)
{
    off_t len = lseek(fd, 0, SEEK_END);
    int r = ftruncate(fd, 0);
    assert(r == 0 && (size_t)len >= f->disk_len);
    r = f->disk_len ? io_pwrite_full(&io_system, fd, f->disk, f->disk_len, 0) : 0;
    assert(r == 0);
    r = ftruncate(fd, len);
    assert(r == 0);
}

/* ---- calls ---- */

bool io_faulty_is_cut(const struct io_faulty *f)
{
    return f->cut_after != 0 && f->n[IO_PWRITE] + f->n[IO_FTRUNCATE] > f->cut_after;
}

/* Counts a call. 0: it goes through; else how it fails, *keep being what gets through first. */
static int count(struct io_faulty *f, enum io_faulty_call call, size_t *keep)
{
    const struct io_faulty_rule *rule = &f->rules[call];
    unsigned n = ++f->n[call];
    *keep = 0;
    if (io_faulty_is_cut(f))
        return -EIO;
    if (rule->at == 0 || n < rule->at || (n > rule->at && !rule->for_good))
        return 0;
    *keep = rule->keep;
    f->n_failed[call]++;
    return -rule->error;
}

static ssize_t faulty_pread(const struct io *io, int fd, void *buf, size_t len, uint64_t off)
{
    struct io_faulty *f = (struct io_faulty *)(uintptr_t)io;
    size_t keep;
    pthread_mutex_lock(&f->lock);
    int r = count(f, IO_PREAD, &keep);
    pthread_mutex_unlock(&f->lock);
    return r < 0 ? r : io_system.pread(&io_system, fd, buf, len, off);
}

static ssize_t faulty_pwrite(const struct io *io, int fd, const void *buf, size_t len, uint64_t off)
{
    struct io_faulty *f = (struct io_faulty *)(uintptr_t)io;
    size_t keep;
    pthread_mutex_lock(&f->lock);
    int r = count(f, IO_PWRITE, &keep);
    if (r < 0)
        len = keep < len ? keep : len / 2;
    if (len > 0) {
        ssize_t written = io_system.pwrite(&io_system, fd, buf, len, off);
        assert(written == (ssize_t)len);
        note(f, (struct io_faulty_op){.off = off, .len = len}, buf);
    }
    bool is_short = r < 0 && keep == SIZE_MAX && len > 0;
    pthread_mutex_unlock(&f->lock);
    return r < 0 && !is_short ? r : (ssize_t)len;
}

static int faulty_fdatasync(const struct io *io, int fd)
{
    struct io_faulty *f = (struct io_faulty *)(uintptr_t)io;
    size_t keep;
    pthread_mutex_lock(&f->lock);
    int r = count(f, IO_FDATASYNC, &keep);
    if (f->recording && !io_faulty_is_cut(f))
        settle(f, r >= 0);
    if (r < 0 && f->recording && f->forgets)
        forget_cache(f, fd);
    pthread_mutex_unlock(&f->lock);
    return r;
}

static int faulty_ftruncate(const struct io *io, int fd, uint64_t size)
{
    struct io_faulty *f = (struct io_faulty *)(uintptr_t)io;
    size_t keep;
    pthread_mutex_lock(&f->lock);
    int r = count(f, IO_FTRUNCATE, &keep);
    if (r >= 0)
        r = io_system.ftruncate(&io_system, fd, size);
    if (r >= 0)
        note(f, (struct io_faulty_op){.truncation = true, .off = size}, NULL);
    pthread_mutex_unlock(&f->lock);
    return r;
}

/* Counts a call on names. */
static int count_name(struct io_faulty *f, enum io_faulty_call call)
{
    size_t keep;
    pthread_mutex_lock(&f->lock);
    int r = count(f, call, &keep);
    unsigned nth = f->n[call];
    pthread_mutex_unlock(&f->lock);
    if (f->hook)
        f->hook(f->hook_ctx, call, nth);
    return r;
}

static int faulty_fsync(const struct io *io, int fd)
{
    int r = count_name((struct io_faulty *)(uintptr_t)io, IO_FSYNC);
    return r < 0 ? r : io_system.fsync(&io_system, fd);
}

static int faulty_rename(const struct io *io, int from_dir, const char *from, int to_dir,
                         const char *to, unsigned flags)
{
    int r = count_name((struct io_faulty *)(uintptr_t)io, IO_RENAME);
    return r < 0 ? r : io_system.rename(&io_system, from_dir, from, to_dir, to, flags);
}

void io_faulty_init(struct io_faulty *f)
{
    *f = (struct io_faulty){
        .io = {.pread = faulty_pread,
               .pwrite = faulty_pwrite,
               .fdatasync = faulty_fdatasync,
               .ftruncate = faulty_ftruncate,
               .fsync = faulty_fsync,
               .rename = faulty_rename},
    };
    pthread_mutex_init(&f->lock, NULL);
}

void io_faulty_clear(struct io_faulty *f)
{
    forget_ops(f);
    free(f->ops);
    free(f->disk);
    pthread_mutex_destroy(&f->lock);
    *f = (struct io_faulty){0};
}

void io_faulty_fail(struct io_faulty *f, enum io_faulty_call call, unsigned nth, int error,
                    bool for_good)
{
    f->rules[call] =
        (struct io_faulty_rule){.at = f->n[call] + nth, .error = error, .for_good = for_good};
}

void io_faulty_tear(struct io_faulty *f, unsigned nth, size_t keep, int error)
{
    f->rules[IO_PWRITE] =
        (struct io_faulty_rule){.at = f->n[IO_PWRITE] + nth, .error = error, .keep = keep};
}

void io_faulty_heal(struct io_faulty *f)
{
    memset(f->rules, 0, sizeof(f->rules));
}

/* ---- crashes ---- */

void io_faulty_record(struct io_faulty *f, int fd, uint64_t seed)
{
    off_t len = lseek(fd, 0, SEEK_END);
    assert(len >= 0);
    forget_ops(f);
    struct disk disk = {f->disk, f->disk_len, f->disk_cap};
    disk_resize(&disk, (size_t)len);
    ssize_t r = len ? io_pread_full(&io_system, fd, disk.data, (size_t)len, 0) : 0;
    assert(r == len);
    f->disk = disk.data;
    f->disk_len = disk.len;
    f->disk_cap = disk.cap;
    f->random = seed;
    f->recording = true;
}

void io_faulty_crash_image(const struct io_faulty *f, uint64_t seed, int fd)
{
    struct disk disk = {0};
    disk_resize(&disk, f->disk_len);
    if (f->disk_len > 0)
        memcpy(disk.data, f->disk, f->disk_len);
    for (size_t i = 0; i < f->n_ops; i++)
        apply_perhaps(&disk, &f->ops[i], &seed);
    int r = disk.len ? io_pwrite_full(&io_system, fd, disk.data, disk.len, 0) : 0;
    assert(r == 0);
    free(disk.data);
}
