/* Every test runs in a directory of its own, where a file's content tells which file it is. */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/io_faulty.h"
#include "store/tree.h"

/* ---- the step at which the process ends; -1: never ---- */

static int steps_left = -1;

static void step(void)
{
    if (steps_left == 0)
        _exit(99);
    if (steps_left > 0)
        steps_left--;
}

int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    step();
    return __real_renameat(from_dir, from, to_dir, to);
}

int __real_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    step();
    return __real_renameat2(from_dir, from, to_dir, to, flags);
}

int __real_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags);
int __wrap_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags);
int __wrap_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    step();
    return __real_linkat(from_dir, from, to_dir, to, flags);
}

int __real_unlinkat(int dir, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags)
{
    step();
    return __real_unlinkat(dir, name, flags);
}

/* Whether directories cannot be read. */
static bool readdir_fails;

struct dirent *__real_readdir64(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir)
{
    if (!readdir_fails)
        return __real_readdir64(dir);
    errno = EIO;
    return NULL;
}

/* ---- a store ---- */

struct fixture {
    char path[64];
    int dir;
    struct tree *tree;
};

static void make_store_on(struct fixture *f, const struct io *io)
{
    strcpy(f->path, "/tmp/sqyfs-tree-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    f->dir = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->dir >= 0);
    assert_int_equal(tree_create(io, f->dir, &f->tree), 0);
}

static void make_store(struct fixture *f)
{
    make_store_on(f, &io_system);
}

static void remove_tree(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (fd < 0) {
        __real_unlinkat(parent, name, 0);
        return;
    }
    DIR *dir = fdopendir(fd);
    const struct dirent *d;
    while ((d = readdir(dir)) != NULL) {
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            remove_tree(fd, d->d_name);
    }
    closedir(dir);
    __real_unlinkat(parent, name, AT_REMOVEDIR);
}

static void drop_store(struct fixture *f)
{
    tree_destroy(&f->tree);
    assert_null(f->tree);
    remove_tree(AT_FDCWD, f->path);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    make_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    drop_store(f);
    free(f);
    return 0;
}

static void put(int dir, const char *name, const char *content)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
}

/* Content of a visible name, "" where there is none, "/" for a directory. */
static const char *content(struct fixture *f, const char *name, char buf[16])
{
    struct tree_entry e;
    buf[0] = '\0';
    int r = tree_lookup(f->tree, f->dir, name, &e);
    if (r == -ENOENT)
        return buf;
    assert_int_equal(r, 0);
    close(e.fd);
    if (S_ISDIR(e.st.st_mode))
        return strcpy(buf, "/");
    int fd = openat(f->dir, e.stored, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, buf, 15);
    assert_true(n >= 0);
    buf[n] = '\0';
    close(fd);
    return buf;
}

static bool is(struct fixture *f, const char *name, const char *expected)
{
    char buf[16];
    return strcmp(content(f, name, buf), expected) == 0;
}

static unsigned n_stored(struct fixture *f)
{
    DIR *dir = opendir(f->path);
    unsigned n = 0;
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 2;
}

