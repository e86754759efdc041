#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/quote.h"
#include "base/size.h"
#include "ctl/bench_run.h"
#include "ctl/bench_sample.h"
#include "ctl/bench_show.h"
#include "ctl/command.h"
#include "ctl/out.h"
#include "ctl/say.h"

#define MAX_LANES       32 /* pipelines on one command line */
#define CHUNK_MIN       (64u << 10)
#define CHUNK_MAX       (64u << 20)
#define SECONDS_DEFAULT 2
#define SECONDS_MAX     3600
#define SAMPLE_BYTES    (256u << 20) /* enough to be typical, and fits everywhere */
#define SAMPLE_MIN      (1u << 20)
#define SAMPLE_MAX      (64ull << 30)

/* Every lossless pipeline that somebody might want. */
static const char *const usual[] = {
    "interlace",
    "interlace(entropy=0)",
    "delta(zigzag=1)->shuffle->zstd",
    "bitshuffle->zstd",
    "shuffle->zstd",
    "zstd",
    "bitshuffle->lz4",
    "bitswap1->lz4",
    "blosc",
    "lz4",
};
#define N_USUAL (sizeof(usual) / sizeof(usual[0]))

struct bench {
    struct sqy_pipeline *pipelines[MAX_LANES];
    struct bench_lane lanes[MAX_LANES];
    unsigned n_lanes;
    struct raw_policy raw;
    bool has_raw, json;
    uint32_t chunk;
    uint64_t sample_bytes;
    double seconds;
    const char *csv_path; /* or NULL */
    struct out csv;
};

static bool interrupted(void *ctx)
{
    const struct bench *bench = ctx;
    return bench->csv_path != NULL && out_interrupted(&bench->csv);
}

/* ---- measuring ---- */

static int show(struct bench *bench, const struct bench_sample *sample, unsigned n_files)
{
    struct bench_report report = {sample, bench->lanes, bench->n_lanes, n_files};
    int r = 0, code = EXIT_OK;
    if (bench->json)
        bench_show_json(&report);
    else if (bench->csv_path == NULL || strcmp(bench->csv_path, "-") != 0)
        bench_show_table(&report);
    if (bench->csv_path != NULL) {
        r = bench_show_csv(&report, bench->csv.fd);
        if (r == 0)
            r = out_commit(&bench->csv, NULL);
        if (r < 0)
            code = say_error("write", bench->csv_path, r);
    }
    for (unsigned i = 0; i < bench->n_lanes; i++)
        if (bench->lanes[i].error == 0 && !bench->lanes[i].exact)
            code = say_failed("%s does not give back what it was given: do not use it",
                              sqy_pipeline_short(bench->lanes[i].pipeline));
    return code;
}

static int measure(struct bench *bench, const struct bench_sample *sample, unsigned n_files)
{
    struct bench_running running = {
        .sample = sample,
        .lanes = bench->lanes,
        .n_lanes = bench->n_lanes,
        .seconds = bench->seconds,
        .stop = interrupted,
        .stop_ctx = bench,
    };
    int r = bench_run(&running);
    return r < 0 ? say_failed("%s", say_advice(r)) : show(bench, sample, n_files);
}

static int bench_files(struct bench *bench, char **paths, unsigned n_paths)
{
    struct bench_sampling sampling = {
        .paths = paths,
        .n_paths = n_paths,
        .raw = bench->has_raw ? &bench->raw : NULL,
        .chunk = bench->chunk,
        .limit = bench->sample_bytes,
        .stop = interrupted,
        .stop_ctx = bench,
    };
    struct bench_sample sample;
    const char *path;
    char quoted[SAY_PATH_MAX];
    int r = bench_sample_take(&sampling, &sample, &path);
    if (r == -ESTALE)
        return say_failed("%s was changed while it was read: try again when its writer is done",
                          quote(path, quoted, sizeof(quoted)));
    if (r < 0)
        return say_error("read", path, r);
    int code = sample.n > 0
                   ? measure(bench, &sample, n_paths)
                   : say_failed("there are no voxels to measure: give TIFF stacks that are not "
                                "compressed, blobs of such, or the shape of raw volumes (--raw)");
    bench_sample_free(&sample);
    return code;
}

static int bench_paths(struct bench *bench, char **paths, unsigned n_paths)
{
    if (bench->csv_path != NULL) {
        int r = out_open(bench->csv_path, NULL, &bench->csv);
        if (r < 0)
            return say_error("write", bench->csv_path, r);
    }
    int code = bench_files(bench, paths, n_paths);
    if (bench->csv_path != NULL)
        out_close(&bench->csv);
    return code;
}

/* ---- options ---- */

static int add_pipeline(const struct command *command, struct bench *bench, const char *text)
{
    struct sqy_error err;
    if (bench->n_lanes == MAX_LANES)
        return args_wrong(command, "--pipeline: at most %d of them", MAX_LANES);
    int r = sqy_pipeline_parse(text, &bench->pipelines[bench->n_lanes], &err);
    if (r == -EINVAL || r == -ENOTSUP)
        return args_wrong(command, "pipeline %s: at byte %zu: %s", text, err.position, err.message);
    if (r < 0)
        return say_failed("out of memory");
    bench->lanes[bench->n_lanes].pipeline = bench->pipelines[bench->n_lanes];
    bench->n_lanes++;
    if (sqy_pipeline_needs_volume(bench->lanes[bench->n_lanes - 1].pipeline) ||
        !sqy_pipeline_is_lossless(bench->lanes[bench->n_lanes - 1].pipeline))
        return args_wrong(
            command,
            "pipeline %s: a mount cannot store chunks with it: it loses something, or "
            "needs whole stacks",
            text);
    return EXIT_OK;
}

