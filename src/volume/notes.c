/* What index, policies and log learn of a stack: rows, renames, damage; and the thread that refills
 * the index from the store. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "store/names.h"
#include "volume/scan.h"

static int put_row(struct volume *volume, const struct scan_row *row)
{
    int r = index_put_shared(volume->index, &row->row);
    if (r >= 0 && row->row.again_bytes + row->row.dead_bytes > 0)
        atomic_store(&volume->reencode_due, true);
    if (r >= 0 && policy_has(volume->policy, POLICY_ARCHIVE))
        atomic_store(&volume->archive_due, true);
    return r;
}

void volume_note_stored(struct stack *stack, struct blobref *ref, const struct stat *before)
{
    struct volume *volume = stack->volume;
    char path[PATH_MAX];
    struct stat st;
    struct scan_row row;
    if (fstat(blob_fd(ref->blob), &st) < 0 || st.st_nlink == 0 ||
        (before != NULL && st.st_ino != before->st_ino) ||
        tree_path(volume->tree, stack->fd, path, sizeof(path)) < 0)
        return;
    int r = scan_row(ref->blob, before != NULL ? before : &st, path, &row);
    if (r >= 0)
        r = put_row(volume, &row);
    if (r < 0)
        log_warn("%s: cannot enter it into the index: %s", path, strerror(-r));
}

void volume_note_damaged(struct stack *stack, uint64_t off, const char *what)
{
    char path[PATH_MAX] = "(a file without a name)";
    tree_path(stack->volume->tree, stack->fd, path, sizeof(path));
    log_error("%s: %s (byte %llu)", path, what, (unsigned long long)off);
    atomic_fetch_add(&stack->volume->counters.checksum_errors, 1);
    stack->damaged = true;
}

struct refill {
    struct volume *volume;
    uint64_t n_current; /* files that have their row */
    uint64_t n_put;
    char **gone;
    size_t n_gone;
};

static bool is_closing(struct volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    bool closing = volume->closing;
    pthread_mutex_unlock(&volume->lock);
    return closing;
}

/* A writer was killed, or a copy cut short: what follows the last checkpoint is of no use. Opening
 * the blob for writing takes it off. Done through the stack: the tail of one that is being written
 * is not torn, it just has no checkpoint yet. */
