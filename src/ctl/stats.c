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

/* What a mount of another version does not tell is 0, or not known. */
static yajl_val value_of(yajl_val tree, const char *key)
{
    const char *path[] = {key, NULL};
    return yajl_tree_get(tree, path, yajl_t_any);
}

static bool is_known(yajl_val tree, const char *key)
{
    return YAJL_IS_NUMBER(value_of(tree, key));
}

static double number(yajl_val tree, const char *key)
{
    yajl_val value = value_of(tree, key);
    return !YAJL_IS_NUMBER(value)   ? 0
           : YAJL_IS_INTEGER(value) ? (double)YAJL_GET_INTEGER(value)
           : YAJL_IS_DOUBLE(value)  ? YAJL_GET_DOUBLE(value)
                                    : 0;
}

static const char *size_of(yajl_val tree, const char *key, char buf[32])
{
    double value = number(tree, key);
    return size_format(value > 0 ? (uint64_t)value : 0, buf, 32);
}

static double rate(yajl_val tree, const char *key)
{
    return number(tree, key) / 1e9;
}

/* ---- lines ---- */

static void print_rates(yajl_val tree)
{
    printf("in        %.3f GB/s written, %.3f GB/s encoded\n",
           rate(tree, "written_bytes_per_second"), rate(tree, "encoded_bytes_per_second"));
    printf("store     %.3f GB/s stored; ratio %.2f since it was mounted\n",
           rate(tree, "stored_bytes_per_second"), number(tree, "ratio"));
    printf("out       %.3f GB/s read, %.3f GB/s decoded\n", rate(tree, "read_bytes_per_second"),
           rate(tree, "decoded_bytes_per_second"));
}

static void print_lag(yajl_val tree)
{
    char spool[32], limit[32];
    printf("lag       ");
    if (is_known(tree, "lag_seconds"))
        printf("%.1f s, ", number(tree, "lag_seconds"));
    printf("%.1f planes", number(tree, "lag_planes"));
    if (number(tree, "lag_chunks") > 0)
        printf(" and %.1f chunks of no known plane", number(tree, "lag_chunks"));
    printf("; spool %s of %s", size_of(tree, "spool_bytes", spool),
           size_of(tree, "spool_limit", limit));
    printf("; queue %.0f\n", number(tree, "queue_depth"));
}

/* Of all plain bytes that were encoded for the first time. */
static void print_rungs(yajl_val tree)
{
    const char *rung = YAJL_GET_STRING(value_of(tree, "rung"));
    double target = number(tree, "bytes_target"), fast = number(tree, "bytes_fast"),
           raw = number(tree, "bytes_raw"), all = target + fast + raw;
    all = all > 0 ? all : 1;
    printf("rung      ");
    say_path(stdout, rung != NULL ? rung : "-");
    printf("; since it was mounted %.0f%% target, %.0f%% fast, %.0f%% raw\n", 100 * target / all,
           100 * fast / all, 100 * raw / all);
}

static void print_due(yajl_val tree)
{
    char again[32], dead[32], done[32];
    printf("later     %.0f stacks: %s to be encoded again, %s dead", number(tree, "due_stacks"),
           size_of(tree, "due_reencode_bytes", again), size_of(tree, "due_dead_bytes", dead));
    printf("; %s%s since it was mounted\n",
           YAJL_IS_TRUE(value_of(tree, "reencoding")) ? "under way, " : "",
           size_of(tree, "bytes_reencoded", done));
}

static void print_disk(yajl_val tree)
{
    char room[32];
    printf("disk      %s free", size_of(tree, "disk_free_bytes", room));
    if (is_known(tree, "hours_left"))
        printf(", full in %.1f hours at this rate", number(tree, "hours_left"));
    printf("\n");
}

static void print_cache(yajl_val tree)
{
    char is[32], limit[32];
    double hits = number(tree, "cache_hits"), misses = number(tree, "cache_misses");
    printf("cache     %s of %s", size_of(tree, "cache_bytes", is),
           size_of(tree, "cache_limit", limit));
    if (hits + misses > 0)
        printf(", %.0f%% of look-ups found", 100 * hits / (hits + misses));
    printf("\n");
}

static void print_state(yajl_val tree)
{
    printf("stacks    %.0f known, %.0f not all on the disk\n", number(tree, "stacks_known"),
           number(tree, "stacks_dirty"));
    double store = number(tree, "store_errors"), sums = number(tree, "checksum_errors");
    if (store + sums > 0)
        printf("errors    %.0f of storing, %.0f of checksums: see the log\n", store, sums);
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
    if (json) {
        printf("%s\n", text);
    } else {
        print_rates(tree);
        print_lag(tree);
        print_rungs(tree);
        print_due(tree);
        print_disk(tree);
        print_cache(tree);
        print_state(tree);
    }
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
    .summary =
        "Shows what a mount is doing: rates, how far behind it is, what is to be done later, room.",
    .help = "  --json                as one JSON object, with every counter\n",
    .run = run,
};
