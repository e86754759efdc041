/* Our pipelines beside other lossless coders: the same voxels, one thread, one run. Byte coders get
 * the chunks that a mount would cut, image coders whole planes; every round trip is compared.
 *
 *   peers [--rounds N] [--seconds N] [--csv FILE] [--only TEXT]... [-p PIPELINE]... VOLUME...
 *
 * VOLUME as volumes_each() takes it. peers.sh runs it on generated and real stacks. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

#define MAX_PEERS 64
#define MAX_OWN   16 /* pipelines on the command line */
#define BASE_NAME "zstd 1"

static const char usage[] =
    "usage: peers [--rounds N] [--seconds N] [--csv FILE] [--only TEXT]... [-p PIPELINE]... "
    "VOLUME...\n"
    "  VOLUME       FILE.tif, FILE.npy, FILE.raw:WIDTHxHEIGHT[:NOISE_LIMIT], or a folder\n"
    "  --rounds N   at most so many, 1 to 25 (5)\n"
    "  --seconds N  a peer that has used so many CPU seconds gets no third round (3)\n"
    "  --csv FILE   every measure as a line\n"
    "  --only TEXT  peers with TEXT in their names; may be repeated\n"
    "  -p PIPELINE  one more of ours\n";

struct bench {
    struct measure_options options;
    const char *only[MAX_PEERS], *csv_path;
    unsigned n_only;
    struct peer own[MAX_OWN];
    const struct peer *peers[MAX_PEERS];
    unsigned n_own, n_peers;
    struct report *report;
};

static void add_peer(struct bench *bench, const struct peer *peer)
{
    bool wanted = bench->n_only == 0;
    for (unsigned i = 0; i < bench->n_only; i++)
        wanted = wanted || strstr(peer->name, bench->only[i]) != NULL;
    if (wanted && bench->n_peers < MAX_PEERS)
        bench->peers[bench->n_peers++] = peer;
}

static void add_peers(struct bench *bench)
{
    for (unsigned i = 0; i < bench->n_own; i++)
        add_peer(bench, &bench->own[i]);
    for (const struct peer_family *family = peer_families; family->name != NULL; family++) {
        if (family->peers == NULL)
            printf("%s: not built in: install %s and configure anew\n", family->name,
                   family->package);
        for (const struct peer *peer = family->peers; peer != NULL && peer->name != NULL; peer++)
            add_peer(bench, peer);
    }
}

static int take_volume(void *ctx, const struct volume *volume)
{
    struct bench *bench = ctx;
    struct measure measures[MAX_PEERS];
    int r = measure_volume(volume, bench->peers, bench->n_peers, &bench->options, measures);
    if (r == 0)
        report_volume(bench->report, volume, measures);
    return r;
}

static int run(struct bench *bench, char **volumes, int n_volumes)
{
    FILE *csv = bench->csv_path != NULL ? fopen(bench->csv_path, "w") : NULL;
    if (bench->csv_path != NULL && csv == NULL) {
        perror(bench->csv_path);
        return 1;
    }
    add_peers(bench);
    bench->report = report_open(bench->peers, bench->n_peers, csv);
    int r = bench->report == NULL ? -ENOMEM : 0;
    printf("MB of voxels per CPU second of one thread: median (lowest..highest) of the rounds\n");
    for (int i = 0; i < n_volumes && r >= 0; i++) {
        r = volumes_each(volumes[i], take_volume, bench);
        if (r < 0)
            fprintf(stderr, "peers: %s: %s\n", volumes[i], strerror(-r));
    }
    if (r >= 0)
        report_means(bench->report, BASE_NAME);
    bool exact = r >= 0 && report_all_exact(bench->report);
    if (r >= 0 && !exact)
        fprintf(stderr, "peers: a coder did not give back what it was given\n");
    report_close(&bench->report);
    if (csv != NULL && fclose(csv) != 0)
        r = -EIO;
    return r < 0 || !exact;
}

static bool take_option(struct bench *bench, int c)
{
    char *end = NULL;
    switch (c) {
    case 'r':
        bench->options.rounds = (unsigned)strtoul(optarg, &end, 10);
        return *end == '\0' && bench->options.rounds >= 1 &&
               bench->options.rounds <= MEASURE_MAX_ROUNDS;
    case 's':
        bench->options.seconds = strtod(optarg, &end);
        return *end == '\0' && bench->options.seconds >= 0;
    case 'c':
        bench->csv_path = optarg;
        return true;
    case 'o':
        if (bench->n_only < MAX_PEERS)
            bench->only[bench->n_only++] = optarg;
        return true;
    case 'p':
        if (bench->n_own < MAX_OWN)
            bench->own[bench->n_own++] = peer_sqy_of(optarg);
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"rounds", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},
        {"csv", required_argument, NULL, 'c'},
        {"only", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    struct bench bench = {.options = {.rounds = 5, .seconds = 3}};
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
