/* What the files of this room share. Nobody outside includes it.
 *
 * A stack, by what its backing file is:
 *
 *   EMPTY --birth_classify()--> BLOB    looks like an image, or has a name that must be a blob
 *   EMPTY --birth_classify()--> PLAIN   anything else: stored verbatim
 *   BLOB  --birth_reset()-----> EMPTY   truncated to nothing: born again by its next bytes
 *   PLAIN --birth_reset()-----> EMPTY   the same, where it has no other links
 *   PLAIN --compact.c---------> BLOB    renamed to a stack's name, when idle
 *   BLOB  --foreign_became()--> FOREIGN opened, and found to be sqeazy's own: foreign.h
 *   FOREIGN --stack_refresh()-> BLOB    somebody put another file in its place
 *   FOREIGN --birth_reset()---> EMPTY   truncated to nothing
 *
 * Where the only copy of a byte lies, and what happens to it there:
 *
 *   state of the byte       only copy         daemon killed  power cut         disk full or failing
 *   ----------------------  ----------------  -------------  ----------------  --------------------
 *   in the overlay          spool             kept           lost              kept, tried again
 *   under an encode job     spool             kept           lost              kept, tried again
 *   appended and committed  blob, page cache  kept           lost              kept, tried again
 *   behind a checkpoint     blob, synced      kept           kept              kept
 *   of a PLAIN file         backing file      kept           kept after fsync  ENOSPC, EIO
 *   being archived          old file          kept           kept              kept
 *   archived                new file, synced  kept           kept              kept
 *
 * (Archiving, archive.h, writes a copy and proves it before one rename puts it in the old file's place: what that
 * has lost is gone from then on.)
 * (The spool is a file in memory, which the next mount takes over: takeover.c. No checkpoint names
 * committed bytes yet, but the stack's log in the spool does: journal.c. As coded they are in memory
 * too until a sync has succeeded, which is where they are tried again from; a daemon that is killed
 * after a sync has failed takes that copy along.) fsync(2), the
 * release of the last writer, and age (VOLUME_DIRTY_AGE_MS) bring bytes behind a checkpoint. When
 * the disk is full as the volume is closed, a reserve in the store is given up for what is in memory;
 * what does not fit even then stays in the spool for the next mount, and the log names it.
 *
 * Lock order: policy.change; stack.lock, then volume.lock, then the leaves (blob, spool, cache,
 * tree, policy.lock, queues). None is held while chunks are read, written, encoded or decoded, while
 * anything is synced, or while sqlite works. A plain file's ftruncate(2), fallocate(2) and lseek(2),
 * and opening a descriptor, do happen under stack.lock. */
#ifndef SQYFS_VOLUME_CORE_H
#define SQYFS_VOLUME_CORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/io.h"
#include "base/now.h"
#include "base/workq.h"
#include "cache/cache.h"
#include "codec/sqy.h"
#include "store/blob.h"
#include "store/index.h"
#include "store/spool.h"
#include "store/spool_log.h"
#include "volume/coder.h"
#include "volume/ladder.h"
#include "volume/overlay.h"
#include "volume/policy.h"
#include "volume/policy_archive.h"
#include "volume/rates.h"
#include "volume/scratch.h"
#include "volume/volume.h"

#define VOLUME_BUCKETS      4096u /* of the table of stacks */
#define VOLUME_TENDERS      16u   /* threads that settle and flush; they mostly wait for disk */
#define VOLUME_REWRITERS    2u   /* threads that rewrite, for minutes: no flush waits behind them */
#define VOLUME_DIRTY_AGE_MS 5000 /* an open stack's bytes reach a checkpoint after this long */
#define VOLUME_TICK_MS      500
#define VOLUME_PRESS_MS     5   /* between two looks of the ticker that writers ask for */
#define STACK_REST_MS       500 /* from last close to settling: a writer may come back */
#define VOLUME_CROWD        32u /* of so many dirty stacks one that is closed rests only ... */
#define CROWD_REST_MS       50  /* ... this long: encoders and disk have something to do */
#define STACK_MAX_JOBS      64u /* in flight while cutting again; else the spool bounds */
#define STACK_HOLD_ROUND    4u  /* flush rounds before writers are made to wait */
#define STACK_MAX_SIZE      ((uint64_t)1 << 60)