static bool exists(struct fixture *f, const char *stored)
{
    return faccessat(f->dir, stored, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- lookup and creation ---- */

static void lookup_takes_the_plain_spelling_first(void **state)
{
    struct fixture *f = *state;
    put(f->dir, "x", "plain");
    put(f->dir, "x.sqy", "blob");
    put(f->dir, "y.sqy", "blob");
    put(f->dir, "z.SQY", "caps");
    struct tree_entry e;
    assert_int_equal(tree_lookup(f->tree, f->dir, "x", &e), 0);
    assert_false(e.blob);
    assert_string_equal(e.stored, "x");
    close(e.fd);
    assert_int_equal(tree_lookup(f->tree, f->dir, "y", &e), 0);
    assert_true(e.blob);
    assert_string_equal(e.stored, "y.sqy");
    close(e.fd);
    assert_true(is(f, "z", "caps"));
    assert_true(is(f, "y.sqy", "")); /* that would be y.sqy.sqy */
    assert_true(is(f, "none", ""));
}

static void a_users_own_sqy_gets_the_suffix(void **state)
{
    struct fixture *f = *state;
    int fd;
    assert_int_equal(tree_create_file(f->tree, f->dir, "x.sqy", 0644, &fd), 0);
    close(fd);
    assert_int_equal(tree_mkdir(f->tree, f->dir, "d.SQY", 0755), 0);
    assert_int_equal(tree_symlink(f->tree, "to", f->dir, "s.sqy"), 0);
    assert_int_equal(tree_mknod(f->tree, f->dir, "p.sqy", S_IFIFO | 0644, 0), 0);
    assert_true(exists(f, "x.sqy.sqy"));
    assert_true(exists(f, "d.SQY.sqy"));
    assert_true(exists(f, "s.sqy.sqy"));
    assert_true(exists(f, "p.sqy.sqy"));
    struct tree_entry e;
    assert_int_equal(tree_lookup(f->tree, f->dir, "x.sqy", &e), 0);
    assert_true(e.blob);
    close(e.fd);
    assert_int_equal(tree_lookup(f->tree, f->dir, "d.SQY", &e), 0);
    assert_false(e.blob);
    assert_true(S_ISDIR(e.st.st_mode));
    close(e.fd);
    assert_int_equal(tree_lookup(f->tree, f->dir, "s.sqy", &e), 0);
    assert_true(S_ISLNK(e.st.st_mode));
    close(e.fd);
}

static void nothing_is_created_over_either_spelling(void **state)
{
    struct fixture *f = *state;
    put(f->dir, "p", "plain");
    put(f->dir, "b.sqy", "blob");
    put(f->dir, "other", "other");
    int other = openat(f->dir, "other", O_PATH);
    static const char *const taken[] = {"p", "b"};
    for (int i = 0; i < 2; i++) {
        int fd;
        assert_int_equal(tree_create_file(f->tree, f->dir, taken[i], 0644, &fd), -EEXIST);
        assert_int_equal(tree_mkdir(f->tree, f->dir, taken[i], 0755), -EEXIST);
        assert_int_equal(tree_symlink(f->tree, "t", f->dir, taken[i]), -EEXIST);
        assert_int_equal(tree_mknod(f->tree, f->dir, taken[i], S_IFIFO | 0644, 0), -EEXIST);
        assert_int_equal(tree_link(f->tree, other, false, f->dir, taken[i]), -EEXIST);
        assert_int_equal(tree_link(f->tree, other, true, f->dir, taken[i]), -EEXIST);
        assert_int_equal(tree_rename(f->tree, f->dir, "other", f->dir, taken[i], RENAME_NOREPLACE),
                         -EEXIST);
    }
    close(other);
    assert_int_equal(n_stored(f), 3);
}

static void names_that_are_none_or_too_long(void **state)
{
    struct fixture *f = *state;
    char name[NAME_MAX + 3];
    struct tree_entry e;
    int fd;
    static const char *const bad[] = {"", ".", "..", "a/b", "/"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(tree_lookup(f->tree, f->dir, bad[i], &e), -EINVAL);
        assert_int_equal(tree_create_file(f->tree, f->dir, bad[i], 0644, &fd), -EINVAL);
        assert_int_equal(tree_rmdir(f->tree, f->dir, bad[i]), -EINVAL);
    }
    memset(name, 'n', sizeof(name));
    name[NAME_MAX + 1] = '\0';
    assert_int_equal(tree_lookup(f->tree, f->dir, name, &e), -ENAMETOOLONG);
    name[NAME_MAX] = '\0'; /* too long for the suffix: stays verbatim */
    assert_int_equal(tree_create_file(f->tree, f->dir, name, 0644, &fd), 0);
    assert_true(exists(f, name));
    assert_int_equal(tree_become_blob(f->tree, fd), -ENAMETOOLONG);
    assert_true(exists(f, name));
    close(fd);
    memcpy(name + NAME_MAX - 4, ".sqy", 4); /* and one that must have it */
    assert_int_equal(tree_create_file(f->tree, f->dir, name, 0644, &fd), -ENAMETOOLONG);
    assert_int_equal(tree_lookup(f->tree, f->dir, name, &e), -ENAMETOOLONG);
    put(f->dir, "b.sqy", "blob");
    memset(name, 'm', NAME_MAX);
    assert_int_equal(tree_rename(f->tree, f->dir, "b", f->dir, name, 0), -EXDEV);
    assert_true(is(f, "b", "blob"));
}

/* mv(1) copies where rename(2) says EXDEV, and gives up where it says anything else. */
static void a_blob_is_copied_to_a_name_too_long_for_the_suffix(void **state)
{
    struct fixture *f = *state;
    char name[NAME_MAX + 1];
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    put(f->dir, "b.sqy", "blob");
    put(f->dir, "p", "plain");
    assert_int_equal(tree_rename(f->tree, f->dir, "b", f->dir, name, 0), -EXDEV);
    assert_int_equal(tree_rename(f->tree, f->dir, "b", f->dir, name, RENAME_NOREPLACE), -EXDEV);
    int fd = openat(f->dir, "b.sqy", O_PATH);
    assert_int_equal(tree_link(f->tree, fd, true, f->dir, name), -ENAMETOOLONG);
    close(fd);
    assert_true(is(f, "b", "blob"));
    assert_int_equal(tree_rename(f->tree, f->dir, "p", f->dir, name, 0), 0);
    assert_int_equal(tree_rename(f->tree, f->dir, "b", f->dir, name, 0), -EXDEV);
    assert_true(is(f, name, "plain"));
    memcpy(name + NAME_MAX - 4, ".sqy", 4); /* a copy could not have it either */
    assert_int_equal(tree_rename(f->tree, f->dir, "b", f->dir, name, 0), -ENAMETOOLONG);
}

static void reserved_at_the_root_only(void **state)
{
    struct fixture *f = *state;
    int fd;
    struct tree_entry e;
    assert_int_equal(mkdirat(f->dir, ".sqyfs", 0700), 0);
    put(f->dir, "x", "x");
    assert_int_equal(tree_lookup(f->tree, f->dir, ".sqyfs", &e), -ENOENT);
    assert_int_equal(tree_create_file(f->tree, f->dir, ".sqyfs-policy", 0644, &fd), -EACCES);
    assert_int_equal(tree_mkdir(f->tree, f->dir, ".sqyfs2", 0755), -EACCES);
    assert_int_equal(tree_rename(f->tree, f->dir, "x", f->dir, ".sqyfs-policy", 0), -EACCES);
    assert_int_equal(tree_rename(f->tree, f->dir, ".sqyfs", f->dir, "y", 0), -ENOENT);
    assert_int_equal(tree_rename(f->tree, f->dir, ".sqyfs", f->dir, "x", RENAME_EXCHANGE), -ENOENT);
    assert_int_equal(tree_rmdir(f->tree, f->dir, ".sqyfs"), -ENOENT);
    assert_int_equal(tree_unlink(f->tree, f->dir, ".sqyfs"), -ENOENT);
    assert_int_equal(tree_mkdir(f->tree, f->dir, "sub", 0755), 0);
    int sub = openat(f->dir, "sub", O_PATH | O_DIRECTORY);
    assert_int_equal(tree_create_file(f->tree, sub, ".sqyfs-policy", 0644, &fd), 0);
    close(fd);
    assert_int_equal(tree_lookup(f->tree, sub, ".sqyfs-policy", &e), 0);
    close(e.fd);
    char visible[NAMES_MAX];
    assert_false(tree_show(f->tree, f->dir, true, ".sqyfs", visible));
    assert_true(tree_show(f->tree, sub, false, ".sqyfs-policy", visible));
    close(sub);
}

/* ---- links, kinds ---- */

static void links_keep_their_kind(void **state)
{
    struct fixture *f = *state;
    put(f->dir, "b.sqy", "blob");
    put(f->dir, "p", "plain");
    assert_int_equal(symlinkat("p", f->dir, "s"), 0);
    int blob = openat(f->dir, "b.sqy", O_PATH), plain = openat(f->dir, "p", O_PATH);
    int link = openat(f->dir, "s", O_PATH | O_NOFOLLOW);
    assert_int_equal(tree_link(f->tree, blob, true, f->dir, "b2"), 0);
    assert_true(exists(f, "b2.sqy"));
    assert_int_equal(tree_link(f->tree, blob, true, f->dir, "b3.sqy"), 0);
    assert_true(exists(f, "b3.sqy.sqy"));
    assert_int_equal(tree_link(f->tree, plain, false, f->dir, "p2"), 0);
    assert_true(exists(f, "p2"));
    assert_int_equal(tree_link(f->tree, plain, false, f->dir, "p3.sqy"), -EXDEV);
    assert_int_equal(tree_link(f->tree, link, false, f->dir, "s2"), 0);
    char target[8];
    assert_int_equal(readlinkat(f->dir, "s2", target, sizeof(target)), 1);
    assert_int_equal(tree_become_plain(f->tree, blob), -EBUSY);
    assert_int_equal(tree_become_blob(f->tree, plain), -EBUSY);
    close(blob);
    close(plain);
    close(link);
}

static void birth_keeps_the_inode(void **state)
{
    struct fixture *f = *state;
    int fd;
    struct stat before, after;
    struct tree_entry e;
    assert_int_equal(tree_mkdir(f->tree, f->dir, "d.sqy", 0755), 0);
    int sub = openat(f->dir, "d.sqy.sqy", O_PATH | O_DIRECTORY);
    assert_int_equal(tree_create_file(f->tree, sub, "x.tif", 0644, &fd), 0);
    fstat(fd, &before);
    assert_int_equal(tree_become_blob(f->tree, fd), 0);
    assert_int_equal(tree_become_blob(f->tree, fd), 0);
    assert_int_equal(tree_lookup(f->tree, sub, "x.tif", &e), 0);
    assert_true(e.blob);
    fstat(e.fd, &after);
    assert_int_equal(before.st_ino, after.st_ino);
    char path[64];
    assert_int_equal(tree_path(f->tree, e.fd, path, sizeof(path)), 0);
    assert_string_equal(path, "d.sqy/x.tif");
    assert_int_equal(tree_become_plain(f->tree, e.fd), 0);
    close(e.fd);
    assert_int_equal(tree_lookup(f->tree, sub, "x.tif", &e), 0);
    assert_false(e.blob);
    close(e.fd);
    put(sub, "x.tif.sqy", "shadow");
    assert_int_equal(tree_become_blob(f->tree, fd), -EEXIST);
    assert_int_equal(tree_unlink(f->tree, sub, "x.tif"), 0);
    assert_int_equal(tree_become_blob(f->tree, fd), -ESTALE);
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), -ESTALE);
    close(fd);
    close(sub);
}

