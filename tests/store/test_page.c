#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "base/sum.h"
#include "store/checkpoint.h"
#include "store/directory.h"
#include "store/page.h"
#include "util.h"

/* Pages and checkpoint records from memory: what a reader must refuse, with all checksums right. */

#define PAGE_OFF 1000000u
#define HIGH     90000u

struct page {
    struct page_coder *coder;
    struct page_record records[PAGE_RECORDS];
    unsigned n;
    struct page_ref ref;
    uint8_t frame[PAGE_MAX_BYTES];
};

static struct page_record make_record(unsigned i)
{
    return (struct page_record){
        .claim = {.off = 500 + 100 * i, .len = 60, .src = 3},
        .chunk = {.box = {.type = SQY_UINT16, .planes = 1, .rows = 2, .width = 50, .spp = 1},
                  .flags = i % 32 & ~(unsigned)BLOB_SPLIT,
                  .pipeline = i % 3,
                  .coded_off = 5000 + 100 * i,
                  .coded_len = 80,
                  .coded_sum = 0x123456789ABCDEF0u * (i + 1),
                  .served_sum = i},
    };
}

static void make_page(struct page *p, unsigned n)
{
    p->n = n;
    for (unsigned i = 0; i < n; i++)
        p->records[i] = make_record(i);
}

static void sign(struct page *p)
{
    p->ref.sum = sum64(p->frame, p->ref.len);
}

static void pack(struct page *p)
{
    p->ref = (struct page_ref){.low = 500, .off = PAGE_OFF};
    for (unsigned i = 0; i < p->n; i++) {
        struct page_totals one = {.n = 1};
        if (sqy_box_bytes(&p->records[i].chunk.box) > 0)
            one = page_record_totals(&p->records[i]);
        page_totals_add(&p->ref.totals, &one);
    }
    ssize_t len = page_write(p->coder, p->records, p->n, p->frame);
    assert_true(len > 0 && len <= (ssize_t)PAGE_MAX_BYTES);
    p->ref.len = (uint32_t)len;
    sign(p);
}

static int parse(struct page *p)
{
    struct page_record *out = calloc(PAGE_RECORDS, sizeof(*out));
    /* of the frame's own size, so that a sanitizer sees reads behind it */
    uint8_t *frame = malloc(p->ref.len);
    memcpy(frame, p->frame, p->ref.len < PAGE_MAX_BYTES ? p->ref.len : PAGE_MAX_BYTES);
    int r = page_parse(p->coder, frame, &p->ref, HIGH, 3, out);
    for (unsigned i = 0; r >= 0 && i < p->n; i++) {
        assert_memory_equal(&out[i].claim.off, &p->records[i].claim.off, 8);
        assert_int_equal(out[i].claim.src, p->records[i].claim.src);
        assert_int_equal(out[i].chunk.coded_off, p->records[i].chunk.coded_off);
        assert_int_equal(out[i].chunk.coded_sum, p->records[i].chunk.coded_sum);
        assert_int_equal(out[i].chunk.served_sum, p->records[i].chunk.served_sum);
        assert_int_equal(out[i].chunk.flags, p->records[i].chunk.flags);
        assert_int_equal(out[i].chunk.pipeline, p->records[i].chunk.pipeline);
        assert_memory_equal(&out[i].chunk.box, &p->records[i].chunk.box, sizeof(struct sqy_box));
    }
    free(frame);
    free(out);
    return r;
}

static void test_pages_come_back(void **state)
{
    (void)state;
    static struct page p;
    uint64_t random = 9;
    assert_int_equal(page_coder_create(&p.coder), 0);
    for (unsigned n = 1; n <= PAGE_RECORDS; n++) {
        make_page(&p, n);
        pack(&p);
        assert_int_equal(parse(&p), 0);
    }
    /* one that does not compress */
    for (unsigned i = 0; i < PAGE_RECORDS; i++) {
        p.records[i].chunk.coded_sum = util_random(&random);
        p.records[i].chunk.served_sum = util_random(&random);
        p.records[i].chunk.coded_off = 4096 + util_below(&random, 900000);
        p.records[i].chunk.coded_len = (uint32_t)util_below(&random, 1000) + 1;
    }
    pack(&p);
    assert_int_equal(parse(&p), 0);
    page_coder_destroy(&p.coder);
}

