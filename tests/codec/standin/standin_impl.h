#ifndef STANDIN_IMPL_H
#define STANDIN_IMPL_H

#include "standin.h"

#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/nvEncodeAPI.h>
#include <stddef.h>

#define STANDIN_API __attribute__((visibility("default")))

/* Entry points hold this lock from begin to end. */
void standin_lock(void);
void standin_unlock(void);
void standin_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool standin_lost(void);
void standin_lose(void);

/* standin_cuda.c: whether [at, at + len) is the device's memory. */
bool standin_is_device_memory(CUdeviceptr at, size_t len);
/* Copies queued so far in a stream; does those of the first `n` that are not done. */
unsigned standin_stream_queued(CUstream stream);
void standin_stream_do(CUstream stream, unsigned n);
bool standin_is_context(const void *context);

/* standin_av.c: an encoder that gives a packet for each picture. */
struct standin_encoder;
struct standin_encoder_settings {
    bool hevc, lossless;
    int bits, qp, width, rows;
};
/* NULL where it cannot be had. */
struct standin_encoder *standin_encoder_open(const struct standin_encoder_settings *settings);
void standin_encoder_close(struct standin_encoder **encoder);
/* `luma` and, behind it, interleaved chroma in rows of `pitch` bytes, as NV12 or P010. Valid until the next call;
 * 0 bytes on failure. */
size_t standin_encoder_encode(struct standin_encoder *encoder, const uint8_t *luma, size_t pitch,
                              bool idr, const uint8_t **out);

#endif