static void drop_torn_tail(struct volume *volume, const struct scan_file *file)
{
    struct stack *stack;
    int fd = openat(file->dir_fd, file->stored, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    if (stack_get(volume, fd, file->blob, &stack) < 0) {
        close(fd);
        return;
    }
    pthread_mutex_lock(&stack->lock);
    struct blob_stats stats = {.torn = false};
    if (stack->kind == STACK_BLOB && stack->blob == NULL && !stack->modified &&
        stack_load(stack, false) >= 0 && stack->blob != NULL && !stack->blob->writable)
        blob_stats(stack->blob->blob, &stats);
    bool cut = stats.torn &&
               scan_is_cut(volume->io, blob_fd(stack->blob->blob), stack->blob->blob, NULL) > 0;
    if (cut) {
        log_error(
            "%s: its end is missing; restore it from a backup, or see what is left with sqyctl "
            "decode --salvage",
            file->path);
    } else if (stats.torn && !volume->config.read_only) {
        log_info("%s: was cut short; it ends at its last checkpoint", file->path);
        if (stack_load(stack, true) >= 0)
            stack_mark_dirty(stack); /* so that the visible time is put back */
    }
    stack_unload_if_idle(stack);
    pthread_mutex_unlock(&stack->lock);
    stack_put(&stack);
}

static int refill_file(void *ctx, const struct scan_file *file)
{
    struct refill *refill = ctx;
    struct volume *volume = refill->volume;
    if (is_closing(volume))
        return 1;
    if (!file->blob)
        return 0;
    if (index_has(volume->index, &file->st, file->path) == 1) {
        refill->n_current++;
        return 0;
    }
    struct scan_row row;
    int fd = openat(file->dir_fd, file->stored, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && scan_row_file(volume->io, fd, &file->st, file->path, &row) >= 0) {
        refill->n_put++;
        refill->n_current += put_row(volume, &row) == 0;
    }
    if (fd >= 0)
        close(fd);
    drop_torn_tail(volume, file);
    return 0;
}

/* Goes down a visible path; directories may have other names in the store, too. The caller closes
 * out->fd. */
static int look_up(struct tree *tree, const char *path, struct tree_entry *out)
{
    char *copy = strdup(path), *rest = copy, *part;
    int r = copy != NULL ? -ENOENT : -ENOMEM, dir_fd = tree_root(tree);
    while ((part = strsep(&rest, "/")) != NULL) {
        r = tree_lookup(tree, dir_fd, part, out);
        if (dir_fd != tree_root(tree))
            close(dir_fd);
        if (r < 0)
            break;
        dir_fd = out->fd;
    }
    free(copy);
    return r;
}

/* Whether a blob of this visible path lies there, or a file of sqeazy's own. */
static bool is_stored(struct volume *volume, const char *path)
{
    struct tree_entry entry;
    int r = look_up(volume->tree, path, &entry);
    if (r == 0)
        close(entry.fd);
    return r == 0 ? entry.blob : r != -ENOENT && r != -ENOTDIR;
}

static int refill_gone(void *ctx, const struct index_row *row)
{
    struct refill *refill = ctx;
    if (is_stored(refill->volume, row->path))
        return 0;
    char **grown = realloc(refill->gone, (refill->n_gone + 1) * sizeof(*grown));
    if (grown == NULL)
        return 1;
    refill->gone = grown;
    grown[refill->n_gone] = strdup(row->path);
    refill->n_gone += grown[refill->n_gone] != NULL;
    return 0;
}

/* Every row has been met with its file, and nobody else has changed any since. */
static bool is_complete(const struct refill *refill, uint64_t changes)
{
    struct index *index = refill->volume->index;
    uint64_t n_rows;
    return index_count(index, &n_rows) == 0 && n_rows == refill->n_current &&
           index_changes(index) == changes + refill->n_put;
}

/* Brings the index up to a store that was changed, or whose index was deleted, while not mounted.
 */
void *notes_refill_thread(void *arg)
{
    struct refill refill = {.volume = arg};
    pthread_setname_np(pthread_self(), "sqyfs-refill");
    int root = openat(tree_root(refill.volume->tree), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return NULL;
    uint64_t changes = index_changes(refill.volume->index);
    if (scan_walk(root, true, refill_file, &refill, NULL) == 0 && !is_complete(&refill, changes))
        index_each(refill.volume->index, refill_gone, &refill);
    for (size_t i = 0; i < refill.n_gone; i++) {
        index_remove(refill.volume->index, refill.gone[i]);
        free(refill.gone[i]);
    }
    free(refill.gone);
    close(root);
    return NULL;
}

/* A plain file that now has a stack's name or always had a TIFF's content is converted when idle.
 */
static bool should_convert(struct volume *volume, const char *name, int fd)
{
    static const char magics[][4] = {
        {'I', 'I', 42, 0}, {'M', 'M', 0, 42}, {'I', 'I', 43, 0}, {'M', 'M', 0, 43}};
    char first[4] = {0}, link[64];
    for (unsigned i = 0; i < volume->config.n_raw; i++)
        if (raw_policy_matches(&volume->config.raw[i], name))
            return true;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    int data = open(link, O_RDONLY | O_CLOEXEC);
    ssize_t n = data >= 0 ? pread(data, first, sizeof(first), 0) : -1;
    if (data >= 0)
        close(data);
    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
        if (n == sizeof(first) && memcmp(first, magics[i], sizeof(first)) == 0)
            return true;
    return false;
}

int notes_find_stack(struct volume *volume, const char *path, struct stack **out)
{
    struct tree_entry entry;
    int r = look_up(volume->tree, path, &entry);
    if (r < 0)
        return r;
    r = S_ISREG(entry.st.st_mode) ? stack_get(volume, entry.fd, entry.blob, out) : -ESTALE;
    if (r < 0)
        close(entry.fd);
    return r;
}

static void consider_conversion(struct volume *volume, const char *path)
{
    struct tree_entry entry;
    if (look_up(volume->tree, path, &entry) < 0)
        return;
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    struct stack *stack = NULL;
    if (entry.blob || !S_ISREG(entry.st.st_mode) || names_has_suffix(name) ||
        !names_fits_blob(name) || !should_convert(volume, name, entry.fd) ||
        stack_get(volume, entry.fd, false, &stack) < 0) {
        close(entry.fd);
        return;
    }
    pthread_mutex_lock(&stack->lock);
    if (stack->kind == STACK_PLAIN) {
        stack->convert_due = true;
        if (stack->readers + stack->writers == 0)
            flush_tend_async(stack);
    }
    pthread_mutex_unlock(&stack->lock);
    stack_put(&stack);
}

static void note_failed(const char *path, const char *what, int r)
{
    if (r < 0)
        log_warn("%s: %s does not know of its new name: %s", path, what, strerror(-r));
}

void volume_note_rename(struct volume *volume, const char *from, const char *to)
{
    /* First what forbids, then the rows by which files are found that it may be done to. */
    note_failed(to, POLICY_FILE, policy_rename(volume->policy, from, to, false));
    note_failed(to, "the index", index_rename(volume->index, from, to));
    atomic_store(&volume->archive_due, true);
    if (!volume->config.read_only)
        consider_conversion(volume, to);
}

void volume_note_exchange(struct volume *volume, const char *a, const char *b)
{
    note_failed(a, POLICY_FILE, policy_rename(volume->policy, a, b, true));
    note_failed(a, "the index", index_exchange(volume->index, a, b));
    atomic_store(&volume->archive_due, true);
}

void volume_note_unlink(struct volume *volume, const char *path)
{
    note_failed(path, "the index", index_remove(volume->index, path));
    note_failed(path, POLICY_FILE, policy_remove(volume->policy, path));
}
