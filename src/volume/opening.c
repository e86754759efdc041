/* Opening a store: is this configuration one, is that directory a store, may we have it; and what
 * lies in it that a mount needs. */
#include "volume/core.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "volume/lock.h"
#include "volume/scan.h"

#define STATE_DIR ".sqyfs"
#define CHUNK_MIN (64u << 10)
#define CHUNK_MAX (64u << 20)
#define SPOOL_MIN (16u << 20)

int opening_fail(const struct opening *opening, int r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(opening->why, opening->why_len, fmt, ap);
    va_end(ap);
    return r;
}

int opening_check_config(const struct opening *opening)
{
    struct volume_config *config = &opening->volume->config;
    if (config->pipeline == NULL)
        config->pipeline = VOLUME_DEFAULT_PIPELINE;
    if (config->chunk == 0)
        config->chunk = VOLUME_DEFAULT_CHUNK;
    if (config->cache == 0)
        config->cache = VOLUME_DEFAULT_CACHE;
    if (config->spool == 0)
        config->spool = VOLUME_DEFAULT_SPOOL;
    if (config->threads == 0)
        config->threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (config->chunk < CHUNK_MIN || config->chunk > CHUNK_MAX)
        return opening_fail(opening, -EINVAL, "chunk= must lie between 64K and 64M");
    if (config->spool < SPOOL_MIN)
        return opening_fail(opening, -EINVAL, "spool= must be at least 16M");
    if (config->threads > 1024)
        return opening_fail(opening, -EINVAL, "threads= must be at most 1024");
    struct sqy_pipeline *pipeline;
    struct sqy_error error;
    int r = policy_pipeline(config->pipeline, &pipeline, &error);
    if (r < 0)
        return opening_fail(opening, r, "pipeline=%s: at byte %zu: %s", config->pipeline,
                            error.position, error.message);
    sqy_pipeline_free(&pipeline);
    return 0;
}

static int is_empty_dir(int root)
{
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int r = -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    int empty = 1;
    for (struct dirent *entry; empty && (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, "lost+found") != 0)
            empty = 0;
    closedir(dir);
    return empty;
}

