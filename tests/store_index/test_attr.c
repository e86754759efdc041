/* What the index knows from memory: never anything that its rows did not say of that very state. */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/facts.h"
#include "store/index.h"

/* A state of a backing file; what it holds follows from it. */
static struct index_row row_of(const char *path, uint64_t ino, uint64_t version)
{
    return (struct index_row){
        .path = path,
        .ino = ino,
        .stored_bytes = 100,
        .stored_ctime = {.tv_sec = (time_t)version, .tv_nsec = 2},
        .plain_bytes = ino * 1000 + version,
        .pipeline = "lz4",
        .type = "uint16",
        .state = "stored",
    };
}

static struct stat stat_of(uint64_t ino, uint64_t version)
{
    struct stat st = {0};
    st.st_ino = ino;
    st.st_size = 100;
    st.st_ctim = (struct timespec){.tv_sec = (time_t)version, .tv_nsec = 2};
    return st;
}

static void put(struct index *index, uint64_t ino, uint64_t version)
{
    char path[32];
    snprintf(path, sizeof(path), "stack%llu", (unsigned long long)ino);
    struct index_row row = row_of(path, ino, version);
    assert_int_equal(index_put(index, &row), 0);
}

typedef int attr_fn(struct index *index, const struct stat *backing, struct index_attr *out);

static int asked(attr_fn *ask, struct index *index, uint64_t ino, uint64_t version)
{
    struct stat st = stat_of(ino, version);
    struct index_attr attr;
    int r = ask(index, &st, &attr);
    if (r == 0)
        assert_int_equal(attr.plain_bytes, ino * 1000 + version);
    return r;
}

static struct index *with_stacks(uint64_t n)
{
    struct index *index;
    assert_int_equal(index_open(NULL, &index), 0);
    for (uint64_t ino = 1; ino <= n; ino++)
        put(index, ino, 1);
    return index;
}

static void a_neighbourhood_is_known_after_two_questions(void **state)
{
    (void)state;
    struct index *index = with_stacks(2 * FACTS_NEAR);
    assert_int_equal(asked(index_attr_near, index, 7, 1), -EAGAIN);
    assert_int_equal(asked(index_attr, index, 7, 1), 0);
    assert_int_equal(asked(index_attr_near, index, 7, 1), -EAGAIN);
    assert_int_equal(asked(index_attr, index, 9, 1), 0);
    for (uint64_t ino = 1; ino < FACTS_NEAR; ino++)
        assert_int_equal(asked(index_attr_near, index, ino, 1), 0);
    assert_int_equal(asked(index_attr_near, index, 7, 2), -ENOENT);
    assert_int_equal(asked(index_attr_near, index, FACTS_NEAR, 1), -EAGAIN);
    index_close(&index);
}

static void a_new_row_takes_the_place_of_the_old_one(void **state)
{
    (void)state;
    struct index *index = with_stacks(9);
    asked(index_attr, index, 7, 1);
    asked(index_attr, index, 7, 1);
    put(index, 7, 2);
    put(index, 20, 1);
    assert_int_equal(asked(index_attr_near, index, 7, 1), -ENOENT);
    assert_int_equal(asked(index_attr_near, index, 7, 2), 0);
    assert_int_equal(asked(index_attr_near, index, 20, 1), 0);
    index_close(&index);
}

/* Written twice within the resolution of the clock: the state is the same, its content is not. */
static void the_last_word_on_a_state_counts(void **state)
{
    (void)state;
    struct index *index = with_stacks(9);
    struct index_row row = row_of("stack7", 7, 1);
    struct stat st = stat_of(7, 1);
    struct index_attr attr;
    asked(index_attr, index, 7, 1);
    asked(index_attr, index, 7, 1);
    row.plain_bytes = 5;
    assert_int_equal(index_put(index, &row), 0);
    assert_int_equal(index_attr_near(index, &st, &attr), 0);
    assert_int_equal(attr.plain_bytes, 5);
    index_close(&index);
}

static void what_is_damaged_is_not_known(void **state)
{
    (void)state;
    struct index *index = with_stacks(9);
    struct index_row row = row_of("stack7", 7, 1);
    row.state = "damaged";
    assert_int_equal(index_put(index, &row), 0);
    assert_int_equal(asked(index_attr, index, 7, 1), -ENOENT); /* alone */
    assert_int_equal(asked(index_attr, index, 7, 1), -ENOENT); /* with all around it */
    assert_int_equal(asked(index_attr_near, index, 6, 1), 0);
    row.ino = 6;
    row.path = "stack6";
    row.plain_bytes = 6001;
    assert_int_equal(index_put(index, &row), 0);
    assert_int_equal(asked(index_attr_near, index, 6, 1), -ENOENT);
    index_close(&index);
}

