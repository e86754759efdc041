/* Any coded bytes of the video sinks: byte 0 chooses the pipeline and the samples, bytes 1, 2 and 3 are
 * planes, rows and width less one, the rest is coded. */
#include "codec/sqy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_PLANES 16

static const struct {
    const char *pipeline;
    enum sqy_type type;
} rows[] = {
    {"h264", SQY_UINT8},           {"hevc", SQY_UINT8},           {"h264", SQY_UINT16},
    {"hevc", SQY_UINT16},          {"h264(bits=10)", SQY_UINT16}, {"hevc(bits=10)", SQY_UINT16},
    {"hevc(bits=12)", SQY_UINT16}, {"h264->lz4", SQY_UINT8},
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static void must(bool true_thing)
{
    if (!true_thing)
        abort();
}

static bool is_right(int r)
{
    return r == 0 || r == -EBADMSG || r == -ENOMEM;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sqy_ctx *ctx; /* kept: what one input leaves in it must not harm the next */
    struct sqy_pipeline *p;
    must(ctx || sqy_ctx_create(&ctx) == 0);
    if (size < 4)
        return 0;
    const struct sqy_box box = {rows[data[0] % N_ROWS].type, 1 + data[1] % MOST_PLANES,
                                1u + data[2], 1u + data[3], 1};
    const size_t len = sqy_box_bytes(&box), plane = len / box.planes;
    if (sqy_pipeline_parse(rows[data[0] % N_ROWS].pipeline, &p, NULL) == -ENOTSUP)
        return 0; /* a build without video */
    uint8_t *whole = malloc(len), *first = malloc(plane);
    must(whole && first);
    int r = sqy_decode(ctx, p, &box, data + 4, size - 4, whole);
    must(is_right(r));
    int s = sqy_decode_rows(ctx, p, &box, data + 4, size - 4, 0, box.rows, first);
    must(is_right(s));
    must(r < 0 || (s == 0 && !memcmp(whole, first, plane)));
    free(whole);
    free(first);
    sqy_pipeline_free(&p);
    return 0;
}
