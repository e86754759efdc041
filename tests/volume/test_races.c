/* Two things at once, and failures at the worst moment: each test makes happen between two steps what
 * a slow disk or an unlucky thread would. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "rig.h"
#include "store/tree.h"
#include "volume/core.h"
#include "volume/pack.h"
#include "volume/scan.h"

static void pause_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l}, NULL);
}

/* ---- what happens at a call; once ---- */

struct trap {
    atomic_uint after; /* how many calls go by before; 0: not set */
    int error;         /* what the call then fails with; 0: it is done first */
    bool for_good;
    void (*run)(void *ctx);
    void *ctx;
};

static bool trap_springs(struct trap *trap)
{
    unsigned after = atomic_load(&trap->after);
    while (after > 0 && !atomic_compare_exchange_weak(&trap->after, &after, after - 1))
        ;
    if (after == 1 && trap->for_good)
        atomic_store(&trap->after, 1);
    return after == 1;
}

static void trap_set(struct trap *trap, unsigned nth, int error, void (*run)(void *), void *ctx)
{
    trap->error = error;
    trap->for_good = false;
    trap->run = run;
    trap->ctx = ctx;
    atomic_store(&trap->after, nth);
}

static struct trap dir_fsyncs, dup3s, ftruncates, utimensats, renameats;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    struct stat st;
    bool dir = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    bool sprung = dir && trap_springs(&dir_fsyncs);
    if (sprung && dir_fsyncs.error != 0) {
        errno = dir_fsyncs.error;
        return -1;
    }
    int r = __real_fsync(fd);
    if (sprung)
        dir_fsyncs.run(dir_fsyncs.ctx);
    return r;
}

int __real_dup3(int from, int to, int flags);
int __wrap_dup3(int from, int to, int flags);
int __wrap_dup3(int from, int to, int flags)
{
    int r = __real_dup3(from, to, flags);
    if (trap_springs(&dup3s))
        dup3s.run(dup3s.ctx);
    return r;
}

int __real_ftruncate64(int fd, off_t size);
int __wrap_ftruncate64(int fd, off_t size);
int __wrap_ftruncate64(int fd, off_t size)
{
    int r = __real_ftruncate64(fd, size);
    if (trap_springs(&ftruncates))
        ftruncates.run(ftruncates.ctx);
    return r;
}

int __real_utimensat(int dir, const char *path, const struct timespec times[2], int flags);
int __wrap_utimensat(int dir, const char *path, const struct timespec times[2], int flags);
int __wrap_utimensat(int dir, const char *path, const struct timespec times[2], int flags)
{
    if (trap_springs(&utimensats))
        utimensats.run(utimensats.ctx);
    return __real_utimensat(dir, path, times, flags);
}

int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    if (trap_springs(&renameats))
        renameats.run(renameats.ctx);
    return __real_renameat(from_dir, from, to_dir, to);
}

/* The same for what goes through the I/O table. */
struct trapped_io {
    struct io io;
    struct trap pread, pwrite, fdatasync;
    uint64_t ino;  /* which file's writes are counted; 0: all */
    size_t longer; /* writes of more than this are */
};

static ssize_t trapped_pread(const struct io *io, int fd, void *buf, size_t len, uint64_t off)
{
    struct trap *trap = &((struct trapped_io *)(uintptr_t)io)->pread;
    ssize_t r = io_system.pread(&io_system, fd, buf, len, off);
    if (trap_springs(trap))
        trap->run(trap->ctx);
    return r;
}

static ssize_t trapped_pwrite(const struct io *io, int fd, const void *buf, size_t len,
                              uint64_t off)
{
    struct trapped_io *trapped = (struct trapped_io *)(uintptr_t)io;
    struct stat st;
    bool counts = len > trapped->longer &&
                  (trapped->ino == 0 || (fstat(fd, &st) == 0 && st.st_ino == trapped->ino));
    if (counts && trap_springs(&trapped->pwrite)) {
        if (trapped->pwrite.run == NULL)
            return trapped->pwrite.error;
        trapped->pwrite.run(trapped->pwrite.ctx);
    }
    return io_system.pwrite(&io_system, fd, buf, len, off);
}

static int trapped_fdatasync(const struct io *io, int fd)
{
    struct trap *trap = &((struct trapped_io *)(uintptr_t)io)->fdatasync;
    int r = io_system.fdatasync(&io_system, fd);
    if (trap_springs(trap))
        trap->run(trap->ctx);
    return r;
}

static int trapped_ftruncate(const struct io *io, int fd, uint64_t size)
{
    (void)io;
    return io_system.ftruncate(&io_system, fd, size);
}

static void start_trapped(struct rig *rig, struct trapped_io *trapped)
{
    memset(trapped, 0, sizeof(*trapped));
    trapped->io = io_system;
    trapped->io.pread = trapped_pread;
    trapped->io.pwrite = trapped_pwrite;
    trapped->io.fdatasync = trapped_fdatasync;
    trapped->io.ftruncate = trapped_ftruncate;
    rig_start(rig);
    rig->volume->io = &trapped->io;
}

/* ---- helpers ---- */

static struct stack *settled(struct rig *rig, const char *name, const uint8_t *data, size_t len)
{
    struct stack *stack = rig_create(rig, name);
    rig_write(stack, data, len, 0);
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig->volume), 0);
    return stack;
}

