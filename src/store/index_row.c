#include "store/index_row.h"

#include <stdlib.h>
#include <string.h>

#include "base/sum.h"

/* A path is a blob, so that it may be any bytes and orders as bytes: what is below "dir" lies
 * between "dir/" and "dir0", '0' being the byte after '/'. No pattern is matched anywhere.
 * Everything in the mount happens by path or by inode, hence the two keys. */
const char index_row_table[] =
    "CREATE TABLE stacks ("
    " path BLOB PRIMARY KEY NOT NULL, ino INTEGER NOT NULL, stored_bytes INTEGER NOT NULL,"
    " stored_mtime INTEGER NOT NULL, stored_mtime_ns INTEGER NOT NULL,"
    " stored_ctime INTEGER NOT NULL, stored_ctime_ns INTEGER NOT NULL,"
    " plain_bytes INTEGER NOT NULL, mtime INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,"
    " pipeline TEXT NOT NULL, type TEXT NOT NULL,"
    " depth INTEGER NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,"
    " spp INTEGER NOT NULL, channels INTEGER NOT NULL, planes INTEGER NOT NULL,"
    " timepoints INTEGER NOT NULL,"
    " voxel_x REAL NOT NULL, voxel_y REAL NOT NULL, voxel_z REAL NOT NULL,"
    " digest INTEGER NOT NULL, state TEXT NOT NULL, quality TEXT NOT NULL, archive TEXT NOT NULL,"
    " again_bytes INTEGER NOT NULL,"
    " dead_bytes INTEGER NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX stacks_ino ON stacks(ino);"
    "CREATE INDEX stacks_due ON stacks(path) WHERE " INDEX_ROW_DUE ";";

enum kind { KIND_U32, KIND_U64, KIND_TIME, KIND_REAL, KIND_TEXT };

/* What stands between the path and the sum, in the order of INDEX_ROW_COLUMNS; a time takes two
 * columns. */
