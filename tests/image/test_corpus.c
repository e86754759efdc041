/* Real files: the invariants hold, and voxels lie where libtiff finds them. Skipped where there is
 * no collection. */
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <tiffio.h>
#include <unistd.h>

#include "file.h"
#include "image/layout.h"

#define TARGET (256u << 10)

struct totals {
    unsigned n_files, n_tiff, n_volumes, n_cells;
    uint64_t voxels;
};

struct open_file {
    char *path;
    struct file file;
    struct layout *layout;
    struct layout_info info;
    struct totals *totals;
};

/* ---- against libtiff ---- */

/* Reverses the byte order that libtiff has made the machine's. */
static void to_file_order(TIFF *tif, uint8_t *data, size_t len, unsigned bits)
{
    if (!TIFFIsByteSwapped(tif))
        return;
    size_t size = bits / 8;
    for (size_t i = 0; i + size <= len; i += size) {
        for (size_t k = 0; k < size / 2; k++) {
            uint8_t t = data[i + k];
            data[i + k] = data[i + size - 1 - k];
            data[i + size - 1 - k] = t;
        }
    }
}

/* The whole directory as libtiff reads it, strip by strip, in the file's byte order; NULL where it
 * cannot. */
static uint8_t *read_strips(TIFF *tif, unsigned bits, size_t *len)
{
    uint32_t n = TIFFNumberOfStrips(tif);
    size_t strip = (size_t)TIFFStripSize(tif);
    uint8_t *data = malloc(n * strip + 1);
    *len = 0;
    for (uint32_t i = 0; data && i < n; i++) {
        tmsize_t got = TIFFReadEncodedStrip(tif, i, data + *len, (tmsize_t)strip);
        if (got < 0) {
            free(data);
            return NULL;
        }
        *len += (size_t)got;
    }
    if (data)
        to_file_order(tif, data, *len, bits);
    return data;
}

static void compare_volume(struct open_file *f, uint64_t at, const uint8_t *data, size_t len)
{
    struct layout_piece pieces[512];
    uint32_t n;
    size_t done = 0;
    while (done < len) {
        uint64_t got = layout_volume_pieces(f->layout, at + done, len - done, pieces, 512, &n);
        if (!got)
            fail_msg("%s: the volume ends early", f->path);
        for (uint32_t i = 0; i < n; i++) {
            if (memcmp(f->file.data + pieces[i].off, data + done, pieces[i].len) != 0)
                fail_msg("%s: other voxels", f->path);
            done += pieces[i].len;
        }
    }
    f->totals->voxels += len;
}

