#include "store/index_db.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* Milliseconds to wait for another process (sqyctl) that writes. */
#define BUSY_MS 5000

struct index_db_query {
    sqlite3_stmt *stmt;
};

struct index_db {
    const struct index_db_schema *schema;
    char *path; /* NULL: nothing that could be replaced */
    bool reader;
    void (*lost)(void *ctx); /* or NULL */
    void *lost_ctx;
    pthread_mutex_t lock; /* guards all below; held over sqlite, over nothing else */
    sqlite3 *db;          /* NULL after a replacement that failed */
    unsigned n_shared;    /* operations in the open transaction; 0: none is open */
    struct index_db_query query[];
};

/* What the system said; -EBADMSG is kept for what only a new database helps against. */
static int system_error(sqlite3 *db, int otherwise)
{
    int error = db ? sqlite3_system_errno(db) : 0;
    return error == 0 || error == EBADMSG ? otherwise : -error;
}

static int errno_of(sqlite3 *db, int rc)
{
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
        return system_error(db, -ENAMETOOLONG);
    default:
        return system_error(db, -EIO);
    }
}

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
static int check_schema(const struct index_db *db)
{
    int64_t application = 0, version = 0, tables = 0;
    int rc = read_number(db->db, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK)
        rc = read_number(db->db, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK)
        rc = read_number(db->db, "SELECT count(*) FROM sqlite_master", &tables);
    if (rc != SQLITE_OK)
        return rc;
    if (application == 0 && version == 0 && tables == 0)
        return SQLITE_EMPTY;
    return application == db->schema->application && version == db->schema->version ? SQLITE_OK
                                                                                    : SQLITE_NOTADB;
}

static int execute(const struct index_db *db, const char *sql)
{
    return sqlite3_exec(db->db, sql, NULL, NULL, NULL);
}

/* Two processes may open the same new file: whoever gets the lock makes the tables. */
static int make_schema(const struct index_db *db)
{
    int rc = execute(db, "BEGIN IMMEDIATE");
    if (rc != SQLITE_OK)
        return rc;
    rc = check_schema(db);
    if (rc == SQLITE_EMPTY) {
        char ids[96];
        snprintf(ids, sizeof(ids), "PRAGMA application_id = %d; PRAGMA user_version = %d",
                 db->schema->application, db->schema->version);
        rc = execute(db, db->schema->tables);
        if (rc == SQLITE_OK)
            rc = execute(db, ids);
    }
    if (rc == SQLITE_OK)
        rc = execute(db, "COMMIT");
    if (rc != SQLITE_OK)
        execute(db, "ROLLBACK");
    return rc;
}

static int prepare_schema(const struct index_db *db)
{
    if (!db->reader) {
        /* A power cut may cost the last rows, which is what a disposable database can afford. Where
         * there is no WAL (in memory), sqlite stays with what it has. */
        int rc = execute(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                             "PRAGMA journal_size_limit = 16777216; PRAGMA secure_delete = OFF");
        if (rc != SQLITE_OK)
            return rc;
    }
    int rc = check_schema(db);
    if (rc == SQLITE_EMPTY)
        rc = db->reader ? SQLITE_NOTADB : make_schema(db);
    return rc;
}