/* Aside, below where it was, and with another one in its place. */
static void a_store_that_is_moved_keeps_its_paths(void **state)
{
    struct fixture *f = *state;
    char aside[80], below[96], path[16];
    snprintf(aside, sizeof(aside), "%s.moved", f->path);
    snprintf(below, sizeof(below), "%s/store", f->path);
    put(f->dir, "file", "1");
    int fd = openat(f->dir, "file", O_PATH);
    assert_int_equal(rename(f->path, aside), 0);
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), 0);
    assert_string_equal(path, "file");
    assert_int_equal(mkdir(f->path, 0700), 0);
    int other = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    put(other, "file", "2");
    int stranger = openat(other, "file", O_PATH);
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), 0);
    assert_string_equal(path, "file");
    assert_int_equal(tree_path(f->tree, stranger, path, sizeof(path)), -ESTALE);
    assert_int_equal(rename(aside, below), 0);
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), 0);
    assert_string_equal(path, "file");
    assert_int_equal(tree_path(f->tree, f->dir, path, sizeof(path)), 0);
    assert_string_equal(path, "");
    assert_int_equal(rename(below, aside), 0);
    unlinkat(other, "file", 0);
    assert_int_equal(rmdir(f->path), 0);
    assert_int_equal(rename(aside, f->path), 0);
    close(stranger);
    close(other);
    close(fd);
}

static void paths(void **state)
{
    struct fixture *f = *state;
    char path[16];
    assert_int_equal(tree_path(f->tree, f->dir, path, sizeof(path)), 0);
    assert_string_equal(path, "");
    put(f->dir, "file", "1");
    int fd = openat(f->dir, "file", O_PATH);
    assert_int_equal(tree_path(f->tree, fd, path, 5), 0);
    assert_int_equal(tree_path(f->tree, fd, path, 4), -ENAMETOOLONG);
    assert_int_equal(tree_path(f->tree, fd, path, 0), -ENAMETOOLONG);
    unlinkat(f->dir, "file", 0);
    put(f->dir, "file (deleted)", "2"); /* where the kernel says the old one lies */
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), -ESTALE);
    close(fd);
    fd = openat(f->dir, "file (deleted)", O_PATH);
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), 0);
    assert_string_equal(path, "file (deleted)");
    close(fd);
    fd = open("/", O_PATH);
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), -ESTALE);
    close(fd);
    char beside[80];
    snprintf(beside, sizeof(beside), "%sx", f->path); /* its path begins as the root's */
    assert_int_equal(mkdir(beside, 0700), 0);
    fd = open(beside, O_PATH);
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), -ESTALE);
    close(fd);
    rmdir(beside);
}

