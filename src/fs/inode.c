#include "fs/inode.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUCKETS 8192u /* a few entries each at the limit of descriptors */

struct inode_table {
    pthread_mutex_t lock; /* guards all below; before the watcher's lock only: stacks are
                             put after it is released */
    struct inode root;
    struct inode *buckets[BUCKETS];
    struct inode *oldest, *newest; /* all but the root */
    size_t n_inodes;
    uint64_t generations;
    int limit;
    enum inode_supply supply;
    void (*watcher)(void *ctx);
    void *watcher_ctx;
};

int inode_table_create(int root_fd, struct inode_table **out)
{
    struct inode_table *table = calloc(1, sizeof(*table));
    if (table == NULL)
        return -ENOMEM;
    pthread_mutex_init(&table->lock, NULL);
    table->root.type = S_IFDIR;
    table->root.fd = root_fd;
    table->root.n_lookup = 1; /* never forgotten */
    *out = table;
    return 0;
}

static void free_inode(struct inode *inode)
{
    if (inode->stack != NULL)
        stack_put(&inode->stack);
    else if (inode->fd >= 0)
        close(inode->fd);
    free(inode->name);
    free(inode);
}

void inode_table_destroy(struct inode_table **table_p)
{
    struct inode_table *table = *table_p;
    if (table == NULL)
        return;
    while (table->oldest != NULL) {
        struct inode *inode = table->oldest;
        table->oldest = inode->newer;
        free_inode(inode);
    }
    pthread_mutex_destroy(&table->lock);
    free(table);
    *table_p = NULL;
}

struct inode *inode_from_id(struct inode_table *table, uint64_t id)
{
    return id == INODE_ROOT_ID ? &table->root : (struct inode *)(uintptr_t)id;
}

bool inode_is_root(const struct inode_table *table, const struct inode *inode)
{
    return inode == &table->root;
}

uint64_t inode_id(const struct inode_table *table, const struct inode *inode)
{
    return inode_is_root(table, inode) ? INODE_ROOT_ID : (uintptr_t)inode;
}

/* ---- under the lock ---- */

static size_t bucket_of(const struct inode *key)
{
    uint64_t h =
        key->stack != NULL ? (uintptr_t)key->stack / 64 : key->ino ^ ((uint64_t)key->dev << 32);
    return (h * 0x9E3779B97F4A7C15u) >> 51;
}

static bool is_same(const struct inode *a, const struct inode *b)
{
    if (a->stack != NULL || b->stack != NULL)
        return a->stack == b->stack;
    return a->ino == b->ino && a->dev == b->dev;
}

static struct inode *find(const struct inode_table *table, const struct inode *key)
{
    struct inode *inode = table->buckets[bucket_of(key)];
    while (inode != NULL && !is_same(inode, key))
        inode = inode->hash_next;
    return inode;
}

static void queue_remove(struct inode_table *table, struct inode *inode)
{
    *(inode->older != NULL ? &inode->older->newer : &table->oldest) = inode->newer;
    *(inode->newer != NULL ? &inode->newer->older : &table->newest) = inode->older;
}

static void queue_append(struct inode_table *table, struct inode *inode)
{
    inode->older = table->newest;
    inode->newer = NULL;
    *(table->newest != NULL ? &table->newest->newer : &table->oldest) = inode;
    table->newest = inode;
}

static void insert(struct inode_table *table, struct inode *inode)
{
    struct inode **bucket = &table->buckets[bucket_of(inode)];
    inode->hash_next = *bucket;
    *bucket = inode;
    inode->generation = ++table->generations;
    queue_append(table, inode);
    table->n_inodes++;
}

/* Takes it out if nobody knows it any more; the caller frees it then, without the lock. */
static bool remove_unused(struct inode_table *table, struct inode *inode)
{
    if (inode->n_lookup > 0 || inode->n_handles > 0)
        return false;
    struct inode **link = &table->buckets[bucket_of(inode)];
    while (*link != inode)
        link = &(*link)->hash_next;
    *link = inode->hash_next;
    queue_remove(table, inode);
    table->n_inodes--;
    return true;
}

/* ---- lookups ---- */

static struct inode *new_inode(struct volume *volume, const struct tree_entry *entry, int *error)
{
    struct inode *inode = calloc(1, sizeof(*inode));
    *error = inode == NULL ? -ENOMEM : 0;
    if (*error == 0 && S_ISREG(entry->st.st_mode))
        *error = stack_get(volume, entry->fd, entry->blob, &inode->stack);
    if (*error < 0) {
        close(entry->fd);
        free(inode);
        return NULL;
    }
    inode->type = entry->st.st_mode & S_IFMT;
    inode->fd = inode->stack != NULL ? stack_fd(inode->stack) : entry->fd;
    inode->dev = entry->st.st_dev;
    inode->ino = entry->st.st_ino;
    return inode;
}

