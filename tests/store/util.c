#include "util.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/le.h"
#include "base/sum.h"
#include "store/checkpoint.h"

uint64_t util_random(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t util_below(uint64_t *state, uint64_t n)
{
    return util_random(state) % n;
}

void util_fill(uint64_t *state, void *buf, size_t len)
{
    uint8_t *at = buf;
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)util_random(state);
}

int util_file(void)
{
    int fd = memfd_create("blob", MFD_CLOEXEC);
    assert(fd >= 0);
    return fd;
}

uint64_t util_size(int fd)
{
    struct stat st;
    int r = fstat(fd, &st);
    assert(r == 0);
    return (uint64_t)st.st_size;
}

int util_copy(int fd)
{
    int to = util_file();
    char buf[65536];
    uint64_t off = 0;
    ssize_t n;
    while ((n = pread(fd, buf, sizeof(buf), (off_t)off)) > 0) {
        ssize_t w = pwrite(to, buf, (size_t)n, (off_t)off);
        assert(w == n);
        off += (uint64_t)n;
    }
    return to;
}

void util_poke(int fd, uint64_t off, const void *data, size_t len)
{
    ssize_t w = pwrite(fd, data, len, (off_t)off);
    assert(w == (ssize_t)len);
}

void util_flip(int fd, uint64_t off)
{
    uint8_t byte;
    ssize_t r = pread(fd, &byte, 1, (off_t)off);
    assert(r == 1);
    byte ^= 0x10;
    util_poke(fd, off, &byte, 1);
}

struct blob *util_create(const struct io *io)
{
    struct blob *blob = NULL;
    struct blob_header header = {.pipename = "lz4(accel=1,blocksize_kb=256,framestep_kb=256,"
                                             "n_chunks_of_input=0)",
                                 .type = SQY_UINT16,
                                 .rank = 3,
                                 .shape = {2, 3, 4}};
    int r = blob_create(io, util_file(), &header, &blob);
    assert(r == 0);
    return blob;
}

int util_open(const struct io *io, int fd, bool writable, struct blob **out)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert(own >= 0);
    int r = blob_open(io, own, writable, out);
    if (r < 0)
        close(own);
    return r;
}

int util_append(struct blob *blob, const void *data, uint32_t len, uint32_t flags,
                struct blob_chunk *chunk)
{
    *chunk = (struct blob_chunk){
        .box = {.type = SQY_BYTES, .planes = 1, .rows = 1, .width = len, .spp = 1},
        .flags = flags,
        .coded_len = len,
        .coded_sum = sum64(data, len),
        .served_sum = sum64(data, len),
    };
    int r = blob_pipeline_id(blob, "pass_through", &chunk->pipeline);
    return r < 0 ? r : blob_append(blob, len % 2, data, len, &chunk->coded_off);
}

int util_commit(struct blob *blob, const struct blob_chunk *chunk, const struct blob_claim *claims,
                unsigned n)
{
    for (;;) {
        int r = blob_commit(blob, chunk, claims, n);
        if (r != -EAGAIN)
            return r;
        for (unsigned i = 0; i < n; i++) {
            r = blob_prepare(blob, claims[i].off, claims[i].len);
            if (r < 0)
                return r;
        }
    }
}

int util_punch(struct blob *blob, uint64_t off, uint64_t len)
{
    for (;;) {
        int r = blob_punch(blob, off, len);
        if (r != -EAGAIN)
            return r;
        r = blob_prepare(blob, off, len);
        if (r < 0)
            return r;
    }
}

int util_find(struct blob *blob, uint64_t off, struct blob_extent *out)
{
    for (;;) {
        int r = blob_find(blob, off, out);
        if (r != -EAGAIN)
            return r;
        r = blob_prepare(blob, off, 1);
        if (r < 0)
            return r;
    }
}

int util_write(struct blob *blob, uint64_t off, const void *data, uint32_t len, uint32_t flags)
{
    struct blob_chunk chunk;
    int r = util_append(blob, data, len, flags, &chunk);
    struct blob_claim claim = {.off = off, .len = len};
    return r < 0 ? r : util_commit(blob, &chunk, &claim, 1);
}

static int read_extent(struct blob *blob, const struct blob_extent *extent, uint64_t off, void *buf,
                       size_t len)
{
    if (extent->hole) {
        memset(buf, 0, len);
        return 0;
    }
    uint8_t *data = malloc(extent->chunk.coded_len);
    assert(data);
    int r = blob_read(blob, &extent->chunk, data);
    if (r >= 0)
        memcpy(buf, data + extent->claim.src + (off - extent->claim.off), len);
    free(data);
    return r;
}

int util_read(struct blob *blob, uint64_t off, void *buf, size_t len)
{
    uint8_t *at = buf;
    while (len > 0) {
        struct blob_extent extent;
        int r = util_find(blob, off, &extent);
        if (r < 0)
            return r;
        assert(extent.claim.off <= off && off - extent.claim.off < extent.claim.len);
        uint64_t n = extent.claim.len - (off - extent.claim.off);
        size_t piece = n < len ? (size_t)n : len;
        r = read_extent(blob, &extent, off, at, piece);
        if (r < 0)
            return r;
        off += piece;
        at += piece;
        len -= piece;
    }
    return 0;
}

int util_checkpoint(struct blob *blob, uint64_t size, uint32_t tag, unsigned flags)
{
    char meta[64];
    snprintf(meta, sizeof(meta), "{\"tag\":%u}", tag / 3);
    struct blob_state state = {.size = size, .mtime = {.tv_sec = -5, .tv_nsec = tag}, .meta = meta};
    return blob_checkpoint(blob, &state, flags);
}

uint32_t util_tag(struct blob *blob)
{
    struct blob_state state;
    char meta[64];
    blob_state(blob, &state);
    uint32_t tag = (uint32_t)state.mtime.tv_nsec;
    if (tag == 0)
        return 0;
    snprintf(meta, sizeof(meta), "{\"tag\":%u}", tag / 3);
    assert(state.mtime.tv_sec == -5 && strcmp(meta, state.meta) == 0);
    return tag;
}

/* ---- the layout of a record, written down a second time: see FORMAT.md ---- */

static void resign_pages(uint8_t *data, size_t len, uint8_t *frame, size_t frame_len)
{
    uint64_t at = 168 + (uint64_t)le_load32(frame + 160) + le_load32(frame + 100);
    for (uint32_t n = le_load32(frame + 152); n > 0 && at + 56 <= frame_len - 48; n--, at += 56) {
        uint64_t off = le_load64(frame + at + 8);
        uint32_t page_len = le_load32(frame + at + 16);
        if (off <= len && page_len <= len - off)
            le_store64(frame + at + 24, sum64(data + off, page_len));
    }
}

static void resign_frame(uint8_t *data, size_t len, size_t trailer)
{
    uint8_t *at = data + trailer;
    uint64_t frame_len = le_load32(at + 40);
    if (frame_len < 80 || frame_len > trailer + 48)
        return;
    uint8_t *frame = at + 48 - frame_len;
    if (frame_len >= 216)
        resign_pages(data, len, frame, frame_len);
    le_store64(at, sum64(frame, frame_len - 48));
    le_store32(at + 44, (uint32_t)sum64(at, 44));
}

void util_resign(uint8_t *data, size_t len)
{
    for (size_t i = 8; i + 40 <= len; i++)
        if (memcmp(data + i, CHECKPOINT_TRAILER_MAGIC, 8) == 0)
            resign_frame(data, len, i - 8);
}
