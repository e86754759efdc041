#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/io_faulty.h"
#include "volume/policy.h"
#include "volume/policy_archive.h"

static int make_root(char *path)
{
    assert_non_null(mkdtemp(path));
    int root = open(path, O_RDONLY | O_DIRECTORY);
    assert_true(root >= 0);
    assert_int_equal(mkdirat(root, ".sqyfs", 0700), 0);
    return root;
}

static void remove_root(char *path, int root)
{
    unlinkat(root, POLICY_FILE, 0);
    unlinkat(root, ".sqyfs", AT_REMOVEDIR);
    close(root);
    rmdir(path);
}

static void expect(struct policy *policy, const char *path, bool inherit, const char *text)
{
    char *got = NULL;
    int r = policy_get(policy, POLICY_PIPELINE, path, inherit, &got);
    if (text == NULL) {
        assert_int_equal(r, -ENODATA);
    } else {
        assert_int_equal(r, 0);
        assert_string_equal(got, text);
    }
    free(got);
}

static void nearest_directory_decides_and_survives_reopening(void **state)
{
    (void)state;
    char path[] = "/tmp/sqyfs-policy-XXXXXX";
    int root = make_root(path);
    struct policy *policy;
    assert_int_equal(policy_open(&io_system, root, &policy), 0);
    expect(policy, "a/b", 1, NULL);
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "", "lz4"), 0);
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "a", "zstd"), 0);
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "odd\n\\dir\t", "bitswap1->lz4"), 0);
    policy_close(&policy);
    assert_int_equal(policy_open(&io_system, root, &policy), 0);
    expect(policy, "a/b/c", 1, "zstd");
    expect(policy, "ab", 1, "lz4");
    expect(policy, "a/b", 0, NULL);
    expect(policy, "odd\n\\dir\t/x", 1, "bitswap1->lz4");
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "a", NULL), 0);
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "a", NULL), -ENODATA);
    expect(policy, "a/b", 1, "lz4");
    policy_close(&policy);
    remove_root(path, root);
}

static void policies_follow_their_directories(void **state)
{
    (void)state;
    char path[] = "/tmp/sqyfs-policy-XXXXXX";
    int root = make_root(path);
    struct policy *policy;
    assert_int_equal(policy_open(&io_system, root, &policy), 0);
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "a/b", "lz4"), 0);
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "ax", "zstd"), 0);
    assert_int_equal(policy_rename(policy, "a", "z/y", false), 0);
    expect(policy, "z/y/b", 0, "lz4");
    expect(policy, "ax", 0, "zstd");
    expect(policy, "a/b", 0, NULL);
    assert_int_equal(policy_rename(policy, "z", "ax", true), 0);
    expect(policy, "ax/y/b", 0, "lz4");
    expect(policy, "z", 0, "zstd");
    assert_int_equal(policy_rename(policy, "z", "ax", true), 0);
    assert_int_equal(policy_remove(policy, "z"), 0);
    expect(policy, "z/y/b", 1, NULL);
    policy_close(&policy);
    remove_root(path, root);
}

static void lines_that_are_not_understood_are_kept(void **state)
{
    (void)state;
    char path[] = "/tmp/sqyfs-policy-XXXXXX", buf[256] = {0};
    int root = make_root(path);
    int fd = openat(root, POLICY_FILE, O_RDWR | O_CREAT, 0644);
    static const char text[] = "# mine\nfuture\tlater\tdir\nnonsense\npipeline\tlz4\td\n";
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    struct policy *policy;
    assert_int_equal(policy_open(&io_system, root, &policy), 0);
    expect(policy, "d", 0, "lz4");
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "e", "zstd"), 0);
    policy_close(&policy);
    fd = openat(root, POLICY_FILE, O_RDONLY);
    assert_true(read(fd, buf, sizeof(buf) - 1) > 0);
    close(fd);
    assert_string_equal(
        buf, "# mine\nfuture\tlater\tdir\nnonsense\npipeline\tlz4\td\npipeline\tzstd\te\n");
    remove_root(path, root);
}

static void only_what_codes_chunks_without_loss_is_a_policy(void **state)
{
    (void)state;
    static const char *const good[] = {"lz4", "bitswap1->lz4", "shuffle->zstd", "bitshuffle"};
    static const struct {
        const char *text, *why;
        int r;
    } bad[] = {
        {"zcurve_reorder->lz4", "needs whole stacks", -EINVAL},
        {"diff3x3x1->bitswap1->lz4", "needs whole stacks", -EINVAL},
        {"quantiser->lz4", "loses something", -EINVAL},
        {"remove_background(threshold=3)->zstd", "loses something", -EINVAL},
        {"noise(q=1)->default", "user.sqyfs.archive", -EINVAL},
        {"bitswap2", "no stage", -EINVAL},
    };
    struct sqy_pipeline *pipeline = NULL;
    struct sqy_error error;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(policy_pipeline(good[i], &pipeline, &error), 0);
        sqy_pipeline_free(&pipeline);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(policy_pipeline(bad[i].text, &pipeline, &error), bad[i].r);
        assert_non_null(strstr(error.message, bad[i].why));
        assert_null(pipeline);
    }
}

