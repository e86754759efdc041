#include "stackfile.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STRIP_BYTES 8192u

enum tiff_type { TIFF_ASCII = 2, TIFF_SHORT = 3, TIFF_LONG = 4, TIFF_LONG8 = 16 };

struct stackfile {
    struct stackfile_sink sink;
    struct stackfile_spec spec;
    uint64_t position;
    uint64_t plane_bytes;
    uint64_t voxels;   /* where the first plane starts, in styles with contiguous planes */
    uint64_t link;     /* PAGES: where the offset of the next IFD is to be written */
    uint32_t n_planes; /* written so far */
};

/* Bytes put together before they are written, in the file's byte order. */
struct bytes {
    const struct stackfile_spec *spec;
    uint8_t *data;
    size_t len, room;
    bool failed;
};

static void put(struct bytes *bytes, uint64_t value, unsigned size)
{
    if (bytes->len + size > bytes->room) {
        size_t room = 2 * bytes->room + 4096;
        uint8_t *data = realloc(bytes->data, room);
        if (!data) {
            bytes->failed = true;
            return;
        }
        bytes->data = data;
        bytes->room = room;
    }
    for (unsigned i = 0; i < size; i++) {
        unsigned shift = 8 * (bytes->spec->big_endian ? size - 1 - i : i);
        bytes->data[bytes->len++] = (uint8_t)(value >> shift);
    }
}

static unsigned word(const struct stackfile_spec *spec)
{
    return spec->big_tiff ? 8 : 4;
}

static void put_header(struct bytes *bytes, uint64_t first_ifd)
{
    unsigned char mark = bytes->spec->big_endian ? 'M' : 'I';
    put(bytes, mark, 1);
    put(bytes, mark, 1);
    put(bytes, bytes->spec->big_tiff ? 43 : 42, 2);
    if (bytes->spec->big_tiff) {
        put(bytes, 8, 2);
        put(bytes, 0, 2);
    }
    put(bytes, first_ifd, word(bytes->spec));
}

static void put_entry(struct bytes *bytes, uint16_t tag, enum tiff_type type, uint64_t count,
                      uint64_t value)
{
    unsigned room = word(bytes->spec);
    put(bytes, tag, 2);
    put(bytes, type, 2);
    put(bytes, count, room);
    unsigned size = count > 1 || type == TIFF_ASCII ? room
                    : type == TIFF_SHORT            ? 2
                    : type == TIFF_LONG             ? 4
                                                    : 8;
    put(bytes, value, size);
    put(bytes, 0, room - size);
}

struct ifd {
    uint64_t at;             /* where it will lie */
    uint64_t voxels, next;   /* offsets */
    const char *description; /* or NULL */
    uint32_t n_strips, rows_per_strip;
};

static uint64_t ifd_bytes(const struct stackfile_spec *spec, const struct ifd *ifd)
{
    unsigned n = 9 + (ifd->description != NULL);
    uint64_t fixed = spec->big_tiff ? 8 + 20 * n + 8 : 2 + 12 * n + 4;
    uint64_t strips = ifd->n_strips > 1 ? 2ull * word(spec) * ifd->n_strips : 0;
    return fixed + strips + (ifd->description ? strlen(ifd->description) + 1 : 0);
}

static void put_strips(struct bytes *bytes, const struct ifd *ifd)
{
    const struct stackfile_spec *spec = bytes->spec;
    uint64_t row = 2ull * spec->width, left = row * spec->height;
    uint64_t strip = row * ifd->rows_per_strip;
    for (uint32_t i = 0; i < ifd->n_strips; i++)
        put(bytes, ifd->voxels + i * strip, word(spec));
    for (uint32_t i = 0; i < ifd->n_strips; i++) {
        put(bytes, left < strip ? left : strip, word(spec));
        left -= left < strip ? left : strip;
    }
}