/* But those that this build lacks. */
static int add_usual(const struct command *command, struct bench *bench)
{
    int code = EXIT_OK;
    for (size_t i = 0; i < N_USUAL && code == EXIT_OK; i++) {
        struct sqy_pipeline *pipeline = NULL;
        bool known = sqy_pipeline_parse(usual[i], &pipeline, NULL) == 0;
        sqy_pipeline_free(&pipeline);
        if (known)
            code = add_pipeline(command, bench, usual[i]);
    }
    return code;
}

/* The policy of `encode --raw` for every file, whatever its name. */
static int take_raw(const struct command *command, struct bench *bench)
{
    char text[256], why[160];
    snprintf(text, sizeof(text), "*:%s", optarg);
    raw_policy_clear(&bench->raw);
    bench->has_raw = raw_policy_parse(text, &bench->raw, why, sizeof(why)) == 0 &&
                     strcmp(bench->raw.glob, "*") == 0;
    return bench->has_raw
               ? EXIT_OK
               : args_wrong(command, "--raw %s: expected WIDTHxHEIGHT[:TYPE[:be]]", optarg);
}

static int take_size(const struct command *command, struct bench *bench, int c)
{
    uint64_t value, min = c == 'c' ? CHUNK_MIN : SAMPLE_MIN,
                    max = c == 'c' ? CHUNK_MAX : SAMPLE_MAX;
    if (size_parse(optarg, &value) < 0 || value < min || value > max)
        return args_wrong(command,
                          c == 'c' ? "--chunk %s: give a size from 64K to 64M"
                                   : "--sample %s: give a size from 1M to 64G",
                          optarg);
    if (c == 'c')
        bench->chunk = (uint32_t)value;
    else
        bench->sample_bytes = value;
    return EXIT_OK;
}

static int take_seconds(const struct command *command, struct bench *bench)
{
    char *end;
    bench->seconds = strtod(optarg, &end);
    if (end == optarg || *end != '\0' || !(bench->seconds >= 0 && bench->seconds <= SECONDS_MAX))
        return args_wrong(command, "--seconds %s: give a number from 0 to %d", optarg, SECONDS_MAX);
    return EXIT_OK;
}

static int take_option(const struct command *command, struct bench *bench, int c)
{
    switch (c) {
    case 'p':
        return add_pipeline(command, bench, optarg);
    case 'r':
        return take_raw(command, bench);
    case 's':
        return take_seconds(command, bench);
    case 'o':
        bench->csv_path = optarg;
        return EXIT_OK;
    case 'j':
        bench->json = true;
        return EXIT_OK;
    default:
        return take_size(command, bench, c);
    }
}

static int take_options(const struct command *command, struct bench *bench, int argc, char **argv,
                        bool *go_on)
{
    static const struct option longs[] = {
        {"pipeline", required_argument, NULL, 'p'}, {"raw", required_argument, NULL, 'r'},
        {"chunk", required_argument, NULL, 'c'},    {"sample", required_argument, NULL, 'm'},
        {"seconds", required_argument, NULL, 's'},  {"csv", required_argument, NULL, 'o'},
        {"json", no_argument, NULL, 'j'},           {NULL, 0, NULL, 0},
    };
    int c, code = EXIT_OK;
    *go_on = false;
    while ((c = args_next(command, argc, argv, "p:", longs, &code)) != ARGS_END) {
        if (c != ARGS_EXIT)
            code = take_option(command, bench, c);
        if (c == ARGS_EXIT || code != EXIT_OK)
            return code;
    }
    if (bench->json && bench->csv_path != NULL && strcmp(bench->csv_path, "-") == 0)
        return args_wrong(command, "--json and --csv cannot both go to standard output");
    if (bench->n_lanes == 0)
        code = add_usual(command, bench);
    *go_on = code == EXIT_OK && args_count(command, argc, 1, argc, &code);
    return code;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct bench *bench = calloc(1, sizeof(*bench)); /* every round of every lane: too much stack */
    if (bench == NULL)
        return say_failed("out of memory");
    bench->seconds = SECONDS_DEFAULT;
    bench->sample_bytes = SAMPLE_BYTES;
    bool go_on;
    int code = take_options(command, bench, argc, argv, &go_on);
    if (go_on)
        code = bench_paths(bench, argv + optind, (unsigned)(argc - optind));
    for (unsigned i = 0; i < bench->n_lanes; i++)
        sqy_pipeline_free(&bench->pipelines[i]);
    raw_policy_clear(&bench->raw);
    free(bench);
    return code;
}

const struct command bench_command = {
    .name = "bench",
    .arguments = "[-p PIPELINE]... [--raw SHAPE] [--chunk SIZE] [--sample SIZE]\n"
                 "                    [--seconds N] [--csv OUT] [--json] FILE...",
    .summary = "Measures pipelines on your own stacks: ratio and speed; recommends one.",
    .help =
        "FILE is a TIFF stack, a raw volume, a blob, or a file in a mount. It is cut as a mount\n"
        "would cut it, and every chunk is encoded, decoded and compared on one thread.\n\n"
        "  -p, --pipeline TEXT   measure this one; may be repeated (default: the lossless ones\n"
        "                        that are of use)\n"
        "  --raw SHAPE           WIDTHxHEIGHT[:TYPE[:be]]: the files are raw volumes\n"
        "  --chunk SIZE          bytes coded in one piece, 64K to 64M (default 1M)\n"
        "  --sample SIZE         bytes of voxels held in memory; of larger files chunks are\n"
        "                        taken evenly (default 256M)\n"
        "  --seconds N           CPU seconds for each pipeline, at least three rounds (default\n"
        "                        2)\n"
        "  --csv OUT             also as CSV; - is standard output, in place of the table\n"
        "  --json                as one JSON object, in place of the table\n",
    .run = run,
};
