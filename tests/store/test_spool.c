/* Blocks of a spool: how they are handed out, and where their room comes from. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/spool.h"
#include "store/spool_log.h"
#include "store/spool_run.h"

#define MIB          (1u << 20)
#define BLOCKS(mib)  ((mib) * (MIB / SPOOL_BLOCK))
#define AHEAD_BLOCKS BLOCKS(32)
#define STEP_BLOCKS  BLOCKS(4)

static int64_t take_some(struct spool *spool, int64_t wanted, uint32_t most, uint32_t *n)
{
    int64_t first;
    while ((first = spool_take(spool, wanted, most, n)) == -EAGAIN && spool_grow(spool))
        ;
    return first;
}

static int64_t take_one(struct spool *spool)
{
    uint32_t n;
    return take_some(spool, -1, 1, &n);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

/* ---- side by side ---- */

static void blocks_are_taken_side_by_side(void **state)
{
    (void)state;
    struct spool *spool;
    uint32_t n;
    assert_int_equal(spool_create(200 * SPOOL_BLOCK, NULL, &spool), 0);
    for (unsigned i = 0; i < 200; i++) /* so that there is room for all */
        assert_true(take_one(spool) >= 0);
    spool_give(spool, 0, 200);
    assert_int_equal(spool_take(spool, -1, 40, &n), 0);
    assert_int_equal(n, 40);
    assert_int_equal(spool_take(spool, 40, 5, &n), 40);
    assert_int_equal(n, 5);
    assert_int_equal(spool_used(spool), 45);
    spool_give(spool, 10, 20);
    assert_int_equal(spool_take(spool, 20, 40, &n), 20); /* up to what is taken */
    assert_int_equal(n, 10);
    assert_int_equal(spool_take(spool, 30, 100, &n), 64); /* a whole group before a part of one */
    assert_int_equal(n, 100);
    assert_int_equal(spool_take(spool, 198, 40, &n), 198); /* up to the end */
    assert_int_equal(n, 2);
    assert_int_not_equal(spool_take(spool, 200, 1, &n), 200); /* which is none */
    spool_destroy(&spool, false);
}

static void all_blocks_can_be_had_once(void **state)
{
    (void)state;
    enum { ALL = 1003 };
    static bool seen[ALL];
    struct spool *spool;
    uint32_t n, sum = 0;
    int64_t first;
    assert_int_equal(spool_create((uint64_t)ALL * SPOOL_BLOCK, NULL, &spool), 0);
    while ((first = take_some(spool, -1, 7, &n)) >= 0) {
        for (uint32_t i = 0; i < n; i++) {
            assert_true(first + i < ALL && !seen[first + i]);
            seen[first + i] = true;
        }
        sum += n;
    }
    assert_int_equal(first, -EAGAIN);
    assert_int_equal(sum, ALL);
    assert_int_equal(spool_used(spool), ALL);
    spool_give(spool, 0, ALL);
    assert_int_equal(spool_take(spool, 0, ALL, &n), 0);
    assert_int_equal(n, ALL);
    spool_destroy(&spool, false);
}

/* ---- a file in a folder ---- */

struct place {
    char dir[64], path[80];
};

