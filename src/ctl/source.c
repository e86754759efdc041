#include "ctl/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/frames.h"
#include "volume/scan.h"
#include "volume/sqeazy.h"

static int open_upstream(struct source *source)
{
    int r = scan_header_read(&io_system, source->fd, &source->header);
    if (r < 0)
        return r;
    r = sqeazy_plan(&source->header, &source->tiff);
    if (r < 0)
        sqy_header_free(&source->header);
    return r;
}

static int judge_end(struct source *source)
{
    struct blob_stats stats;
    blob_stats(source->blob, &stats);
    int cut = scan_is_cut(&io_system, source->fd, source->blob, &source->header_lost);
    if (cut > 0)
        source->end = SOURCE_CUT;
    else
        source->end = stats.torn ? SOURCE_TORN : SOURCE_WHOLE;
    return cut < 0 ? cut : 0;
}

/* One that a mount appends to seems cut where it gets a checkpoint and a new header between our looks
 * at it, but not twice. */
static int open_blob(struct source *source)
{
    int r;
    unsigned looks = 0;
    do {
        blob_close(&source->blob);
        int own = fcntl(source->fd, F_DUPFD_CLOEXEC, 0);
        if (own < 0)
            return -errno;
        r = blob_open(&io_system, own, false, &source->blob);
        if (r < 0)
            close(own);
        else
            r = judge_end(source);
    } while (r >= 0 && source->end == SOURCE_CUT && ++looks < 2);
    if (r < 0)
        blob_close(&source->blob);
    return r;
}

int source_open_fd(int fd, struct source *out)
{
    memset(out, 0, sizeof(*out));
    out->fd = fd;
    if (fstat(fd, &out->st) < 0)
        return -errno;
    if (!S_ISREG(out->st.st_mode))
        return S_ISDIR(out->st.st_mode) ? -EISDIR : -ESPIPE;
    out->empty = out->st.st_size == 0;
    if (out->empty)
        return 0;
    int r = open_blob(out);
    return r == -EMEDIUMTYPE ? open_upstream(out) : r;
}

int source_open(const char *path, struct source *out)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = source_open_fd(fd, out);
    if (r < 0)
        close(fd);
    return r;
}

/* The name of a pipeline begins so where sqeazy is not to read the blob (FORMAT.md, 2). */
#define LIVE_FORM "sqyfs->"

int source_open_voxels(const char *path, struct source *out)
{
    memset(out, 0, sizeof(*out));
    out->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (out->fd < 0)
        return -errno;
    int r = fstat(out->fd, &out->st) < 0 ? -errno : open_upstream(out);
    if (r == 0 && strncmp(out->header.pipename, LIVE_FORM, strlen(LIVE_FORM)) == 0) {
        sqy_header_free(&out->header);
        r = -ENODATA;
    }
    out->voxels_only = true;
    if (r < 0)
        close(out->fd);
    return r;
}

bool source_is_bare(const struct source *source)
{
    struct blob_stats stats;
    if (source->blob == NULL || source->end != SOURCE_CUT)
        return false;
    blob_stats(source->blob, &stats);
    return stats.n_checkpoints == 0;
}

void source_close(struct source *source)
{
    if (source->blob == NULL)
        sqy_header_free(&source->header);
    blob_close(&source->blob);
    close(source->fd);
}

int source_voxels(const struct source *source, void **voxels, uint64_t *bytes)
{
    size_t header_bytes = source->header.header_bytes;
    if (!sqeazy_is_plausible(&source->header, &source->tiff, (uint64_t)source->st.st_size))
        return -EBADMSG;
    size_t payload_len = (size_t)source->st.st_size - header_bytes;
    uint64_t len = source->tiff.plane_bytes * source->tiff.depth;
    void *payload = malloc(payload_len > 0 ? payload_len : 1);
    void *out = malloc((size_t)len);
    int r = payload == NULL || out == NULL ? -ENOMEM : 0;
    if (r == 0)
        r = io_pread_exact(&io_system, source->fd, payload, payload_len, header_bytes);
    if (r == -ENODATA)
        r = -EBADMSG;
    if (source->voxels_only && r == 0)
        payload_len = frames_whole(payload, payload_len);
    if (r == 0)
        r = sqeazy_decode(&source->header, payload, payload_len, out, (size_t)len);
    free(payload);
    if (r < 0) {
        free(out);
        return r;
    }
    *voxels = out;
    *bytes = len;
    return 0;
}
