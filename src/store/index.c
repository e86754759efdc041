#include "store/index.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sum.h"

#define INDEX_APPLICATION 0x53515946 /* "SQYF", told by file(1) */
#define INDEX_SCHEMA      1          /* user_version: raise it when the table changes */
#define INDEX_BUSY_MS     5000 /* another process (sqyctl) writes: milliseconds to wait for it */

#define INDEX_NAME_MAX 500 /* sqlite's own limit is 512 with "-journal", told badly */

/* A path is a blob, so that it may be any bytes and orders as bytes: what is below "dir" lies
 * between "dir/" and "dir0", '0' being the byte after '/'. No pattern is matched anywhere.
 * Everything in the mount happens by path or by inode, hence the two keys. */
static const char schema_sql[] =
    "CREATE TABLE stacks ("
    " path BLOB PRIMARY KEY NOT NULL, ino INTEGER NOT NULL, stored_bytes INTEGER NOT NULL,"
    " stored_mtime INTEGER NOT NULL, stored_mtime_ns INTEGER NOT NULL,"
    " stored_ctime INTEGER NOT NULL, stored_ctime_ns INTEGER NOT NULL,"
    " plain_bytes INTEGER NOT NULL, mtime INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,"
    " pipeline TEXT NOT NULL, type TEXT NOT NULL,"
    " depth INTEGER NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,"
    " spp INTEGER NOT NULL, channels INTEGER NOT NULL, slices INTEGER NOT NULL,"
    " frames INTEGER NOT NULL,"
    " voxel_x REAL NOT NULL, voxel_y REAL NOT NULL, voxel_z REAL NOT NULL,"
    " digest INTEGER NOT NULL, state TEXT NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX stacks_ino ON stacks(ino);";

#define COLUMNS                                                                                    \
    "path, ino, stored_bytes, stored_mtime, stored_mtime_ns, stored_ctime, stored_ctime_ns,"       \
    " plain_bytes, mtime, mtime_ns, pipeline, type, depth, height, width, spp, channels, slices,"  \
    " frames, voxel_x, voxel_y, voxel_z, digest, state, sum"

enum query {
    QUERY_PUT,
    QUERY_REMOVE,
    QUERY_CLEAR,
    QUERY_RENAME,
    QUERY_GET,
    QUERY_GET_INO,
    QUERY_NEXT,
    QUERY_BEGIN,
    QUERY_COMMIT,
    QUERY_ROLLBACK,
    N_QUERIES
};

/* ?1, ?2, ?3 of REMOVE and RENAME: the path, its lowest child, and what follows its highest; they
 * come ready made because || makes text of blobs, which would order before every blob. */
static const char *const query_sql[N_QUERIES] = {
    [QUERY_PUT] = "INSERT OR REPLACE INTO stacks (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,"
                  " ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,"
                  " ?24, ?25)",
    [QUERY_REMOVE] = "DELETE FROM stacks WHERE path = ?1 OR (path >= ?2 AND path < ?3)",
    [QUERY_CLEAR] = "DELETE FROM stacks",
    [QUERY_RENAME] = "UPDATE OR REPLACE stacks SET path = CAST(?4 || substr(path, ?5) AS BLOB)"
                     " WHERE path = ?1 OR (path >= ?2 AND path < ?3)",
    [QUERY_GET] = "SELECT " COLUMNS " FROM stacks WHERE path = ?1",
    [QUERY_GET_INO] = "SELECT " COLUMNS " FROM stacks WHERE ino = ?1 ORDER BY path",
    [QUERY_NEXT] = "SELECT " COLUMNS " FROM stacks WHERE path > ?1 ORDER BY path LIMIT 1",
    [QUERY_BEGIN] = "BEGIN IMMEDIATE",
    [QUERY_COMMIT] = "COMMIT",
    [QUERY_ROLLBACK] = "ROLLBACK",
};

struct index {
    char *path; /* NULL: nothing that could be replaced */
    bool reader;
    pthread_mutex_t lock; /* guards all below; held over sqlite, over nothing else */
    sqlite3 *db;          /* NULL after a replacement that failed */
    sqlite3_stmt *query[N_QUERIES];
};

/* A row with its strings behind it, in one allocation. */
struct row_copy {
    struct index_row row;
    bool sound;      /* the checksum is its own */
    size_t path_len; /* more than strlen(row.path) only in a damaged row */
    char text[];
};