static void kinds_of_policies_do_not_meet(void **state)
{
    (void)state;
    char path[] = "/tmp/sqyfs-policy-XXXXXX", *text = NULL;
    int root = make_root(path);
    struct policy *policy;
    assert_int_equal(policy_open(&io_system, root, &policy), 0);
    assert_false(policy_has(policy, POLICY_ARCHIVE));
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "a", "lz4"), 0);
    assert_int_equal(policy_set(policy, POLICY_ARCHIVE, "a", "context"), 0);
    assert_int_equal(policy_set(policy, POLICY_LOSSLESS, "a/b", "always"), 0);
    policy_close(&policy);
    assert_int_equal(policy_open(&io_system, root, &policy), 0);
    expect(policy, "a/x", true, "lz4");
    assert_int_equal(policy_get(policy, POLICY_ARCHIVE, "a/x", true, &text), 0);
    assert_string_equal(text, "context");
    free(text);
    assert_true(policy_has(policy, POLICY_ARCHIVE));
    assert_true(policy_forbids_loss(policy, "a/b/c/d"));
    assert_true(policy_forbids_loss(policy, "a/b"));
    assert_false(policy_forbids_loss(policy, "a"));
    assert_false(policy_forbids_loss(policy, "a/bc"));
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "a", NULL), 0);
    assert_int_equal(policy_get(policy, POLICY_ARCHIVE, "a", false, &text), 0);
    free(text);
    policy_close(&policy);
    remove_root(path, root);
}

static void what_an_archive_policy_says(void **state)
{
    (void)state;
    struct archive_policy archive;
    struct sqy_error error;
    assert_int_equal(archive_policy_parse("context", &archive, &error), 0);
    assert_false(archive.lossy || archive.hashed);
    archive_policy_clear(&archive);
    assert_int_equal(archive_policy_parse("  lz4  hashed=yes ", &archive, &error), 0);
    assert_true(archive.hashed);
    archive_policy_clear(&archive);
    static const char *const nothing[] = {"", "none", "  "};
    for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
        assert_int_equal(archive_policy_parse(nothing[i], &archive, &error), 0);
        assert_null(archive.pipeline);
    }
    assert_int_equal(archive_policy_parse("noise(q=1)->lz4 max_error=2.5", &archive, &error), 0);
    assert_true(archive.lossy && !archive.bound.sigma && archive.bound.most == 2.5);
    archive_policy_clear(&archive);
    assert_int_equal(archive_policy_parse("noise(q=1)->lz4 max_error=2sigma", &archive, &error), 0);
    assert_true(archive.bound.sigma && archive.bound.most == 2);
    archive_policy_clear(&archive);
    static const char *const bad[] = {"lz4 max_error=3",
                                      "noise(q=1)->lz4 max_error=",
                                      "noise(q=1)->lz4 max_error=-1",
                                      "noise(q=1)->lz4 max_error=nan",
                                      "noise(q=1)->lz4 max_error=3sigmas",
                                      "lz4 sometimes",
                                      "nonsense",
                                      "quantiser->lz4"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(archive_policy_parse(bad[i], &archive, &error), -EINVAL);
}

/* Memory and file say the same, whichever step of a change fails. */
static void a_change_that_fails_leaves_memory_and_file_agreeing(void **state)
{
    (void)state;
    static const struct {
        enum io_faulty_call call;
        unsigned nth;
        const char *then;
    } steps[] = {
        {IO_PWRITE, 1, "lz4"}, {IO_FSYNC, 1, "lz4"}, {IO_RENAME, 1, "lz4"}, {IO_FSYNC, 2, "zstd"}};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        char path[] = "/tmp/sqyfs-policy-XXXXXX";
        int root = make_root(path);
        struct io_faulty io;
        struct policy *policy, *reopened;
        io_faulty_init(&io);
        assert_int_equal(policy_open(&io.io, root, &policy), 0);
        assert_int_equal(policy_set(policy, POLICY_PIPELINE, "a", "lz4"), 0);
        io_faulty_fail(&io, steps[i].call, steps[i].nth, ENOSPC, false);
        assert_int_equal(policy_set(policy, POLICY_PIPELINE, "a", "zstd"), -ENOSPC);
        expect(policy, "a", false, steps[i].then);
        assert_int_equal(policy_open(&io_system, root, &reopened), 0);
        expect(reopened, "a", false, steps[i].then);
        policy_close(&reopened);
        assert_int_equal(policy_set(policy, POLICY_PIPELINE, "a", "bitswap1->lz4"), 0);
        expect(policy, "a", false, "bitswap1->lz4");
        policy_close(&policy);
        unlinkat(root, ".sqyfs/policy.new", 0);
        remove_root(path, root);
        io_faulty_clear(&io);
    }
}

