#include <errno.h>
#include <linux/limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/quote.h"
#include "ctl/command.h"
#include "ctl/mounted.h"
#include "ctl/out.h"
#include "ctl/progress.h"
#include "ctl/say.h"
#include "ctl/source.h"
#include "ctl/storedir.h"
#include "ctl/sweep.h"
#include "volume/pack.h"
#include "volume/volume.h"

/* ---- the old blob as a source of plain bytes, for several threads ---- */

struct idle {
    struct idle *next;
    struct pack_reader *reader;
};

struct compact {
    struct source source;
    struct blob_state state;
    struct out out;
    struct progress progress;
    pthread_mutex_t lock; /* guards idle; a leaf */
    struct idle *idle;
};

static int take_reader(struct compact *compact, struct idle **out)
{
    pthread_mutex_lock(&compact->lock);
    struct idle *idle = compact->idle;
    if (idle != NULL)
        compact->idle = idle->next;
    pthread_mutex_unlock(&compact->lock);
    *out = idle;
    if (idle != NULL)
        return 0;
    idle = calloc(1, sizeof(*idle));
    if (idle == NULL)
        return -ENOMEM;
    int r = pack_reader_create(compact->source.blob, &idle->reader);
    if (r < 0) {
        free(idle);
        return r;
    }
    *out = idle;
    return 0;
}

static void give_reader(struct compact *compact, struct idle *idle)
{
    pthread_mutex_lock(&compact->lock);
    idle->next = compact->idle;
    compact->idle = idle;
    pthread_mutex_unlock(&compact->lock);
}

static int read_plain(void *ctx, void *buf, size_t len, uint64_t off)
{
    struct compact *compact = ctx;
    struct idle *idle;
    if (out_interrupted(&compact->out))
        return -ECANCELED;
    int r = take_reader(compact, &idle);
    if (r < 0)
        return r;
    r = pack_reader_read(idle->reader, buf, len, off, NULL);
    give_reader(compact, idle);
    return r;
}

static void free_readers(struct compact *compact)
{
    while (compact->idle != NULL) {
        struct idle *idle = compact->idle;
        compact->idle = idle->next;
        pack_reader_destroy(&idle->reader);
        free(idle);
    }
}

/* ---- rewriting ---- */

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    progress_update(&((struct compact *)ctx)->progress, done, total);
}

static int encode(struct compact *compact)
{
    int lossy = pack_is_lossy(compact->source.blob);
    if (lossy != 0) /* what has lost something is not encoded again */
        return lossy > 0 ? -ENOTSUP : lossy;
    struct blob_header header;
    blob_header(compact->source.blob, &header);
    struct sqy_pipeline *pipeline = NULL;
    int r = sqy_pipeline_parse(header.pipename, &pipeline, NULL);
    if (r < 0)
        return r == -EINVAL ? -ENOTSUP : r;
    char any[] = "*";
    struct raw_policy raw = {.glob = any};
    struct pack_source source = {
        .read = read_plain,
        .ctx = compact,
        .size = compact->state.size,
        .mtime = compact->state.mtime,
        .name = "volume",
    };
    struct pack_options options = {
        .pipeline = pipeline,
        .raw = &raw,
        .n_raw = pack_meta_raw(compact->state.meta, &source, &raw) ? 1 : 0,
        .progress = show_progress,
        .progress_ctx = compact,
    };
    progress_start(&compact->progress, "compacting");
    r = pack_encode(&source, &options, compact->out.fd);
    progress_end(&compact->progress);
    sqy_pipeline_free(&pipeline);
    return r;
}

static int check_piece(void *ctx, const struct sweep_piece *piece)
{
    struct compact *compact = ctx;
    progress_update(&compact->progress, piece->off + piece->len, compact->state.size);
    return piece->n_bad > 0 ? -EIO : 0;
}

/* The old blob goes for good: the new one is read back first. */
static int check_result(struct compact *compact)
{
    struct source result;
    struct blob_state state;
    int fd = dup(compact->out.fd);
    if (fd < 0)
        return -errno;
    int r = source_open_fd(fd, &result);
    if (r < 0) {
        close(fd);
        return r == -EBADMSG ? -EIO : r;
    }
    progress_start(&compact->progress, "verifying");
    r = result.blob != NULL ? 0 : -EIO;
    if (r == 0) {
        blob_state(result.blob, &state);
        r = state.size == compact->state.size ? sweep_blob(result.blob, 0, check_piece, compact)
                                              : -EIO;
    }
    progress_end(&compact->progress);
    source_close(&result);
    return r;
}

static int copy_xattr(int from, int to, const char *name, void *value, size_t cap)
{
    ssize_t n = fgetxattr(from, name, value, cap);
    if (n < 0)
        return errno == ENODATA ? 0 : -errno;
    return fsetxattr(to, name, value, (size_t)n, 0) < 0 ? -errno : 0;
}

/* What this user or filesystem cannot set of security labels it could not have kept up either; all
 * else, ACLs among it, must arrive. */
