/* The process that has a store open is killed at any moment, and the next one has what was accepted. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "image/layout.h"
#include "rig.h"

#define N_FILES   5u
#define MAX_SIZE  (3u << 20)
#define MAX_WRITE 400000u

enum op { OP_NONE, OP_WRITE, OP_TRUNCATE, OP_PUNCH };

/* What a file holds, and what is just being done to it: outside [off, end) nothing may differ, inside a
 * byte is as before, as written, or zero. */
struct model {
    uint8_t data[MAX_SIZE];
    uint64_t size;
    char name[24]; /* "" before it is made */
    enum op op;
    uint64_t off, end;
    uint8_t fill;
};

/* Shared with the children. */
struct shared {
    struct model files[N_FILES];
    bool verified, failed;
    char why[256];
    uint64_t seed;
    unsigned n_ops, n_takeovers;
};

static const char *const names[N_FILES] = {"a.tif", "b.raw", "c.txt", "d.raw", "e.bin.sqy"};

__attribute__((format(printf, 2, 3), noreturn)) static void give_up(struct shared *shared,
                                                                    const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(shared->why, sizeof(shared->why), fmt, ap);
    va_end(ap);
    shared->failed = true;
    _exit(1);
}

static uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool size_is_right(const struct model *model, uint64_t size)
{
    if (size == model->size)
        return true;
    if (model->op == OP_WRITE) /* in part */
        return size > max64(model->size, model->off) && size <= model->end;
    return model->op == OP_TRUNCATE && size == model->off;
}

static void verify_file(struct shared *shared, struct rig *rig, struct model *model)
{
    static uint8_t buf[MAX_SIZE + 1];
    struct stat st;
    struct stack *stack = rig_find(rig, model->name);
    fstat(stack_fd(stack), &st);
    int r = stack_getattr(stack, &st);
    if (r < 0 || !size_is_right(model, (uint64_t)st.st_size))
        give_up(shared, "%s: size %lld (%d), not %llu; op %d at %llu to %llu", model->name,
                (long long)st.st_size, r, (unsigned long long)model->size, model->op,
                (unsigned long long)model->off, (unsigned long long)model->end);
    uint64_t size = (uint64_t)st.st_size;
    r = stack_open(stack, false, -1);
    ssize_t n = r < 0 ? r : stack_read(stack, buf, sizeof(buf), 0, true);
    if (n != (ssize_t)size)
        give_up(shared, "%s: read %zd of %llu", model->name, n, (unsigned long long)size);
    stack_release(stack, false);
    stack_put(&stack);
    for (uint64_t i = 0; i < size; i++) {
        uint8_t old = i < model->size ? model->data[i] : 0;
        bool moving = model->op != OP_NONE && i >= model->off && i < model->end;
        if (buf[i] != old && !(moving && (buf[i] == 0 || buf[i] == model->fill)))
            give_up(shared, "%s: byte %llu of %llu is %02x, not %02x; op %d, %llu to %llu",
                    model->name, (unsigned long long)i, (unsigned long long)size, buf[i], old,
                    model->op, (unsigned long long)model->off, (unsigned long long)model->end);
    }
    memcpy(model->data, buf, size);
    memset(model->data + size, 0, MAX_SIZE - size);
    model->size = size;
    model->op = OP_NONE;
}

static void begin_op(struct model *model, enum op op, uint64_t off, uint64_t end, uint8_t fill)
{
    model->off = off;
    model->end = end;
    model->fill = fill;
    __atomic_store_n(&model->op, op, __ATOMIC_RELEASE);
}

/* What was begun is done: a kill in between would see it half done, which is right, too. */
static void end_op(struct model *model, uint64_t size)
{
    if (model->end > model->off && model->op != OP_TRUNCATE)
        memset(model->data + model->off, model->fill, model->end - model->off);
    if (model->op == OP_TRUNCATE && size < model->size)
        memset(model->data + size, 0, model->size - size);
    model->size = size;
    __atomic_store_n(&model->op, OP_NONE, __ATOMIC_RELEASE);
}