static void test_records_that_make_no_sense(void **state)
{
    (void)state;
    static struct page p;
    assert_int_equal(page_coder_create(&p.coder), 0);
#define REFUSED(i, field, value)                                                                   \
    do {                                                                                           \
        make_page(&p, 10);                                                                         \
        p.records[i].field = value;                                                                \
        pack(&p);                                                                                  \
        assert_int_equal(parse(&p), -EBADMSG);                                                     \
    } while (0)
    REFUSED(0, claim.off, 499);
    REFUSED(3, claim.off, 500 + 259);
    REFUSED(3, claim.len, 0);
    REFUSED(3, claim.len, 198);
    REFUSED(3, claim.src, 141);
    REFUSED(3, claim.src, UINT32_MAX);
    REFUSED(9, claim.off, HIGH - 59);
    REFUSED(9, claim.off, (uint64_t)INT64_MAX - 10);
    REFUSED(9, claim.off, UINT64_MAX - 10);
    REFUSED(3, chunk.box.type, 12);
    REFUSED(3, chunk.box.type, 255);
    REFUSED(3, chunk.box.planes, 0);
    REFUSED(3, chunk.box.rows, 0);
    REFUSED(3, chunk.box.width, 0);
    REFUSED(3, chunk.box.spp, 0);
    REFUSED(3, chunk.box.planes, UINT32_MAX);
    REFUSED(3, chunk.box.rows, (BLOB_MAX_CHUNK / 100) + 1);
    REFUSED(3, chunk.flags, 32);
    REFUSED(3, chunk.flags, 1u << 31);
    REFUSED(3, chunk.pipeline, 3);
    REFUSED(3, chunk.coded_len, 0);
    REFUSED(3, chunk.coded_off, 4095);
    REFUSED(3, chunk.coded_off, PAGE_OFF - 79);
    REFUSED(3, chunk.coded_off, UINT64_MAX - 20);
    REFUSED(3, chunk.coded_len, UINT32_MAX);
#undef REFUSED
    make_page(&p, 10);
    p.records[3].chunk.flags = BLOB_SPLIT;
    p.records[3].chunk.coded_len = 2 * PAGE_OFF;
    pack(&p);
    assert_int_equal(parse(&p), 0);
    p.records[3].chunk.coded_off = PAGE_OFF;
    pack(&p);
    assert_int_equal(parse(&p), -EBADMSG);
    page_coder_destroy(&p.coder);
}

static void test_frames_that_make_no_sense(void **state)
{
    (void)state;
    static struct page p;
    assert_int_equal(page_coder_create(&p.coder), 0);
    make_page(&p, 10);
    for (unsigned at = 0; at < PAGE_HEAD_BYTES; at++) {
        pack(&p);
        p.frame[at] ^= 4;
        assert_int_equal(parse(&p), -EBADMSG);
        sign(&p);
        assert_int_equal(parse(&p), -EBADMSG);
    }
    pack(&p);
    uint32_t len = p.ref.len;
    for (p.ref.len = 0; p.ref.len < len; p.ref.len++) {
        if (p.ref.len >= 8)
            le_store32(p.frame + 4, p.ref.len - 8);
        sign(&p);
        assert_int_equal(parse(&p), -EBADMSG);
    }
    pack(&p);
    p.ref.totals.live++;
    assert_int_equal(parse(&p), -EBADMSG);
    pack(&p);
    p.ref.totals.mapped--;
    assert_int_equal(parse(&p), -EBADMSG);
    pack(&p);
    p.ref.totals.provisional++;
    assert_int_equal(parse(&p), -EBADMSG);
    pack(&p);
    p.ref.totals.n = UINT64_MAX;
    assert_int_equal(parse(&p), -EBADMSG);
    pack(&p);
    p.ref.low = 501;
    assert_int_equal(parse(&p), -EBADMSG);
    page_coder_destroy(&p.coder);
}

/* ---- checkpoints ---- */

