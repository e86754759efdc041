#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "store/index.h"

struct place {
    char dir[64];
    char db[96];
};

static int place_make(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    strcpy(place->dir, "/tmp/test-index-XXXXXX");
    if (!mkdtemp(place->dir))
        return -1;
    snprintf(place->db, sizeof(place->db), "%s/index.db", place->dir);
    *state = place;
    return 0;
}

static int place_remove(void **state)
{
    struct place *place = *state;
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", place->dir);
    free(place);
    return system(command);
}

static struct index_row make_row(const char *path, uint64_t number)
{
    return (struct index_row){
        .path = path,
        .ino = number,
        .stored_bytes = number * 3,
        .stored_mtime = {.tv_sec = (time_t)number, .tv_nsec = 1},
        .stored_ctime = {.tv_sec = (time_t)number, .tv_nsec = 2},
        .plain_bytes = number * 7,
        .mtime = {.tv_sec = 5, .tv_nsec = 999999999},
        .pipeline = "bitshuffle->zstd",
        .type = "uint16",
        .depth = 1,
        .height = 2,
        .width = 3,
        .spp = 1,
        .voxel_x = 0.1,
        .digest = number,
        .state = "stored",
    };
}

static void put(struct index *index, const char *path, uint64_t number)
{
    struct index_row row = make_row(path, number);

    assert_int_equal(index_put(index, &row), 0);
}

static int take_plain_bytes(void *ctx, const struct index_row *row)
{
    *(uint64_t *)ctx = row->plain_bytes;
    return 0;
}

/* The number a path was put with, or 0. */
static uint64_t number_at(struct index *index, const char *path)
{
    uint64_t bytes = 0;
    int r = index_get(index, path, take_plain_bytes, &bytes);

    if (r == -ENOENT)
        return 0;
    assert_int_equal(r, 0);
    return bytes / 7;
}

struct listing {
    char text[4096];
};

static int add_to_listing(void *ctx, const struct index_row *row)
{
    struct listing *listing = ctx;
    size_t len = strlen(listing->text);

    snprintf(listing->text + len, sizeof(listing->text) - len, "%s=%ld|", row->path,
             (long)row->ino);
    return 0;
}

static void assert_listing(struct index *index, const char *expected)
{
    struct listing listing = {""};

    assert_int_equal(index_each(index, add_to_listing, &listing), 0);
    assert_string_equal(listing.text, expected);
}

static int count_row(void *ctx, const struct index_row *row)
{
    (void)row;
    ++*(unsigned *)ctx;
    return 0;
}

static unsigned count(struct index *index)
{
    unsigned n = 0;

    assert_int_equal(index_each(index, count_row, &n), 0);
    return n;
}

/* ---- values ---- */

static int assert_extreme(void *ctx, const struct index_row *row)
{
    const struct index_row *want = ctx;

    assert_string_equal(row->path, want->path);
    assert_int_equal(row->ino, want->ino);
    assert_int_equal(row->stored_bytes, want->stored_bytes);
    assert_memory_equal(&row->stored_mtime, &want->stored_mtime, sizeof(want->stored_mtime));
    assert_memory_equal(&row->stored_ctime, &want->stored_ctime, sizeof(want->stored_ctime));
    assert_memory_equal(&row->mtime, &want->mtime, sizeof(want->mtime));
    assert_int_equal(row->plain_bytes, want->plain_bytes);
    assert_string_equal(row->pipeline, want->pipeline);
    assert_string_equal(row->type, want->type);
    assert_int_equal(row->depth, want->depth);
    assert_int_equal(row->height, want->height);
    assert_int_equal(row->width, want->width);
    assert_int_equal(row->spp, want->spp);
    assert_int_equal(row->channels, want->channels);
    assert_int_equal(row->planes, want->planes);
    assert_int_equal(row->timepoints, want->timepoints);
    assert_memory_equal(&row->voxel_x, &want->voxel_x, sizeof(double));
    assert_memory_equal(&row->voxel_y, &want->voxel_y, sizeof(double));
    assert_memory_equal(&row->voxel_z, &want->voxel_z, sizeof(double));
    assert_int_equal(row->digest, want->digest);
    assert_string_equal(row->state, want->state);
    assert_int_equal(row->again_bytes, want->again_bytes);
    assert_int_equal(row->dead_bytes, want->dead_bytes);
    return 7;
}

