/* The table of inodes over stacks that are nothing but a count of references. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/inode.h"

#define N_STACKS 4

struct stack {
    int fd, refs;
    ino_t ino;
};

struct volume {
    pthread_mutex_t lock;
    struct stack stacks[N_STACKS];
    int error;
};

int stack_get(struct volume *volume, int fd, bool blob, struct stack **out)
{
    (void)blob;
    struct stat st;
    if (volume->error < 0)
        return volume->error;
    assert_int_equal(fstat(fd, &st), 0);
    pthread_mutex_lock(&volume->lock);
    struct stack *stack = volume->stacks, *unused = NULL;
    while (stack < volume->stacks + N_STACKS && !(stack->refs > 0 && stack->ino == st.st_ino)) {
        if (stack->refs == 0)
            unused = stack;
        stack++;
    }
    if (stack == volume->stacks + N_STACKS) {
        stack = unused;
        assert_non_null(stack);
        *stack = (struct stack){.fd = fd, .ino = st.st_ino};
    } else {
        close(fd);
    }
    stack->refs++;
    pthread_mutex_unlock(&volume->lock);
    *out = stack;
    return 0;
}

static struct volume fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

void stack_put(struct stack **stack)
{
    pthread_mutex_lock(&fake.lock);
    assert_true((*stack)->refs > 0);
    if (--(*stack)->refs == 0)
        close((*stack)->fd);
    pthread_mutex_unlock(&fake.lock);
    *stack = NULL;
}

int stack_fd(const struct stack *stack)
{
    return stack->fd;
}

static int stack_refs(void)
{
    int n = 0;
    for (int i = 0; i < N_STACKS; i++)
        n += fake.stacks[i].refs;
    return n;
}

struct fixture {
    char path[64];
    int dir;
    struct inode_table *table;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->path, "/tmp/sqyfs-inode-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    f->dir = open(f->path, O_PATH | O_DIRECTORY);
    for (int i = 0; i < N_STACKS; i++) {
        char name[8];
        snprintf(name, sizeof(name), "f%d", i);
        close(openat(f->dir, name, O_CREAT | O_WRONLY, 0644));
        snprintf(name, sizeof(name), "d%d", i);
        mkdirat(f->dir, name, 0755);
    }
    fake.error = 0;
    assert_int_equal(inode_table_create(f->dir, &f->table), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    inode_table_destroy(&f->table);
    assert_null(f->table);
    assert_int_equal(stack_refs(), 0);
    for (int i = 0; i < N_STACKS; i++) {
        char name[8];
        snprintf(name, sizeof(name), "f%d", i);
        unlinkat(f->dir, name, 0);
        snprintf(name, sizeof(name), "d%d", i);
        unlinkat(f->dir, name, AT_REMOVEDIR);
    }
    close(f->dir);
    rmdir(f->path);
    free(f);
    return 0;
}

static int look_up(struct fixture *f, const char *name, struct inode **out)
{
    struct tree_entry entry = {.fd = openat(f->dir, name, O_PATH | O_NOFOLLOW)};
    assert_true(entry.fd >= 0);
    assert_int_equal(fstat(entry.fd, &entry.st), 0);
    return inode_lookup(f->table, &fake, &entry, INODE_ROOT_ID, name, out);
}

static struct inode *get(struct fixture *f, const char *name)
{
    struct inode *inode;
    assert_int_equal(look_up(f, name, &inode), 0);
    return inode;
}

static void one_inode_for_one_file(void **state)
{
    struct fixture *f = *state;
    struct inode *a = get(f, "f0"), *b = get(f, "f1"), *d = get(f, "d0");
    assert_ptr_equal(get(f, "f0"), a);
    assert_ptr_equal(get(f, "d0"), d);
    assert_ptr_not_equal(a, b);
    assert_int_equal(inode_count(f->table), 3);
    assert_int_equal(stack_refs(), 2);
    assert_ptr_equal(inode_from_id(f->table, inode_id(f->table, a)), a);
    assert_true(inode_is_root(f->table, inode_from_id(f->table, INODE_ROOT_ID)));
    assert_int_equal(inode_id(f->table, inode_from_id(f->table, INODE_ROOT_ID)), INODE_ROOT_ID);
    assert_false(inode_is_root(f->table, d));
}

static void the_last_forget_frees(void **state)
{
    struct fixture *f = *state;
    struct inode *a = get(f, "f0"), *d = get(f, "d0");
    get(f, "f0");
    inode_again(f->table, a);
    inode_forget(f->table, a, 2);
    assert_int_equal(stack_refs(), 1);
    inode_forget(f->table, a, 1);
    assert_int_equal(stack_refs(), 0);
    int fd = d->fd;
    inode_forget(f->table, d, 1);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(inode_count(f->table), 0);
    inode_forget(f->table, inode_from_id(f->table, INODE_ROOT_ID), 1000);
    assert_true(fcntl(f->dir, F_GETFD) >= 0);
}

static void a_handle_keeps_the_inode(void **state)
{
    struct fixture *f = *state;
    struct inode *a = get(f, "f0");
    inode_hold(f->table, a);
    inode_forget(f->table, a, 1);
    assert_int_equal(stack_refs(), 1);
    assert_ptr_equal(get(f, "f0"), a); /* and it is found again */
    inode_forget(f->table, a, 1);
    inode_release(f->table, a);
    assert_int_equal(stack_refs(), 0);
    struct inode *root = inode_from_id(f->table, INODE_ROOT_ID);
    inode_hold(f->table, root);
    inode_release(f->table, root);
}

