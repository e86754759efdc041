/* The faulty twin of base/io.h: a disk that counts, fails, tears writes, and loses its power.
 *
 * Calls go through to the real file, so what is read back is what a page cache would hold. Beside
 * it the twin keeps what a disk would hold: the state of the last fdatasync, and in which order
 * what was written since. io_faulty_crash_image() makes from it one of the files that a power cut
 * may leave.
 *
 * Of names it only counts and fails the calls; what may happen to them meanwhile does a hook.
 *
 * One file at a time; thread safe but for the crash model, which one thread uses. */
#ifndef SQYFS_TESTS_IO_FAULTY_H
#define SQYFS_TESTS_IO_FAULTY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/io.h"

enum io_faulty_call {
    IO_PREAD,
    IO_PWRITE,
    IO_FDATASYNC,
    IO_FTRUNCATE,
    IO_FSYNC,
    IO_RENAME,
    IO_N_CALLS
};

struct io_faulty_rule {
    unsigned at;   /* the call that fails, counted from 1; 0: none */
    int error;     /* positive errno */
    bool for_good; /* and all after it */
    size_t
        keep; /* of a write: so many bytes get through first; SIZE_MAX: a short count, no error */
};

struct io_faulty_op; /* a write or truncation that no fdatasync has seen */

struct io_faulty {
    struct io io; /* give this to what is tested; first member */
    pthread_mutex_t lock;
    unsigned n[IO_N_CALLS]; /* calls so far */
    unsigned n_failed[IO_N_CALLS];
    struct io_faulty_rule rules[IO_N_CALLS];
    /* Called before a call on names goes through or fails, without the lock. NULL: nothing. */
    void (*hook)(void *ctx, enum io_faulty_call call, unsigned nth);
    void *hook_ctx;
    unsigned cut_after; /* writes and truncations; then every call fails with EIO. 0: never */

    bool
        forgets; /* a failed fdatasync loses all that was not synced, from the page cache as well */
    bool recording;
    uint8_t *disk; /* as of the last fdatasync */
    size_t disk_len, disk_cap;
    struct io_faulty_op *ops;
    size_t n_ops, cap_ops;
    uint64_t random;
};

void io_faulty_init(struct io_faulty *f);
void io_faulty_clear(struct io_faulty *f);

/* The nth call from now on fails. */
void io_faulty_fail(struct io_faulty *f, enum io_faulty_call call, unsigned nth, int error,
                    bool for_good);
/* The nth write from now on gets `keep` bytes down and fails. */
void io_faulty_tear(struct io_faulty *f, unsigned nth, size_t keep, int error);
void io_faulty_heal(struct io_faulty *f);

/* Starts the crash model on a file, whose content now counts as being on the disk. */
void io_faulty_record(struct io_faulty *f, int fd, uint64_t seed);
/* Whether the power is gone. */
bool io_faulty_is_cut(const struct io_faulty *f);
/* Writes a file that a power cut may leave now into the empty file `fd`: of what was not synced,
 * any part may be there, whole or in sectors. Another seed, another file. */
void io_faulty_crash_image(const struct io_faulty *f, uint64_t seed, int fd);

#endif