static const struct field {
    enum kind kind;
    size_t at; /* in struct index_row */
} fields[] = {
    {KIND_U64, offsetof(struct index_row, ino)},
    {KIND_U64, offsetof(struct index_row, stored_bytes)},
    {KIND_TIME, offsetof(struct index_row, stored_mtime)},
    {KIND_TIME, offsetof(struct index_row, stored_ctime)},
    {KIND_U64, offsetof(struct index_row, plain_bytes)},
    {KIND_TIME, offsetof(struct index_row, mtime)},
    {KIND_TEXT, offsetof(struct index_row, pipeline)},
    {KIND_TEXT, offsetof(struct index_row, type)},
    {KIND_U64, offsetof(struct index_row, depth)},
    {KIND_U64, offsetof(struct index_row, height)},
    {KIND_U64, offsetof(struct index_row, width)},
    {KIND_U32, offsetof(struct index_row, spp)},
    {KIND_U32, offsetof(struct index_row, channels)},
    {KIND_U32, offsetof(struct index_row, planes)},
    {KIND_U32, offsetof(struct index_row, timepoints)},
    {KIND_REAL, offsetof(struct index_row, voxel_x)},
    {KIND_REAL, offsetof(struct index_row, voxel_y)},
    {KIND_REAL, offsetof(struct index_row, voxel_z)},
    {KIND_U64, offsetof(struct index_row, digest)},
    {KIND_TEXT, offsetof(struct index_row, state)},
    {KIND_TEXT, offsetof(struct index_row, quality)},
    {KIND_TEXT, offsetof(struct index_row, archive)},
    {KIND_U64, offsetof(struct index_row, again_bytes)},
    {KIND_U64, offsetof(struct index_row, dead_bytes)},
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* A field's value, by whichever member its kind names. */
union value {
    uint32_t u32;
    uint64_t u64;
    struct timespec time;
    double real;
    const char *text;
};

static size_t kind_bytes(enum kind kind)
{
    switch (kind) {
    case KIND_U32:
        return sizeof(uint32_t);
    case KIND_U64:
        return sizeof(uint64_t);
    case KIND_TIME:
        return sizeof(struct timespec);
    case KIND_REAL:
        return sizeof(double);
    case KIND_TEXT:
        return sizeof(const char *);
    }
    return 0;
}

static union value get(const struct index_row *row, const struct field *field)
{
    union value value = {.u64 = 0};
    memcpy(&value, (const char *)row + field->at, kind_bytes(field->kind));
    if (field->kind == KIND_TEXT && value.text == NULL)
        value.text = "";
    return value;
}

static void set(struct index_row *row, const struct field *field, union value value)
{
    memcpy((char *)row + field->at, &value, kind_bytes(field->kind));
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Of all but the path, which a rename changes in place. */
static int64_t row_sum(const struct index_row *row)
{
    uint64_t words[2 * N_FIELDS];
    size_t n = 0;
    for (size_t i = 0; i < N_FIELDS; i++) {
        union value value = get(row, &fields[i]);
        switch (fields[i].kind) {
        case KIND_U32:
            words[n++] = value.u32;
            break;
        case KIND_U64:
            words[n++] = value.u64;
            break;
        case KIND_TIME:
            words[n++] = (uint64_t)value.time.tv_sec;
            words[n++] = (uint64_t)value.time.tv_nsec;
            break;
        case KIND_REAL:
            words[n++] = bits_of(index_db_kept(value.real));
            break;
        case KIND_TEXT:
            words[n++] = sum64(value.text, strlen(value.text));
            break;
        }
    }
    return (int64_t)sum64(words, n * sizeof(words[0]));
}

void index_row_bind_path(struct index_db_query *query, int n, const char *path)
{
    index_db_bind_bytes(query, n, path, strlen(path));
}

void index_row_bind(struct index_db_query *query, const struct index_row *row)
{
    int n = 1;
    index_row_bind_path(query, n++, row->path);
    for (size_t i = 0; i < N_FIELDS; i++) {
        union value value = get(row, &fields[i]);
        switch (fields[i].kind) {
        case KIND_U32:
            index_db_bind_int(query, n++, value.u32);
            break;
        case KIND_U64:
            index_db_bind_int(query, n++, (int64_t)value.u64);
            break;
        case KIND_TIME:
            index_db_bind_int(query, n++, value.time.tv_sec);
            index_db_bind_int(query, n++, value.time.tv_nsec);
            break;
        case KIND_REAL:
            index_db_bind_real(query, n++, value.real);
            break;
        case KIND_TEXT:
            index_db_bind_text(query, n++, value.text);
            break;
        }
    }
    index_db_bind_int(query, n, row_sum(row));
}

/* Appends a column's bytes to *at, with the NUL that sqlite need not have put there. */
static const char *keep_text(struct index_db_query *query, int column, char **at)
{
    const void *data = index_db_bytes(query, column);
    size_t len = index_db_len(query, column);
    char *text = *at;
    if (len > 0)
        memcpy(text, data, len);
    text[len] = '\0';
    *at += len + 1;
    return text;
}

static union value read_field(struct index_db_query *query, const struct field *field, int column,
                              char **text)
{
    union value value = {.u64 = 0};
    switch (field->kind) {
    case KIND_U32:
        value.u32 = (uint32_t)index_db_int(query, column);
        break;
    case KIND_U64:
        value.u64 = (uint64_t)index_db_int(query, column);
        break;
    case KIND_TIME:
        value.time.tv_sec = index_db_int(query, column);
        value.time.tv_nsec = index_db_int(query, column + 1);
        break;
    case KIND_REAL:
        value.real = index_db_real(query, column);
        break;
    case KIND_TEXT:
        value.text = keep_text(query, column, text);
        break;
    }
    return value;
}

/* Fills all of a row; returns the column of the sum. */
static int read_row(struct index_db_query *query, struct index_row *row, char *text)
{
    int column = 0;
    row->path = keep_text(query, column++, &text);
    for (size_t i = 0; i < N_FIELDS; i++) {
        set(row, &fields[i], read_field(query, &fields[i], column, &text));
        column += fields[i].kind == KIND_TIME ? 2 : 1;
    }
    return column;
}

static size_t text_bytes(struct index_db_query *query)
{
    size_t len = index_db_len(query, 0) + 1;
    int column = 1;
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (fields[i].kind == KIND_TEXT)
            len += index_db_len(query, column) + 1;
        column += fields[i].kind == KIND_TIME ? 2 : 1;
    }
    return len;
}

struct index_row_copy *index_row_copy(struct index_db_query *query)
{
    struct index_row_copy *copy = malloc(sizeof(*copy) + text_bytes(query));
    if (!copy)
        return NULL;
    int sum = read_row(query, &copy->row, copy->text);
    copy->path_len = index_db_len(query, 0);
    copy->sound = index_db_int(query, sum) == row_sum(&copy->row) && copy->path_len > 0 &&
                  strlen(copy->row.path) == copy->path_len;
    return copy;
}

int index_row_compare(const struct index_row_copy *a, const struct index_row_copy *b)
{
    size_t len = a->path_len < b->path_len ? a->path_len : b->path_len;
    int order = memcmp(a->row.path, b->row.path, len);
    return order ? order : (a->path_len > b->path_len) - (a->path_len < b->path_len);
}

bool index_row_is_current(const struct index_row *row, const struct stat *backing)
{
    return row->ino == backing->st_ino && row->stored_bytes == (uint64_t)backing->st_size &&
           row->stored_mtime.tv_sec == backing->st_mtim.tv_sec &&
           row->stored_mtime.tv_nsec == backing->st_mtim.tv_nsec &&
           row->stored_ctime.tv_sec == backing->st_ctim.tv_sec &&
           row->stored_ctime.tv_nsec == backing->st_ctim.tv_nsec;
}