static void a_moved_file_is_found(void **state)
{
    struct fixture *f = *state;
    int fd;
    char path[32];
    assert_int_equal(tree_create_file(f->tree, f->dir, "tmp", 0644, &fd), 0);
    assert_int_equal(tree_mkdir(f->tree, f->dir, "d", 0755), 0);
    int sub = openat(f->dir, "d", O_PATH | O_DIRECTORY);
    assert_int_equal(tree_rename(f->tree, f->dir, "tmp", sub, "x.tif", 0), 0);
    assert_int_equal(tree_become_blob(f->tree, fd), 0);
    assert_true(exists(f, "d/x.tif.sqy"));
    assert_int_equal(tree_rename(f->tree, f->dir, "d", f->dir, "e", 0), 0);
    assert_int_equal(tree_path(f->tree, fd, path, sizeof(path)), 0);
    assert_string_equal(path, "e/x.tif");
    close(sub);
    close(fd);
}

static void replace_takes_both_spellings(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdirat(f->dir, ".sqyfs", 0700), 0);
    int temp = openat(f->dir, ".sqyfs", O_PATH | O_DIRECTORY);
    put(f->dir, "p", "plain");
    put(f->dir, "b.sqy", "blob");
    int plain = openat(f->dir, "p", O_PATH), blob = openat(f->dir, "b.sqy", O_PATH);
    assert_int_equal(tree_replace(f->tree, blob, temp, "none"), -ENOENT);
    assert_true(is(f, "b", "blob"));
    put(temp, "t", "new");
    assert_int_equal(tree_replace(f->tree, blob, temp, "t"), 0);
    assert_true(is(f, "b", "new"));
    put(temp, "t", "new2");
    assert_int_equal(tree_replace(f->tree, plain, temp, "t"), 0);
    assert_true(is(f, "p", "new2"));
    assert_false(exists(f, "p"));
    put(temp, "t", "new3");
    assert_int_equal(tree_replace(f->tree, plain, temp, "t"), -ESTALE);
    assert_true(is(f, "p", "new2"));
    assert_int_equal(linkat(f->dir, "p.sqy", f->dir, "q.sqy", 0), 0);
    int linked = openat(f->dir, "p.sqy", O_PATH);
    assert_int_equal(tree_replace(f->tree, linked, temp, "t"), -EBUSY);
    close(linked);
    close(plain);
    close(blob);
    close(temp);
}

/* x.SQY that x.sqy hides: nothing of its visible name is its own to replace. */
static void a_shadow_replaces_no_file(void **state)
{
    struct fixture *f = *state;
    put(f->dir, "x.SQY", "hidden");
    int fd = openat(f->dir, "x.SQY", O_PATH);
    put(f->dir, "x.sqy", "shown");
    put(f->dir, "t", "new");
    assert_int_equal(tree_replace(f->tree, fd, f->dir, "t"), -EEXIST);
    assert_true(is(f, "x", "shown"));
    assert_true(exists(f, "t"));
    close(fd);
}

/* ---- a disk that fails ---- */

/* A store on `io` with a plain file p, a blob b, and what shall replace one of them, as "t". */
static int make_faulty_store(struct fixture *f, struct io_faulty *io)
{
    io_faulty_init(io);
    make_store_on(f, &io->io);
    put(f->dir, "p", "plain");
    put(f->dir, "b.sqy", "blob");
    assert_int_equal(mkdirat(f->dir, ".sqyfs", 0700), 0);
    int temp = openat(f->dir, ".sqyfs", O_PATH | O_DIRECTORY);
    put(temp, "t", "new");
    return temp;
}

/* Replaces `name` while the nth call of a kind fails. */
static int replace_with_fault(struct fixture *f, const char *name, enum io_faulty_call call,
                              unsigned nth, struct io_faulty *io)
{
    int temp = make_faulty_store(f, io), fd = openat(f->dir, name, O_PATH);
    if (nth > 0)
        io_faulty_fail(io, call, nth, EIO, false);
    int r = tree_replace(f->tree, fd, temp, "t");
    close(fd);
    close(temp);
    return r;
}

static void drop_faulty_store(struct fixture *f, struct io_faulty *io)
{
    drop_store(f);
    io_faulty_clear(io);
}

static void a_directory_that_cannot_be_read_is_not_empty(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tree_mkdir(f->tree, f->dir, "d", 0755), 0);
    put(f->dir, "d/x", "x");
    put(f->dir, "d.sqy", "shadow");
    readdir_fails = true;
    int r = tree_rmdir(f->tree, f->dir, "d");
    readdir_fails = false;
    assert_int_equal(r, -EIO);
    assert_true(exists(f, "d.sqy"));
}

static void a_failed_rename_replaces_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"p", "b.sqy"};
    for (unsigned i = 0; i < 2; i++) {
        struct fixture f;
        struct io_faulty io;
        assert_int_equal(replace_with_fault(&f, names[i], IO_RENAME, 1, &io), -EIO);
        assert_true(is(&f, "p", "plain") && is(&f, "b", "blob"));
        assert_true(exists(&f, ".sqyfs/t"));
        assert_false(exists(&f, "p.sqy"));
        drop_faulty_store(&f, &io);
    }
}

