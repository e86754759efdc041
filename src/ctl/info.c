#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/quote.h"
#include "base/size.h"
#include "ctl/command.h"
#include "ctl/json.h"
#include "ctl/mounted.h"
#include "ctl/quality.h"
#include "ctl/rows.h"
#include "ctl/say.h"
#include "ctl/source.h"
#include "volume/scan.h"

/* ---- a file in a mount ---- */

struct attributes {
    char *state, *pipeline, *ratio, *stored_bytes, *quality;
};

static void attributes_clear(struct attributes *attributes)
{
    free(attributes->state);
    free(attributes->pipeline);
    free(attributes->ratio);
    free(attributes->stored_bytes);
    free(attributes->quality);
}

/* A plain file has no pipeline. */
static int attributes_get(const char *path, struct attributes *out)
{
    memset(out, 0, sizeof(*out));
    int r = mounted_get(path, "state", &out->state);
    if (r == 0)
        r = mounted_get(path, "ratio", &out->ratio);
    if (r == 0)
        r = mounted_get(path, "stored_bytes", &out->stored_bytes);
    if (r == 0)
        r = mounted_get(path, "pipeline", &out->pipeline);
    if (r == -ENODATA && out->stored_bytes != NULL) {
        out->pipeline = strdup("");
        r = out->pipeline != NULL ? 0 : -ENOMEM;
    }
    if (r == 0)
        r = mounted_get(path, "quality", &out->quality);
    if (r == -ENODATA && out->pipeline != NULL) {
        out->quality = strdup("");
        r = out->quality != NULL ? 0 : -ENOMEM;
    }
    if (r < 0)
        attributes_clear(out);
    return r;
}

static void mounted_text(const struct attributes *attributes, const struct stat *st)
{
    char size[32];
    uint64_t stored = strtoull(attributes->stored_bytes, NULL, 10);
    printf("state:       %s\n", attributes->state);
    printf("plain:       %" PRIu64 " bytes (%s)\n", (uint64_t)st->st_size,
           size_format((uint64_t)st->st_size, size, sizeof(size)));
    printf("stored:      %" PRIu64 " bytes (%s)\n", stored,
           size_format(stored, size, sizeof(size)));
    printf("ratio:       %s\n", attributes->ratio);
    printf("pipeline:    %s\n", attributes->pipeline[0] != '\0' ? attributes->pipeline : "-");
    printf("quality:     %s\n", attributes->quality[0] != '\0' ? attributes->quality : "-");
}

static void mounted_json(struct json *json, const struct attributes *attributes,
                         const struct stat *st)
{
    json_text(json, "kind", "mounted");
    json_text(json, "state", attributes->state);
    json_number(json, "plain_bytes", (uint64_t)st->st_size);
    json_number(json, "stored_bytes", strtoull(attributes->stored_bytes, NULL, 10));
    json_real(json, "ratio", strtod(attributes->ratio, NULL));
    json_text(json, "pipeline", attributes->pipeline);
    json_text(json, "quality", attributes->quality);
    json_time(json, "mtime", &st->st_mtim);
    json_number(json, "inode", st->st_ino);
}

/* ---- a blob ---- */

struct facts {
    const char *kind;
    struct scan_row row;
    struct blob_stats stats; /* of ours only */
    bool ours;
    enum source_end end;
};

static int facts_get(const struct source *source, const char *path, struct facts *out)
{
    memset(out, 0, sizeof(*out));
    out->ours = source->blob != NULL;
    out->end = source->end;
    out->kind = out->ours || source->empty ? "blob" : "sqeazy";
    if (source->empty) {
        out->ours = true;
        out->row.row =
            (struct index_row){.path = path, .pipeline = "", .type = "", .state = "stored"};
        out->row.row.mtime = source->st.st_mtim;
        return 0;
    }
    if (out->ours) {
        blob_stats(source->blob, &out->stats);
        int r = scan_row(source->blob, &source->st, path, &out->row);
        if (r == 0 && source->end == SOURCE_CUT)
            out->row.row.state = "damaged";
        return r;
    }
    int r = scan_row_file(&io_system, source->fd, &source->st, path, &out->row);
    out->row.row.plain_bytes = source->tiff.size;
    return r;
}

