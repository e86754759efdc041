/* Depths are tried, not looked up: libraries are built with some of them, and what they call lossless is
 * exact only where it was decoded and compared. */
#include "codec/video_notes.h"

#include "codec/nvenc.h"
#include "codec/video_check.h"

#include <stdlib.h>
#include <string.h>

#define PLANES 3
#define SIDE   64
#define N      (PLANES * SIDE * SIDE)

enum outcome { CANNOT_WRITE, INEXACT, EXACT };

struct trial {
    uint16_t in[N], out[N];
    uint8_t *coded;
    size_t cap;
};

/* Noise of all `bits`, the same everywhere. */
static void fill(uint16_t *out, unsigned bits)
{
    uint32_t state = 1;
    for (size_t i = 0; i < N; i++) {
        state = state * 1103515245 + 12345;
        out[i] = (uint16_t)(state >> 8 & ((1u << bits) - 1));
    }
}

static enum outcome try_trial(struct trial *trial, struct sqy_ctx *ctx,
                              const struct sqy_pipeline *pipeline, const struct sqy_box *box)
{
    ssize_t len = sqy_encode_lossy(ctx, pipeline, box, trial->in, trial->coded, trial->cap);
    if (len < 0)
        return CANNOT_WRITE;
    if (sqy_decode(ctx, pipeline, box, trial->coded, (size_t)len, trial->out) < 0)
        return INEXACT;
    return memcmp(trial->in, trial->out, sizeof(trial->in)) ? INEXACT : EXACT;
}

static enum outcome try_bits(const char *name, unsigned bits)
{
    const struct sqy_box box = {SQY_UINT16, PLANES, SIDE, SIDE, 1};
    struct sqy_pipeline *pipeline = NULL;
    struct sqy_ctx *ctx = NULL;
    enum outcome outcome = CANNOT_WRITE;
    char text[32];
    snprintf(text, sizeof(text), "%s(bits=%u)", name, bits);
    struct trial *trial = calloc(1, sizeof(*trial));
    if (trial && sqy_ctx_create(&ctx) == 0 && sqy_pipeline_parse(text, &pipeline, NULL) == 0) {
        trial->cap = sqy_encode_bound(pipeline, &box);
        trial->coded = malloc(trial->cap);
        fill(trial->in, bits);
        if (trial->coded)
            outcome = try_trial(trial, ctx, pipeline, &box);
    }
    if (trial)
        free(trial->coded);
    free(trial);
    sqy_pipeline_free(&pipeline);
    sqy_ctx_free(&ctx);
    return outcome;
}

static void print_line(void *f, const char *text)
{
    fprintf(f, "nvenc: %s\n", text);
}

void video_notes(const struct stage_desc *desc, FILE *f)
{
    static const char *const words[] = {[CANNOT_WRITE] = "cannot be written",
                                        [INEXACT] = "written, not exact without loss",
                                        [EXACT] = "written, exact without loss"};
    const enum video_codec codec = desc == &stage_desc_h264 ? VIDEO_H264 : VIDEO_HEVC;
    char line[160];
    video_av_describe(codec, line, sizeof(line));
    fprintf(f, "%s\n", line);
    for (unsigned bits = 8; bits <= 12; bits += 2)
        fprintf(f, "%u bits: %s\n", bits, words[try_bits(desc->name, bits)]);
    if (codec == VIDEO_HEVC)
        return; /* what there is of a GPU is told once */
    nvenc_describe(print_line, f);
}
