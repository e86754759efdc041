#include "store/index.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sum.h"
#include "store/facts.h"
#include "store/index_db.h"
#include "store/index_row.h"

#define APPLICATION 0x53515946 /* "SQYF", told by file(1) */

enum query {
    QUERY_PUT,
    QUERY_REMOVE,
    QUERY_CLEAR,
    QUERY_RENAME,
    QUERY_GET,
    QUERY_GET_INO,
    QUERY_NEAR,
    QUERY_NEXT,
    QUERY_NEXT_DUE,
    QUERY_DUE,
    QUERY_COUNT,
    N_QUERIES
};

/* ?1, ?2, ?3 of REMOVE and RENAME: the path, its lowest child, and what follows its highest; they
 * come ready made because || makes text of blobs, which would order before every blob. */
static const char *const queries[N_QUERIES] = {
    [QUERY_PUT] = "INSERT OR REPLACE INTO stacks (" INDEX_ROW_COLUMNS ") VALUES"
                  " (" INDEX_ROW_PARAMETERS ")",
    [QUERY_REMOVE] = "DELETE FROM stacks WHERE path = ?1 OR (path >= ?2 AND path < ?3)",
    [QUERY_CLEAR] = "DELETE FROM stacks",
    [QUERY_RENAME] = "UPDATE OR REPLACE stacks SET path = CAST(?4 || substr(path, ?5) AS BLOB)"
                     " WHERE path = ?1 OR (path >= ?2 AND path < ?3)",
    [QUERY_GET] = "SELECT " INDEX_ROW_COLUMNS " FROM stacks WHERE path = ?1",
    [QUERY_GET_INO] = "SELECT " INDEX_ROW_COLUMNS " FROM stacks WHERE ino = ?1 ORDER BY path",
    [QUERY_NEAR] = "SELECT " INDEX_ROW_COLUMNS " FROM stacks WHERE ino BETWEEN ?1 AND ?2"
                   " ORDER BY ino LIMIT ?3",
    [QUERY_NEXT] = "SELECT " INDEX_ROW_COLUMNS " FROM stacks WHERE path > ?1 ORDER BY path LIMIT 1",
    [QUERY_NEXT_DUE] = "SELECT " INDEX_ROW_COLUMNS " FROM stacks WHERE path > ?1"
                       " AND " INDEX_ROW_DUE " ORDER BY path",
    [QUERY_DUE] = "SELECT COUNT(*), TOTAL(again_bytes), TOTAL(dead_bytes) FROM stacks"
                  " WHERE " INDEX_ROW_DUE,
    [QUERY_COUNT] = "SELECT COUNT(*) FROM stacks",
};

static const struct index_db_schema schema = {
    .application = APPLICATION,
    .version = INDEX_ROW_SCHEMA,
    .tables = index_row_table,
    .queries = queries,
    .n_queries = N_QUERIES,
};

/* What the database gets and gives changes the facts under the database's lock, in the same order. */
struct index {
    struct index_db *db;
    struct facts *facts;
    atomic_ullong n_changes; /* moves before and after what is not counted exactly */
};

/* What was known of rows is true of the files all the same, but whoever believes that there are rows
 * enters none. */
static void forget_rows(void *ctx)
{
    struct index *index = ctx;
    facts_clear(index->facts);
    atomic_fetch_add(&index->n_changes, 1);
}

static int open_index(const char *path, bool reader, struct index **out)
{
    struct index *index = calloc(1, sizeof(*index));
    if (!index)
        return -ENOMEM;
    index->facts = facts_create();
    int r = index->facts ? index_db_open(path, reader, &schema, &index->db) : -ENOMEM;
    if (r < 0) {
        facts_destroy(&index->facts);
        free(index);
        return r;
    }
    index_db_on_lost(index->db, forget_rows, index);
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
    index_db_close(&(*index)->db);
    facts_destroy(&(*index)->facts);
    free(*index);
    *index = NULL;
}

/* Only a blob of ours has a table, and with it a digest. */
static struct fact fact_of(const struct index_row *row)
{
    return (struct fact){row->ino,
                         row->stored_bytes,
                         row->stored_mtime,
                         row->stored_ctime,
                         sum64(row->path, strlen(row->path)),
                         {row->plain_bytes, row->mtime, row->digest != 0}};
}

