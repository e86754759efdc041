/* What rows of the index say of blobs that are not open, in memory: the rows of a neighbourhood, a range
 * of inode numbers, at a time, since the files of a directory have inodes that lie together.
 *
 * A fact is about one state of a backing file, by all that stat(2) tells of it: what happens to names
 * cannot make it untrue. A row that is entered anew takes the place of all that was known of its inode.
 *
 * Thread safe; the lock inside is a leaf, held over memory alone. */
#ifndef SQYFS_STORE_FACTS_H
#define SQYFS_STORE_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "store/index.h"

#define FACTS_NEAR       256u       /* inode numbers of a neighbourhood, a power of two */
#define FACTS_NEAR_ROWS  1024u      /* where there are more (many links), each is asked for alone */
#define FACTS_MOST       (1u << 18) /* facts in memory, 24 MB */
#define FACTS_MOST_NEARS (1u << 14) /* however few are in each */

struct fact {
    uint64_t ino, stored_bytes;
    struct timespec stored_mtime, stored_ctime;
    uint64_t path_sum; /* of the row's path when it was read: a rename does not come here */
    struct index_attr attr;
};

struct facts;

struct facts *facts_create(void); /* NULL: out of memory */
void facts_destroy(struct facts **facts);

/* Of a row with that path, or (NULL) of any; `out` may be NULL. 0; -ENOENT where the neighbourhood is known and
 * there is no such row; -EAGAIN where it is not. */
int facts_find(struct facts *facts, const struct stat *backing, const uint64_t *path_sum,
               struct index_attr *out);
/* After -EAGAIN: whether to read the whole neighbourhood. Where it is asked for again, so that who jumps
 * about in a large store pays for one row. */
bool facts_wants_all(struct facts *facts, uint64_t ino);

/* First inode number of a neighbourhood. */
uint64_t facts_near(uint64_t ino);
/* All rows of a neighbourhood, by inode number; copied. -ENOMEM: not kept. */
int facts_keep(struct facts *facts, uint64_t ino, const struct fact *list, size_t n);
/* A row has been entered; `usable`: one whose attributes are to be believed. */
void facts_put(struct facts *facts, const struct fact *fact, bool usable);
void facts_clear(struct facts *facts);

#endif