/* The IFD, then the arrays of strips where there are several, then the description. */
static void put_ifd(struct bytes *bytes, const struct ifd *ifd)
{
    const struct stackfile_spec *spec = bytes->spec;
    enum tiff_type offset = spec->big_tiff ? TIFF_LONG8 : TIFF_LONG;
    uint64_t description_len = ifd->description ? strlen(ifd->description) + 1 : 0;
    uint64_t end = ifd->at + ifd_bytes(spec, ifd);
    uint64_t counts = end - description_len - (uint64_t)word(spec) * ifd->n_strips;
    uint64_t offsets = counts - (uint64_t)word(spec) * ifd->n_strips;
    bool one = ifd->n_strips == 1;
    put(bytes, 9 + (ifd->description != NULL), spec->big_tiff ? 8 : 2);
    put_entry(bytes, 256, TIFF_LONG, 1, spec->width);
    put_entry(bytes, 257, TIFF_LONG, 1, spec->height);
    put_entry(bytes, 258, TIFF_SHORT, 1, 16);
    put_entry(bytes, 259, TIFF_SHORT, 1, 1);
    put_entry(bytes, 262, TIFF_SHORT, 1, 1);
    if (ifd->description)
        put_entry(bytes, 270, TIFF_ASCII, description_len, end - description_len);
    put_entry(bytes, 273, offset, ifd->n_strips, one ? ifd->voxels : offsets);
    put_entry(bytes, 277, TIFF_SHORT, 1, 1);
    put_entry(bytes, 278, TIFF_LONG, 1, ifd->rows_per_strip);
    put_entry(bytes, 279, offset, ifd->n_strips, one ? 2ull * spec->width * spec->height : counts);
    put(bytes, ifd->next, word(spec));
    if (!one)
        put_strips(bytes, ifd);
    for (uint64_t i = 0; i < description_len; i++)
        put(bytes, (unsigned char)ifd->description[i], 1);
}

static int append(struct stackfile *file, const void *data, size_t len)
{
    int r = file->sink.append(file->sink.ctx, data, len);
    if (r >= 0)
        file->position += len;
    return r;
}

static int write_bytes(struct stackfile *file, struct bytes *bytes)
{
    int r = bytes->failed ? -ENOMEM : append(file, bytes->data, bytes->len);
    free(bytes->data);
    *bytes = (struct bytes){.spec = &file->spec};
    return r;
}

static struct ifd whole_plane(const struct stackfile *file)
{
    return (struct ifd){.n_strips = 1, .rows_per_strip = file->spec.height};
}

/* Header, first IFD and description; what follows are the voxels of all planes. */
static int start_contiguous(struct stackfile *file)
{
    const struct stackfile_spec *spec = &file->spec;
    struct ifd ifd = whole_plane(file);
    char text[200];
    bool imagej = spec->style == STACKFILE_IMAGEJ;
    if (imagej)
        snprintf(text, sizeof(text),
                 "ImageJ=1.53t\nimages=%u\nslices=%u\nunit=micron\nspacing=2.0\nloop=false\n"
                 "min=0.0\nmax=65535.0\n",
                 spec->depth, spec->depth);
    else
        snprintf(text, sizeof(text), "{\"shape\": [%u, %u, %u]}", spec->depth, spec->height,
                 spec->width);
    ifd.description = text;
    ifd.at = spec->big_tiff ? 16 : 8;
    ifd.voxels = ifd.at + ifd_bytes(spec, &ifd);
    if (!imagej) {
        ifd.voxels = (ifd.voxels + 15) & ~15ull;
        ifd.next = spec->depth > 1 ? ifd.voxels + file->plane_bytes * spec->depth : 0;
    }
    struct bytes bytes = {.spec = spec};
    put_header(&bytes, ifd.at);
    put_ifd(&bytes, &ifd);
    while (!bytes.failed && bytes.len < ifd.voxels)
        put(&bytes, 0, 1);
    file->voxels = ifd.voxels;
    return write_bytes(file, &bytes);
}

static int finish_contiguous(struct stackfile *file)
{
    struct bytes bytes = {.spec = &file->spec};
    struct ifd ifd = whole_plane(file);
    ifd.at = file->position;
    uint64_t each = ifd_bytes(&file->spec, &ifd);
    for (uint32_t z = 1; z < file->spec.depth; z++) {
        ifd.voxels = file->voxels + z * file->plane_bytes;
        ifd.next = z + 1 < file->spec.depth ? ifd.at + each : 0;
        put_ifd(&bytes, &ifd);
        ifd.at += each;
    }
    return write_bytes(file, &bytes);
}

