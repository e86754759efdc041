#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/blob.h"
#include "util.h"

/* Any bytes as a blob: opened both ways, its table walked, chunks read, written to, opened again.
 * Then the same bytes with all checksums made right, so that damage gets past them. */

#define MAX_EXTENTS 3000u
#define MAX_READ    (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die_unless(bool good)
{
    if (!good)
        abort();
}

static void read_chunk(struct blob *blob, const struct blob_chunk *chunk)
{
    if (chunk->coded_len > MAX_READ)
        return;
    void *buf = malloc(chunk->coded_len);
    die_unless(buf && blob_pipeline_text(blob, chunk->pipeline));
    blob_read(blob, chunk, buf);
    free(buf);
}

static void walk(struct blob *blob)
{
    uint64_t off = 0;
    for (unsigned i = 0; i < MAX_EXTENTS && off < UINT64_MAX; i++) {
        struct blob_extent extent;
        if (util_find(blob, off, &extent) < 0)
            return;
        die_unless(extent.claim.off == off && extent.claim.len > 0);
        off += extent.claim.len;
        if (!extent.hole && i % 16 == 0)
            read_chunk(blob, &extent.chunk);
    }
}

static void look(int fd)
{
    struct blob *blob;
    struct blob_state state;
    struct blob_header header;
    if (util_open(&io_system, fd, false, &blob) < 0)
        return;
    blob_limit_pages(blob, 2);
    walk(blob);
    blob_state(blob, &state);
    blob_header(blob, &header);
    die_unless(strlen(state.meta) < BLOB_MAX_META && strlen(header.pipename) < SQY_HEADER_MAX);
    blob_close(&blob);
}

/* A writer that gets a blob open gets bytes into it, unless the pages there are damaged. */
static void change(int fd)
{
    struct blob *blob;
    uint8_t got[5];
    if (util_open(&io_system, fd, true, &blob) < 0)
        return;
    bool written = util_write(blob, 3, "12345", 5, 0) == 0 &&
                   util_punch(blob, 100, 1u << 20) == 0 && util_checkpoint(blob, 50, 9, 0) == 0;
    blob_close(&blob);
    if (!written)
        return;
    die_unless(util_open(&io_system, fd, false, &blob) == 0);
    die_unless(util_tag(blob) == 9);
    die_unless(util_read(blob, 3, got, 5) == 0 && memcmp(got, "12345", 5) == 0);
    blob_close(&blob);
}

static void run(const uint8_t *data, size_t size)
{
    int fd = util_file();
    if (size > 0)
        util_poke(fd, 0, data, size);
    look(fd);
    change(fd);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run(data, size);
    uint8_t *copy = malloc(size + 1);
    die_unless(copy);
    memcpy(copy, data, size);
    util_resign(copy, size);
    run(copy, size);
    free(copy);
    return 0;
}
