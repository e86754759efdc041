/* How a row of the index lies in its table: columns, their order, and the checksum that tells a
 * damaged row. */
#ifndef SQYFS_STORE_INDEX_ROW_H
#define SQYFS_STORE_INDEX_ROW_H

#include "store/index.h"
#include "store/index_db.h"

#define INDEX_ROW_SCHEMA 5 /* raise it when the columns change, or what they say */

/* SQL: the table "stacks", its columns, and as many parameters. */
extern const char index_row_table[];
#define INDEX_ROW_COLUMNS                                                                          \
    "path, ino, stored_bytes, stored_mtime, stored_mtime_ns, stored_ctime, stored_ctime_ns,"       \
    " plain_bytes, mtime, mtime_ns, pipeline, type, depth, height, width, spp, channels, planes,"  \
    " timepoints, voxel_x, voxel_y, voxel_z, digest, state, quality, archive,"                     \
    " again_bytes, dead_bytes, sum"
#define INDEX_ROW_PARAMETERS                                                                       \
    "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,"   \
    " ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29"
/* Which rows have something to be done; few do, and an index knows them. */
#define INDEX_ROW_DUE "again_bytes + dead_bytes > 0"

/* A row with its strings behind it, in one allocation: free(3). */
struct index_row_copy {
    struct index_row row;
    bool sound;      /* the checksum is its own */
    size_t path_len; /* more than strlen(row.path) only in a damaged row */
    char text[];
};

void index_row_bind_path(struct index_db_query *query, int n, const char *path);
/* The row as parameters 1 .. of a query. */
void index_row_bind(struct index_db_query *query, const struct index_row *row);
/* The row that a query of INDEX_ROW_COLUMNS has stepped to. NULL: out of memory. */
struct index_row_copy *index_row_copy(struct index_db_query *query);
/* Order of two rows as the database should have it. */
int index_row_compare(const struct index_row_copy *a, const struct index_row_copy *b);

#endif