static int errno_of(sqlite3 *db, int rc)
{
    int sys = db ? sqlite3_system_errno(db) : 0;
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return -EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* a table that is not ours */
        return -EBADMSG;
    case SQLITE_TOOBIG:
        return -E2BIG;
    case SQLITE_CANTOPEN:
        return sys ? -sys : -ENAMETOOLONG;
    default:
        return sys ? -sys : -EIO;
    }
}

static bool is_unusable(int rc)
{
    rc &= 0xff;
    return rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB || rc == SQLITE_ERROR;
}

/* ---- opening ---- */

static int read_number(sqlite3 *db, const char *sql, int64_t *value)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *value = sqlite3_column_int64(stmt, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* SQLITE_OK, SQLITE_EMPTY for a new database, SQLITE_NOTADB for any that is not of this schema. */
static int check_schema(sqlite3 *db)
{
    int64_t application = 0, schema = 0, tables = 0;
    int rc = read_number(db, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK)
        rc = read_number(db, "PRAGMA user_version", &schema);
    if (rc == SQLITE_OK)
        rc = read_number(db, "SELECT count(*) FROM sqlite_master", &tables);
    if (rc != SQLITE_OK)
        return rc;
    if (application == 0 && schema == 0 && tables == 0)
        return SQLITE_EMPTY;
    return application == INDEX_APPLICATION && schema == INDEX_SCHEMA ? SQLITE_OK : SQLITE_NOTADB;
}

/* Two processes may open the same new file: whoever gets the lock makes the tables. */
static int make_schema(sqlite3 *db)
{
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = check_schema(db);
    if (rc == SQLITE_EMPTY) {
        char ids[96];
        snprintf(ids, sizeof(ids), "PRAGMA application_id = %d; PRAGMA user_version = %d",
                 INDEX_APPLICATION, INDEX_SCHEMA);
        rc = sqlite3_exec(db, schema_sql, NULL, NULL, NULL);
        if (rc == SQLITE_OK)
            rc = sqlite3_exec(db, ids, NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int prepare_schema(sqlite3 *db, bool reader)
{
    if (!reader) {
        /* A power cut may cost the last rows, which is what a disposable database can afford. Where
         * there is no WAL (in memory), sqlite stays with what it has. */
        int rc = sqlite3_exec(db,
                              "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                              "PRAGMA journal_size_limit = 16777216; PRAGMA secure_delete = OFF",
                              NULL, NULL, NULL);
        if (rc != SQLITE_OK)
            return rc;
    }
    int rc = check_schema(db);
    if (rc == SQLITE_EMPTY)
        rc = reader ? SQLITE_NOTADB : make_schema(db);
    return rc;
}

static void disconnect(struct index *index)
{
    for (unsigned i = 0; i < N_QUERIES; i++) {
        sqlite3_finalize(index->query[i]);
        index->query[i] = NULL;
    }
    sqlite3_close(index->db);
    index->db = NULL;
}

static int prepare_queries(struct index *index)
{
    int rc = SQLITE_OK;
    for (unsigned i = 0; i < N_QUERIES && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(index->db, query_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                &index->query[i], NULL);
    return rc;
}

/* *rc is sqlite's result; returns it as errno. */
static int connect_to(struct index *index, const char *name, int *rc)
{
    int flags = index->reader ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    *rc = sqlite3_open_v2(name, &index->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (*rc == SQLITE_OK)
        *rc = sqlite3_busy_timeout(index->db, INDEX_BUSY_MS);
    if (*rc == SQLITE_OK)
        *rc = prepare_schema(index->db, index->reader);
    if (*rc == SQLITE_OK)
        *rc = prepare_queries(index);
    int r = errno_of(index->db, *rc);
    if (r < 0)
        disconnect(index);
    return r;
}

static int unlink_with(const char *path, const char *suffix)
{
    char *name;
    if (asprintf(&name, "%s%s", path, suffix) < 0)
        return -ENOMEM;
    int r = unlink(name) < 0 && errno != ENOENT ? -errno : 0;
    free(name);
    return r;
}

static int replace_file(struct index *index)
{
    log_warn("index %s is damaged or of another version: starting an empty one", index->path);
    disconnect(index);
    int r = unlink_with(index->path, "-wal");
    if (r == 0)
        r = unlink_with(index->path, "-shm");
    if (r == 0)
        r = unlink_with(index->path, "-journal");
    if (r == 0)
        r = unlink_with(index->path, "");
    int rc;
    return r < 0 ? r : connect_to(index, index->path, &rc);
}

/* sqlite reads "file:x" and ":memory:" in a meaning of its own. */
static char *plain_name(const char *path)
{
    char *name;
    return asprintf(&name, "%s%s", path[0] == '/' ? "" : "./", path) < 0 ? NULL : name;
}

static int open_index(const char *path, bool reader, struct index **out)
{
    struct index *index = calloc(1, sizeof(*index));
    if (!index)
        return -ENOMEM;
    index->reader = reader;
    pthread_mutex_init(&index->lock, NULL);
    int r, rc;
    if (path && strlen(path) > INDEX_NAME_MAX) {
        r = -ENAMETOOLONG;
    } else if (path && path[0] != '\0') {
        index->path = plain_name(path);
        r = index->path ? connect_to(index, index->path, &rc) : -ENOMEM;
        if (index->path && !reader && r < 0 && is_unusable(rc))
            r = replace_file(index);
    } else {
        r = connect_to(index, path ? "" : ":memory:", &rc);
    }
    if (r < 0) {
        index_close(&index);
        return r;
    }
    *out = index;
    return 0;
}

int index_open(const char *path, struct index **out)
{
    return open_index(path, false, out);
}

int index_open_reader(const char *path, struct index **out)
{
    return open_index(path, true, out);
}

void index_close(struct index **index)
{
    if (!*index)
        return;
    disconnect(*index);
    pthread_mutex_destroy(&(*index)->lock);
    free((*index)->path);
    free(*index);
    *index = NULL;
}

/* ---- rows ---- */

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* What sqlite can keep of a double: it makes NULL of a NaN and 0 of -0. */
static double kept(double value)
{
    return value == 0 || value != value ? 0 : value;
}

/* Of all but the path, which a rename changes in place. */
static int64_t row_sum(const struct index_row *row)
{
    uint64_t words[] = {
        row->ino,
        row->stored_bytes,
        (uint64_t)row->stored_mtime.tv_sec,
        (uint64_t)row->stored_mtime.tv_nsec,
        (uint64_t)row->stored_ctime.tv_sec,
        (uint64_t)row->stored_ctime.tv_nsec,
        row->plain_bytes,
        (uint64_t)row->mtime.tv_sec,
        (uint64_t)row->mtime.tv_nsec,
        sum64(row->pipeline, strlen(row->pipeline)),
        sum64(row->type, strlen(row->type)),
        row->depth,
        row->height,
        row->width,
        row->spp,
        row->channels,
        row->slices,
        row->frames,
        bits_of(kept(row->voxel_x)),
        bits_of(kept(row->voxel_y)),
        bits_of(kept(row->voxel_z)),
        row->digest,
        sum64(row->state, strlen(row->state)),
    };
    return (int64_t)sum64(words, sizeof(words));
}

static void bind_path(sqlite3_stmt *stmt, int column, const char *path)
{
    sqlite3_bind_blob64(stmt, column, path, strlen(path), SQLITE_STATIC);
}

static void bind_time(sqlite3_stmt *stmt, int column, struct timespec time)
{
    sqlite3_bind_int64(stmt, column, time.tv_sec);
    sqlite3_bind_int64(stmt, column + 1, time.tv_nsec);
}

/* A bind fails for want of memory or for a string above sqlite's limit; the column is then NULL,
 * which the table refuses. */
static void bind_row(sqlite3_stmt *stmt, const struct index_row *row)
{
    bind_path(stmt, 1, row->path);
    sqlite3_bind_int64(stmt, 2, (int64_t)row->ino);
    sqlite3_bind_int64(stmt, 3, (int64_t)row->stored_bytes);
    bind_time(stmt, 4, row->stored_mtime);
    bind_time(stmt, 6, row->stored_ctime);
    sqlite3_bind_int64(stmt, 8, (int64_t)row->plain_bytes);
    bind_time(stmt, 9, row->mtime);
    sqlite3_bind_text(stmt, 11, row->pipeline, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 12, row->type, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 13, (int64_t)row->depth);
    sqlite3_bind_int64(stmt, 14, (int64_t)row->height);
    sqlite3_bind_int64(stmt, 15, (int64_t)row->width);
    sqlite3_bind_int64(stmt, 16, row->spp);
    sqlite3_bind_int64(stmt, 17, row->channels);
    sqlite3_bind_int64(stmt, 18, row->slices);
    sqlite3_bind_int64(stmt, 19, row->frames);
    sqlite3_bind_double(stmt, 20, kept(row->voxel_x));
    sqlite3_bind_double(stmt, 21, kept(row->voxel_y));
    sqlite3_bind_double(stmt, 22, kept(row->voxel_z));
    sqlite3_bind_int64(stmt, 23, (int64_t)row->digest);
    sqlite3_bind_text(stmt, 24, row->state, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 25, row_sum(row));
}

static struct timespec column_time(sqlite3_stmt *stmt, int column)
{
    return (struct timespec){
        .tv_sec = sqlite3_column_int64(stmt, column),
        .tv_nsec = sqlite3_column_int64(stmt, column + 1),
    };
}

/* Appends a column's bytes to *at, with the NUL that sqlite need not have put there. */
static const char *keep_text(sqlite3_stmt *stmt, int column, char **at)
{
    const void *data = sqlite3_column_blob(stmt, column);
    size_t len = (size_t)sqlite3_column_bytes(stmt, column);
    char *text = *at;
    if (len > 0)
        memcpy(text, data, len);
    text[len] = '\0';
    *at += len + 1;
    return text;
}

static void fill_row(sqlite3_stmt *stmt, struct index_row *row, char *text)
{
    row->path = keep_text(stmt, 0, &text);
    row->ino = (uint64_t)sqlite3_column_int64(stmt, 1);
    row->stored_bytes = (uint64_t)sqlite3_column_int64(stmt, 2);
    row->stored_mtime = column_time(stmt, 3);
    row->stored_ctime = column_time(stmt, 5);
    row->plain_bytes = (uint64_t)sqlite3_column_int64(stmt, 7);
    row->mtime = column_time(stmt, 8);
    row->pipeline = keep_text(stmt, 10, &text);
    row->type = keep_text(stmt, 11, &text);
    row->depth = (uint64_t)sqlite3_column_int64(stmt, 12);
    row->height = (uint64_t)sqlite3_column_int64(stmt, 13);
    row->width = (uint64_t)sqlite3_column_int64(stmt, 14);
    row->spp = (uint32_t)sqlite3_column_int64(stmt, 15);
    row->channels = (uint32_t)sqlite3_column_int64(stmt, 16);
    row->slices = (uint32_t)sqlite3_column_int64(stmt, 17);
    row->frames = (uint32_t)sqlite3_column_int64(stmt, 18);
    row->voxel_x = sqlite3_column_double(stmt, 19);
    row->voxel_y = sqlite3_column_double(stmt, 20);
    row->voxel_z = sqlite3_column_double(stmt, 21);
    row->digest = (uint64_t)sqlite3_column_int64(stmt, 22);
    row->state = keep_text(stmt, 23, &text);
}

/* NULL: out of memory. */
static struct row_copy *copy_row(sqlite3_stmt *stmt)
{
    static const int texts[] = {0, 10, 11, 23};
    size_t len = 0;
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        len += (size_t)sqlite3_column_bytes(stmt, texts[i]) + 1;
    struct row_copy *copy = malloc(sizeof(*copy) + len);
    if (!copy)
        return NULL;
    fill_row(stmt, &copy->row, copy->text);
    copy->path_len = (size_t)sqlite3_column_bytes(stmt, 0);
    copy->sound = sqlite3_column_int64(stmt, 24) == row_sum(&copy->row) && copy->path_len > 0 &&
                  strlen(copy->row.path) == copy->path_len;
    return copy;
}

bool index_row_is_current(const struct index_row *row, const struct stat *backing)
{
    return row->ino == backing->st_ino && row->stored_bytes == (uint64_t)backing->st_size &&
           row->stored_mtime.tv_sec == backing->st_mtim.tv_sec &&
           row->stored_mtime.tv_nsec == backing->st_mtim.tv_nsec &&
           row->stored_ctime.tv_sec == backing->st_ctim.tv_sec &&
           row->stored_ctime.tv_nsec == backing->st_ctim.tv_nsec;
}

/* ---- operations ----
 *
 * Each is a function that runs under the lock and returns sqlite's result, so that it can be run
 * again on a fresh database where the old one turns out to be damaged. */

typedef int op_fn(struct index *index, void *args);

static int run_op(struct index *index, op_fn *op, void *args)
{
    pthread_mutex_lock(&index->lock);
    int rc = index->db ? op(index, args) : SQLITE_IOERR;
    int r = errno_of(index->db, rc);
    if (is_unusable(rc) && index->path && !index->reader) {
        r = replace_file(index);
        if (r == 0)
            r = errno_of(index->db, op(index, args));
    }
    pthread_mutex_unlock(&index->lock);
    return r;
}

static void finish(sqlite3_stmt *stmt)
{
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
}

/* Runs a statement that gives no rows. */
static int run_query(struct index *index, enum query query)
{
    int rc = sqlite3_step(index->query[query]);
    finish(index->query[query]);
    return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

static int put_op(struct index *index, void *args)
{
    bind_row(index->query[QUERY_PUT], args);
    return run_query(index, QUERY_PUT);
}

int index_put(struct index *index, const struct index_row *row)
{
    struct index_row copy = *row;
    return row->path[0] == '\0' ? -EINVAL : run_op(index, put_op, &copy);
}

/* The bounds of what lies below a path, from one allocation. */
struct below {
    char *first, *end;
    const char *path, *to;
};

static int below_init(struct below *below, const char *path)
{
    below->path = path;
    below->first = below->end = NULL;
    if (asprintf(&below->first, "%s/", path) < 0)
        return -ENOMEM;
    if (asprintf(&below->end, "%s0", path) < 0) {
        free(below->first);
        return -ENOMEM;
    }
    return 0;
}

static void below_clear(struct below *below)
{
    free(below->first);
    free(below->end);
}

static void bind_below(sqlite3_stmt *stmt, const struct below *below)
{
    bind_path(stmt, 1, below->path);
    bind_path(stmt, 2, below->first);
    bind_path(stmt, 3, below->end);
}

static int remove_op(struct index *index, void *args)
{
    bind_below(index->query[QUERY_REMOVE], args);
    return run_query(index, QUERY_REMOVE);
}

static int clear_op(struct index *index, void *args)
{
    (void)args;
    return run_query(index, QUERY_CLEAR);
}

int index_remove(struct index *index, const char *path)
{
    if (path[0] == '\0')
        return run_op(index, clear_op, NULL);
    struct below below;
    int r = below_init(&below, path);
    if (r < 0)
        return r;
    r = run_op(index, remove_op, &below);
    below_clear(&below);
    return r;
}

struct rename_args {
    struct below from, to;
};

static int rename_steps(struct index *index, const struct rename_args *args)
{
    sqlite3_stmt *stmt = index->query[QUERY_RENAME];
    bind_below(index->query[QUERY_REMOVE], &args->to);
    int rc = run_query(index, QUERY_REMOVE);
    if (rc != SQLITE_DONE)
        return rc;
    bind_below(stmt, &args->from);
    bind_path(stmt, 4, args->to.path);
    sqlite3_bind_int64(stmt, 5, (int64_t)strlen(args->from.path) + 1);
    return run_query(index, QUERY_RENAME);
}

/* Ends the transaction that gave `rc`: all of it or nothing. */
static int end_transaction(struct index *index, int rc)
{
    if (rc == SQLITE_DONE)
        rc = run_query(index, QUERY_COMMIT);
    if (rc != SQLITE_DONE && !sqlite3_get_autocommit(index->db))
        run_query(index, QUERY_ROLLBACK);
    return rc;
}

static int rename_op(struct index *index, void *args)
{
    int rc = run_query(index, QUERY_BEGIN);
    return rc == SQLITE_DONE ? end_transaction(index, rename_steps(index, args)) : rc;
}

int index_rename(struct index *index, const char *from, const char *to)
{
    if (from[0] == '\0' || to[0] == '\0')
        return -EINVAL;
    if (strcmp(from, to) == 0)
        return 0;
    struct rename_args args;
    int r = below_init(&args.from, from);
    if (r < 0)
        return r;
    r = below_init(&args.to, to);
    if (r == 0) {
        r = run_op(index, rename_op, &args);
        below_clear(&args.to);
    }
    below_clear(&args.from);
    return r;
}

/* ---- reading ---- */

struct read_args {
    enum query query;
    const char *path;
    size_t path_len;
    const struct stat *backing; /* the row must be current for it */
    struct row_copy *found;     /* NULL: none */
};

static bool is_wanted(const struct read_args *read)
{
    return read->query == QUERY_NEXT || /* sound or not: the walk has to get past it */
           (read->found->sound &&
            (!read->backing || index_row_is_current(&read->found->row, read->backing)));
}

static int read_op(struct index *index, void *args)
{
    struct read_args *read = args;
    sqlite3_stmt *stmt = index->query[read->query];
    int rc;
    if (read->query == QUERY_GET_INO)
        sqlite3_bind_int64(stmt, 1, (int64_t)read->backing->st_ino);
    else
        sqlite3_bind_blob64(stmt, 1, read->path, read->path_len, SQLITE_STATIC);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        read->found = copy_row(stmt);
        if (!read->found) {
            rc = SQLITE_NOMEM;
            break;
        }
        if (is_wanted(read))
            break;
        free(read->found);
        read->found = NULL;
    }
    finish(stmt);
    return rc;
}

static int read_one(struct index *index, struct read_args *read, index_row_fn *fn, void *ctx)
{
    int r = run_op(index, read_op, read);
    if (r == 0)
        r = read->found ? fn(ctx, &read->found->row) : -ENOENT;
    free(read->found);
    return r;
}

int index_get(struct index *index, const char *path, index_row_fn *fn, void *ctx)
{
    struct read_args read = {.query = QUERY_GET, .path = path, .path_len = strlen(path)};
    return read_one(index, &read, fn, ctx);
}

int index_get_by_stat(struct index *index, const struct stat *backing, index_row_fn *fn, void *ctx)
{
    struct read_args read = {.query = QUERY_GET_INO, .backing = backing};
    return read_one(index, &read, fn, ctx);
}

/* Order of two rows as the database should have it. */
static int compare_paths(const struct row_copy *a, const struct row_copy *b)
{
    size_t len = a->path_len < b->path_len ? a->path_len : b->path_len;
    int order = memcmp(a->row.path, b->row.path, len);
    return order ? order : (a->path_len > b->path_len) - (a->path_len < b->path_len);
}

/* Goes on to the first row, or to the one after *row; *row is NULL after the last. A damaged tree
 * could lead in circles: whatever does not ascend is an error. */
static int next_row(struct index *index, struct row_copy **row)
{
    struct read_args read = {
        .query = QUERY_NEXT,
        .path = *row ? (*row)->row.path : "",
        .path_len = *row ? (*row)->path_len : 0,
    };
    int r = run_op(index, read_op, &read);
    if (r == 0 && *row && read.found && compare_paths(read.found, *row) <= 0)
        r = -EBADMSG;
    if (r < 0) {
        free(read.found);
        read.found = NULL;
    }
    free(*row);
    *row = read.found;
    return r;
}

/* Each row is read on its own: no statement stays open, so that writers are never held up. */
int index_each(struct index *index, index_row_fn *fn, void *ctx)
{
    struct row_copy *row = NULL;
    int r;
    while ((r = next_row(index, &row)) == 0 && row) {
        r = row->sound ? fn(ctx, &row->row) : 0;
        if (r != 0)
            break;
    }
    free(row);
    return r;
}

struct replace_args {
    struct index *from;
    int error; /* of reading `from` */
};

static int replace_steps(struct index *index, struct replace_args *args)
{
    struct row_copy *row = NULL;
    int rc = run_query(index, QUERY_CLEAR);
    args->error = 0;
    while (rc == SQLITE_DONE) {
        args->error = next_row(args->from, &row);
        if (args->error < 0)
            rc = SQLITE_ABORT;
        if (!row)
            break;
        if (row->sound)
            rc = put_op(index, &row->row);
    }
    free(row);
    return rc;
}

static int replace_op(struct index *index, void *args)
{
    int rc = run_query(index, QUERY_BEGIN);
    return rc == SQLITE_DONE ? end_transaction(index, replace_steps(index, args)) : rc;
}

int index_replace_all(struct index *index, struct index *from)
{
    assert(from != index);
    struct replace_args args = {.from = from};
    int r = run_op(index, replace_op, &args);
    return args.error < 0 ? args.error : r;
}
