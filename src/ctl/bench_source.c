#include "ctl/bench_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/mounted.h"
#include "store/names.h"

static char any_name[] = "*";

/* ---- reading ---- */

static int read_file(void *ctx, void *buf, size_t len, uint64_t off)
{
    const struct bench_source *source = ctx;
    int r = io_pread_exact(&io_system, source->fd, buf, len, off);
    return r == -ENODATA ? -ESTALE : r; /* it has become shorter */
}

static int read_blob(void *ctx, void *buf, size_t len, uint64_t off)
{
    const struct bench_source *source = ctx;
    return pack_reader_read(source->reader, buf, len, off, NULL);
}

static int read_voxels(void *ctx, void *buf, size_t len, uint64_t off)
{
    const struct bench_source *source = ctx;
    memcpy(buf, (const uint8_t *)source->voxels + off, len);
    return 0;
}

/* ---- opening ---- */

static int open_plain(const char *path, struct bench_source *out)
{
    struct stat st;
    out->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (out->fd < 0)
        return -errno;
    int r = fstat(out->fd, &st) < 0 ? -errno : 0;
    if (r == 0 && !S_ISREG(st.st_mode))
        r = S_ISDIR(st.st_mode) ? -EISDIR : -ESPIPE;
    if (r < 0) {
        close(out->fd);
        return r;
    }
    out->plain.read = read_file;
    out->plain.size = (uint64_t)st.st_size;
    return 0;
}

static int open_ours(struct bench_source *out)
{
    struct blob_state state;
    int r = pack_reader_create(out->blob.blob, &out->reader);
    if (r < 0)
        return r;
    blob_state(out->blob.blob, &state);
    out->plain.read = read_blob;
    out->plain.size = state.size;
    if (!out->has_raw)
        out->has_raw = pack_meta_raw(state.meta, &out->plain, &out->raw);
    return 0;
}

static int open_upstream(struct bench_source *out)
{
    const struct tiffout *tiff = &out->blob.tiff;
    if (tiff->width > UINT32_MAX || tiff->height > UINT32_MAX)
        return -ENOTSUP;
    int r = source_voxels(&out->blob, &out->voxels, &out->plain.size);
    if (r < 0)
        return r;
    out->plain.read = read_voxels;
    out->has_raw = true;
    out->raw.width = (uint32_t)tiff->width;
    out->raw.height = (uint32_t)tiff->height;
    out->raw.type = (enum layout_type)tiff->type;
    out->raw.big_endian = false;
    return 0;
}

static int open_blob(struct bench_source *out)
{
    out->fd = -1;
    if (out->blob.empty)
        return 0;
    int r = out->blob.blob != NULL ? open_ours(out) : open_upstream(out);
    if (r < 0)
        source_close(&out->blob);
    return r;
}

/* A file in a mount is plain whatever its bytes look like; what is no blob is plain, unless its name
 * says that it should be one. */
int bench_source_open(const char *path, const struct raw_policy *raw, struct bench_source *out)
{
    memset(out, 0, sizeof(*out));
    out->plain.ctx = out;
    out->plain.name = any_name;
    out->has_raw = raw != NULL;
    out->raw = raw != NULL ? *raw : (struct raw_policy){0};
    out->raw.glob = any_name;
    if (mounted_is_file(path))
        return open_plain(path, out);
    int r = source_open(path, &out->blob);
    if (r == 0)
        return open_blob(out);
    return r == -EBADMSG && !names_has_suffix(path) ? open_plain(path, out) : r;
}

void bench_source_close(struct bench_source *source)
{
    pack_reader_destroy(&source->reader);
    free(source->voxels);
    if (source->fd >= 0)
        close(source->fd);
    else
        source_close(&source->blob);
}
