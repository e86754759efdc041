/* Inside the spool: shared by spool.c and spool_*.c, nobody else. */
#ifndef SQYFS_STORE_SPOOL_IMPL_H
#define SQYFS_STORE_SPOOL_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/workq.h"
#include "store/spool.h"
#include "store/spool_log.h"
#include "store/spool_run.h"

/* The parts of the file, in this order. Each is reserved from its start as far as it has been used. */
enum spool_part { SPOOL_LOGS, SPOOL_RUNS, SPOOL_PAGES, SPOOL_BLOCKS, SPOOL_N_PARTS };

#define SPOOL_PAGE       4096u /* bytes; of a log's entries */
#define SPOOL_BOOT_BYTES 40u
#define SPOOL_HUGE_PAGE  (2u << 20) /* bytes; addresses and offsets of blocks begin at one */

/* The first page of the file. */
struct spool_head {
    char magic[8];
    uint32_t version, n_items[SPOOL_N_PARTS];
    char boot[SPOOL_BOOT_BYTES]; /* when the machine was started: the kernel's name for that */
    _Atomic uint32_t n_grown[SPOOL_N_PARTS]; /* items that room is reserved for */
};

/* What a stack has in the file besides runs; see spool_log.c. */
struct spool_record {
    _Atomic uint32_t used;
    _Atomic uint32_t gone;  /* the file has no name any more */
    _Atomic uint64_t begin; /* of its entries: page + 1, and where in it; 0: there are none */
    _Atomic uint64_t size;  /* SPOOL_LOG_NO_SIZE: as the file's own */
    _Atomic int64_t mtime;  /* ns; SPOOL_LOG_NO_TIME: as the file's own */
    uint64_t ino;
    int64_t btime; /* ns */
    uint8_t blob_id[SPOOL_LOG_ID_BYTES];
    _Atomic uint32_t path_len; /* 0: not known */
    char path[SPOOL_LOG_PATH];
};
_Static_assert(sizeof(struct spool_record) == 512, "");

struct spool_page {
    _Atomic uint32_t next; /* page + 1; 0: the last */
    _Atomic uint32_t used; /* bytes of data */
    uint8_t data[SPOOL_PAGE - 8];
};
_Static_assert(sizeof(struct spool_page) == SPOOL_PAGE, "");

struct spool_log {
    struct spool_record *record;
    uint32_t last; /* page + 1 that is appended to; 0: there is none */
};

/* Which items of a part are free. */
struct spool_pool {
    uint32_t *free;         /* given back, the last one on top */
    uint32_t n_free, fresh; /* from `fresh` on none has ever been taken */
};

/* Blocks that lie side by side. A set bit of `free`: that one is. In one list where there is any. */
#define SPOOL_GROUP 64u
struct spool_group {
    uint64_t free;
    uint32_t prev, next;
};

struct spool {
    struct work grow_work; /* the first member */
    struct workq *grower;  /* its one thread grows ahead; NULL: nobody does */
    uint8_t *map;
    uint64_t map_bytes;
    uint64_t offset[SPOOL_N_PARTS];
    struct spool_head *head;
    struct spool_record *records;
    struct spool_run *runs;
    struct spool_page *pages;
    uint8_t *data;
    int fd;          /* -1: memory of the process */
    int64_t huge_ms; /* its blocks' room is not tried in huge pages before; whoever reserves them */
    char *path;
    uint16_t *refs;         /* runs that touch a block; guarded by whoever has the block */
    struct spool_log *logs; /* one for each record */

    _Atomic uint32_t limit;  /* blocks: fewer than asked for while the file cannot grow */
    _Atomic uint32_t n_used; /* blocks; both change under the lock alone */

    pthread_mutex_t lock;   /* guards all below; a leaf lock */
    pthread_cond_t changed; /* for spool_wait(), and for blocks that somebody else grows */
    unsigned n_waiting;
    uint64_t events;                       /* blocks given back and wakes */
    struct spool_pool pools[SPOOL_BLOCKS]; /* of all parts but the blocks */
    struct spool_group *groups;
    uint32_t whole,
        parted; /* lists of groups that are all free, and in part; SPOOL_NONE ends them */
    int64_t retry_ms[SPOOL_N_PARTS]; /* the filesystem was full: grows no earlier; 0: it was not */
    bool growing;                    /* somebody reserves room for blocks, without the lock */
    bool grower_asked;               /* grow_work is queued or under way */
};

#define SPOOL_NONE UINT32_MAX

extern const uint32_t spool_item_bytes[SPOOL_N_PARTS];

/* An item of a part, -EAGAIN where all are taken. `spare`: leaves so many. */
int64_t spool_item_take(struct spool *spool, enum spool_part part, uint32_t spare);
void spool_item_give(struct spool *spool, enum spool_part part, uint32_t item);

/* Room for more items of a part, one caller at a time. 0, -EAGAIN where it has all that was planned, or
 * another errno: nothing changed. */
int spool_room_reserve(struct spool *spool, enum spool_part part);
/* Blocks from `from` on have been reserved, and are free. */
void spool_room_add(struct spool *spool, uint32_t from);
/* What no run touches is free. Nobody else uses the spool yet. */
void spool_room_adopt(struct spool *spool);
/* From now on room for blocks comes before it is needed. */
void spool_room_start(struct spool *spool);

#endif
