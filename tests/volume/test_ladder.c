#include "test.h"

#include "volume/ladder.h"
#include "volume/rates.h"

#define MIB (1ull << 20)

static struct ladder_mix mix_at(uint64_t waiting, uint64_t idle, const double *cost)
{
    struct ladder_view view = {
        .waiting = waiting * MIB, .free = (1000 - waiting - idle) * MIB, .limit = 1000 * MIB};
    for (unsigned i = 0; cost != NULL && i < LADDER_RUNGS; i++)
        view.cost[i] = cost[i];
    return ladder_mix(&view);
}

static void assert_whole(const struct ladder_mix *mix)
{
    double sum = 0;
    for (unsigned i = 0; i < LADDER_RUNGS; i++) {
        assert_true(mix->share[i] >= 0 && mix->share[i] <= 1);
        sum += mix->share[i];
    }
    assert_true(sum > 0.999999 && sum < 1.000001);
}

static void shares_fall_down_the_ladder_as_the_spool_fills(void **state)
{
    (void)state;
    double target = 1, raw = 0;
    for (uint64_t waiting = 0; waiting <= 1000; waiting++) {
        struct ladder_mix mix = mix_at(waiting, 0, NULL);
        assert_whole(&mix);
        assert_true(mix.share[LADDER_TARGET] <= target && target - mix.share[LADDER_TARGET] < 0.01);
        assert_true(mix.share[LADDER_RAW] >= raw && mix.share[LADDER_RAW] - raw < 0.01);
        target = mix.share[LADDER_TARGET];
        raw = mix.share[LADDER_RAW];
        if (waiting <= 500)
            assert_true(target == 1);
        if (waiting <= 875)
            assert_true(raw == 0);
    }
    assert_true(target == 0 && raw == 1);
}

static void what_no_encoder_is_about_to_take_is_no_overload(void **state)
{
    (void)state;
    struct ladder_mix mix = mix_at(100, 900, NULL);
    assert_true(mix.share[LADDER_TARGET] == 1);
    mix = mix_at(600, 400, NULL); /* full, and encoders are the reason */
    assert_true(mix.share[LADDER_RAW] == 1);
    struct ladder_view nothing = {0};
    mix = ladder_mix(&nothing);
    assert_true(mix.share[LADDER_TARGET] == 1);
}

static void a_rung_that_is_not_cheaper_is_left_out(void **state)
{
    (void)state;
    const double disk[] = {7e-9, 6.5e-9, 20e-9}; /* the disk is what takes the time */
    struct ladder_mix mix = mix_at(1000, 0, disk);
    assert_true(mix.share[LADDER_TARGET] == 1);
    const double no_raw[] = {2e-9, 1e-9, 1e-9};
    mix = mix_at(1000, 0, no_raw);
    assert_true(mix.share[LADDER_FAST] == 1);
    const double no_fast[] = {1e-9, 1e-9, 1e-10};
    mix = mix_at(900, 0, no_fast);
    assert_whole(&mix);
    assert_true(mix.share[LADDER_FAST] == 0 && mix.share[LADDER_RAW] > 0);
}

/* ---- a mount with writers and encoders, in simulated time ---- */

struct sim {
    struct ladder ladder;
    double arrival, encoders;        /* bytes and core seconds a second */
    double encode[LADDER_RUNGS];     /* core seconds a byte */
    double disk, size[LADDER_RUNGS]; /* bytes a second; coded part of a byte */
    double held, highest;            /* bytes in the spool */
    uint64_t chunks[LADDER_RUNGS];
};

#define SPOOL (1024 * MIB)