static void rows_of_another_index_take_the_place_of_all(void **state)
{
    (void)state;
    struct index *index = with_stacks(9), *other = with_stacks(1);
    asked(index_attr, index, 7, 1);
    asked(index_attr, index, 7, 1);
    assert_int_equal(index_replace_all(index, other), 0);
    assert_int_equal(asked(index_attr_near, index, 7, 1), -EAGAIN);
    assert_int_equal(asked(index_attr, index, 7, 1), -ENOENT);
    index_close(&index);
    index_close(&other);
}

/* More rows than a neighbourhood has inodes: every link is one. */
static void many_links_of_an_inode_are_asked_for_alone(void **state)
{
    (void)state;
    struct index *index = with_stacks(1);
    for (unsigned i = 0; i < FACTS_NEAR_ROWS + 1; i++) {
        char path[32];
        snprintf(path, sizeof(path), "link%u", i);
        struct index_row row = row_of(path, 3, 1);
        assert_int_equal(index_put(index, &row), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(asked(index_attr, index, 1, 1), 0);
        assert_int_equal(asked(index_attr, index, 2, 1), -ENOENT);
        assert_int_equal(asked(index_attr_near, index, 1, 1), -EAGAIN);
    }
    index_close(&index);
}

static void inode_numbers_may_be_as_large_as_they_like(void **state)
{
    (void)state;
    struct index *index = with_stacks(0);
    for (uint64_t ino = UINT64_MAX - 3; ino != 2; ino++) {
        put(index, ino, 1);
        asked(index_attr, index, ino, 1);
        asked(index_attr, index, ino, 1);
        assert_int_equal(asked(index_attr_near, index, ino, 1), 0);
    }
    put(index, INT64_MAX, 1);
    put(index, (uint64_t)INT64_MAX + 1, 1);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(asked(index_attr, index, INT64_MAX, 1), 0);
        assert_int_equal(asked(index_attr, index, (uint64_t)INT64_MAX + 1, 1), 0);
    }
    index_close(&index);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    struct facts *facts = facts_create();
    struct index_attr attr;
    struct fact list[FACTS_NEAR];
    for (uint64_t i = 0; i < FACTS_NEAR; i++)
        list[i] = (struct fact){.ino = i, .stored_bytes = 100, .stored_ctime = {1, 2}};
    uint64_t n = FACTS_MOST / FACTS_NEAR;
    for (uint64_t i = 0; i <= n; i++) {
        for (uint64_t k = 0; k < FACTS_NEAR; k++)
            list[k].ino = i * FACTS_NEAR + k;
        assert_int_equal(facts_keep(facts, list[0].ino, list, FACTS_NEAR), 0);
    }
    struct stat oldest = stat_of(1, 1), newest = stat_of(n * FACTS_NEAR + 1, 1);
    assert_int_equal(facts_find(facts, &oldest, NULL, &attr), -EAGAIN);
    assert_int_equal(facts_find(facts, &newest, NULL, &attr), 0);
    for (uint64_t i = 0; i < FACTS_MOST_NEARS; i++)
        assert_int_equal(facts_keep(facts, (n + 1 + i) * FACTS_NEAR, NULL, 0), 0);
    assert_int_equal(facts_find(facts, &newest, NULL, &attr), -EAGAIN);
    facts_destroy(&facts);
    facts_destroy(&facts);
}

static void memory_of_rows_that_come_one_by_one_is_bounded(void **state)
{
    (void)state;
    struct facts *facts = facts_create();
    struct index_attr attr;
    const uint64_t n_nears = FACTS_MOST / FACTS_NEAR + 10;
    for (uint64_t n = 0; n < n_nears; n++) /* known, and nothing in them yet */
        assert_int_equal(facts_keep(facts, n * FACTS_NEAR, NULL, 0), 0);
    for (uint64_t ino = 0; ino < n_nears * FACTS_NEAR; ino++) {
        const struct fact fact = {.ino = ino};
        facts_put(facts, &fact, true);
    }
    const struct stat oldest = {0}, newest = {.st_ino = n_nears * FACTS_NEAR - 1};
    assert_int_equal(facts_find(facts, &oldest, NULL, &attr), -EAGAIN);
    assert_int_equal(facts_find(facts, &newest, NULL, &attr), 0);
    facts_destroy(&facts);
}

static int has(struct index *index, uint64_t ino, uint64_t version, const char *path)
{
    struct stat st = stat_of(ino, version);
    return index_has(index, &st, path);
}

