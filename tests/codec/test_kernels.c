/* Every version of every kernel that this machine can run, or emulate, against the scalar one.
 *
 *   test_codec_kernels [--bench [KERNEL]]
 *
 * --bench: GB of samples a second of each, and how many times the scalar one that is. */
#include "test.h"

#include "check_kernels.h"
#include "util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_VERSIONS 8
#define MOST_TESTS    128
#define N_ROUNDS      15
#define ROUND_NS      1000000 /* long enough for the clock */

struct version {
    const struct kernels *kernels;
    bool native; /* emulated ones are not worth timing */
};

struct run {
    const struct kernels *kernels;
    const struct kernel_check *check;
    char name[64];
};

#ifdef HAVE_SIMDE
const struct kernels *kernels_avx512_emulated(void);
#endif

static struct version versions[MOST_VERSIONS];
static unsigned n_versions;

static void add_version(const struct kernels *kernels, bool native)
{
    if (kernels)
        versions[n_versions++] = (struct version){kernels, native};
}

static void find_versions(void)
{
    for (unsigned i = 0; i < kernels_count(); i++)
        add_version(kernels_version(i), true);
#ifdef HAVE_SIMDE
    add_version(kernels_avx512_emulated(), false);
#endif
}

/* ---- checking ---- */

static void run_check(void **state)
{
    const struct run *run = *state;
    run->check->check(run->kernels);
}

static int check_all(void)
{
    static const struct kernel_check *const tables[] = {check_kernels_bytes, check_kernels_residual,
                                                        check_kernels_turns, check_kernels_noise};
    static struct CMUnitTest tests[MOST_TESTS];
    static struct run runs[MOST_TESTS];
    size_t n = 0;
    for (unsigned v = 0; v < n_versions; v++) {
        for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
            for (const struct kernel_check *c = tables[t]; c->name && n < MOST_TESTS; c++, n++) {
                runs[n] = (struct run){versions[v].kernels, c, ""};
                snprintf(runs[n].name, sizeof(runs[n].name), "%s: %s", versions[v].kernels->name,
                         c->name);
                tests[n] = (struct CMUnitTest){runs[n].name, run_check, NULL, NULL, &runs[n]};
            }
        }
    }
    return _cmocka_run_group_tests("kernels", tests, n, NULL, NULL);
}

/* ---- timing ---- */

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nanoseconds of one run, the median of several rounds of many. */
static double time_one(const struct kernel_timed *timed, const struct kernels *k,
                       struct timed_memory *m)
{
    double round[N_ROUNDS];
    for (unsigned r = 0; r < N_ROUNDS; r++) {
        unsigned n = 0;
        const double start = now_ns();
        double end = start;
        for (; end - start < ROUND_NS; n += 16, end = now_ns()) {
            for (unsigned i = 0; i < 16; i++)
                timed->run(k, m);
        }
        round[r] = (end - start) / n;
    }
    qsort(round, N_ROUNDS, sizeof(round[0]), by_value);
    return round[N_ROUNDS / 2];
}

static void print_row(const struct kernel_timed *timed, struct timed_memory *m)
{
    double scalar = 0;
    printf("%-12s", timed->name);
    for (unsigned v = 0; v < n_versions; v++) {
        if (!versions[v].native)
            continue;
        const double ns = time_one(timed, versions[v].kernels, m);
        scalar = scalar > 0 ? scalar : ns;
        printf("%10.2f x%-6.1f", TIMED_BYTES / ns, scalar / ns);
    }
    printf("\n");
}

static int time_all(const char *only)
{
    static const struct kernel_timed *const tables[] = {time_kernels_bytes, time_kernels_residual,
                                                        time_kernels_turns, time_kernels_noise};
    struct timed_memory *m = calloc(1, sizeof(*m));
    uint64_t seed = 1;
    if (!m)
        return 1;
    util_noise(m->in, sizeof(m->in), 7);
    for (size_t i = 0; i < sizeof(m->numbers) / sizeof(m->numbers[0]); i++)
        m->numbers[i] = (uint16_t)(util_random(&seed) >> 32) >> (8 + util_random(&seed) % 4);
    printf("%-12s", "GB/s");
    for (unsigned v = 0; v < n_versions; v++) {
        if (versions[v].native)
            printf("%10s %-7s", versions[v].kernels->name, "");
    }
    printf("\n");
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        for (const struct kernel_timed *timed = tables[t]; timed->name; timed++) {
            if (!only || strcmp(only, timed->name) == 0)
                print_row(timed, m);
        }
    }
    free(m);
    return 0;
}

int main(int argc, char **argv)
{
    find_versions();
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return time_all(argc > 2 ? argv[2] : NULL);
    return check_all();
}
