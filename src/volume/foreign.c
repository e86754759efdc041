#include "volume/foreign.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "volume/scan.h"

int foreign_open(const struct stack *stack, struct scratch **out)
{
    int fd = stack_open_backing(stack, false);
    if (fd < 0)
        return fd;
    int r = scratch_get(stack->volume->scratches, fd, out);
    if (r < 0)
        close(fd);
    return r;
}

int foreign_became(struct stack *stack, struct scratch *scratch)
{
    struct stat st;
    if (stack->modified || stack->overlay.bytes > 0 || fstat(stack->fd, &st) < 0) {
        /* written to by us, and overwritten by somebody in the store: neither is the other's */
        scratch_put(stack->volume->scratches, &scratch);
        volume_note_damaged(stack, 0, "was overwritten in the store while it was being written");
        return -EIO;
    }
    blobref_put(stack->volume, &stack->blob);
    foreign_unload(stack);
    stack->kind = STACK_FOREIGN;
    stack->scratch = scratch;
    stack->size = scratch_plan(scratch)->size;
    if (foreign_is_moved(stack, &st))
        stack->damaged = false;
    stack_attr_set(&stack->loaded, &st);
    return 0;
}

/* Not by ctime: another name, owner or mode changes no byte. */
bool foreign_is_moved(const struct stack *stack, const struct stat *st)
{
    const struct stack_attr *seen = &stack->loaded;
    return seen->stored_bytes != (uint64_t)st->st_size ||
           seen->stored_mtime.tv_sec != st->st_mtim.tv_sec ||
           seen->stored_mtime.tv_nsec != st->st_mtim.tv_nsec;
}

void foreign_unload(struct stack *stack)
{
    scratch_put(stack->volume->scratches, &stack->scratch);
}

int foreign_attr(const struct stack *stack, const struct stat *st, struct stack_attr *attr)
{
    char path[PATH_MAX];
    struct scan_row row;
    int r = tree_path(stack->volume->tree, stack->fd, path, sizeof(path));
    bool named = r == 0;
    int fd = stack_open_backing(stack, false);
    if (fd < 0)
        return fd;
    r = scan_row_file(stack->volume->io, fd, st, named ? path : "", &row);
    close(fd);
    if (r < 0)
        return r;
    if (strcmp(row.row.state, "stored") != 0)
        return -EBADMSG;
    attr->size = row.row.plain_bytes;
    attr->mtime = st->st_mtim;
    if (named && index_put(stack->volume->index, &row.row) < 0)
        log_debug("%s: cannot enter it into the index", path);
    return 0;
}

static const char *reason(int r)
{
    switch (-r) {
    case ENOTSUP:
        return "is sqeazy's, with a pipeline or a shape that is not decoded here";
    case EFBIG:
        return "is sqeazy's, and decoding it needs more memory than is left to it here: use sqyctl "
               "decode on a larger machine";
    case ENOSPC:
        return "is sqeazy's, and there is no room for what it decodes to: make some on the disk of "
               "the store, or use sqyctl decode";
    default:
        return "is sqeazy's, and could not be decoded";
    }
}

/* One line for each time that it is tried: who comes later gets -EIO at once. */
static int report(struct stack *stack, int r, uint64_t off)
{
    char path[PATH_MAX] = "(a file without a name)";
    if (r == -EBADMSG) {
        volume_note_damaged(stack, off, "is sqeazy's and damaged: it does not decode");
    } else if (r != -EIO) {
        tree_path(stack->volume->tree, stack->fd, path, sizeof(path));
        log_error("%s: %s (%s)", path, reason(r), strerror(-r));
    }
    return -EIO;
}

ssize_t foreign_read(struct stack *stack, void *buf, size_t len, uint64_t off, bool wait)
{
    struct scratch_pool *pool = stack->volume->scratches;
    if (stack->scratch == NULL) {
        int r = wait ? stack_load(stack, false) : -EAGAIN;
        if (r < 0)
            return r;
    }
    if (stack->scratch == NULL)
        return -ESTALE; /* another file has taken its place */
    struct scratch *scratch = scratch_hold(pool, stack->scratch);
    pthread_mutex_unlock(&stack->lock);
    ssize_t r = scratch_read(pool, scratch, buf, len, off, wait);
    pthread_mutex_lock(&stack->lock);
    if (r < 0 && r != -EAGAIN)
        r = report(stack, (int)r, off);
    scratch_put(pool, &scratch);
    return r;
}

bool stack_is_slow(struct stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    bool slow =
        stack->kind == STACK_FOREIGN &&
        (stack->scratch == NULL || !scratch_is_ready(stack->volume->scratches, stack->scratch));
    pthread_mutex_unlock(&stack->lock);
    return slow;
}