static void note_descriptor(struct inode_table *table, int fd)
{
    bool is_short = table->watcher != NULL && fd > table->limit;
    bool is_scarce = is_short && fd - table->limit > table->limit / 6; /* half of what is left */
    table->supply = is_scarce ? INODE_SCARCE : is_short ? INODE_SHORT : INODE_PLENTY;
    if (is_short)
        table->watcher(table->watcher_ctx);
}

int inode_lookup(struct inode_table *table, struct volume *volume, const struct tree_entry *entry,
                 uint64_t parent, const char *name, struct inode **out)
{
    int r;
    struct inode *made = new_inode(volume, entry, &r);
    if (made == NULL)
        return r;
    char *copy = strdup(name);
    pthread_mutex_lock(&table->lock);
    struct inode *inode = find(table, made);
    if (inode == NULL) {
        inode = made;
        made = NULL;
        insert(table, inode);
    } else {
        queue_remove(table, inode);
        queue_append(table, inode);
    }
    inode->n_lookup++;
    char *old = inode->name;
    inode->name = copy; /* NULL: cannot be pruned by name, and that is all */
    inode->parent = parent;
    note_descriptor(table, entry->fd);
    pthread_mutex_unlock(&table->lock);
    free(old);
    if (made != NULL)
        free_inode(made);
    *out = inode;
    return 0;
}

void inode_again(struct inode_table *table, struct inode *inode)
{
    pthread_mutex_lock(&table->lock);
    inode->n_lookup++;
    pthread_mutex_unlock(&table->lock);
}

void inode_forget(struct inode_table *table, struct inode *inode, uint64_t n)
{
    if (inode_is_root(table, inode))
        return;
    pthread_mutex_lock(&table->lock);
    assert(inode->n_lookup >= n);
    inode->n_lookup -= n;
    bool unused = remove_unused(table, inode);
    pthread_mutex_unlock(&table->lock);
    if (unused)
        free_inode(inode);
}

void inode_hold(struct inode_table *table, struct inode *inode)
{
    pthread_mutex_lock(&table->lock);
    inode->n_handles++;
    pthread_mutex_unlock(&table->lock);
}

void inode_release(struct inode_table *table, struct inode *inode)
{
    pthread_mutex_lock(&table->lock);
    inode->n_handles--;
    bool unused = !inode_is_root(table, inode) && remove_unused(table, inode);
    pthread_mutex_unlock(&table->lock);
    if (unused)
        free_inode(inode);
}

/* ---- bounds ---- */

void inode_watch(struct inode_table *table, int limit, void (*watcher)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&table->lock);
    table->limit = limit;
    table->watcher = watcher;
    table->watcher_ctx = ctx;
    pthread_mutex_unlock(&table->lock);
}

void inode_refused(struct inode_table *table)
{
    pthread_mutex_lock(&table->lock);
    if (table->watcher != NULL)
        table->watcher(table->watcher_ctx);
    pthread_mutex_unlock(&table->lock);
}

enum inode_supply inode_supply(struct inode_table *table)
{
    pthread_mutex_lock(&table->lock);
    enum inode_supply supply = table->supply;
    pthread_mutex_unlock(&table->lock);
    return supply;
}

size_t inode_count(struct inode_table *table)
{
    pthread_mutex_lock(&table->lock);
    size_t n = table->n_inodes;
    pthread_mutex_unlock(&table->lock);
    return n;
}

size_t inode_oldest(struct inode_table *table, bool directories, struct inode_victim *out,
                    size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&table->lock);
    struct inode *inode = table->oldest;
    for (size_t left = table->n_inodes; inode != NULL && left > 0 && n < max; left--) {
        struct inode *next = inode->newer;
        bool fits = inode->n_handles == 0 && inode->name != NULL;
        if (fits && (directories || !S_ISDIR(inode->type))) {
            char *name = strdup(inode->name);
            if (name == NULL)
                break;
            out[n++] = (struct inode_victim){.parent = inode->parent, .name = name};
            queue_remove(table, inode);
            queue_append(table, inode);
        }
        inode = next;
    }
    pthread_mutex_unlock(&table->lock);
    return n;
}
