#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/quote.h"
#include "base/size.h"
#include "ctl/command.h"
#include "ctl/mounted.h"
#include "ctl/progress.h"
#include "ctl/say.h"
#include "ctl/source.h"
#include "ctl/storedir.h"
#include "ctl/sweep.h"
#include "ctl/writer.h"
#include "volume/scan.h"

struct verify {
    unsigned long n_files, n_damaged;
    uint64_t bytes;
    bool live; /* a mount writes to the store: what it has open is unfinished, not damaged */
    struct progress progress;
    /* the file at hand */
    const char *path;
    uint64_t size;
    bool damaged;
    struct sweep_range bad; /* the range found last; it may go on in the next piece */
};

static void tell(struct verify *verify, const char *what)
{
    progress_end(&verify->progress);
    say_path(stdout, verify->path);
    printf(": %s\n", what);
    fflush(stdout);
    verify->damaged = true;
}

static void tell_range(struct verify *verify)
{
    char text[128];
    if (verify->bad.len == 0)
        return;
    snprintf(text, sizeof(text), "damaged: bytes %" PRIu64 " to %" PRIu64 " of the plain file",
             verify->bad.off, verify->bad.off + verify->bad.len - 1);
    tell(verify, text);
    verify->bad.len = 0;
}

static int take_piece(void *ctx, const struct sweep_piece *piece)
{
    struct verify *verify = ctx;
    for (unsigned i = 0; i < piece->n_bad; i++) {
        if (verify->bad.len > 0 && verify->bad.off + verify->bad.len == piece->bad[i].off) {
            verify->bad.len += piece->bad[i].len;
            continue;
        }
        tell_range(verify);
        verify->bad = piece->bad[i];
    }
    verify->bytes += piece->len;
    progress_update(&verify->progress, piece->off + piece->len, verify->size);
    return 0;
}

/* ---- a blob ---- */

/* `written`: somebody is writing to it, and will write what is missing. */
static int verify_ours(struct verify *verify, const struct source *source, bool written)
{
    struct blob_state state;
    blob_state(source->blob, &state);
    verify->size = state.size;
    if (source->header_lost)
        tell(verify, "damaged: its header, without which sqeazy cannot read it");
    if (source->end == SOURCE_CUT && !written)
        tell(verify, "damaged: cut off, or its last checkpoint lost");
    else if (source->end == SOURCE_TORN && !written)
        tell(verify, "incomplete: ends in a write or a copy that was cut short");
    return sweep_blob(source->blob, 0, take_piece, verify);
}

/* sqeazy's own have no checksums; that they decode is all that can be said. */
static int verify_upstream(struct verify *verify, const struct source *source)
{
    void *voxels;
    uint64_t bytes;
    int r = source_voxels(source, &voxels, &bytes);
    if (r == 0) {
        verify->bytes += bytes;
        free(voxels);
    } else if (r == -EBADMSG) {
        tell(verify, "damaged: does not decode");
        r = 0;
    }
    return r;
}

static int open_source(int fd, struct source *out)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return -errno;
    int r = source_open_fd(own, out);
    if (r < 0)
        close(own);
    return r;
}

static bool lacks_end(int r, const struct source *source)
{
    return r == -EBADMSG || (r == 0 && source->blob != NULL && source->end != SOURCE_WHOLE);
}

/* What lacks its end is damaged unless a mount is writing it. One that has just been closed was
 * finished after it was looked at: it is looked at again. */
static int open_judged(const struct verify *verify, int fd, struct source *out, bool *written)
{
    int r = open_source(fd, out);
    *written = false;
    if (!verify->live || !lacks_end(r, out))
        return r;
    *written = writer_is_there(fd);
    if (*written)
        return r;
    if (r == 0)
        source_close(out);
    return open_source(fd, out);
}

static int verify_blob(struct verify *verify, int fd)
{
    struct source source;
    bool written;
    int r = open_judged(verify, fd, &source, &written);
    if (r == -EBADMSG) {
        if (!written)
            tell(verify, "damaged: no blob can be read from it");
        return 0;
    }
    if (r < 0)
        return r;
    if (!source.empty) /* else a stack that nobody has written to yet */
        r = source.blob != NULL ? verify_ours(verify, &source, written)
                                : verify_upstream(verify, &source);
    source_close(&source);
    return r;
}

/* ---- a file in a mount ---- */

static int read_mounted(void *ctx, void *buf, uint32_t len, uint64_t off)
{
    int r = io_pread_exact(&io_system, *(int *)ctx, buf, len, off);
    return r == -ENODATA ? -ESTALE : r; /* it has become shorter */
}

static int verify_mounted(struct verify *verify, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    verify->size = (uint64_t)st.st_size;
    return sweep_bytes(read_mounted, &fd, verify->size, take_piece, verify);
}