static void a_plain_file_stays_until_the_blobs_name_is_synced(void **state)
{
    (void)state;
    struct fixture f;
    struct io_faulty io;
    assert_int_equal(replace_with_fault(&f, "p", IO_FSYNC, 1, &io), -EIO);
    assert_true(is(&f, "p", "plain"));
    assert_false(exists(&f, "p.sqy")); /* nor does a copy stay that could stand in for it */
    drop_faulty_store(&f, &io);
}

static void a_replacement_that_is_not_synced_is_told(void **state)
{
    (void)state;
    for (unsigned nth = 0; nth <= 3; nth++) {
        struct fixture f;
        struct io_faulty io;
        if (nth != 1) {
            assert_int_equal(replace_with_fault(&f, "p", IO_FSYNC, nth, &io), nth > 0);
            assert_true(is(&f, "p", "new"));
            assert_false(exists(&f, "p"));
            assert_int_equal(io.n[IO_FSYNC], nth == 2 ? 2 : 3);
            drop_faulty_store(&f, &io);
        }
        if (nth != 3) {
            assert_int_equal(replace_with_fault(&f, "b.sqy", IO_FSYNC, nth, &io), nth > 0);
            assert_true(is(&f, "b", "new"));
            assert_int_equal(io.n[IO_FSYNC], nth == 1 ? 1 : 2);
            drop_faulty_store(&f, &io);
        }
    }
}

/* What a power cut leaves of the names is what the syncs so far have seen. */
static void watch_order(void *ctx, enum io_faulty_call call, unsigned nth)
{
    struct fixture *f = ctx;
    if (call != IO_FSYNC)
        return;
    assert_true(exists(f, "p.sqy"));
    assert_int_equal(exists(f, "p"), nth == 1);
}

static void the_old_name_goes_after_the_new_one_is_synced(void **state)
{
    (void)state;
    struct fixture f;
    struct io_faulty io;
    int temp = make_faulty_store(&f, &io), fd = openat(f.dir, "p", O_PATH);
    io.hook = watch_order;
    io.hook_ctx = &f;
    assert_int_equal(tree_replace(f.tree, fd, temp, "t"), 0);
    close(fd);
    close(temp);
    drop_faulty_store(&f, &io);
}

/* Somebody gives the name to another stack while the blob's is being synced. */
static void rename_meanwhile(void *ctx, enum io_faulty_call call, unsigned nth)
{
    struct fixture *f = ctx;
    if (call == IO_FSYNC && nth == 1)
        assert_int_equal(tree_rename(f->tree, f->dir, "b", f->dir, "p", 0), 0);
}

static void what_takes_the_name_meanwhile_stays(void **state)
{
    (void)state;
    struct fixture f;
    struct io_faulty io;
    int temp = make_faulty_store(&f, &io), fd = openat(f.dir, "p", O_PATH);
    int blob = openat(temp, "t", O_PATH);
    io.hook = rename_meanwhile;
    io.hook_ctx = &f;
    assert_int_equal(tree_replace(f.tree, fd, temp, "t"), -ESTALE);
    assert_true(is(&f, "p", "blob"));
    close(blob);
    close(fd);
    close(temp);
    drop_faulty_store(&f, &io);
}

static void a_rename_that_fails_changes_no_name(void **state)
{
    (void)state;
    struct fixture f;
    struct io_faulty io;
    int temp = make_faulty_store(&f, &io), fd = openat(f.dir, "p", O_PATH);
    io_faulty_fail(&io, IO_RENAME, 1, EIO, true);
    assert_int_equal(tree_rename(f.tree, f.dir, "p", f.dir, "b", 0), -EIO);
    assert_int_equal(tree_rename(f.tree, f.dir, "p", f.dir, "q", 0), -EIO);
    assert_int_equal(tree_become_blob(f.tree, fd), -EIO);
    assert_true(is(&f, "p", "plain") && is(&f, "b", "blob"));
    assert_int_equal(n_stored(&f), 3);
    close(fd);
    close(temp);
    drop_faulty_store(&f, &io);
}

static void types_do_not_replace_each_other(void **state)
{
    struct fixture *f = *state;
    put(f->dir, "b.sqy", "blob");
    put(f->dir, "p", "plain");
    assert_int_equal(tree_mkdir(f->tree, f->dir, "d", 0755), 0);
    assert_int_equal(tree_mkdir(f->tree, f->dir, "full", 0755), 0);
    assert_int_equal(mkdirat(f->dir, "full/x", 0755), 0);
    put(f->dir, "full.sqy", "shadow");
    assert_int_equal(tree_rename(f->tree, f->dir, "b", f->dir, "d", 0), -EISDIR);
    assert_int_equal(tree_rename(f->tree, f->dir, "p", f->dir, "d", 0), -EISDIR);
    assert_int_equal(tree_rename(f->tree, f->dir, "d", f->dir, "b", 0), -ENOTDIR);
    assert_int_equal(tree_rename(f->tree, f->dir, "d", f->dir, "p", 0), -ENOTDIR);
    assert_int_equal(tree_rename(f->tree, f->dir, "d", f->dir, "full", 0), -ENOTEMPTY);
    assert_int_equal(tree_rmdir(f->tree, f->dir, "full"), -ENOTEMPTY);
    assert_true(exists(f, "full.sqy"));
    assert_int_equal(tree_unlink(f->tree, f->dir, "d"), -EISDIR);
    assert_int_equal(tree_rmdir(f->tree, f->dir, "b"), -ENOTDIR);
    assert_int_equal(tree_unlink(f->tree, f->dir, "none"), -ENOENT);
    assert_int_equal(tree_rename(f->tree, f->dir, "d", f->dir, "d/in", 0), -EINVAL);
    assert_int_equal(unlinkat(f->dir, "full/x", AT_REMOVEDIR), 0);
    assert_int_equal(tree_rmdir(f->tree, f->dir, "full"), 0);
    assert_false(exists(f, "full.sqy"));
}