static void facts_text(const struct facts *facts)
{
    const struct index_row *row = &facts->row.row;
    char size[32], shape[128];
    printf("kind:        %s\n",
           facts->ours ? "blob" : "sqeazy's own blob, decodes to a TIFF stack");
    printf("plain:       %" PRIu64 " bytes (%s)\n", row->plain_bytes,
           size_format(row->plain_bytes, size, sizeof(size)));
    printf("stored:      %" PRIu64 " bytes (%s)\n", row->stored_bytes,
           size_format(row->stored_bytes, size, sizeof(size)));
    printf("ratio:       %.3f\n", rows_ratio(row->plain_bytes, row->stored_bytes));
    printf("shape:       %s\n", rows_shape(row, shape, sizeof(shape)));
    if (row->voxel_x > 0 || row->voxel_z > 0)
        printf("voxel:       %g x %g x %g micrometres\n", row->voxel_x, row->voxel_y, row->voxel_z);
    fputs("pipeline:    ", stdout);
    say_path(stdout, row->pipeline);
    fputc('\n', stdout);
    if (!facts->ours)
        return;
    printf("digest:      %016" PRIx64 "\n", row->digest);
    printf("sqeazy:      %s\n", facts->stats.upstream ? "can read it" : "cannot read it");
    printf("extents:     %" PRIu64 ", after %" PRIu64 " checkpoints\n", facts->stats.n_extents,
           facts->stats.n_checkpoints);
    printf("live:        %" PRIu64 " bytes; %" PRIu64 " plain bytes wait for compaction\n",
           facts->stats.live_bytes, facts->stats.provisional_bytes);
    if (facts->end == SOURCE_CUT)
        printf("damaged:     cut off, or its last checkpoint lost\n");
    else if (facts->end == SOURCE_TORN)
        printf("torn:        ends in an unfinished write; what was checkpointed counts\n");
}

static void facts_json(struct json *json, const struct facts *facts)
{
    json_text(json, "kind", facts->kind);
    rows_json(json, &facts->row.row);
    json_bool(json, "upstream", !facts->ours || facts->stats.upstream);
    if (!facts->ours)
        return;
    json_bool(json, "torn", facts->stats.torn);
    json_number(json, "live_bytes", facts->stats.live_bytes);
    json_number(json, "provisional_bytes", facts->stats.provisional_bytes);
    json_number(json, "mapped_bytes", facts->stats.mapped_bytes);
    json_number(json, "extents", facts->stats.n_extents);
    json_number(json, "checkpoints", facts->stats.n_checkpoints);
}

/* ---- either ---- */

static int info_mounted(const char *path, const struct stat *st, struct json *json)
{
    struct attributes attributes;
    int r = attributes_get(path, &attributes);
    if (r < 0)
        return r;
    if (json != NULL)
        mounted_json(json, &attributes, st);
    else
        mounted_text(&attributes, st);
    attributes_clear(&attributes);
    return 0;
}

static int info_blob(const char *path, bool chunks, struct json *json)
{
    struct source source;
    int r = source_open(path, &source);
    if (r < 0)
        return r;
    struct facts facts;
    r = facts_get(&source, path, &facts);
    if (r == 0 && json != NULL)
        facts_json(json, &facts);
    else if (r == 0)
        facts_text(&facts);
    if (r == 0 && source.blob != NULL)
        r = quality_show(source.blob, chunks, json);
    source_close(&source);
    return r;
}

static int info_path(const char *path, bool as_json, bool chunks)
{
    char quoted[SAY_PATH_MAX];
    struct stat st;
    if (stat(path, &st) < 0)
        return say_error("read", path, -errno);
    bool mounted = S_ISREG(st.st_mode) && mounted_is_file(path);
    if (!S_ISREG(st.st_mode))
        return say_failed("%s is not a regular file: give a blob, or a file in a mount",
                          quote(path, quoted, sizeof(quoted)));
    struct json *json = as_json ? json_open() : NULL;
    if (json != NULL) {
        json_map(json);
        json_text(json, "path", path);
    }
    int r = mounted ? info_mounted(path, &st, json) : info_blob(path, chunks, json);
    if (json != NULL && r < 0)
        json_text(json, "error", say_advice(r));
    if (json != NULL)
        json_map_end(json);
    json_close(&json);
    if (r == -EBADMSG)
        return say_failed("%s is no blob, or damaged beyond reading: get it from a backup",
                          quote(path, quoted, sizeof(quoted)));
    return r < 0 ? say_error("read", path, r) : EXIT_OK;
}

static int run(const struct command *command, int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, {"chunks", no_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
    bool json = false, chunks = false;
    int c, code;
    while ((c = args_next(command, argc, argv, "", longs, &code)) != ARGS_END) {
        if (c == ARGS_EXIT)
            return code;
        json = json || c == 'j';
        chunks = chunks || c == 'c';
    }
    if (!args_count(command, argc, 1, 1, &code))
        return code;
    return info_path(argv[optind], json, chunks);
}

const struct command info_command = {
    .name = "info",
    .arguments = "[--json] [--chunks] FILE",
    .summary =
        "Shows what a blob, or a file in a mount, is: sizes, shape, pipeline, state, what it lost.",
    .help = "  --json                as one JSON object\n"
            "  --chunks              of a blob: its chunks too, and what each has lost\n",
    .run = run,
};