/* The store as a killed daemon leaves it. */
static void open_copy(const struct rig *rig, struct rig *copy)
{
    char command[512];
    snprintf(copy->path, sizeof(copy->path), "%.80s-copy", rig->path);
    snprintf(command, sizeof(command),
             "mkdir '%s' && tar -C '%s' --exclude=./.sqyfs -cf - . | tar -C '%s' -xf -", copy->path,
             rig->path, copy->path);
    assert_int_equal(system(command), 0);
    rig_open(copy);
}

static void put_file(const struct rig *rig, const char *name, const uint8_t *data, size_t len)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", rig->path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

static bool in_store(const struct rig *rig, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", rig->path, name);
    return access(path, F_OK) == 0;
}

static void move(const struct rig *rig, const char *from, const char *to)
{
    struct tree *tree = volume_tree(rig->volume);
    assert_int_equal(tree_rename(tree, tree_root(tree), from, tree_root(tree), to, 0), 0);
}

/* A plain file that holds a TIFF gets a name, and is being converted when this returns. */
static struct stack *begin_conversion(struct rig *rig, const uint8_t *data, size_t len)
{
    put_file(rig, "scan.dat", data, len);
    move(rig, "scan.dat", "scan.tif");
    volume_note_rename(rig->volume, "scan.dat", "scan.tif");
    return rig_find(rig, "scan.tif");
}

static void wait_tended(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    while (stack->tend_queued || stack->tending || stack->rewrite_queued)
        pthread_cond_wait(&stack->changed, &stack->lock);
    pthread_mutex_unlock(&stack->lock);
}

/* ---- conversion and compaction ---- */

static void move_away_and_make_anew(void *ctx)
{
    struct rig *rig = ctx;
    static const uint8_t raw[] = "II\x2a\0\x08\0\0\0\0\0 this one is new";
    move(rig, "scan.tif", "elsewhere.tif");
    struct stack *stack = rig_create(rig, "scan.tif");
    rig_write(stack, raw, sizeof(raw), 0);
    stack_release(stack, true);
    stack_put(&stack);
}