static const char *const texts[] = {"lz4", "zstd(level=1)"};

static struct page_ref some_refs[] = {
    {.low = 0, .off = 5000, .len = 100, .totals = {2, 3, 4, 5}},
    {.low = 9, .off = 6000, .len = 100, .totals = {256, 3, 4, 5}},
};

static struct checkpoint full_checkpoint(void)
{
    return (struct checkpoint){
        .id = "0123456789abcde",
        .off = 100000,
        .prev = 9000,
        .seq = 5,
        .n_pages = 2,
        .n_pipelines = 2,
        .pipelines = texts,
        .meta = "{}",
        .meta_len = 2,
        .refs = some_refs,
        .n_refs = 2,
        .totals = {258, 6, 8, 10},
    };
}

/* Writes, changes the field at `at`, signs again, parses. */
static int parse_changed(const struct checkpoint *c, size_t at, uint64_t value, unsigned bytes)
{
    size_t len = checkpoint_bytes(c);
    uint8_t *frame = malloc(len);
    struct checkpoint back;
    struct checkpoint_trailer trailer;
    checkpoint_write(c, frame, len);
    uint8_t field[8];
    le_store64(field, value);
    memcpy(frame + at, field, bytes);
    le_store64(frame + len - 48, sum64(frame, len - 48));
    le_store32(frame + len - 4, (uint32_t)sum64(frame + len - 48, 44));
    assert_int_equal(checkpoint_trailer_parse(frame + len - 48, &trailer), 0);
    int r = checkpoint_frame_is_whole(frame, &trailer) ? checkpoint_parse(frame, &trailer, &back)
                                                       : -EBADMSG;
    free(frame);
    return r;
}

static void test_checkpoints_that_make_no_sense(void **state)
{
    (void)state;
    struct checkpoint c = full_checkpoint();
    uint64_t removed[] = {77};
    uint32_t refs_at = 168 + 4 + 3 + 4 + 13 + 2;
    assert_int_equal(parse_changed(&c, 56, 6, 8), 0);
    const struct {
        uint32_t at;
        uint64_t value;
        uint32_t bytes;
    } wrong[] = {
        {0, 0x184D2A52, 4},
        {4, 1, 4},
        {8, 'x', 1},
        {16, 'x', 1},
        {32, 100001, 8},
        {40, 100000, 8},
        {40, UINT64_MAX, 8},
        {64, 65, 4},
        {68, 0, 4},
        {68, 4 | 1, 4},
        {72, 1ull << 63, 8},
        {88, 1000000000, 4},
        {92, 1, 4},
        {92, 3, 4},
        {92, 256, 4},
        {96, 1, 4},
        {96, 3, 4},
        {100, 1, 4},
        {100, UINT32_MAX, 4},
        {144, 1, 8},
        {152, 1, 4},
        {152, UINT32_MAX, 4},
        {156, 1, 4},
        {156, UINT32_MAX, 4},
        {160, 1, 4},
        {160, UINT32_MAX, 4},
        {164, 1, 4},
        {168, 2, 4},
        {168, UINT32_MAX, 4},
        {172, 0, 1},
        {refs_at - 1, 0, 1},
        {refs_at, 9, 8},
        {refs_at + 56, 1ull << 63, 8},
        {refs_at + 8, 4095, 8},
        {refs_at + 8, 99901, 8},
        {refs_at + 8, UINT64_MAX, 8},
        {refs_at + 16, 16, 4},
        {refs_at + 16, PAGE_MAX_BYTES + 1, 4},
        {refs_at + 20, 0, 4},
        {refs_at + 20, 257, 4},
    };
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(parse_changed(&c, wrong[i].at, wrong[i].value, wrong[i].bytes), -EBADMSG);
    assert_int_equal(parse_changed(&c, 15, '2', 1), -ENOTSUP);

    c.chain = 3;
    c.first_pipeline = 1;
    c.meta = NULL;
    c.meta_len = 0;
    c.removed = removed;
    c.n_removed = 1;
    assert_int_equal(parse_changed(&c, 56, 6, 8), 0);
    assert_int_equal(parse_changed(&c, 40, 0, 8), -EBADMSG);
    assert_int_equal(parse_changed(&c, 64, 0, 4), -EBADMSG);
    assert_int_equal(parse_changed(&c, 100, 1, 4), -EBADMSG);
}

