/* What the spool is told of a stack, so that it survives the daemon: see store/spool_log.h. A stack has a
 * log from its first change until a checkpoint has everything. The lock is held in all of these. */
#include "volume/core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

/* When the backing file was made; an inode number may be given again. */
static int64_t birth_time(int fd)
{
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) < 0 || !(st.stx_mask & STATX_BTIME))
        return 0;
    return st.stx_btime.tv_sec * 1000000000ll + st.stx_btime.tv_nsec;
}

int journal_file(int fd, struct spool_file *file)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *file = (struct spool_file){.ino = st.st_ino, .btime = birth_time(fd)};
    return 0;
}

/* Its last checkpoint still has what lies behind the size: were the file made longer, a replay would bring
 * that back. false: there is no room. */
static bool forget_trimmed(struct stack *stack)
{
    struct blob_stats stats;
    if (stack->kind != STACK_BLOB || stack->blob == NULL)
        return true;
    blob_stats(stack->blob->blob, &stats);
    return !stats.trimmed ||
           spool_log_punch(stack->volume->spool, stack->log, blob_id(stack->blob->blob),
                           stack->size, UINT64_MAX - stack->size) == 0;
}

int journal_open(struct stack *stack)
{
    char path[PATH_MAX];
    struct spool_file file;
    struct volume *volume = stack->volume;
    if (stack->log != NULL || volume->config.read_only)
        return 0;
    int r = journal_file(stack->fd, &file);
    if (r < 0)
        return r;
    if (tree_path(volume->tree, stack->fd, path, sizeof(path)) == 0)
        file.path = path;
    stack->log = spool_log_open(volume->spool, &file);
    if (stack->log == NULL)
        return -EAGAIN;
    stack->overlay.owner = spool_log_number(volume->spool, stack->log);
    if (stack->nameless)
        spool_log_gone(stack->log);
    if (forget_trimmed(stack))
        return 0;
    journal_close(stack);
    return -EAGAIN;
}

int journal_reserve(struct stack *stack)
{
    int r = journal_open(stack);
    if (r < 0 || stack->log == NULL || stack->kind != STACK_BLOB || stack->blob == NULL)
        return r;
    bool room = spool_log_reserve(stack->volume->spool, stack->log, blob_id(stack->blob->blob));
    return room ? 0 : -EAGAIN;
}

int journal_wait(struct stack *stack)
{
    pthread_mutex_unlock(&stack->lock);
    int r = flush_make_log_room(stack);
    pthread_mutex_lock(&stack->lock);
    return r;
}

void journal_close(struct stack *stack)
{
    if (stack->log != NULL && stack->overlay.bytes == 0)
        spool_log_close(stack->volume->spool, &stack->log);
}

void journal_close_unused(struct stack *stack)
{
    if (!stack->modified && !stack->syncing)
        journal_close(stack);
}

void journal_size(struct stack *stack, uint64_t size)
{
    if (stack->log != NULL)
        spool_log_size(stack->log, size);
}

void journal_mtime(struct stack *stack)
{
    if (stack->log != NULL)
        spool_log_mtime(stack->log, &stack->mtime);
}

bool journal_commit(struct stack *stack, struct blob *blob, const struct blob_chunk *chunk,
                    const struct blob_claim *claims, unsigned n_claims)
{
    return stack->log == NULL ||
           spool_log_commit(stack->volume->spool, stack->log, blob_id(blob), chunk,
                            blob_pipeline_text(blob, chunk->pipeline), claims, n_claims) == 0;
}

void journal_punch(struct stack *stack, uint64_t off, uint64_t end)
{
    if (stack->log != NULL && stack->kind == STACK_BLOB && stack->blob != NULL)
        spool_log_punch(stack->volume->spool, stack->log, blob_id(stack->blob->blob), off,
                        end - off);
}

uint64_t journal_mark(const struct stack *stack)
{
    return stack->log != NULL ? spool_log_mark(stack->volume->spool, stack->log) : 0;
}

void journal_forget(struct stack *stack, uint64_t mark)
{
    if (stack->log != NULL)
        spool_log_forget(stack->volume->spool, stack->log, mark);
}

void journal_forget_all(struct stack *stack)
{
    if (stack->log != NULL)
        spool_log_forget_all(stack->volume->spool, stack->log);
}