static void values_are_exact(void **state)
{
    struct place *place = *state;
    struct index *index;
    struct index_row row = {
        .path = "d\xff'\";--/\n\t%_\xc3(/\x01 x.tif",
        .ino = UINT64_MAX,
        .stored_bytes = UINT64_MAX - 1,
        .stored_mtime = {.tv_sec = INT64_MIN, .tv_nsec = 999999999},
        .stored_ctime = {.tv_sec = INT64_MAX, .tv_nsec = 0},
        .plain_bytes = 1ull << 63,
        .mtime = {.tv_sec = -1, .tv_nsec = 1},
        .pipeline = "\xfe not utf-8 '",
        .type = "",
        .depth = UINT64_MAX,
        .height = 1ull << 53 | 1,
        .width = 0,
        .spp = UINT32_MAX,
        .channels = UINT32_MAX - 1,
        .planes = 1u << 31,
        .timepoints = 0,
        .voxel_x = 0.1 + 0.2,
        .voxel_y = 4.9406564584124654e-324,
        .voxel_z = INFINITY,
        .digest = 0x8000000000000001,
        .state = "damaged",
        .again_bytes = UINT64_MAX - 2,
        .dead_bytes = 1ull << 62,
    };

    for (unsigned reopened = 0; reopened < 2; reopened++) {
        assert_int_equal(index_open(place->db, &index), 0);
        if (!reopened)
            assert_int_equal(index_put(index, &row), 0);
        assert_int_equal(index_get(index, row.path, assert_extreme, &row), 7);
        assert_int_equal(index_each(index, assert_extreme, &row), 7);
        index_close(&index);
        assert_null(index);
    }
}

static int take_voxels(void *ctx, const struct index_row *row)
{
    double *out = ctx;

    out[0] = row->voxel_x;
    out[1] = row->voxel_y;
    return 0;
}

static void odd_doubles_are_unknown(void **state)
{
    struct index *index;
    struct index_row row = make_row("x", 1);
    double voxels[2] = {1, 1};

    (void)state;
    row.voxel_x = NAN;
    row.voxel_y = -0.0;
    assert_int_equal(index_open(NULL, &index), 0);
    assert_int_equal(index_put(index, &row), 0);
    assert_int_equal(index_get(index, "x", take_voxels, voxels), 0);
    assert_true(voxels[0] == 0 && voxels[1] == 0);
    index_close(&index);
}

static void long_paths(void **state)
{
    struct index *index;
    char *path = malloc(100001);

    (void)state;
    memset(path, 'p', 100000);
    path[100000] = '\0';
    assert_int_equal(index_open(NULL, &index), 0);
    put(index, path, 9);
    assert_int_equal(number_at(index, path), 9);
    path[50000] = '/';
    put(index, path, 8);
    path[50000] = '\0';
    assert_int_equal(index_rename(index, path, "short"), 0);
    path[50000] = '/';
    assert_int_equal(number_at(index, path), 0);
    assert_int_equal(index_remove(index, "short"), 0);
    assert_int_equal(count(index), 1);
    index_close(&index);
    free(path);
}

static void empty_paths_are_refused(void **state)
{
    struct index *index;
    struct index_row row = make_row("", 1);

    (void)state;
    assert_int_equal(index_open(NULL, &index), 0);
    assert_int_equal(index_put(index, &row), -EINVAL);
    assert_int_equal(index_rename(index, "", "x"), -EINVAL);
    assert_int_equal(index_rename(index, "x", ""), -EINVAL);
    assert_int_equal(index_get(index, "", count_row, NULL), -ENOENT);
    put(index, "a/b", 1);
    put(index, "c", 2);
    assert_int_equal(index_remove(index, ""), 0);
    assert_int_equal(count(index), 0);
    index_close(&index);
}

/* ---- trees of names ---- */

static void put_neighbours(struct index *index, const char *dir)
{
    static const char *const forms[] = {"%s",  "%s/x", "%s/y/z", "%s0",  "%s.",   "%s!",
                                        "%sX", "_%s",  "%s/%%",  "%s/_", "%s-/x", "%s0/x"};
    char path[64];

    for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(path, sizeof(path), forms[i], dir);
#pragma GCC diagnostic pop
        put(index, path, i + 1);
    }
}

static void removal_takes_just_what_is_below(void **state)
{
    static const char *const dirs[] = {"a", "%",    "_",  "a_b",    "a%",
                                       "'", "\xff", "\n", "a[b]*?", "\\"};
    struct index *index;
    char path[64];

    (void)state;
    for (unsigned i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        assert_int_equal(index_open(NULL, &index), 0);
        put_neighbours(index, dirs[i]);
        put(index, "zzz", 77);
        assert_int_equal(index_remove(index, dirs[i]), 0);
        assert_int_equal(count(index), 8);
        assert_int_equal(number_at(index, dirs[i]), 0);
        snprintf(path, sizeof(path), "%s/y/z", dirs[i]);
        assert_int_equal(number_at(index, path), 0);
        snprintf(path, sizeof(path), "%s0", dirs[i]);
        assert_int_equal(number_at(index, path), 4);
        assert_int_equal(number_at(index, "zzz"), 77);
        index_close(&index);
    }
}