/* An open blob, shared by readers that may outlive its being the stack's present one. */
struct blobref {
    struct blob *blob;
    atomic_uint refs;
    uint64_t incarnation; /* owner in the cache */
    bool writable;
};

enum stack_kind { STACK_EMPTY, STACK_PLAIN, STACK_BLOB, STACK_FOREIGN };

struct job;
struct ahead;

/* What getattr needs of a blob that is not open, and the backing state it was read from. */
struct stack_attr {
    bool valid;
    uint64_t stored_bytes;
    struct timespec stored_mtime, stored_ctime;
    uint64_t size;
    struct timespec mtime;
};

struct stack {
    struct volume *volume;
    int fd; /* O_PATH of the backing file; constant number */

    /* guarded by volume.lock */
    struct stack *hash_next;
    struct stack *dirty_prev, *dirty_next;
    bool in_dirty; /* holds a reference */
    unsigned refs;
    uint64_t dev, ino;
    struct stack
        *moving_next; /* on volume.moving while another inode takes the place of this one */
    uint64_t moving_ino;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    enum stack_kind kind;
    bool named_blob; /* lies under the blob spelling */
    bool transition; /* kind or blob being exchanged: writers and other transitions wait */
    bool hold;       /* writers wait: a flush could not keep up with them */
    bool flushing;   /* one flush at a time */
    bool settling;   /* it cuts properly: no bytes leave beside it */
    bool syncing;    /* a checkpoint is on its way to the disk */
    unsigned readers, writers;
    unsigned plain_io; /* reads and writes of data_fd under way */
    int data_fd;       /* of an EMPTY or PLAIN file; -1 */
    bool data_rw;
    struct blobref *blob;    /* of a BLOB that is loaded */
    struct scratch *scratch; /* of a FOREIGN one that is loaded */
    struct sqy_pipeline *pipeline;
    struct overlay overlay;
    struct spool_log *log; /* while it is modified, or was when a sync began: journal.c */
    struct layout *layout;
    struct layout_piece since_layout; /* written since the layout was fed last, more or less */
    bool layout_behind;               /* it wants bytes that were not in memory */
    uint64_t size;                    /* of an EMPTY one, a loaded BLOB or FOREIGN one */
    struct timespec mtime;
    struct timespec ctime;     /* when somebody last changed the file, not when we stored it; ... */
    struct timespec own_ctime; /* ... shown while the backing file's is what storing it has left */
    bool modified;             /* something is not in a checkpoint yet */
    bool unsettled;            /* written to since it was settled */
    bool nameless;             /* its last name was removed in the mount */
    bool rewriting;            /* the transition under way is a rewrite, which may take long */
    bool archiving; /* ... after which other bytes may be read: readers wait, too, and end it */
    atomic_bool stale_pages; /* others keep pages of bytes that it had before */
    bool exchanging;         /* another inode is about to take the place: no attribute changes */
    unsigned n_attr;         /* changes of attributes under way: no inode is exchanged */
    atomic_bool rewrite_unwanted; /* somebody waits for it: it gives up */
    unsigned pins;                /* calls under way that need what is loaded to stay so */
    atomic_bool stuck;            /* a flush or job failed: others go first to make room */
    bool unsynced_name;           /* the name has changed since the directory was synced */
    int64_t dirty_since_ms, released_ms;
    struct job *jobs;
    unsigned n_jobs, n_reading; /* in flight; of these, with bytes lent by the overlay */
    uint64_t leave_at;          /* where bytes that must leave are looked for next */
    uint64_t jobs_end;          /* no job in flight has bytes from here on */
    uint64_t last_job;          /* sequence number given last */
    uint64_t n_lost;            /* jobs whose result was thrown away or could not be stored */
    int job_error;              /* of a job since the round of the flush began */
    int again_error;            /* the same of one of reencode.c's: nobody's bytes */
    bool log_full; /* bytes that are in the blob stay in the overlay until a checkpoint */
    int error;     /* of the last attempt to store all, 0 after a good one */
    int plain_error; /* of an fsync(2), until it is told: another may be good since the kernel has given up */
    bool damaged;
    bool lossy;           /* some chunks have lost something: no rewrite */
    bool lower_rung;      /* there may be chunks of a lower rung in the blob */
    bool lowered;         /* one has come to them since the walk under way began */
    bool reencoding;      /* its chunks of lower rungs are being encoded anew */
    unsigned n_rewriters; /* calls that wait for that to end, or have made it */
    bool convert_due;     /* a PLAIN one that by its new name should be a BLOB */
    bool tend_queued;
    bool tending; /* a thread is in tend_run() */
    struct work tend_work;
    bool rewrite_queued;        /* or under way */
    atomic_bool rewrite_yields; /* the one under way gives up for whoever writes anything */
    struct work rewrite_work;
    struct stack_attr attr;
    struct stack_attr loaded; /* the backing file when it was loaded: FOREIGN, or read-only mount */
};

