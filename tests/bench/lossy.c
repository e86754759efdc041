/* Pipelines that lose something: how small, how fast, and how wrong. The same voxels and the same model of
 * their noise for all of them; what a receipt says is counted a second time.
 *
 *   lossy [--rounds N] [--seconds N] [--threads N] [--quick] [--csv FILE] [--only TEXT]...
 *         [-p PIPELINE]... VOLUME...
 *
 * VOLUME as volumes_each() takes it. lossy.sh runs it on generated and real stacks. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lossy_bars.h"
#include "lossy_report.h"

#define MAX_ONLY    32
#define MAX_THREADS 256
#define MAX_BARS    32

static const char usage[] =
    "usage: lossy [--rounds N] [--seconds N] [--threads N] [--quick] [--csv FILE] [--only "
    "TEXT]...\n"
    "             [-p PIPELINE]... VOLUME...\n"
    "  VOLUME       FILE.tif, FILE.npy, FILE.raw:WIDTHxHEIGHT, or a folder\n"
    "  --rounds N   at most so many, 1 to 25 (3)\n"
    "  --seconds N  a pipeline that has used so many CPU seconds gets no second round (3)\n"
    "  --threads N  for what is called all cores, 1 to 256 (as many as there are)\n"
    "  --quick      few settings, the fast encoders alone\n"
    "  --csv FILE   every measure as a line\n"
    "  --only TEXT  rows with TEXT in their series or pipeline; may be repeated\n"
    "  -p PIPELINE  one more; may be repeated\n";

struct bars { /* of a volume, printed when all are done */
    char volume[256];
    struct lossy_measure *measures; /* owned */
};

struct bench {
    struct lossy_options options;
    struct lossy_rows rows;
    const char *only[MAX_ONLY], *own[MAX_ONLY], *csv_path;
    unsigned n_only, n_own, n_bars;
    bool quick, wrong;
    FILE *csv;
    struct bars bars[MAX_BARS];
};

static void keep_for_bars(struct bench *bench, const char *volume, struct lossy_measure *measures)
{
    if (bench->n_bars == MAX_BARS) {
        free(measures);
        return;
    }
    struct bars *bars = &bench->bars[bench->n_bars++];
    snprintf(bars->volume, sizeof(bars->volume), "%s", volume);
    bars->measures = measures;
}

static int take_volume(void *ctx, const struct volume *volume)
{
    struct bench *bench = ctx;
    struct sqy_noise model, *noise = lossy_noise_of(volume, &model) == 0 ? &model : NULL;
    struct lossy_measure *measures = calloc(bench->rows.n + 1, sizeof(*measures));
    if (measures == NULL)
        return -ENOMEM;
    int r = lossy_measure_volume(volume, &bench->rows, noise, &bench->options, measures);
    if (r < 0) {
        free(measures);
        return r;
    }
    lossy_report_print(volume, noise, &bench->rows, measures);
    if (bench->csv != NULL)
        lossy_report_csv(bench->csv, volume, noise, &bench->rows, measures, bench->options.threads);
    for (unsigned i = 0; i < bench->rows.n; i++)
        bench->wrong = bench->wrong || (measures[i].skipped[0] == '\0' && !measures[i].agrees);
    keep_for_bars(bench, volume->name, measures);
    return 0;
}

static void print_bars(struct bench *bench)
{
    printf("\nbars:\n");
    for (unsigned i = 0; i < bench->n_bars; i++) {
        lossy_bars_print(bench->bars[i].volume, &bench->rows, bench->bars[i].measures);
        free(bench->bars[i].measures);
    }
}

static int run(struct bench *bench, char **volumes, int n_volumes)
{
    bench->csv = bench->csv_path != NULL ? fopen(bench->csv_path, "w") : NULL;
    if (bench->csv_path != NULL && bench->csv == NULL) {
        perror(bench->csv_path);
        return 1;
    }
    if (bench->csv != NULL)
        lossy_report_csv_head(bench->csv);
    if (bench->n_own == 0 || bench->n_only > 0)
        lossy_rows_make(&bench->rows, bench->only, bench->n_only, bench->quick);
    for (unsigned i = 0; i < bench->n_own; i++)
        lossy_rows_add(&bench->rows, bench->own[i]);
    printf("MB of voxels per CPU second of one thread, and per second of %u: median "
           "(lowest..highest) of the rounds\n",
           bench->options.threads);
    int r = 0;
    for (int i = 0; i < n_volumes && r >= 0; i++) {
        r = volumes_each(volumes[i], take_volume, bench);
        if (r < 0)
            fprintf(stderr, "lossy: %s: %s\n", volumes[i], strerror(-r));
    }
    print_bars(bench);
    if (bench->wrong)
        fprintf(stderr, "lossy: a receipt is not what its errors are\n");
    if (bench->csv != NULL && fclose(bench->csv) != 0)
        r = -EIO;
    return r < 0 || bench->wrong;
}

static bool take_number(unsigned *out, unsigned max)
{
    char *end;
    unsigned long n = strtoul(optarg, &end, 10);
    *out = (unsigned)n;
    return *end == '\0' && n >= 1 && n <= max;
}

static bool take_text(const char **list, unsigned *n)
{
    if (*n < MAX_ONLY)
        list[(*n)++] = optarg;
    return true;
}

static bool take_option(struct bench *bench, int c)
{
    char *end = NULL;
    switch (c) {
    case 'r':
        return take_number(&bench->options.rounds, MEASURE_MAX_ROUNDS);
    case 't':
        return take_number(&bench->options.threads, MAX_THREADS);
    case 's':
        bench->options.seconds = strtod(optarg, &end);
        return *end == '\0' && bench->options.seconds >= 0;
    case 'q':
        bench->quick = true;
        return true;
    case 'c':
        bench->csv_path = optarg;
        return true;
    case 'o':
        return take_text(bench->only, &bench->n_only);
    case 'p':
        return take_text(bench->own, &bench->n_own);
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"rounds", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 't'},
        {"quick", no_argument, NULL, 'q'},
        {"csv", required_argument, NULL, 'c'},
        {"only", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    static struct bench bench = {.options = {.rounds = 3, .seconds = 3}};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    bench.options.threads = cores < 1 ? 1 : cores < MAX_THREADS ? (unsigned)cores : MAX_THREADS;
    int c;
    bool good = true;
    while (good && (c = getopt_long(argc, argv, "p:", longs, NULL)) != -1)
        good = take_option(&bench, c);
    if (!good || optind == argc) {
        fputs(usage, stderr);
        return 2;
    }
    return run(&bench, argv + optind, argc - optind);
}