static void renames_move_just_what_is_below(void **state)
{
    struct index *index;

    (void)state;
    assert_int_equal(index_open(NULL, &index), 0);
    put(index, "a_b/one", 1);
    put(index, "a_b/two/x", 2);
    put(index, "aXb/one", 3);
    put(index, "a_b", 4);
    put(index, "a_b.tif", 5);
    put(index, "n\xff", 6);
    put(index, "n\xff/old", 7);
    put(index, "n\xff\x30", 8);
    assert_int_equal(index_rename(index, "a_b", "n\xff"), 0);
    assert_listing(index, "aXb/one=3|a_b.tif=5|n\xff=4|n\xff/one=1|n\xff/two/x=2|n\xff\x30=8|");
    assert_int_equal(index_rename(index, "n\xff", "n\xff"), 0);
    assert_int_equal(index_rename(index, "nothing", "n\xff/two"), 0);
    assert_listing(index, "aXb/one=3|a_b.tif=5|n\xff=4|n\xff/one=1|n\xff\x30=8|");
    assert_int_equal(index_rename(index, "n\xff", "n"), 0);
    assert_listing(index, "aXb/one=3|a_b.tif=5|n=4|n/one=1|n\xff\x30=8|");
    index_close(&index);
}

static void exchanged_directories_keep_their_rows(void **state)
{
    struct index *index;

    (void)state;
    assert_int_equal(index_open(NULL, &index), 0);
    put(index, "a/one", 1);
    put(index, "a/two/x", 2);
    put(index, "a0", 3);
    put(index, "b/one", 4);
    put(index, "b.tif", 5);
    put(index, "b", 6);
    assert_int_equal(index_exchange(index, "a", "b"), 0);
    assert_listing(index, "a=6|a/one=4|a0=3|b.tif=5|b/one=1|b/two/x=2|");
    assert_int_equal(index_exchange(index, "b", "b"), 0);
    assert_int_equal(index_exchange(index, "b/two", "nothing"), 0);
    assert_listing(index, "a=6|a/one=4|a0=3|b.tif=5|b/one=1|nothing/x=2|");
    assert_int_equal(index_exchange(index, "", "b"), -EINVAL);
    index_close(&index);
}

/* A plain list with the same operations, slow and obvious. */
#define MODEL_MAX 256
struct model {
    unsigned n;
    struct {
        char path[64];
        uint64_t number;
    } rows[MODEL_MAX];
};

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static void model_remove(struct model *model, const char *dir)
{
    for (unsigned i = 0; i < model->n;) {
        if (is_below(model->rows[i].path, dir))
            model->rows[i] = model->rows[--model->n];
        else
            i++;
    }
}

static void model_put(struct model *model, const char *path, uint64_t number)
{
    for (unsigned i = 0; i < model->n; i++) {
        if (strcmp(model->rows[i].path, path) == 0) {
            model->rows[i].number = number;
            return;
        }
    }
    assert_true(model->n < MODEL_MAX);
    strcpy(model->rows[model->n].path, path);
    model->rows[model->n++].number = number;
}

static void model_rename(struct model *model, const char *from, const char *to)
{
    char path[64];

    model_remove(model, to);
    for (unsigned i = 0; i < model->n; i++) {
        if (!is_below(model->rows[i].path, from))
            continue;
        strcpy(path, to);
        strcat(path, model->rows[i].path + strlen(from));
        strcpy(model->rows[i].path, path);
    }
}

static void model_exchange(struct model *model, const char *a, const char *b)
{
    model_rename(model, a, "/");
    model_rename(model, b, a);
    model_rename(model, "/", b);
}

static int assert_in_model(void *ctx, const struct index_row *row)
{
    struct model *model = ctx;

    for (unsigned i = 0; i < model->n; i++) {
        if (strcmp(model->rows[i].path, row->path) == 0) {
            assert_int_equal(model->rows[i].number, row->ino);
            return 0;
        }
    }
    fail_msg("row %s is not in the model", row->path);
    return 0;
}

static void random_path(unsigned *seed, char *path, unsigned depth)
{
    static const char *const parts[] = {"a", "_", "%", "a0", "\xff", "a.", "'"};

    path[0] = '\0';
    for (unsigned i = 0; i < depth; i++) {
        if (i > 0)
            strcat(path, "/");
        strcat(path, parts[(unsigned)rand_r(seed) % 7]);
    }
}