/* What else there is, is damaged, or not known to be whole. */
static bool is_usable(const struct index_row *row)
{
    return strcmp(row->state, "stored") == 0;
}

static int put_row(struct index_db *db, const struct index_row *row)
{
    struct index_db_query *query = index_db_query(db, QUERY_PUT);
    index_row_bind(query, row);
    return index_db_execute(query);
}

struct put_args {
    struct index *index;
    const struct index_row *row;
};

static int put_op(struct index_db *db, void *args)
{
    const struct put_args *put = args;
    struct fact fact = fact_of(put->row);
    int r = put_row(db, put->row);
    facts_put(put->index->facts, &fact,
              is_usable(put->row)); /* true even where it cannot be entered */
    atomic_fetch_add(&put->index->n_changes, 1);
    return r;
}

int index_put(struct index *index, const struct index_row *row)
{
    struct put_args put = {index, row};
    return row->path[0] == '\0' ? -EINVAL : index_db_run(index->db, put_op, &put);
}

int index_put_shared(struct index *index, const struct index_row *row)
{
    struct put_args put = {index, row};
    return row->path[0] == '\0' ? -EINVAL : index_db_run_shared(index->db, put_op, &put);
}

int index_share_end(struct index *index, bool wait)
{
    return index_db_end_shared(index->db, wait);
}