static enum layout_type type_of(TIFF *tif)
{
    static const enum layout_type types[4][4] = {
        {0, LAYOUT_UINT8, LAYOUT_INT8, 0},
        {0, LAYOUT_UINT16, LAYOUT_INT16, LAYOUT_FLOAT16},
        {0, LAYOUT_UINT32, LAYOUT_INT32, LAYOUT_FLOAT32},
        {0, LAYOUT_UINT64, LAYOUT_INT64, LAYOUT_FLOAT64},
    };
    uint16_t bits = 1, format = 1, compression = 1, photometric = 1, fill_order = 1;
    TIFFGetFieldDefaulted(tif, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(tif, TIFFTAG_SAMPLEFORMAT, &format);
    TIFFGetFieldDefaulted(tif, TIFFTAG_COMPRESSION, &compression);
    TIFFGetFieldDefaulted(tif, TIFFTAG_PHOTOMETRIC, &photometric);
    TIFFGetFieldDefaulted(tif, TIFFTAG_FILLORDER, &fill_order);
    if (compression != 1 || photometric == PHOTOMETRIC_YCBCR || fill_order != 1 || format == 0 ||
        format > 4)
        return LAYOUT_BYTES;
    if (format == 4)
        format = 1;
    for (unsigned i = 0; i < 4; i++)
        if (bits == 8u << i)
            return types[i][format];
    return LAYOUT_BYTES;
}

/* Every strip or tile is in units of its shape. */
static void compare_cells(struct open_file *f, TIFF *tif, enum layout_type type)
{
    uint32_t n = TIFFIsTiled(tif) ? TIFFNumberOfTiles(tif) : TIFFNumberOfStrips(tif);
    uint32_t width = 0;
    uint16_t planar = 1, spp = 1;
    TIFFGetField(tif, TIFFIsTiled(tif) ? TIFFTAG_TILEWIDTH : TIFFTAG_IMAGEWIDTH, &width);
    TIFFGetFieldDefaulted(tif, TIFFTAG_PLANARCONFIG, &planar);
    TIFFGetFieldDefaulted(tif, TIFFTAG_SAMPLESPERPIXEL, &spp);
    for (uint32_t i = 0; i < n; i++) {
        struct layout_unit unit;
        uint64_t gap_end, off = TIFFGetStrileOffset(tif, i);
        if (off < 8 || off >= f->file.len)
            continue;
        if (!layout_unit_at(f->layout, off, &unit, &gap_end))
            fail_msg("%s: strip or tile %u of directory %u is in no unit", f->path, i,
                     TIFFCurrentDirectory(tif));
        assert_int_equal(unit.type, type);
        assert_int_equal(unit.width, planar == 2 ? width : width * spp);
        assert_int_equal(unit.big_endian, TIFFIsBigEndian(tif));
        f->totals->n_cells++;
    }
}

static void compare_directories(struct open_file *f, TIFF *tif)
{
    uint64_t at = 0;
    do {
        enum layout_type type = type_of(tif);
        uint16_t bits = 1;
        size_t len = 0;
        TIFFGetFieldDefaulted(tif, TIFFTAG_BITSPERSAMPLE, &bits);
        bool readable = type != LAYOUT_BYTES && !TIFFIsTiled(tif);
        uint8_t *data = readable ? read_strips(tif, bits, &len) : NULL;
        if (type != LAYOUT_BYTES && (data || TIFFIsTiled(tif)))
            compare_cells(f, tif, type);
        if (data && f->info.one_volume)
            compare_volume(f, at, data, len);
        at += len;
        free(data);
    } while (TIFFReadDirectory(tif));
}

static void no_message(const char *module, const char *fmt, va_list args)
{
    (void)module;
    (void)fmt;
    (void)args;
}

static void compare(struct open_file *f)
{
    TIFF *tif = TIFFOpen(f->path, "rm");
    if (!tif)
        return;
    if (layout_kind(f->layout) != LAYOUT_TIFF)
        fail_msg("%s: libtiff says it is a TIFF", f->path);
    f->totals->n_tiff++;
    f->totals->n_volumes += f->info.one_volume;
    compare_directories(f, tif);
    TIFFClose(tif);
}

/* ---- files ---- */

static void check_file(const char *path, struct totals *totals)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *data = malloc((size_t)st.st_size + 1);
    assert_non_null(data);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    close(fd);
    struct open_file f = {.path = strdup(path), .totals = totals};
    f.file = (struct file){.data = data, .len = (size_t)st.st_size};
    f.layout = file_layout(&f.file, TARGET, NULL);
    layout_info(f.layout, &f.info);
    const char *wrong = file_check(f.layout, f.file.len, true, TARGET, UINT64_MAX, NULL);
    if (wrong)
        fail_msg("%s: %s", path, wrong);
    compare(&f);
    totals->n_files++;
    layout_destroy(&f.layout);
    free(data);
    free(f.path);
}

static void check_folder(const char *folder, struct totals *totals)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[4096];
        const char *dot = strrchr(entry->d_name, '.');
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            check_folder(path, totals);
        else if (dot && (strcasecmp(dot, ".tif") == 0 || strcasecmp(dot, ".tiff") == 0))
            check_file(path, totals);
    }
    closedir(dir);
}

static void check_part(const char *part, unsigned least)
{
    const char *shared = getenv("SQYFS_SHARED");
    char folder[4096];
    struct totals totals = {0};
    snprintf(folder, sizeof(folder), "%s/corpus/%s", shared ? shared : "", part);
    if (access(folder, R_OK) < 0) {
        print_message("no %s\n", folder);
        skip();
    }
    TIFFSetErrorHandler(no_message);
    TIFFSetWarningHandler(no_message);
    check_folder(folder, &totals);
    print_message("%u files, %u TIFFs, %u volumes, %u strips and tiles, %llu bytes compared\n",
                  totals.n_files, totals.n_tiff, totals.n_volumes, totals.n_cells,
                  (unsigned long long)totals.voxels);
    assert_true(totals.n_volumes >= least);
}

static void bench(void **state)
{
    (void)state;
    check_part("bench", 30);
}

static void compat(void **state)
{
    (void)state;
    check_part("compat", 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bench),
        cmocka_unit_test(compat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