static void make_place(struct place *place)
{
    snprintf(place->dir, sizeof(place->dir), "/tmp/sqyfs-spool-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->path, sizeof(place->path), "%s/spool", place->dir);
}

static uint32_t blocks_of_file(const struct place *place)
{
    struct stat st;
    assert_int_equal(stat(place->path, &st), 0);
    return (uint32_t)((uint64_t)st.st_blocks * 512 / SPOOL_BLOCK);
}

static void room_is_reserved_ahead_of_writers_and_no_more_than_that(void **state)
{
    (void)state;
    enum { OTHERS = 64 }; /* what runs and logs have of the file, and more */
    struct place place;
    struct spool *spool;
    make_place(&place);
    assert_int_equal(spool_create(256 * MIB, place.path, &spool), 0);
    assert_in_range(blocks_of_file(&place), STEP_BLOCKS, STEP_BLOCKS + OTHERS);
    for (uint32_t used = 1; used <= BLOCKS(100); used++) {
        assert_true(take_one(spool) >= 0);
        uint32_t ahead = used < AHEAD_BLOCKS ? used : AHEAD_BLOCKS;
        if (used % BLOCKS(10) != 0)
            continue;
        while (blocks_of_file(&place) < used + ahead)
            nap();
        assert_true(blocks_of_file(&place) < used + ahead + STEP_BLOCKS + OTHERS);
    }
    while (take_one(spool) >= 0)
        ;
    assert_int_equal(spool_used(spool), BLOCKS(256));
    spool_destroy(&spool, false);
    assert_int_equal(rmdir(place.dir), 0);
}

/* Pages are kept for logs that have none, and have to be there; but not one for each that could be opened. */
static void a_long_log_takes_no_more_memory_than_it_needs(void **state)
{
    (void)state;
    const uint8_t id[SPOOL_LOG_ID_BYTES] = {1};
    const struct spool_file file = {.ino = 1};
    const struct blob_chunk chunk = {.coded_len = 1};
    const struct blob_claim claim = {0, 1, 0};
    struct place place;
    struct spool *spool;
    make_place(&place);
    assert_int_equal(spool_create(1ull << 30, place.path, &spool), 0);
    uint32_t before = blocks_of_file(&place);
    struct spool_log *log = spool_log_open(spool, &file);
    assert_non_null(log);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(spool_log_commit(spool, log, id, &chunk, "x", &claim, 1), 0);
    assert_true(blocks_of_file(&place) - before <= BLOCKS(4));
    spool_log_close(spool, &log);
    spool_destroy(&spool, false);
    assert_int_equal(rmdir(place.dir), 0);
}

static void the_longest_path_that_is_kept_is_found_again(void **state)
{
    (void)state;
    char path[SPOOL_LOG_PATH + 2];
    struct place place;
    struct spool *spool;
    make_place(&place);
    assert_int_equal(spool_create(4 * MIB, place.path, &spool), 0);
    for (size_t len = SPOOL_LOG_PATH - 1; len <= SPOOL_LOG_PATH + 1; len++) {
        memset(path, 'p', len);
        path[len] = '\0';
        const struct spool_file file = {.ino = len, .path = path};
        assert_non_null(spool_log_open(spool, &file));
    }
    spool_destroy(&spool, true);
    assert_int_equal(spool_open(place.path, &spool), 0);
    struct spool_left left;
    unsigned n = 0;
    for (uint32_t number = 0; spool_log_left(spool, &number, &left); number++, n++) {
        if (left.file.ino <= SPOOL_LOG_PATH)
            assert_int_equal(strlen(left.file.path), left.file.ino);
        else
            assert_null(left.file.path);
    }
    assert_int_equal(n, 3);
    spool_destroy(&spool, false);
    assert_int_equal(rmdir(place.dir), 0);
}

static void a_spool_that_is_left_grows_ahead_for_who_takes_it_over(void **state)
{
    (void)state;
    struct place place;
    struct spool *spool;
    make_place(&place);
    assert_int_equal(spool_create(256 * MIB, place.path, &spool), 0);
    assert_true(take_one(spool) >= 0);
    spool_destroy(&spool, true);
    assert_int_equal(spool_open(place.path, &spool), 0);
    spool_adopted(spool);
    assert_int_equal(spool_used(spool), 0);
    for (uint32_t i = 0; i < BLOCKS(40); i++)
        assert_true(take_one(spool) >= 0);
    while (blocks_of_file(&place) < BLOCKS(40) + AHEAD_BLOCKS)
        nap();
    spool_destroy(&spool, false);
    assert_int_equal(rmdir(place.dir), 0);
}

/* ---- a filesystem that is full for a while ---- */

/* false: not allowed to. */
static bool mount_place(struct place *place, const char *options)
{
    make_place(place);
    if (mount("sqyfs-test", place->dir, "tmpfs", 0, options) == 0)
        return true;
    print_message("skipped: no tmpfs can be mounted: %s\n", strerror(errno));
    assert_int_equal(rmdir(place->dir), 0);
    return false;
}

static void unmount_place(struct place *place)
{
    assert_int_equal(umount(place->dir), 0);
    assert_int_equal(rmdir(place->dir), 0);
}

static void fill(struct place *place, char path[128])
{
    static const char zeros[65536];
    snprintf(path, 128, "%s/filler", place->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static uint32_t take_all(struct spool *spool)
{
    uint32_t n = 0;
    for (int64_t block; (block = take_one(spool)) >= 0; n++)
        memset(spool_data(spool, (uint32_t)block), 1, SPOOL_BLOCK); /* no SIGBUS */
    return n;
}

static void a_spool_that_could_not_grow_does_when_there_is_room_again(void **state)
{
    (void)state;
    struct place place;
    struct spool *spool;
    char filler[128];
    int64_t block;
    if (!mount_place(&place, "size=64m"))
        skip();
    assert_int_equal(spool_create(48 * MIB, place.path, &spool), 0);
    assert_int_equal(spool_total(spool), BLOCKS(48));
    fill(&place, filler);
    uint32_t n = take_all(spool);
    assert_in_range(n, STEP_BLOCKS, BLOCKS(48) - 1);
    assert_int_equal(spool_total(spool), n);
    assert_int_equal(unlink(filler), 0);
    while ((block = take_one(spool)) < 0)
        nap();
    assert_int_equal(spool_total(spool), BLOCKS(48));
    memset(spool_data(spool, (uint32_t)block), 1, SPOOL_BLOCK);
    assert_int_equal(n + 1 + take_all(spool), BLOCKS(48));
    spool_destroy(&spool, false);
    unmount_place(&place);
}

static void runs_that_found_no_room_find_it_when_there_is_some_again(void **state)
{
    (void)state;
    struct place place;
    struct spool *spool;
    char filler[128];
    int64_t n_blocks = 0, id;
    uint32_t n = 0;
    if (!mount_place(&place, "size=32m"))
        skip();
    assert_int_equal(spool_create(16 * MIB, place.path, &spool), 0);
    const struct spool_file file = {.ino = 1};
    struct spool_log *log = spool_log_open(spool, &file);
    uint32_t owner = spool_log_number(spool, log);
    uint32_t block = (uint32_t)take_one(spool);
    fill(&place, filler);
    while (spool_run_put(spool, owner, 0, block, n, n + 1, false, &n_blocks) >= 0)
        n++;
    assert_in_range(n, 1000, 10000);
    assert_int_equal(unlink(filler), 0);
    while ((id = spool_run_put(spool, owner, 0, block, n, n + 1, false, &n_blocks)) < 0)
        nap();
    assert_int_equal(spool_run_start(spool_run(spool, (uint32_t)id)), n);
    assert_int_equal(n_blocks, 1);
    spool_destroy(&spool, false);
    unmount_place(&place);
}

/* ---- pages of both sizes ---- */

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define HUGE_PAGE (2 * MIB)

static uint32_t huge_mib(const struct place *place)
{
    char line[512];
    unsigned kib, sum = 0;
    bool ours = false;
    FILE *maps = fopen("/proc/self/smaps", "re");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        if (strchr("0123456789abcdef", line[0]) != NULL)
            ours = strstr(line, place->dir) != NULL;
        else if (ours && sscanf(line, "ShmemPmdMapped: %u", &kib) == 1)
            sum += kib;
    }
    fclose(maps);
    return sum / 1024;
}

/* Whether this machine has huge pages for such a folder now. */
static bool has_huge_pages(const struct place *place)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/probe", place->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, HUGE_PAGE), 0);
    void *room = mmap(NULL, 2 * HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(room != MAP_FAILED);
    uint8_t *at = (uint8_t *)room + -(uintptr_t)room % HUGE_PAGE;
    void *map = mmap(at, HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    assert_true(map == at);
    assert_int_equal(pwrite(fd, "", 1, 0), 1);
    bool has = madvise(map, HUGE_PAGE, MADV_COLLAPSE) == 0;
    munmap(room, 2 * HUGE_PAGE);
    close(fd);
    assert_int_equal(unlink(path), 0);
    return has;
}

static void set_huge_pages(bool on)
{
    assert_int_equal(prctl(PR_SET_THP_DISABLE, on ? 0 : 1, 0, 0, 0), 0);
}

/* Each block says which one it is, at its end. */
static uint32_t *mark_of(struct spool *spool, int64_t block)
{
    return (uint32_t *)(void *)(spool_data(spool, (uint32_t)block) + SPOOL_BLOCK - 4);
}

static void fill_and_look(struct spool *spool, uint32_t all)
{
    for (uint32_t i = 0; i < all; i++) {
        int64_t block = take_one(spool);
        assert_true(block >= 0);
        *mark_of(spool, block) = (uint32_t)block;
    }
    assert_int_equal(take_one(spool), -EAGAIN);
    for (uint32_t block = 0; block < all; block++)
        assert_int_equal(*mark_of(spool, block), block);
}

static void a_spool_has_huge_pages_where_there_are_some(void **state)
{
    (void)state;
    enum { ALL = BLOCKS(13) + 3 }; /* the last huge page would not be whole */
    struct place place;
    struct spool *spool;
    if (!mount_place(&place, "size=32m"))
        skip();
    for (int huge = 0; huge < 2; huge++) {
        set_huge_pages(huge);
        bool expected = has_huge_pages(&place);
        assert_int_equal(spool_create((uint64_t)ALL * SPOOL_BLOCK, place.path, &spool), 0);
        fill_and_look(spool, ALL);
        uint32_t mib = huge_mib(&place);
        assert_in_range(mib, expected ? 4 : 0, huge ? 12 : 0);
        assert_true(blocks_of_file(&place) >= ALL);
        spool_destroy(&spool, true);
        assert_int_equal(spool_open(place.path, &spool), 0);
        for (uint32_t block = 0; block < ALL; block++)
            assert_int_equal(*mark_of(spool, block), block);
        spool_destroy(&spool, false);
    }
    unmount_place(&place);
}

static void what_was_not_reserved_as_a_whole_is_not_kept(void **state)
{
    (void)state;
    enum { OTHERS = 64 };
    struct place place;
    struct spool *spool;
    if (!mount_place(&place, "size=19m")) /* some groups, and a huge page of another */
        skip();
    for (int huge = 0; huge < 2; huge++) {
        set_huge_pages(huge);
        assert_int_equal(spool_create(32 * MIB, place.path, &spool), 0);
        uint32_t n = take_all(spool);
        assert_int_equal(n % STEP_BLOCKS, 0);
        assert_in_range(n, 3 * STEP_BLOCKS, 4 * STEP_BLOCKS);
        assert_true(blocks_of_file(&place) < n + OTHERS);
        spool_destroy(&spool, false);
    }
    unmount_place(&place);
}

/* Killed after a part of a group had got room: the head does not tell. */
static void who_takes_a_spool_over_may_find_more_room_than_it_tells(void **state)
{
    (void)state;
    enum { ALL = BLOCKS(16) };
    struct place place;
    struct spool *spool;
    struct stat st;
    if (!mount_place(&place, "size=32m"))
        skip();
    for (int huge = 0; huge < 2; huge++) {
        set_huge_pages(huge);
        assert_int_equal(spool_create((uint64_t)ALL * SPOOL_BLOCK, place.path, &spool), 0);
        spool_destroy(&spool, true);
        int fd = open(place.path, O_RDWR | O_CLOEXEC);
        assert_int_equal(fstat(fd, &st), 0);
        off_t blocks = st.st_size - (off_t)ALL * SPOOL_BLOCK;
        assert_int_equal(posix_fallocate(fd, blocks + 4 * MIB, 3 * MIB), 0);
        assert_int_equal(pwrite(fd, "?", 1, blocks + 8 * MIB), 1);
        close(fd);
        assert_int_equal(spool_open(place.path, &spool), 0);
        spool_adopted(spool);
        fill_and_look(spool, ALL);
        spool_destroy(&spool, false);
    }
    unmount_place(&place);
}

/* ---- many at a time ---- */

enum { N_THREADS = 4, N_ROUNDS = 3000, N_HELD = 24 };

struct hands {
    struct spool *spool;
    uint32_t id;
    uint64_t seed;
    struct {
        uint32_t first, n;
    } held[N_HELD];
    unsigned n_held;
    uint32_t found_wrong;
};

static uint32_t next_random(struct hands *hands, uint32_t below)
{
    hands->seed = hands->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(hands->seed >> 33) % below;
}

/* Whoever has a block says so at both ends of it. */
static uint32_t *end_of(struct hands *hands, uint32_t block, unsigned end)
{
    return (uint32_t *)(void *)(spool_data(hands->spool, block) + end * (SPOOL_BLOCK - 4));
}

static bool take(struct hands *hands)
{
    uint32_t n, most = 1 + next_random(hands, 200);
    int64_t wanted = (int64_t)next_random(hands, 2000) - 500;
    int64_t first = take_some(hands->spool, wanted, most, &n);
    if (first < 0)
        return false;
    hands->found_wrong += n == 0 || n > most;
    for (uint32_t i = 0; i < n; i++)
        for (unsigned end = 0; end < 2; end++)
            *end_of(hands, (uint32_t)first + i, end) = hands->id;
    hands->held[hands->n_held].first = (uint32_t)first;
    hands->held[hands->n_held++].n = n;
    return true;
}

static void give(struct hands *hands)
{
    unsigned i = next_random(hands, hands->n_held);
    uint32_t first = hands->held[i].first, n = hands->held[i].n;
    hands->held[i] = hands->held[--hands->n_held];
    for (uint32_t block = first; block < first + n; block++)
        for (unsigned end = 0; end < 2; end++)
            hands->found_wrong += *end_of(hands, block, end) != hands->id;
    uint32_t half = next_random(hands, n + 1);
    if (half > 0)
        spool_give(hands->spool, first, half);
    if (half < n)
        spool_give(hands->spool, first + half, n - half);
}

static void *hands_thread(void *arg)
{
    struct hands *hands = arg;
    for (unsigned i = 0; i < N_ROUNDS; i++) {
        uint64_t seen = spool_seen(hands->spool);
        bool full = hands->n_held == N_HELD || next_random(hands, 3) == 0;
        if (hands->n_held > 0 && full)
            give(hands);
        else if (!take(hands) && hands->n_held > 0)
            give(hands);
        else if (hands->n_held == 0)
            spool_wait(hands->spool, &seen); /* others have all, and will give */
        if (spool_used(hands->spool) > spool_total(hands->spool))
            hands->found_wrong++;
    }
    while (hands->n_held > 0)
        give(hands);
    spool_wake(hands->spool);
    return NULL;
}

static void many_take_and_give_at_a_time_while_it_grows(void **state)
{
    (void)state;
    static struct hands hands[N_THREADS];
    pthread_t threads[N_THREADS];
    struct spool *spool;
    assert_int_equal(spool_create(96 * MIB, NULL, &spool), 0);
    for (uint32_t i = 0; i < N_THREADS; i++) {
        hands[i] = (struct hands){.spool = spool, .id = i + 1, .seed = i};
        assert_int_equal(pthread_create(&threads[i], NULL, hands_thread, &hands[i]), 0);
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(hands[i].found_wrong, 0);
    }
    assert_int_equal(spool_used(spool), 0);
    assert_int_equal(take_all(spool), BLOCKS(96));
    spool_destroy(&spool, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_taken_side_by_side),
        cmocka_unit_test(all_blocks_can_be_had_once),
        cmocka_unit_test(room_is_reserved_ahead_of_writers_and_no_more_than_that),
        cmocka_unit_test(the_longest_path_that_is_kept_is_found_again),
        cmocka_unit_test(a_long_log_takes_no_more_memory_than_it_needs),
        cmocka_unit_test(a_spool_that_is_left_grows_ahead_for_who_takes_it_over),
        cmocka_unit_test(a_spool_that_could_not_grow_does_when_there_is_room_again),
        cmocka_unit_test(runs_that_found_no_room_find_it_when_there_is_some_again),
        cmocka_unit_test(a_spool_has_huge_pages_where_there_are_some),
        cmocka_unit_test(what_was_not_reserved_as_a_whole_is_not_kept),
        cmocka_unit_test(who_takes_a_spool_over_may_find_more_room_than_it_tells),
        cmocka_unit_test(many_take_and_give_at_a_time_while_it_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