static void generations_differ(void **state)
{
    struct fixture *f = *state;
    uint64_t last = 0;
    for (int i = 0; i < 10; i++) { /* the address may well be the same each time */
        struct inode *a = get(f, "f0");
        assert_true(a->generation > last);
        last = a->generation;
        inode_forget(f->table, a, 1);
    }
}

static void an_error_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct inode *inode;
    fake.error = -EMFILE;
    int before = dup(f->dir);
    close(before);
    assert_int_equal(look_up(f, "f0", &inode), -EMFILE);
    int after = dup(f->dir);
    close(after);
    assert_int_equal(before, after);
    assert_int_equal(inode_count(f->table), 0);
    assert_int_equal(look_up(f, "d0", &inode), 0);
}

static void the_oldest_are_asked_for_first(void **state)
{
    struct fixture *f = *state;
    get(f, "d0");
    struct inode *held = get(f, "f0");
    get(f, "f1");
    get(f, "f2");
    get(f, "f1"); /* looked up again: the newest now */
    inode_hold(f->table, held);
    struct inode_victim victims[8];
    assert_int_equal(inode_oldest(f->table, false, victims, 8), 2);
    assert_string_equal(victims[0].name, "f2");
    assert_string_equal(victims[1].name, "f1");
    assert_int_equal(victims[0].parent, INODE_ROOT_ID);
    free(victims[0].name);
    free(victims[1].name);
    assert_int_equal(inode_oldest(f->table, true, victims, 1), 1);
    assert_string_equal(victims[0].name, "d0");
    free(victims[0].name);
    assert_int_equal(inode_oldest(f->table, true, victims, 1), 1); /* d0 went to the end */
    assert_string_equal(victims[0].name, "f2");
    free(victims[0].name);
    inode_release(f->table, held);
}

static void count_calls(void *ctx)
{
    ++*(int *)ctx;
}

static void the_watcher_is_called_above_the_limit(void **state)
{
    struct fixture *f = *state;
    int calls = 0, next = dup(f->dir);
    close(next);
    inode_watch(f->table, next + 1, count_calls, &calls);
    get(f, "d0");
    get(f, "d1");
    assert_int_equal(calls, 0);
    assert_int_equal(inode_supply(f->table), INODE_PLENTY);
    struct inode *d = get(f, "d2");
    assert_int_equal(calls, 1);
    assert_true(inode_supply(f->table) != INODE_PLENTY);
    get(f, "d3");
    get(f, "f0");
    get(f, "f1");
    assert_int_equal(calls, 4);
    assert_int_equal(inode_supply(f->table), INODE_SCARCE);
    inode_forget(f->table, d, 1);
    inode_watch(f->table, 0, NULL, NULL);
    get(f, "d2");
    inode_refused(f->table);
    assert_int_equal(calls, 4);
    assert_int_equal(inode_supply(f->table), INODE_PLENTY);
}

static void *churn(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 2000; i++) {
        struct inode *a = get(f, i % 2 ? "f0" : "d0");
        inode_hold(f->table, a);
        inode_forget(f->table, a, 1);
        inode_release(f->table, a);
    }
    return NULL;
}

static void threads(void **state)
{
    struct fixture *f = *state;
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, churn, f), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(inode_count(f->table), 0);
    assert_int_equal(stack_refs(), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(one_inode_for_one_file),
        TEST(the_last_forget_frees),
        TEST(a_handle_keeps_the_inode),
        TEST(generations_differ),
        TEST(an_error_leaves_nothing),
        TEST(the_oldest_are_asked_for_first),
        TEST(the_watcher_is_called_above_the_limit),
        TEST(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
