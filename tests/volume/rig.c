#include "test.h"

#include "rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/le.h"
#include "store/tree.h"

void rig_open(struct rig *rig)
{
    char why[256] = "";
    rig->config.store = rig->path;
    int r = volume_open(&rig->config, why, sizeof(why), &rig->volume);
    if (r < 0)
        print_error("volume_open: %s\n", why);
    assert_int_equal(r, 0);
}

void rig_start(struct rig *rig)
{
    snprintf(rig->path, sizeof(rig->path), "/tmp/sqyfs-rig-XXXXXX");
    assert_non_null(mkdtemp(rig->path));
    rig_open(rig);
}

void rig_close(struct rig *rig)
{
    assert_int_equal(volume_close(&rig->volume), 0);
}

void rig_stop(struct rig *rig)
{
    char command[sizeof(rig->path) + 16];
    if (rig->volume != NULL)
        rig_close(rig);
    snprintf(command, sizeof(command), "rm -rf '%s'", rig->path);
    assert_int_equal(system(command), 0);
}

struct stack *rig_find(struct rig *rig, const char *name)
{
    struct tree *tree = volume_tree(rig->volume);
    struct tree_entry entry;
    struct stack *stack;
    assert_int_equal(tree_lookup(tree, tree_root(tree), name, &entry), 0);
    assert_int_equal(stack_get(rig->volume, entry.fd, entry.blob, &stack), 0);
    return stack;
}

struct stack *rig_create(struct rig *rig, const char *name)
{
    struct tree *tree = volume_tree(rig->volume);
    int fd;
    assert_int_equal(tree_create_file(tree, tree_root(tree), name, 0644, &fd), 0);
    struct stack *stack = rig_find(rig, name);
    assert_int_equal(stack_open(stack, true, fd), 0);
    return stack;
}

void rig_write(struct stack *stack, const void *data, size_t len, uint64_t off)
{
    assert_int_equal(stack_write(stack, data, len, off, true), len);
}

void rig_expect(struct stack *stack, const uint8_t *data, uint64_t len)
{
    struct stat st;
    assert_int_equal(fstat(stack_fd(stack), &st), 0);
    assert_int_equal(stack_getattr(stack, &st), 0);
    assert_int_equal(st.st_size, len);
    uint8_t *buf = malloc(len + 1);
    assert_non_null(buf);
    assert_int_equal(stack_open(stack, false, -1), 0);
    for (uint64_t at = 0; at < len;) {
        ssize_t n = stack_read(stack, buf + at, len - at < 300000 ? len - at : 300000, at, true);
        assert_true(n > 0);
        at += (uint64_t)n;
    }
    assert_int_equal(stack_read(stack, buf + len, 1, len, true), 0);
    stack_release(stack, false);
    for (uint64_t i = 0; i < len; i++) {
        if (buf[i] != data[i]) {
            print_error("byte %llu is %02x, not %02x\n", (unsigned long long)i, buf[i], data[i]);
            fail();
        }
    }
    free(buf);
}

const char *rig_state(struct stack *stack)
{
    struct stack_info info;
    assert_int_equal(stack_info(stack, &info), 0);
    return info.state;
}

uint64_t rig_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* ---- TIFF ---- */

static uint8_t *put_entry(uint8_t *at, uint16_t tag, uint16_t type, uint32_t count, uint32_t value)
{
    le_store16(at, tag);
    le_store16(at + 2, type);
    le_store32(at + 4, count);
    le_store32(at + 8, value);
    return at + 12;
}

static size_t put_ifd(uint8_t *file, size_t at, uint32_t width, uint32_t height, uint32_t data,
                      uint32_t bytes, uint32_t description, uint32_t description_len, uint32_t next)
{
    uint8_t *p = file + at;
    le_store16(p, description ? 9 : 8);
    p += 2;
    p = put_entry(p, 256, 4, 1, width);
    p = put_entry(p, 257, 4, 1, height);
    p = put_entry(p, 258, 3, 1, 16);
    p = put_entry(p, 259, 3, 1, 1);
    p = put_entry(p, 262, 3, 1, 1);
    if (description)
        p = put_entry(p, 270, 2, description_len, description);
    p = put_entry(p, 273, 4, 1, data);
    p = put_entry(p, 278, 4, 1, height);
    p = put_entry(p, 279, 4, 1, bytes);
    le_store32(p, next);
    return (size_t)(p + 4 - file);
}

static void put_voxels(uint8_t *out, size_t n, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++)
        le_store16(out + 2 * i, (uint16_t)(100 + rig_random(seed) % 16 + i / 97 % 40));
}

size_t rig_tiff_bound(uint32_t width, uint32_t height, uint32_t planes)
{
    return 1024 + 64 * 64 * 2 + ((size_t)planes + 1) * ((size_t)width * height * 2 + 256);
}

size_t rig_tiff(enum rig_tiff kind, uint32_t width, uint32_t height, uint32_t planes, uint8_t *out)
{
    const size_t ifd = 2 + 8 * 12 + 4, plane = (size_t)width * height * 2;
    uint64_t seed = width * 31 + height * 7 + planes + (uint64_t)kind;
    memset(out, 0, rig_tiff_bound(width, height, planes));
    memcpy(out, "II\x2a\0", 4);
    if (kind == RIG_CONTIGUOUS) {
        char text[64];
        int len =
            snprintf(text, sizeof(text), "ImageJ=1.53t\nimages=%u\nslices=%u\n", planes, planes);
        memcpy(out + 200, text, (size_t)len + 1);
        le_store32(out + 4, 8);
        put_ifd(out, 8, width, height, 441, (uint32_t)plane, 200, (uint32_t)len + 1, 0);
        put_voxels(out + 441, planes * plane / 2, &seed);
        return 441 + planes * plane;
    }
    if (kind == RIG_ONE_FIRST || kind == RIG_THUMBNAIL) {
        const uint32_t w = kind == RIG_THUMBNAIL ? 64 : width,
                       h = kind == RIG_THUMBNAIL ? 64 : height;
        const size_t before = 200 + (size_t)w * h * 2, end = before + planes * plane;
        le_store32(out + 4, 8);
        put_ifd(out, 8, w, h, 200, w * h * 2, 0, 0, (uint32_t)end);
        put_voxels(out + 200, (end - 200) / 2, &seed);
        for (uint32_t z = 0; z < planes; z++)
            put_ifd(out, end + z * ifd, width, height, (uint32_t)(before + z * plane),
                    (uint32_t)plane, 0, 0, z + 1 < planes ? (uint32_t)(end + (z + 1) * ifd) : 0);
        return end + planes * ifd;
    }
    size_t stride = kind == RIG_PAGES ? plane + ifd : plane;
    size_t first = kind == RIG_PAGES ? 8 + plane : 8 + planes * plane;
    size_t step = kind == RIG_PAGES ? stride : ifd;
    le_store32(out + 4, (uint32_t)first);
    for (uint32_t z = 0; z < planes; z++) {
        put_voxels(out + 8 + z * stride, plane / 2, &seed);
        put_ifd(out, first + z * step, width, height, (uint32_t)(8 + z * stride), (uint32_t)plane,
                0, 0, z + 1 < planes ? (uint32_t)(first + (z + 1) * step) : 0);
    }
    return 8 + planes * (plane + ifd);
}