static void do_write(struct shared *shared, struct model *model, struct stack *stack)
{
    static uint8_t buf[MAX_WRITE];
    uint64_t *seed = &shared->seed;
    uint64_t len = rig_random(seed) % (rig_random(seed) % 3 == 0 ? MAX_WRITE : 5000) + 1;
    uint64_t off = rig_random(seed) % 2 == 0 ? model->size : rig_random(seed) % MAX_SIZE;
    if (off >= MAX_SIZE)
        return;
    len = len > MAX_SIZE - off ? MAX_SIZE - off : len;
    uint8_t fill = (uint8_t)(rig_random(seed) % 255 + 1);
    memset(buf, fill, len);
    begin_op(model, OP_WRITE, off, off + len, fill);
    ssize_t r = stack_write(stack, buf, len, off, true);
    if (r < 0)
        give_up(shared, "%s: write: %s", model->name, strerror((int)-r));
    end_op(model, max64(model->size, off + len));
}

static void do_truncate(struct shared *shared, struct model *model, struct stack *stack)
{
    uint64_t size = rig_random(&shared->seed) % 4 == 0 ? 0 : rig_random(&shared->seed) % MAX_SIZE;
    begin_op(model, OP_TRUNCATE, size, max64(model->size, size), 0);
    int r = stack_truncate(stack, size);
    if (r < 0)
        give_up(shared, "%s: truncate: %s", model->name, strerror(-r));
    end_op(model, size);
}

