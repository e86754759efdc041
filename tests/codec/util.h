/* What the codec's tests share. Any failure inside ends the test. */
#ifndef SQYFS_TESTS_CODEC_UTIL_H
#define SQYFS_TESTS_CODEC_UTIL_H

#include "test.h"

#include "codec/sqy.h"

struct bytes {
    uint8_t *data; /* owned by whoever holds it; free() */
    size_t len;
};

struct bytes util_read(const char *path);
bool util_exists(const char *path);
/* printf into a static buffer, of which there are four in turn. */
const char *util_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Folder of the shared data; NULL where it is absent. */
const char *util_shared(void);

/* Deterministic noise: the next of a stream. */
uint64_t util_random(uint64_t *state);
/* Like a camera's: an offset, shapes, noise of a few counts. */
void util_image(void *out, enum sqy_type type, size_t n, uint64_t seed);
void util_noise(void *out, size_t len, uint64_t seed);

struct sqy_pipeline *util_pipeline(const char *text);
struct sqy_ctx *util_ctx(void);

#endif