static void one_random_step(struct index *index, struct model *model, unsigned *seed, unsigned step)
{
    char path[64], to[64];

    random_path(seed, path, 1 + (unsigned)rand_r(seed) % 3);
    random_path(seed, to, 1 + (unsigned)rand_r(seed) % 3);
    switch (rand_r(seed) % 10) {
    case 0:
        assert_int_equal(index_remove(index, path), 0);
        model_remove(model, path);
        break;
    case 1:
        if (is_below(path, to) || is_below(to, path))
            break; /* no filesystem does it */
        assert_int_equal(index_rename(index, path, to), 0);
        model_rename(model, path, to);
        break;
    case 2:
        if (is_below(path, to) || is_below(to, path))
            break;
        assert_int_equal(index_exchange(index, path, to), 0);
        model_exchange(model, path, to);
        break;
    default:
        put(index, path, step + 1);
        model_put(model, path, step + 1);
    }
}

static void random_operations_follow_the_model(void **state)
{
    struct model model;
    struct index *index;

    (void)state;
    for (unsigned seed = 1; seed <= 5; seed++) {
        unsigned random = seed;

        model.n = 0;
        assert_int_equal(index_open(NULL, &index), 0);
        for (unsigned step = 0; step < 400; step++) {
            one_random_step(index, &model, &random, step);
            assert_int_equal(index_each(index, assert_in_model, &model), 0);
            assert_int_equal(count(index), model.n);
        }
        index_close(&index);
    }
}

/* ---- by the state of the backing file ---- */

static struct stat stat_of(const struct index_row *row)
{
    struct stat st = {0};

    st.st_ino = row->ino;
    st.st_size = (off_t)row->stored_bytes;
    st.st_mtim = row->stored_mtime;
    st.st_ctim = row->stored_ctime;
    return st;
}

static void a_row_counts_for_one_state_only(void **state)
{
    struct index *index;
    struct index_row row = make_row("x", 42);
    struct stat same = stat_of(&row), st;
    uint64_t bytes;

    (void)state;
    assert_int_equal(index_open(NULL, &index), 0);
    assert_int_equal(index_put(index, &row), 0);
    assert_int_equal(index_get_by_stat(index, &same, take_plain_bytes, &bytes), 0);
    assert_int_equal(bytes, 42 * 7);
    for (unsigned field = 0; field < 6; field++) {
        st = same;
        st.st_ino += field == 0;
        st.st_size += field == 1;
        st.st_mtim.tv_sec += field == 2;
        st.st_mtim.tv_nsec += field == 3;
        st.st_ctim.tv_sec += field == 4;
        st.st_ctim.tv_nsec += field == 5;
        assert_false(index_row_is_current(&row, &st));
        assert_int_equal(index_get_by_stat(index, &st, take_plain_bytes, &bytes), -ENOENT);
    }
    index_close(&index);
}

static void hard_links_share_an_inode(void **state)
{
    struct index *index;
    struct index_row old = make_row("a", 42), new = make_row("b", 42);
    struct stat st;
    uint64_t bytes = 0;

    (void)state;
    old.stored_ctime.tv_sec--;
    old.plain_bytes = 1;
    st = stat_of(&new);
    assert_int_equal(index_open(NULL, &index), 0);
    assert_int_equal(index_put(index, &old), 0);
    assert_int_equal(index_put(index, &new), 0);
    assert_int_equal(index_get_by_stat(index, &st, take_plain_bytes, &bytes), 0);
    assert_int_equal(bytes, 42 * 7);
    assert_int_equal(index_remove(index, "b"), 0);
    assert_int_equal(index_get_by_stat(index, &st, take_plain_bytes, &bytes), -ENOENT);
    index_close(&index);
}

/* ---- callbacks ---- */

struct busy_ctx {
    struct index *index;
    unsigned seen;
};

static int change_while_walking(void *ctx, const struct index_row *row)
{
    struct busy_ctx *busy = ctx;

    busy->seen++;
    put(busy->index, "0-before", 100);
    assert_int_equal(index_remove(busy->index, row->path), 0);
    return 0;
}

static void callbacks_may_change_the_index(void **state)
{
    struct busy_ctx busy = {0};

    (void)state;
    assert_int_equal(index_open(NULL, &busy.index), 0);
    for (char name[] = "a"; name[0] <= 'z'; name[0]++)
        put(busy.index, name, 1);
    assert_int_equal(index_each(busy.index, change_while_walking, &busy), 0);
    assert_int_equal(busy.seen, 26);
    assert_listing(busy.index, "0-before=100|");
    index_close(&busy.index);
}

/* ---- files that are not what they should be ---- */

