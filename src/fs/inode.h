/* What the kernel knows by a node id: one entry for each inode of the store that it has looked up.
 *
 * A node id is the address of a struct inode, valid while the kernel holds lookups on it or a
 * handle refers to it. A regular file is known by its stack, everything else by (device, inode
 * number), which the open descriptor keeps from being given away. */
#ifndef SQYFS_FS_INODE_H
#define SQYFS_FS_INODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "store/tree.h"
#include "volume/volume.h"

#define INODE_ROOT_ID 1u /* FUSE_ROOT_ID */

struct inode {
    mode_t type;          /* S_IFMT bits */
    int fd;               /* O_PATH; of a regular file its stack's */
    struct stack *stack;  /* of a regular file, else NULL */
    uint64_t generation;  /* tells apart the inodes that one address stood for */
    atomic_bool may_kill; /* had set-user-id or set-group-id when last seen */

    /* guarded by the table's lock */
    uint64_t n_lookup;
    unsigned n_handles;
    dev_t dev;
    ino_t ino;
    uint64_t parent; /* node id and name of the last lookup, for inode_oldest() */
    char *name;
    struct inode *hash_next, *older, *newer;
};

struct inode_table;

/* `root_fd` is borrowed. */
int inode_table_create(int root_fd, struct inode_table **out);
/* Drops all entries, whatever the kernel still thinks of them. */
void inode_table_destroy(struct inode_table **table);

/* NULL: none (the id of no inode). */
struct inode *inode_from_id(struct inode_table *table, uint64_t id);
uint64_t inode_id(const struct inode_table *table, const struct inode *inode);
bool inode_is_root(const struct inode_table *table, const struct inode *inode);

/* The inode of a looked up entry, with one more lookup on it. Takes ownership of entry->fd, in any
 * case. */
int inode_lookup(struct inode_table *table, struct volume *volume, const struct tree_entry *entry,
                 uint64_t parent, const char *name, struct inode **out);
/* One more lookup on an inode that the caller knows to be in use. */
void inode_again(struct inode_table *table, struct inode *inode);
void inode_forget(struct inode_table *table, struct inode *inode, uint64_t n);

/* A handle keeps the inode. */
void inode_hold(struct inode_table *table, struct inode *inode);
void inode_release(struct inode_table *table, struct inode *inode);

/* Calls `watcher` when a lookup brings a descriptor of a number above `limit` (the system gives the
 * lowest that is free, so about that many are in use, whoever opened them), or none at all. */
void inode_watch(struct inode_table *table, int limit, void (*watcher)(void *ctx), void *ctx);
/* Calls it now: a descriptor was refused. */
void inode_refused(struct inode_table *table);
/* How near the end the last lookup came: above the limit, what can do without a descriptor should;
 * far above it, who wants one should wait a little. */
enum inode_supply { INODE_PLENTY, INODE_SHORT, INODE_SCARCE };
enum inode_supply inode_supply(struct inode_table *table);

size_t inode_count(struct inode_table *table);

/* Entries that the kernel might be asked to forget: the ones looked up longest ago, no handle on
 * them; each is moved to the end of the queue. `directories`: those too. Returns how many; the
 * names are the caller's to free. */
struct inode_victim {
    uint64_t parent;
    char *name;
};
size_t inode_oldest(struct inode_table *table, bool directories, struct inode_victim *out,
                    size_t max);

#endif