static int copy_xattrs(int from, int to)
{
    char *names = malloc(XATTR_LIST_MAX), *value = malloc(XATTR_SIZE_MAX);
    ssize_t len = 0;
    int r = names == NULL || value == NULL ? -ENOMEM : 0;
    if (r == 0)
        len = flistxattr(from, names, XATTR_LIST_MAX);
    if (len < 0)
        r = errno == ENOTSUP ? 0 : -errno;
    for (ssize_t at = 0; at < len && r == 0; at += (ssize_t)strlen(names + at) + 1) {
        r = copy_xattr(from, to, names + at, value, XATTR_SIZE_MAX);
        if (strncmp(names + at, "security.", 9) == 0 || strncmp(names + at, "trusted.", 8) == 0)
            r = 0;
    }
    free(names);
    free(value);
    return r;
}

static int rewrite(struct compact *compact, const char *path)
{
    const struct stat *old = &compact->source.st;
    int r = out_open(path, old, &compact->out);
    if (r < 0)
        return r;
    r = encode(compact);
    if (r == 0)
        r = check_result(compact);
    if (r == 0 && fchown(compact->out.fd, old->st_uid, old->st_gid) < 0)
        r = -errno; /* never hand a file over to whoever compacts it */
    if (r == 0)
        r = copy_xattrs(compact->source.fd, compact->out.fd);
    if (r == 0)
        r = out_commit(&compact->out, &old->st_mtim);
    out_close(&compact->out);
    return r;
}

static int say_lossy(const char *path)
{
    char quoted[SAY_PATH_MAX];
    return say_failed("%s has been archived with loss, or by a newer version: it stays as it is",
                      quote(path, quoted, sizeof(quoted)));
}

static int compact_blob(const char *path)
{
    char quoted[SAY_PATH_MAX];
    struct compact compact = {.out = {.fd = -1, .dir_fd = -1}};
    int r = source_open(path, &compact.source);
    if (r < 0)
        return say_error("compact", path, r);
    quote(path, quoted, sizeof(quoted));
    int code = EXIT_FAILED;
    if (compact.source.empty) {
        code = EXIT_OK;
    } else if (compact.source.blob == NULL) {
        say_failed("%s is sqeazy's own and cannot be compacted: encode what it decodes to", quoted);
    } else if (compact.source.end == SOURCE_CUT) {
        say_error("compact", path, -EBADMSG);
    } else if (compact.source.st.st_nlink > 1) {
        say_failed("%s has other names (hard links): remove them first", quoted);
    } else {
        pthread_mutex_init(&compact.lock, NULL);
        blob_state(compact.source.blob, &compact.state);
        r = rewrite(&compact, path);
        free_readers(&compact);
        pthread_mutex_destroy(&compact.lock);
        code = r == -ENOTSUP ? say_lossy(path) : r < 0 ? say_error("compact", path, r) : EXIT_OK;
    }
    source_close(&compact.source);
    return code;
}

/* Outside a mount: nobody may mount the store for writing until it is done. */
static int compact_in_store(const char *path)
{
    char quoted[SAY_PATH_MAX];
    int store_fd = storedir_find(path);
    int lock_fd = store_fd >= 0 ? storedir_lock(store_fd) : -ENOENT;
    bool left = store_fd >= 0 && lock_fd >= 0 && volume_is_left(store_fd);
    if (store_fd >= 0)
        close(store_fd);
    if (lock_fd == -EBUSY)
        return say_failed("the store of %s is mounted, or its last mount still stores: give the "
                          "file in the mount instead",
                          quote(path, quoted, sizeof(quoted)));
    if (lock_fd < 0 && lock_fd != -ENOENT)
        return say_error("lock the store of", path, lock_fd);
    int code = left
                   ? say_failed("the mount of %s was killed before it had stored everything: mount "
                                "the store first, which does that",
                                quote(path, quoted, sizeof(quoted)))
                   : compact_blob(path);
    if (lock_fd >= 0)
        close(lock_fd);
    return code;
}

static int run(const struct command *command, int argc, char **argv)
{
    int code;
    if (!args_plain(command, argc, argv, 1, 1, NULL, &code))
        return code;
    const char *path = argv[optind];
    char quoted[SAY_PATH_MAX];
    struct stat st;
    if (stat(path, &st) < 0)
        return say_error("compact", path, -errno);
    if (!S_ISREG(st.st_mode))
        return say_failed("%s is not a regular file: give a blob, or a file in a mount",
                          quote(path, quoted, sizeof(quoted)));
    if (!mounted_is_file(path))
        return compact_in_store(path);
    int r = mounted_command(path, "compact");
    if (r == -EBUSY)
        return say_failed("%s is open for writing or has other names: try again when it is closed",
                          quote(path, quoted, sizeof(quoted)));
    if (r == -EINVAL)
        return say_failed("%s is stored as it is: only stacks can be compacted",
                          quote(path, quoted, sizeof(quoted)));
    if (r == -ENOTSUP)
        return say_lossy(path);
    return r < 0 ? say_error("compact", path, r) : EXIT_OK;
}

const struct command compact_command = {
    .name = "compact",
    .arguments = "FILE",
    .summary = "Rewrites a blob in its canonical form: in order, without dead bytes.",
    .help =
        "FILE is a file in a mount, or a blob in a store that is not mounted. Permissions, owner,\n"
        "attributes and times stay.\n\n",
    .run = run,
};