static void names_move_across_the_suffix(void **state)
{
    struct fixture *f = *state;
    put(f->dir, "b.sqy", "blob");
    put(f->dir, "p", "plain");
    assert_int_equal(tree_mkdir(f->tree, f->dir, "d", 0755), 0);
    assert_int_equal(tree_rename(f->tree, f->dir, "b", f->dir, "b.sqy", 0), 0);
    assert_true(is(f, "b.sqy", "blob"));
    assert_true(exists(f, "b.sqy.sqy"));
    assert_int_equal(tree_rename(f->tree, f->dir, "b.sqy", f->dir, "c", 0), 0);
    assert_true(exists(f, "c.sqy"));
    assert_int_equal(tree_rename(f->tree, f->dir, "d", f->dir, "d.sqy", 0), 0);
    assert_true(exists(f, "d.sqy.sqy"));
    assert_int_equal(tree_rename(f->tree, f->dir, "d.sqy", f->dir, "d", 0), 0);
    assert_true(exists(f, "d"));
    assert_int_equal(tree_rename(f->tree, f->dir, "p", f->dir, "p.sqy", 0), -EXDEV);
    assert_true(is(f, "p", "plain"));
    assert_int_equal(n_stored(f), 3);
}

static void exchange_of_one_kind_only(void **state)
{
    struct fixture *f = *state;
    put(f->dir, "b1.sqy", "B1");
    put(f->dir, "b2.sqy", "B2");
    put(f->dir, "p1", "P1");
    put(f->dir, "p1.sqy", "S1");
    put(f->dir, "p2", "P2");
    assert_int_equal(tree_mkdir(f->tree, f->dir, "d.sqy", 0755), 0);
    assert_int_equal(tree_mkdir(f->tree, f->dir, "d", 0755), 0);
    const unsigned x = RENAME_EXCHANGE;
    assert_int_equal(tree_rename(f->tree, f->dir, "b1", f->dir, "b2", x), 0);
    assert_true(is(f, "b1", "B2") && is(f, "b2", "B1"));
    assert_int_equal(tree_rename(f->tree, f->dir, "p1", f->dir, "p2", x), 0);
    assert_true(is(f, "p1", "P2") && is(f, "p2", "P1"));
    assert_false(exists(f, "p1.sqy"));
    assert_int_equal(tree_rename(f->tree, f->dir, "p1", f->dir, "b1", x), -EINVAL);
    assert_int_equal(tree_rename(f->tree, f->dir, "b1", f->dir, "p1", x), -EINVAL);
    assert_int_equal(tree_rename(f->tree, f->dir, "p1", f->dir, "d.sqy", x), -EINVAL);
    assert_int_equal(tree_rename(f->tree, f->dir, "d.sqy", f->dir, "p1", x), -EINVAL);
    assert_int_equal(tree_rename(f->tree, f->dir, "d", f->dir, "d.sqy", x), 0);
    assert_int_equal(tree_rename(f->tree, f->dir, "p1", f->dir, "d", x), 0);
    assert_int_equal(tree_rename(f->tree, f->dir, "p1", f->dir, "none", x), -ENOENT);
    assert_int_equal(tree_rename(f->tree, f->dir, "d", f->dir, "p1", x | RENAME_NOREPLACE),
                     -EINVAL);
    assert_int_equal(tree_rename(f->tree, f->dir, "d", f->dir, "p1", RENAME_WHITEOUT), -EINVAL);
}

static void two_links_of_one_file_stay(void **state)
{
    struct fixture *f = *state;
    put(f->dir, "a.sqy", "A");
    assert_int_equal(linkat(f->dir, "a.sqy", f->dir, "b.sqy", 0), 0);
    assert_int_equal(tree_rename(f->tree, f->dir, "a", f->dir, "b", 0), 0);
    assert_true(is(f, "a", "A") && is(f, "b", "A"));
}

static void readdir_shows_each_name_once(void **state)
{
    struct fixture *f = *state;
    char visible[NAMES_MAX];
    put(f->dir, "x", "1");
    put(f->dir, "x.sqy", "2");
    put(f->dir, "y.sqy", "3");
    put(f->dir, "y.SQY", "4");
    put(f->dir, "z.sqy.sqy", "5");
    put(f->dir, ".sqy", "6");
    assert_true(tree_show(f->tree, f->dir, true, "x", visible));
    assert_false(tree_show(f->tree, f->dir, true, "x.sqy", visible));
    assert_true(tree_show(f->tree, f->dir, true, "y.sqy", visible));
    assert_string_equal(visible, "y");
    assert_false(tree_show(f->tree, f->dir, true, "y.SQY", visible));
    assert_true(tree_show(f->tree, f->dir, true, "z.sqy.sqy", visible));
    assert_string_equal(visible, "z.sqy");
    assert_true(tree_show(f->tree, f->dir, true, ".sqy", visible));
    assert_string_equal(visible, ".sqy");
    assert_true(is(f, ".sqy", "6"));
    assert_false(tree_show(f->tree, f->dir, true, "q.Sqy", visible));
}