static int found_blob(void *ctx, const struct scan_file *file)
{
    (void)ctx;
    struct blob *blob;
    if (!file->blob || strchr(file->path, '/') != NULL) /* not in some project below */
        return 0;
    int fd = openat(file->dir_fd, file->stored, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    if (blob_open(&io_system, fd, false, &blob) < 0) {
        close(fd);
        return 0;
    }
    blob_close(&blob);
    return 1;
}

/* A store is known by its own folder, or, where a backup left that out, by its policy file or a
 * blob. */
static bool is_store(int root)
{
    return faccessat(root, STATE_DIR, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
           faccessat(root, POLICY_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
           scan_walk(root, true, found_blob, NULL, NULL) == 1;
}

static int write_policy_file(int root)
{
    static const char text[] =
        "# sqyfs: which pipeline new stacks get, by directory, and what closed "
        "ones become.\n"
        "# pipeline<TAB>TEXT<TAB>DIRECTORY\n"
        "# archive<TAB>TEXT<TAB>DIRECTORY\n"
        "# lossless<TAB>always<TAB>DIRECTORY\n";
    int fd = openat(root, POLICY_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno == EEXIST ? 0 : -errno;
    int r = io_pwrite_full(&io_system, fd, text, sizeof(text) - 1, 0);
    close(fd);
    return r;
}

static int open_root(const struct opening *opening, int *root)
{
    const char *store = opening->volume->config.store;
    *root = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*root < 0 && errno == ENOENT)
        return opening_fail(opening, -ENOENT,
                            "%s: no such directory; make it first (an empty one becomes a "
                            "new store)",
                            store);
    if (*root < 0)
        return opening_fail(opening, -errno, "%s: %s", store, strerror(errno));
    int empty = is_empty_dir(*root);
    if (empty < 0)
        return opening_fail(opening, empty, "%s: %s", store, strerror(-empty));
    if (!empty && !is_store(*root))
        return opening_fail(
            opening, -ENOTEMPTY,
            "%s: is not empty and is no store; give an empty directory, or put an empty file "
            "named " POLICY_FILE " into it to make it one",
            store);
    return 0;
}

static void remove_temporaries(int state_fd)
{
    int fd = openat(state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (strncmp(entry->d_name, "rewrite-", 8) == 0)
            unlinkat(state_fd, entry->d_name, 0);
    closedir(dir);
}

static int fail_locked(const struct opening *opening)
{
    const char *store = opening->volume->config.store;
    pid_t holder = lock_holder(opening->volume->state_fd);
    if (holder > 0)
        return opening_fail(
            opening, -EBUSY,
            "%s: is mounted already, by process %ld; unmount it there, or mount it here "
            "with -o ro",
            store, (long)holder);
    return opening_fail(
        opening, -EBUSY,
        "%s: is locked, by a mount that is not to be seen from here or by sqyctl compact; "
        "end that, or mount it here with -o ro",
        store);
}

static int lock_store(const struct opening *opening, int root)
{
    struct volume *volume = opening->volume;
    const char *store = volume->config.store;
    if (mkdirat(root, STATE_DIR, 0700) < 0 && errno != EEXIST)
        return opening_fail(opening, -errno, "%s: cannot write there (%s); mount it with -o ro",
                            store, strerror(errno));
    volume->state_fd = openat(root, STATE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r = volume->state_fd < 0 ? -errno : lock_take(volume->state_fd, &volume->lock_fd);
    if (r == -EBUSY)
        return fail_locked(opening);
    if (r < 0)
        return opening_fail(opening, r, "%s/" STATE_DIR "/lock: cannot be locked: %s", store,
                            strerror(-r));
    remove_temporaries(volume->state_fd);
    r = write_policy_file(root);
    if (r < 0)
        return opening_fail(opening, r, "%s/" POLICY_FILE ": %s", store, strerror(-r));
    return 0;
}

static int open_index(const struct opening *opening)
{
    struct volume *volume = opening->volume;
    const struct volume_config *config = &volume->config;
    char path[PATH_MAX];
    bool on_disk = config->statedir != NULL || !config->read_only;
    if (config->statedir != NULL)
        snprintf(path, sizeof(path), "%s/index.db", config->statedir);
    else
        snprintf(path, sizeof(path), "%s/" STATE_DIR "/index.db", config->store);
    int r = index_open(on_disk ? path : NULL, &volume->index);
    if (config->statedir != NULL && (r == -ENOENT || r == -ENOTDIR))
        return opening_fail(opening, r, "statedir=%s: no such directory; make it first",
                            config->statedir);
    if (r < 0)
        return opening_fail(opening, r, "%s: cannot open the index: %s", path, strerror(-r));
    return 0;
}

/* The header says it, too, but lies on the disk. */
static bool is_ours(void *ctx, const struct stat *backing)
{
    struct index_attr attr;
    return index_attr_near(ctx, backing, &attr) == 0 && attr.ours;
}

int opening_store(const struct opening *opening)
{
    struct volume *volume = opening->volume;
    int root = -1;
    int r = open_root(opening, &root);
    if (r >= 0 && !volume->config.read_only)
        r = lock_store(opening, root);
    if (r >= 0) {
        r = tree_create(volume->io, root, &volume->tree);
        if (r >= 0)
            root = -1;
    }
    if (root >= 0)
        close(root);
    if (r < 0)
        return r;
    r = policy_open(volume->io, tree_root(volume->tree), &volume->policy);
    if (r < 0)
        return opening_fail(opening, r, "%s/" POLICY_FILE ": %s", volume->config.store,
                            strerror(-r));
    r = open_index(opening);
    if (r >= 0)
        tree_ask_of_origin(volume->tree, is_ours, volume->index);
    return r;
}
