/* Files made to keep a reader busy. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_faulty.h"
#include "store/blob.h"
#include "store/checkpoint.h"
#include "store/heading.h"

#define N_PAGES  16000u
#define N_CHAINS 20u

/* A record is written where *off is; its digest is wrong, all else is right. */
static uint64_t put_record(int fd, struct checkpoint *c, uint64_t *off)
{
    size_t len = checkpoint_bytes(c);
    uint8_t *frame = malloc(len);
    c->off = *off;
    uint64_t sum = checkpoint_write(c, frame, len);
    assert_int_equal(pwrite(fd, frame, len, (off_t)*off), len);
    free(frame);
    *off += len;
    return sum;
}

/* One full record, and many chains as long as they may be that rest on it. */
static int make_file(void)
{
    char path[] = "/tmp/sqyfs-hostile-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    const struct blob_header header = {
        .pipename = "lz4", .type = SQY_UINT8, .rank = 1, .shape = {1}};
    struct checkpoint full = {.id = {1}, .seq = 1, .meta = "", .digest = 1, .n_pages = N_PAGES};
    uint8_t head[BLOB_HEADER_BYTES];
    assert_int_equal(heading_write(&header, full.id, 0, head), 0);
    assert_int_equal(pwrite(fd, head, sizeof(head), 0), sizeof(head));
    struct page_ref *refs = calloc(N_PAGES, sizeof(*refs));
    for (unsigned i = 0; i < N_PAGES; i++) {
        refs[i] = (struct page_ref){.low = i * 1000u,
                                    .off = BLOB_HEADER_BYTES,
                                    .len = 100,
                                    .totals = {.n = 1, .live = 1, .mapped = 1}};
        page_totals_add(&full.totals, &refs[i].totals);
    }
    full.refs = refs;
    full.n_refs = N_PAGES;
    uint64_t off = 3 * BLOB_HEADER_BYTES;
    uint64_t sum = put_record(fd, &full, &off);
    for (unsigned chain = 0; chain < N_CHAINS; chain++) {
        struct checkpoint delta = full;
        delta.n_refs = 0;
        delta.refs = NULL;
        delta.meta = NULL;
        delta.prev_sum = sum;
        for (delta.chain = 1; delta.chain <= CHECKPOINT_MAX_CHAIN; delta.chain++) {
            delta.prev = delta.off;
            delta.seq = 1 + delta.chain;
            delta.prev_sum = put_record(fd, &delta, &off);
        }
    }
    free(refs);
    return fd;
}

/* Each try at a chain costs as many directories as the chain has records. */
static void chains_that_come_to_nothing_are_not_tried_for_long(void **state)
{
    (void)state;
    struct io_faulty io;
    struct blob *blob;
    io_faulty_init(&io);
    int fd = make_file();
    assert_int_equal(blob_open(&io.io, fd, false, &blob), -EBADMSG);
    assert_in_range(io.n[IO_PREAD], 3 * CHECKPOINT_MAX_CHAIN, 8000);
    close(fd);
    io_faulty_clear(&io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_that_come_to_nothing_are_not_tried_for_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
