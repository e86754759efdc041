#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum set { GENERATED, REAL, ALL, N_SETS };

static const char *const set_names[N_SETS] = {"generated volumes", "real volumes", "all volumes"};

struct sums { /* of logarithms */
    double ratio, share, encode, decode;
    unsigned n;
};

struct report {
    const struct peer *const *peers;
    unsigned n_peers;
    FILE *csv;
    bool inexact;
    unsigned n_volumes[N_SETS];
    struct sums *sums[N_SETS]; /* a peer each */
};

struct report *report_open(const struct peer *const *peers, unsigned n_peers, FILE *csv)
{
    struct report *report = calloc(1, sizeof(*report));
    if (report == NULL)
        return NULL;
    *report = (struct report){.peers = peers, .n_peers = n_peers, .csv = csv};
    for (int set = 0; set < N_SETS; set++) {
        report->sums[set] = calloc(n_peers, sizeof(struct sums));
        if (report->sums[set] == NULL)
            report_close(&report);
        if (report == NULL)
            return NULL;
    }
    if (csv != NULL)
        fprintf(csv, "volume,peer,bytes,ratio,noise_limit,exact,rounds,encode_mb_s,encode_lowest,"
                     "encode_highest,decode_mb_s,decode_lowest,decode_highest\n");
    return report;
}

void report_close(struct report **report)
{
    if (*report == NULL)
        return;
    for (int set = 0; set < N_SETS; set++)
        free((*report)->sums[set]);
    free(*report);
    *report = NULL;
}

bool report_all_exact(const struct report *report)
{
    return !report->inexact;
}

/* ---- a volume ---- */

static void add(struct sums *sums, const struct measure *measure, double noise_limit)
{
    sums->ratio += log(measure->ratio);
    sums->share += noise_limit > 0 ? log(measure->ratio / noise_limit) : 0;
    sums->encode += log(measure->encode.median);
    sums->decode += log(measure->decode.median);
    sums->n++;
}

static void write_csv(FILE *csv, const struct volume *volume, const struct peer *peer,
                      const struct measure *m)
{
    fprintf(csv, "\"%s\",\"%s\",%zu,%.4f,%.4f,%d,%u,%.1f,%.1f,%.1f,%.1f,%.1f,%.1f\n", volume->name,
            peer->name, planes_bytes(&volume->planes), m->ratio, volume->noise_limit, m->exact,
            m->n_rounds, m->encode.median, m->encode.low, m->encode.high, m->decode.median,
            m->decode.low, m->decode.high);
}

static void print_speed(const struct measure_speed *speed, int width)
{
    char text[64];
    snprintf(text, sizeof(text), "%.0f (%.0f..%.0f)", speed->median, speed->low, speed->high);
    printf("  %-*s", width, text);
}

static void print_measure(const struct peer *peer, const struct measure *m, double noise_limit)
{
    printf("  %-30s", peer->name);
    if (m->error < 0) {
        printf("  cannot encode this: %s\n", strerror(-m->error));
        return;
    }
    printf(" %8.3f", m->ratio);
    if (noise_limit > 0)
        printf("  %5.1f %%", 100 * m->ratio / noise_limit);
    print_speed(&m->encode, 20);
    print_speed(&m->decode, 0);
    puts(m->exact ? "" : "  NOT EXACT");
}

void report_volume(struct report *report, const struct volume *volume,
                   const struct measure *measures)
{
    const struct planes *planes = &volume->planes;
    enum set set = volume->noise_limit > 0 ? GENERATED : REAL;
    printf("\n%s: %u x %u x %u, %.1f MB, %zu chunks", volume->name, planes->width, planes->rows,
           planes->depth, (double)planes_bytes(planes) / 1e6, volume->chunks.n);
    if (volume->noise_limit > 0)
        printf("; the noise allows %.3f", volume->noise_limit);
    printf("\n  %-30s %8s%s  %-20s  %s\n", "", "ratio", volume->noise_limit > 0 ? "  of that" : "",
           "encode MB/s", "decode MB/s");
    report->n_volumes[set]++;
    report->n_volumes[ALL]++;
    for (unsigned i = 0; i < report->n_peers; i++) {
        const struct measure *m = &measures[i];
        print_measure(report->peers[i], m, volume->noise_limit);
        if (m->error < 0)
            continue;
        report->inexact = report->inexact || !m->exact;
        add(&report->sums[set][i], m, volume->noise_limit);
        add(&report->sums[ALL][i], m, volume->noise_limit);
        if (report->csv != NULL)
            write_csv(report->csv, volume, report->peers[i], m);
    }
    fflush(stdout);
}

/* ---- means ---- */

static double mean(double sum, unsigned n)
{
    return exp(sum / n);
}

static const struct sums *find_base(const struct report *report, enum set set, const char *base)
{
    for (unsigned i = 0; i < report->n_peers; i++)
        if (strcmp(report->peers[i]->name, base) == 0 && report->sums[set][i].n > 0)
            return &report->sums[set][i];
    return NULL;
}

static void print_mean(const struct peer *peer, const struct sums *sums, enum set set,
                       const struct sums *base)
{
    printf("  %-30s %8.3f", peer->name, mean(sums->ratio, sums->n));
    if (set == GENERATED)
        printf("  %5.1f %%", 100 * mean(sums->share, sums->n));
    printf("  %8.0f  %8.0f", mean(sums->encode, sums->n), mean(sums->decode, sums->n));
    if (base != NULL)
        printf("  %7.2f  %7.2f", mean(sums->encode, sums->n) / mean(base->encode, base->n),
               mean(sums->decode, sums->n) / mean(base->decode, base->n));
    putchar('\n');
}

static void print_set(const struct report *report, enum set set, const char *base_name)
{
    const struct sums *base = find_base(report, set, base_name);
    printf("\ngeometric means of %u %s\n  %-30s %8s%s  %8s  %8s", report->n_volumes[set],
           set_names[set], "", "ratio", set == GENERATED ? "  of that" : "", "enc MB/s",
           "dec MB/s");
    if (base != NULL)
        printf("  enc and dec, times %s", base_name);
    putchar('\n');
    for (unsigned i = 0; i < report->n_peers; i++) {
        const struct sums *sums = &report->sums[set][i];
        if (sums->n == report->n_volumes[set]) /* of other volumes it would be another mean */
            print_mean(report->peers[i], sums, set, base);
    }
}

void report_means(const struct report *report, const char *base)
{
    for (int set = 0; set < N_SETS; set++)
        if (report->n_volumes[set] > 1 &&
            (set != ALL || (report->n_volumes[GENERATED] > 0 && report->n_volumes[REAL] > 0)))
            print_set(report, (enum set)set, base);
}
