/* A database file that may be lost: one connection of sqlite with its statements prepared, replaced
 * by an empty one when it turns out to be damaged. Knows nothing of what is in it. index_db.c is the
 * only file that includes sqlite3.h.
 *
 * Thread safe: one lock, held over sqlite and over nothing else; never call with another lock held.
 * Statements are used inside index_db_run() only. */
#ifndef SQYFS_STORE_INDEX_DB_H
#define SQYFS_STORE_INDEX_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* sqlite's own limit is 512 bytes with "-journal", which it tells badly. */
#define INDEX_DB_NAME_MAX 500

struct index_db;
struct index_db_query;

/* What a file must be to be used. */
struct index_db_schema {
    int application;    /* told by file(1) */
    int version;        /* raise it when the tables change */
    const char *tables; /* SQL that makes them */
    const char *const *queries;
    unsigned n_queries;
};

/* `path` NULL: in memory; "": in a temporary file of its own, gone with it. A file that is no
 * database of this schema is replaced; a reader makes and replaces nothing (-ENOENT, -EBADMSG).
 * `schema` is borrowed. 0 or a negative errno, -ENAMETOOLONG above INDEX_DB_NAME_MAX. */
int index_db_open(const char *path, bool reader, const struct index_db_schema *schema,
                  struct index_db **out);
void index_db_close(struct index_db **db);

/* Calls `lost` under the lock when rows that were entered may have gone: a shared transaction has been undone,
 * or the database replaced, if that was possible; then before the operation is run again. Set before
 * anybody else uses it. */
void index_db_on_lost(struct index_db *db, void (*lost)(void *ctx), void *ctx);

/* Runs an operation under the lock and returns what it returns. -EBADMSG from it means that the
 * database is damaged: it is then replaced, and the operation run once more. */
typedef int index_db_fn(struct index_db *db, void *args);
int index_db_run(struct index_db *db, index_db_fn *op, void *args);

/* As index_db_run(), for one of many small changes: they share a transaction, which ends with
 * INDEX_DB_SHARED_MOST of them, with index_db_end_shared() and before any other operation. Until then a
 * kill or a full disk takes them all. */
#define INDEX_DB_SHARED_MOST 64u
int index_db_run_shared(struct index_db *db, index_db_fn *op, void *args);
/* `wait`: else -EAGAIN where the database is in use just now. */
int index_db_end_shared(struct index_db *db, bool wait);

/* All that `steps` changes or nothing; inside an operation. */
int index_db_transaction(struct index_db *db, index_db_fn *steps, void *args);

struct index_db_query *index_db_query(struct index_db *db, unsigned number);

/* Parameters count from 1 and are borrowed until the query ends. Where one cannot be bound (memory,
 * sqlite's limits) it is NULL, which a table should refuse. */
void index_db_bind_int(struct index_db_query *query, int n, int64_t value);
void index_db_bind_real(struct index_db_query *query, int n, double value);
void index_db_bind_text(struct index_db_query *query, int n, const char *text);
void index_db_bind_bytes(struct index_db_query *query, int n, const void *data, size_t len);

/* 1: a row; 0: there are no more. Whatever it returns, index_db_end() ends the query. */
int index_db_step(struct index_db_query *query);
void index_db_end(struct index_db_query *query);
/* All of a query that gives no rows. */
int index_db_execute(struct index_db_query *query);

/* Columns of the row, counted from 0. Bytes are valid until the next step; len before bytes. */
int64_t index_db_int(struct index_db_query *query, int column);
double index_db_real(struct index_db_query *query, int column);
size_t index_db_len(struct index_db_query *query, int column);
const void *index_db_bytes(struct index_db_query *query, int column);

/* What is kept of a real number: sqlite makes NULL of a NaN and 0 of -0. */
double index_db_kept(double value);

#endif
