#include "codec/kernels.h"
#include "codec/stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_SCRATCH (CTX_TAIL + 1)
#define SCRATCH_KEEP                                                                               \
    ((size_t)64 << 20) /* bytes; chunks are about 1 MiB, only whole volumes need more */

struct sqy_ctx {
    const struct kernels *kernels;
    struct {
        uint8_t *data;
        size_t cap;
    } scratch[N_SCRATCH];
    void *state[STAGE_MAX_ROWS]; /* by stage_index() */
    bool (*stop)(void *arg);     /* may be NULL */
    void *stop_arg;
    void (*notice)(void *arg, const char *line); /* may be NULL */
    void *notice_arg;
    char noticed[SQY_NOTICE_MAX]; /* the last line told */
    bool gpu;
};

int sqy_ctx_create(struct sqy_ctx **out)
{
    struct sqy_ctx *ctx = calloc(1, sizeof(*ctx));
    if (!ctx)
        return -ENOMEM;
    ctx->kernels = kernels_best();
    *out = ctx;
    return 0;
}

static void forget_scratch(struct sqy_ctx *ctx, unsigned which)
{
    free(ctx->scratch[which].data);
    ctx->scratch[which].data = NULL;
    ctx->scratch[which].cap = 0;
}

void sqy_ctx_trim(struct sqy_ctx *ctx)
{
    for (unsigned i = 0; i < N_SCRATCH; i++)
        forget_scratch(ctx, i);
    for (unsigned i = 0; stage_at(i); i++) {
        if (ctx->state[i])
            stage_at(i)->free_state(ctx->state[i]);
        ctx->state[i] = NULL;
    }
}

void sqy_ctx_free(struct sqy_ctx **ctx)
{
    if (!*ctx)
        return;
    sqy_ctx_trim(*ctx);
    free(*ctx);
    *ctx = NULL;
}

void sqy_ctx_stop_when(struct sqy_ctx *ctx, bool (*stop)(void *arg), void *arg)
{
    ctx->stop = stop;
    ctx->stop_arg = arg;
}

bool ctx_is_stopped(const struct sqy_ctx *ctx)
{
    return ctx->stop && ctx->stop(ctx->stop_arg);
}

void sqy_ctx_on_notice(struct sqy_ctx *ctx, void (*notice)(void *arg, const char *line), void *arg)
{
    ctx->notice = notice;
    ctx->notice_arg = arg;
}

void sqy_ctx_use_gpu(struct sqy_ctx *ctx, bool use)
{
    ctx->gpu = use;
}

bool ctx_uses_gpu(const struct sqy_ctx *ctx)
{
    return ctx->gpu;
}

void ctx_notice(struct sqy_ctx *ctx, const char *line)
{
    if (strncmp(ctx->noticed, line, sizeof(ctx->noticed) - 1) == 0)
        return;
    snprintf(ctx->noticed, sizeof(ctx->noticed), "%s", line);
    if (ctx->notice)
        ctx->notice(ctx->notice_arg, ctx->noticed);
}

const struct kernels *ctx_kernels(const struct sqy_ctx *ctx)
{
    return ctx->kernels;
}

void ctx_use_kernels(struct sqy_ctx *ctx, const struct kernels *kernels)
{
    ctx->kernels = kernels;
}

uint8_t *ctx_scratch(struct sqy_ctx *ctx, unsigned which, size_t len)
{
    if (len > ctx->scratch[which].cap) {
        free(ctx->scratch[which].data); /* nobody wants the old bytes: no realloc() */
        ctx->scratch[which].data = malloc(len);
        ctx->scratch[which].cap = ctx->scratch[which].data ? len : 0;
    }
    return ctx->scratch[which].data;
}

void ctx_forget_large(struct sqy_ctx *ctx)
{
    for (unsigned i = 0; i < N_SCRATCH; i++) {
        if (ctx->scratch[i].cap > SCRATCH_KEEP)
            forget_scratch(ctx, i);
    }
}

void **ctx_state(struct sqy_ctx *ctx, const struct stage_desc *desc)
{
    return &ctx->state[stage_index(desc)];
}
