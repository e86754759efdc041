#include "store/facts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u
#define ASKED   256u /* neighbourhoods that are remembered for having been asked for once */

struct near {
    uint64_t first;            /* inode number */
    struct near *next, *newer; /* of the same bucket; kept after this one */
    size_t n, room;
    struct fact *list; /* by inode number */
};

struct facts {
    pthread_mutex_t lock; /* guards all below */
    struct near *buckets[BUCKETS];
    struct near *oldest, **newest;
    size_t n_facts, n_nears;
    uint64_t asked[ASKED]; /* first inode number + 1 */
};

struct facts *facts_create(void)
{
    struct facts *facts = calloc(1, sizeof(*facts));
    if (!facts)
        return NULL;
    pthread_mutex_init(&facts->lock, NULL);
    facts->newest = &facts->oldest;
    return facts;
}

void facts_destroy(struct facts **facts)
{
    if (!*facts)
        return;
    facts_clear(*facts);
    pthread_mutex_destroy(&(*facts)->lock);
    free(*facts);
    *facts = NULL;
}

uint64_t facts_near(uint64_t ino)
{
    return ino & ~(uint64_t)(FACTS_NEAR - 1);
}

static uint64_t hash_of(uint64_t first)
{
    return (first / FACTS_NEAR * 0x9E3779B97F4A7C15u) >> 32;
}

/* The link that leads to a neighbourhood, or to NULL; lock held. */
static struct near **link_of(struct facts *facts, uint64_t first)
{
    struct near **link = &facts->buckets[hash_of(first) % BUCKETS];
    while (*link && (*link)->first != first)
        link = &(*link)->next;
    return link;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_about(const struct fact *fact, const struct stat *backing)
{
    return fact->ino == backing->st_ino && fact->stored_bytes == (uint64_t)backing->st_size &&
           same_time(&fact->stored_mtime, &backing->st_mtim) &&
           same_time(&fact->stored_ctime, &backing->st_ctim);
}

/* Where the facts of an inode begin, or would. */
static size_t place_of(const struct near *near, uint64_t ino)
{
    size_t low = 0, high = near->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (near->list[middle].ino < ino)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The facts of an inode, at least one where *n is not 0; -EAGAIN. Lock held. */
static int facts_of(struct facts *facts, uint64_t ino, const struct fact **list, size_t *n)
{
    const struct near *near = *link_of(facts, facts_near(ino));
    if (!near)
        return -EAGAIN;
    size_t at = place_of(near, ino), end = at;
    while (end < near->n && near->list[end].ino == ino)
        end++;
    *list = &near->list[at];
    *n = end - at;
    return 0;
}

int facts_find(struct facts *facts, const struct stat *backing, const uint64_t *path_sum,
               struct index_attr *out)
{
    const struct fact *list;
    size_t n;
    pthread_mutex_lock(&facts->lock);
    int r = facts_of(facts, backing->st_ino, &list, &n);
    if (r == 0)
        r = -ENOENT;
    for (size_t i = 0; r == -ENOENT && i < n; i++) {
        if (!is_about(&list[i], backing) || (path_sum && list[i].path_sum != *path_sum))
            continue;
        if (out)
            *out = list[i].attr;
        r = 0;
    }
    pthread_mutex_unlock(&facts->lock);
    return r;
}

bool facts_wants_all(struct facts *facts, uint64_t ino)
{
    uint64_t first = facts_near(ino);
    pthread_mutex_lock(&facts->lock);
    uint64_t *asked = &facts->asked[hash_of(first) % ASKED];
    bool again = *asked == first + 1;
    *asked = first + 1;
    pthread_mutex_unlock(&facts->lock);
    return again;
}

/* Lock held. */
static void drop_oldest(struct facts *facts)
{
    struct near *near = facts->oldest;
    *link_of(facts, near->first) = near->next;
    facts->oldest = near->newer;
    if (!facts->oldest)
        facts->newest = &facts->oldest;
    facts->n_facts -= near->n;
    facts->n_nears--;
    free(near->list);
    free(near);
}

/* Lock held. */
static void insert(struct facts *facts, struct near *near)
{
    struct near **link = link_of(facts, near->first);
    *link = near;
    *facts->newest = near;
    facts->newest = &near->newer;
    facts->n_facts += near->n;
    facts->n_nears++;
}

int facts_keep(struct facts *facts, uint64_t ino, const struct fact *list, size_t n)
{
    struct near *near = calloc(1, sizeof(*near));
    struct fact *copy = malloc((n + 1) * sizeof(*copy));
    if (!near || !copy) {
        free(near);
        free(copy);
        return -ENOMEM;
    }
    if (n > 0)
        memcpy(copy, list, n * sizeof(*copy));
    *near = (struct near){.first = facts_near(ino), .n = n, .room = n + 1, .list = copy};
    pthread_mutex_lock(&facts->lock);
    bool there = *link_of(facts, near->first) != NULL;
    while (!there && facts->oldest &&
           (facts->n_facts + n > FACTS_MOST || facts->n_nears == FACTS_MOST_NEARS))
        drop_oldest(facts);
    if (!there)
        insert(facts, near);
    pthread_mutex_unlock(&facts->lock);
    if (there) {
        free(copy);
        free(near);
    }
    return 0;
}

/* Lock held. */
static bool insert_fact(struct facts *facts, struct near *near, const struct fact *fact)
{
    size_t at = place_of(near, fact->ino);
    if (near->n == near->room) {
        size_t room = near->room * 2;
        struct fact *grown =
            room <= 2 * FACTS_NEAR_ROWS ? realloc(near->list, room * sizeof(*grown)) : NULL;
        if (!grown)
            return false;
        near->list = grown;
        near->room = room;
    }
    memmove(&near->list[at + 1], &near->list[at], (near->n - at) * sizeof(*near->list));
    near->list[at] = *fact;
    near->n++;
    facts->n_facts++;
    return true;
}

/* Lock held. */
static void remove_inode(struct facts *facts, struct near *near, uint64_t ino)
{
    size_t at = place_of(near, ino), end = at;
    while (end < near->n && near->list[end].ino == ino)
        end++;
    memmove(&near->list[at], &near->list[end], (near->n - end) * sizeof(*near->list));
    near->n -= end - at;
    facts->n_facts -= end - at;
}

static void clear_locked(struct facts *facts)
{
    while (facts->oldest)
        drop_oldest(facts);
}

void facts_put(struct facts *facts, const struct fact *fact, bool usable)
{
    pthread_mutex_lock(&facts->lock);
    struct near *near = *link_of(facts, facts_near(fact->ino));
    if (near) {
        remove_inode(facts, near, fact->ino);
        if (usable && !insert_fact(facts, near, fact))
            clear_locked(facts); /* or it would be known that there is none */
        while (facts->oldest && facts->n_facts > FACTS_MOST)
            drop_oldest(facts);
    }
    pthread_mutex_unlock(&facts->lock);
}

void facts_clear(struct facts *facts)
{
    pthread_mutex_lock(&facts->lock);
    clear_locked(facts);
    pthread_mutex_unlock(&facts->lock);
}
