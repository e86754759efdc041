#include "planes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>

#include "base/le.h"

#define MAX_BYTES (2ull << 30) /* of one file's voxels */

static int refuse(char *why, size_t why_len, const char *reason)
{
    snprintf(why, why_len, "%s", reason);
    return -ENOTSUP;
}

/* ---- TIFF ---- */

static int check_page(TIFF *tiff, struct planes *out, char *why, size_t why_len)
{
    uint16_t bits = 1, samples = 1, format = SAMPLEFORMAT_UINT;
    uint32_t width = 0, rows = 0;
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &rows);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
    if (bits != 16 || samples != 1 || (format != SAMPLEFORMAT_UINT && format != SAMPLEFORMAT_INT))
        return refuse(why, why_len, "not 16-bit grey");
    if (TIFFIsTiled(tiff))
        return refuse(why, why_len, "tiled");
    if (width == 0 || rows == 0 || (out->depth > 0 && (width != out->width || rows != out->rows)))
        return refuse(why, why_len, "planes of several shapes");
    if (((uint64_t)out->depth + 1) * rows * width * 2 > MAX_BYTES)
        return refuse(why, why_len, "too large");
    out->width = width;
    out->rows = rows;
    return 0;
}

static int add_page(TIFF *tiff, struct planes *out, char *why, size_t why_len)
{
    int r = check_page(tiff, out, why, why_len);
    if (r < 0)
        return r;
    size_t plane = (size_t)out->rows * out->width;
    uint16_t *voxels = realloc(out->voxels, (out->depth + 1) * plane * 2);
    if (voxels == NULL)
        return refuse(why, why_len, "out of memory");
    out->voxels = voxels;
    for (uint32_t y = 0; y < out->rows; y++)
        if (TIFFReadScanline(tiff, voxels + out->depth * plane + (size_t)y * out->width, y, 0) != 1)
            return refuse(why, why_len, "libtiff cannot decode it");
    out->depth++;
    return 0;
}

static int read_tiff(const char *path, struct planes *out, char *why, size_t why_len)
{
    TIFFSetErrorHandler(NULL);
    TIFFSetWarningHandler(NULL);
    TIFF *tiff = TIFFOpen(path, "r");
    if (tiff == NULL)
        return refuse(why, why_len, "libtiff cannot open it");
    int r;
    do
        r = add_page(tiff, out, why, why_len);
    while (r == 0 && TIFFReadDirectory(tiff));
    TIFFClose(tiff);
    return r;
}

/* ---- NumPy and raw ---- */

static int read_voxels(FILE *file, struct planes *out, char *why, size_t why_len)
{
    size_t n = planes_bytes(out) / 2;
    out->voxels = malloc(n * 2);
    if (out->voxels == NULL)
        return refuse(why, why_len, "out of memory");
    return fread(out->voxels, 2, n, file) == n ? 0 : refuse(why, why_len, "shorter than its shape");
}

/* Source: NumPy's format description, version 1.0. */
static int read_numpy(FILE *file, struct planes *out, char *why, size_t why_len)
{
    uint8_t front[10];
    char text[4096];
    unsigned long long n[3] = {1, 1, 1};
    size_t len = fread(front, 1, sizeof(front), file) == sizeof(front) ? le_load16(front + 8) : 0;
    if (memcmp(front, "\x93NUMPY\x01", 7) != 0 || len == 0 || len >= sizeof(text) ||
        fread(text, 1, len, file) != len)
        return refuse(why, why_len, "no NumPy array of version 1");
    text[len] = '\0';
    const char *shape = strstr(text, "'shape': (");
    if (strstr(text, "'<u2'") == NULL || strstr(text, "'fortran_order': False") == NULL ||
        shape == NULL)
        return refuse(why, why_len, "not little-endian uint16 in C order");
    int rank = sscanf(shape, "'shape': (%llu, %llu, %llu", &n[0], &n[1], &n[2]);
    if (rank < 2 || n[0] == 0 || n[1] == 0 || n[2] == 0 || n[0] > MAX_BYTES || n[1] > UINT32_MAX ||
        n[2] > UINT32_MAX || (double)n[0] * (double)n[1] * (double)n[2] * 2 > (double)MAX_BYTES)
        return refuse(why, why_len, "not of two or three axes");
    out->depth = rank == 2 ? 1 : (uint32_t)n[0];
    out->rows = (uint32_t)n[rank - 2];
    out->width = (uint32_t)n[rank - 1];
    return read_voxels(file, out, why, why_len);
}

static int read_raw(FILE *file, struct planes *out, char *why, size_t why_len)
{
    uint64_t plane = (uint64_t)out->rows * out->width * 2;
    if (plane == 0)
        return refuse(why, why_len, "raw, and its shape was not given");
    if (fseeko(file, 0, SEEK_END) < 0)
        return refuse(why, why_len, "cannot be read");
    uint64_t size = (uint64_t)ftello(file);
    rewind(file);
    if (size < plane || size > MAX_BYTES)
        return refuse(why, why_len, "shorter than a plane, or too large");
    out->depth = (uint32_t)(size / plane);
    return read_voxels(file, out, why, why_len);
}

/* ---- all ---- */

static int ends_with(const char *path, const char *end)
{
    size_t len = strlen(path), n = strlen(end);
    return len >= n && strcmp(path + len - n, end) == 0;
}

int planes_read(const char *path, uint32_t rows, uint32_t width, struct planes *out, char *why,
                size_t why_len)
{
    *out = (struct planes){.rows = 0};
    int r;
    if (ends_with(path, ".npy") || ends_with(path, ".raw")) {
        FILE *file = fopen(path, "rb");
        if (file == NULL)
            return refuse(why, why_len, "cannot be opened");
        out->rows = ends_with(path, ".raw") ? rows : 0;
        out->width = ends_with(path, ".raw") ? width : 0;
        r = ends_with(path, ".raw") ? read_raw(file, out, why, why_len)
                                    : read_numpy(file, out, why, why_len);
        fclose(file);
    } else if (ends_with(path, ".tif") || ends_with(path, ".tiff")) {
        r = read_tiff(path, out, why, why_len);
    } else {
        r = refuse(why, why_len, "not a format that is read here");
    }
    if (r < 0)
        free(out->voxels);
    return r;
}