struct volume_counters {
    atomic_ullong bytes_in, bytes_out;           /* written by and read by applications */
    atomic_ullong chunks_encoded, bytes_encoded; /* plain bytes */
    atomic_ullong bytes_coded;                   /* what they became */
    atomic_ullong chunks_raw, chunks_provisional, chunks_lost;
    atomic_ullong rung_chunks[LADDER_RUNGS], rung_bytes[LADDER_RUNGS]; /* plain bytes, first time */
    atomic_ullong chunks_again, bytes_again; /* encoded anew for having been on a lower one */
    atomic_ullong stacks_archived, bytes_archived, stacks_left; /* plain bytes; left as they are */
    atomic_ullong chunks_decoded, bytes_decoded, checksum_errors;
    atomic_ullong checkpoints, store_errors;
};

struct volume {
    struct volume_config config;
    const struct io *io;
    struct tree *tree;
    int lock_fd;  /* STORE/.sqyfs/lock, flocked; -1 read-only */
    int state_fd; /* STORE/.sqyfs; -1 read-only without one */
    struct spool *spool;
    atomic_bool spool_survives; /* it is a file, and a kill loses nothing */
    bool spool_left;            /* somebody else's, and not taken over yet */
    struct cache *cache;
    struct scratch_pool *scratches;
    struct index *index;
    struct policy *policy;
    struct workq *encoders, *tenders, *rewriters;
    struct volume_counters counters;
    struct ladder ladder;
    struct rates rates;
    atomic_bool ending;        /* what is done for its own sake stops */
    atomic_uint rung;          /* the mount's, as the log says it */
    atomic_bool reencode_due;  /* the index has got a row of something to be done when idle */
    atomic_bool reencode_runs; /* for statistics */
    atomic_bool archive_due;   /* rows are to be compared with the policies of their directories */
    atomic_bool archive_again; /* the same, for those that could not be done */
    atomic_bool archive_runs;  /* for statistics */
    atomic_ullong reencode_quiet; /* bytes written when everybody had paused */
    atomic_ullong next_incarnation;
    atomic_uint jobs_in_flight;
    atomic_ullong leaving;      /* bytes of the spool with a job in flight */
    atomic_llong pressed_ms;    /* when a writer has last had the ticker look */
    atomic_uint n_ahead;        /* chunks to be decoded ahead, waiting or under way */
    unsigned ahead_turns_most;  /* encoders that decode ahead at a time */
    pthread_mutex_t ahead_lock; /* guards the next two; a leaf but for the encoders' queue */
    struct ahead *ahead;        /* of those that wait, the oldest first */
    unsigned ahead_turns;       /* encoders that do, or are asked to; at least one where any wait */
    atomic_uint n_readers;      /* for whom chunks were decoded ahead in their present run */
    time_t started;

    pthread_mutex_t lock; /* guards all below */
    struct stack *buckets[VOLUME_BUCKETS];
    struct stack *dirty;  /* list head */
    struct stack *moving; /* list head */
    unsigned n_stacks, n_dirty;
    struct coder *coders[64]; /* idle ones */
    unsigned n_coders;
    atomic_uint_least64_t noticed; /* sum of the last line that a coder told */
    bool closing;
    pthread_cond_t tick; /* also when there are VOLUME_CROWD dirty ones */
    pthread_cond_t idle;
    pthread_t ticker, refiller, reencoder;
    bool ticker_runs, refiller_runs, reencoder_runs;
    struct ladder_watch watch; /* the ticker's; `rung` is what others know of it */