static void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static void assert_opens_empty_and_works(const char *path)
{
    struct index *index;

    assert_int_equal(index_open(path, &index), 0);
    assert_int_equal(count(index), 0);
    put(index, "x", 3);
    index_close(&index);
    assert_int_equal(index_open(path, &index), 0);
    assert_int_equal(number_at(index, "x"), 3);
    index_close(&index);
}

static void sql(const char *path, const char *text)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void foreign_files_are_replaced(void **state)
{
    struct place *place = *state;
    static char junk[10000];

    write_file(place->db, "", 0);
    assert_opens_empty_and_works(place->db);
    write_file(place->db, "this is no database", 19);
    assert_opens_empty_and_works(place->db);
    memset(junk, 0xa5, sizeof(junk));
    write_file(place->db, junk, sizeof(junk));
    assert_opens_empty_and_works(place->db);
    memcpy(junk, "SQLite format 3", 16);
    write_file(place->db, junk, sizeof(junk));
    assert_opens_empty_and_works(place->db);
}

static void put_due(struct index *index, const char *path, uint64_t again, uint64_t dead)
{
    struct index_row row = make_row(path, 1);

    row.again_bytes = again;
    row.dead_bytes = dead;
    assert_int_equal(index_put(index, &row), 0);
}

static int take_path(void *ctx, const struct index_row *row)
{
    strcpy(ctx, row->path);
    return 0;
}

static void what_is_due_is_found_in_order_and_summed(void **state)
{
    struct place *place = *state;
    struct index *index;
    struct index_due due;
    char path[64] = "";

    assert_int_equal(index_open(place->db, &index), 0);
    assert_int_equal(index_due(index, &due), 0);
    assert_int_equal(due.n_stacks, 0);
    assert_int_equal(index_next_due(index, "", take_path, path), -ENOENT);
    put_due(index, "a", 0, 0);
    put_due(index, "b", 10, 0);
    put_due(index, "c/d", 0, 5);
    put_due(index, "c/e", 7, 1);
    put_due(index, "f", 8, 0);
    put_due(index, "f", 0, 0);
    assert_int_equal(index_due(index, &due), 0);
    assert_int_equal(due.n_stacks, 3);
    assert_int_equal(due.again_bytes, 17);
    assert_int_equal(due.dead_bytes, 6);
    for (unsigned i = 0; i < 3; i++) {
        static const char *const paths[] = {"b", "c/d", "c/e"};
        assert_int_equal(index_next_due(index, path, take_path, path), 0);
        assert_string_equal(path, paths[i]);
    }
    assert_int_equal(index_next_due(index, path, take_path, path), -ENOENT);
    sql(place->db, "UPDATE stacks SET again_bytes = 11 WHERE path = CAST('b' AS BLOB)");
    assert_int_equal(index_next_due(index, "", take_path, path), 0);
    assert_string_equal(path, "c/d"); /* a changed row is none, and hides none */
    index_close(&index);
}

static void other_schemas_are_replaced(void **state)
{
    static const char *const changes[] = {
        "PRAGMA user_version = 4",
        "PRAGMA user_version = 6",
        "PRAGMA user_version = 0",
        "PRAGMA application_id = 5",
        "ALTER TABLE stacks RENAME TO other",
        "ALTER TABLE stacks DROP COLUMN sum",
        "DROP TABLE stacks",
    };
    struct place *place = *state;

    for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        unlink(place->db);
        assert_opens_empty_and_works(place->db);
        sql(place->db, changes[i]);
        assert_opens_empty_and_works(place->db);
    }
}

/* Or no row would be entered again for a file that is looked at. */
static void what_was_known_goes_with_a_replaced_database(void **state)
{
    struct place *place = *state;
    struct index_row row = make_row("a", 7);
    struct stat st = stat_of(&row);
    struct index_attr attr;
    struct index *index;

    assert_int_equal(index_open(place->db, &index), 0);
    put(index, "a", 7);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(index_attr(index, &st, &attr), 0);
    assert_int_equal(index_attr_near(index, &st, &attr), 0);
    uint64_t changes = index_changes(index);
    sql(place->db, "DROP TABLE stacks");
    assert_int_equal(number_at(index, "a"), 0);
    assert_int_equal(index_attr_near(index, &st, &attr), -EAGAIN);
    assert_int_equal(index_has(index, &st, "a"), 0);
    assert_int_equal(index_attr(index, &st, &attr), -ENOENT);
    assert_true(index_changes(index) != changes);
    put(index, "a", 7);
    assert_int_equal(index_has(index, &st, "a"), 1);
    index_close(&index);
}

