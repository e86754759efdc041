/* Whose a file of the store is: ours, or sqeazy's own that somebody put there ("foreign": a sqeazy
 * header without our key). Reads the first bytes of the file, so it is asked only where a name
 * depends on it (store/names.h). */
#ifndef SQYFS_STORE_ORIGIN_H
#define SQYFS_STORE_ORIGIN_H

/* 1: foreign; 0 also for what is no regular file, is not there, is empty, or cannot be read for a reason
 * of its own; -EMFILE, -ENFILE or -ENOMEM, which say nothing of the file. */
int origin_is_foreign(int dir_fd, const char *name);
/* The same of an open file; O_PATH will do. */
int origin_is_foreign_fd(int fd);
/* For who would remove it: what cannot be read is a negative errno in any case. */
int origin_check(int dir_fd, const char *name);

#endif