static void a_file_made_where_a_conversion_gives_way_stays(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    trap_set(&dir_fsyncs, 1, 0, move_away_and_make_anew, &rig);
    struct stack *stack = begin_conversion(&rig, data, len);
    wait_tended(stack);
    assert_int_equal(atomic_load(&dir_fsyncs.after), 0);
    rig_expect(stack, data, len);
    stack_put(&stack);
    assert_int_equal(volume_drain(rig.volume), 0);
    assert_true(in_store(&rig, "scan.tif.sqy"));
    stack = rig_find(&rig, "scan.tif");
    rig_expect(stack, (const uint8_t *)"II\x2a\0\x08\0\0\0\0\0 this one is new", 27);
    stack_put(&stack);
    stack = rig_find(&rig, "elsewhere.tif");
    rig_expect(stack, data, len);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void a_conversion_that_cannot_be_synced_keeps_its_bytes(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    trap_set(&dir_fsyncs, 2, EIO, NULL, NULL);
    struct stack *stack = begin_conversion(&rig, data, len);
    wait_tended(stack);
    assert_int_equal(atomic_load(&dir_fsyncs.after), 0);
    assert_true(in_store(&rig, "scan.tif.sqy") && !in_store(&rig, "scan.tif"));
    assert_int_equal(volume_drain(rig.volume), 0);
    rig_expect(stack, data, len);
    stack_put(&stack);
    rig_close(&rig);
    rig_open(&rig);
    stack = rig_find(&rig, "scan.tif");
    rig_expect(stack, data, len);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

struct late_lookup {
    struct rig *rig;
    int fd; /* of the inode that a rewrite takes away */
    pthread_t thread;
};

struct late_change {
    struct stack *stack;
    pthread_t thread;
};

/* As a mount's chmod(2) does. */
static void *change_mode(void *arg)
{
    struct late_change *late = arg;
    char path[64];
    stack_begin_attr(late->stack);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", stack_fd(late->stack));
    assert_int_equal(chmod(path, 0751), 0);
    stack_end_attr(late->stack);
    return NULL;
}

static void start_change(void *ctx)
{
    struct late_change *late = ctx;
    assert_int_equal(pthread_create(&late->thread, NULL, change_mode, late), 0);
    pause_ms(200);
}

static void expect_mode(struct stack *stack, mode_t mode)
{
    struct stat st;
    assert_int_equal(fstat(stack_fd(stack), &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(st.st_mode & 07777, mode);
}

static void a_mode_set_as_inodes_are_exchanged_stays(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    struct stack *stack = settled(&rig, "mode.tif", data, len);
    struct late_change late = {.stack = stack};
    trap_set(&renameats, 1, 0, start_change, &late);
    assert_int_equal(stack_compact(stack), 0);
    assert_int_equal(atomic_load(&renameats.after), 0);
    pthread_join(late.thread, NULL);
    expect_mode(stack, 0751);
    rig_expect(stack, data, len);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void *compact(void *arg)
{
    return (void *)(intptr_t)stack_compact(arg);
}

/* One that began before the exchange, and is done after the copy was dressed. */
static void a_mode_being_set_as_a_rewrite_ends_stays(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    struct stack *stack = settled(&rig, "mode.tif", data, len);
    struct late_change late = {.stack = stack};
    pthread_t compacting;
    void *result;
    struct stat before, after;
    assert_int_equal(fstat(stack_fd(stack), &before), 0);
    stack_begin_attr(stack);
    assert_int_equal(pthread_create(&compacting, NULL, compact, stack), 0);
    pause_ms(500);
    assert_int_equal(fstat(stack_fd(stack), &after), 0);
    assert_int_equal(after.st_ino, before.st_ino); /* it waits */
    change_mode(&late);
    stack_end_attr(stack);
    pthread_join(compacting, &result);
    assert_null(result);
    expect_mode(stack, 0751);
    rig_expect(stack, data, len);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void *look_up_late(void *arg)
{
    struct late_lookup *late = arg;
    struct stack *stack;
    if (stack_get(late->rig->volume, late->fd, true, &stack) < 0)
        close(late->fd);
    else
        stack_put(&stack);
    return NULL;
}

static void start_late(void *ctx)
{
    struct late_lookup *late = ctx;
    assert_int_equal(pthread_create(&late->thread, NULL, look_up_late, late), 0);
    pause_ms(200);
}

static void a_late_lookup_does_not_bring_a_rewritten_inode_back(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    struct stack *stack = settled(&rig, "moved.tif", data, len);
    struct late_lookup late = {.rig = &rig};
    struct tree_entry entry;
    struct tree *tree = volume_tree(rig.volume);
    assert_int_equal(tree_lookup(tree, tree_root(tree), "moved.tif", &entry), 0);
    late.fd = entry.fd;
    trap_set(&dup3s, 1, 0, start_late, &late);
    assert_int_equal(stack_compact(stack), 0);
    pthread_join(late.thread, NULL);
    struct stat st;
    assert_int_equal(fstat(stack_fd(stack), &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(stack_open(stack, true, -1), 0);
    data[len - 1] ^= 1;
    rig_write(stack, data + len - 1, 1, len - 1);
    stack_release(stack, true);
    stack_put(&stack);
    rig_close(&rig);
    rig_open(&rig);
    stack = rig_find(&rig, "moved.tif");
    rig_expect(stack, data, len);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

struct late_conversion {
    struct rig *rig;
    struct stack *stack;
};

static void be_slow(void *ctx)
{
    (void)ctx;
    pause_ms(300);
}

static void convert_meanwhile(void *ctx)
{
    struct late_conversion *late = ctx;
    bool begun = false;
    trap_set(&dir_fsyncs, 1, 0, be_slow, NULL);
    volume_note_rename(late->rig->volume, "scan.dat", "scan.tif");
    for (unsigned i = 0; i < 20 && !begun; i++) {
        pause_ms(10);
        pthread_mutex_lock(&late->stack->lock);
        begun = late->stack->rewriting;
        pthread_mutex_unlock(&late->stack->lock);
    }
}

static void a_time_set_as_a_conversion_begins_stays(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    put_file(&rig, "scan.tif", data, len);
    struct stack *stack = rig_find(&rig, "scan.tif");
    struct late_conversion late = {&rig, stack};
    trap_set(&utimensats, 1, 0, convert_meanwhile, &late);
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(stack_utimens(stack, times), 0);
    wait_tended(stack);
    assert_int_equal(volume_drain(rig.volume), 0);
    assert_true(in_store(&rig, "scan.tif.sqy"));
    struct stat st;
    assert_int_equal(fstat(stack_fd(stack), &st), 0);
    assert_int_equal(stack_getattr(stack, &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, 1000000000);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void wait_for_go(void *ctx)
{
    atomic_bool *go = ctx;
    for (unsigned i = 0; i < 1000 && !atomic_load(go); i++)
        pause_ms(10);
}

static void rewriting_keeps_no_flush_waiting(void **state)
{
    (void)state;
    enum { N = VOLUME_TENDERS + 4 };
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    atomic_bool go = false;
    trap_set(&dir_fsyncs, 1, 0, wait_for_go, &go);
    dir_fsyncs.for_good = true;
    struct stack *old[N];
    for (unsigned i = 0; i < N; i++) {
        char from[32], to[32];
        snprintf(from, sizeof(from), "%u.dat", i);
        snprintf(to, sizeof(to), "%u.tif", i);
        put_file(&rig, from, data, len);
        move(&rig, from, to);
        volume_note_rename(rig.volume, from, to);
        old[i] = rig_find(&rig, to);
    }
    pause_ms(300);
    atomic_store(&dir_fsyncs.after, 0); /* those that begin later may go on */
    struct stack *stack = rig_create(&rig, "new.tif");
    rig_write(stack, data, len, 0);
    stack_release(stack, true);
    bool stored = false;
    for (unsigned i = 0; i < 500 && !stored; i++) {
        pause_ms(10);
        pthread_mutex_lock(&stack->lock);
        stored = !stack->modified && !stack->syncing;
        pthread_mutex_unlock(&stack->lock);
    }
    assert_true(stored);
    atomic_store(&go, true);
    for (unsigned i = 0; i < N; i++) {
        wait_tended(old[i]);
        assert_true(stack_is_blob(old[i]));
        rig_expect(old[i], data, len);
        stack_put(&old[i]);
    }
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

/* ---- checkpoints ---- */

struct late_write {
    struct rig *rig;
    struct stack *stack;
    const uint8_t *data;
    size_t len;
};

static void write_and_encode(void *ctx)
{
    struct late_write *late = ctx;
    assert_int_equal(stack_open(late->stack, true, -1), 0);
    rig_write(late->stack, late->data, late->len, 0);
    for (unsigned i = 0; i < 500 && atomic_load(&late->rig->volume->jobs_in_flight) > 0; i++)
        pause_ms(10);
}

static void a_header_claims_no_more_than_a_checkpoint_names(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    struct trapped_io trapped;
    start_trapped(&rig, &trapped);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 4)),
            *next = malloc(rig_tiff_bound(256, 256, 4));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 256, 256, 4, data);
    memcpy(next, data, len);
    for (size_t i = 600; i < len; i++)
        next[i] ^= 0x55;
    struct stack *stack = rig_create(&rig, "killed.tif");
    rig_write(stack, data, len, 0);
    stack_release(stack, true);
    struct late_write late = {&rig, stack, next, len};
    trap_set(&trapped.fdatasync, 2, 0, write_and_encode, &late);
    assert_int_equal(volume_drain(rig.volume), 0);
    assert_int_equal(atomic_load(&trapped.fdatasync.after), 0);

    struct rig copy = {.config = {.read_only = true}};
    open_copy(&rig, &copy);
    struct stack *there = rig_find(&copy, "killed.tif");
    rig_expect(there, data, len);
    stack_put(&there);
    rig_stop(&copy);

    rig_expect(stack, next, len);
    stack_release(stack, true);
    stack_put(&stack);
    free(next);
    free(data);
    rig_stop(&rig);
}

static bool says_lower_rung(struct stack *stack)
{
    struct blob_state said;
    pthread_mutex_lock(&stack->lock);
    blob_state(stack->blob->blob, &said);
    bool says = pack_meta_lower_rung(said.meta);
    pthread_mutex_unlock(&stack->lock);
    return says;
}

/* What it says is put down before the table is, and a chunk may come between. */
static void a_checkpoint_beside_a_writer_says_that_lower_rungs_may_be_there(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 64, 64, 4, data);
    struct stack *stack = rig_create(&rig, "open.tif");
    assert_int_equal(stack_open(stack, false, -1), 0);
    rig_write(stack, data, len, 0);
    assert_int_equal(stack_fsync(stack), 0);
    assert_true(says_lower_rung(stack));
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    assert_false(says_lower_rung(stack));
    stack_release(stack, false);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void what_cannot_be_stored_does_not_keep_the_rest_from_a_checkpoint(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    struct trapped_io trapped;
    start_trapped(&rig, &trapped);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 8));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 256, 256, 8, data), half = 441 + 4 * 131072;
    struct stack *stack = rig_create(&rig, "half.tif");
    rig_write(stack, data, half, 0);
    for (unsigned i = 0; i < 500 && atomic_load(&rig.volume->jobs_in_flight) > 0; i++)
        pause_ms(10);
    trapped.longer = 8192;
    trap_set(&trapped.pwrite, 1, -EIO, NULL, NULL);
    trapped.pwrite.for_good = true;
    rig_write(stack, data + half, len - half, half);
    assert_int_equal(stack_fsync(stack), -EIO);

    struct rig copy = {.config = {.read_only = true}};
    open_copy(&rig, &copy);
    struct stack *there = rig_find(&copy, "half.tif");
    uint8_t *buf = malloc(half);
    assert_int_equal(stack_open(there, false, -1), 0);
    assert_int_equal(stack_read(there, buf, half, 0, true), half);
    assert_memory_equal(buf, data, half);
    stack_release(there, false);
    stack_put(&there);
    rig_stop(&copy);
    free(buf);

    rig_expect(stack, data, len);
    atomic_store(&trapped.pwrite.after, 0);
    assert_int_equal(stack_fsync(stack), 0);
    stack_release(stack, true);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

static void a_full_disk_is_told_however_else_others_fail(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 2; which++) {
        struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
        struct trapped_io trapped;
        start_trapped(&rig, &trapped);
        uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
        size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
        struct stack *stacks[2];
        for (unsigned i = 0; i < 2; i++) {
            stacks[i] = rig_create(&rig, i == 0 ? "first.tif" : "second.tif");
            rig_write(stacks[i], data, len, 0);
        }
        for (unsigned i = 0; i < 500 && atomic_load(&rig.volume->jobs_in_flight) > 0; i++)
            pause_ms(10);
        for (unsigned i = 0; i < 2; i++) {
            pthread_mutex_lock(&stacks[i]->lock);
            stacks[i]->tend_queued = true; /* no tender: these errors are what they had to say */
            stacks[i]->error = i == which ? -ENOSPC : -EIO;
            pthread_mutex_unlock(&stacks[i]->lock);
        }
        pthread_t thread;
        assert_int_equal(
            pthread_create(&thread, NULL, (void *(*)(void *))(void *)volume_drain, rig.volume), 0);
        pause_ms(50);
        for (unsigned i = 0; i < 2; i++) {
            pthread_mutex_lock(&stacks[i]->lock);
            stacks[i]->tend_queued = false;
            pthread_cond_broadcast(&stacks[i]->changed);
            pthread_mutex_unlock(&stacks[i]->lock);
        }
        void *r;
        pthread_join(thread, &r);
        assert_int_equal((int)(intptr_t)r, -ENOSPC);
        for (unsigned i = 0; i < 2; i++) {
            stack_release(stacks[i], true);
            stack_put(&stacks[i]);
        }
        free(data);
        rig_stop(&rig);
    }
}

/* ---- room in the spool ---- */

struct slow_disk {
    atomic_bool through, in_vain; /* the writer is; it was waited for, and was not */
};

static void until_the_writer_is_through(void *ctx)
{
    struct slow_disk *disk = ctx;
    for (unsigned i = 0; i < 1000 && !atomic_load(&disk->through); i++)
        pause_ms(10);
    atomic_store(&disk->in_vain, !atomic_load(&disk->through));
}

static void who_waits_for_room_waits_for_the_first_and_not_for_a_whole_flush(void **state)
{
    (void)state;
    enum { SPOOL = 16 << 20, LEN = 3 * SPOOL };
    struct rig rig = {.config = {.chunk = 65536, .spool = SPOOL, .threads = 2}};
    struct trapped_io trapped;
    start_trapped(&rig, &trapped);
    uint64_t seed = 1;
    uint8_t *data = malloc(LEN);
    for (size_t i = 0; i < LEN; i += 8)
        memcpy(data + i, &(uint64_t){rig_random(&seed)}, 8);
    memcpy(data, "II\x2a\0\x08\0\0\0\0", 10); /* a directory of nothing */
    struct stack *stack = rig_create(&rig, "strips.tif");
    struct slow_disk disk = {0};
    trapped.longer = 8192;
    trap_set(&trapped.pwrite, 1, 0, until_the_writer_is_through, &disk);
    for (size_t at = 0; at < LEN; at += 1 << 20)
        rig_write(stack, data + at, 1 << 20, at);
    atomic_store(&disk.through, true);
    assert_int_equal(atomic_load(&trapped.pwrite.after), 0);
    assert_int_equal(stack_fsync(stack), 0);
    assert_false(atomic_load(&disk.in_vain));
    rig_expect(stack, data, LEN);
    stack_release(stack, true);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

/* ---- bytes that are being encoded ---- */

struct gate {
    sem_t reached, open;
};

static void stop_at_gate(void *ctx)
{
    struct gate *gate = ctx;
    sem_post(&gate->reached);
    sem_wait(&gate->open);
}

static bool is_being_read(struct stack *stack, uint64_t off, uint64_t end)
{
    pthread_mutex_lock(&stack->lock);
    bool is = job_reads(stack, off, end);
    pthread_mutex_unlock(&stack->lock);
    return is;
}

static void what_an_encoder_reads_in_the_spool_is_not_written_into(void **state)
{
    (void)state;
    enum { CHANGED = 3 };
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20, .threads = 1}};
    struct trapped_io trapped;
    struct gate gate;
    sem_init(&gate.reached, 0, 0);
    sem_init(&gate.open, 0, 0);
    start_trapped(&rig, &trapped);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 4));
    size_t len = rig_tiff(RIG_PAGES, 256, 256, 4, data);
    struct stack *stack = rig_create(&rig, "busy.tif");
    trapped.longer = 8000; /* a chunk */
    trap_set(&trapped.pwrite, 1, 0, stop_at_gate, &gate);
    rig_write(stack, data, len, 0);
    sem_wait(&gate.reached);

    uint64_t off = 0;
    while (!is_being_read(stack, off, off + 1))
        assert_true(++off < len);
    memset(data + off, 0xa5, CHANGED);
    assert_int_equal(stack_write(stack, data + off, CHANGED, off, false), 0);
    /* cut off, they leave the file at once, and their memory is nobody else's */
    const uint32_t used = spool_used(rig.volume->spool);
    assert_int_equal(stack_truncate(stack, off), 0);
    assert_true(spool_used(rig.volume->spool) > 0);
    assert_true(spool_used(rig.volume->spool) < used);
    assert_true(is_being_read(stack, off, off + CHANGED));
    struct stack *other = rig_create(&rig, "other.tif");
    rig_write(other, data, len, 0);
    assert_int_equal(stack_write(stack, data + off, len - off, off, false), 0);

    sem_post(&gate.open);
    rig_write(stack, data + off, len - off, off);
    stack_release(stack, true);
    stack_release(other, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    rig_expect(stack, data, len);
    rig_expect(other, data, len);
    assert_int_equal(spool_used(rig.volume->spool), 0);
    stack_put(&stack);
    stack_put(&other);
    sem_destroy(&gate.reached);
    sem_destroy(&gate.open);
    free(data);
    rig_stop(&rig);
}

/* ---- birth and truncation ---- */

static void a_plain_file_that_did_not_fit_leaves_nothing_behind(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    struct trapped_io trapped;
    start_trapped(&rig, &trapped);
    uint8_t *text = malloc(300000);
    memset(text, 'x', 300000);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    for (unsigned as = 0; as < 2; as++) {
        const char *name = as == 0 ? "gone.tif" : "becomes.tif";
        struct stack *stack = rig_create(&rig, name);
        /* the first four bytes come last, and say what it is */
        rig_write(stack, text, 299996, 4);
        trapped.ino = stack->ino;
        trap_set(&trapped.pwrite, 3, -ENOSPC, NULL, NULL);
        assert_int_equal(stack_write(stack, text, 4, 0, true), -ENOSPC);
        assert_int_equal(atomic_load(&trapped.pwrite.after), 0);
        assert_int_equal(stack_truncate(stack, 0), 0);
        if (as == 1)
            rig_write(stack, data, len, 0);
        stack_release(stack, true);
        assert_int_equal(volume_drain(rig.volume), 0);
        rig_expect(stack, data, as == 1 ? len : 0);
        assert_int_equal(stack_is_blob(stack), as == 1);
        stack_put(&stack);
    }
    free(data);
    free(text);
    rig_stop(&rig);
}

static void an_old_attribute_does_not_make_an_emptied_stack_plain(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(64, 64, 4));
    size_t len = rig_tiff(RIG_PAGES, 64, 64, 4, data);
    struct stack *stack = settled(&rig, "again.tif", data, len);
    struct stat st;
    assert_int_equal(fstat(stack_fd(stack), &st), 0);
    assert_int_equal(stack_open(stack, true, -1), 0);
    assert_int_equal(stack_truncate(stack, 0), 0);
    assert_int_equal(stack_getattr(stack, &st), 0);
    rig_write(stack, data, len, 0);
    stack_release(stack, true);
    assert_int_equal(volume_drain(rig.volume), 0);
    assert_true(stack_is_blob(stack));
    rig_expect(stack, data, len);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

struct late_read {
    struct stack *stack;
    uint64_t off;
    ssize_t result;
    pthread_t thread;
};

static void *read_late(void *arg)
{
    struct late_read *late = arg;
    uint8_t buf[4096];
    late->result = stack_read(late->stack, buf, sizeof(buf), late->off, true);
    return NULL;
}

static void start_read(void *ctx)
{
    struct late_read *late = ctx;
    assert_int_equal(pthread_create(&late->thread, NULL, read_late, late), 0);
    pause_ms(200);
}

static void a_reader_of_a_stack_being_emptied_sees_no_damage(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    uint8_t *data = malloc(rig_tiff_bound(256, 256, 4));
    size_t len = rig_tiff(RIG_CONTIGUOUS, 256, 256, 4, data);
    struct stack *stack = settled(&rig, "read.tif", data, len);
    assert_int_equal(stack_open(stack, false, -1), 0);
    struct late_read late = {.stack = stack, .off = 200000};
    trap_set(&ftruncates, 1, 0, start_read, &late);
    assert_int_equal(stack_truncate(stack, 0), 0);
    assert_int_equal(atomic_load(&ftruncates.after), 0);
    pthread_join(late.thread, NULL);
    assert_int_equal(late.result, 0);
    assert_int_equal(atomic_load(&rig.volume->counters.checksum_errors), 0);
    stack_release(stack, false);
    stack_put(&stack);
    free(data);
    rig_stop(&rig);
}

struct late_text {
    struct stack *stack;
    const uint8_t *text;
    size_t len;
};

static void become_text(void *ctx)
{
    struct late_text *late = ctx;
    assert_int_equal(stack_truncate(late->stack, 0), 0);
    rig_write(late->stack, late->text, late->len, 0);
    pthread_mutex_lock(&late->stack->lock);
    assert_int_equal(late->stack->kind, STACK_PLAIN);
    pthread_mutex_unlock(&late->stack->lock);
}

static void expect_view(struct stack *stack, const uint8_t *data, size_t len, uint64_t off)
{
    uint8_t *buf = malloc(len);
    struct stack_view view = {.buf = buf};
    struct stack_reader reader = {0};
    size_t done = 0;
    assert_int_equal(stack_view(stack, &reader, &view, len, off, true), len);
    for (unsigned i = 0; i < view.n; i++) {
        assert_memory_equal(view.iov[i].iov_base, data + off + done, view.iov[i].iov_len);
        done += view.iov[i].iov_len;
    }
    assert_int_equal(done, len);
    stack_view_end(&view);
    stack_reader_end(stack, &reader);
    free(buf);
}

static void a_reader_of_a_stack_that_becomes_plain_gets_its_bytes(void **state)
{
    (void)state;
    for (unsigned viewed = 0; viewed < 2; viewed++) {
        struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
        struct trapped_io trapped;
        start_trapped(&rig, &trapped);
        uint8_t *data = malloc(rig_tiff_bound(256, 256, 4)), *text = malloc(400000),
                *buf = malloc(100000);
        size_t len = rig_tiff(RIG_CONTIGUOUS, 256, 256, 4, data);
        memset(text, 'x', 400000);
        struct stack *stack = settled(&rig, "notes.dat", data, len);
        assert_true(stack_is_blob(stack));
        assert_int_equal(stack_open(stack, true, -1), 0);
        struct late_text late = {stack, text, 400000};
        trap_set(&trapped.pread, 2, 0, become_text, &late); /* there is more to do after it */
        if (viewed) {
            expect_view(stack, text, 100000, 200000);
        } else {
            assert_int_equal(stack_read(stack, buf, 100000, 200000, true), 100000);
            assert_memory_equal(buf, text, 100000);
        }
        assert_int_equal(atomic_load(&trapped.pread.after), 0);
        stack_release(stack, true);
        rig_expect(stack, text, 400000);
        stack_put(&stack);
        free(buf);
        free(text);
        free(data);
        rig_stop(&rig);
    }
}

/* ---- room for logs ---- */

static void *wait_for_log(void *stack)
{
    return (void *)(intptr_t)flush_make_log_room(stack);
}

/* Room had come already when he looked what to wait for, and the one stack that is not stored gives none. */
static void who_waits_for_a_log_is_woken_by_a_stack_without_one(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
    rig_start(&rig);
    put_file(&rig, "notes.txt", (const uint8_t *)"what was there", 14);
    put_file(&rig, "other.txt", (const uint8_t *)"what was there", 14);
    struct stack *plain = rig_find(&rig, "notes.txt"), *other = rig_find(&rig, "other.txt");
    assert_int_equal(stack_open(plain, true, -1), 0);
    pthread_mutex_lock(&plain->lock);
    plain->tend_queued = true; /* nobody stores it for now */
    pthread_mutex_unlock(&plain->lock);
    rig_write(plain, "is", 2, 5);
    assert_null(plain->log);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_log, other), 0);
    pause_ms(100);
    pthread_mutex_lock(&plain->lock);
    plain->tend_queued = false;
    pthread_mutex_unlock(&plain->lock);
    assert_int_equal(stack_fsync(plain), 0);
    void *r;
    struct timespec until = now_later(CLOCK_REALTIME, 60000);
    assert_int_equal(pthread_timedjoin_np(thread, &r, &until), 0);
    assert_null(r);
    stack_release(plain, true);
    stack_put(&plain);
    stack_put(&other);
    rig_stop(&rig);
}

/* ---- the index ---- */

static void write_more_and_settle(void *ctx)
{
    struct late_write *late = ctx;
    assert_int_equal(stack_open(late->stack, true, -1), 0);
    rig_write(late->stack, late->data, late->len, 0);
    stack_release(late->stack, true);
    assert_int_equal(volume_drain(late->rig->volume), 0);
}

static void a_slow_look_at_a_stack_does_not_outlive_what_was_written_since(void **state)
{
    (void)state;
    for (unsigned nth = 2; nth < 5; nth++) {
        struct rig rig = {.config = {.chunk = 65536, .spool = 16 << 20}};
        struct trapped_io trapped;
        start_trapped(&rig, &trapped);
        uint8_t *data = malloc(rig_tiff_bound(64, 64, 9));
        size_t len = rig_tiff(RIG_CONTIGUOUS, 64, 64, 4, data);
        struct stack *stack = settled(&rig, "slow.tif", data, len);
        len = rig_tiff(RIG_CONTIGUOUS, 64, 64, 9, data);
        assert_int_equal(chmod(rig.path, 0700), 0);
        char path[256];
        snprintf(path, sizeof(path), "%s/slow.tif.sqy", rig.path);
        assert_int_equal(chmod(path, 0600), 0); /* its row fits no more */
        struct late_write late = {&rig, stack, data, len};
        trap_set(&trapped.pread, nth, 0, write_more_and_settle, &late);
        struct stat st;
        assert_int_equal(fstat(stack_fd(stack), &st), 0);
        assert_int_equal(stack_getattr(stack, &st), 0);
        assert_int_equal(atomic_load(&trapped.pread.after), 0);
        rig_expect(stack, data, len);
        assert_string_equal(rig_state(stack), "stored");
        stack_put(&stack);
        rig_close(&rig);
        rig_open(&rig);
        stack = rig_find(&rig, "slow.tif");
        rig_expect(stack, data, len);
        stack_put(&stack);
        free(data);
        rig_stop(&rig);
    }
}

/* ---- plain files ---- */

struct counting_io {
    struct io io;
    uint64_t ino;
    atomic_uint n_fsyncs; /* of that file */
    atomic_bool fails;    /* the next one */
    struct volume *volume;
    atomic_bool unawaited; /* while one was under way no drain would have waited for it */
};

static int counting_fsync(const struct io *io, int fd)
{
    struct counting_io *counting = (struct counting_io *)(uintptr_t)io;
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_ino == counting->ino) {
        atomic_fetch_add(&counting->n_fsyncs, 1);
        pthread_mutex_lock(&counting->volume->lock);
        if (counting->volume->dirty == NULL)
            atomic_store(&counting->unawaited, true);
        pthread_mutex_unlock(&counting->volume->lock);
    }
    if (atomic_exchange(&counting->fails, false))
        return -EIO;
    return io_system.fsync(&io_system, fd);
}

static void drained(struct rig *rig, struct counting_io *counting)
{
    atomic_store(&counting->n_fsyncs, 0);
    assert_int_equal(volume_drain(rig->volume), 0);
    assert_true(atomic_load(&counting->n_fsyncs) > 0);
    assert_false(atomic_load(&counting->unawaited));
}

/* One that was there before the mount, so that nothing of it ever waited in the spool. */
static void a_plain_file_that_was_changed_is_durable_when_drained(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    struct counting_io counting = {.io = io_system};
    struct stat st;
    counting.io.fsync = counting_fsync;
    rig_start(&rig);
    rig.volume->io = &counting.io;
    counting.volume = rig.volume;
    put_file(&rig, "notes.txt", (const uint8_t *)"what was there", 14);
    struct stack *stack = rig_find(&rig, "notes.txt");
    assert_int_equal(fstat(stack_fd(stack), &st), 0);
    counting.ino = st.st_ino;
    assert_int_equal(stack_open(stack, true, -1), 0);
    rig_write(stack, "is", 2, 5);
    drained(&rig, &counting);
    assert_int_equal(stack_truncate(stack, 7), 0);
    drained(&rig, &counting);
    assert_int_equal(stack_fallocate(stack, 0, 100, 10), 0);
    drained(&rig, &counting);
    stack_release(stack, true);
    stack_put(&stack);
    rig_stop(&rig);
}

/* Its first bytes go to the file when they say what it is, and out of the spool. */
static void a_plain_file_that_has_just_been_born_is_durable_when_drained(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    struct counting_io counting = {.io = io_system};
    struct stat st;
    counting.io.fsync = counting_fsync;
    rig_start(&rig);
    rig.volume->io = &counting.io;
    counting.volume = rig.volume;
    struct stack *stack = rig_create(&rig, "notes.txt");
    assert_int_equal(fstat(stack_fd(stack), &st), 0);
    counting.ino = st.st_ino;
    rig_write(stack, "what has just been written", 26, 0);
    assert_int_equal(stack->kind, STACK_PLAIN);
    drained(&rig, &counting);
    stack_release(stack, true);
    stack_put(&stack);
    rig_stop(&rig);
}

static void store_in_background(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    flush_tend_async(stack);
    pthread_mutex_unlock(&stack->lock);
    wait_tended(stack);
}

/* Linux tells of it once, and another fsync(2) may say nothing. */
static void a_plain_file_that_could_not_be_synced_is_told_of_and_synced_again(void **state)
{
    (void)state;
    struct rig rig = {.config = {.chunk = 65536}};
    struct counting_io counting = {.io = io_system};
    struct stat st;
    counting.io.fsync = counting_fsync;
    rig_start(&rig);
    rig.volume->io = &counting.io;
    counting.volume = rig.volume;
    put_file(&rig, "notes.txt", (const uint8_t *)"what was there", 14);
    struct stack *stack = rig_find(&rig, "notes.txt");
    assert_int_equal(fstat(stack_fd(stack), &st), 0);
    counting.ino = st.st_ino;
    assert_int_equal(stack_open(stack, true, -1), 0);
    rig_write(stack, "is", 2, 5);
    atomic_store(&counting.fails, true);
    assert_int_equal(volume_drain(rig.volume), -EIO);
    drained(&rig, &counting);
    rig_write(stack, "is", 2, 5);
    atomic_store(&counting.fails, true);
    store_in_background(stack);
    store_in_background(stack);
    assert_int_equal(stack_fsync(stack), -EIO);
    assert_int_equal(stack_fsync(stack), 0);
    store_in_background(stack);
    assert_int_equal(stack_error(stack), 0);
    stack_release(stack, true);
    stack_put(&stack);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_file_that_could_not_be_synced_is_told_of_and_synced_again),
        cmocka_unit_test(a_plain_file_that_was_changed_is_durable_when_drained),
        cmocka_unit_test(a_plain_file_that_has_just_been_born_is_durable_when_drained),
        cmocka_unit_test(a_file_made_where_a_conversion_gives_way_stays),
        cmocka_unit_test(a_conversion_that_cannot_be_synced_keeps_its_bytes),
        cmocka_unit_test(a_late_lookup_does_not_bring_a_rewritten_inode_back),
        cmocka_unit_test(a_mode_set_as_inodes_are_exchanged_stays),
        cmocka_unit_test(a_mode_being_set_as_a_rewrite_ends_stays),
        cmocka_unit_test(a_time_set_as_a_conversion_begins_stays),
        cmocka_unit_test(rewriting_keeps_no_flush_waiting),
        cmocka_unit_test(a_header_claims_no_more_than_a_checkpoint_names),
        cmocka_unit_test(a_checkpoint_beside_a_writer_says_that_lower_rungs_may_be_there),
        cmocka_unit_test(what_cannot_be_stored_does_not_keep_the_rest_from_a_checkpoint),
        cmocka_unit_test(a_full_disk_is_told_however_else_others_fail),
        cmocka_unit_test(who_waits_for_room_waits_for_the_first_and_not_for_a_whole_flush),
        cmocka_unit_test(what_an_encoder_reads_in_the_spool_is_not_written_into),
        cmocka_unit_test(a_plain_file_that_did_not_fit_leaves_nothing_behind),
        cmocka_unit_test(an_old_attribute_does_not_make_an_emptied_stack_plain),
        cmocka_unit_test(a_reader_of_a_stack_being_emptied_sees_no_damage),
        cmocka_unit_test(a_reader_of_a_stack_that_becomes_plain_gets_its_bytes),
        cmocka_unit_test(who_waits_for_a_log_is_woken_by_a_stack_without_one),
        cmocka_unit_test(a_slow_look_at_a_stack_does_not_outlive_what_was_written_since),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
