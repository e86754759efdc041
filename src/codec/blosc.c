/* blosc: c-blosc 1 buffers, one after the other; each says how long it is and how its bytes were
 * shuffled. Where the build lacks the library the name is known and refused. */
#include "codec/stage.h"

#ifdef HAVE_BLOSC

#include "base/le.h"

#include <blosc.h>
#include <errno.h>
#include <limits.h>

enum { ARG_CNAME, ARG_CLEVEL, ARG_SHUFFLE };

#define PIECE_MAX                                                                                  \
    ((size_t)1 << 30)   /* bytes of one buffer; the library's limit is just below 2^31 */
#define LENGTH_AT    12 /* where a buffer says how long it is, and its first byte, */
#define PLAIN_LEN_AT 4  /* and how long it is decoded */

static const char *const names[] = {"blosclz", "lz4", "lz4hc", "zlib", "zstd", NULL};

static size_t blosc_bound(const struct stage *stage, size_t len)
{
    (void)stage;
    return len > SSIZE_MAX / 2 ? 0 : len + (len / PIECE_MAX + 1) * BLOSC_MAX_OVERHEAD;
}

static ssize_t blosc_encode(struct sqy_ctx *ctx, const struct stage *stage, size_t item,
                            const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
    (void)ctx;
    const char *name = names[stage->arg[ARG_CNAME]];
    size_t used = 0;
    if (blosc_compname_to_compcode(name) < 0)
        return -ENOTSUP; /* the library was built without */
    if (cap < blosc_bound(stage, len))
        return -ENOSPC;
    for (size_t at = 0; at < len; at += PIECE_MAX) {
        const size_t n = len - at < PIECE_MAX ? len - at : PIECE_MAX;
        int got = blosc_compress_ctx(stage->arg[ARG_CLEVEL], stage->arg[ARG_SHUFFLE], item, n,
                                     in + at, out + used, n + BLOSC_MAX_OVERHEAD, name, 0, 1);
        if (got <= 0)
            return -ENOMEM; /* with that much room there is nothing left to fail but that */
        used += (size_t)got;
    }
    return (ssize_t)used;
}

/* A buffer with all of its bytes there, to be decoded to no more than `room`. */
static bool is_sound(const uint8_t *data, size_t left, size_t room, size_t *len, size_t *plain)
{
    if (left < BLOSC_MIN_HEADER_LENGTH)
        return false;
    *len = le_load32(data + LENGTH_AT);
    *plain = le_load32(data + PLAIN_LEN_AT);
    return *len >= BLOSC_MIN_HEADER_LENGTH && *len <= left && *plain && *plain <= room &&
           *plain <= INT_MAX && blosc_cbuffer_validate(data, *len, plain) == 0 && *plain <= room;
}

static int blosc_decode(struct sqy_ctx *ctx, const struct stage *stage,
                        const struct stage_coded *in, uint8_t *out, size_t len)
{
    (void)ctx;
    (void)stage;
    size_t from = 0;
    for (size_t to = 0, coded, plain; to < len; from += coded, to += plain) {
        if (!is_sound(in->data + from, in->len - from, len - to, &coded, &plain))
            return -EBADMSG;
        int got = blosc_decompress_ctx(in->data + from, out + to, plain, 1);
        if (got < 0 || (size_t)got != plain)
            return -EBADMSG;
    }
    return stage_only_zeros(in, from) ? 0 : -EBADMSG;
}

const struct stage_desc stage_desc_blosc = {
    .name = "blosc",
    .about = "c-blosc 1 buffers",
    .class = STAGE_SINK,
    .args =
        {
            [ARG_CNAME] = {.name = "cname", .kind = STAGE_ARG_WORD, .words = names, .def = 1},
            [ARG_CLEVEL] = {.name = "clevel", .min = 0, .max = 9, .def = 5},
            [ARG_SHUFFLE] = {.name = "shuffle", .min = 0, .max = 2, .def = 1},
        },
    .bound = blosc_bound,
    .encode_items = blosc_encode,
    .decode = blosc_decode,
};

#else

const struct stage_desc stage_desc_blosc = {
    .name = "blosc",
    .about = "c-blosc 1 buffers",
    .class = STAGE_SINK,
    .missing = "this build has no blosc",
};

#endif