/* ---- all ---- */

/* `only_ours`: pass over what is neither a blob nor in a mount. */
static void verify_fd(struct verify *verify, int fd, const char *path, bool only_ours)
{
    char self[64];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    bool mounted = mounted_is_file(self);
    if (only_ours && !mounted)
        return;
    verify->path = path;
    verify->damaged = false;
    verify->n_files++;
    progress_start(&verify->progress, "verifying");
    int r = mounted ? verify_mounted(verify, fd) : verify_blob(verify, fd);
    tell_range(verify);
    progress_end(&verify->progress);
    if (r < 0) {
        say_error("verify", path, r);
        verify->damaged = true;
    }
    verify->n_damaged += verify->damaged;
}

struct dir_ctx {
    struct verify *verify;
    const char *dir;
};

static char *join(const char *dir, const char *name)
{
    size_t len = strlen(dir);
    char *path;
    int n = asprintf(&path, "%s%s%s", dir, len > 0 && dir[len - 1] == '/' ? "" : "/", name);
    return n < 0 ? NULL : path;
}

static int verify_found(void *ctx, const struct scan_file *file)
{
    struct dir_ctx *walk = ctx;
    char *path = join(walk->dir, file->stored_path);
    if (path == NULL)
        return -ENOMEM;
    int fd = openat(file->dir_fd, file->stored, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        verify_fd(walk->verify, fd, path, !file->blob);
        close(fd);
    } else if (errno != ENOENT && file->blob) {
        say_error("verify", path, -errno);
        walk->verify->n_files++;
        walk->verify->n_damaged++;
    }
    free(path);
    return 0;
}

/* Sound or not, nobody can see it. */
static int tell_hidden(void *ctx, const struct scan_file *file)
{
    struct dir_ctx *walk = ctx;
    char *path = join(walk->dir, file->stored_path);
    if (path == NULL)
        return -ENOMEM;
    if (mounted_is_file(path)) { /* a mount hides nothing of what it shows */
        free(path);
        return 0;
    }
    walk->verify->path = path;
    walk->verify->n_files++;
    walk->verify->n_damaged++;
    tell(walk->verify,
         "hidden: another file beside it has its name in a mount; rename or remove one");
    free(path);
    return 0;
}

static int verify_dir(struct verify *verify, int fd, const char *path)
{
    struct dir_ctx walk = {verify, path};
    struct stat st;
    unsigned n_unread = 0;
    bool is_root = fstatat(fd, STOREDIR_STATE, &st, AT_SYMLINK_NOFOLLOW) == 0;
    unsigned long n_before = verify->n_files;
    int r = scan_walk(fd, is_root, verify_found, &walk, &n_unread);
    if (r == 0)
        r = scan_hidden(fd, is_root, tell_hidden, &walk);
    if (r < 0)
        return say_error("verify", path, r);
    if (verify->n_files == n_before && n_unread == 0 && !storedir_is_inside(path))
        return storedir_say_none(path);
    char quoted[SAY_PATH_MAX];
    return n_unread == 0 ? EXIT_OK
                         : say_failed("%u directories below %s could not be read: run as root",
                                      n_unread, quote(path, quoted, sizeof(quoted)));
}

static int verify_path(struct verify *verify, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return say_error("verify", path, -errno);
    int store_fd = storedir_find(path);
    verify->live = store_fd >= 0 && storedir_is_mounted(store_fd);
    if (store_fd >= 0)
        close(store_fd);
    int code = EXIT_OK;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        code = verify_dir(verify, fd, path);
    else
        verify_fd(verify, fd, path, false);
    close(fd);
    return code;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct verify verify = {0};
    char size[32];
    int code;
    if (!args_plain(command, argc, argv, 1, argc, NULL, &code))
        return code;
    code = EXIT_OK;
    for (int i = optind; i < argc; i++)
        if (verify_path(&verify, argv[i]) != EXIT_OK)
            code = EXIT_FAILED;
    if (verify.n_files > 0 || code == EXIT_OK)
        printf("%lu files, %s, %lu damaged\n", verify.n_files,
               size_format(verify.bytes, size, sizeof(size)), verify.n_damaged);
    return verify.n_damaged > 0 ? EXIT_FAILED : code;
}

const struct command verify_command = {
    .name = "verify",
    .arguments = "FILE...",
    .summary = "Reads blobs and checks every checksum; names damaged files and byte ranges.",
    .help =
        "FILE is a blob, a file in a mount, or a directory, of which all blobs are verified. Exit\n"
        "code 1 where anything is damaged, or hidden in a mount by another file of its name.\n"
        "sqeazy's own blobs have no checksums: it is tried whether they decode.\n\n",
    .run = run,
};
