/* As programs that use libtiff write: strips of `block` bytes, a directory a plane. */
#include <errno.h>
#include <fcntl.h>
#include <tiffio.h>
#include <unistd.h>

#include "stream.h"

static void describe(TIFF *tiff, const struct frames *frames, uint32_t rows)
{
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, frames->width);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, frames->height);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, 16);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, 1);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_NONE);
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, rows);
}

static int write_plane(struct stream_part *part, TIFF *tiff, uint16_t *plane)
{
    const struct frames *frames = part->frames;
    uint32_t rows = (uint32_t)(part->stream->block / (2 * frames->width));
    rows = rows < 1 ? 1 : rows;
    describe(tiff, frames, rows);
    for (uint32_t y = 0, strip = 0; y < frames->height; y += rows, strip++) {
        uint32_t n = frames->height - y < rows ? frames->height - y : rows;
        tmsize_t bytes = (tmsize_t)n * frames->width * 2;
        double start = usage_now();
        if (TIFFWriteEncodedStrip(tiff, strip, plane + (size_t)y * frames->width, bytes) != bytes)
            return -EIO;
        latency_add(&part->calls, usage_now() - start);
        part->bytes += (uint64_t)bytes;
    }
    return TIFFWriteDirectory(tiff) ? 0 : -EIO;
}

static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static void libtiff_part(struct stream_part *part)
{
    TIFF *tiff = TIFFOpen(part->path, "w8");
    if (tiff == NULL) {
        part->error = -EIO;
        return;
    }
    for (uint64_t z = 0; part->bytes < part->stream->bytes && part->error == 0; z++)
        part->error =
            write_plane(part, tiff, frames_at(part->frames, part->index, part->stream->n_paths, z));
    TIFFClose(tiff);
    part->accepted = usage_now();
    if (part->error == 0 && part->stream->sync)
        part->error = sync_path(part->path);
}

int stream_libtiff(const struct stream *stream)
{
    return stream_run(stream, (size_t)(stream->bytes / 1024) + 65536, true, libtiff_part, NULL);
}