static void changed_rows_are_no_rows(void **state)
{
    static const char *const columns[] = {
        "ino",         "stored_bytes", "stored_mtime", "stored_mtime_ns", "stored_ctime",
        "plain_bytes", "mtime",        "mtime_ns",     "depth",           "height",
        "width",       "spp",          "channels",     "planes",          "timepoints",
        "voxel_x",     "voxel_z",      "digest",       "again_bytes",     "dead_bytes",
        "sum",
    };
    struct place *place = *state;
    struct index *index;
    char text[128];

    for (unsigned i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
        assert_int_equal(index_open(place->db, &index), 0);
        put(index, "a", 1);
        put(index, "b", 2);
        put(index, "c", 3);
        index_close(&index);
        snprintf(text, sizeof(text), "UPDATE stacks SET %s = %s + 1 WHERE path = x'62'", columns[i],
                 columns[i]);
        sql(place->db, text);
        assert_int_equal(index_open(place->db, &index), 0);
        assert_int_equal(number_at(index, "b"), 0);
        assert_listing(index, "a=1|c=3|");
        index_close(&index);
    }
    sql(place->db, "UPDATE stacks SET path = CAST(x'610062' AS BLOB) WHERE path = x'62'");
    sql(place->db, "UPDATE stacks SET state = x'00', type = '' WHERE path = x'63'");
    assert_int_equal(index_open(place->db, &index), 0);
    assert_listing(index, "a=1|");
    index_close(&index);
}

static void what_cannot_be_opened_says_why(void **state)
{
    struct place *place = *state;
    struct index *index = NULL;
    char path[1200];

    assert_int_equal(index_open(place->dir, &index), -EISDIR);
    snprintf(path, sizeof(path), "%s/no/index.db", place->dir);
    assert_int_equal(index_open(path, &index), -ENOENT);
    snprintf(path, sizeof(path), "%s/%01000d", place->dir, 0);
    assert_int_equal(index_open(path, &index), -ENAMETOOLONG);
    assert_null(index);
}

static void relative_names_are_just_names(void **state)
{
    struct place *place = *state;
    struct index *index;
    int here = open(".", O_PATH | O_CLOEXEC);

    assert_int_equal(chdir(place->dir), 0);
    assert_int_equal(index_open(":memory:", &index), 0);
    index_close(&index);
    assert_int_equal(access(":memory:", F_OK), 0);
    assert_int_equal(index_open("file:x?mode=memory", &index), 0);
    index_close(&index);
    assert_int_equal(access("file:x?mode=memory", F_OK), 0);
    assert_int_equal(fchdir(here), 0);
    close(here);
}

static void fill(const char *path, unsigned n)
{
    struct index *index;
    char name[64];

    assert_int_equal(index_open(path, &index), 0);
    for (unsigned i = 1; i <= n; i++) {
        snprintf(name, sizeof(name), "dir%02u/stack_%04u.tif", i % 10, i);
        put(index, name, i);
    }
    index_close(&index);
}

static int assert_row_is_true(void *ctx, const struct index_row *row)
{
    (void)ctx;
    assert_int_equal(row->plain_bytes, row->ino * 7);
    assert_int_equal(row->stored_bytes, row->ino * 3);
    assert_int_equal(row->digest, row->ino);
    return 0;
}

/* Whatever is turned in the file: no crash, no untrue row, and in the end an index that works. */
static void survives(const char *path, const uint8_t *data, size_t len)
{
    struct index *index;
    struct stat st = {.st_ino = 17};
    struct index_row row = make_row("new", 300);
    int r;

    write_file(path, data, len);
    assert_int_equal(index_open(path, &index), 0);
    r = index_each(index, assert_row_is_true, NULL);
    assert_true(r == 0 || r == -EBADMSG);
    r = index_get_by_stat(index, &st, assert_row_is_true, NULL);
    assert_true(r == 0 || r == -ENOENT || r == -EBADMSG);
    index_rename(index, "dir01", "dir99");
    index_remove(index, "dir02");
    assert_int_equal(index_put(index, &row), 0);
    index_close(&index);
}

static void damage_anywhere_is_survived(void **state)
{
    struct place *place = *state;
    static uint8_t good[1 << 20], bad[1 << 20];
    unsigned seed = 5;
    size_t len;
    FILE *file;

    fill(place->db, 60);
    file = fopen(place->db, "rb");
    assert_non_null(file);
    len = fread(good, 1, sizeof(good), file);
    fclose(file);
    assert_true(len > 4096 * 4 && len < sizeof(good));
    for (unsigned i = 0; i < 150; i++) {
        size_t at = (size_t)rand_r(&seed) % len;

        memcpy(bad, good, len);
        if (i % 3 == 0)
            bad[at] ^= (uint8_t)(1u << rand_r(&seed) % 8);
        else if (i % 3 == 1)
            memset(bad + at / 4096 * 4096, rand_r(&seed), 4096);
        survives(place->db, bad, i % 3 == 2 ? at : len);
    }
}

