#include "util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool util_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

const char *util_path(const char *format, ...)
{
    static char buffers[4][1024];
    static unsigned turn;
    char *out = buffers[turn++ % 4];
    va_list args;
    va_start(args, format);
    vsnprintf(out, sizeof(buffers[0]), format, args);
    va_end(args);
    return out;
}

const char *util_shared(void)
{
    const char *path = getenv("SQYFS_SHARED");
    return path && util_exists(path) ? path : NULL;
}

struct bytes util_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s cannot be read", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    struct bytes b = {.len = (size_t)ftell(f)};
    rewind(f);
    b.data = malloc(b.len ? b.len : 1);
    assert_non_null(b.data);
    assert_int_equal(fread(b.data, 1, b.len, f), b.len);
    fclose(f);
    return b;
}

uint64_t util_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void util_noise(void *out, size_t len, uint64_t seed)
{
    uint8_t *p = out;
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)util_random(&seed);
}

void util_image(void *out, enum sqy_type type, size_t n, uint64_t seed)
{
    const size_t size = sqy_type_size(type);
    const bool is_float = type == SQY_FLOAT32 || type == SQY_FLOAT64;
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++, p += size) {
        double shape = 400 * (sin((double)i / 700) + 1) * (sin((double)i / 90001) + 1);
        uint64_t v = 100 + (uint64_t)shape + util_random(&seed) % 12;
        float f = (float)v / 7;
        double d = (double)v / 7;
        if (size == 1)
            v >>= 3;
        memcpy(p, is_float ? (size == 4 ? (const void *)&f : (const void *)&d) : (const void *)&v,
               size);
    }
}

struct sqy_pipeline *util_pipeline(const char *text)
{
    struct sqy_pipeline *pipeline = NULL;
    struct sqy_error err = {0};
    if (sqy_pipeline_parse(text, &pipeline, &err) < 0)
        fail_msg("%s: at %zu: %s", text, err.position, err.message);
    return pipeline;
}

struct sqy_ctx *util_ctx(void)
{
    struct sqy_ctx *ctx = NULL;
    assert_int_equal(sqy_ctx_create(&ctx), 0);
    return ctx;
}

/* As tests/lsan.supp, for whoever runs a test by hand. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libx265";
}
