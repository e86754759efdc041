#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/quote.h"
#include "base/size.h"
#include "ctl/command.h"
#include "ctl/json.h"
#include "ctl/rows.h"
#include "ctl/say.h"
#include "ctl/storedir.h"
#include "volume/scan.h"

struct listing {
    struct json *json; /* NULL: a table */
    bool begun;
};

static void begin(struct listing *listing)
{
    if (listing->begun)
        return;
    listing->begun = true;
    if (listing->json != NULL)
        json_list(listing->json);
    else
        printf("%10s %10s %6s  %-8s %-24s %-18s %s\n", "PLAIN", "STORED", "RATIO", "STATE", "SHAPE",
               "PIPELINE", "PATH");
}

static int print_row(void *ctx, const struct index_row *row)
{
    struct listing *listing = ctx;
    struct json *json = listing->json;
    if (ferror(stdout))
        return -EPIPE;
    begin(listing);
    if (json != NULL) {
        json_map(json);
        json_text(json, "path", row->path);
        rows_json(json, row);
        json_map_end(json);
        return 0;
    }
    char plain[32], stored[32], shape[128];
    printf("%10s %10s %6.2f  %-8s %-24s %-18s ",
           size_format(row->plain_bytes, plain, sizeof(plain)),
           size_format(row->stored_bytes, stored, sizeof(stored)),
           rows_ratio(row->plain_bytes, row->stored_bytes), row->state,
           rows_shape(row, shape, sizeof(shape)), row->pipeline[0] != '\0' ? row->pipeline : "-");
    say_path(stdout, row->path);
    fputc('\n', stdout);
    return 0;
}

/* The index where there is one that can be read, else the blobs themselves. */
static int list(const char *store, int store_fd, bool scan, struct listing *listing)
{
    char *path;
    struct index *index = NULL;
    int r = -ENOENT;
    if (!scan) {
        if (asprintf(&path, "%s/" STOREDIR_INDEX, store) < 0)
            return -ENOMEM;
        r = index_open_reader(path, &index);
        free(path);
    }
    if (r < 0)
        return scan_store(store_fd, print_row, listing);
    r = index_each(index, print_row, listing);
    index_close(&index);
    return r;
}

static int list_dir(const char *store, int store_fd, bool scan, struct json *json)
{
    struct listing listing = {.json = json};
    int r = list(store, store_fd, scan, &listing);
    if (r == 0 && !listing.begun && !storedir_is_inside(store))
        return storedir_say_none(store);
    if (r == 0)
        begin(&listing);
    if (listing.begun && json != NULL)
        json_list_end(json);
    return r < 0 && r != -EPIPE ? say_error("read", store, r) : EXIT_OK;
}

static int list_store(const char *store, bool scan, bool as_json)
{
    char quoted[SAY_PATH_MAX];
    int fd = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOTDIR)
        return say_failed("%s is not a directory: give a store",
                          quote(store, quoted, sizeof(quoted)));
    if (fd < 0)
        return say_error("read", store, -errno);
    if (storedir_is_in_mount(store)) {
        close(fd);
        return say_failed("%s lies in a mount: give the store that is mounted there",
                          quote(store, quoted, sizeof(quoted)));
    }
    struct json *json = as_json ? json_open() : NULL;
    int code = as_json && json == NULL ? say_error("read", store, -ENOMEM)
                                       : list_dir(store, fd, scan, json);
    json_close(&json);
    close(fd);
    return code;
}

static int run(const struct command *command, int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, {"scan", no_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
    bool json = false, scan = false;
    int c, code;
    while ((c = args_next(command, argc, argv, "", longs, &code)) >= 0) {
        json = json || c == 'j';
        scan = scan || c == 's';
    }
    if (c == ARGS_EXIT || !args_count(command, argc, 1, 1, &code))
        return code;
    return list_store(argv[optind], scan, json);
}

const struct command ls_command = {
    .name = "ls",
    .arguments = "[--json] [--scan] STORE",
    .summary = "Lists the stacks of a store with sizes, shapes and pipelines, from its index.",
    .help = "A store without an index is scanned.\n\n"
            "  --json                as a JSON list of objects\n"
            "  --scan                read the blobs themselves, whatever the index says\n",
    .run = run,
};
