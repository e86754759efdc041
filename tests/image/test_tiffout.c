#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>
#include <unistd.h>

#include "base/le.h"
#include "image/span.h"
#include "image/tiffout.h"

static struct tiffout plan(enum layout_type type, uint64_t depth, uint64_t height, uint64_t width)
{
    struct tiffout out;
    assert_int_equal(tiffout_plan(type, (uint64_t[]){depth, height, width}, &out), 0);
    return out;
}

/* All but the voxels, into a sparse file; some voxels at both ends of each plane. */
static void write_stack(const struct tiffout *plan, char *path)
{
    uint8_t piece[TIFFOUT_PIECE_MAX];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)plan->size), 0);
    size_t len = tiffout_header(plan, piece);
    assert_int_equal(len, plan->voxels_off);
    assert_int_equal(pwrite(fd, piece, len, 0), (ssize_t)len);
    for (uint64_t z = 0; z < plan->depth; z++) {
        uint16_t mark = (uint16_t)(1000 + z);
        uint64_t end = plan->voxels_off + (z + 1) * plan->plane_bytes;
        assert_int_equal(pwrite(fd, &mark, 2, (off_t)(end - 2)), 2);
        len = tiffout_ifd(plan, z, piece);
        assert_int_equal(len, plan->ifd_bytes);
        assert_int_equal(pwrite(fd, piece, len, (off_t)(plan->ifds_off + z * plan->ifd_bytes)),
                         (ssize_t)len);
    }
    close(fd);
}

static uint32_t field32(TIFF *tiff, uint32_t tag)
{
    uint32_t value = 0;
    assert_int_equal(TIFFGetField(tiff, tag, &value), 1);
    return value;
}

static uint16_t field16(TIFF *tiff, uint32_t tag)
{
    uint16_t value = 0;
    assert_int_equal(TIFFGetFieldDefaulted(tiff, tag, &value), 1);
    return value;
}

/* What libtiff makes of it is what everybody makes of it. */
static void check_stack(const struct tiffout *plan, uint16_t format)
{
    char path[] = "/tmp/test-tiff-XXXXXX";
    write_stack(plan, path);
    TIFF *tiff = TIFFOpen(path, "rc"); /* strips as they are */
    unlink(path);
    assert_non_null(tiff);
    assert_int_equal(TIFFIsBigTIFF(tiff), plan->big);
    assert_int_equal(TIFFNumberOfDirectories(tiff), plan->depth);
    uint64_t row_bytes = plan->plane_bytes / plan->height;
    uint8_t *row = malloc(row_bytes);
    for (uint16_t z = 0; z < plan->depth; z++) {
        assert_int_equal(TIFFSetDirectory(tiff, z), 1);
        assert_int_equal(field32(tiff, TIFFTAG_IMAGEWIDTH), plan->width);
        assert_int_equal(field32(tiff, TIFFTAG_IMAGELENGTH), plan->height);
        assert_int_equal(field16(tiff, TIFFTAG_BITSPERSAMPLE), 8 * span_type_size(plan->type));
        assert_int_equal(field16(tiff, TIFFTAG_SAMPLEFORMAT), format);
        assert_int_equal(TIFFNumberOfStrips(tiff), 1);
        assert_int_equal(TIFFGetStrileOffset(tiff, 0), plan->voxels_off + z * plan->plane_bytes);
        assert_int_equal(TIFFGetStrileByteCount(tiff, 0), plan->plane_bytes);
        assert_int_equal(TIFFReadScanline(tiff, row, (uint32_t)plan->height - 1, 0), 1);
        assert_int_equal(le_load16(row + row_bytes - 2), 1000 + z);
    }
    free(row);
    TIFFClose(tiff);
}

static void every_type_is_told(void **state)
{
    static const struct {
        enum layout_type type;
        uint16_t format;
    } types[] = {
        {LAYOUT_UINT8, SAMPLEFORMAT_UINT},     {LAYOUT_INT8, SAMPLEFORMAT_INT},
        {LAYOUT_UINT16, SAMPLEFORMAT_UINT},    {LAYOUT_INT16, SAMPLEFORMAT_INT},
        {LAYOUT_UINT32, SAMPLEFORMAT_UINT},    {LAYOUT_INT32, SAMPLEFORMAT_INT},
        {LAYOUT_UINT64, SAMPLEFORMAT_UINT},    {LAYOUT_INT64, SAMPLEFORMAT_INT},
        {LAYOUT_FLOAT32, SAMPLEFORMAT_IEEEFP}, {LAYOUT_FLOAT64, SAMPLEFORMAT_IEEEFP},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct tiffout small = plan(types[i].type, 4, 7, 13);
        assert_false(small.big);
        check_stack(&small, types[i].format);
    }
}

