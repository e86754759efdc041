#include "volume/receipt.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define HEAD_BYTES 6u /* of a NAL unit, where the stream has any */
#define MARK       "SQRC1 "
#define MARK_BYTES (sizeof(MARK) - 1)

/* One unit of a type that decoders of the stream pass over; of other sinks two letters. What follows is
 * text, so no start code is in it. */
static const uint8_t *head_of(const struct sqy_pipeline *pipeline)
{
    static const uint8_t h264[] = {0, 0, 0, 1, 0x18, 0x52}, hevc[] = {0, 0, 0, 1, 0x70, 0x01},
                         other[] = {0, 0, 0, 1, 'R', 'C'};
    const char *text = sqy_pipeline_short(pipeline), *sink = strstr(text, "->");
    for (const char *next = sink; next != NULL; next = strstr(sink, "->"))
        sink = next + 2;
    sink = sink != NULL ? sink : text;
    return strncmp(sink, "h264", 4) == 0 ? h264 : strncmp(sink, "hevc", 4) == 0 ? hevc : other;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

void receipt_write(const struct sqy_receipt *receipt, const struct sqy_pipeline *pipeline,
                   uint8_t out[RECEIPT_BYTES])
{
    char text[RECEIPT_BYTES - HEAD_BYTES + 1];
    snprintf(text, sizeof(text),
             MARK "%016" PRIx64 "%016" PRIx64 "%08" PRIx32 "%08" PRIx32 "%016" PRIx64 "%016" PRIx64
                  "%016" PRIx64,
             receipt->voxels, receipt->within_sigma, receipt->max_error, receipt->peak,
             bits_of(receipt->max_sigma), bits_of(receipt->sum_squares),
             bits_of(receipt->sum_sigma_squares));
    memcpy(out, head_of(pipeline), HEAD_BYTES);
    memcpy(out + HEAD_BYTES, text, RECEIPT_BYTES - HEAD_BYTES);
}

/* `n` lower-case digits at *at. */
static bool take(const uint8_t **at, unsigned n, uint64_t *out)
{
    *out = 0;
    for (unsigned i = 0; i < n; i++) {
        uint8_t c = *(*at)++;
        unsigned digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
        if (digit > 15)
            return false;
        *out = *out << 4 | digit;
    }
    return true;
}

static bool take_real(const uint8_t **at, double *out)
{
    uint64_t bits;
    if (!take(at, 16, &bits))
        return false;
    memcpy(out, &bits, sizeof(*out));
    return isfinite(*out) && *out >= 0;
}

int receipt_parse(const uint8_t in[RECEIPT_BYTES], struct sqy_receipt *out)
{
    static const uint8_t start[] = {0, 0, 0, 1};
    const uint8_t *at = in + HEAD_BYTES + MARK_BYTES;
    uint64_t max_error, peak;
    if (memcmp(in, start, sizeof(start)) != 0 || memcmp(in + HEAD_BYTES, MARK, MARK_BYTES) != 0)
        return -EBADMSG;
    if (!take(&at, 16, &out->voxels) || !take(&at, 16, &out->within_sigma) ||
        !take(&at, 8, &max_error) || !take(&at, 8, &peak) || !take_real(&at, &out->max_sigma) ||
        !take_real(&at, &out->sum_squares) || !take_real(&at, &out->sum_sigma_squares))
        return -EBADMSG;
    out->max_error = (uint32_t)max_error;
    out->peak = (uint32_t)peak;
    return out->within_sigma <= out->voxels ? 0 : -EBADMSG;
}
