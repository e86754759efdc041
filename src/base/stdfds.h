/* Standard input, output and error, which whoever starts a program may have closed. */
#ifndef SQYFS_BASE_STDFDS_H
#define SQYFS_BASE_STDFDS_H

/* Call first of all: no file that is opened later gets number 0, 1 or 2, and so receives what is
 * printed, or is replaced when a daemon leaves its terminal. Printing to what was closed fails, as
 * it would have. */
void stdfds_fill(void);

/* 0 where standard output took all that was printed, or a negative errno. */
int stdfds_flush(void);

#endif