static void above_four_gigabytes_it_is_big(void **state)
{
    (void)state;
    struct tiffout planes = plan(LAYOUT_UINT16, 5, 30000, 20000);
    assert_true(planes.big);
    assert_true(planes.size > UINT32_MAX);
    check_stack(&planes, SAMPLEFORMAT_UINT);
}

static void the_step_to_big_is_at_the_last_byte(void **state)
{
    (void)state;
    bool was_big = false;
    for (uint64_t depth = 65520; depth < 65540; depth++) {
        struct tiffout now = plan(LAYOUT_UINT8, depth, 1, 65410);
        assert_true(now.big || now.size <= UINT32_MAX);
        assert_false(was_big && !now.big);
        was_big = now.big;
    }
    struct tiffout classic = plan(LAYOUT_UINT8, 1, 1, UINT32_MAX - 16 - 7 - 126);
    assert_false(classic.big);
    assert_true(classic.size <= UINT32_MAX && classic.size > UINT32_MAX - 16);
    assert_true(plan(LAYOUT_UINT8, 1, 1, UINT32_MAX - 100).big);
}

static void what_tiff_cannot_say_is_refused(void **state)
{
    struct tiffout out;
    (void)state;
    assert_int_equal(tiffout_plan(LAYOUT_UINT8, (uint64_t[]){1, 1, 1ull << 32}, &out), -EOVERFLOW);
    assert_int_equal(tiffout_plan(LAYOUT_UINT8, (uint64_t[]){1, 1ull << 32, 1}, &out), -EOVERFLOW);
    assert_int_equal(tiffout_plan(LAYOUT_UINT64, (uint64_t[]){1, UINT32_MAX, UINT32_MAX}, &out),
                     -EOVERFLOW);
    assert_int_equal(tiffout_plan(LAYOUT_UINT8, (uint64_t[]){UINT64_MAX, 1, 1}, &out), -EOVERFLOW);
    assert_int_equal(tiffout_plan(LAYOUT_UINT8, (uint64_t[]){1ull << 62, 2, 2}, &out), -EOVERFLOW);
    assert_int_equal(tiffout_plan(LAYOUT_UINT8, (uint64_t[]){0, 1, 1}, &out), -EINVAL);
    assert_int_equal(tiffout_plan((enum layout_type)99, (uint64_t[]){1, 1, 1}, &out), -EINVAL);
}

/* Wherever a reader begins and ends, it gets the same bytes. */
static void pieces_make_the_whole(void **state)
{
    static const uint64_t depths[] = {1, 3};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct tiffout small = plan(LAYOUT_UINT8, depths[i], 3, 7);
        uint8_t whole[2048], part[2048];
        assert_true(small.size <= sizeof(whole));
        uint64_t end = small.voxels_off + small.depth * small.plane_bytes;
        assert_int_equal(tiffout_around(&small, 0, whole, sizeof(whole)), small.voxels_off);
        assert_int_equal(tiffout_around(&small, small.voxels_off, whole, 1), 0);
        assert_int_equal(tiffout_around(&small, end - 1, whole, 1), 0);
        assert_int_equal(tiffout_around(&small, small.size, whole, 1), 0);
        assert_int_equal(tiffout_around(&small, end, whole + end, sizeof(whole) - end),
                         small.size - end);
        uint8_t piece[TIFFOUT_PIECE_MAX];
        for (uint64_t z = 0; z < small.depth; z++) {
            size_t len = tiffout_ifd(&small, z, piece);
            assert_memory_equal(whole + small.ifds_off + z * len, piece, len);
        }
        for (uint64_t off = end; off < small.size; off++)
            for (size_t len = 1; len <= small.size - off; len += 5) {
                assert_int_equal(tiffout_around(&small, off, part, len), len);
                assert_memory_equal(part, whole + off, len);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_told),
        cmocka_unit_test(above_four_gigabytes_it_is_big),
        cmocka_unit_test(the_step_to_big_is_at_the_last_byte),
        cmocka_unit_test(what_tiff_cannot_say_is_refused),
        cmocka_unit_test(pieces_make_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