static void test_trailers_that_make_no_sense(void **state)
{
    (void)state;
    struct checkpoint c = full_checkpoint();
    uint8_t frame[2000], trailer[48];
    struct checkpoint_trailer out;
    size_t len = checkpoint_bytes(&c);
    checkpoint_write(&c, frame, len);
    memcpy(trailer, frame + len - 48, 48);
    assert_int_equal(checkpoint_trailer_parse(trailer, &out), 0);
    for (unsigned at = 0; at < 48; at++) {
        trailer[at] ^= 1;
        assert_int_equal(checkpoint_trailer_parse(trailer, &out), -EBADMSG);
        trailer[at] ^= 1;
    }
    const uint64_t offs[] = {0, 4095, UINT64_MAX, (uint64_t)INT64_MAX};
    for (unsigned i = 0; i < 4; i++) {
        le_store64(trailer + 32, offs[i]);
        le_store32(trailer + 44, (uint32_t)sum64(trailer, 44));
        assert_int_equal(checkpoint_trailer_parse(trailer, &out), -EBADMSG);
    }
    le_store64(trailer + 32, 5000);
    const uint32_t lens[] = {0, 79, CHECKPOINT_MAX_BYTES + 1, UINT32_MAX};
    for (unsigned i = 0; i < 4; i++) {
        le_store32(trailer + 40, lens[i]);
        le_store32(trailer + 44, (uint32_t)sum64(trailer, 44));
        assert_int_equal(checkpoint_trailer_parse(trailer, &out), -EBADMSG);
    }
}

static void test_directories_that_do_not_add_up(void **state)
{
    (void)state;
    struct directory directory = {0};
    struct checkpoint c = full_checkpoint(), parsed;
    uint8_t frame[2000];
    struct checkpoint_trailer trailer;
    for (unsigned i = 0; i < 6; i++) {
        c = full_checkpoint();
        uint64_t *const fields[] = {&c.totals.n, &c.totals.live, &c.totals.mapped,
                                    &c.totals.provisional};
        if (i < 4)
            (*fields[i])++;
        size_t len = checkpoint_bytes(&c);
        checkpoint_write(&c, frame, len);
        assert_int_equal(checkpoint_trailer_parse(frame + len - 48, &trailer), 0);
        assert_int_equal(checkpoint_parse(frame, &trailer, &parsed), 0);
        assert_int_equal(directory_apply(&directory, &parsed), i < 4 ? -EBADMSG : 0);
        if (i < 4)
            directory_clear(&directory);
    }
    /* a delta: one removed that is there, one that is not, one replaced, one added */
    uint64_t removed[] = {500, 0};
    struct page_ref refs[] = {{.low = 9, .off = 7000, .len = 50, .totals = {1, 1, 1, 1}},
                              {.low = 12, .off = 7100, .len = 50, .totals = {2, 2, 2, 2}}};
    c.chain = 1;
    c.refs = refs;
    c.removed = removed;
    c.n_removed = 2;
    c.totals = (struct page_totals){3, 3, 3, 3};
    size_t len = checkpoint_bytes(&c);
    checkpoint_write(&c, frame, len);
    assert_int_equal(checkpoint_trailer_parse(frame + len - 48, &trailer), 0);
    assert_int_equal(checkpoint_parse(frame, &trailer, &parsed), 0);
    assert_int_equal(directory_apply(&directory, &parsed), 0);
    assert_int_equal(directory.n, 2);
    assert_int_equal(directory.refs[0].off, 7000);
    assert_int_equal(directory.refs[1].low, 12);
    directory_clear(&directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_come_back),
        cmocka_unit_test(test_records_that_make_no_sense),
        cmocka_unit_test(test_frames_that_make_no_sense),
        cmocka_unit_test(test_checkpoints_that_make_no_sense),
        cmocka_unit_test(test_trailers_that_make_no_sense),
        cmocka_unit_test(test_directories_that_do_not_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