/* One chunk after the other, each as all encoders together would take it. */
static void run(struct sim *sim, double seconds)
{
    double now = 0;
    sim->highest = 0;
    for (unsigned i = 0; i < LADDER_RUNGS; i++)
        sim->chunks[i] = 0;
    while (now < seconds) {
        double step = 1e-4;
        if (sim->held >= MIB) {
            uint64_t free = (uint64_t)(SPOOL - sim->held);
            ladder_wait(&sim->ladder, (uint64_t)sim->held - ladder_waiting(&sim->ladder));
            enum ladder_rung rung = ladder_take(&sim->ladder, MIB, free, SPOOL);
            double cpu = sim->encode[rung] * MIB / sim->encoders;
            double store = sim->size[rung] * MIB / sim->disk;
            step = cpu > store ? cpu : store;
            struct ladder_cost cost = {.encode_s = sim->encode[rung] * MIB,
                                       .append_s = (step - cpu) * sim->encoders + 1e-5,
                                       .plain = MIB,
                                       .coded = sim->size[rung] * MIB};
            ladder_learn(&sim->ladder, rung, &cost);
            sim->chunks[rung]++;
            sim->held -= MIB;
        }
        now += step;
        sim->held += sim->arrival * step;
        if (sim->held > SPOOL)
            sim->held = SPOOL; /* writers wait */
        if (sim->held > sim->highest)
            sim->highest = sim->held;
    }
}

static struct sim two_cores(double arrival)
{
    struct sim sim = {.arrival = arrival,
                      .encoders = 1.4, /* the rest takes requests */
                      .encode = {1.0e-9, 0.47e-9, 0.1e-9},
                      .size = {0.3, 0.35, 1},
                      .disk = 1e12};
    ladder_init(&sim.ladder);
    return sim;
}

static double share(const struct sim *sim, enum ladder_rung rung)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < LADDER_RUNGS; i++)
        all += sim->chunks[i];
    return (double)sim->chunks[rung] / (double)all;
}

static void what_cores_can_do_stays_on_target(void **state)
{
    (void)state;
    struct sim sim = two_cores(1.3e9);
    run(&sim, 60);
    assert_true(share(&sim, LADDER_TARGET) == 1);
    assert_true(sim.highest < SPOOL / 2);
    ladder_destroy(&sim.ladder);
}

static void overload_settles_at_the_best_mix_that_keeps_up(void **state)
{
    (void)state;
    struct sim sim = two_cores(1.7e9);
    run(&sim, 30);
    run(&sim, 30);
    /* t + 0.47 (1 - t) = 1.4 / 1.7 */
    assert_true(share(&sim, LADDER_TARGET) > 0.63 && share(&sim, LADDER_TARGET) < 0.70);
    assert_true(share(&sim, LADDER_RAW) == 0);
    assert_true(sim.highest < SPOOL * 0.75 && sim.held > SPOOL * 0.5);
    sim.arrival = 1e9; /* one camera stops */
    run(&sim, 10);
    run(&sim, 10);
    assert_true(share(&sim, LADDER_TARGET) == 1);
    ladder_destroy(&sim.ladder);
}

static void what_fast_coding_cannot_take_is_stored_raw_in_part(void **state)
{
    (void)state;
    struct sim sim = two_cores(4e9);
    run(&sim, 30);
    run(&sim, 30);
    assert_true(share(&sim, LADDER_TARGET) < 0.01);
    assert_true(share(&sim, LADDER_FAST) > 0.6 && share(&sim, LADDER_RAW) > 0.1);
    assert_true(sim.highest < SPOOL * 0.99);
    ladder_destroy(&sim.ladder);
}

static void a_slow_disk_gets_the_smallest_chunks(void **state)
{
    (void)state;
    struct sim sim = two_cores(0.85e9);
    sim.disk = 0.2e9; /* two thirds of what comes, at the best ratio */
    run(&sim, 60);
    run(&sim, 60);
    assert_true(share(&sim, LADDER_TARGET) > 0.95);
    sim.disk = 1e12; /* the load that is left is the cores' */
    sim.arrival = 1.7e9;
    run(&sim, 60);
    run(&sim, 60);
    assert_true(share(&sim, LADDER_TARGET) > 0.63 && share(&sim, LADDER_TARGET) < 0.70);
    ladder_destroy(&sim.ladder);
}

/* ---- what is said ---- */