static void a_row_is_had_by_state_and_path(void **state)
{
    (void)state;
    struct index *index = with_stacks(9);
    struct index_row link = row_of("link", 7, 1), broken = row_of("broken", 8, 3);
    broken.state = "damaged";
    assert_int_equal(index_put(index, &link), 0);
    assert_int_equal(index_put(index, &broken), 0);
    for (unsigned i = 0; i < 3; i++) { /* alone, with all around it, from memory */
        assert_int_equal(has(index, 6, 1, "stack6"), 1);
        assert_int_equal(has(index, 6, 2, "stack6"), 0);
        assert_int_equal(has(index, 6, 1, "stack7"), 0);
        assert_int_equal(has(index, 7, 1, "link"), 1);
        assert_int_equal(has(index, 8, 3, "broken"), 1);
        assert_int_equal(has(index, 300, 1, "stack300"), 0);
    }
    assert_int_equal(index_rename(index, "stack6", "moved"), 0);
    assert_int_equal(has(index, 6, 1, "moved"), 1);
    index_close(&index);
}

static void changes_are_noticed(void **state)
{
    (void)state;
    struct index *index = with_stacks(3);
    uint64_t n_rows, changes = index_changes(index);
    assert_int_equal(index_count(index, &n_rows), 0);
    assert_int_equal(n_rows, 3);
    put(index, 3, 2);
    assert_int_equal(index_changes(index), changes + 1);
    put(index, 4, 1);
    assert_int_equal(index_changes(index), changes + 2);
    assert_int_equal(index_count(index, &n_rows), 0);
    assert_int_equal(n_rows, 4);
    changes = index_changes(index);
    assert_int_equal(index_remove(index, "stack1"), 0);
    assert_true(index_changes(index) > changes);
    changes = index_changes(index);
    assert_int_equal(index_rename(index, "stack2", "stack9"), 0);
    assert_true(index_changes(index) > changes);
    changes = index_changes(index);
    assert_int_equal(index_remove(index, ""), 0);
    assert_true(index_changes(index) > changes);
    index_close(&index);
}

/* ---- at the same time ---- */

#define THREAD_INODES 40u
#define THREAD_ROUNDS 300u

struct race {
    struct index *index;
    _Atomic uint64_t entered[THREAD_INODES]; /* the version that is in the index for certain */
    atomic_bool ends, is_wrong;
};

static void *asks(void *arg)
{
    struct race *race = arg;
    for (uint64_t i = 0; !atomic_load(&race->ends); i++) {
        struct index_attr attr;
        uint64_t ino = i % THREAD_INODES, version = atomic_load(&race->entered[ino]);
        struct stat st = stat_of(ino, version);
        int r =
            i % 2 ? index_attr(race->index, &st, &attr) : index_attr_near(race->index, &st, &attr);
        if (r == 0 && attr.plain_bytes != ino * 1000 + version)
            atomic_store(&race->is_wrong, true);
    }
    return NULL;
}

static void who_asks_while_rows_come_is_told_no_older_ones(void **state)
{
    (void)state;
    struct race race = {.index = with_stacks(0)};
    pthread_t threads[3];
    for (unsigned i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, asks, &race);
    for (uint64_t version = 1; version <= THREAD_ROUNDS; version++) {
        for (uint64_t ino = 0; ino < THREAD_INODES; ino++) {
            put(race.index, ino, version);
            atomic_store(&race.entered[ino], version);
            int r = asked(index_attr_near, race.index, ino, version);
            assert_true(r == 0 || r == -EAGAIN);
            assert_int_not_equal(asked(index_attr_near, race.index, ino, version - 1), 0);
        }
    }
    atomic_store(&race.ends, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_false(atomic_load(&race.is_wrong));
    for (uint64_t ino = 0; ino < THREAD_INODES; ino++)
        assert_int_equal(asked(index_attr, race.index, ino, THREAD_ROUNDS), 0);
    index_close(&race.index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_neighbourhood_is_known_after_two_questions),
        cmocka_unit_test(a_new_row_takes_the_place_of_the_old_one),
        cmocka_unit_test(the_last_word_on_a_state_counts),
        cmocka_unit_test(what_is_damaged_is_not_known),
        cmocka_unit_test(rows_of_another_index_take_the_place_of_all),
        cmocka_unit_test(many_links_of_an_inode_are_asked_for_alone),
        cmocka_unit_test(inode_numbers_may_be_as_large_as_they_like),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(memory_of_rows_that_come_one_by_one_is_bounded),
        cmocka_unit_test(a_row_is_had_by_state_and_path),
        cmocka_unit_test(changes_are_noticed),
        cmocka_unit_test(who_asks_while_rows_come_is_told_no_older_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