static void damage_while_open_starts_anew(void **state)
{
    struct place *place = *state;
    struct index *index, *writer;
    static char junk[1 << 16];
    int fd;

    memset(junk, 0xee, sizeof(junk));
    fill(place->db, 500);
    assert_int_equal(index_open(place->db, &index), 0);
    fd = open(place->db, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, junk, sizeof(junk), 4096), (ssize_t)sizeof(junk));
    close(fd);
    assert_int_equal(number_at(index, "dir01/stack_0001.tif"), 0);
    put(index, "new", 1);
    assert_listing(index, "new=1|");
    assert_int_equal(index_open(place->db, &writer), 0);
    assert_listing(writer, "new=1|");
    index_close(&writer);
    index_close(&index);
}

/* ---- readers ---- */

static void readers_change_nothing(void **state)
{
    struct place *place = *state;
    struct index *reader = NULL, *writer;
    struct index_row row = make_row("y", 1);
    struct stat st;

    assert_int_equal(index_open_reader(place->db, &reader), -ENOENT);
    assert_int_equal(access(place->db, F_OK), -1);
    write_file(place->db, "junk", 4);
    assert_int_equal(index_open_reader(place->db, &reader), -EBADMSG);
    assert_int_equal(stat(place->db, &st), 0);
    assert_int_equal(st.st_size, 4);
    write_file(place->db, "", 0);
    assert_int_equal(index_open_reader(place->db, &reader), -EBADMSG);
    unlink(place->db);

    assert_int_equal(index_open(place->db, &writer), 0);
    put(writer, "x", 5);
    assert_int_equal(index_open_reader(place->db, &reader), 0);
    assert_listing(reader, "x=5|");
    put(writer, "x", 6);
    assert_listing(reader, "x=6|");
    assert_int_equal(index_put(reader, &row), -EROFS);
    assert_int_equal(index_remove(reader, "x"), -EROFS);
    assert_listing(reader, "x=6|");
    index_close(&reader);
    index_close(&writer);
}

static void put_shared(struct index *index, const char *path, uint64_t number)
{
    struct index_row row = make_row(path, number);

    assert_int_equal(index_put_shared(index, &row), 0);
}

/* Rows that share a transaction: seen here at once, by others when it ends, and it does. */
static void shared_rows_are_seen_by_all_in_the_end(void **state)
{
    struct place *place = *state;
    struct index *index, *reader;
    char path[16];

    assert_int_equal(index_open(place->db, &index), 0);
    assert_int_equal(index_share_end(index, true), 0);
    assert_int_equal(index_open_reader(place->db, &reader), 0);
    put_shared(index, "a", 1);
    put_shared(index, "b", 2);
    assert_listing(reader, "");
    assert_int_equal(index_share_end(index, true), 0);
    assert_listing(reader, "a=1|b=2|");

    put_shared(index, "b", 3);
    assert_listing(index, "a=1|b=3|"); /* which ends it */
    assert_listing(reader, "a=1|b=3|");
    put_shared(index, "c", 4);
    assert_int_equal(index_rename(index, "c", "d"), 0);
    put_shared(index, "e", 5);
    assert_int_equal(index_remove(index, "a"), 0);
    assert_listing(reader, "b=3|d=4|e=5|");

    for (unsigned i = 0; i < 1000; i++) {
        snprintf(path, sizeof(path), "n%03u", i);
        put_shared(index, path, i + 1);
    }
    assert_true(count(reader) > 900);
    put_shared(index, "last", 7);
    index_close(&index);
    assert_int_equal(count(reader), 1004);
    index_close(&reader);
}

static void two_writers_see_each_other(void **state)
{
    struct place *place = *state;
    struct index *one, *two;

    assert_int_equal(index_open(place->db, &one), 0);
    assert_int_equal(index_open(place->db, &two), 0);
    put(one, "a", 1);
    put(two, "b", 2);
    assert_listing(one, "a=1|b=2|");
    assert_int_equal(index_rename(two, "a", "c"), 0);
    assert_listing(one, "b=2|c=1|");
    index_close(&one);
    index_close(&two);
}