/* Which spelling was found last says how to look, not what is there. */
static void what_was_likely_decides_nothing(void **state)
{
    struct fixture *f = *state;
    put(f->dir, "x.sqy", "blob");
    put(f->dir, "y", "plain");
    for (unsigned i = 0; i < 2; i++) {
        assert_true(is(f, "x", "blob"));
        assert_true(is(f, "y", "plain"));
        assert_true(is(f, "x", "blob"));
        assert_true(is(f, "z", ""));
        assert_true(is(f, "x", "blob"));
    }
    put(f->dir, "x", "another hand's");
    assert_true(is(f, "x", "another hand's"));
    assert_int_equal(unlinkat(f->dir, "x", 0), 0);
    assert_true(is(f, "x", "blob"));
    assert_int_equal(renameat(f->dir, "x.sqy", f->dir, "x.SQY"), 0);
    assert_true(is(f, "x", "blob"));
    put(f->dir, "x.sqy", "before it");
    assert_true(is(f, "x", "before it"));
}

static int shown_open_as(struct fixture *f, const char *stored, uint64_t listed_ino,
                         char visible[NAMES_MAX], char found[NAMES_MAX])
{
    struct tree_entry entry;
    int r = tree_show_open(f->tree, f->dir, true, stored, listed_ino, visible, &entry);
    if (r == 0) {
        memcpy(found, entry.stored, strlen(entry.stored) + 1);
        close(entry.fd);
    }
    return r;
}

static int shown_open(struct fixture *f, const char *stored, char visible[NAMES_MAX],
                      char found[NAMES_MAX])
{
    return shown_open_as(f, stored, 0, visible, found);
}

static void readdir_with_attributes_shows_the_same(void **state)
{
    struct fixture *f = *state;
    char visible[NAMES_MAX], found[NAMES_MAX];
    put(f->dir, "x", "1");
    put(f->dir, "x.sqy", "2");
    put(f->dir, "y.sqy", "3");
    put(f->dir, "y.SQY", "4");
    put(f->dir, ".sqy", "6");
    assert_int_equal(shown_open(f, "x", visible, found), 0);
    assert_string_equal(found, "x");
    assert_int_equal(shown_open(f, "x.sqy", visible, found), -ENOENT);
    assert_int_equal(shown_open(f, "y.sqy", visible, found), 0);
    assert_string_equal(visible, "y");
    assert_string_equal(found, "y.sqy");
    assert_int_equal(shown_open(f, "y.SQY", visible, found), -ENOENT);
    assert_int_equal(shown_open(f, ".sqy", visible, found), 0);
    assert_int_equal(shown_open(f, "q.Sqy", visible, found), -ENOENT);
    assert_int_equal(shown_open(f, ".sqyfs", visible, found), -ENOENT);
}

/* The listing was taken before: what it names may be gone, or be spelled otherwise by now. */
static void a_listed_name_is_looked_up_as_it_is_now(void **state)
{
    struct fixture *f = *state;
    char visible[NAMES_MAX], found[NAMES_MAX];
    put(f->dir, "x.sqy", "1");
    assert_int_equal(shown_open(f, "x", visible, found), 0);
    assert_string_equal(found, "x.sqy");
    assert_int_equal(shown_open(f, "gone", visible, found), 1);
    assert_string_equal(visible, "gone");
    assert_int_equal(shown_open(f, "gone.sqy", visible, found), 1);
    assert_string_equal(visible, "gone");
}

static void a_file_that_changes_its_spelling_under_a_listing_stays_in_it(void **state)
{
    struct fixture *f = *state;
    char visible[NAMES_MAX], found[NAMES_MAX];
    struct stat st;
    put(f->dir, "x.sqy", "1");
    assert_int_equal(fstatat(f->dir, "x.sqy", &st, 0), 0);
    assert_int_equal(renameat(f->dir, "x.sqy", f->dir, "x"), 0); /* truncated to nothing */
    assert_int_equal(shown_open_as(f, "x.sqy", st.st_ino, visible, found), 0);
    assert_string_equal(visible, "x");
    /* of two spellings of one file the first shows, and of two files, too */
    assert_int_equal(linkat(f->dir, "x", f->dir, "x.sqy", 0), 0);
    assert_int_equal(shown_open_as(f, "x.sqy", st.st_ino, visible, found), -ENOENT);
    assert_int_equal(unlinkat(f->dir, "x", 0), 0);
    put(f->dir, "x", "2");
    assert_int_equal(unlinkat(f->dir, "x.sqy", 0), 0);
    assert_int_equal(shown_open_as(f, "x.sqy", st.st_ino, visible, found), -ENOENT);
}

/* ---- crashes ---- */

enum { NONE, PLAIN, BLOB, N_KINDS };

static void put_kind(struct fixture *f, const char *name, int kind, bool shadow, const char *text)
{
    char path[32], below[32];
    snprintf(path, sizeof(path), "%s%s", name, kind == BLOB ? ".sqy" : "");
    snprintf(below, sizeof(below), "%s%s", name, kind == BLOB ? ".SQY" : ".sqy");
    if (kind != NONE)
        put(f->dir, path, text);
    if (kind != NONE && shadow)
        put(f->dir, below, "shadow");
}

static void check_rename_state(struct fixture *f, int to_kind, bool finished)
{
    char a[16], b[16];
    content(f, "a", a);
    content(f, "b", b);
    bool b_new = strcmp(b, "A") == 0;
    bool b_old = strcmp(b, to_kind == NONE ? "" : "B") == 0;
    assert_true(b_new || b_old);
    if (!b_new)
        assert_string_equal(a, "A"); /* the old state */
    else
        assert_true(strcmp(a, "A") == 0 || a[0] == '\0');
    if (finished) {
        assert_true(b_new && a[0] == '\0');
        assert_int_equal(n_stored(f), 1);
    }
}