static int prepare_queries(struct index_db *db)
{
    int rc = SQLITE_OK;
    for (unsigned i = 0; i < db->schema->n_queries && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(db->db, db->schema->queries[i], -1, SQLITE_PREPARE_PERSISTENT,
                                &db->query[i].stmt, NULL);
    return rc;
}

static int end_transaction(const struct index_db *db, int r)
{
    if (r >= 0)
        r = errno_of(db->db, execute(db, "COMMIT"));
    if (r < 0 && !sqlite3_get_autocommit(db->db))
        execute(db, "ROLLBACK");
    return r;
}

static void tell_lost(const struct index_db *db)
{
    if (db->lost)
        db->lost(db->lost_ctx);
}

static int end_shared(struct index_db *db)
{
    if (db->n_shared == 0)
        return 0;
    db->n_shared = 0;
    bool undone = sqlite3_get_autocommit(db->db); /* by an error */
    int r = undone ? -EIO : end_transaction(db, 0);
    if (r < 0)
        tell_lost(db);
    return r;
}

static void disconnect(struct index_db *db)
{
    end_shared(db);
    for (unsigned i = 0; i < db->schema->n_queries; i++) {
        sqlite3_finalize(db->query[i].stmt);
        db->query[i].stmt = NULL;
    }
    sqlite3_close(db->db);
    db->db = NULL;
}

static int connect_to(struct index_db *db, const char *name)
{
    int flags = db->reader ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    int rc = sqlite3_open_v2(name, &db->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(db->db, BUSY_MS);
    if (rc == SQLITE_OK)
        rc = prepare_schema(db);
    if (rc == SQLITE_OK)
        rc = prepare_queries(db);
    int r = errno_of(db->db, rc);
    if (r < 0)
        disconnect(db);
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

static bool is_replaceable(const struct index_db *db)
{
    return db->path && !db->reader;
}

static int replace_file(struct index_db *db)
{
    log_warn("index %s is damaged or of another version: starting an empty one", db->path);
    disconnect(db);
    int r = unlink_with(db->path, "-wal");
    if (r == 0)
        r = unlink_with(db->path, "-shm");
    if (r == 0)
        r = unlink_with(db->path, "-journal");
    if (r == 0)
        r = unlink_with(db->path, "");
    return r < 0 ? r : connect_to(db, db->path);
}

/* sqlite reads "file:x" and ":memory:" in a meaning of its own. */
static char *plain_name(const char *path)
{
    char *name;
    return asprintf(&name, "%s%s", path[0] == '/' ? "" : "./", path) < 0 ? NULL : name;
}

static int connect_first(struct index_db *db, const char *path)
{
    if (!path || path[0] == '\0')
        return connect_to(db, path ? "" : ":memory:");
    if (strlen(path) > INDEX_DB_NAME_MAX)
        return -ENAMETOOLONG;
    db->path = plain_name(path);
    if (!db->path)
        return -ENOMEM;
    int r = connect_to(db, db->path);
    return r == -EBADMSG && is_replaceable(db) ? replace_file(db) : r;
}

int index_db_open(const char *path, bool reader, const struct index_db_schema *schema,
                  struct index_db **out)
{
    struct index_db *db = calloc(1, sizeof(*db) + schema->n_queries * sizeof(db->query[0]));
    if (!db)
        return -ENOMEM;
    db->schema = schema;
    db->reader = reader;
    pthread_mutex_init(&db->lock, NULL);
    int r = connect_first(db, path);
    if (r < 0) {
        index_db_close(&db);
        return r;
    }
    *out = db;
    return 0;
}

void index_db_close(struct index_db **db)
{
    if (!*db)
        return;
    disconnect(*db);
    pthread_mutex_destroy(&(*db)->lock);
    free((*db)->path);
    free(*db);
    *db = NULL;
}

void index_db_on_lost(struct index_db *db, void (*lost)(void *ctx), void *ctx)
{
    db->lost = lost;
    db->lost_ctx = ctx;
}

/* Gives up the lock. */
static int run_locked(struct index_db *db, index_db_fn *op, void *args)
{
    int r = db->db ? op(db, args) : -EIO;
    if (r == -EBADMSG && is_replaceable(db)) {
        r = replace_file(db);
        tell_lost(db);
        if (r == 0)
            r = op(db, args);
    }
    pthread_mutex_unlock(&db->lock);
    return r;
}

int index_db_run(struct index_db *db, index_db_fn *op, void *args)
{
    pthread_mutex_lock(&db->lock);
    end_shared(db);
    return run_locked(db, op, args);
}

int index_db_run_shared(struct index_db *db, index_db_fn *op, void *args)
{
    pthread_mutex_lock(&db->lock);
    if (db->n_shared >= INDEX_DB_SHARED_MOST)
        end_shared(db);
    if (db->db && (db->n_shared > 0 || execute(db, "BEGIN IMMEDIATE") == SQLITE_OK))
        db->n_shared++; /* else this one is a transaction of its own */
    return run_locked(db, op, args);
}

int index_db_end_shared(struct index_db *db, bool wait)
{
    if (wait)
        pthread_mutex_lock(&db->lock);
    else if (pthread_mutex_trylock(&db->lock) != 0)
        return -EAGAIN;
    int r = end_shared(db);
    pthread_mutex_unlock(&db->lock);
    return r;
}

int index_db_transaction(struct index_db *db, index_db_fn *steps, void *args)
{
    int r = errno_of(db->db, execute(db, "BEGIN IMMEDIATE"));
    if (r < 0)
        return r;
    return end_transaction(db, steps(db, args));
}

struct index_db_query *index_db_query(struct index_db *db, unsigned number)
{
    return &db->query[number];
}

void index_db_bind_int(struct index_db_query *query, int n, int64_t value)
{
    sqlite3_bind_int64(query->stmt, n, value);
}

void index_db_bind_real(struct index_db_query *query, int n, double value)
{
    sqlite3_bind_double(query->stmt, n, index_db_kept(value));
}

void index_db_bind_text(struct index_db_query *query, int n, const char *text)
{
    sqlite3_bind_text(query->stmt, n, text, -1, SQLITE_STATIC);
}

void index_db_bind_bytes(struct index_db_query *query, int n, const void *data, size_t len)
{
    sqlite3_bind_blob64(query->stmt, n, data, len, SQLITE_STATIC);
}

int index_db_step(struct index_db_query *query)
{
    int rc = sqlite3_step(query->stmt);
    return rc == SQLITE_ROW ? 1 : errno_of(sqlite3_db_handle(query->stmt), rc);
}

void index_db_end(struct index_db_query *query)
{
    sqlite3_reset(query->stmt);
    sqlite3_clear_bindings(query->stmt);
}

int index_db_execute(struct index_db_query *query)
{
    int r = index_db_step(query);
    index_db_end(query);
    return r < 0 ? r : 0;
}

int64_t index_db_int(struct index_db_query *query, int column)
{
    return sqlite3_column_int64(query->stmt, column);
}

double index_db_real(struct index_db_query *query, int column)
{
    return sqlite3_column_double(query->stmt, column);
}

size_t index_db_len(struct index_db_query *query, int column)
{
    return (size_t)sqlite3_column_bytes(query->stmt, column);
}

const void *index_db_bytes(struct index_db_query *query, int column)
{
    return sqlite3_column_blob(query->stmt, column);
}

double index_db_kept(double value)
{
    return value == 0 || value != value ? 0 : value;
}
