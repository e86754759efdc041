#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yajl/yajl_tree.h>

#include "base/quote.h"
#include "base/size.h"
#include "ctl/command.h"
#include "ctl/mounted.h"
#include "ctl/say.h"

#define STATS_MAX_DEPTH 8

static void print_value(yajl_val value, const char *key)
{
    size_t len = strlen(key);
    char size[32];
    if (YAJL_IS_STRING(value)) {
        say_path(stdout, YAJL_GET_STRING(value));
    } else if (YAJL_IS_NUMBER(value)) {
        fputs(YAJL_GET_NUMBER(value), stdout);
        if (len >= 5 && strcmp(key + len - 5, "bytes") == 0 && YAJL_IS_INTEGER(value) &&
            YAJL_GET_INTEGER(value) >= 1024)
            printf(" (%s)", size_format((uint64_t)YAJL_GET_INTEGER(value), size, sizeof(size)));
    } else {
        fputs(YAJL_IS_TRUE(value) ? "yes" : YAJL_IS_FALSE(value) ? "no" : "-", stdout);
    }
}

/* One line a value, whatever a newer mount may have to say: "spool.used_bytes: 4096 (4.0 KiB)". */
static void print_tree(yajl_val value, const char *prefix, const char *key, unsigned depth)
{
    char name[256];
    snprintf(name, sizeof(name), "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", key);
    if (YAJL_IS_OBJECT(value) && depth < STATS_MAX_DEPTH) {
        for (size_t i = 0; i < YAJL_GET_OBJECT(value)->len; i++)
            print_tree(YAJL_GET_OBJECT(value)->values[i], name, YAJL_GET_OBJECT(value)->keys[i],
                       depth + 1);
    } else if (YAJL_IS_ARRAY(value) && depth < STATS_MAX_DEPTH) {
        for (size_t i = 0; i < YAJL_GET_ARRAY(value)->len; i++) {
            char number[32];
            snprintf(number, sizeof(number), "%zu", i);
            print_tree(YAJL_GET_ARRAY(value)->values[i], name, number, depth + 1);
        }
    } else {
        say_path(stdout, name);
        fputs(": ", stdout);
        print_value(value, key);
        fputc('\n', stdout);
    }
}

static int print_stats(const char *path, const char *text, bool json)
{
    char quoted[SAY_PATH_MAX];
    yajl_val tree = yajl_tree_parse(text, NULL, 0);
    if (!YAJL_IS_OBJECT(tree)) {
        yajl_tree_free(tree);
        return say_failed("%s gave statistics that cannot be read: use the sqyctl of its version",
                          quote(path, quoted, sizeof(quoted)));
    }
    if (json)
        printf("%s\n", text);
    else
        print_tree(tree, "", "", 0);
    yajl_tree_free(tree);
    return EXIT_OK;
}

static int run(const struct command *command, int argc, char **argv)
{
    bool json = false;
    int code;
    if (!args_plain(command, argc, argv, 1, 1, &json, &code))
        return code;
    const char *path = argv[optind];
    char quoted[SAY_PATH_MAX], *text;
    struct stat st;
    if (stat(path, &st) < 0)
        return say_error("read", path, -errno);
    int r = mounted_get(path, "stats", &text);
    if (r == -ENODATA)
        return say_failed("%s is not the root of a sqyfs mount: give the mount point",
                          quote(path, quoted, sizeof(quoted)));
    if (r < 0)
        return say_error("read the statistics of", path, r);
    code = print_stats(path, text, json);
    free(text);
    return code;
}

const struct command stats_command = {
    .name = "stats",
    .arguments = "[--json] MOUNT",
    .summary = "Shows what a mount is doing: how far behind it is, its spool, cache and counters.",
    .help = "  --json                as one JSON object\n",
    .run = run,
};
