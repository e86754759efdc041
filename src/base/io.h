/* The system calls by which bytes reach and leave the store, behind a table, so that a test can
 * put a failing disk (store/io_faulty.h in the tests) below everything that writes: bytes, and the
 * names that make them count.
 *
 * All return >= 0 or a negative errno; EINTR is never seen by the caller. */
#ifndef SQYFS_BASE_IO_H
#define SQYFS_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct io {
    ssize_t (*pread)(const struct io *io, int fd, void *buf, size_t len, uint64_t off);
    ssize_t (*pwrite)(const struct io *io, int fd, const void *buf, size_t len, uint64_t off);
    int (*fdatasync)(const struct io *io, int fd);
    int (*ftruncate)(const struct io *io, int fd, uint64_t size);
    int (*fsync)(const struct io *io, int fd); /* of a directory: its names */
    /* `flags` as renameat2(2) has them */
    int (*rename)(const struct io *io, int from_dir, const char *from, int to_dir, const char *to,
                  unsigned flags);
    /* A hint, or NULL: these bytes begin their way to the disk, so that a sync to come waits for less. */
    void (*writeback)(const struct io *io, int fd, uint64_t off, uint64_t len);
};

/* The real ones. */
extern const struct io io_system;

/* Reads until `len` or end of file; returns the bytes read. */
ssize_t io_pread_full(const struct io *io, int fd, void *buf, size_t len, uint64_t off);

/* Reads exactly `len` bytes; -ENODATA where the file ends before. */
int io_pread_exact(const struct io *io, int fd, void *buf, size_t len, uint64_t off);

/* Writes all of it. 0 or a negative errno (part of it may then be written). */
int io_pwrite_full(const struct io *io, int fd, const void *buf, size_t len, uint64_t off);

#endif
