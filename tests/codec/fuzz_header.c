/* Any front of a file: it is a header or it is none, and what is one reads the same when written
 * again. */
#include "codec/sqy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool true_thing)
{
    if (!true_thing)
        abort();
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static void check_same(const struct sqy_header *a, const struct sqy_header *b)
{
    must(same(a->pipename, b->pipename) && same(a->ours, b->ours));
    must(!a->version || same(a->version, b->version));
    must(a->type == b->type && a->rank == b->rank && a->encoded_bytes == b->encoded_bytes);
    must(!memcmp(a->shape, b->shape, sizeof(a->shape)));
}

static void check_written_again(const struct sqy_header *h)
{
    struct sqy_header again;
    ssize_t len = sqy_header_write(h, 0, NULL, 0);
    must(len > 0 || len == -EINVAL); /* texts may decode to the delimiter */
    if (len < 0)
        return;
    uint8_t *out = malloc((size_t)len);
    must(out && sqy_header_write(h, 0, out, (size_t)len) == len);
    must(sqy_header_parse(out, (size_t)len, &again) == 0);
    must(again.header_bytes == (size_t)len);
    check_same(h, &again);
    sqy_header_free(&again);
    free(out);
}

/* What is a header is never refused while it is still growing. */
static void check_beginnings(const uint8_t *data, size_t header_bytes)
{
    struct sqy_header h;
    for (size_t len = header_bytes - 1; len > 0; len -= len / 3 + 1)
        must(sqy_header_parse(data, len, &h) == -EAGAIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sqy_header h;
    int r = sqy_header_parse(data, size, &h);
    must(r == 0 || r == -EAGAIN || r == -EBADMSG);
    if (r < 0)
        return 0;
    must(h.pipename && h.rank && h.rank <= SQY_MAX_RANK && sqy_type_size(h.type));
    must(h.header_bytes <= size && !memcmp(data + h.header_bytes - 8, "|01307#!", 8));
    check_beginnings(data, h.header_bytes);
    check_written_again(&h);
    sqy_header_free(&h);
    return 0;
}