/* Patches the link that leads here: the bytes are few, and written behind what is already there. */
static int patch_link(struct stackfile *file, uint64_t to)
{
    struct bytes bytes = {.spec = &file->spec};
    put(&bytes, to, word(&file->spec));
    int r = bytes.failed ? -ENOMEM
                         : file->sink.patch(file->sink.ctx, bytes.data, bytes.len, file->link);
    free(bytes.data);
    return r;
}

static int finish_page(struct stackfile *file, uint64_t voxels)
{
    const struct stackfile_spec *spec = &file->spec;
    uint32_t rows = STRIP_BYTES / (2 * spec->width);
    rows = rows < 1 ? 1 : rows > spec->height ? spec->height : rows;
    struct ifd ifd = {
        .at = file->position,
        .voxels = voxels,
        .rows_per_strip = rows,
        .n_strips = (spec->height + rows - 1) / rows,
    };
    struct bytes bytes = {.spec = spec};
    put_ifd(&bytes, &ifd);
    int r = write_bytes(file, &bytes);
    if (r < 0)
        return r;
    r = patch_link(file, ifd.at);
    file->link = ifd.at + (spec->big_tiff ? 8 + 20 * 9 : 2 + 12 * 9);
    return r;
}

static int start(struct stackfile *file)
{
    if (file->spec.style == STACKFILE_RAW)
        return 0;
    if (file->spec.style != STACKFILE_PAGES)
        return start_contiguous(file);
    struct bytes bytes = {.spec = &file->spec};
    put_header(&bytes, 0);
    file->link = file->spec.big_tiff ? 8 : 4;
    return write_bytes(file, &bytes);
}

/* What a stack of these planes takes at most, with room for a thousand strips in a plane. */
static bool too_long(const struct stackfile *file)
{
    const struct stackfile_spec *spec = &file->spec;
    if (spec->big_tiff || spec->style == STACKFILE_RAW || spec->style == STACKFILE_IMAGEJ)
        return false;
    uint64_t strips = 8ull * (file->plane_bytes / STRIP_BYTES + spec->height);
    return (file->plane_bytes + 256 + strips) * spec->depth > UINT32_MAX;
}

static int fd_append(void *ctx, const void *data, size_t len)
{
    const int *fd = ctx;
    const char *at = data;
    while (len > 0) {
        ssize_t n = write(*fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int fd_patch(void *ctx, const void *data, size_t len, uint64_t at)
{
    const int *fd = ctx;
    ssize_t n = pwrite(*fd, data, len, (off_t)at);
    return n < 0 ? -errno : (size_t)n < len ? -EIO : 0;
}

struct stackfile_sink stackfile_to(int *fd)
{
    return (struct stackfile_sink){fd_append, fd_patch, fd};
}

int stackfile_create(const struct stackfile_sink *sink, const struct stackfile_spec *spec,
                     struct stackfile **out)
{
    struct stackfile *file = calloc(1, sizeof(*file));
    if (!file)
        return -ENOMEM;
    file->sink = *sink;
    file->spec = *spec;
    file->plane_bytes = 2ull * spec->width * spec->height;
    int r = too_long(file) ? -EFBIG : start(file);
    if (r < 0) {
        free(file);
        return r;
    }
    *out = file;
    return 0;
}

int stackfile_plane(struct stackfile *file, uint16_t *plane)
{
    uint64_t voxels = file->position;
    for (uint64_t i = 0; file->spec.big_endian && i < file->plane_bytes / 2; i++)
        plane[i] = htobe16(plane[i]);
    int r = append(file, plane, file->plane_bytes);
    if (r < 0)
        return r;
    file->n_planes++;
    return file->spec.style == STACKFILE_PAGES ? finish_page(file, voxels) : 0;
}

int stackfile_finish(struct stackfile **file)
{
    int r = 0;
    if (*file && (*file)->spec.style == STACKFILE_CONTIGUOUS)
        r = finish_contiguous(*file);
    free(*file);
    *file = NULL;
    return r;
}