/* The bounds of what lies below a path. */
struct below {
    char *first, *end;
    const char *path;
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

static void bind_below(struct index_db_query *query, const struct below *below)
{
    index_row_bind_path(query, 1, below->path);
    index_row_bind_path(query, 2, below->first);
    index_row_bind_path(query, 3, below->end);
}

static int remove_op(struct index_db *db, void *args)
{
    struct index_db_query *query = index_db_query(db, QUERY_REMOVE);
    bind_below(query, args);
    return index_db_execute(query);
}

static int clear_op(struct index_db *db, void *args)
{
    (void)args;
    return index_db_execute(index_db_query(db, QUERY_CLEAR));
}

int index_remove(struct index *index, const char *path)
{
    atomic_fetch_add(&index->n_changes, 1);
    if (path[0] == '\0')
        return index_db_run(index->db, clear_op, NULL);
    struct below below;
    int r = below_init(&below, path);
    if (r < 0)
        return r;
    r = index_db_run(index->db, remove_op, &below);
    atomic_fetch_add(&index->n_changes, 1);
    below_clear(&below);
    return r;
}

struct rename_args {
    struct below from, to;
    index_db_fn *steps;
};

static int move_rows(struct index_db *db, const struct below *from, const struct below *to)
{
    struct index_db_query *query = index_db_query(db, QUERY_RENAME);
    bind_below(query, from);
    index_row_bind_path(query, 4, to->path);
    index_db_bind_int(query, 5, (int64_t)strlen(from->path) + 1);
    return index_db_execute(query);
}

static int rename_steps(struct index_db *db, void *args)
{
    struct rename_args *rename = args;
    int r = remove_op(db, &rename->to);
    return r < 0 ? r : move_rows(db, &rename->from, &rename->to);
}

/* By way of a path that no file can have. */
static int exchange_steps(struct index_db *db, void *args)
{
    const struct rename_args *exchange = args;
    struct below aside;
    int r = below_init(&aside, "/");
    if (r < 0)
        return r;
    r = move_rows(db, &exchange->from, &aside);
    if (r >= 0)
        r = move_rows(db, &exchange->to, &exchange->from);
    if (r >= 0)
        r = move_rows(db, &aside, &exchange->to);
    below_clear(&aside);
    return r;
}

static int rename_op(struct index_db *db, void *args)
{
    struct rename_args *rename = args;
    return index_db_transaction(db, rename->steps, args);
}

static int move(struct index *index, const char *from, const char *to, index_db_fn *steps)
{
    if (from[0] == '\0' || to[0] == '\0')
        return -EINVAL;
    if (strcmp(from, to) == 0)
        return 0;
    struct rename_args args = {.steps = steps};
    atomic_fetch_add(&index->n_changes, 1);
    int r = below_init(&args.from, from);
    if (r < 0)
        return r;
    r = below_init(&args.to, to);
    if (r == 0) {
        r = index_db_run(index->db, rename_op, &args);
        atomic_fetch_add(&index->n_changes, 1);
        below_clear(&args.to);
    }
    below_clear(&args.from);
    return r;
}

int index_rename(struct index *index, const char *from, const char *to)
{
    return move(index, from, to, rename_steps);
}

int index_exchange(struct index *index, const char *a, const char *b)
{
    return move(index, a, b, exchange_steps);
}

struct read_args {
    enum query query;
    const char *path;
    size_t path_len;
    const struct stat *backing;   /* the row must be current for it */
    struct index_row_copy *found; /* NULL: none */
};

static bool is_wanted(const struct read_args *read)
{
    return read->query == QUERY_NEXT || /* sound or not: the walk has to get past it */
           (read->found->sound &&
            (!read->backing || index_row_is_current(&read->found->row, read->backing)));
}

static int read_op(struct index_db *db, void *args)
{
    struct read_args *read = args;
    struct index_db_query *query = index_db_query(db, read->query);
    int r;
    if (read->query == QUERY_GET_INO)
        index_db_bind_int(query, 1, (int64_t)read->backing->st_ino);
    else
        index_db_bind_bytes(query, 1, read->path, read->path_len);
    while ((r = index_db_step(query)) > 0) {
        read->found = index_row_copy(query);
        if (!read->found)
            r = -ENOMEM;
        if (!read->found || is_wanted(read))
            break;
        free(read->found);
        read->found = NULL;
    }
    index_db_end(query);
    return r < 0 ? r : 0;
}

static int give_one(int r, const struct read_args *read, index_row_fn *fn, void *ctx)
{
    if (r == 0)
        r = read->found ? fn(ctx, &read->found->row) : -ENOENT;
    free(read->found);
    return r;
}

int index_get(struct index *index, const char *path, index_row_fn *fn, void *ctx)
{
    struct read_args read = {.query = QUERY_GET, .path = path, .path_len = strlen(path)};
    return give_one(index_db_run(index->db, read_op, &read), &read, fn, ctx);
}

int index_get_by_stat(struct index *index, const struct stat *backing, index_row_fn *fn, void *ctx)
{
    struct read_args read = {.query = QUERY_GET_INO, .backing = backing};
    return give_one(index_db_run(index->db, read_op, &read), &read, fn, ctx);
}

struct near_args {
    struct index *index;
    uint64_t ino;
    size_t n;
    struct fact list[FACTS_NEAR_ROWS];
};

static int take_near(struct index_db_query *query, struct near_args *near)
{
    struct index_row_copy *found = index_row_copy(query);
    if (!found)
        return -ENOMEM;
    if (found->sound && is_usable(&found->row))
        near->list[near->n++] = fact_of(&found->row);
    free(found);
    return 0;
}

static int near_op(struct index_db *db, void *args)
{
    struct near_args *near = args;
    struct index_db_query *query = index_db_query(db, QUERY_NEAR);
    uint64_t first = facts_near(near->ino);
    size_t n_rows = 0;
    int r;
    near->n = 0;
    index_db_bind_int(query, 1, (int64_t)first);
    index_db_bind_int(query, 2, (int64_t)(first + FACTS_NEAR - 1));
    index_db_bind_int(query, 3, FACTS_NEAR_ROWS);
    while ((r = index_db_step(query)) > 0) {
        n_rows++;
        r = take_near(query, near);
        if (r < 0)
            break;
    }
    index_db_end(query);
    if (r == 0 && n_rows < FACTS_NEAR_ROWS)
        r = facts_keep(near->index->facts, first, near->list, near->n);
    return r;
}

/* Failing costs time alone. */
static void read_near(struct index *index, uint64_t ino)
{
    struct near_args *near = malloc(sizeof(*near));
    if (!near)
        return;
    near->index = index;
    near->ino = ino;
    index_db_run(index->db, near_op, near);
    free(near);
}

static int take_attr(void *ctx, const struct index_row *row)
{
    struct index_attr *attr = ctx;
    *attr = fact_of(row).attr;
    return is_usable(row) ? 0 : -ENOENT;
}

int index_attr_near(struct index *index, const struct stat *backing, struct index_attr *out)
{
    return facts_find(index->facts, backing, NULL, out);
}

static int same_path(void *ctx, const struct index_row *row)
{
    return strcmp(row->path, ctx) == 0 ? 0 : -ENOENT;
}

int index_has(struct index *index, const struct stat *backing, const char *path)
{
    uint64_t sum = sum64(path, strlen(path));
    int r = facts_find(index->facts, backing, &sum, NULL);
    if (r == -EAGAIN && facts_wants_all(index->facts, backing->st_ino)) {
        read_near(index, backing->st_ino);
        r = facts_find(index->facts, backing, &sum, NULL);
    }
    if (r == 0)
        return 1;
    char *copy = strdup(path);
    r = copy ? index_get_by_stat(index, backing, same_path, copy) : -ENOMEM;
    free(copy);
    return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

int index_attr(struct index *index, const struct stat *backing, struct index_attr *out)
{
    int r = facts_find(index->facts, backing, NULL, out);
    if (r == -EAGAIN && facts_wants_all(index->facts, backing->st_ino)) {
        read_near(index, backing->st_ino);
        r = facts_find(index->facts, backing, NULL, out);
    }
    return r == -EAGAIN ? index_get_by_stat(index, backing, take_attr, out) : r;
}

int index_next_due(struct index *index, const char *path, index_row_fn *fn, void *ctx)
{
    struct read_args read = {.query = QUERY_NEXT_DUE, .path = path, .path_len = strlen(path)};
    return give_one(index_db_run(index->db, read_op, &read), &read, fn, ctx);
}

static int due_op(struct index_db *db, void *args)
{
    struct index_due *due = args;
    struct index_db_query *query = index_db_query(db, QUERY_DUE);
    int r = index_db_step(query);
    if (r > 0)
        *due =
            (struct index_due){(uint64_t)index_db_int(query, 0), (uint64_t)index_db_real(query, 1),
                               (uint64_t)index_db_real(query, 2)};
    index_db_end(query);
    return r < 0 ? r : 0;
}

int index_due(struct index *index, struct index_due *out)
{
    *out = (struct index_due){0};
    return index_db_run(index->db, due_op, out);
}

static int count_op(struct index_db *db, void *args)
{
    uint64_t *n_rows = args;
    struct index_db_query *query = index_db_query(db, QUERY_COUNT);
    int r = index_db_step(query);
    *n_rows = r > 0 ? (uint64_t)index_db_int(query, 0) : 0;
    index_db_end(query);
    return r < 0 ? r : 0;
}

uint64_t index_changes(struct index *index)
{
    return atomic_load(&index->n_changes);
}

int index_count(struct index *index, uint64_t *n_rows)
{
    return index_db_run(index->db, count_op, n_rows);
}

/* Goes on to the first row, or to the one after *row; *row is NULL after the last. A damaged tree
 * could lead in circles: whatever does not ascend is an error. */
static int next_row(struct index *index, struct index_row_copy **row)
{
    struct read_args read = {
        .query = QUERY_NEXT,
        .path = *row ? (*row)->row.path : "",
        .path_len = *row ? (*row)->path_len : 0,
    };
    int r = index_db_run(index->db, read_op, &read);
    if (r == 0 && *row && read.found && index_row_compare(read.found, *row) <= 0)
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
    struct index_row_copy *row = NULL;
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
    struct index *index, *from;
    int error; /* of reading `from` */
};

static int replace_steps(struct index_db *db, void *args)
{
    struct replace_args *replace = args;
    struct index_row_copy *row = NULL;
    int r = clear_op(db, NULL);
    replace->error = 0;
    while (r == 0) {
        replace->error = next_row(replace->from, &row);
        if (replace->error < 0)
            r = -ECANCELED; /* whatever is wrong there, this database is not */
        if (!row)
            break;
        if (row->sound)
            r = put_row(db, &row->row);
    }
    free(row);
    return r;
}

static int replace_op(struct index_db *db, void *args)
{
    const struct replace_args *replace = args;
    int r = index_db_transaction(db, replace_steps, args);
    forget_rows(replace->index);
    return r;
}

int index_replace_all(struct index *index, struct index *from)
{
    assert(from != index);
    struct replace_args args = {.index = index, .from = from};
    int r = index_db_run(index->db, replace_op, &args);
    return args.error < 0 ? args.error : r;
}
