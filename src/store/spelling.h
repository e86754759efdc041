/* A visible name has up to three spellings in a directory of the store, tried in this order:
 *
 *     x        anything but a blob            (not where x itself ends in ".sqy")
 *     x.sqy    a blob; anything of a visible name that ends in ".sqy"
 *     x.SQY    the same, as a program without lower case leaves it; never made here
 *
 * The first that exists is the file, those after it are its shadows: what a crash between the steps
 * of a rename left behind, or a person put there. Whatever takes the file away or puts another in
 * its place drops the shadows first, so that none of them comes to light.
 *
 * No locks: the caller (tree.c and its kin) keeps others out of the directory. */
#ifndef SQYFS_STORE_SPELLING_H
#define SQYFS_STORE_SPELLING_H

#include <stdbool.h>
#include <sys/stat.h>

#include "store/names.h"

#define SPELLING_MAX 3

struct spellings {
    unsigned n;
    char name[SPELLING_MAX][NAMES_MAX];
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

/* 0, or -ENOENT where there is none of them. */
int spelling_find(int dir_fd, const char *visible, struct spelled *out);
/* The name that a file was found under. */
const char *spelling_of(const struct spelled *file);
/* Whether an errno says that a spelling is not there. */
bool spelling_is_absent(int error);

/* Removes a name, whatever it is (a directory must be empty); 0 also where it is not there. */
int spelling_remove(int dir_fd, const char *name);
int spelling_drop_shadows(int dir_fd, const struct spelled *file);
/* Before a file or directory goes. The shadows of a directory that will not go must stay. */
int spelling_prepare_removal(int dir_fd, const struct spelled *file);

#endif