static void what_was_learned_long_ago_keeps_no_rung_away(void **state)
{
    (void)state;
    const struct ladder_cost fast = {.encode_s = 0.0005, .plain = MIB, .coded = MIB / 2.8};
    const struct ladder_cost target = {.encode_s = 0.001, .plain = MIB, .coded = MIB / 3.3};
    struct ladder ladder;
    unsigned n_fast = 0;
    ladder_init(&ladder);
    for (unsigned i = 0; i < 5; i++)
        ladder_learn(&ladder, LADDER_FAST, &fast);
    for (unsigned i = 0; i < 120000; i++) /* without them in need of it */
        ladder_learn(&ladder, ladder_take(&ladder, 0, 1000 * MIB, 1000 * MIB), &target);
    ladder_wait(&ladder, 700 * MIB);
    for (unsigned i = 0; i < 10; i++)
        n_fast += ladder_take(&ladder, MIB, 300 * MIB, 1000 * MIB) == LADDER_FAST;
    assert_true(n_fast > 0);
    ladder_destroy(&ladder);
}

static void moments_are_not_told(void **state)
{
    (void)state;
    struct ladder_watch watch = {0};
    uint64_t chunks[LADDER_RUNGS] = {0};
    int64_t now = 1000;
    for (unsigned i = 0; i < 20; i++, now += 500) { /* now one, now none */
        chunks[LADDER_TARGET] += 10;
        chunks[LADDER_FAST] += i % 2;
        assert_false(ladder_look(&watch, chunks, now));
    }
    unsigned told = 0;
    for (unsigned i = 0; i < 20; i++, now += 500) {
        chunks[LADDER_FAST]++;
        chunks[LADDER_RAW] += i % 2;
        told += ladder_look(&watch, chunks, now);
    }
    assert_int_equal(told, 1);
    assert_int_equal(watch.said, LADDER_FAST);
    for (int64_t end = now + LADDER_UP_MS - 1; now < end; now += 500)
        assert_false(ladder_look(&watch, chunks, now));
    chunks[LADDER_FAST]++; /* not yet */
    assert_false(ladder_look(&watch, chunks, now));
    told = 0;
    for (int64_t end = now + LADDER_UP_MS + 1000; now < end; now += 500)
        told += ladder_look(&watch, chunks, now);
    assert_int_equal(told, 1);
    assert_int_equal(watch.said, LADDER_TARGET);
}

static void rates_are_of_the_last_seconds(void **state)
{
    (void)state;
    struct rates rates;
    double now[RATES_COUNTERS];
    struct rates_look look = {.ms = 1000};
    rates_init(&rates);
    rates_get(&rates, now);
    assert_true(now[RATES_WRITTEN] == 0);
    for (unsigned i = 0; i < 100; i++, look.ms += 250) { /* every other one comes too soon */
        assert_int_equal(rates_look(&rates, &look), i % 2 == 0);
        rates_get(&rates, now);
        assert_true(i < 2 || now[RATES_WRITTEN] == 4000);
        look.count[RATES_WRITTEN] += 1000;
    }
    for (unsigned i = 0; i < 11; i++, look.ms += 500)
        rates_look(&rates, &look);
    rates_get(&rates, now);
    assert_true(now[RATES_WRITTEN] == 0);
    rates_destroy(&rates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_fall_down_the_ladder_as_the_spool_fills),
        cmocka_unit_test(what_no_encoder_is_about_to_take_is_no_overload),
        cmocka_unit_test(a_rung_that_is_not_cheaper_is_left_out),
        cmocka_unit_test(what_cores_can_do_stays_on_target),
        cmocka_unit_test(overload_settles_at_the_best_mix_that_keeps_up),
        cmocka_unit_test(what_fast_coding_cannot_take_is_stored_raw_in_part),
        cmocka_unit_test(a_slow_disk_gets_the_smallest_chunks),
        cmocka_unit_test(what_was_learned_long_ago_keeps_no_rung_away),
        cmocka_unit_test(moments_are_not_told),
        cmocka_unit_test(rates_are_of_the_last_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
