#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/quote.h"
#include "ctl/command.h"
#include "ctl/mounted.h"
#include "ctl/out.h"
#include "ctl/progress.h"
#include "ctl/say.h"
#include "ctl/source.h"
#include "ctl/stream.h"
#include "ctl/sweep.h"

struct decode {
    const char *in;
    struct out out;
    struct progress progress;
    uint64_t size;
    bool salvage, stream;
    unsigned n_bad;
};

/* All of it, to where the stream is, or to `off` of a file. */
static int put(const struct out *out, const void *data, size_t len, uint64_t off)
{
    if (out->regular)
        return io_pwrite_full(&io_system, out->fd, data, len, off);
    const uint8_t *at = data;
    while (len > 0) {
        ssize_t n = write(out->fd, at, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static bool is_zero(const uint8_t *data, size_t len)
{
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

static void tell_damage(struct decode *decode, const struct sweep_piece *piece)
{
    char quoted[SAY_PATH_MAX];
    progress_end(&decode->progress);
    for (unsigned i = 0; i < piece->n_bad; i++)
        say_failed("%s: damaged: bytes %llu to %llu of the plain file",
                   quote(decode->in, quoted, sizeof(quoted)), (unsigned long long)piece->bad[i].off,
                   (unsigned long long)(piece->bad[i].off + piece->bad[i].len - 1));
    decode->n_bad += piece->n_bad;
}

/* Zeros need not be written into a file that has its size: what was sparse stays so. */
static int put_piece(void *ctx, const struct sweep_piece *piece)
{
    struct decode *decode = ctx;
    if (out_interrupted(&decode->out))
        return -ECANCELED;
    if (piece->n_bad > 0) {
        tell_damage(decode, piece);
        if (!decode->salvage)
            return -EBADMSG;
    }
    progress_update(&decode->progress, piece->off + piece->len, decode->size);
    if (decode->out.regular && is_zero(piece->data, piece->len))
        return 0;
    return put(&decode->out, piece->data, piece->len, piece->off);
}

/* Without its last checkpoint a blob gives some older stack, or none: not to be taken for the file.
 */
static int check_end(struct decode *decode, const struct source *source)
{
    char quoted[SAY_PATH_MAX];
    quote(decode->in, quoted, sizeof(quoted));
    if (source->end == SOURCE_TORN)
        say_failed("%s ends in an unfinished write or copy: restored as of its last checkpoint",
                   quoted);
    if (source->end != SOURCE_CUT)
        return 0;
    if (!decode->salvage)
        return -EBADMSG;
    say_failed("%s is cut off or damaged at its end: restored as of an older checkpoint", quoted);
    decode->n_bad++;
    return 0;
}

static int decode_ours(struct decode *decode, const struct source *source, struct timespec *mtime)
{
    int r = check_end(decode, source);
    if (r < 0)
        return r;
    struct blob_state state;
    blob_state(source->blob, &state);
    decode->size = state.size;
    *mtime = state.mtime;
    if (decode->out.regular && ftruncate(decode->out.fd, (off_t)state.size) < 0)
        return -errno;
    return sweep_blob(source->blob, 0, put_piece, decode);
}

/* A true sqeazy blob: the voxels become a TIFF stack. */
static int decode_upstream(struct decode *decode, const struct source *source)
{
    const struct tiffout *tiff = &source->tiff;
    uint8_t piece[TIFFOUT_PIECE_MAX];
    void *voxels;
    uint64_t bytes;
    int r = source_voxels(source, &voxels, &bytes);
    if (r < 0)
        return r;
    r = put(&decode->out, piece, tiffout_header(tiff, piece), 0);
    if (r == 0)
        r = put(&decode->out, voxels, bytes, tiff->voxels_off);
    free(voxels);
    uint64_t at = tiff->voxels_off + bytes;
    memset(piece, 0, sizeof(piece));
    if (r == 0)
        r = put(&decode->out, piece, (size_t)(tiff->ifds_off - at), at);
    for (uint64_t z = 0; z < tiff->depth && r == 0; z++)
        r = put(&decode->out, piece, tiffout_ifd(tiff, z, piece),
                tiff->ifds_off + z * tiff->ifd_bytes);
    return r;
}

/* Only checkpoints say which table pages count and how chunks were coded (FORMAT.md, 4 and 5):
 * without one nothing of a blob can be placed for sure. In sqeazy's form the voxels stand in order. */
static int open_in(struct decode *decode, struct source *source)
{
    int r = source_open(decode->in, source);
    bool bare = r == 0 && source_is_bare(source);
    if (!decode->salvage || (r != -EBADMSG && !bare))
        return r;
    if (bare)
        source_close(source);
    r = source_open_voxels(decode->in, source);
    return r == -ENODATA ? -EBADMSG : r;
}

/* Of a blob that stays unread even so. */
static int say_nothing_left(const struct decode *decode)
{
    char quoted[SAY_PATH_MAX];
    return say_failed(
        "%s is no blob, or has lost every checkpoint: only these say which chunks count "
        "and where, so nothing can be restored; get it from a backup",
        quote(decode->in, quoted, sizeof(quoted)));
}

static void say_voxels_only(struct decode *decode)
{
    char quoted[SAY_PATH_MAX];
    say_failed(
        "%s has lost every checkpoint: its voxels are written as a new TIFF stack, unchecked; "
        "for the original file look into a backup",
        quote(decode->in, quoted, sizeof(quoted)));
    decode->n_bad++;
}

static int put_stream(void *ctx, const void *data, size_t len, uint64_t off)
{
    struct decode *decode = ctx;
    return out_interrupted(&decode->out) ? -ECANCELED : put(&decode->out, data, len, off);
}

static int write_stream(struct decode *decode, const struct source *source)
{
    uint64_t off = 0;
    if (source->blob == NULL)
        return -ENODATA;
    int r = stream_write(source->blob, put_stream, decode, &off);
    if (r == -ENOTSUP)
        say_failed("not all of its voxels are video (byte %llu): there is no stream of them",
                   (unsigned long long)off);
    return r;
}

static int decode_into(struct decode *decode, const struct source *source)
{
    struct timespec mtime = source->st.st_mtim;
    progress_start(&decode->progress, "decoding");
    int r = 0;
    if (decode->stream)
        r = write_stream(decode, source);
    else if (!source->empty)
        r = source->blob != NULL ? decode_ours(decode, source, &mtime)
                                 : decode_upstream(decode, source);
    progress_end(&decode->progress);
    if (r == 0)
        r = out_commit(&decode->out, &mtime);
    else
        out_close(&decode->out);
    return r;
}

static int decode_paths(struct decode *decode, const char *path)
{
    char quoted[SAY_PATH_MAX];
    struct source source;
    int r = open_in(decode, &source);
    if (r == -EBADMSG && mounted_is_file(decode->in))
        return say_failed("%s is a file in a mount, which shows it decoded: copy it",
                          quote(decode->in, quoted, sizeof(quoted)));
    if (r == -EBADMSG && decode->salvage)
        return say_nothing_left(decode);
    if (r < 0)
        return say_error("decode", decode->in, r);
    r = out_open(path, &source.st, &decode->out);
    if (r < 0) {
        source_close(&source);
        return say_error("write", path, r);
    }
    if (decode->out.existed && decode->out.old.st_dev == source.st.st_dev &&
        decode->out.old.st_ino == source.st.st_ino) {
        out_close(&decode->out);
        source_close(&source);
        return say_failed("%s is the file to be decoded: give another name for the result",
                          quote(path, quoted, sizeof(quoted)));
    }
    r = decode_into(decode, &source);
    source_close(&source);
    if (r == -EBADMSG && source.voxels_only)
        return say_nothing_left(decode);
    if (r == 0 && source.voxels_only)
        say_voxels_only(decode);
    if (r < 0)
        return say_error(r == -EBADMSG || r == -ENOTSUP ? "decode" : "write",
                         r == -EBADMSG || r == -ENOTSUP ? decode->in : path, r);
    return decode->n_bad > 0 ? EXIT_FAILED : EXIT_OK;
}

static int run(const struct command *command, int argc, char **argv)
{
    static const struct option longs[] = {{"salvage", no_argument, NULL, 's'},
                                          {"stream", no_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    struct decode decode = {0};
    int c, code;
    while ((c = args_next(command, argc, argv, "", longs, &code)) == 's' || c == 'v') {
        decode.salvage = decode.salvage || c == 's';
        decode.stream = decode.stream || c == 'v';
    }
    if (c == ARGS_EXIT || !args_count(command, argc, 2, 2, &code))
        return code;
    decode.in = argv[optind];
    return decode_paths(&decode, argv[optind + 1]);
}

const struct command decode_command = {
    .name = "decode",
    .arguments = "[--salvage] [--stream] IN.sqy OUT",
    .summary = "Restores the exact original file from a blob, without a mount.",
    .help = "OUT - is standard output. A blob of sqeazy's own becomes a TIFF stack (BigTIFF\n"
            "above 4 GB). OUT appears when it is complete; a file that was there is replaced.\n\n"
            "  --salvage             write what can be read of a damaged blob, zeros elsewhere,\n"
            "                        name the damaged bytes, and exit with 1; of a blob without\n"
            "                        any checkpoint the voxels, where it is in sqeazy's form\n"
            "  --stream              of a blob whose voxels are video: the stream, for players,\n"
            "                        which show what a quantiser before it has made\n",
    .run = run,
};
