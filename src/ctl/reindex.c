#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/quote.h"
#include "ctl/command.h"
#include "ctl/say.h"
#include "ctl/storedir.h"
#include "volume/scan.h"

struct reindex {
    struct index *fresh;
    unsigned long n_rows, n_damaged;
};

static int take_row(void *ctx, const struct index_row *row)
{
    struct reindex *reindex = ctx;
    char quoted[SAY_PATH_MAX];
    reindex->n_rows++;
    if (row->state[0] == 'd') {
        reindex->n_damaged++;
        say_failed("%s cannot be read: get it from a backup",
                   quote(row->path, quoted, sizeof(quoted)));
    }
    return index_put(reindex->fresh, row);
}

/* Rows are gathered aside, so that the index is replaced in one short transaction. */
static int gather(struct reindex *reindex, int store_fd)
{
    int r = index_open("", &reindex->fresh);
    return r < 0 ? r : scan_store(store_fd, take_row, reindex);
}

static int replace(struct reindex *reindex, const char *store)
{
    char *path;
    if (asprintf(&path, "%s/" STOREDIR_INDEX, store) < 0)
        return -ENOMEM;
    struct index *index;
    int r = index_open(path, &index);
    free(path);
    if (r < 0)
        return r;
    r = index_replace_all(index, reindex->fresh);
    index_close(&index);
    return r;
}

/* A copy of a store has no .sqyfs; what is no store shall not become one. */
static int make_state_dir(const struct reindex *reindex, int store_fd)
{
    struct stat st;
    if (fstatat(store_fd, STOREDIR_STATE, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    if (reindex->n_rows == 0 && !storedir_is_store(store_fd))
        return -ENOMEDIUM;
    return mkdirat(store_fd, STOREDIR_STATE, 0700) < 0 ? -errno : 0;
}

static int reindex_store(const char *store, int store_fd)
{
    struct reindex reindex = {0};
    int r = gather(&reindex, store_fd);
    if (r == 0)
        r = make_state_dir(&reindex, store_fd);
    if (r == 0)
        r = replace(&reindex, store);
    index_close(&reindex.fresh);
    if (r == -ENOMEDIUM)
        return storedir_say_none(store);
    if (r < 0)
        return say_error("index", store, r);
    printf("%lu stacks, %lu damaged\n", reindex.n_rows, reindex.n_damaged);
    return reindex.n_damaged > 0 ? EXIT_FAILED : EXIT_OK;
}

static int run(const struct command *command, int argc, char **argv)
{
    int code;
    if (!args_plain(command, argc, argv, 1, 1, NULL, &code))
        return code;
    const char *store = argv[optind];
    char quoted[SAY_PATH_MAX];
    int fd = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return say_error("read", store, -errno);
    code = storedir_is_in_mount(store)
               ? say_failed("%s lies in a mount: give the store that is mounted there",
                            quote(store, quoted, sizeof(quoted)))
               : reindex_store(store, fd);
    close(fd);
    return code;
}

const struct command reindex_command = {
    .name = "reindex",
    .arguments = "STORE",
    .summary = "Makes a store's index anew from its blobs, mounted or not.",
    .help =
        "The index is derived: losing it costs nothing but this. Blobs that cannot be opened are\n"
        "named and get a row of state damaged; the exit code is then 1.\n\n",
    .run = run,
};
