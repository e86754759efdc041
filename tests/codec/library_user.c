/* Somebody else's program, as C99 and as C++11. Some of its functions have names that the library uses
 * inside. */
#include <sqy.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif
int ctx_scratch(void);
int plan_make(void);
int pipeline_clone(void);
#ifdef __cplusplus
}
#endif

int ctx_scratch(void)
{
    return 1;
}

int plan_make(void)
{
    return 2;
}

int pipeline_clone(void)
{
    return 3;
}

static const struct sqy_box box = {SQY_UINT16, 4, 40, 64, 1};

static int code(struct sqy_ctx *ctx, const struct sqy_pipeline *pipeline)
{
    const size_t len = sqy_box_bytes(&box), cap = sqy_encode_bound(pipeline, &box);
    unsigned char *in = (unsigned char *)calloc(1, len), *out = (unsigned char *)malloc(len);
    unsigned char *coded = (unsigned char *)malloc(cap);
    int r = -1;
    if (in && out && coded) {
        for (size_t i = 0; i < len; i++)
            in[i] = (unsigned char)(i % 2 ? 0 : i * i >> 7);
        ssize_t got = sqy_encode(ctx, pipeline, &box, in, coded, cap);
        if (got > 0)
            r = sqy_decode(ctx, pipeline, &box, coded, (size_t)got, out);
        if (r == 0 && memcmp(in, out, len) != 0)
            r = -1;
    }
    free(in);
    free(out);
    free(coded);
    return r;
}

static int code_with(struct sqy_ctx *ctx, const char *text)
{
    struct sqy_pipeline *pipeline;
    struct sqy_error error;
    int r = sqy_pipeline_parse(text, &pipeline, &error);
    if (r < 0)
        return r;
    r = code(ctx, pipeline);
    sqy_pipeline_free(&pipeline);
    return r;
}

static int write_header(void)
{
    struct sqy_header header;
    memset(&header, 0, sizeof(header));
    header.pipename = "lz4";
    header.type = SQY_UINT16;
    header.rank = 1;
    header.shape[0] = 7;
    return sqy_header_write(&header, 0, NULL, 0) > 0 ? 0 : -1;
}

int main(void)
{
    static const char *const texts[] = {SQY_PIPELINE_DEFAULT, "context", "bitswap1->lz4",
                                        "bitshuffle->zstd"};
    struct sqy_ctx *ctx;
    int r = sqy_ctx_create(&ctx);
    if (r < 0)
        return 1;
    for (size_t i = 0; r == 0 && i < sizeof(texts) / sizeof(texts[0]); i++)
        r = code_with(ctx, texts[i]);
    sqy_ctx_free(&ctx);
    if (r == 0)
        r = write_header();
    if (strcmp(sqy_version(), SQY_VERSION) != 0 ||
        ctx_scratch() + plan_make() + pipeline_clone() != 6)
        r = -1;
    puts(sqy_version());
    return r == 0 ? 0 : 1;
}