static void all_rows_are_replaced_or_none(void **state)
{
    struct place *place = *state;
    struct index *index, *fresh, *broken;
    char other[128];
    static char junk[1 << 16];
    int fd;

    assert_int_equal(index_open(place->db, &index), 0);
    put(index, "old", 1);
    assert_int_equal(index_open("", &fresh), 0);
    put(fresh, "new/a", 2);
    put(fresh, "new/b", 3);
    assert_int_equal(index_replace_all(index, fresh), 0);
    assert_listing(index, "new/a=2|new/b=3|");
    assert_listing(fresh, "new/a=2|new/b=3|");

    snprintf(other, sizeof(other), "%s/other.db", place->dir);
    fill(other, 2000);
    fd = open(other, O_WRONLY | O_CLOEXEC);
    memset(junk, 0xee, sizeof(junk));
    assert_int_equal(pwrite(fd, junk, sizeof(junk), 4096 * 8), (ssize_t)sizeof(junk));
    close(fd);
    assert_int_equal(index_open_reader(other, &broken), 0);
    assert_int_equal(index_replace_all(index, broken), -EBADMSG);
    assert_listing(index, "new/a=2|new/b=3|");
    put(index, "more", 9);
    assert_listing(index, "more=9|new/a=2|new/b=3|");
    index_close(&broken);
    index_close(&fresh);
    index_close(&index);
}

static void a_full_disk_is_told_and_passes(void **state)
{
    struct place *place = *state;
    struct rlimit old, small = {.rlim_cur = 200000};
    struct index *index;
    char name[64];
    unsigned n;
    int r = 0;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    assert_int_equal(index_open(place->db, &index), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (n = 0; n < 100000 && r == 0; n++) {
        struct index_row row = make_row(name, n + 1);

        snprintf(name, sizeof(name), "stack_%06u", n);
        r = index_put(index, &row);
    }
    assert_true(r == -EFBIG || r == -ENOSPC || r == -EIO);
    assert_int_equal(number_at(index, "stack_000000"), 1);
    assert_int_equal(number_at(index, name), 0);
    assert_int_not_equal(index_rename(index, "stack_000000", "y"), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    put(index, name, 5);
    assert_int_equal(count(index), n);
    index_close(&index);
}

/* ---- threads ---- */

#define N_THREADS 4
#define N_ROUNDS  60

struct worker {
    struct index *index;
    unsigned id;
};

static void *work(void *arg)
{
    struct worker *worker = arg;
    char a[64], b[64];
    unsigned seen = 0;

    for (unsigned i = 1; i <= N_ROUNDS; i++) {
        snprintf(a, sizeof(a), "dir%u/f%u", worker->id, i);
        snprintf(b, sizeof(b), "moved%u/f%u", worker->id, i);
        put(worker->index, a, i);
        assert_int_equal(number_at(worker->index, a), i);
        assert_int_equal(index_rename(worker->index, a, b), 0);
        assert_int_equal(number_at(worker->index, b), i);
        if (i % 16 == 0)
            assert_int_equal(index_each(worker->index, count_row, &seen), 0);
        if (i % 2 == 0)
            assert_int_equal(index_remove(worker->index, b), 0);
    }
    return NULL;
}

static void threads_share_an_index(void **state)
{
    struct place *place = *state;
    struct worker workers[N_THREADS];
    pthread_t threads[N_THREADS];
    struct index *index;

    assert_int_equal(index_open(place->db, &index), 0);
    for (unsigned i = 0; i < N_THREADS; i++) {
        workers[i] = (struct worker){.index = index, .id = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(count(index), N_THREADS * N_ROUNDS / 2);
    index_close(&index);
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(values_are_exact),
        cmocka_unit_test(odd_doubles_are_unknown),
        cmocka_unit_test(long_paths),
        cmocka_unit_test(empty_paths_are_refused),
        cmocka_unit_test(removal_takes_just_what_is_below),
        cmocka_unit_test(renames_move_just_what_is_below),
        cmocka_unit_test(exchanged_directories_keep_their_rows),
        cmocka_unit_test(random_operations_follow_the_model),
        cmocka_unit_test(a_row_counts_for_one_state_only),
        cmocka_unit_test(hard_links_share_an_inode),
        cmocka_unit_test(callbacks_may_change_the_index),
        WITH_PLACE(foreign_files_are_replaced),
        WITH_PLACE(what_is_due_is_found_in_order_and_summed),
        WITH_PLACE(other_schemas_are_replaced),
        WITH_PLACE(what_was_known_goes_with_a_replaced_database),
        WITH_PLACE(changed_rows_are_no_rows),
        WITH_PLACE(what_cannot_be_opened_says_why),
        WITH_PLACE(relative_names_are_just_names),
        WITH_PLACE(damage_anywhere_is_survived),
        WITH_PLACE(damage_while_open_starts_anew),
        WITH_PLACE(readers_change_nothing),
        WITH_PLACE(shared_rows_are_seen_by_all_in_the_end),
        WITH_PLACE(two_writers_see_each_other),
        WITH_PLACE(all_rows_are_replaced_or_none),
        WITH_PLACE(a_full_disk_is_told_and_passes),
        WITH_PLACE(threads_share_an_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
