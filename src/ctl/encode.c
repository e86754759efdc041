#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/quote.h"
#include "base/size.h"
#include "ctl/command.h"
#include "ctl/out.h"
#include "ctl/progress.h"
#include "ctl/say.h"
#include "volume/archive.h"
#include "volume/pack.h"
#include "volume/policy.h"
#include "volume/volume.h"

#define MAX_RAW     64 /* policies on one command line */
#define CHUNK_MIN   (64u << 10)
#define CHUNK_MAX   (64u << 20)
#define THREADS_MAX 1024

struct encode {
    const char *pipeline_text;
    struct archive_policy policy; /* the pipeline, and its words */
    struct raw_policy raw[MAX_RAW];
    unsigned n_raw, threads;
    uint32_t chunk;
    int in_fd;
    struct stat in_stat;
    struct out out;
    struct progress progress;
    const char *why; /* a stack cannot have this pipeline */
};

/* From several threads. */
static int read_input(void *ctx, void *buf, size_t len, uint64_t off)
{
    struct encode *encode = ctx;
    if (out_interrupted(&encode->out))
        return -ECANCELED;
    int r = io_pread_exact(&io_system, encode->in_fd, buf, len, off);
    return r == -ENODATA ? -ESTALE : r;
}

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    progress_update(&((struct encode *)ctx)->progress, done, total);
}

static bool has_changed(const struct encode *encode)
{
    struct stat now;
    return fstat(encode->in_fd, &now) < 0 || now.st_size != encode->in_stat.st_size ||
           now.st_mtim.tv_sec != encode->in_stat.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != encode->in_stat.st_mtim.tv_nsec;
}

/* As the mount does it: with receipts, and proven. */
static int encode_lossy(struct encode *encode, const struct pack_source *source,
                        struct pack_options *options)
{
    struct archive archive = {.policy = &encode->policy, .by = "sqyctl encode"};
    options->io = &io_system;
    if (options->chunk == 0)
        options->chunk = VOLUME_DEFAULT_CHUNK;
    int r = archive_prepare(&archive, NULL, source, options);
    if (r >= 0)
        r = archive_write(&archive, UINT64_MAX, source, options, encode->out.fd);
    if (r == -ENODATA && archive.left != NULL) {
        encode->why = archive.left;
        r = -ENOTSUP;
    }
    archive_clear(&archive);
    return r;
}

static int encode_into(struct encode *encode, const char *in)
{
    const char *slash = strrchr(in, '/');
    struct pack_source source = {
        .read = read_input,
        .ctx = encode,
        .size = (uint64_t)encode->in_stat.st_size,
        .mtime = encode->in_stat.st_mtim,
        .name = slash != NULL ? slash + 1 : in,
    };
    struct pack_options options = {
        .pipeline = encode->policy.pipeline,
        .chunk = encode->chunk,
        .threads = encode->threads,
        .raw = encode->raw,
        .n_raw = encode->n_raw,
        .progress = show_progress,
        .progress_ctx = encode,
    };
    progress_start(&encode->progress, "encoding");
    int r;
    if (sqy_pipeline_needs_volume(encode->policy.pipeline))
        r = pack_whole(&source, &options, encode->out.fd, &encode->why);
    else if (encode->policy.lossy)
        r = encode_lossy(encode, &source, &options);
    else
        r = pack_encode(&source, &options, encode->out.fd);
    progress_end(&encode->progress);
    if (r == 0 && has_changed(encode))
        r = -ESTALE;
    return r;
}

/* What was written is not what decode gives back: nobody may learn that too late. */
static void tell_voxels_only(const struct encode *encode, const char *path)
{
    char quoted[SAY_PATH_MAX];
    if (!sqy_pipeline_needs_volume(encode->policy.pipeline))
        return;
    say_failed(
        "%s has the voxels alone, in sqeazy's own form: it decodes to a TIFF stack of them%s%s",
        quote(path, quoted, sizeof(quoted)),
        sqy_pipeline_is_lossless(encode->policy.pipeline) ? "" : ", with loss",
        sqy_pipeline_is_upstream(encode->policy.pipeline, SQY_UINT16) ||
                sqy_pipeline_carriage(encode->policy.pipeline) == SQY_CARRIAGE_NONE
            ? ""
            : "; sqeazy 0.7.2 misreads it on some machines");
}

/* ---- what may lose something ---- */

/* Whether the store that begins at root[0 .. len) of a directory's path forbids loss in it: 1, 0, or an error. */
static int store_forbids(const char *path, size_t len)
{
    char root[PATH_MAX];
    struct policy *policy;
    snprintf(root, sizeof(root), "%.*s/", (int)len, path);
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = faccessat(fd, POLICY_FILE, F_OK, 0) < 0 ? -errno : policy_open(&io_system, fd, &policy);
    if (r >= 0) {
        r = policy_forbids_loss(policy, path[len] == '/' ? path + len + 1 : "");
        policy_close(&policy);
    }
    close(fd);
    return r == -ENOENT ? 0 : r;
}