static void put_file(int root, const char *text)
{
    int fd = openat(root, POLICY_FILE, O_RDWR | O_CREAT | O_TRUNC, 0644);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void what_is_written_by_hand_forbids_all_the_same(void **state)
{
    (void)state;
    char path[] = "/tmp/sqyfs-policy-XXXXXX";
    int root = make_root(path);
    struct policy *policy;
    put_file(root, "lossless\talways\ta/\nlossless\talways\t/b/c\nlossless\talways\t./d//e\r\n"
                   "lossless\tyes\tf\n");
    assert_int_equal(policy_open(&io_system, root, &policy), 0);
    static const char *const forbidden[] = {"a", "a/x", "b/c", "d/e/f", "f"};
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
        assert_true(policy_forbids_loss(policy, forbidden[i]));
    assert_false(policy_forbids_loss(policy, "b") || policy_forbids_loss(policy, ""));
    policy_close(&policy);
    static const char *const all[] = {"lossless\talways", "lossless\talways\t.\n",
                                      "lossless\talways\t/\r\n", "lossless\talways\r\n"};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        put_file(root, all[i]);
        assert_int_equal(policy_open(&io_system, root, &policy), 0);
        assert_true(policy_forbids_loss(policy, "x"));
        policy_close(&policy);
    }
    remove_root(path, root);
}

static void a_rename_that_cannot_be_saved_forbids_at_both_names(void **state)
{
    (void)state;
    char path[] = "/tmp/sqyfs-policy-XXXXXX";
    int root = make_root(path);
    struct io_faulty io;
    struct policy *policy, *reopened;
    io_faulty_init(&io);
    assert_int_equal(policy_open(&io.io, root, &policy), 0);
    assert_int_equal(policy_set(policy, POLICY_LOSSLESS, "a/b", "always"), 0);
    assert_int_equal(policy_set(policy, POLICY_PIPELINE, "a", "lz4"), 0);
    for (unsigned i = 0; i < 2; i++) {
        io_faulty_fail(&io, IO_PWRITE, 1, ENOSPC, false);
        assert_int_equal(policy_rename(policy, i == 0 ? "a" : "z", i == 0 ? "z" : "y", false),
                         -ENOSPC);
        assert_true(policy_forbids_loss(policy, "a/b"));
        assert_true(policy_forbids_loss(policy, "z/b"));
    }
    assert_true(policy_forbids_loss(policy, "y/b/c"));
    expect(policy, "y", false, "lz4");
    io_faulty_fail(&io, IO_RENAME, 1, ENOSPC, false);
    assert_int_equal(policy_save(policy), -ENOSPC);
    assert_true(policy_forbids_loss(policy, "a/b"));
    assert_int_equal(policy_save(policy), 0);
    assert_false(policy_forbids_loss(policy, "a/b") || policy_forbids_loss(policy, "z/b"));
    assert_int_equal(policy_open(&io_system, root, &reopened), 0);
    assert_true(policy_forbids_loss(reopened, "y/b"));
    assert_false(policy_forbids_loss(reopened, "a/b") || policy_forbids_loss(reopened, "z/b"));
    policy_close(&reopened);
    io_faulty_fail(&io, IO_PWRITE, 1, ENOSPC, false);
    assert_int_equal(policy_rename(policy, "y", "x", false), -ENOSPC);
    policy_close(&policy); /* the last chance */
    assert_int_equal(policy_open(&io_system, root, &reopened), 0);
    assert_true(policy_forbids_loss(reopened, "x/b"));
    policy_close(&reopened);
    io_faulty_clear(&io);
    unlinkat(root, ".sqyfs/policy.new", 0);
    remove_root(path, root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_directory_decides_and_survives_reopening),
        cmocka_unit_test(policies_follow_their_directories),
        cmocka_unit_test(lines_that_are_not_understood_are_kept),
        cmocka_unit_test(kinds_of_policies_do_not_meet),
        cmocka_unit_test(what_an_archive_policy_says),
        cmocka_unit_test(only_what_codes_chunks_without_loss_is_a_policy),
        cmocka_unit_test(what_is_written_by_hand_forbids_all_the_same),
        cmocka_unit_test(a_rename_that_cannot_be_saved_forbids_at_both_names),
        cmocka_unit_test(a_change_that_fails_leaves_memory_and_file_agreeing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