    pthread_mutex_t statfs_lock; /* guards the room below; a leaf */
    int64_t statfs_ms;
    uint64_t statfs_avail, statfs_reserve;
};

/* volume.c */
struct coder *volume_take_coder(struct volume *volume); /* NULL: out of memory */
void volume_give_coder(struct volume *volume, struct coder *coder);
void volume_kick(struct volume *volume); /* the ticker looks around now */
/* After bytes were accepted: the same, where too many are about to go nowhere. */
void volume_press(struct volume *volume);
/* How many those are: bytes over half of the spool that no encoder is about to take. */
uint64_t volume_excess(struct volume *volume);
/* References to all dirty stacks of this moment, NULL for want of memory; caller unrefs and frees. */
unsigned volume_dirty_stacks(struct volume *volume, struct stack ***out);
/* 0, or -ENOSPC where `len` more bytes might not fit the backing filesystem. */
int volume_has_room(struct volume *volume, uint64_t len);

/* opening.c */
struct opening {
    struct volume *volume;
    char *why; /* one line for whoever opens it */
    size_t why_len;
};

/* Fills `why`; returns r. */
int opening_fail(const struct opening *opening, int r, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts defaults into volume.config; -EINVAL for what is out of bounds. */
int opening_check_config(const struct opening *opening);
/* The directory, its lock, its policies, its index. What was opened before an error is the volume's
 * to close. */
int opening_store(const struct opening *opening);

/* stack.c */
void stack_ref(struct stack *stack);
void stack_unref(struct stack *stack);
/* Another inode is about to take this one's name: from now on it is this stack's too. */
void stack_rekey_begin(struct stack *stack, const struct stat *st);
/* It has, and the stack's descriptor names it from now on, as `fd` does; or (-1) it has not. */
void stack_rekey_end(struct stack *stack, int fd);
void stack_mark_dirty(struct stack *stack); /* stack.lock held */
void stack_mark_clean(struct stack *stack); /* stack.lock held; caller has a reference */
struct blobref *blobref_create(struct volume *volume, struct blob *blob, bool writable);
struct blobref *blobref_get(struct blobref *ref);
void blobref_put(struct volume *volume, struct blobref **ref);
/* Somebody else may have changed the backing file: another host's writer below a read-only mount,
 * or a hand in the store that filled what was empty. Lock held. */
void stack_refresh(struct stack *stack, const struct stat *st);
void stack_discard_if_unlinked(struct stack *stack); /* lock held, dropped meanwhile */
/* Or -ENXIO where there is no more, or another error; any kind, never waits for a transition. */
int64_t resize_next_data(struct stack *stack, uint64_t off);
bool stack_attr_fits(const struct stack_attr *attr, const struct stat *st);
void stack_attr_set(struct stack_attr *attr, const struct stat *st);
/* The bytes, the size or the time were changed: a new mtime comes with `mtime`. Lock held. */
void stack_changed(struct stack *stack, const struct timespec *mtime);
/* What moves the backing file's ctime between these two is our own work. Lock held. */
void stack_keep_ctime(struct stack *stack);
void stack_own_ctime(struct stack *stack);
int stack_open_blob(struct stack *stack, bool writable, struct blobref **out); /* no lock */
/* By directory, by mount option, by default; a blob keeps what its header names. Lock held. */
int stack_choose_pipeline(struct stack *stack, const char *dir);
/* Descriptor of an EMPTY or PLAIN file's bytes into data_fd; lock held. */
int stack_open_data(struct stack *stack, bool write);
/* Loads the blob of a BLOB stack, or what a FOREIGN one decodes to (-EROFS where it is to be
 * writable); which of them it is shows only now. Lock held, released meanwhile. */
int stack_load(struct stack *stack, bool writable);
/* Loads, makes the layout, feeds it; lock held, released meanwhile. */
int stack_load_layout(struct stack *stack);
/* Feeds the layout. `wait`: may decode what it wants, lock released meanwhile. */
int stack_update_layout(struct stack *stack, bool final, bool wait);
/* What only an idle stack may give up: descriptors, table, layout. Lock held. */
void stack_unload_if_idle(struct stack *stack);
void stack_wait_transition(struct stack *stack); /* lock held */
/* Descriptor of the backing file itself. */
int stack_open_backing(const struct stack *stack, bool write);
/* Last part of the visible path; -ESTALE where there is none. `dir` gets what is before it. */
int stack_name(const struct stack *stack, char *path, size_t len, const char **name);
/* Takes [off, end) out of overlay and table; lock held, released meanwhile. */
int stack_punch(struct stack *stack, uint64_t off, uint64_t end);

/* read.c */
ssize_t read_stack(struct stack *stack, void *buf, size_t len, uint64_t off, bool wait);
/* Exactly len bytes of the stack, wherever they are; zeros past the end. [waits] */
int read_exact(struct stack *stack, void *buf, size_t len, uint64_t off);
/* What is in memory of [off, off+len), lock held; the prefix that is there. */
int read_memory(struct stack *stack, void *buf, uint32_t len, uint64_t off);
/* Into the cache, for a reader to come. [waits] */
void read_chunk_ahead(struct volume *volume, struct blobref *ref, const struct blob_chunk *chunk);
/* Whether it is there or on its way. */
bool read_has_chunk(struct volume *volume, const struct blobref *ref,
                    const struct blob_chunk *chunk);

/* job.c */
/* Starts an encode job; lock held. Claims are copied. 0 or -ENOMEM. */
enum job_why {
    JOB_WRITTEN, /* bytes of the spool: on a lower rung where writers are faster than encoders */
    JOB_RECUT,   /* stored bytes, to be cut properly */
    JOB_AGAIN,   /* what a lower rung has stored, to be what it should have been */
};
int job_start(struct stack *stack, enum job_why why, const struct sqy_box *box, bool big_endian,
              uint32_t flags, const struct blob_claim *claims, unsigned n_claims);
int job_start_unit(struct stack *stack, enum job_why why, const struct layout_unit *unit);
/* Whether a job in flight, not stale, will store byte `off`; *end is where its claim ends. Lock
 * held. */
bool job_covers(const struct stack *stack, uint64_t off, uint64_t *end);
/* Where the first byte behind `off`, which none covers, lies that one does; UINT64_MAX: nowhere. Lock
 * held. */
uint64_t job_next_covered(const struct stack *stack, uint64_t off);
/* Whether a job reads bytes of [off, end) out of the overlay just now, so that nobody may write there: that ends
 * soon, and stack.changed tells. Lock held. */
bool job_reads(const struct stack *stack, uint64_t off, uint64_t end);
/* Bytes have changed under the jobs' hands. Lock held. */
void job_mark_stale(struct stack *stack, uint64_t off, uint64_t end);
/* Waits until every job up to `seq` is through; lock held, released meanwhile. */
void job_wait(struct stack *stack, uint64_t seq);
/* Waits until fewer than `most` are in flight; lock held, released meanwhile. */
void job_wait_room(struct stack *stack, unsigned most);

/* gather.c: bytes of no unit on their way into byte chunks. Lock held all the time. */
#define GATHER_CLAIMS 512u
struct gather {
    struct stack *stack;
    enum job_why why;
    uint32_t flags; /* of the chunks */
    uint64_t total;
    unsigned n_claims;
    struct blob_claim claims[GATHER_CLAIMS];
};
/* Ascending; starts a job for each chunk that is full. */
int gather_add(struct gather *gather, uint64_t off, uint64_t end);
/* Starts one for the rest. */
int gather_flush(struct gather *gather);

/* flush.c */
/* Starts jobs for what a write of [off, end) has completed; lock held. */
void flush_completed(struct stack *stack, uint64_t off, uint64_t end);
/* Everything accepted so far gets into the blob; `settle` cuts it properly too. [waits] */
int flush_stack(struct stack *stack, bool settle);
/* flush_stack() and a checkpoint. [waits] */
int flush_durable(struct stack *stack, bool settle);
void flush_tend_async(struct stack *stack); /* lock held */
/* Starts jobs for about `most` bytes, those of no unit and of incomplete ones too, and waits for none. How many it
 * has started, or -EAGAIN where a tender has to see to the stack first. Lock held. */
int64_t flush_leave(struct stack *stack, uint64_t most);
/* What a writer did not find in the spool; a hole wants runs, too. An error only where no stack can be
 * flushed. No lock held. [waits] */
enum spool_want { WANT_BLOCK, WANT_RUN, WANT_HOLE, WANT_LOG };
int flush_make_room(struct stack *stack, enum spool_want want);
/* Where the extent at `off` is, or the hole around it. 0, 1 where it has to be asked again (the lock was
 * dropped), or an error. Lock held. */
int flush_find_extent(struct stack *stack, uint64_t off, struct blob_extent *extent);
int flush_make_log_room(struct stack *stack); /* for journal_wait() */

/* sync.c */
int sync_checkpoint(struct volume *volume, struct blobref *ref, const struct blob_state *state,
                    unsigned flags, const struct blob_header *header, bool sync_name);

/* journal.c: what survives the daemon besides the bytes. Lock held. */
/* Which file behind a descriptor it is; the path is left out. */
int journal_file(int fd, struct spool_file *file);
/* Before anything is accepted. -EAGAIN where too many stacks are modified. */
int journal_open(struct stack *stack);
/* The same, and that stack_punch() has room to tell of it. */
int journal_reserve(struct stack *stack);
/* After -EAGAIN from either. Lock dropped meanwhile: look at all again. */
int journal_wait(struct stack *stack);
void journal_close(struct stack *stack);        /* all is behind a checkpoint */
void journal_close_unused(struct stack *stack); /* what it was opened for has failed */
/* stack.size is, or will be, this. */
void journal_size(struct stack *stack, uint64_t size);
void journal_mtime(struct stack *stack);
/* After the same was done to the table. false: there is no room, the bytes stay in the overlay. */
bool journal_commit(struct stack *stack, struct blob *blob, const struct blob_chunk *chunk,
                    const struct blob_claim *claims, unsigned n_claims);
void journal_punch(struct stack *stack, uint64_t off, uint64_t end);
/* What a checkpoint has that is begun now; it has been made; the blob is no more. */
uint64_t journal_mark(const struct stack *stack);
void journal_forget(struct stack *stack, uint64_t mark);
void journal_forget_all(struct stack *stack);

/* takeover.c */
/* Finds a spool that another process has left for this store and brings its stacks to where they were,
 * or makes a new one. Before anybody else uses the volume. */
int takeover_spool(const struct opening *opening);
/* Now and then: tells once where somebody has removed the file. */
void takeover_look(struct volume *volume);
/* At the end. `keep`: something in it could not be stored. */
void takeover_end(struct volume *volume, bool keep);

/* birth.c */
/* Decides what an EMPTY stack is if it can (`final`: it must) and makes it that; lock held,
 * released meanwhile. 0 also when undecided. */
int birth_classify(struct stack *stack, bool final);
/* All bytes go. A BLOB becomes EMPTY (or an empty BLOB), a PLAIN one too unless it has other links.
 * Lock held, released meanwhile. */
int birth_reset(struct stack *stack);

/* reencode.c */
void *reencode_thread(void *volume);
/* Somebody writes, or the volume is being closed: what is done when idle stops after a chunk. */
bool reencode_must_stop(struct volume *volume);

/* compact.c */
struct archive;
/* Rewrites a closed blob for the archive; -ENODATA where archive->left says why it stays as it is. Other errors as
 * stack_compact(). No lock held. [waits] */
int compact_into(struct stack *stack, struct archive *archive);
/* In the calling thread, where much of the blob is dead: 0 also where it is not. -EBUSY, -ECANCELED for
 * somebody who writes, or another error. No lock held. [waits] */
int compact_when_idle(struct stack *stack);
/* After settling: has a blob rewritten of which much is dead, or a plain file converted that by its
 * name or content should be a blob. Failing costs nothing but room. Lock held. */
void compact_if_worthwhile(struct stack *stack);

/* notes.c */
/* `st`: the backing file before the blob was opened, or NULL where the blob is the one that whoever
 * writes uses: a row of an older state under the stat of a newer one would be believed. */
void volume_note_stored(struct stack *stack, struct blobref *ref, const struct stat *st);
void volume_note_damaged(struct stack *stack, uint64_t off, const char *what);
void *notes_refill_thread(void *volume);
/* The stack of a visible path, referenced. 0 or a negative errno. */
int notes_find_stack(struct volume *volume, const char *path, struct stack **out);

#endif