static void do_punch(struct shared *shared, struct model *model, struct stack *stack)
{
    uint64_t off = rig_random(&shared->seed) % MAX_SIZE;
    uint64_t len = rig_random(&shared->seed) % 200000 + 1;
    len = len > MAX_SIZE - off ? MAX_SIZE - off : len;
    begin_op(model, OP_PUNCH, off, off + len, 0);
    int r = stack_fallocate(stack, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
    if (r < 0 && r != -EOPNOTSUPP)
        give_up(shared, "%s: punch: %s", model->name, strerror(-r));
    if (r < 0)
        model->op = OP_NONE;
    else
        end_op(model, model->size);
}

static void do_rename(struct shared *shared, struct rig *rig, struct model *model, unsigned i)
{
    struct tree *tree = volume_tree(rig->volume);
    char to[sizeof(model->name)];
    bool away = strcmp(model->name, names[i]) == 0;
    snprintf(to, sizeof(to), "%s%s", away ? "moved-" : "", names[i]);
    /* which of the two it is after a kill is looked up: see find_name() */
    int r = tree_rename(tree, tree_root(tree), model->name, tree_root(tree), to, 0);
    if (r < 0)
        give_up(shared, "%s: rename: %s", model->name, strerror(-r));
    snprintf(model->name, sizeof(model->name), "%s", to);
}

static bool exists(struct rig *rig, const char *name)
{
    struct tree *tree = volume_tree(rig->volume);
    struct tree_entry entry;
    if (tree_lookup(tree, tree_root(tree), name, &entry) < 0)
        return false;
    close(entry.fd);
    return true;
}

static void find_name(struct rig *rig, struct model *model, unsigned i)
{
    char moved[sizeof(model->name)];
    snprintf(moved, sizeof(moved), "moved-%s", names[i]);
    if (exists(rig, names[i]))
        snprintf(model->name, sizeof(model->name), "%s", names[i]);
    else if (exists(rig, moved))
        snprintf(model->name, sizeof(model->name), "%s", moved);
}

static void operate(struct shared *shared, struct rig *rig, struct stack **open)
{
    uint64_t *seed = &shared->seed;
    unsigned i = (unsigned)(rig_random(seed) % N_FILES);
    struct model *model = &shared->files[i];
    if (open[i] == NULL) {
        if (model->name[0] == '\0') {
            open[i] = rig_create(rig, names[i]);
            snprintf(model->name, sizeof(model->name), "%s", names[i]);
        } else {
            open[i] = rig_find(rig, model->name);
            assert_int_equal(stack_open(open[i], true, -1), 0);
        }
    }
    uint64_t what = rig_random(seed) % 40;
    if (what < 26) {
        do_write(shared, model, open[i]);
    } else if (what < 29) {
        do_truncate(shared, model, open[i]);
    } else if (what < 32) {
        do_punch(shared, model, open[i]);
    } else if (what < 35) {
        int r = stack_fsync(open[i]);
        if (r < 0)
            give_up(shared, "%s: fsync: %s", model->name, strerror(-r));
    } else if (what < 37) {
        do_rename(shared, rig, model, i);
    } else {
        stack_release(open[i], true);
        stack_put(&open[i]);
    }
    shared->n_ops++;
}

__attribute__((noreturn)) static void child(struct shared *shared, struct rig *rig)
{
    struct stack *open[N_FILES] = {NULL};
    char why[256] = "";
    rig->config.store = rig->path;
    int r = volume_open(&rig->config, why, sizeof(why), &rig->volume);
    if (r < 0)
        give_up(shared, "volume_open: %s", why);
    for (unsigned i = 0; i < N_FILES; i++) {
        find_name(rig, &shared->files[i], i);
        if (shared->files[i].name[0] != '\0')
            verify_file(shared, rig, &shared->files[i]);
    }
    __atomic_store_n(&shared->verified, true, __ATOMIC_RELEASE);
    for (;;)
        operate(shared, rig, open);
}

static void pause_us(uint64_t us)
{
    struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    nanosleep(&time, NULL);
}

static bool is_verified(struct shared *shared, pid_t pid)
{
    while (!__atomic_load_n(&shared->verified, __ATOMIC_ACQUIRE)) {
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return false;
        pause_us(500);
    }
    return true;
}

static void kill_at_random(struct shared *shared, struct rig *rig, uint64_t *seed, bool early)
{
    shared->verified = false;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(shared, rig);
    bool alive = early || is_verified(shared, pid);
    if (alive)
        pause_us(rig_random(seed) % (early ? 30000 : 120000));
    if (shared->failed || !alive)
        print_error("%s\n", shared->why[0] != '\0' ? shared->why : "the child has crashed");
    kill(pid, SIGKILL);
    int status = 0;
    if (alive)
        waitpid(pid, &status, 0);
    assert_true(alive && !shared->failed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void a_kill_loses_nothing_that_was_accepted(void **state)
{
    (void)state;
    const char *given = getenv("SQYFS_SEED"), *rounds = getenv("SQYFS_ROUNDS");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("seed %llu\n", (unsigned long long)seed);
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    shared->seed = seed;
    struct raw_policy raw;
    char why[256];
    assert_int_equal(raw_policy_parse("*.raw:256x128", &raw, why, sizeof(why)), 0);
    struct rig rig = {
        .config = {.chunk = 65536, .spool = 16 << 20, .threads = 2, .raw = &raw, .n_raw = 1}};
    rig_start(&rig);
    rig_close(&rig);
    int n = rounds != NULL ? atoi(rounds) : 60;
    for (int round = 0; round < n; round++)
        kill_at_random(shared, &rig, &seed, rig_random(&seed) % 4 == 0);
    print_message("%u operations\n", shared->n_ops);
    /* and at last it is stored, and the same without the spool */
    for (unsigned look = 0; look < 2; look++) {
        rig_open(&rig);
        for (unsigned i = 0; i < N_FILES; i++) {
            find_name(&rig, &shared->files[i], i);
            if (shared->files[i].name[0] != '\0')
                verify_file(shared, &rig, &shared->files[i]);
        }
        rig_close(&rig);
    }
    raw_policy_clear(&raw);
    munmap(shared, sizeof(*shared));
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_loses_nothing_that_was_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
