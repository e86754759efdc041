/* A visible name has up to five spellings in a directory of the store, tried in this order:
 *
 *     x          anything but a blob            (not where x itself ends in ".sqy")
 *     x.sqy      a blob; anything of a visible name that ends in ".sqy"
 *     x.SQY      the same, as a program without lower case leaves it; never made here
 *
 * and where x is y.tif, also
 *
 *     y.sqy      a foreign file, which is sqeazy's own
 *     y.SQY      the same
 *
 * which in turn is no spelling of y: whose file it is decides.
 *
 * The first that exists is the file, those after it are its shadows: what a crash between the steps
 * of a rename left behind, or a person put there. Whatever takes the file away or puts another in
 * its place drops the shadows first, so that none of them comes to light. Foreign ones stay: they
 * are somebody's files, and sqyctl verify tells of them.
 *
 * No locks: the caller (tree.c and its kin) keeps others out of the directory. */
#ifndef SQYFS_STORE_SPELLING_H
#define SQYFS_STORE_SPELLING_H

#include <stdbool.h>
#include <sys/stat.h>

#include "store/names.h"

#define SPELLING_MAX 5

/* What a regular file must be for the spelling to be one of the name's. */
enum spelling_whose { SPELLING_ANY, SPELLING_OURS, SPELLING_FOREIGN };

struct spellings {
    unsigned n;
    char name[SPELLING_MAX][NAMES_MAX];
    enum spelling_whose whose[SPELLING_MAX];
};

/* A visible name as it exists: spelling `rank` is the file. */
struct spelled {
    struct spellings spellings;
    unsigned rank;
    bool blob;
    struct stat st;
};

/* 0; -EINVAL for what is no name; -ENAMETOOLONG. */
int spelling_all(const char *visible, struct spellings *out);
/* Which one `name` is; `n` for what is none of the spellings. */
unsigned spelling_rank(const struct spellings *spellings, const char *name);

/* 1 where the open file `fd` (O_PATH) of spelling `i` counts, 0, or the errors of origin_is_foreign(). */
int spelling_counts(const struct spellings *spellings, unsigned i, int fd);
/* 0 where spelling `i` is there and counts, -ENOENT, or another negative errno. */
int spelling_stat(int dir_fd, const struct spellings *spellings, unsigned i, struct stat *st);

/* 0, or -ENOENT where there is none of them. */
int spelling_find(int dir_fd, const char *visible, struct spelled *out);
/* The name that a file was found under. */
const char *spelling_of(const struct spelled *file);
/* Whether an errno says that a spelling is not there. */
bool spelling_is_absent(int error);

/* Removes a name, whatever it is (a directory must be empty); 0 also where it is not there. */
int spelling_remove(int dir_fd, const char *name);
/* All but foreign ones. */
int spelling_drop_shadows(int dir_fd, const struct spelled *file);
/* Before a file or directory goes. The shadows of a directory that will not go must stay. */
int spelling_prepare_removal(int dir_fd, const struct spelled *file);

#endif
