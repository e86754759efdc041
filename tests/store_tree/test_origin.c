/* Names of sqeazy's own files in the store, and of what lies beside them. */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "codec/sqy.h"
#include "store/origin.h"
#include "store/tree.h"

struct fixture {
    char path[64];
    int dir;
    struct tree *tree;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->path, "/tmp/sqyfs-origin-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    f->dir = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(tree_create(&io_system, f->dir, &f->tree), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    DIR *dir = opendir(f->path);
    const struct dirent *d;
    while ((d = readdir(dir)) != NULL)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
            unlinkat(f->dir, d->d_name, 0) < 0)
            unlinkat(f->dir, d->d_name, AT_REMOVEDIR);
    closedir(dir);
    rmdir(f->path);
    tree_destroy(&f->tree);
    free(f);
    return 0;
}

static void put_bytes(struct fixture *f, const char *name, const void *data, size_t len)
{
    int fd = openat(f->dir, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static void put(struct fixture *f, const char *name, const char *content)
{
    put_bytes(f, name, content, strlen(content));
}

/* A file with a header of sqeazy's form, `ours` in it where not NULL. */
static void put_header(struct fixture *f, const char *name, const char *pipename, char *ours)
{
    char *text = strdup(pipename);
    struct sqy_header header = {
        .pipename = text, .type = SQY_UINT8, .rank = 1, .shape = {4}, .ours = ours};
    ssize_t len = sqy_header_write(&header, 0, NULL, 0);
    assert_true(len > 0);
    char *data = calloc(1, (size_t)len + 4);
    assert_int_equal(sqy_header_write(&header, 0, data, (size_t)len), len);
    put_bytes(f, name, data, (size_t)len + 4);
    free(data);
    free(text);
}

static void put_foreign(struct fixture *f, const char *name)
{
    put_header(f, name, "lz4", NULL);
}

static bool exists(struct fixture *f, const char *stored)
{
    return faccessat(f->dir, stored, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The stored name that a visible one is found under; "" where there is none. */
static const char *stored(struct fixture *f, const char *name)
{
    static struct tree_entry e;
    int r = tree_lookup(f->tree, f->dir, name, &e);
    if (r == -ENOENT)
        return "";
    assert_int_equal(r, 0);
    close(e.fd);
    return e.stored;
}

static bool shows(struct fixture *f, const char *name, const char *visible)
{
    char out[NAMES_MAX];
    return tree_show(f->tree, f->dir, true, name, out) == 1 && strcmp(out, visible) == 0;
}

static bool hides(struct fixture *f, const char *name)
{
    char out[NAMES_MAX];
    return tree_show(f->tree, f->dir, true, name, out) == 0;
}

static int rename_to(struct fixture *f, const char *from, const char *to)
{
    return tree_rename(f->tree, f->dir, from, f->dir, to, 0);
}

static void whose_it_is(void **state)
{
    struct fixture *f = *state;
    char map[8192], ours[] = "{}";
    memset(map, 'x', sizeof(map));
    memcpy(map, "raster_reorder(map=", 19);
    memcpy(map + sizeof(map) - 8, ")->lz4", 7);
    put_foreign(f, "theirs.sqy");
    put_header(f, "long.sqy", map, NULL);
    put_header(f, "ours.sqy", "lz4", ours);
    put_header(f, "torn.sqy", map, ours); /* ours is never so long */
    put(f, "text.sqy", "no blob");
    put(f, "empty.sqy", "");
    assert_int_equal(mkdirat(f->dir, "d.sqy", 0755), 0);
    assert_int_equal(mknodat(f->dir, "p.sqy", S_IFIFO | 0644, 0), 0);
    assert_int_equal(symlinkat("theirs.sqy", f->dir, "l.sqy"), 0);
    assert_true(origin_is_foreign(f->dir, "theirs.sqy"));
    assert_true(origin_is_foreign(f->dir, "long.sqy"));
    static const char *const others[] = {"ours.sqy", "text.sqy", "empty.sqy", "d.sqy",
                                         "p.sqy",    "l.sqy",    "none.sqy"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(origin_is_foreign(f->dir, others[i]));
}

static void they_show_as_tiff_stacks(void **state)
{
    struct fixture *f = *state;
    char ours[] = "{}", path[64];
    put_foreign(f, "a.sqy");
    put_foreign(f, "b.tif.sqy");
    put_foreign(f, "c.TIFF.SQY");
    put_foreign(f, "d.SQY");
    put_foreign(f, "e.sqy.sqy");
    put_header(f, "o.sqy", "lz4", ours);
    assert_true(shows(f, "a.sqy", "a.tif"));
    assert_true(shows(f, "b.tif.sqy", "b.tif"));
    assert_true(shows(f, "c.TIFF.SQY", "c.TIFF"));
    assert_true(shows(f, "d.SQY", "d.tif"));
    assert_true(shows(f, "e.sqy.sqy", "e.sqy.tif"));
    assert_true(shows(f, "o.sqy", "o"));
    assert_string_equal(stored(f, "a.tif"), "a.sqy");
    assert_string_equal(stored(f, "a"), "");
    assert_string_equal(stored(f, "b.tif"), "b.tif.sqy");
    assert_string_equal(stored(f, "b.tif.tif"), "");
    assert_string_equal(stored(f, "c.TIFF"), "c.TIFF.SQY");
    assert_string_equal(stored(f, "d.tif"), "d.SQY");
    assert_string_equal(stored(f, "e.sqy.tif"), "e.sqy.sqy");
    assert_string_equal(stored(f, "e.sqy"), "");
    assert_string_equal(stored(f, "o"), "o.sqy");
    assert_string_equal(stored(f, "o.tif"), "");
    int fd = openat(f->dir, "a.sqy", O_PATH);
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), 0);
    assert_string_equal(path, "a.tif");
    close(fd);
}

static void a_name_that_is_there_wins(void **state)
{
    struct fixture *f = *state;
    int fd;
    put_foreign(f, "a.sqy");
    assert_int_equal(tree_create_file(f->tree, f->dir, "a.tif", 0644, &fd), -EEXIST);
    put(f, "a", "beside it");
    assert_string_equal(stored(f, "a"), "a");
    assert_true(shows(f, "a.sqy", "a.tif"));
    put(f, "a.tif.sqy", "blob");
    assert_string_equal(stored(f, "a.tif"), "a.tif.sqy");
    assert_true(hides(f, "a.sqy"));
    put(f, "a.tif", "plain");
    assert_string_equal(stored(f, "a.tif"), "a.tif");
    assert_int_equal(tree_unlink(f->tree, f->dir, "a.tif"), 0);
    assert_false(exists(f, "a.tif") || exists(f, "a.tif.sqy")); /* of one kind with it */
    assert_string_equal(stored(f, "a.tif"), "a.sqy");
    assert_int_equal(tree_unlink(f->tree, f->dir, "a"), 0);
    assert_true(exists(f, "a.sqy"));
    assert_int_equal(tree_unlink(f->tree, f->dir, "a.tif"), 0);
    assert_false(exists(f, "a.sqy"));
}

static void hidden_ones_are_never_taken_away(void **state)
{
    struct fixture *f = *state;
    put(f, "x.tif", "plain");
    put_foreign(f, "x.tif.sqy");
    put_foreign(f, "x.sqy");
    put(f, "b.tif.sqy", "blob");
    assert_int_equal(rename_to(f, "b.tif", "x.tif"), -EEXIST);
    assert_true(exists(f, "x.tif") && exists(f, "b.tif.sqy"));
    put(f, "t", "rewritten");
    int fd = openat(f->dir, "x.tif", O_PATH);
    assert_int_equal(tree_become_blob(f->tree, fd), -EEXIST);
    assert_int_equal(tree_replace(f->tree, fd, f->dir, "t"), -EEXIST);
    close(fd);
    assert_int_equal(tree_unlink(f->tree, f->dir, "x.tif"), 0);
    assert_true(origin_is_foreign(f->dir, "x.tif.sqy"));
    assert_string_equal(stored(f, "x.tif"), "x.tif.sqy");
    put(f, "x", "plain");
    put(f, "b.sqy", "blob");
    assert_int_equal(rename_to(f, "b", "x"), -EEXIST);
    assert_int_equal(tree_unlink(f->tree, f->dir, "x"), 0);
    assert_int_equal(rename_to(f, "b", "x"), -EEXIST);
    assert_true(origin_is_foreign(f->dir, "x.sqy"));
    assert_int_equal(rename_to(f, "x.tif", "y.tif"), 0);
    assert_string_equal(stored(f, "x.tif"), "x.sqy");
}

static void they_move_to_names_of_stacks(void **state)
{
    struct fixture *f = *state;
    put_foreign(f, "a.sqy");
    assert_int_equal(rename_to(f, "a.tif", "b"), -EXDEV);
    assert_int_equal(rename_to(f, "a.tif", "b.sqy"), -EXDEV);
    assert_int_equal(rename_to(f, "a.tif", "b.tif"), 0);
    assert_true(exists(f, "b.tif.sqy") && !exists(f, "a.sqy"));
    assert_int_equal(rename_to(f, "b.tif", "c"), -EXDEV);
    put(f, "d.tif", "plain");
    assert_int_equal(rename_to(f, "b.tif", "d.tif"), 0);
    assert_true(exists(f, "d.tif.sqy") && !exists(f, "d.tif") && !exists(f, "b.tif.sqy"));
    put_foreign(f, "e.sqy");
    assert_int_equal(rename_to(f, "d.tif", "e.tif"), 0);
    assert_true(exists(f, "e.tif.sqy") && !exists(f, "e.sqy"));
    put_foreign(f, "g.sqy");
    put(f, "p", "plain");
    assert_int_equal(rename_to(f, "p", "g.tif"), 0);
    assert_true(exists(f, "g.tif") && !exists(f, "g.sqy"));
    assert_int_equal(tree_rename(f->tree, f->dir, "e.tif", f->dir, "g.tif", RENAME_EXCHANGE),
                     -EINVAL);
}

static void they_are_linked_and_fixed(void **state)
{
    struct fixture *f = *state;
    char path[64];
    put_foreign(f, "a.sqy");
    int fd = openat(f->dir, "a.sqy", O_PATH);
    assert_int_equal(tree_link(f->tree, fd, true, f->dir, "b"), -EXDEV);
    assert_int_equal(tree_link(f->tree, fd, true, f->dir, "b.tif"), 0);
    assert_true(exists(f, "b.tif.sqy"));
    assert_int_equal(tree_fix_name(f->tree, fd), -EBUSY);
    assert_int_equal(unlinkat(f->dir, "b.tif.sqy", 0), 0);
    assert_int_equal(tree_fix_name(f->tree, fd), 0);
    assert_true(exists(f, "a.tif.sqy") && !exists(f, "a.sqy"));
    assert_int_equal(tree_fix_name(f->tree, fd), 0);
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), 0);
    assert_string_equal(path, "a.tif");
    assert_int_equal(unlinkat(f->dir, "a.tif.sqy", 0), 0);
    assert_int_equal(tree_fix_name(f->tree, fd), 0);
    close(fd);
    put(f, "raw.sqy", "ours");
    fd = openat(f->dir, "raw.sqy", O_PATH);
    assert_int_equal(tree_fix_name(f->tree, fd), 0);
    assert_true(exists(f, "raw.sqy"));
    close(fd);
}

/* Knows one file by its state. */
static bool knows_one(void *ctx, const struct stat *backing)
{
    const struct stat *one = ctx;
    return backing->st_ino == one->st_ino && backing->st_size == one->st_size &&
           backing->st_ctim.tv_sec == one->st_ctim.tv_sec &&
           backing->st_ctim.tv_nsec == one->st_ctim.tv_nsec;
}

static void who_knows_of_one_spares_reading_it(void **state)
{
    struct fixture *f = *state;
    struct stat one;
    put_foreign(f, "x.sqy"); /* what is in it says otherwise: so nobody has looked */
    put_foreign(f, "y.sqy");
    assert_int_equal(fstatat(f->dir, "x.sqy", &one, 0), 0);
    tree_ask_of_origin(f->tree, knows_one, &one);
    assert_string_equal(stored(f, "x"), "x.sqy");
    assert_string_equal(stored(f, "x.tif"), "");
    assert_true(shows(f, "x.sqy", "x"));
    assert_string_equal(stored(f, "y"), "");
    assert_string_equal(stored(f, "y.tif"), "y.sqy");
    assert_true(shows(f, "y.sqy", "y.tif"));
    assert_int_equal(mkdirat(f->dir, "d.sqy", 0755), 0);
    assert_int_equal(fstatat(f->dir, "d.sqy", &one, 0), 0);
    assert_string_equal(stored(f, "d"), "d.sqy");
}

static void a_hand_that_puts_another_in_its_place_is_seen(void **state)
{
    struct fixture *f = *state;
    struct stat one;
    char ours[] = "{}";
    put_header(f, "x.sqy", "lz4", ours);
    assert_int_equal(fstatat(f->dir, "x.sqy", &one, 0), 0);
    tree_ask_of_origin(f->tree, knows_one, &one);
    assert_string_equal(stored(f, "x"), "x.sqy");
    put_foreign(f, "new");
    assert_int_equal(renameat(f->dir, "new", f->dir, "x.sqy"), 0);
    assert_string_equal(stored(f, "x"), "");
    assert_string_equal(stored(f, "x.tif"), "x.sqy");
    assert_true(shows(f, "x.sqy", "x.tif"));
}

/* Leaves `n` descriptors to be opened. */
static struct rlimit leave_descriptors(unsigned n)
{
    struct rlimit old, few;
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(close(next), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = (struct rlimit){(rlim_t)next + n, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    return old;
}

static void no_name_is_guessed_without_descriptors(void **state)
{
    struct fixture *f = *state;
    struct tree_entry e;
    char visible[NAMES_MAX], path[64];
    put_foreign(f, "x.sqy");
    int fd = openat(f->dir, "x.sqy", O_PATH | O_CLOEXEC);
    struct rlimit old = leave_descriptors(0);
    int shown = tree_show(f->tree, f->dir, true, "x.sqy", visible);
    int listed = tree_show_open(f->tree, f->dir, true, "x.sqy", 0, visible, &e);
    int by_path = tree_path(f->tree, fd, path, sizeof(path));
    int moved = rename_to(f, "x.tif", "y.tif");
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(shown, -EMFILE);
    assert_int_equal(listed, -EMFILE);
    assert_int_equal(by_path, -EMFILE);
    assert_int_equal(moved, -EMFILE);
    leave_descriptors(1); /* for the file, none for what is in it */
    int found = tree_lookup(f->tree, f->dir, "x", &e);
    int linked = tree_link(f->tree, fd, true, f->dir, "y");
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(found, -EMFILE);
    assert_int_equal(linked, -EXDEV); /* one is enough for that */
    close(fd);
}

/* It was taken for a shadow of ours, and removed. */
static void a_hidden_one_stays_without_descriptors(void **state)
{
    struct fixture *f = *state;
    put(f, "x.tif", "plain");
    put_foreign(f, "x.tif.sqy");
    struct rlimit old = leave_descriptors(0);
    int removed = tree_unlink(f->tree, f->dir, "x.tif");
    int moved = rename_to(f, "x.tif", "z.tif");
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(removed, -EMFILE);
    assert_int_equal(moved, -EMFILE);
    assert_true(exists(f, "x.tif") && exists(f, "x.tif.sqy"));
    assert_int_equal(tree_unlink(f->tree, f->dir, "x.tif"), 0);
    assert_true(exists(f, "x.tif.sqy"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(whose_it_is),
        TEST(they_show_as_tiff_stacks),
        TEST(a_name_that_is_there_wins),
        TEST(hidden_ones_are_never_taken_away),
        TEST(they_move_to_names_of_stacks),
        TEST(they_are_linked_and_fixed),
        TEST(who_knows_of_one_spares_reading_it),
        TEST(a_hand_that_puts_another_in_its_place_is_seen),
        TEST(no_name_is_guessed_without_descriptors),
        TEST(a_hidden_one_stays_without_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
