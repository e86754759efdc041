#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/spool.h"
#include "volume/overlay.h"

#define SPAN (SPOOL_BLOCK * 6)

/* The same in an array: a byte and whether it is there. */
struct model {
    uint8_t data[SPAN];
    bool there[SPAN];
};

static void check_against(const struct overlay *overlay, const struct model *model)
{
    uint64_t start, end, at = 0, bytes = 0;
    static uint8_t buf[SPAN];
    while (overlay_next(overlay, at, &start, &end)) {
        assert_true(start >= at && end > start && end <= SPAN);
        for (uint64_t i = at; i < start; i++)
            assert_false(model->there[i]);
        overlay_copy(overlay, buf, end - start, start);
        for (uint64_t i = start; i < end; i++)
            assert_true(model->there[i] && model->data[i] == buf[i - start]);
        bytes += end - start;
        at = end;
    }
    for (uint64_t i = at; i < SPAN; i++)
        assert_false(model->there[i]);
    assert_int_equal(overlay->bytes, bytes);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void random_writes_and_clears_match_an_array(void **state)
{
    (void)state;
    struct spool *spool;
    struct overlay overlay;
    static struct model model;
    static uint8_t data[SPAN];
    uint64_t seed = 20261122;
    memset(&model, 0, sizeof(model));
    assert_int_equal(spool_create(SPOOL_BLOCK * 8, NULL, &spool), 0);
    overlay_init(&overlay, spool);
    for (int step = 0; step < 3000; step++) {
        uint64_t off = next_random(&seed) % SPAN;
        uint64_t max = step % 3 == 0 ? SPAN : 3000;
        uint64_t len = next_random(&seed) % (SPAN - off < max ? SPAN - off : max) + 1;
        if (len > SPAN - off)
            len = SPAN - off;
        if (next_random(&seed) % 3 > 0) {
            memset(data, step, len);
            assert_int_equal(overlay_write(&overlay, data, len, off), len);
            memset(&model.data[off], step, len);
            memset(&model.there[off], true, len);
        } else {
            assert_int_equal(overlay_clear(&overlay, off, len), 0);
            memset(&model.there[off], false, len);
        }
        if (step % 50 == 0)
            check_against(&overlay, &model);
    }
    check_against(&overlay, &model);
    assert_int_equal(overlay_clear(&overlay, 0, UINT64_MAX), 0);
    assert_int_equal(overlay.bytes, 0);
    assert_int_equal(spool_used(spool), 0);
    overlay_clear_all(&overlay);
    spool_destroy(&spool, false);
}

static void full_spool_takes_what_fits(void **state)
{
    (void)state;
    struct spool *spool;
    struct overlay overlay;
    static uint8_t data[SPOOL_BLOCK * 3];
    assert_int_equal(spool_create(SPOOL_BLOCK * 2, NULL, &spool), 0);
    overlay_init(&overlay, spool);
    assert_int_equal(overlay_write(&overlay, data, sizeof(data), 10), SPOOL_BLOCK * 2 - 10);
    assert_int_equal(overlay_write(&overlay, data, 1, SPOOL_BLOCK * 9), 0);
    assert_int_equal(overlay_write(&overlay, data, 5, 0), 5); /* in a block that is there */
    overlay_clear_all(&overlay);
    assert_int_equal(spool_used(spool), 0);
    spool_destroy(&spool, false);
}

static void every_other_byte_is_refused_before_it_costs_too_much(void **state)
{
    (void)state;
    struct spool *spool;
    struct overlay overlay;
    assert_int_equal(spool_create(SPOOL_BLOCK * 3, NULL, &spool), 0);
    overlay_init(&overlay, spool);
    uint64_t n = 0;
    while (n < SPOOL_BLOCK && overlay_write(&overlay, "x", 1, n * 2) == 1)
        n++;
    assert_true(n > 1024 && n < SPOOL_BLOCK);
    assert_int_equal(overlay_write(&overlay, "x", 1, 2 * n - 1), 1); /* behind one that is there */
    assert_int_equal(overlay_write(&overlay, "x", 1, 1), 1);         /* joins two runs */
    assert_true(overlay_covers(&overlay, 0, 3));
    assert_false(overlay_covers(&overlay, 0, 4));
    assert_int_equal(overlay_write(&overlay, "x", 1, n * 2 + 2), 1); /* which has made room */
    assert_int_equal(overlay_clear(&overlay, 1, 1), 0);              /* some is kept for that */
    assert_true(overlay_covers(&overlay, 0, 1) && overlay_covers(&overlay, 2, 1));
    overlay_clear_all(&overlay);
    assert_int_equal(spool_used(spool), 0);
    spool_destroy(&spool, false);
}

static void spool_refuses_less_than_a_block(void **state)
{
    (void)state;
    struct spool *spool;
    assert_int_equal(spool_create(SPOOL_BLOCK - 1, NULL, &spool), -EINVAL);
}

static void spool_says_why_it_cannot_be_made(void **state)
{
    (void)state;
    struct spool *spool;
    /* as much as there are addresses */
    assert_int_equal(spool_create((uint64_t)(INT32_MAX / 8) * SPOOL_BLOCK * 8, NULL, &spool),
                     -EINVAL);
    assert_int_equal(spool_create(1 << 20, "/nowhere/spool", &spool), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_writes_and_clears_match_an_array),
        cmocka_unit_test(full_spool_takes_what_fits),
        cmocka_unit_test(every_other_byte_is_refused_before_it_costs_too_much),
        cmocka_unit_test(spool_refuses_less_than_a_block),
        cmocka_unit_test(spool_says_why_it_cannot_be_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
