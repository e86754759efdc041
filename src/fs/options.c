#include "fs/options.h"

#include <errno.h>
#include <fuse_log.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "codec/sqy.h"
#include "fs/buffer.h"

#define MIN_CHUNK   (64ull << 10)
#define MAX_CHUNK   (64ull << 20)
#define MIN_CACHE   (1ull << 20)
#define MIN_SPOOL   (16ull << 20)
#define MAX_THREADS 256ull /* more encoders than cores only cost memory */

enum key {
    KEY_HELP,
    KEY_VERSION,
    KEY_FOREGROUND,
    KEY_DEBUG,
    KEY_NONEMPTY,
    KEY_READ_ONLY,
    KEY_PIPELINE,
    KEY_CHUNK,
    KEY_THREADS,
    KEY_CACHE,
    KEY_SPOOL,
    KEY_STATEDIR,
    KEY_SPOOLDIR,
    KEY_RAW,
};

static const struct fuse_opt table[] = {
    FUSE_OPT_KEY("-h", KEY_HELP),
    FUSE_OPT_KEY("--help", KEY_HELP),
    FUSE_OPT_KEY("-V", KEY_VERSION),
    FUSE_OPT_KEY("--version", KEY_VERSION),
    FUSE_OPT_KEY("-f", KEY_FOREGROUND),
    FUSE_OPT_KEY("-d", KEY_DEBUG),
    FUSE_OPT_KEY("debug", KEY_DEBUG),
    FUSE_OPT_KEY("nonempty", KEY_NONEMPTY),
    FUSE_OPT_KEY("ro", KEY_READ_ONLY),
    FUSE_OPT_KEY("pipeline=", KEY_PIPELINE),
    FUSE_OPT_KEY("chunk=", KEY_CHUNK),
    FUSE_OPT_KEY("threads=", KEY_THREADS),
    FUSE_OPT_KEY("cache=", KEY_CACHE),
    FUSE_OPT_KEY("spool=", KEY_SPOOL),
    FUSE_OPT_KEY("statedir=", KEY_STATEDIR),
    FUSE_OPT_KEY("spooldir=", KEY_SPOOLDIR),
    FUSE_OPT_KEY("raw=", KEY_RAW),
    /* Those of fstab that speak to others. */
    FUSE_OPT_KEY("defaults", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("auto", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("noauto", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("user", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("users", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("nouser", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("nofail", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("_netdev", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("comment=", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_KEY("x-", FUSE_OPT_KEY_DISCARD),
    FUSE_OPT_END,
};

struct parser {
    struct options *out;
    char *why;
    size_t why_len;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct parser *parser,
                                                        const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(parser->why, parser->why_len, fmt, ap);
    va_end(ap);
    return -1;
}

static int take_size(const struct parser *parser, const char *arg, uint64_t min, uint64_t max,
                     uint64_t *out)
{
    const char *text = strchr(arg, '=') + 1;
    char low[32], high[32];
    size_format(min, low, sizeof(low));
    size_format(max, high, sizeof(high));
    if (size_parse(text, out) < 0)
        return refuse(parser, "option %s: a size is wanted, as 512K, 64M or 2G", arg);
    if (*out < min)
        return refuse(parser, "option %s: must be at least %s", arg, low);
    if (*out > max)
        return refuse(parser, "option %s: must be at most %s", arg, high);
    return 0;
}

static int take_chunk(const struct parser *parser, const char *arg)
{
    uint64_t bytes;
    if (take_size(parser, arg, MIN_CHUNK, MAX_CHUNK, &bytes) < 0)
        return -1;
    parser->out->config.chunk = (uint32_t)bytes;
    return 0;
}

static int take_threads(const struct parser *parser, const char *arg)
{
    const char *text = strchr(arg, '=') + 1;
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || n < 1 || n > MAX_THREADS)
        return refuse(parser, "option %s: a number from 1 to %llu is wanted", arg, MAX_THREADS);
    parser->out->config.threads = (unsigned)n;
    return 0;
}

static int take_text(const struct parser *parser, const char *arg, char **out)
{
    char *text = strdup(strchr(arg, '=') + 1);
    if (text == NULL || *text == '\0') {
        free(text);
        return refuse(parser, "option %s: a value is wanted", arg);
    }
    free(*out);
    *out = text;
    return 0;
}

static int take_pipeline(const struct parser *parser, const char *arg)
{
    struct options *out = parser->out;
    if (take_text(parser, arg, &out->pipeline) < 0)
        return -1;
    struct sqy_pipeline *pipeline;
    struct sqy_error error;
    int r = sqy_pipeline_parse(out->pipeline, &pipeline, &error);
    if (r == -EINVAL)
        return refuse(parser, "option %s: %s (at character %zu)", arg, error.message,
                      error.position + 1);
    if (r < 0)
        return refuse(parser, "option %s: %s", arg, strerror(-r));
    sqy_pipeline_free(&pipeline);
    out->config.pipeline = out->pipeline;
    return 0;
}

/* The daemon leaves this directory. */
static int take_dir(const struct parser *parser, const char *arg, char **dir)
{
    if (take_text(parser, arg, dir) < 0)
        return -1;
    char cwd[PATH_MAX], *path;
    if ((*dir)[0] != '/') {
        if (getcwd(cwd, sizeof(cwd)) == NULL || asprintf(&path, "%s/%s", cwd, *dir) < 0)
            return refuse(parser, "option %s: %s", arg, strerror(errno));
        free(*dir);
        *dir = path;
    }
    return 0;
}

static int take_statedir(const struct parser *parser, const char *arg)
{
    int r = take_dir(parser, arg, &parser->out->statedir);
    parser->out->config.statedir = parser->out->statedir;
    return r;
}

static int take_spooldir(const struct parser *parser, const char *arg)
{
    int r = take_dir(parser, arg, &parser->out->spooldir);
    parser->out->config.spooldir = parser->out->spooldir;
    return r;
}

static int take_raw(const struct parser *parser, const char *arg)
{
    struct options *out = parser->out;
    char reason[200];
    if (out->config.n_raw == OPTIONS_MAX_RAW)
        return refuse(parser, "option %s: there can be %u of these", arg, OPTIONS_MAX_RAW);
    if (raw_policy_parse(strchr(arg, '=') + 1, &out->raw[out->config.n_raw], reason,
                         sizeof(reason)) < 0)
        return refuse(parser, "option %s", reason); /* which begins with the option */
    out->config.n_raw++;
    out->config.raw = out->raw;
    return 0;
}

static int take_path(const struct parser *parser, const char *arg)
{
    struct options *out = parser->out;
    if (out->store_given == NULL)
        out->store_given = strdup(arg);
    else if (out->mountpoint_given == NULL)
        out->mountpoint_given = strdup(arg);
    else
        return refuse(parser, "unexpected argument: %s", arg);
    return 0;
}

static int take(void *data, const char *arg, int key, struct fuse_args *rest)
{
    (void)rest;
    const struct parser *parser = data;
    struct options *out = parser->out;
    switch (key) {
    case KEY_HELP:
        out->help = true;
        return 0;
    case KEY_VERSION:
        out->version = true;
        return 0;
    case KEY_DEBUG:
        out->debug = true; /* and the foreground, where it can be read */
        out->foreground = true;
        return 0;
    case KEY_FOREGROUND:
        out->foreground = true;
        return 0;
    case KEY_NONEMPTY:
        out->nonempty = true;
        return 0;
    case KEY_READ_ONLY:
        out->config.read_only = true;
        return 0;
    case KEY_PIPELINE:
        return take_pipeline(parser, arg);
    case KEY_CHUNK:
        return take_chunk(parser, arg);
    case KEY_THREADS:
        return take_threads(parser, arg);
    case KEY_CACHE:
        return take_size(parser, arg, MIN_CACHE, INT64_MAX, &out->config.cache);
    case KEY_SPOOL:
        return take_size(parser, arg, MIN_SPOOL, INT64_MAX, &out->config.spool);
    case KEY_STATEDIR:
        return take_statedir(parser, arg);
    case KEY_SPOOLDIR:
        return take_spooldir(parser, arg);
    case KEY_RAW:
        return take_raw(parser, arg);
    case FUSE_OPT_KEY_NONOPT:
        return take_path(parser, arg);
    default:
        return 1; /* libfuse's, or unknown to it too */
    }
}

/* What the mount is called, and what makes it a multi-user filesystem. */
static int add_mount_options(struct options *out)
{
    char *opts = NULL, *name = NULL, max_read[32];
    snprintf(max_read, sizeof(max_read), "max_read=%u", BUFFER_BYTES);
    int r = asprintf(&name, "fsname=%s", out->store != NULL ? out->store : out->store_given);
    if (r >= 0)
        r = fuse_opt_add_opt(&opts, "default_permissions");
    if (r >= 0)
        r = fuse_opt_add_opt(&opts, "subtype=sqyfs");
    if (r >= 0)
        r = fuse_opt_add_opt(&opts, max_read);
    if (r >= 0)
        r = fuse_opt_add_opt_escaped(&opts, name);
    if (r >= 0 && out->config.read_only)
        r = fuse_opt_add_opt(&opts, "ro");
    if (r >= 0 && geteuid() == 0)
        r = fuse_opt_add_opt(&opts, "allow_other");
    if (r >= 0)
        r = fuse_opt_add_arg(&out->fuse, "-o");
    if (r >= 0)
        r = fuse_opt_add_arg(&out->fuse, opts);
    if (r >= 0 && out->debug)
        r = fuse_opt_add_arg(&out->fuse, "-d");
    free(opts);
    free(name);
    return r < 0 ? -ENOMEM : 0;
}

/* Its own words about an option without a value are not the one line that we want. */
static void say_nothing(enum fuse_log_level level, const char *fmt, va_list ap)
{
    (void)level;
    (void)fmt;
    (void)ap;
}

int options_parse(int argc, char **argv, struct options *out, char *why, size_t why_len)
{
    *out = (struct options){.fuse = FUSE_ARGS_INIT(argc, argv)};
    struct parser parser = {.out = out, .why = why, .why_len = why_len};
    snprintf(why, why_len, "an option without its value");
    fuse_set_log_func(say_nothing);
    int r = fuse_opt_parse(&out->fuse, &parser, table, take);
    fuse_set_log_func(NULL);
    if (r < 0)
        return -EINVAL;
    if (out->help || out->version)
        return 0;
    if (out->mountpoint_given == NULL) {
        refuse(&parser, "%s is missing", out->store_given == NULL ? "STORE" : "MOUNTPOINT");
        return -EINVAL;
    }
    out->store = realpath(out->store_given, NULL);
    out->mountpoint = realpath(out->mountpoint_given, NULL);
    out->config.store = out->store;
    r = add_mount_options(out);
    if (r < 0)
        refuse(&parser, "%s", strerror(-r));
    return r;
}

void options_clear(struct options *options)
{
    for (unsigned i = 0; i < options->config.n_raw; i++)
        raw_policy_clear(&options->raw[i]);
    free(options->store);
    free(options->mountpoint);
    free(options->store_given);
    free(options->mountpoint_given);
    free(options->pipeline);
    free(options->statedir);
    free(options->spooldir);
    fuse_opt_free_args(&options->fuse);
    *options = (struct options){0};
}

void options_usage(FILE *out)
{
    fputs(
        "usage: " OPTIONS_USAGE "\n"
        "\n"
        "Mounts the directory STORE, where image stacks lie encoded, at MOUNTPOINT, where they\n"
        "are plain files. An empty directory becomes a store. To unmount: fusermount3 -u\n"
        "MOUNTPOINT, or end the process; what was written is stored before it exits.\n"
        "\n"
        "  -f              stay in the foreground\n"
        "  -d              the same, and tell what happens\n"
        "  -h, --help      this text\n"
        "  -V, --version   the version\n"
        "\n"
        "  -o pipeline=P   how stacks are encoded (interlace)\n"
        "  -o chunk=SIZE   bytes that are encoded together, 64K to 64M (1M)\n"
        "  -o threads=N    encoder threads (one a core)\n"
        "  -o cache=SIZE   memory for decoded chunks (256M)\n"
        "  -o spool=SIZE   memory for bytes not encoded yet, at least 16M (1G)\n"
        "  -o spooldir=DIR where it lies, on a tmpfs (/dev/shm)\n"
        "  -o statedir=DIR where the index lies (STORE/.sqyfs)\n"
        "  -o ro           read only; others may have the store mounted\n"
        "  -o raw=GLOB:WIDTHxHEIGHT[:TYPE[:be]]\n"
        "                  files of that name are raw volumes of such planes, TYPE uint16 unless\n"
        "                  given; can be repeated\n"
        "  -o nonempty     mount over a directory that is not empty\n"
        "  -o ...          and the options of mount.fuse(8)\n",
        out);
}