/* Runs `op` in a child that ends before its step `n`; whether it came to its end. */
static bool run_until(struct fixture *f, int n, int (*op)(struct fixture *))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        steps_left = n;
        _exit(op(f) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 99);
    return WEXITSTATUS(status) == 0;
}

static int op_rename(struct fixture *f)
{
    return tree_rename(f->tree, f->dir, "a", f->dir, "b", 0);
}

static int op_unlink(struct fixture *f)
{
    return tree_unlink(f->tree, f->dir, "a");
}

static int op_replace(struct fixture *f)
{
    struct tree_entry e;
    int r = tree_lookup(f->tree, f->dir, "a", &e);
    if (r == 0)
        r = tree_replace(f->tree, e.fd, f->dir, ".sqyfs-t");
    return r;
}

static void rename_cut_at_every_step(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * 2 * N_KINDS * 2; i++) {
        int from = i & 1 ? BLOB : PLAIN, to = i / 4 % N_KINDS;
        bool finished = false;
        for (int n = 0; !finished; n++) {
            struct fixture f;
            make_store(&f);
            put_kind(&f, "a", from, i & 2, "A");
            put_kind(&f, "b", to, i / 12, "B");
            finished = run_until(&f, n, op_rename);
            check_rename_state(&f, to, finished);
            if (!finished && !is(&f, "a", "")) { /* done again, it comes to its end */
                assert_int_equal(op_rename(&f), 0);
                assert_true(is(&f, "b", "A"));
            }
            drop_store(&f);
            assert_true(n < 12);
        }
    }
}

static void unlink_cut_at_every_step(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool finished = false;
        for (int n = 0; !finished; n++) {
            struct fixture f;
            make_store(&f);
            put_kind(&f, "a", i & 1 ? BLOB : PLAIN, i & 2, "A");
            finished = run_until(&f, n, op_unlink);
            assert_true(is(&f, "a", finished ? "" : "A"));
            if (finished)
                assert_int_equal(n_stored(&f), 0);
            drop_store(&f);
            assert_true(n < 6);
        }
    }
}

static void replace_cut_at_every_step(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool finished = false;
        for (int n = 0; !finished; n++) {
            struct fixture f;
            make_store(&f);
            put_kind(&f, "a", i & 1 ? BLOB : PLAIN, i & 2, "A");
            put(f.dir, ".sqyfs-t", "N");
            finished = run_until(&f, n, op_replace);
            assert_true(is(&f, "a", "N") || (!finished && is(&f, "a", "A")));
            drop_store(&f);
            assert_true(n < 6);
        }
    }
}

/* ---- threads ---- */

struct racer {
    struct fixture *f;
    atomic_bool stop;
};

/* One of both names is there at any moment, and lookup never sees neither spelling of it. */
static void *racer_lookup(void *arg)
{
    struct racer *racer = arg;
    while (!atomic_load(&racer->stop)) {
        struct tree_entry e;
        int r = tree_lookup(racer->f->tree, racer->f->dir, "b", &e);
        if (r < 0)
            return racer; /* b was gone */
        close(e.fd);
    }
    return NULL;
}

static void lookups_see_no_step_of_a_rename(void **state)
{
    struct fixture *f = *state;
    struct racer racer = {.f = f};
    pthread_t thread;
    put(f->dir, "b", "B");
    assert_int_equal(pthread_create(&thread, NULL, racer_lookup, &racer), 0);
    for (int i = 0; i < 300; i++) {
        put(f->dir, i & 1 ? "a" : "a.sqy", "A");
        assert_int_equal(tree_rename(f->tree, f->dir, "a", f->dir, "b", 0), 0);
    }
    atomic_store(&racer.stop, true);
    void *failed;
    pthread_join(thread, &failed);
    assert_null(failed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(lookup_takes_the_plain_spelling_first),
        TEST(a_users_own_sqy_gets_the_suffix),
        TEST(nothing_is_created_over_either_spelling),
        TEST(names_that_are_none_or_too_long),
        TEST(a_blob_is_copied_to_a_name_too_long_for_the_suffix),
        TEST(reserved_at_the_root_only),
        TEST(links_keep_their_kind),
        TEST(birth_keeps_the_inode),
        TEST(paths),
        TEST(a_store_that_is_moved_keeps_its_paths),
        TEST(a_moved_file_is_found),
        TEST(replace_takes_both_spellings),
        TEST(a_shadow_replaces_no_file),
        TEST(a_directory_that_cannot_be_read_is_not_empty),
        cmocka_unit_test(a_failed_rename_replaces_nothing),
        cmocka_unit_test(a_plain_file_stays_until_the_blobs_name_is_synced),
        cmocka_unit_test(a_replacement_that_is_not_synced_is_told),
        cmocka_unit_test(the_old_name_goes_after_the_new_one_is_synced),
        cmocka_unit_test(what_takes_the_name_meanwhile_stays),
        cmocka_unit_test(a_rename_that_fails_changes_no_name),
        TEST(types_do_not_replace_each_other),
        TEST(names_move_across_the_suffix),
        TEST(exchange_of_one_kind_only),
        TEST(what_was_likely_decides_nothing),
        TEST(two_links_of_one_file_stay),
        TEST(readdir_shows_each_name_once),
        TEST(readdir_with_attributes_shows_the_same),
        TEST(a_listed_name_is_looked_up_as_it_is_now),
        TEST(a_file_that_changes_its_spelling_under_a_listing_stays_in_it),
        cmocka_unit_test(rename_cut_at_every_step),
        cmocka_unit_test(unlink_cut_at_every_step),
        cmocka_unit_test(replace_cut_at_every_step),
        TEST(lookups_see_no_step_of_a_rename),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