/* Of any directory upwards from the file's. */
static int is_forbidden(const char *path)
{
    char dir[PATH_MAX], real[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = snprintf(dir, sizeof(dir), "%.*s", slash != NULL ? (int)(slash - path) + 1 : 1,
                     slash != NULL ? path : ".");
    if (n >= (int)sizeof(dir))
        return -ENAMETOOLONG;
    if (realpath(dir, real) == NULL)
        return -errno;
    int r = 0;
    for (size_t len = strcmp(real, "/") == 0 ? 0 : strlen(real);; len--) {
        if (real[len] == '/' || real[len] == '\0')
            r = store_forbids(real, len);
        if (r != 0 || len == 0)
            return r;
    }
}

static bool has_lost(const struct encode *encode)
{
    char quality[8] = "", all[ARCHIVE_QUALITY_MAX];
    ssize_t len = fgetxattr(encode->in_fd, "user.sqyfs.quality", all, sizeof(all) - 1);
    if (len > 0)
        snprintf(quality, sizeof(quality), "%.*s", (int)len, all);
    return strncmp(quality, "lossy", 5) == 0;
}

static int check_loss(const struct encode *encode, const char *in, const char *path)
{
    char quoted[SAY_PATH_MAX];
    if (sqy_pipeline_is_lossless(encode->policy.pipeline))
        return EXIT_OK;
    if (has_lost(encode))
        return say_failed("%s has lost something already, and is not encoded with loss again",
                          quote(in, quoted, sizeof(quoted)));
    int r = is_forbidden(path);
    if (r < 0)
        return say_error("write", path, r);
    return r == 0 ? EXIT_OK
                  : say_failed("%s is in a directory of a store that says lossless=always",
                               quote(path, quoted, sizeof(quoted)));
}

static int encode_open_file(struct encode *encode, const char *in, const char *path)
{
    char quoted[SAY_PATH_MAX];
    if (!S_ISREG(encode->in_stat.st_mode))
        return say_failed("%s is not a regular file: only those can be encoded",
                          quote(in, quoted, sizeof(quoted)));
    if (check_loss(encode, in, path) != EXIT_OK)
        return EXIT_FAILED;
    int r = out_open(path, &encode->in_stat, &encode->out);
    if (r < 0)
        return say_error("write", path, r);
    if (!encode->out.regular) {
        out_close(&encode->out);
        return say_failed("%s is no regular file: a blob needs one",
                          quote(path, quoted, sizeof(quoted)));
    }
    if (encode->out.existed && encode->out.old.st_dev == encode->in_stat.st_dev &&
        encode->out.old.st_ino == encode->in_stat.st_ino) {
        out_close(&encode->out);
        return say_failed("%s is the file to be encoded: give another name for the result",
                          quote(path, quoted, sizeof(quoted)));
    }
    r = encode_into(encode, in);
    if (r == 0)
        r = out_commit(&encode->out, &encode->in_stat.st_mtim);
    else
        out_close(&encode->out);
    if (r == -ESTALE)
        return say_failed("%s was changed while it was read: try again when its writer is done",
                          quote(in, quoted, sizeof(quoted)));
    if (r == -ENOTSUP && encode->why != NULL)
        return say_failed("cannot encode %s: %s", quote(in, quoted, sizeof(quoted)), encode->why);
    if (r < 0)
        return say_error("write", path, r);
    tell_voxels_only(encode, path);
    return EXIT_OK;
}

static int encode_paths(struct encode *encode, const char *in, const char *path)
{
    encode->in_fd = open(in, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (encode->in_fd < 0)
        return say_error("read", in, -errno);
    int code = fstat(encode->in_fd, &encode->in_stat) < 0 ? say_error("read", in, -errno)
                                                          : encode_open_file(encode, in, path);
    close(encode->in_fd);
    return code;
}

/* ---- options ---- */

static int take_number(const struct command *command, struct encode *encode, int c)
{
    uint64_t value;
    uint64_t min = c == 'c' ? CHUNK_MIN : 1, max = c == 'c' ? CHUNK_MAX : THREADS_MAX;
    if (size_parse(optarg, &value) < 0 || value < min || value > max)
        return args_wrong(command,
                          c == 'c' ? "--chunk %s: give a size from 64K to 64M"
                                   : "--threads %s: give a number from 1 to 1024",
                          optarg);
    if (c == 'c')
        encode->chunk = (uint32_t)value;
    else
        encode->threads = (unsigned)value;
    return EXIT_OK;
}

static int take_raw(const struct command *command, struct encode *encode)
{
    char why[160];
    if (encode->n_raw == MAX_RAW)
        return args_wrong(command, "--raw: at most %d of them", MAX_RAW);
    if (raw_policy_parse(optarg, &encode->raw[encode->n_raw], why, sizeof(why)) < 0)
        return args_wrong(command, "--%s", why);
    encode->n_raw++;
    return EXIT_OK;
}

static int take_options(const struct command *command, struct encode *encode, int argc, char **argv,
                        bool *go_on)
{
    static const struct option longs[] = {
        {"pipeline", required_argument, NULL, 'p'},
        {"raw", required_argument, NULL, 'r'},
        {"chunk", required_argument, NULL, 'c'},
        {"threads", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    int c, code = EXIT_OK;
    *go_on = false;
    while ((c = args_next(command, argc, argv, "p:", longs, &code)) != ARGS_END) {
        if (c == ARGS_EXIT)
            return code;
        if (c == 'p')
            encode->pipeline_text = optarg;
        else
            code = c == 'r' ? take_raw(command, encode) : take_number(command, encode, c);
        if (code != EXIT_OK)
            return code;
    }
    *go_on = args_count(command, argc, 2, 2, &code);
    return code;
}

/* Before anything is written: an encoder would refuse it in the middle. */
static int check_encoder(const struct command *command, const struct encode *encode)
{
    struct sqy_error err;
    int r = sqy_pipeline_check_encoder(encode->policy.pipeline, &err);
    if (r == -EINVAL || r == -ENOTSUP)
        return args_wrong(command, "pipeline %s: %s", encode->pipeline_text, err.message);
    return r < 0 ? say_failed("out of memory") : EXIT_OK;
}

static int parse_pipeline(const struct command *command, struct encode *encode)
{
    struct sqy_error err;
    const char *text = encode->pipeline_text;
    int r = sqy_pipeline_parse(text, &encode->policy.pipeline, &err);
    if (r >= 0 && sqy_pipeline_needs_volume(encode->policy.pipeline))
        return check_encoder(command, encode);
    sqy_pipeline_free(&encode->policy.pipeline);
    r = archive_policy_parse(text, &encode->policy, &err);
    if (r >= 0 && encode->policy.pipeline != NULL)
        r = sqy_pipeline_check_encoder(encode->policy.pipeline, &err);
    if (r == -EINVAL || r == -ENOTSUP)
        return args_wrong(command, "pipeline %s: at byte %zu: %s", text, err.position, err.message);
    if (r >= 0 && encode->policy.pipeline == NULL)
        return args_wrong(command, "pipeline %s: names none", text);
    encode->policy.text[0] = '\0'; /* no directory's */
    encode->policy.hashed = true;  /* whoever asks for this file knows */
    return r < 0 ? say_failed("out of memory") : check_encoder(command, encode);
}

static int run(const struct command *command, int argc, char **argv)
{
    struct encode encode = {.pipeline_text = VOLUME_DEFAULT_PIPELINE};
    bool go_on;
    int code = take_options(command, &encode, argc, argv, &go_on);
    if (go_on)
        code = parse_pipeline(command, &encode);
    if (go_on && code == EXIT_OK)
        code = strcmp(argv[optind + 1], "-") == 0
                   ? args_wrong(command, "a blob cannot go to standard output: give a file")
                   : encode_paths(&encode, argv[optind], argv[optind + 1]);
    archive_policy_clear(&encode.policy);
    for (unsigned i = 0; i < encode.n_raw; i++)
        raw_policy_clear(&encode.raw[i]);
    return code;
}

const struct command encode_command = {
    .name = "encode",
    .arguments = "[-p PIPELINE] [--raw POLICY] [--chunk SIZE] [--threads N] IN OUT.sqy",
    .summary = "Writes a file as a blob, in sqeazy's own form where pipeline and stack allow it.",
    .help = "Any file can be encoded; TIFF stacks and raw volumes go through the image pipeline.\n"
            "OUT.sqy appears when it is complete; a file that was there is replaced. Pipelines\n"
            "that need the whole volume (quantiser->lz4 among them) keep the voxels alone:\n"
            "OUT.sqy is a file of sqeazy's own then. Others that lose something, such as\n"
            "'noise(q=1)->default max_error=2sigma', measure what each chunk has lost, and are\n"
            "proven by decoding; sqyctl info tells.\n\n"
            "  -p, --pipeline TEXT   how to encode voxels (default " VOLUME_DEFAULT_PIPELINE ")\n"
            "  --raw POLICY          GLOB:WIDTHxHEIGHT[:TYPE[:be]]: a file whose name matches is\n"
            "                        a raw volume of that shape; may be repeated\n"
            "  --chunk SIZE          bytes coded in one piece, 64K to 64M (default 1M)\n"
            "  --threads N           encoders (default: one a core)\n",
    .run = run,
};
